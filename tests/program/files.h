/* Files and pictures that the program's tests make for themselves. */
#ifndef FILES_H
#define FILES_H

#include "pictures/image.h"

#include <stddef.h>
#include <stdint.h>

/* A fresh folder under the system's folder for temporary files, removed with all in it by files_remove. */
char *files_make_folder(void);
void files_remove(char *folder);

/* "folder/name" in one of 64 static buffers, taken in turn. */
const char *files_path(const char *folder, const char *name);

void files_write(const char *path, const void *bytes, size_t size);

/* An RGB picture whose red and green are the place: (x, y) has (x % 256, y % 256, 77). */
struct image files_ramp(int width, int height);

/* A smooth picture that JPEG keeps well: red grows along x, green along y. */
struct image files_gradient(int width, int height);

/*
 * The picture as a JPEG file in memory (free it). channels 1 or 3; quality as libjpeg's; orientation 0: no
 * EXIF, else written into APP1 in the byte order asked for; progressive if asked.
 */
uint8_t *files_jpeg(
    const struct image *image, int quality, int orientation, int big_endian, int progressive, size_t *size);

/* The same with more options; restart_rows: rows of blocks between restart markers, 0: none. */
struct files_jpeg_options {
    int quality, orientation, big_endian, progressive, restart_rows, arithmetic, subsampled;
    int profile; /* a colour profile, of nonsense */
};

/* NULL where this libjpeg has no arithmetic coder. */
uint8_t *files_jpeg_with(const struct image *image, const struct files_jpeg_options *options, size_t *size);

/*
 * The picture as a PNG file in memory (free it): colour_type and depth as libpng's; grey takes the red
 * channel, a palette has the index red % 4 for (0 0 0), (255 0 0), (0 255 0), (0 0 255). alpha: the channel
 * where the type has one.
 */
uint8_t *files_png(
    const struct image *image, int colour_type, int depth, int interlaced, int alpha, size_t *size);

/* The PNG file with a chunk before its pixels, or before its end; takes over the bytes. */
uint8_t *files_add_chunk(
    uint8_t *png, size_t *size, const char *type, const void *data, size_t length, int at_end);

/* The PNG file with an eXIf chunk of this orientation before its pixels; takes over the bytes. */
uint8_t *files_add_exif(uint8_t *png, size_t *size, int orientation);

#endif
