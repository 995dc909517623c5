/*
 * Pictures in memory, read from JPEG, PNG and WebP files, which are untrusted data, and written as PNG.
 *
 * A loaded picture is upright (its EXIF orientation is applied) and has 3 or 4 channels of 8 bits,
 * interleaved. Files that are truncated, corrupt, too large or not pictures give a problem, never a partly
 * invented picture.
 */
#ifndef IMAGE_H
#define IMAGE_H

#include "base/problem.h"

#include <stddef.h>
#include <stdint.h>

/*
 * The largest picture, after a reduction while it is read, and the largest file. The limits bound the memory
 * for any header.
 */
#define IMAGE_MOST_PIXELS (INT64_C(1) << 27)
#define IMAGE_MOST_BYTES (INT64_C(1) << 29)

struct image {
    int width, height;
    int channels;     /* 1 grey (never from a file), 3 RGB, 4 RGBA, colours not multiplied by alpha */
    double reduction; /* the side of a pixel in pixels of the file: 1, 2, 4 or 8 */
    uint8_t *pixels;  /* [height][width][channels], from malloc */
    int orientation;  /* EXIF's, 2 ... 8, by which the file's picture was turned; 0: it was not */
};

/*
 * Reads the picture at `path` with 3 or 4 channels. With 3, transparent pixels are blended with white.
 *
 * least_side  when not 0, a JPEG may be decoded at 1/2, 1/4 or 1/8 of its size as long as the root of its
 *             area stays at least this; much faster for photographs far larger than needed. So may a PNG of
 *             more than 2^25 pixels that is not interlaced, for the memory
 * Free with image_free. On failure *image is empty and *problem has the reason, without the path.
 */
bool image_load(
    struct image *image, const char *path, int channels, double least_side, struct problem *problem);

/* The same for a picture that is a part of a file: `size` bytes from `offset` on. */
bool image_load_part(struct image *image, const char *path, uint64_t offset, uint64_t size, int channels,
    double least_side, struct problem *problem);

/* The same for a file's content. */
bool image_decode(struct image *image, const uint8_t *bytes, size_t size, int channels, double least_side,
    struct problem *problem);

/*
 * Reads a PNG file of labels: a palette's indices or grey values of 1 to 8 bits, as they are stored, in one
 * channel. Any other picture is a problem, for its colours are no labels.
 */
bool image_load_labels(struct image *image, const char *path, struct problem *problem);

/* A picture with undefined pixels, or a problem when there is no memory for it. */
bool image_make(struct image *image, int width, int height, int channels, struct problem *problem);

/* Writes a grey, RGB or RGBA picture; the problem names the path. */
bool image_write_png(const struct image *image, const char *path, struct problem *problem);

/* The same into memory, from malloc: *bytes [*size]. */
bool image_encode_png(const struct image *image, uint8_t **bytes, size_t *size, struct problem *problem);

void image_free(struct image *image);

/*
 * The largest factor of 1, 2, 4, 8 for the reduction of a picture that leaves at least one pixel, and a root
 * of the area of at least least_side; 1 for a least_side of 0.
 */
unsigned image_reduction(double width, double height, double least_side);

/*
 * For decoders, which read row by row: a picture for a file of width x height pixels with an EXIF orientation
 * (1 ... 8), width and height exchanged where that turns it by a quarter.
 */
bool image_make_upright(
    struct image *image, int width, int height, int channels, int orientation, struct problem *problem);

/*
 * Copies row `y` of the file's picture, `width` pixels with image->channels each, to its place in the upright
 * picture, or from there.
 */
void image_put_row(struct image *image, int orientation, int y, const uint8_t *row);
void image_get_row(const struct image *image, int orientation, int y, uint8_t *row);

/* Turns a picture that is as stored upright, given its EXIF orientation (1 ... 8). */
bool image_orient(struct image *image, int orientation, struct problem *problem);

/* Turns an upright picture back to the stored order of its pixels. */
bool image_unorient(struct image *image, struct problem *problem);

/* The orientation in a TIFF structure as EXIF carries it, 1 when it has none or is malformed. */
int exif_orientation(const uint8_t *tiff, size_t size);

/* Blends RGBA pixels with white and packs them to RGB, in place: a picture, or `count` pixels. */
void image_flatten(struct image *image);
void image_flatten_row(uint8_t *pixels, size_t count);

/* The formats; for image_decode, which has checked the first bytes. 1 channel: a PNG's labels. */
bool image_decode_jpeg(struct image *image, const uint8_t *bytes, size_t size, int channels,
    double least_side, struct problem *problem);
bool image_decode_png(struct image *image, const uint8_t *bytes, size_t size, int channels, double least_side,
    struct problem *problem);
bool image_decode_webp(struct image *image, const uint8_t *bytes, size_t size, int channels,
    double least_side, struct problem *problem);

#endif
