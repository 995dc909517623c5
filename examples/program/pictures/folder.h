/*
 * The files of a folder and all folders in it: visited one by one, or the pictures among them as a list.
 */
#ifndef FOLDER_H
#define FOLDER_H

#include "base/problem.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

/*
 * Does the name end in .jpg, .jpeg, .jpe, .jfif, .jif, .jfi, .pjpeg, .png, .apng or, where WebP is read,
 * .webp, in any case?
 */
bool folder_is_picture(const char *name);

/* Whether a run of cribo has written to this folder (it has a run's settings and log). */
bool folder_holds_run(const char *path);

/*
 * The callbacks of folder_walk; each returns false to end the walk, after it has set the walk's problem.
 *
 * wanted   which files count, by name
 * enter    whether to go into a folder inside of the root; NULL: into all
 * folder   a folder that is gone into, before its files; `status` of before it was read. May be NULL
 * file     a file, in the folder that was announced last where `linked` is false; else a link in some folder
 */
struct folder_visitor {
    bool (*wanted)(const char *name);
    bool (*enter)(void *user, const char *path);
    bool (*folder)(void *user, const char *path, const struct stat *status);
    bool (*file)(void *user, const char *path, bool linked);
    void *user;
};

/*
 * Visits the wanted files under `root`, sorted bytewise in each folder, files before the folders beside them
 * and links to files at the very end, so that the outcome does not depend on the file system. Links are
 * followed; a folder that is reached twice, through links or a loop of them, counts once, and so does a file
 * that is under `root` and is also linked to. Names that begin with a dot are left out, and so is, with a
 * warning, a folder inside of `root` that cannot be read; `folder` then gets its path with a NULL status.
 *
 * skip  a folder that is not gone into; NULL or missing: none
 * Needs memory for one folder's names at a time, and for the identities of all folders.
 */
bool folder_walk(
    const char *root, const char *skip, const struct folder_visitor *visitor, struct problem *problem);

struct folder {
    char **paths; /* [count], sorted bytewise */
    size_t count;
};

/*
 * Lists the pictures that folder_walk finds under `root`.
 * Free with folder_free. On failure *folder is empty and the problem names the path.
 */
bool folder_list(struct folder *folder, const char *root, struct problem *problem);

void folder_free(struct folder *folder);

/* "a/b", from malloc; NULL without memory. */
char *path_join(const char *folder, const char *name);

/* Makes a folder and those above it that are missing; one that exists is fine. */
bool folder_make(const char *path, struct problem *problem);

#endif
