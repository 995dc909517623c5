/* Limits of control groups. See cgroup.h. */
#include "base/cgroup.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What a group grants; 0: it has no limit. */
typedef double limit_of_group(const char *folder);

typedef struct resource {
    const char *controller; /* of version 1, and the folders in which that is mounted */
    const char *mounts[2];
    limit_of_group *first, *second; /* of versions 1 and 2 */
} resource;

static FILE *open_in(const char *folder, const char *name)
{
    char path[4400];
    int length = snprintf(path, sizeof path, "%s/%s", folder, name);
    return length > 0 && (size_t)length < sizeof path ? fopen(path, "re") : NULL;
}

/* CPU time over wall time. Version 2: "quota period", or "max period". */
static double quota_v2(const char *folder)
{
    long long quota, period;
    FILE *file = open_in(folder, "cpu.max");
    if (!file) return 0;
    bool read = fscanf(file, "%lld %lld", &quota, &period) == 2 && quota > 0 && period > 0;
    fclose(file);
    return read ? (double)quota / (double)period : 0;
}

static long long number_in(const char *folder, const char *name)
{
    long long number = 0;
    FILE *file = open_in(folder, name);
    if (!file) return 0;
    if (fscanf(file, "%lld", &number) != 1) number = 0;
    fclose(file);
    return number;
}

/* Version 1: two files; a quota of -1 is none. */
static double quota_v1(const char *folder)
{
    long long quota = number_in(folder, "cpu.cfs_quota_us"), period = number_in(folder, "cpu.cfs_period_us");
    return quota > 0 && period > 0 ? (double)quota / (double)period : 0;
}

static const resource cpu = {"cpu", {"/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpu,cpuacct"}, quota_v1, quota_v2};

/* The number behind a word at the beginning of a line: "word number" or "word: number". */
static double number_behind(const char *folder, const char *name, const char *word)
{
    char line[256];
    double number = 0;
    size_t length = strlen(word);
    FILE *file = open_in(folder, name);
    if (!file) return 0;
    while (fgets(line, sizeof line, file))
        if (strncmp(line, word, length) == 0 && strchr(": ", line[length])) {
            number = (double)strtoll(line + length + 1, NULL, 10);
            break;
        }
    fclose(file);
    return number;
}

#define NO_LIMIT \
    ((long long)1 << 60) /* version 1 writes a number of about this size where there is no limit */

/* What is left of a limit; files in memory that nobody has used lately do not count. */
static double memory_left(long long limit, long long used, double inactive_files)
{
    if (limit <= 0 || limit >= NO_LIMIT) return 0;
    double left = (double)limit - ((double)used - inactive_files);
    return left < 1 ? 1 : left;
}

/* Bytes of memory. The limit of version 2 may be "max", which is no number. */
static double memory_v2(const char *folder)
{
    return memory_left(number_in(folder, "memory.max"), number_in(folder, "memory.current"),
        number_behind(folder, "memory.stat", "inactive_file"));
}

static double memory_v1(const char *folder)
{
    return memory_left(number_in(folder, "memory.limit_in_bytes"), number_in(folder, "memory.usage_in_bytes"),
        number_behind(folder, "memory.stat", "total_inactive_file"));
}

static const resource memory = {"memory", {"/sys/fs/cgroup/memory"}, memory_v1, memory_v2};

/* The smaller of two limits, 0 being none. */
static double smaller(double a, double b)
{
    return a > 0 && (b <= 0 || a < b) ? a : b;
}

/*
 * The smallest limit from a group upwards. In a container the path of the group may be that of the host:
 * folders that are not there are passed, up to the root of the mount.
 */
static double limit_upwards(const char *mount, const char *group, limit_of_group *limit)
{
    char folder[4300];
    double least = 0;
    size_t root = strlen(mount);
    int length = snprintf(folder, sizeof folder, "%s%s", mount, group);
    if (length < 0 || (size_t)length >= sizeof folder) return limit(mount);
    for (;;) {
        least = smaller(limit(folder), least);
        char *slash = strrchr(folder + root, '/');
        if (!slash) return least;
        *slash = 0;
    }
}

static bool is_among(const char *controllers, const char *controller)
{
    size_t length;
    for (const char *name = controllers; *name; name += length + (name[length] == ',')) {
        length = strcspn(name, ",");
        if (length == strlen(controller) && strncmp(name, controller, length) == 0) return true;
    }
    return false;
}

/* The limit of one line of /proc/self/cgroup, "number:controllers:path"; version 2 has no controllers. */
static double limit_of_line(const resource *r, const char *root, char *line)
{
    static const char *const unified[2] = {"/sys/fs/cgroup", "/sys/fs/cgroup/unified"};
    char mount[4096];
    double least = 0;
    line[strcspn(line, "\n")] = 0;
    char *controllers = strchr(line, ':'), *group = controllers ? strchr(controllers + 1, ':') : NULL;
    if (!group) return 0;
    *group++ = 0;
    controllers++;
    bool second = *controllers == 0;
    if (!second && !is_among(controllers, r->controller)) return 0;
    const char *const *mounts = second ? unified : r->mounts;
    for (size_t i = 0; i < 2 && mounts[i]; i++) {
        snprintf(mount, sizeof mount, "%s%s", root, mounts[i]);
        least = smaller(limit_upwards(mount, group, second ? r->second : r->first), least);
    }
    return least;
}

/* The smallest limit of the process's groups. */
static double limit_of(const resource *r, const char *root)
{
    char line[4200];
    double least = 0;
    FILE *groups = open_in(root, "proc/self/cgroup");
    if (!groups) return 0;
    while (fgets(line, sizeof line, groups)) least = smaller(limit_of_line(r, root, line), least);
    fclose(groups);
    return least;
}

size_t cb_cgroup_cpus(const char *root)
{
    double quota = limit_of(&cpu, root);
    return quota <= 0 ? 0 : quota < 1 ? 1 : (size_t)quota;
}

size_t cb_available_memory(const char *root)
{
    double available = 1024 * number_behind(root, "proc/meminfo", "MemAvailable");
    return (size_t)smaller(available, limit_of(&memory, root));
}
