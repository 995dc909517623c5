/* See pictures.h. */
#include "pictures/pictures.h"

#include "pictures/folder.h"
#include "pictures/picture_index.h"
#include "pictures/tar.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <unistd.h>

/* A source that is being listed. */
struct listing {
    struct index_writer writer;
    struct problem *problem;
    const char *root;               /* names for the digest begin behind it */
    uint64_t folder, archive, list; /* containers that are being filled */
    const char *archive_path;
};

void pictures_close(struct pictures *pictures)
{
    if (pictures->map) munmap(pictures->map, pictures->bytes);
    *pictures = (struct pictures){0};
}

static bool is_archive(const char *name)
{
    const char *dot = strrchr(name, '.');
    return dot && !strcasecmp(dot, ".tar");
}

static bool is_wanted(const char *name)
{
    return folder_is_picture(name) || is_archive(name);
}

static const char *last_part(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* The path within its source: what stays when the source lies elsewhere. */
static const char *within(const struct listing *listing, const char *path)
{
    size_t length = strlen(listing->root);
    if (strncmp(path, listing->root, length)) return path;
    for (path += length; *path == '/';) path++;
    return path;
}

static bool add_member(void *user, const struct tar_member *member)
{
    struct listing *listing = user;
    const char *name = last_part(member->name);
    if (member->kind != TAR_FILE || name[0] == '.' || !folder_is_picture(name)) return true;
    char *identity;
    if (asprintf(&identity, "%s:%s", within(listing, listing->archive_path), member->name) < 0)
        return problem_set(listing->problem, "no memory for the list of pictures");
    bool added = index_add_entry(
        &listing->writer, listing->archive, member->name, member->offset, member->size, identity);
    free(identity);
    return added;
}

static bool add_open_archive(struct listing *listing, const char *path, int file)
{
    struct stat status;
    struct problem reason;
    if (fstat(file, &status)) return problem_set(listing->problem, "%s: %s", path, strerror(errno));
    if (!S_ISREG(status.st_mode)) return problem_set(listing->problem, "%s: not a regular file", path);
    listing->archive_path = path;
    struct problem *problem = listing->problem;
    if (!index_add_container(&listing->writer, CONTAINER_ARCHIVE, path, &status, &listing->archive))
        return false;
    listing->problem = listing->writer.problem = &reason;
    bool listed = tar_list(file, (uint64_t)status.st_size, add_member, listing, &reason);
    listing->problem = listing->writer.problem = problem;
    return listed || problem_set(problem, "%s: %s", path, reason.text);
}

static bool add_archive(struct listing *listing, const char *path)
{
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (file < 0) return problem_set(listing->problem, "%s: %s", path, strerror(errno));
    bool added = add_open_archive(listing, path, file);
    close(file);
    return added;
}

static bool enter_folder(void *user, const char *path, const struct stat *status)
{
    struct listing *listing = user;
    return index_add_container(&listing->writer, CONTAINER_FOLDER, path, status, &listing->folder);
}

static bool add_file(void *user, const char *path, bool linked)
{
    struct listing *listing = user;
    const char *identity = within(listing, path);
    if (is_archive(path)) return add_archive(listing, path);
    return index_add_entry(&listing->writer, linked ? listing->list : listing->folder,
        linked ? path : last_part(path), 0, 0, identity);
}

static bool add_folder(struct listing *listing, const char *root, const char *skip)
{
    struct folder_visitor visitor = {
        .wanted = is_wanted, .folder = enter_folder, .file = add_file, .user = listing};
    listing->root = root;
    return folder_walk(root, skip, &visitor, listing->problem);
}

/* `line` of the list at `path`, without its end. */
static bool add_line(struct listing *listing, const char *path, const char *line, size_t number)
{
    size_t folder = line[0] == '/' ? 0 : (size_t)(last_part(path) - path);
    char *file;
    if (!is_wanted(line))
        return problem_set(listing->problem, "%s: line %zu names neither a picture nor a tar archive: %.200s",
            path, number, line);
    if (asprintf(&file, "%.*s%s", (int)folder, path, line) < 0)
        return problem_set(listing->problem, "no memory for the list of pictures");
    bool added = is_archive(line) ? add_archive(listing, file)
                                  : index_add_entry(&listing->writer, listing->list, file, 0, 0, line);
    free(file);
    return added;
}

static bool add_lines(struct listing *listing, const char *path, FILE *list)
{
    char *line = NULL;
    size_t capacity = 0, number = 0;
    bool added = true;
    for (ssize_t length; added && (length = getline(&line, &capacity, list)) >= 0;) {
        number++;
        if (memchr(line, '\0', (size_t)length)) {
            added = problem_set(listing->problem,
                "%s: neither a folder, a picture, a tar archive nor a list of paths (line %zu has a zero "
                "byte)",
                path, number);
            continue;
        }
        line[strcspn(line, "\r\n")] = '\0';
        if (line[0]) added = add_line(listing, path, line, number);
    }
    if (added && ferror(list)) added = problem_set(listing->problem, "%s: %s", path, strerror(errno));
    free(line);
    return added;
}

static bool add_list(struct listing *listing, const char *path, const struct stat *status)
{
    FILE *list = fopen(path, "re");
    if (!list) return problem_set(listing->problem, "%s: %s", path, strerror(errno));
    size_t folder = (size_t)(last_part(path) - path);
    char *root = strndup(path, folder);
    listing->root = root ? root : "";
    bool added = root ? index_add_container(&listing->writer, CONTAINER_LIST, path, status, &listing->list) &&
                            add_lines(listing, path, list)
                      : problem_set(listing->problem, "no memory for the list of pictures");
    listing->root = "";
    free(root);
    fclose(list);
    return added;
}

static bool add_source(struct listing *listing, const char *source, const char *skip)
{
    struct stat status;
    char *real = realpath(source, NULL);
    if (!real || stat(source, &status)) {
        free(real);
        return problem_set(listing->problem, "%s: %s", source, strerror(errno));
    }
    bool added = index_add_source(&listing->writer, source, real);
    free(real);
    if (!added) return false;
    if (S_ISDIR(status.st_mode)) {
        /* Linked files count as in a list that is always to be looked at again. */
        return index_add_container(&listing->writer, CONTAINER_LIST, source, &status, &listing->list) &&
               add_folder(listing, source, skip);
    }
    if (!S_ISREG(status.st_mode)) return problem_set(listing->problem, "%s: not a regular file", source);
    const char *name = last_part(source);
    char *root = strndup(source, (size_t)(name - source));
    if (!root) return problem_set(listing->problem, "no memory for the list of pictures");
    listing->root = root;
    if (is_archive(name))
        added = add_archive(listing, source);
    else if (folder_is_picture(name))
        added = index_add_container(&listing->writer, CONTAINER_LIST, source, &status, &listing->list) &&
                index_add_entry(&listing->writer, listing->list, source, 0, 0, name);
    else
        added = add_list(listing, source, &status);
    listing->root = "";
    free(root);
    return added;
}

static bool list_sources(
    const char *index, char *const *sources, size_t count, const char *skip, struct problem *problem)
{
    struct listing listing = {.problem = problem, .root = ""};
    if (!index_begin(&listing.writer, index, problem)) return false;
    bool listed = true;
    for (size_t i = 0; i < count && listed; i++) listed = add_source(&listing, sources[i], skip);
    return index_end(&listing.writer, listed);
}

static bool is_unchanged(const struct picture_container *container, const char *name)
{
    struct stat status;
    if (container->seconds < 0 || stat(name, &status)) return false;
    return status.st_mtim.tv_sec == container->seconds && status.st_mtim.tv_nsec == container->nanoseconds &&
           (container->kind == CONTAINER_FOLDER || (uint64_t)status.st_size == container->bytes);
}

/* Is container `i` source number `source` of those given, by its name and by where that leads? */
static bool is_source(
    const struct pictures *pictures, const struct picture_container *container, const char *source)
{
    char *real = realpath(source, NULL);
    bool same = real && !strcmp(pictures->names + container->name, source) &&
                !strcmp(pictures->names + container->bytes, real);
    free(real);
    return same;
}

static bool still_holds(const struct pictures *pictures, char *const *sources, size_t count)
{
    const struct picture_container *end = (const void *)((const char *)pictures->map + pictures->bytes);
    size_t source = 0;
    for (const struct picture_container *c = pictures->containers; c < end; c++) {
        bool holds = c->kind == CONTAINER_SOURCE ? source < count && is_source(pictures, c, sources[source])
                                                 : is_unchanged(c, pictures->names + c->name);
        if (!holds) return false;
        source += c->kind == CONTAINER_SOURCE;
    }
    return source == count;
}

bool pictures_open(struct pictures *pictures, const char *index, char *const *sources, size_t count,
    const char *skip, struct problem *problem)
{
    if (index_map(pictures, index)) {
        pictures->kept = still_holds(pictures, sources, count);
        if (pictures->kept) return true;
        pictures_close(pictures);
    }
    if (!list_sources(index, sources, count, skip, problem)) return false;
    return index_map(pictures, index) || problem_set(problem, "cannot read %s again", index);
}

static const struct picture_container *container_of(
    const struct pictures *pictures, const struct picture_entry *entry)
{
    return &pictures->containers[entry->container];
}

void pictures_name(const struct pictures *pictures, size_t i, char *name, size_t size)
{
    const struct picture_entry *entry = &pictures->entries[i];
    const struct picture_container *container = container_of(pictures, entry);
    const char *own = pictures->names + entry->name, *outer = pictures->names + container->name;
    bool slash = outer[0] && outer[strlen(outer) - 1] == '/';
    if (container->kind == CONTAINER_FOLDER)
        snprintf(name, size, "%s%s%s", outer, slash ? "" : "/", own);
    else if (container->kind == CONTAINER_ARCHIVE)
        snprintf(name, size, "%s: %s", outer, own);
    else
        snprintf(name, size, "%s", own);
}

bool pictures_load(const struct pictures *pictures, size_t i, struct image *image, int channels,
    double least_side, struct problem *problem)
{
    const struct picture_entry *entry = &pictures->entries[i];
    const struct picture_container *container = container_of(pictures, entry);
    char path[2 * 4096];
    if (container->kind == CONTAINER_ARCHIVE)
        return image_load_part(image, pictures->names + container->name, entry->offset, entry->size, channels,
            least_side, problem);
    pictures_name(pictures, i, path, sizeof path);
    return image_load(image, path, channels, least_side, problem);
}
