/*
 * The picture files of a folder and all folders in it.
 */
#ifndef FOLDER_H
#define FOLDER_H

#include "problem.h"

#include <stddef.h>
#include <stdint.h>

struct folder {
    char **paths; /* [count], sorted bytewise */
    size_t count;
};

/*
 * Lists the files under `root` whose names end in .jpg, .jpeg, .jpe or .png in any case. Links are followed;
 * a file or folder that is reached twice, through links or a loop of them, counts once. Names that begin with
 * a dot are left out, and so is, with a warning, a folder inside of `root` that cannot be read.
 * Free with folder_free. On failure *folder is empty and the problem names the path.
 */
bool folder_list(struct folder *folder, const char *root, struct problem *problem);

void folder_free(struct folder *folder);

/* A number that stands for the list of paths, each without `root`: what it was listed under. */
uint64_t folder_digest(const struct folder *folder, const char *root);

/* "a/b", from malloc; NULL without memory. */
char *path_join(const char *folder, const char *name);

/* Makes a folder and those above it that are missing; one that exists is fine. */
bool folder_make(const char *path, struct problem *problem);

#endif
