/*
 * The index of a run's pictures as a file (pictures.h): written in one pass, whatever its length, and read
 * into memory, since the truncation of a mapped file would end the process.
 *
 *   header      struct picture_header
 *   names       strings with their terminating zeros, padded to 8 bytes
 *   entries     [count] struct picture_entry, in the order of their numbers
 *   containers  [containers] struct picture_container
 *
 * Numbers have the machine's byte order; the magic number detects other machines. A CRC-32 covers all but the
 * header, and every offset is checked before it is used.
 */
#ifndef PICTURE_INDEX_H
#define PICTURE_INDEX_H

#include "pictures/pictures.h"

#include <stdio.h>
#include <sys/stat.h>

enum container_kind {
    CONTAINER_FOLDER,  /* entries' names are files in it */
    CONTAINER_ARCHIVE, /* entries' names are members, with offset and size */
    CONTAINER_LIST,    /* entries' names are paths */
    CONTAINER_SOURCE,  /* a source of the command line: name as given, `bytes` the offset of its real path */
    CONTAINER_KEYS     /* name: the members of archives that are used; only with --keys */
};

struct picture_container {
    uint64_t name;                /* offset in names */
    int64_t seconds, nanoseconds; /* of its last change; -1: not reliable */
    uint64_t bytes;
    uint64_t kind;
};

struct picture_entry {
    uint64_t name;         /* offset in names */
    uint64_t offset, size; /* in an archive */
    uint64_t container;    /* index */
};

struct picture_header {
    char magic[8];
    uint64_t crc;
    uint64_t digest;
    uint64_t names; /* bytes, with padding */
    uint64_t count; /* entries */
    uint64_t containers;
};

struct index_writer {
    const char *path;
    char *temporary;
    FILE *names, *entries; /* the new file itself, and entries until the names are complete */
    struct picture_header header;
    struct picture_container *containers;
    size_t capacity;
    struct problem *problem;
};

bool index_begin(struct index_writer *writer, const char *path, struct problem *problem);

/*
 * Adds a container, to which the entries that follow may refer, and returns its index. NULL status:
 * unreliable.
 */
bool index_add_container(struct index_writer *writer, enum container_kind kind, const char *name,
    const struct stat *status, uint64_t *container);

bool index_add_source(struct index_writer *writer, const char *name, const char *real_path);

/* Adds an entry; `identity` is its name for the digest. */
bool index_add_entry(struct index_writer *writer, uint64_t container, const char *name, uint64_t offset,
    uint64_t size, const char *identity);

/* The present end of the index, and the removal of everything added since. */
struct index_mark {
    struct picture_header header;
};
struct index_mark index_mark(const struct index_writer *writer);
bool index_rewind(struct index_writer *writer, const struct index_mark *mark);

/* Moves the index to its name if `good`, otherwise removes the unfinished file. */
bool index_end(struct index_writer *writer, bool good);

/* Reads an index; false, with *pictures empty, when there is none or it is damaged. */
bool index_read(struct pictures *pictures, const char *path);

#endif
