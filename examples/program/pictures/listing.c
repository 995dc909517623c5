/* See listing.h. */
#include "pictures/listing.h"

#include "base/say.h"
#include "pictures/folder.h"
#include "pictures/kind.h"
#include "pictures/left_out.h"
#include "pictures/members.h"
#include "pictures/picture_index.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

/* A source that is being listed. */
struct listing {
    struct index_writer writer;
    struct problem *problem;
    const struct pictures_options *options;
    const char *root;         /* names for the digest begin behind it */
    uint64_t folder, list;    /* containers that are being filled */
    const char *run;          /* the source's folder where that holds a run; NULL */
    size_t archives, damaged; /* tar archives, and how many of them */
    struct problem first_damaged;
    struct left_out left_out;
};

static bool no_memory(const struct listing *listing)
{
    return problem_set(listing->problem, "no memory for the list of pictures");
}

static bool is_archive(const char *name)
{
    const char *dot = strrchr(name, '.');
    return dot && !strcasecmp(dot, ".tar");
}

static const char *last_part(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static bool has_ending(const char *path)
{
    return strchr(last_part(path), '.') != NULL;
}

/* The path within its source, which does not depend on the source's place. */
static const char *within(const struct listing *listing, const char *path)
{
    size_t length = strlen(listing->root);
    if (strncmp(path, listing->root, length)) return path;
    for (path += length; *path == '/';) path++;
    return path;
}

/* Warns of all but the first one immediately. The first may become the error that ends the run. */
static void note_damaged(struct listing *listing, const char *path, const char *reason)
{
    if (listing->damaged++ == 0)
        problem_set(&listing->first_damaged, "%s: %s", path, reason);
    else
        say_warning("%s: %s; the archive is left out", path, reason);
}

/* A damaged archive is left out as a whole; the index is then not reused, so that a repaired one is found. */
static bool leave_out_archive(
    struct listing *listing, const char *path, const struct index_mark *mark, const char *reason)
{
    uint64_t container;
    note_damaged(listing, path, reason);
    return index_rewind(&listing->writer, mark) &&
           index_add_container(&listing->writer, CONTAINER_ARCHIVE, path, NULL, &container);
}

static bool add_open_archive(struct listing *listing, const char *path, int file, const struct stat *status)
{
    struct problem reason = {""};
    struct index_mark mark = index_mark(&listing->writer);
    struct left_out before = listing->left_out;
    struct members members = {.writer = &listing->writer,
        .left_out = &listing->left_out,
        .identity = within(listing, path),
        .keys = listing->options->keys};
    if (!index_add_container(&listing->writer, CONTAINER_ARCHIVE, path, status, &members.container))
        return false;
    listing->writer.problem = &reason;
    enum members_outcome outcome = members_list(&members, file, (uint64_t)status->st_size, &reason);
    listing->writer.problem = listing->problem;
    if (outcome == MEMBERS_LISTED) return true;
    if (outcome == MEMBERS_FAILED) return problem_set(listing->problem, "%s", reason.text);
    listing->left_out = before;
    return leave_out_archive(listing, path, &mark, reason.text);
}

static bool add_archive(struct listing *listing, const char *path)
{
    struct stat status;
    struct index_mark mark = index_mark(&listing->writer);
    const char *reason = NULL;
    listing->archives++;
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (file < 0 || fstat(file, &status))
        reason = strerror(errno);
    else if (!S_ISREG(status.st_mode))
        reason = "not a regular file";
    bool added = reason ? leave_out_archive(listing, path, &mark, reason)
                        : add_open_archive(listing, path, file, &status);
    if (file >= 0) close(file);
    return added;
}

/* Warns of the first damaged archive, too, unless most are damaged, which is a problem. */
static bool most_are_whole(struct listing *listing)
{
    if (listing->damaged == 0) return true;
    if (2 * listing->damaged <= listing->archives) {
        say_warning("%s; the archive is left out", listing->first_damaged.text);
        return true;
    }
    if (listing->archives == 1) return problem_set(listing->problem, "%s", listing->first_damaged.text);
    return problem_set(listing->problem, "%zu of %zu tar archives cannot be read; the first: %s",
        listing->damaged, listing->archives, listing->first_damaged.text);
}

static bool enter_folder(void *user, const char *path, const struct stat *status)
{
    struct listing *listing = user;
    return index_add_container(&listing->writer, CONTAINER_FOLDER, path, status, &listing->folder);
}

/* The pictures in a run are drawings of the program, not photographs. */
static bool is_for_pictures(void *user, const char *path)
{
    struct listing *listing = user;
    if (!folder_holds_run(path)) return true;
    left_out_count(&listing->left_out, "folder", "it holds a run of cribo");
    return false;
}

/* A run's own drawings, when a source is the folder of a run. */
static bool is_drawing(const struct listing *listing, const char *path)
{
    const char *name = last_part(path);
    size_t folder = (size_t)(name - path);
    if (!listing->run || strlen(listing->run) + !(listing->run[strlen(listing->run) - 1] == '/') != folder)
        return false;
    return !strncmp(name, "clusters", 8) || !strncmp(name, "loss", 4) || !strncmp(name, "evaluation", 10);
}

static bool add_file(void *user, const char *path, bool linked)
{
    struct listing *listing = user;
    const char *name = last_part(path);
    bool looked_into = !has_ending(name);
    enum kind_sort sort = looked_into ? kind_of_file(path).sort : KIND_OTHER;
    if (is_archive(name) || sort == KIND_ARCHIVE) return add_archive(listing, path);
    if (is_drawing(listing, path)) {
        left_out_add(&listing->left_out, path, "drawn by a run of cribo");
        return true;
    }
    if (!folder_is_picture(name) && sort != KIND_PICTURE) {
        left_out_file(&listing->left_out, path);
        return true;
    }
    return index_add_entry(&listing->writer, linked ? listing->list : listing->folder, linked ? path : name,
        0, 0, within(listing, path));
}

static bool is_any(const char *name)
{
    (void)name;
    return true;
}

static bool add_folder(struct listing *listing, const char *root)
{
    struct folder_visitor visitor = {.wanted = is_any,
        .enter = is_for_pictures,
        .folder = enter_folder,
        .file = add_file,
        .user = listing};
    listing->root = root;
    listing->run = folder_holds_run(root) ? root : NULL;
    bool added = folder_walk(root, listing->options->skip, &visitor, listing->problem);
    listing->run = NULL;
    return added;
}

/* `line` of the list at `path`, without its end. */
static bool add_line(struct listing *listing, const char *path, const char *line, size_t number)
{
    size_t folder = line[0] == '/' ? 0 : (size_t)(last_part(path) - path);
    char *file;
    if (asprintf(&file, "%.*s%s", (int)folder, path, line) < 0) return no_memory(listing);
    enum kind_sort sort = has_ending(line) ? KIND_OTHER : kind_of_file(file).sort;
    bool added;
    if (is_archive(line) || sort == KIND_ARCHIVE)
        added = add_archive(listing, file);
    else if (folder_is_picture(line) || sort == KIND_PICTURE)
        added = index_add_entry(&listing->writer, listing->list, file, 0, 0, line);
    else
        added = problem_set(listing->problem,
            "%s: line %zu names neither a picture nor a tar archive: %.200s", path, number, line);
    free(file);
    return added;
}

/* The text behind a byte-order mark, which some editors put at a file's beginning. */
static char *behind_mark(char *line)
{
    return strncmp(line, "\xef\xbb\xbf", 3) ? line : line + 3;
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
        const char *text = number == 1 ? behind_mark(line) : line;
        if (text[0]) added = add_line(listing, path, text, number);
    }
    if (added && ferror(list)) added = problem_set(listing->problem, "%s: %s", path, strerror(errno));
    free(line);
    return added;
}

static bool add_list(struct listing *listing, const char *path, const struct stat *status)
{
    FILE *list = fopen(path, "re");
    if (!list) return problem_set(listing->problem, "%s: %s", path, strerror(errno));
    bool added = index_add_container(&listing->writer, CONTAINER_LIST, path, status, &listing->list) &&
                 add_lines(listing, path, list);
    fclose(list);
    return added;
}

/* A source that is a file: classified by a known ending of its name, otherwise by its content. */
static bool add_source_file(struct listing *listing, const char *source, const struct stat *status)
{
    const char *name = last_part(source);
    struct kind kind = kind_of_file(source);
    if (is_archive(name) || kind.sort == KIND_ARCHIVE) return add_archive(listing, source);
    if (folder_is_picture(name) || kind.sort == KIND_PICTURE)
        return index_add_container(&listing->writer, CONTAINER_LIST, source, status, &listing->list) &&
               index_add_entry(&listing->writer, listing->list, source, 0, 0, name);
    if (kind.sort == KIND_TEXT) return add_list(listing, source, status);
    if (kind.sort == KIND_COMPRESSED)
        return problem_set(
            listing->problem, "%s: %s; unpack it to a folder or a plain tar archive", source, kind.name);
    return problem_set(listing->problem,
        "%s: %s, neither a %s picture, a plain tar archive nor a list of paths", source, kind.name,
        kind_formats);
}

static bool add_source(struct listing *listing, const char *source)
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
        /* Linked files count like files of a list that is always read again. */
        return index_add_container(&listing->writer, CONTAINER_LIST, source, &status, &listing->list) &&
               add_folder(listing, source);
    }
    if (!S_ISREG(status.st_mode)) return problem_set(listing->problem, "%s: not a regular file", source);
    char *root = strndup(source, (size_t)(last_part(source) - source));
    if (!root) return no_memory(listing);
    listing->root = root;
    added = add_source_file(listing, source, &status);
    listing->root = "";
    free(root);
    return added;
}

static void say_left_out(const struct listing *listing)
{
    char text[4096];
    left_out_print(&listing->left_out, text, sizeof text);
    if (text[0]) say_note("left out: %s", text);
}

bool listing_make(const char *index, char *const *sources, size_t count,
    const struct pictures_options *options, struct problem *problem)
{
    struct listing *listing = calloc(1, sizeof *listing);
    if (!listing) return problem_set(problem, "no memory for the list of pictures");
    listing->problem = problem;
    listing->options = options;
    listing->root = "";
    bool listed = index_begin(&listing->writer, index, problem);
    if (listed) {
        uint64_t container;
        if (options->keys)
            listed = index_add_container(&listing->writer, CONTAINER_KEYS, options->keys, NULL, &container);
        for (size_t i = 0; i < count && listed; i++) listed = add_source(listing, sources[i]);
        listed = index_end(&listing->writer, listed && most_are_whole(listing));
    }
    if (listed) say_left_out(listing);
    free(listing);
    return listed;
}
