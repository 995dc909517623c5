/* See checkpoints.h. */
#include "session/checkpoints.h"

#include "base/say.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { KEYS = 8 };
static const char *const keys[KEYS] = {
    "batches", "pictures", "folder", "preset", "broken", "watch", "augmentation", "time"};

/* Its step when the name is that of a checkpoint, else -1. */
static int64_t step_of(const char *name)
{
    int64_t step;
    int end = 0;
    if (sscanf(name, "checkpoint-%" SCNd64 ".safetensors.gz%n", &step, &end) < 1) return -1;
    return end > 0 && name[end] == '\0' && step >= 0 ? step : -1;
}

static int is_checkpoint(const struct dirent *entry)
{
    return step_of(entry->d_name) >= 0;
}

static bool ends_with(const char *name, const char *ending)
{
    size_t length = strlen(name), tail = strlen(ending);
    return length >= tail && !strcmp(name + length - tail, ending);
}

/* The library writes FILE.PID-N.tmp before it renames it. */
static int is_left_over(const struct dirent *entry)
{
    const char *name = entry->d_name;
    return (!strncmp(name, "checkpoint-", 11) || !strncmp(name, "weights.safetensors.", 20) ||
               !strncmp(name, "best.safetensors.", 17)) &&
           ends_with(name, ".tmp");
}

static int is_of_old_run(const struct dirent *entry)
{
    return is_left_over(entry) ||
           (!strncmp(entry->d_name, "checkpoint-", 11) && ends_with(entry->d_name, ".damaged"));
}

static int newest_first(const struct dirent **a, const struct dirent **b)
{
    int64_t left = step_of((*a)->d_name), right = step_of((*b)->d_name);
    return (left < right) - (left > right);
}

static void free_entries(struct dirent **entries, int count)
{
    for (int i = 0; i < count; i++) free(entries[i]);
    free(entries);
}

bool checkpoints_list(struct folder *checkpoints, const char *folder, struct problem *problem)
{
    struct dirent **entries = NULL;
    *checkpoints = (struct folder){0};
    int count = scandir(folder, &entries, is_checkpoint, newest_first);
    if (count < 0 && errno != ENOENT) return problem_set(problem, "%s: %s", folder, strerror(errno));
    bool listed = count <= 0 || (checkpoints->paths = calloc((size_t)count, sizeof *checkpoints->paths));
    for (int i = 0; i < count && listed; i++) {
        listed = (checkpoints->paths[i] = path_join(folder, entries[i]->d_name));
        checkpoints->count += listed;
    }
    free_entries(entries, count);
    if (!listed) folder_free(checkpoints);
    return listed || problem_no_memory(problem);
}

bool checkpoints_newest(char **path, const char *folder, struct problem *problem)
{
    struct folder checkpoints;
    *path = NULL;
    if (!checkpoints_list(&checkpoints, folder, problem)) return false;
    bool found = checkpoints.count == 0 || (*path = strdup(checkpoints.paths[0]));
    folder_free(&checkpoints);
    return found || problem_no_memory(problem);
}

void checkpoints_set_aside(const char *path)
{
    char *aside;
    if (asprintf(&aside, "%s.damaged", path) < 0) return;
    if (rename(path, aside)) say_warning("cannot rename %s: %s", path, strerror(errno));
    free(aside);
}

static void remove_files(const char *folder, struct dirent **entries, int count)
{
    for (int i = 0; i < count; i++) {
        char *path = path_join(folder, entries[i]->d_name);
        if (!path || unlink(path))
            say_warning("cannot remove %s/%s: %s", folder, entries[i]->d_name, strerror(errno));
        free(path);
    }
}

void checkpoints_prune(const char *folder, int keep)
{
    struct dirent **entries = NULL;
    int count = scandir(folder, &entries, is_checkpoint, newest_first);
    if (count > keep) remove_files(folder, entries + keep, count - keep);
    free_entries(entries, count);
    entries = NULL;
    count = scandir(folder, &entries, keep > 0 ? is_left_over : is_of_old_run, NULL);
    if (count > 0) remove_files(folder, entries, count);
    free_entries(entries, count);
}

/* "3,17", from malloc; NULL without memory. */
static char *list_broken(const struct position *position)
{
    char *text = NULL;
    size_t size;
    FILE *stream = open_memstream(&text, &size);
    for (size_t i = 0; stream && i < position->broken_count; i++)
        fprintf(stream, i ? ",%" PRIu32 : "%" PRIu32, position->broken[i]);
    if (stream && fclose(stream) == 0) return text;
    free(text);
    return NULL;
}

static bool write_checkpoint(const char *path, struct state_source source, const struct position *position,
    int64_t level, const char *broken, struct problem *problem)
{
    char batches[32], files[32], digest[32];
    const char *const values[KEYS] = {
        batches, files, digest, position->preset, broken, position->watch, position->recipe, position->time};
    cribo_save_options options = {.struct_size = sizeof options,
        .level = level,
        .metadata_count = KEYS,
        .metadata_keys = keys,
        .metadata_values = values};
    snprintf(batches, sizeof batches, "%" PRIu64, position->batches);
    snprintf(files, sizeof files, "%zu", position->files);
    snprintf(digest, sizeof digest, "%016" PRIx64, position->digest);
    cribo_status status = source.snapshot ? cribo_snapshot_save(source.snapshot, path, &options)
                                          : cribo_trainer_save(source.trainer, path, &options);
    return status == CRIBO_OK || problem_library(problem);
}

bool checkpoints_save(const char *folder, struct state_source source, int64_t step,
    const struct position *position, struct keeping keeping, struct problem *problem)
{
    char name[64];
    snprintf(name, sizeof name, "checkpoint-%08" PRId64 ".safetensors.gz", step);
    char *path = path_join(folder, name), *broken = list_broken(position);
    bool saved = path && broken ? write_checkpoint(path, source, position, keeping.level, broken, problem)
                                : problem_no_memory(problem);
    free(broken);
    free(path);
    if (saved && keeping.keep > 0) checkpoints_prune(folder, keeping.keep);
    return saved;
}

static bool read_text(const char *path, const char *key, char *text, size_t size, struct problem *problem)
{
    return cribo_checkpoint_metadata(path, key, text, size) == CRIBO_OK ||
           problem_set(problem, "%s; only checkpoints of cribo pretrain can be resumed", cribo_last_error());
}

static bool read_number(
    const char *path, const char *key, int base, uint64_t *number, struct problem *problem)
{
    char text[32], *end;
    if (!read_text(path, key, text, sizeof text, problem)) return false;
    errno = 0;
    *number = strtoull(text, &end, base);
    return (end != text && *end == '\0' && !errno) ||
           problem_set(problem, "%s: \"%s\" is no number: %s", path, key, text);
}

/* Text of any length, from malloc; NULL after a problem. */
static char *read_long_text(const char *path, const char *key, size_t most, struct problem *problem)
{
    for (size_t size = 1 << 12; size <= most + (1 << 12); size *= 4) {
        char *text = malloc(size);
        if (!text) {
            problem_set(problem, "no memory for \"%s\" of %s", key, path);
            return NULL;
        }
        if (read_text(path, key, text, size, problem)) return text;
        free(text);
    }
    return NULL;
}

static bool parse_broken(struct position *position, const char *text)
{
    while (*text && position->broken_count < position->files) {
        char *end;
        unsigned long number = strtoul(text, &end, 10);
        if (end == text || number >= position->files || (*end && *end != ',')) return false;
        position->broken[position->broken_count++] = (uint32_t)number;
        text = *end ? end + 1 : end;
    }
    return *text == '\0';
}

static bool read_broken(struct position *position, const char *path, struct problem *problem)
{
    size_t most = 11 * position->files + 1, count = 1; /* ten digits and a comma each */
    char *text = read_long_text(path, "broken", most, problem);
    if (!text) return false;
    for (const char *c = text; *c; c++) count += *c == ',';
    position->broken = malloc(count * sizeof *position->broken);
    bool read = position->broken || problem_no_memory(problem);
    if (read && !parse_broken(position, text))
        read = problem_set(problem, "%s: \"broken\" is no list of pictures", path);
    free(text);
    return read;
}

bool position_read(struct position *position, const char *path, struct problem *problem)
{
    uint64_t files = 0;
    *position = (struct position){0};
    bool read = read_number(path, "batches", 10, &position->batches, problem) &&
                read_number(path, "pictures", 10, &files, problem) &&
                read_number(path, "folder", 16, &position->digest, problem) &&
                read_text(path, "preset", position->preset, sizeof position->preset, problem);
    if (read && cribo_checkpoint_metadata(path, "watch", position->watch, sizeof position->watch) != CRIBO_OK)
        position->watch[0] = '\0';
    if (read && cribo_checkpoint_metadata(path, "augmentation", position->recipe, sizeof position->recipe) !=
                    CRIBO_OK)
        position->recipe[0] = '\0';
    if (read && cribo_checkpoint_metadata(path, "time", position->time, sizeof position->time) != CRIBO_OK)
        position->time[0] = '\0';
    if (read && files > UINT32_MAX) read = problem_set(problem, "%s: \"pictures\" is too large", path);
    position->files = (size_t)files;
    if (read && read_broken(position, path, problem)) return true;
    position_free(position);
    return false;
}

void position_free(struct position *position)
{
    free(position->broken);
    *position = (struct position){0};
}
