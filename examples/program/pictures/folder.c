/* See folder.h. */
#include "pictures/folder.h"

#include "base/say.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

struct identity {
    dev_t device;
    ino_t inode;
};

/* Visited files and folders, by open addressing; a slot with inode 0 is free. */
struct seen {
    struct identity *slots;
    size_t capacity, count;
};

struct walk {
    const struct folder_visitor *visitor;
    struct seen seen;     /* folders, and files that links lead to */
    struct folder linked; /* links to files, which come last */
    size_t linked_capacity;
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

/* Adds an entry unless it exists; *first: whether it was new. */
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

static bool seen_has(const struct seen *seen, const struct stat *status)
{
    struct identity id = {status->st_dev, status->st_ino};
    return seen->capacity > 0 && seen->slots[seen_slot(seen, id)].inode != 0;
}

static bool out_of_memory(struct problem *problem)
{
    return problem_no_memory(problem);
}

/* Takes over `path`, which may be NULL when there was no memory for it. */
static bool keep_path(struct folder *folder, size_t *capacity, char *path, struct problem *problem)
{
    if (path && folder->count == *capacity) {
        size_t larger = *capacity ? 2 * *capacity : 256;
        char **paths = realloc(folder->paths, larger * sizeof *paths);
        if (paths) {
            folder->paths = paths;
            *capacity = larger;
        }
    }
    if (!path || folder->count == *capacity) {
        free(path);
        return out_of_memory(problem);
    }
    folder->paths[folder->count++] = path;
    return true;
}

static bool holds(const char *folder, const char *name)
{
    char *path = path_join(folder, name);
    bool is_there = path && access(path, F_OK) == 0;
    free(path);
    return is_there;
}

bool folder_holds_run(const char *path)
{
    return holds(path, "config.json") && holds(path, "log.jsonl");
}

bool folder_is_picture(const char *name)
{
    static const char *const endings[] = {
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".jif",
        ".jfi",
        ".pjpeg",
        ".png",
        ".apng",
#ifdef CRIBO_WEBP
        ".webp",
#endif
    };
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

/* The kind of a folder's entry, or of the target of a link; DT_UNKNOWN: neither file nor folder. */
struct target {
    unsigned char kind; /* DT_DIR, DT_REG, DT_UNKNOWN */
    bool linked;
    struct stat status; /* of all but plain files, which it would cost a call each */
};

static struct target look_at(const char *path, unsigned char kind, bool warn)
{
    struct target target = {.kind = kind};
    if (kind == DT_REG) return target;
    target.kind = DT_UNKNOWN;
    if (kind == DT_UNKNOWN && lstat(path, &target.status) == 0)
        target.linked = S_ISLNK(target.status.st_mode);
    else
        target.linked = kind == DT_LNK;
    if (stat(path, &target.status)) {
        if (warn && errno != ENOENT) /* a dangling link */
            say_warning("%s: %s; left out", path, strerror(errno));
        return target;
    }
    if (S_ISDIR(target.status.st_mode)) target.kind = DT_DIR;
    if (S_ISREG(target.status.st_mode)) target.kind = DT_REG;
    return target;
}

static bool walk_folder(struct walk *walk, const char *path, const struct stat *status);

/* Takes over `path`. Files in the first pass over a folder, folders in the second. */
static bool walk_entry(struct walk *walk, char *path, const struct dirent *entry, bool folders)
{
    const struct folder_visitor *visitor = walk->visitor;
    bool walked = true, first = false, wanted = visitor->wanted(entry->d_name);
    if (!path) return out_of_memory(walk->problem);
    bool plain = entry->d_type == DT_REG;
    struct target target = {.kind = DT_UNKNOWN};
    if (plain ? wanted && !folders : wanted || folders)
        target = look_at(path, entry->d_type, wanted != folders);
    if (target.kind == DT_DIR && folders) {
        walked = seen_add(&walk->seen, &target.status, &first) || out_of_memory(walk->problem);
        bool entered = first && (!visitor->enter || visitor->enter(visitor->user, path));
        if (walked && entered) walked = walk_folder(walk, path, &target.status);
    } else if (target.kind == DT_REG && wanted && !folders && !target.linked) {
        walked = visitor->file(visitor->user, path, false);
    } else if (target.kind == DT_REG && wanted && !folders) {
        return keep_path(&walk->linked, &walk->linked_capacity, path, walk->problem);
    }
    free(path);
    return walked;
}

static bool announce(const struct walk *walk, const char *path, const struct stat *status)
{
    const struct folder_visitor *visitor = walk->visitor;
    return !visitor->folder || visitor->folder(visitor->user, path, status);
}

static bool walk_folder(struct walk *walk, const char *path, const struct stat *status)
{
    struct dirent **entries = NULL;
    int count = scandir(path, &entries, is_listed, by_bytes);
    if (count < 0 && errno == ENOMEM) return out_of_memory(walk->problem);
    if (count < 0) say_warning("%s: %s; the folder is left out", path, strerror(errno));
    bool walked = announce(walk, path, count < 0 ? NULL : status);
    for (int pass = 0; pass < 2; pass++)
        for (int i = 0; i < count && walked; i++)
            walked = walk_entry(walk, path_join(path, entries[i]->d_name), entries[i], pass == 1);
    for (int i = 0; i < count; i++) free(entries[i]);
    free(entries);
    return walked;
}

/* Whether the target of a link was visited in its own folder; then the folder was visited, too. */
static bool was_visited(const struct walk *walk, const char *link)
{
    struct stat status;
    char *file = realpath(link, NULL), *slash = file ? strrchr(file, '/') : NULL;
    bool visited = false;
    if (slash && slash[1] != '.' && walk->visitor->wanted(slash + 1)) {
        *slash = '\0';
        visited = stat(slash == file ? "/" : file, &status) == 0 && seen_has(&walk->seen, &status);
    }
    free(file);
    return visited;
}

static bool walk_links(struct walk *walk)
{
    bool walked = true;
    for (size_t i = 0; i < walk->linked.count && walked; i++) {
        const char *link = walk->linked.paths[i];
        struct stat status;
        bool first = false;
        if (stat(link, &status) || was_visited(walk, link)) continue;
        walked = seen_add(&walk->seen, &status, &first) || out_of_memory(walk->problem);
        if (first) walked = walk->visitor->file(walk->visitor->user, link, true);
    }
    return walked;
}

bool folder_walk(
    const char *root, const char *skip, const struct folder_visitor *visitor, struct problem *problem)
{
    struct stat status, skipped;
    if (stat(root, &status)) return problem_set(problem, "%s: %s", root, strerror(errno));
    if (!S_ISDIR(status.st_mode)) return problem_set(problem, "%s: not a folder", root);
    if (access(root, R_OK | X_OK)) return problem_set(problem, "%s: %s", root, strerror(errno));
    struct walk walk = {.visitor = visitor, .problem = problem};
    bool first, walked = seen_add(&walk.seen, &status, &first);
    if (walked && skip && stat(skip, &skipped) == 0) walked = seen_add(&walk.seen, &skipped, &first);
    walked = walked ? walk_folder(&walk, root, &status) && walk_links(&walk) : out_of_memory(problem);
    free(walk.seen.slots);
    folder_free(&walk.linked);
    return walked;
}

struct listing {
    struct folder *folder;
    size_t capacity;
    struct problem *problem;
};

static bool list_file(void *user, const char *path, bool linked)
{
    struct listing *listing = user;
    (void)linked;
    return keep_path(listing->folder, &listing->capacity, strdup(path), listing->problem);
}

static int by_path(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

bool folder_list(struct folder *folder, const char *root, struct problem *problem)
{
    struct listing listing = {.folder = folder, .problem = problem};
    struct folder_visitor visitor = {.wanted = folder_is_picture, .file = list_file, .user = &listing};
    *folder = (struct folder){0};
    bool listed = folder_walk(root, NULL, &visitor, problem);
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

bool folder_make(const char *path, struct problem *problem)
{
    char *partial = strdup(path);
    if (!partial) return problem_no_memory(problem);
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
