/* The kind of a file, by its first bytes. */
#ifndef KIND_H
#define KIND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum kind_sort {
    KIND_PICTURE, /* of a format that image_decode reads */
    KIND_ARCHIVE, /* a plain tar */
    KIND_COMPRESSED,
    KIND_TEXT, /* it may be a list of paths */
    KIND_OTHER
};

struct kind {
    enum kind_sort sort;
    const char *name; /* "a GIF picture"; a static string */
};

/* The number of first bytes that are compared. */
enum { KIND_BYTES = 512 };

/* `size` may be more or less than KIND_BYTES. */
struct kind kind_of(const uint8_t *bytes, size_t size);

/* The kind of the file at `path`; KIND_OTHER for one that cannot be read. */
struct kind kind_of_file(const char *path);

/* The formats that this build reads: "JPEG, PNG or WebP". */
extern const char kind_formats[];

#endif
