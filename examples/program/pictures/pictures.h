/*
 * The pictures of a run: a list of pictures in folders, tar archives and lists of files, numbered from 0.
 *
 * The list is made once and kept in a file, the index (about 40 bytes and the name for each picture), which
 * is read into memory. Later runs take the index as it is, as long as the
 * sources are named alike and no folder, archive or list in it has changed since (by time and size).
 */
#ifndef PICTURES_H
#define PICTURES_H

#include "pictures/image.h"

struct picture_entry;
struct picture_container;

struct pictures {
    size_t count;
    uint64_t digest; /* a digest of the list: names within the sources, and sizes of those in archives */
    bool kept;       /* an existing index was used */
    size_t sources;
    size_t *source_begins; /* [sources] number of each one's first container */
    void *content;         /* of the index */
    size_t bytes;
    const struct picture_entry *entries;
    const struct picture_container *containers;
    size_t container_count;
    const char *names;
};

/* Options of the listing; a NULL pointer means the defaults. */
struct pictures_options {
    const char *skip; /* a folder to leave out, because the run writes to it; NULL: none */
    const char *keys; /* which members of archives are taken (members.h); NULL: pictures by their names */
};

/*
 * Lists the pictures of `sources`, or uses the list in the file `index` if it is still valid; otherwise the
 * file is replaced.
 *
 * sources  [count], each a folder (pictures and tar archives in it and the folders in it), a tar archive
 *          (.tar: the pictures in it), a picture, or a list: a text file with a path of a picture or a tar
 *          archive per line, relative ones within the list's folder; a line that stands twice counts twice.
 *          The first bytes decide for files whose names have no known ending (kind.h)
 *
 * A folder in a source that holds a run of the program is left out, and so is, with a warning, an archive
 * that is damaged, unless most of them are. A line counts the other files that were left out. Pictures that
 * cannot be read are found when they are. Close with pictures_close. On failure *pictures is empty.
 */
bool pictures_open(struct pictures *pictures, const char *index, char *const *sources, size_t count,
    const struct pictures_options *options, struct problem *problem);

/* The first part of it: false, without a problem, when the file has no list of these sources. */
bool pictures_read(struct pictures *pictures, const char *index, char *const *sources, size_t count,
    const struct pictures_options *options);

void pictures_close(struct pictures *pictures);

/* The place of picture `i`, for messages and log: a path, or "archive.tar: member". */
void pictures_name(const struct pictures *pictures, size_t i, char *name, size_t size);

/* The source of picture `i`, 0 ... sources - 1, and the name of a source as it was given. */
size_t pictures_source(const struct pictures *pictures, size_t i);
const char *pictures_source_name(const struct pictures *pictures, size_t source);

/* Reads picture `i` as image_load does. Any number of threads may. */
bool pictures_load(const struct pictures *pictures, size_t i, struct image *image, int channels,
    double least_side, struct problem *problem);

#endif
