/* See members.h. Files of a sample are adjacent, so one sample at a time is kept. */
#include "pictures/members.h"

#include "pictures/folder.h"
#include "pictures/tar.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* A file of the current sample. */
struct file {
    char *name;
    size_t key, ending; /* the length of the key with its folder, where the ending begins */
    uint64_t offset, size;
};

/* The places of the archive's files, for hard links: open addressing by a hash of the name, 0: free. */
struct place {
    uint64_t hash, offset, size;
};

enum { MOST_SAMPLE = 64, MOST_PLACES = 1 << 22 };

struct reading {
    const struct members *members;
    struct file sample[MOST_SAMPLE];
    size_t files;
    struct place *places;
    size_t capacity, count;
    bool failed;
    struct problem *problem;
};

static uint64_t hash_of(const char *name)
{
    uint64_t hash = UINT64_C(14695981039346656037);
    while (!strncmp(name, "./", 2)) name += 2;
    for (; *name; name++) hash = (hash ^ (unsigned char)*name) * UINT64_C(1099511628211);
    return hash ? hash : 1;
}

static struct place *find_place(struct place *places, size_t capacity, uint64_t hash)
{
    size_t i = (size_t)(hash % capacity);
    while (places[i].hash && places[i].hash != hash) i = (i + 1) % capacity;
    return &places[i];
}

static bool grow(struct reading *reading)
{
    size_t capacity = reading->capacity ? 2 * reading->capacity : 256;
    struct place *places = calloc(capacity, sizeof *places);
    if (!places) return problem_no_memory(reading->problem);
    for (size_t i = 0; i < reading->capacity; i++)
        if (reading->places[i].hash)
            *find_place(places, capacity, reading->places[i].hash) = reading->places[i];
    free(reading->places);
    reading->places = places;
    reading->capacity = capacity;
    return true;
}

/* Of very large archives only the first files are remembered. */
static bool remember(struct reading *reading, const struct tar_member *member)
{
    if (reading->count == MOST_PLACES) return true;
    if (2 * (reading->count + 1) > reading->capacity && !grow(reading)) return false;
    struct place *place = find_place(reading->places, reading->capacity, hash_of(member->name));
    reading->count += place->hash == 0;
    *place = (struct place){hash_of(member->name), member->offset, member->size};
    return true;
}

static const struct place *find_target(const struct reading *reading, const char *target)
{
    if (reading->capacity == 0) return NULL;
    const struct place *place = find_place(reading->places, reading->capacity, hash_of(target));
    return place->hash ? place : NULL;
}

/* Whether a part of the path begins with a dot and is not "." or "..". */
static bool is_hidden(const char *path)
{
    for (const char *part = path; part; part = strchr(part, '/') ? strchr(part, '/') + 1 : NULL) {
        size_t length = strcspn(part, "/");
        if (part[0] == '.' && !(length == 1 || (length == 2 && part[1] == '.'))) return true;
    }
    return false;
}

/* Whether the ending is in the list. */
static bool is_among(const char *keys, const char *ending)
{
    size_t length = strlen(ending);
    for (const char *key = keys; *key; key += strcspn(key, ","), key += *key == ',') {
        if (*key == '.') key++;
        if (strcspn(key, ",") == length && !strncasecmp(key, ending, length)) return true;
    }
    return false;
}

static bool add_entry(const struct reading *reading, const struct file *file)
{
    const struct members *members = reading->members;
    char *identity;
    if (asprintf(&identity, "%s:%s", members->identity, file->name) < 0)
        return problem_no_memory(reading->problem);
    bool added =
        index_add_entry(members->writer, members->container, file->name, file->offset, file->size, identity);
    free(identity);
    return added;
}

static bool is_plain(const struct file *file)
{
    return !strchr(file->name + file->ending, '.');
}

/* Adds the pictures of the current sample, and clears it. */
static bool end_sample(struct reading *reading)
{
    bool added = true, plain = false;
    for (size_t i = 0; i < reading->files; i++) plain |= is_plain(&reading->sample[i]);
    for (size_t i = 0; i < reading->files; i++) {
        struct file *file = &reading->sample[i];
        if (plain && !is_plain(file) && !reading->members->keys)
            left_out_add(reading->members->left_out, file->name, "another part of a sample; --keys takes it");
        else
            added = added && add_entry(reading, file);
        free(file->name);
    }
    reading->files = 0;
    return added;
}

static bool add_to_sample(struct reading *reading, struct file file)
{
    const struct file *first = reading->sample;
    bool same = reading->files > 0 && reading->files < MOST_SAMPLE && first->key == file.key &&
                !strncmp(first->name, file.name, file.key);
    if (!same && reading->files > 0 && !end_sample(reading)) return false;
    file.name = strdup(file.name);
    if (!file.name) return problem_no_memory(reading->problem);
    reading->sample[reading->files++] = file;
    return true;
}

static bool take_member(struct reading *reading, const struct tar_member *member)
{
    const struct members *members = reading->members;
    const char *slash = strrchr(member->name, '/'), *base = slash ? slash + 1 : member->name;
    const struct place *place = member->kind == TAR_HARD_LINK ? find_target(reading, member->target) : NULL;
    struct file file = {.name = (char *)member->name, .offset = member->offset, .size = member->size};
    if (member->kind == TAR_FILE && !remember(reading, member)) return false;
    if (is_hidden(member->name)) return true;
    file.key = (size_t)(base - member->name) + strcspn(base, ".");
    file.ending = file.key + (member->name[file.key] == '.');
    const char *reason = NULL;
    if (!folder_is_picture(base))
        reason = "in archives, no picture by its name";
    else if (members->keys && !is_among(members->keys, member->name + file.ending))
        reason = "not among --keys";
    else if (member->kind == TAR_SYMBOLIC_LINK)
        reason = "a symbolic link in an archive";
    else if (member->kind == TAR_HARD_LINK && !place)
        reason = "a hard link in an archive to no file before it";
    if (reason) {
        left_out_add(members->left_out, base, reason);
        return true;
    }
    if (place) file.offset = place->offset, file.size = place->size;
    return add_to_sample(reading, file);
}

static bool visit(void *user, const struct tar_member *member)
{
    struct reading *reading = user;
    reading->failed = !take_member(reading, member);
    return !reading->failed;
}

enum members_outcome members_list(
    const struct members *members, int file, uint64_t bytes, struct problem *problem)
{
    struct reading *reading = calloc(1, sizeof *reading);
    if (!reading) {
        problem_no_memory(problem);
        return MEMBERS_FAILED;
    }
    reading->members = members;
    reading->problem = problem;
    bool listed = tar_list(file, bytes, visit, reading, problem);
    if (listed) reading->failed = !end_sample(reading);
    enum members_outcome outcome = reading->failed ? MEMBERS_FAILED
                                   : listed        ? MEMBERS_LISTED
                                                   : MEMBERS_DAMAGED;
    for (size_t i = 0; i < reading->files; i++) free(reading->sample[i].name);
    free(reading->places);
    free(reading);
    return outcome;
}
