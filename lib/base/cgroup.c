/* CPU quotas of control groups. See cgroup.h. */
#include "base/cgroup.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* CPU time over wall time that a group grants; 0: it has no quota. */
typedef double quota_of_group(const char *folder);

static FILE *open_in(const char *folder, const char *name)
{
    char path[4400];
    int length = snprintf(path, sizeof path, "%s/%s", folder, name);
    return length > 0 && (size_t)length < sizeof path ? fopen(path, "re") : NULL;
}

/* Version 2: "quota period", or "max period". */
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

/* The smaller of two quotas, 0 being none. */
static double smaller(double a, double b)
{
    return a > 0 && (b <= 0 || a < b) ? a : b;
}

/*
 * The smallest quota from a group upwards. In a container the path of the group may be that of the host:
 * folders that are not there are passed, up to the root of the mount.
 */
static double quota_upwards(const char *mount, const char *group, quota_of_group *quota)
{
    char folder[4300];
    double least = 0;
    size_t root = strlen(mount);
    int length = snprintf(folder, sizeof folder, "%s%s", mount, group);
    if (length < 0 || (size_t)length >= sizeof folder) return quota(mount);
    for (;;) {
        least = smaller(quota(folder), least);
        char *slash = strrchr(folder + root, '/');
        if (!slash) return least;
        *slash = 0;
    }
}

static bool names_cpu(const char *controllers)
{
    size_t length;
    for (const char *name = controllers; *name; name += length + (name[length] == ',')) {
        length = strcspn(name, ",");
        if (length == 3 && strncmp(name, "cpu", 3) == 0) return true;
    }
    return false;
}

/* The quota of one line of /proc/self/cgroup, "number:controllers:path"; version 2 has no controllers. */
static double quota_of_line(const char *root, char *line)
{
    static const char *const mounts[] = {
        "/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpu,cpuacct"};
    char mount[4096];
    double least = 0;
    line[strcspn(line, "\n")] = 0;
    char *controllers = strchr(line, ':'), *group = controllers ? strchr(controllers + 1, ':') : NULL;
    if (!group) return 0;
    *group++ = 0;
    controllers++;
    bool second = *controllers == 0;
    if (!second && !names_cpu(controllers)) return 0;
    for (size_t i = second ? 0 : 2; i < (second ? 2 : 4); i++) {
        snprintf(mount, sizeof mount, "%s%s", root, mounts[i]);
        least = smaller(quota_upwards(mount, group, second ? quota_v2 : quota_v1), least);
    }
    return least;
}

size_t cb_cgroup_cpus(const char *root)
{
    char line[4200];
    double least = 0;
    FILE *groups = open_in(root, "proc/self/cgroup");
    if (!groups) return 0;
    while (fgets(line, sizeof line, groups)) least = smaller(quota_of_line(root, line), least);
    fclose(groups);
    return least <= 0 ? 0 : least < 1 ? 1 : (size_t)least;
}
