/*
 * See folder.h. Entries are sorted in each folder before they are visited, so the outcome does not depend on
 * the file system.
 */
#include "folder.h"

#include "say.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

struct identity {
    dev_t device;
    ino_t inode;
};

/* Open addressing over what has been seen; a slot with inode 0 is free. */
struct seen {
    struct identity *slots;
    size_t capacity, count;
};

struct listing {
    struct folder *folder;
    size_t capacity;
    struct seen seen;
    struct problem *problem;
};

char *path_join(const char *folder, const char *name)
{
    size_t length = strlen(folder), size = length + strlen(name) + 2;
    char *path = malloc(size);
    bool slash = length > 0 && folder[length - 1] == '/';
    if (path) snprintf(path, size, "%s%s%s", folder, slash ? "" : "/", name);
    return path;
}

static size_t seen_slot(const struct seen *seen, struct identity id)
{
    size_t hash = ((size_t)id.inode * 0x9E3779B97F4A7C15u) ^ (size_t)id.device;
    size_t i = hash % seen->capacity;
    while (seen->slots[i].inode && (seen->slots[i].inode != id.inode || seen->slots[i].device != id.device))
        i = (i + 1) % seen->capacity;
    return i;
}

static bool seen_grow(struct seen *seen)
{
    struct seen larger = {.capacity = seen->capacity ? 2 * seen->capacity : 1024, .count = seen->count};
    larger.slots = calloc(larger.capacity, sizeof *larger.slots);
    if (!larger.slots) return false;
    for (size_t i = 0; i < seen->capacity; i++)
        if (seen->slots[i].inode) larger.slots[seen_slot(&larger, seen->slots[i])] = seen->slots[i];
    free(seen->slots);
    *seen = larger;
    return true;
}

/* Adds what is not there yet; *first tells whether it was new. */
static bool seen_add(struct seen *seen, const struct stat *status, bool *first)
{
    if (2 * (seen->count + 1) > seen->capacity && !seen_grow(seen)) return false;
    struct identity id = {status->st_dev, status->st_ino};
    size_t slot = seen_slot(seen, id);
    *first = seen->slots[slot].inode == 0;
    if (*first) {
        seen->slots[slot] = id;
        seen->count++;
    }
    return true;
}

static bool out_of_memory(struct listing *listing)
{
    return problem_set(listing->problem, "no memory for the list of files");
}

static bool keep_path(struct listing *listing, char *path)
{
    struct folder *folder = listing->folder;
    if (folder->count == listing->capacity) {
        size_t capacity = listing->capacity ? 2 * listing->capacity : 256;
        char **paths = realloc(folder->paths, capacity * sizeof *paths);
        if (!paths) return out_of_memory(listing);
        folder->paths = paths;
        listing->capacity = capacity;
    }
    folder->paths[folder->count++] = path;
    return true;
}

static bool is_picture_name(const char *name)
{
    static const char *const endings[] = {".jpg", ".jpeg", ".jpe", ".png"};
    const char *dot = strrchr(name, '.');
    for (size_t i = 0; dot && i < sizeof endings / sizeof *endings; i++)
        if (!strcasecmp(dot, endings[i])) return true;
    return false;
}

static int is_listed(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

static int by_bytes(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static bool visit_folder(struct listing *listing, const char *path);

/* Takes over `path`. */
static bool visit_entry(struct listing *listing, char *path, const char *name)
{
    struct stat status;
    bool first = false, kept = false, visited = true;
    if (!path) return out_of_memory(listing);
    if (stat(path, &status)) {
        if (errno != ENOENT)
            say_warning("%s: %s; left out", path, strerror(errno)); /* ENOENT: a dangling link */
    } else {
        bool folder = S_ISDIR(status.st_mode), picture = S_ISREG(status.st_mode) && is_picture_name(name);
        if ((folder || picture) && !seen_add(&listing->seen, &status, &first))
            visited = out_of_memory(listing);
        else if (first && folder)
            visited = visit_folder(listing, path);
        else if (first && picture)
            visited = kept = keep_path(listing, path);
    }
    if (!kept) free(path);
    return visited;
}

static bool visit_folder(struct listing *listing, const char *path)
{
    struct dirent **entries = NULL;
    int count = scandir(path, &entries, is_listed, by_bytes);
    if (count < 0 && errno == ENOMEM) return out_of_memory(listing);
    if (count < 0) say_warning("%s: %s; the folder is left out", path, strerror(errno));
    bool visited = true;
    for (int i = 0; i < count; i++) {
        const char *name = entries[i]->d_name;
        if (visited) visited = visit_entry(listing, path_join(path, name), name);
        free(entries[i]);
    }
    free(entries);
    return visited;
}

static int by_path(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

bool folder_list(struct folder *folder, const char *root, struct problem *problem)
{
    *folder = (struct folder){0};
    struct stat status;
    if (stat(root, &status)) return problem_set(problem, "%s: %s", root, strerror(errno));
    if (!S_ISDIR(status.st_mode)) return problem_set(problem, "%s: not a folder", root);
    if (access(root, R_OK | X_OK)) return problem_set(problem, "%s: %s", root, strerror(errno));
    struct listing listing = {.folder = folder, .problem = problem};
    bool first, listed = seen_add(&listing.seen, &status, &first) ? visit_folder(&listing, root)
                                                                  : out_of_memory(&listing);
    free(listing.seen.slots);
    if (!listed) folder_free(folder);
    if (folder->count) qsort(folder->paths, folder->count, sizeof *folder->paths, by_path);
    return listed;
}

void folder_free(struct folder *folder)
{
    for (size_t i = 0; i < folder->count; i++) free(folder->paths[i]);
    free(folder->paths);
    *folder = (struct folder){0};
}

/* FNV-1a, 64 bits. */
uint64_t folder_digest(const struct folder *folder, const char *root)
{
    uint64_t hash = UINT64_C(14695981039346656037);
    for (size_t i = 0; i < folder->count; i++) {
        const char *path = folder->paths[i] + strlen(root);
        while (*path == '/') path++;
        do hash = (hash ^ (unsigned char)*path) * UINT64_C(1099511628211);
        while (*path++);
    }
    return hash;
}

bool folder_make(const char *path, struct problem *problem)
{
    char *partial = strdup(path);
    if (!partial) return problem_set(problem, "no memory");
    int failed = 0;
    for (char *at = partial + 1; !failed; at++) {
        char here = *at;
        if (here != '/' && here != '\0') continue;
        *at = '\0';
        failed = mkdir(partial, 0777) && errno != EEXIST ? errno : 0;
        *at = here;
        if (here == '\0') break;
    }
    free(partial);
    if (failed) return problem_set(problem, "cannot make the folder %s: %s", path, strerror(failed));
    struct stat status;
    if (stat(path, &status)) return problem_set(problem, "%s: %s", path, strerror(errno));
    if (!S_ISDIR(status.st_mode)) return problem_set(problem, "%s: not a folder", path);
    return true;
}
