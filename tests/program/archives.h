/* Tar archives that tests make for themselves. */
#ifndef ARCHIVES_H
#define ARCHIVES_H

#include <stddef.h>
#include <stdint.h>

struct archive_maker {
    uint8_t *bytes; /* free it */
    size_t size;
};

/*
 * A header of `type` in the ustar format, with its sum, and then `size` bytes padded to blocks; bytes NULL:
 * none follow.
 */
void archive_add(struct archive_maker *archive, const char *name, char type, const void *bytes, size_t size);

/* A pax header with one record, for the member that is added next. */
void archive_add_pax(struct archive_maker *archive, const char *key, const char *value);

/* The two blocks of zeros at the end. */
void archive_finish(struct archive_maker *archive);

/* Writes the sum of the header at `offset` anew. */
void archive_sum(struct archive_maker *archive, size_t offset);

#endif
