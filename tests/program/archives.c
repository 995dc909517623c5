/* See archives.h. */
#include "archives.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 512 };

static uint8_t *extend(struct archive_maker *archive, size_t size)
{
    size_t padded = (size + BLOCK - 1) / BLOCK * BLOCK;
    archive->bytes = realloc(archive->bytes, archive->size + padded);
    if (!archive->bytes) abort();
    uint8_t *added = archive->bytes + archive->size;
    memset(added, 0, padded);
    archive->size += padded;
    return added;
}

void archive_sum(struct archive_maker *archive, size_t offset)
{
    uint8_t *header = archive->bytes + offset;
    unsigned sum = 0;
    memset(header + 148, ' ', 8);
    for (int i = 0; i < BLOCK; i++) sum += header[i];
    snprintf((char *)header + 148, 8, "%06o", sum);
}

void archive_add(struct archive_maker *archive, const char *name, char type, const void *bytes, size_t size)
{
    size_t offset = archive->size;
    uint8_t *header = extend(archive, BLOCK);
    memcpy(header, name, strnlen(name, 100));
    memcpy(header + 100, "0000644", 7);
    snprintf((char *)header + 124, 12, "%011zo", size);
    header[156] = (uint8_t)type;
    memcpy(header + 257,
        "ustar\0"
        "00",
        8);
    archive_sum(archive, offset);
    if (bytes) memcpy(extend(archive, size), bytes, size);
}

void archive_add_pax(struct archive_maker *archive, const char *key, const char *value)
{
    /* The record's length counts its own digits. */
    char record[70000];
    size_t length = strlen(key) + strlen(value) + 3, digits = 1;
    for (size_t power = 10; length + digits >= power; power *= 10) digits++;
    snprintf(record, sizeof record, "%zu %s=%s\n", length + digits, key, value);
    archive_add(archive, "./PaxHeaders/x", 'x', record, strlen(record));
}

void archive_finish(struct archive_maker *archive)
{
    extend(archive, 2 * BLOCK);
}
