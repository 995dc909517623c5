/* See files.h. */
#include "files.h"

#include <check.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jpeglib.h>
#include <png.h>
#include <zlib.h>

char *files_make_folder(void)
{
    char *folder = strdup("/tmp/cribo-test-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    return folder;
}

static int remove_one(const char *path, const struct stat *status, int kind, struct FTW *walk)
{
    (void)status;
    (void)kind;
    (void)walk;
    return remove(path);
}

void files_remove(char *folder)
{
    ck_assert_int_eq(nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
    free(folder);
}

const char *files_path(const char *folder, const char *name)
{
    static char buffers[64][512];
    static unsigned turn;
    char *path = buffers[turn++ % 64];
    snprintf(path, sizeof buffers[0], "%s/%s", folder, name);
    return path;
}

void files_write(const char *path, const void *bytes, size_t size)
{
    FILE *file = fopen(path, "wb");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fwrite(bytes, 1, size, file), size);
    ck_assert_int_eq(fclose(file), 0);
}

static struct image make(int width, int height, int channels)
{
    struct image image;
    struct problem problem;
    ck_assert(image_make(&image, width, height, channels, &problem));
    return image;
}

struct image files_ramp(int width, int height)
{
    struct image image = make(width, height, 3);
    uint8_t *out = image.pixels;
    for (int y = 0; y < height; y++) {
        for (int x = 0; x < width; x++) {
            *out++ = (uint8_t)x;
            *out++ = (uint8_t)y;
            *out++ = 77;
        }
    }
    return image;
}

struct image files_gradient(int width, int height)
{
    struct image image = make(width, height, 3);
    uint8_t *out = image.pixels;
    for (int y = 0; y < height; y++) {
        for (int x = 0; x < width; x++) {
            *out++ = (uint8_t)(40 + 170 * x / width);
            *out++ = (uint8_t)(40 + 170 * y / height);
            *out++ = 100;
        }
    }
    return image;
}

static void write_exif(struct jpeg_compress_struct *jpeg, int orientation, int big)
{
    uint8_t o = (uint8_t)orientation;
    const uint8_t motorola[] = {'E', 'x', 'i', 'f', 0, 0, 'M', 'M', 0, 42, 0, 0, 0, 8, 0, 1, 1, 0x12, 0, 3, 0,
        0, 0, 1, 0, o, 0, 0, 0, 0, 0, 0};
    const uint8_t intel[] = {'E', 'x', 'i', 'f', 0, 0, 'I', 'I', 42, 0, 8, 0, 0, 0, 1, 0, 0x12, 1, 3, 0, 1, 0,
        0, 0, o, 0, 0, 0, 0, 0, 0, 0};
    jpeg_write_marker(jpeg, JPEG_APP0 + 1, big ? motorola : intel, sizeof motorola);
}

static void set_options(struct jpeg_compress_struct *jpeg, const struct files_jpeg_options *options)
{
    jpeg_set_quality(jpeg, options->quality, TRUE);
    if (options->progressive) jpeg_simple_progression(jpeg);
    jpeg->restart_in_rows = options->restart_rows;
#ifdef C_ARITH_CODING_SUPPORTED
    jpeg->arith_code = options->arithmetic;
#endif
    for (int c = 0; c < jpeg->num_components && !options->subsampled; c++) /* pixels stay what they are */
        jpeg->comp_info[c].h_samp_factor = jpeg->comp_info[c].v_samp_factor = 1;
}

uint8_t *files_jpeg_with(const struct image *image, const struct files_jpeg_options *options, size_t *size)
{
    struct jpeg_compress_struct jpeg;
    struct jpeg_error_mgr errors;
    unsigned char *bytes = NULL;
    unsigned long length = 0;
#ifndef C_ARITH_CODING_SUPPORTED
    if (options->arithmetic) return NULL;
#endif
    jpeg.err = jpeg_std_error(&errors);
    jpeg_create_compress(&jpeg);
    jpeg_mem_dest(&jpeg, &bytes, &length);
    jpeg.image_width = (JDIMENSION)image->width;
    jpeg.image_height = (JDIMENSION)image->height;
    jpeg.input_components = image->channels;
    jpeg.in_color_space = image->channels == 1 ? JCS_GRAYSCALE : image->channels == 4 ? JCS_CMYK : JCS_RGB;
    jpeg_set_defaults(&jpeg);
    set_options(&jpeg, options);
    jpeg_start_compress(&jpeg, TRUE);
    if (options->profile)
        jpeg_write_marker(&jpeg, JPEG_APP0 + 2, (const JOCTET *)"ICC_PROFILE\0\1\1nonsense", 22);
    if (options->orientation) write_exif(&jpeg, options->orientation, options->big_endian);
    while (jpeg.next_scanline < jpeg.image_height) {
        JSAMPROW row =
            image->pixels + (size_t)jpeg.next_scanline * (size_t)image->width * (size_t)image->channels;
        jpeg_write_scanlines(&jpeg, &row, 1);
    }
    jpeg_finish_compress(&jpeg);
    jpeg_destroy_compress(&jpeg);
    *size = length;
    return bytes;
}

uint8_t *files_jpeg(
    const struct image *image, int quality, int orientation, int big_endian, int progressive, size_t *size)
{
    struct files_jpeg_options options = {
        .quality = quality, .orientation = orientation, .big_endian = big_endian, .progressive = progressive};
    return files_jpeg_with(image, &options, size);
}

struct sink {
    uint8_t *bytes;
    size_t size;
};

static void take(png_structp png, png_bytep bytes, size_t size)
{
    struct sink *sink = png_get_io_ptr(png);
    sink->bytes = realloc(sink->bytes, sink->size + size);
    ck_assert_ptr_nonnull(sink->bytes);
    memcpy(sink->bytes + sink->size, bytes, size);
    sink->size += size;
}

static void flush(png_structp png)
{
    (void)png;
}

/* One sample of depth 1 ... 16 into a row of packed samples. */
static void put_sample(uint8_t *row, size_t index, int depth, unsigned value)
{
    if (depth == 16) {
        row[2 * index] = (uint8_t)(value >> 8);
        row[2 * index + 1] = (uint8_t)value;
    } else {
        size_t bit = index * (size_t)depth;
        row[bit / 8] |= (uint8_t)(value << (8 - (size_t)depth - bit % 8));
    }
}

static void fill_row(uint8_t *row, const uint8_t *pixels, int width, int type, int depth, int alpha)
{
    size_t at = 0;
    unsigned most = (1u << depth) - 1;
    for (int x = 0; x < width; x++, pixels += 3) {
        int colours = type & PNG_COLOR_MASK_PALETTE ? 1 : type & PNG_COLOR_MASK_COLOR ? 3 : 1;
        for (int c = 0; c < colours; c++)
            put_sample(row, at++, depth,
                type == PNG_COLOR_TYPE_PALETTE ? pixels[0] % 4u : (pixels[c] * most + 127) / 255);
        if (type & PNG_COLOR_MASK_ALPHA) put_sample(row, at++, depth, ((unsigned)alpha * most + 127) / 255);
    }
}

uint8_t *files_png(
    const struct image *image, int colour_type, int depth, int interlaced, int alpha, size_t *size)
{
    static const png_color palette[4] = {{0, 0, 0}, {255, 0, 0}, {0, 255, 0}, {0, 0, 255}};
    struct sink sink = {0};
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
    png_infop info = png_create_info_struct(png);
    png_set_write_fn(png, &sink, take, flush);
    png_set_IHDR(png, info, (png_uint_32)image->width, (png_uint_32)image->height, depth, colour_type,
        interlaced ? PNG_INTERLACE_ADAM7 : PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_BASE,
        PNG_FILTER_TYPE_BASE);
    if (colour_type == PNG_COLOR_TYPE_PALETTE) png_set_PLTE(png, info, palette, 4);
    png_write_info(png, info);
    size_t row_bytes = png_get_rowbytes(png, info);
    uint8_t *samples = calloc((size_t)image->height, row_bytes);
    png_bytep *rows = calloc((size_t)image->height, sizeof *rows);
    for (int y = 0; y < image->height; y++) {
        rows[y] = samples + (size_t)y * row_bytes;
        fill_row(rows[y], image->pixels + 3 * (size_t)y * (size_t)image->width, image->width, colour_type,
            depth, alpha);
    }
    png_write_image(png, rows);
    png_write_end(png, info);
    png_destroy_write_struct(&png, &info);
    free(samples);
    free(rows);
    *size = sink.size;
    return sink.bytes;
}

uint8_t *files_add_chunk(
    uint8_t *png, size_t *size, const char *type, const void *data, size_t length, int at_end)
{
    enum { HEADER = 8 + 25, END = 12, FRAME = 12 }; /* signature and IHDR; IEND; what is around the data */
    size_t at = at_end ? *size - END : HEADER;
    png = realloc(png, *size + FRAME + length);
    ck_assert_ptr_nonnull(png);
    memmove(png + at + FRAME + length, png + at, *size - at);
    memcpy(png + at + 4, type, 4);
    if (length) memcpy(png + at + 8, data, length);
    uLong sum = crc32(crc32(0, NULL, 0), png + at + 4, (uInt)length + 4);
    for (int i = 0; i < 4; i++) {
        png[at + (size_t)i] = (uint8_t)(length >> (24 - 8 * i));
        png[at + 8 + length + (size_t)i] = (uint8_t)(sum >> (24 - 8 * i));
    }
    *size += FRAME + length;
    return png;
}

uint8_t *files_add_exif(uint8_t *png, size_t *size, int orientation)
{
    const uint8_t exif[22] = {
        'I', 'I', 42, 0, 8, 0, 0, 0, 1, 0, 0x12, 1, 3, 0, 1, 0, 0, 0, (uint8_t)orientation, 0, 0, 0};
    return files_add_chunk(png, size, "eXIf", exif, sizeof exif, 0);
}
