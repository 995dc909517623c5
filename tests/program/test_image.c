/* Pictures from files: formats, orientation, transparency, and everything that can be wrong with them. */
#include "files.h"
#include "suite.h"

#include <png.h>
#ifdef CRIBO_WEBP
#include <webp/encode.h>
#endif
#include <string.h>
#include <sys/stat.h>

static bool decode(
    struct image *image, const uint8_t *bytes, size_t size, int channels, struct problem *problem)
{
    return image_decode(image, bytes, size, channels, 0, problem);
}

static void assert_near(const struct image *a, const struct image *b, int tolerance)
{
    ck_assert_int_eq(a->width, b->width);
    ck_assert_int_eq(a->height, b->height);
    ck_assert_int_eq(a->channels, b->channels);
    size_t values = (size_t)a->width * (size_t)a->height * (size_t)a->channels;
    for (size_t i = 0; i < values; i++) ck_assert_int_le(abs(a->pixels[i] - b->pixels[i]), tolerance);
}

START_TEST(test_image_jpeg_gives_its_pixels)
{
    struct image made = files_gradient(61, 37), read;
    struct problem problem;
    for (int progressive = 0; progressive < 2; progressive++) {
        size_t size;
        uint8_t *bytes = files_jpeg(&made, 95, 0, 0, progressive, &size);
        ck_assert_msg(decode(&read, bytes, size, 3, &problem), "%s", problem.text);
        assert_near(&read, &made, 6);
        image_free(&read);
        free(bytes);
    }
    image_free(&made);
}
END_TEST

START_TEST(test_image_jpeg_with_alpha_asked_is_opaque)
{
    struct image made = files_gradient(9, 7), read;
    struct problem problem;
    size_t size;
    uint8_t *bytes = files_jpeg(&made, 95, 0, 0, 0, &size);
    ck_assert(decode(&read, bytes, size, 4, &problem));
    ck_assert_int_eq(read.channels, 4);
    for (int i = 0; i < 9 * 7; i++) {
        ck_assert_int_eq(read.pixels[4 * i + 3], 255);
        for (int c = 0; c < 3; c++) ck_assert_int_le(abs(read.pixels[4 * i + c] - made.pixels[3 * i + c]), 8);
    }
    image_free(&read);
    image_free(&made);
    free(bytes);
}
END_TEST

START_TEST(test_image_grey_and_cmyk_jpeg_become_rgb)
{
    struct problem problem;
    struct image grey, inks, read;
    size_t size;
    ck_assert(image_make(&grey, 16, 16, 1, &problem));
    memset(grey.pixels, 90, 256);
    uint8_t *bytes = files_jpeg(&grey, 95, 0, 0, 0, &size);
    ck_assert(decode(&read, bytes, size, 3, &problem));
    for (int i = 0; i < 3 * 256; i++) ck_assert_int_le(abs(read.pixels[i] - 90), 2);
    image_free(&read);
    free(bytes);
    ck_assert(image_make(&inks, 16, 16, 4, &problem)); /* inverted, by Adobe's marker: light of each ink */
    for (int i = 0; i < 256; i++) memcpy(inks.pixels + 4 * i, (uint8_t[4]){255, 128, 0, 128}, 4);
    bytes = files_jpeg(&inks, 95, 0, 0, 0, &size);
    ck_assert(decode(&read, bytes, size, 3, &problem));
    ck_assert_int_le(abs(read.pixels[0] - 128), 3);
    ck_assert_int_le(abs(read.pixels[1] - 64), 3);
    ck_assert_int_le(read.pixels[2], 3);
    image_free(&read);
    image_free(&inks);
    image_free(&grey);
    free(bytes);
}
END_TEST

/* The places of the picture's top left and top right corners in the file, by the standard's table. */
START_TEST(test_image_orientation_is_applied)
{
    static const int corners[9][2][2] = {{{0, 0}}, {{0, 0}, {1, 0}}, {{1, 0}, {0, 0}}, {{1, 1}, {0, 1}},
        {{0, 1}, {1, 1}}, {{0, 0}, {0, 1}}, {{0, 1}, {0, 0}}, {{1, 1}, {1, 0}}, {{1, 0}, {1, 1}}};
    struct image made = files_gradient(48, 24), read;
    struct problem problem;
    for (int orientation = 1; orientation <= 8; orientation++) {
        size_t size;
        uint8_t *bytes = files_jpeg(&made, 95, orientation, orientation % 2, 0, &size);
        ck_assert(decode(&read, bytes, size, 3, &problem));
        ck_assert_int_eq(read.width, orientation >= 5 ? 24 : 48);
        ck_assert_int_eq(read.height, orientation >= 5 ? 48 : 24);
        for (int corner = 0; corner < 2; corner++) {
            const int *where = corners[orientation][corner];
            size_t from = (size_t)(where[1] * 23 * 48 + where[0] * 47),
                   to = corner ? (size_t)(read.width - 1) : 0;
            for (int c = 0; c < 3; c++)
                ck_assert_int_le(abs(read.pixels[3 * to + (size_t)c] - made.pixels[3 * from + (size_t)c]), 8);
        }
        image_free(&read);
        free(bytes);
    }
    image_free(&made);
}
END_TEST

START_TEST(test_exif_malformed_counts_as_upright)
{
    uint8_t good[] = {'I', 'I', 42, 0, 8, 0, 0, 0, 1, 0, 0x12, 1, 3, 0, 1, 0, 0, 0, 6, 0, 0, 0};
    ck_assert_int_eq(exif_orientation(good, sizeof good), 6);
    for (size_t size = 0; size < sizeof good; size++) {
        uint8_t *exact = malloc(size ? size : 1); /* so that a sanitizer sees reads beyond it */
        memcpy(exact, good, size);
        ck_assert_int_eq(exif_orientation(exact, size), 1);
        free(exact);
    }
    for (size_t i = 0; i < sizeof good; i++) {
        for (int bit = 0; bit < 8; bit++) {
            uint8_t bad[sizeof good];
            memcpy(bad, good, sizeof good);
            bad[i] ^= (uint8_t)(1 << bit);
            int orientation = exif_orientation(bad, sizeof bad);
            ck_assert(orientation >= 1 && orientation <= 8);
        }
    }
}
END_TEST

START_TEST(test_image_png_of_every_kind_gives_its_pixels)
{
    static const int kinds[][3] = {{PNG_COLOR_TYPE_RGB, 8, 0}, {PNG_COLOR_TYPE_RGB, 16, 1},
        {PNG_COLOR_TYPE_RGBA, 8, 1}, {PNG_COLOR_TYPE_RGBA, 16, 0}, {PNG_COLOR_TYPE_GRAY, 8, 0},
        {PNG_COLOR_TYPE_GRAY, 16, 1}, {PNG_COLOR_TYPE_GRAY_ALPHA, 8, 0}, {PNG_COLOR_TYPE_PALETTE, 2, 0},
        {PNG_COLOR_TYPE_PALETTE, 8, 1}, {PNG_COLOR_TYPE_GRAY, 1, 0}};
    static const uint8_t palette[4][3] = {{0, 0, 0}, {255, 0, 0}, {0, 255, 0}, {0, 0, 255}};
    struct image made = files_ramp(200, 40), read;
    struct problem problem;
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        size_t size;
        int type = kinds[k][0];
        uint8_t *bytes = files_png(&made, type, kinds[k][1], kinds[k][2], 255, &size);
        ck_assert_msg(decode(&read, bytes, size, 3, &problem), "%s", problem.text);
        ck_assert_int_eq(read.width, 200);
        ck_assert_int_eq(read.height, 40);
        ck_assert_int_eq(read.channels, 3);
        for (size_t i = 0; i < 200 * 40; i++) {
            const uint8_t *in = made.pixels + 3 * i, *out = read.pixels + 3 * i;
            for (int c = 0; c < 3; c++) {
                int expected = type == PNG_COLOR_TYPE_PALETTE ? palette[in[0] % 4][c]
                               : kinds[k][1] == 1             ? (in[0] + 127) / 255 * 255
                               : type & PNG_COLOR_MASK_COLOR  ? in[c]
                                                              : in[0];
                ck_assert_int_eq(out[c], expected);
            }
        }
        image_free(&read);
        free(bytes);
    }
    image_free(&made);
}
END_TEST

START_TEST(test_image_transparency_is_kept_or_laid_on_white)
{
    struct image made = files_ramp(5, 5), read;
    struct problem problem;
    size_t size;
    uint8_t *bytes = files_png(&made, PNG_COLOR_TYPE_RGBA, 8, 0, 51, &size);
    ck_assert(decode(&read, bytes, size, 4, &problem));
    ck_assert_int_eq(read.pixels[2], 77);
    ck_assert_int_eq(read.pixels[3], 51);
    image_free(&read);
    ck_assert(decode(&read, bytes, size, 3, &problem));
    ck_assert_int_eq(read.channels, 3);
    ck_assert_int_eq(read.pixels[2], (77 * 51 + 255 * 204 + 127) / 255);
    image_free(&read);
    image_free(&made);
    free(bytes);
}
END_TEST

START_TEST(test_image_truncated_anywhere_is_refused)
{
    struct image made = files_gradient(40, 30), read;
    struct problem problem;
    for (int kind = 0; kind < 4; kind++) {
        size_t size;
        uint8_t *bytes = kind < 2 ? files_jpeg(&made, 80, 6, 0, kind, &size)
                                  : files_png(&made, PNG_COLOR_TYPE_RGBA, 8, kind == 3, 200, &size);
        for (size_t cut = 0; cut < size; cut++) {
            uint8_t *exact = malloc(cut ? cut : 1);
            memcpy(exact, bytes, cut);
            problem.text[0] = 0;
            bool whole = kind < 2 && cut + 2 >= size; /* but for a JPEG's end marker */
            ck_assert_msg(decode(&read, exact, cut, 3, &problem) == whole, "kind %d cut at %zu of %zu", kind,
                cut, size);
            ck_assert(whole == (read.pixels != NULL));
            ck_assert(whole == (problem.text[0] == 0));
            image_free(&read);
            free(exact);
        }
        free(bytes);
    }
    image_free(&made);
}
END_TEST

START_TEST(test_image_flipped_bits_never_crash)
{
    struct image made = files_gradient(24, 16), read;
    struct problem problem;
    int refused = 0;
    for (int kind = 0; kind < 4; kind++) {
        size_t size;
        uint8_t *bytes = kind < 2 ? files_jpeg(&made, 80, 6, 0, kind, &size)
                                  : files_png(&made, PNG_COLOR_TYPE_RGB, 16, kind == 3, 0, &size);
        for (size_t i = 0; i < size; i++) {
            bytes[i] ^= (uint8_t)(1 << (i * 5 % 8));
            if (image_decode(&read, bytes, size, 3, 8, &problem))
                image_free(&read);
            else
                refused++;
            bytes[i] ^= (uint8_t)(1 << (i * 5 % 8));
        }
        free(bytes);
    }
    ck_assert_int_gt(refused, 0);
    image_free(&made);
}
END_TEST

/* CRC-32 as PNG has it. */
static uint32_t crc(const uint8_t *bytes, size_t size)
{
    uint32_t value = 0xffffffff;
    for (size_t i = 0; i < size; i++) {
        value ^= bytes[i];
        for (int bit = 0; bit < 8; bit++) value = value >> 1 ^ (value & 1 ? 0xedb88320 : 0);
    }
    return ~value;
}

static void put32(uint8_t *out, uint32_t value)
{
    for (int i = 0; i < 4; i++) out[i] = (uint8_t)(value >> (24 - 8 * i));
}

START_TEST(test_image_huge_by_its_header_is_refused_with_its_size)
{
    struct image made = files_gradient(16, 16), read;
    struct problem problem;
    size_t size;
    uint8_t *png = files_png(&made, PNG_COLOR_TYPE_RGB, 8, 0, 0, &size);
    put32(png + 16, 0x7fffffff);
    put32(png + 20, 0x7fffffff);
    put32(png + 29, crc(png + 12, 17));
    ck_assert(!decode(&read, png, size, 3, &problem));
    ck_assert_ptr_nonnull(strstr(problem.text, "2147483647 x 2147483647"));
    free(png);
    uint8_t *jpeg = files_jpeg(&made, 80, 0, 0, 0, &size);
    for (size_t i = 0; i + 9 < size; i++) {
        if (jpeg[i] != 0xff || jpeg[i + 1] != 0xc0) continue;
        memset(jpeg + i + 5, 0xff, 4);
        jpeg[i + 5] = jpeg[i + 7] = 0xf0;
    }
    ck_assert(!decode(&read, jpeg, size, 3, &problem));
    ck_assert_ptr_nonnull(strstr(problem.text, "more than the limit"));
    free(jpeg);
    image_free(&made);
}
END_TEST

START_TEST(test_image_file_that_is_none_is_refused)
{
    char *folder = files_make_folder();
    struct image read;
    struct problem problem;
    const char *text = files_path(folder, "text.jpg"), *empty = files_path(folder, "empty.png");
    const char *pipe = files_path(folder, "pipe.jpg");
    files_write(text, "no picture at all\n", 18);
    files_write(empty, "", 0);
    ck_assert_int_eq(mkfifo(pipe, 0600), 0);
    ck_assert(!image_load(&read, text, 3, 0, &problem));
    ck_assert(!strncmp(problem.text, "a text, not a JPEG", 18));
    ck_assert(!image_load(&read, empty, 3, 0, &problem));
    ck_assert_str_eq(problem.text, "the file is empty");
    ck_assert(!image_load(&read, pipe, 3, 0, &problem));
    ck_assert_str_eq(problem.text, "not a regular file");
    ck_assert(!image_load(&read, folder, 3, 0, &problem));
    ck_assert(!image_load(&read, files_path(folder, "missing.jpg"), 3, 0, &problem));
    ck_assert_str_eq(problem.text, "No such file or directory");
    files_remove(folder);
}
END_TEST

START_TEST(test_image_large_jpeg_is_reduced_while_decoded)
{
    struct image made = files_gradient(803, 601), read, whole;
    struct problem problem;
    size_t size;
    uint8_t *bytes = files_jpeg(&made, 95, 6, 0, 0, &size);
    ck_assert(image_decode(&whole, bytes, size, 3, 0, &problem));
    ck_assert(image_decode(&read, bytes, size, 3, 170, &problem));
    ck_assert_double_eq(whole.reduction, 1);
    ck_assert_double_eq(read.reduction, 4);
    ck_assert_int_eq(read.width, 601 / 4);
    ck_assert_int_eq(read.height, 803 / 4);
    for (int y = 0; y < read.height; y++) {
        for (int x = 0; x < read.width; x++) {
            const uint8_t *small = read.pixels + 3 * (y * read.width + x);
            const uint8_t *large = whole.pixels + 3 * ((4 * y + 2) * whole.width + 4 * x + 2);
            for (int c = 0; c < 3; c++) ck_assert_int_le(abs(small[c] - large[c]), 5);
        }
    }
    image_free(&whole);
    image_free(&read);
    image_free(&made);
    free(bytes);
}
END_TEST

struct bytes {
    uint8_t *at;
    size_t size;
};

static void append(png_structp png, png_bytep bytes, size_t size)
{
    struct bytes *all = png_get_io_ptr(png);
    all->at = realloc(all->at, all->size + size);
    ck_assert_ptr_nonnull(all->at);
    memcpy(all->at + all->size, bytes, size);
    all->size += size;
}

static void flush(png_structp png)
{
    (void)png;
}

enum { TILE = 128 }; /* pixels of one grey: a multiple of every reduction */

static uint8_t tile(int x, int y)
{
    return (uint8_t)(37 * (x / TILE) + 11 * (y / TILE));
}

/* Grey tiles, written row by row, because the whole picture is large; an eXIf chunk follows the pixels. */
static struct bytes make_large_png(int width, int height, int orientation)
{
    struct bytes all = {0};
    uint8_t *row = malloc((size_t)width);
    uint8_t exif[] = {
        'I', 'I', 42, 0, 8, 0, 0, 0, 1, 0, 0x12, 1, 3, 0, 1, 0, 0, 0, (uint8_t)orientation, 0, 0, 0};
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
    png_infop info = png_create_info_struct(png);
    png_set_write_fn(png, &all, append, flush);
    png_set_compression_level(png, 1);
    png_set_filter(png, 0, PNG_FILTER_NONE);
    png_set_IHDR(png, info, (png_uint_32)width, (png_uint_32)height, 8, PNG_COLOR_TYPE_GRAY,
        PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_BASE, PNG_FILTER_TYPE_BASE);
    png_write_info(png, info);
    for (int y = 0; y < height; y++) {
        for (int x = 0; x < width; x++) row[x] = tile(x, y);
        png_write_row(png, row);
    }
    png_write_chunk(png, (png_const_bytep) "eXIf", exif, sizeof exif);
    png_write_end(png, NULL);
    png_destroy_write_struct(&png, &info);
    free(row);
    return all;
}

/* More than 2^27 pixels, and held sideways: read at an eighth, in 6 MB. */
START_TEST(test_image_larger_than_the_limit_is_read_when_reduced)
{
    enum { WIDTH = 128 * TILE, HEIGHT = 65 * TILE };
    struct bytes png = make_large_png(WIDTH, HEIGHT, 6);
    struct image read;
    struct problem problem;
    ck_assert_int_gt((int64_t)WIDTH * HEIGHT, IMAGE_MOST_PIXELS);
    ck_assert(!image_decode(&read, png.at, png.size, 3, 0, &problem));
    ck_assert_ptr_nonnull(strstr(problem.text, "16384 x 8320 pixels are more than the limit"));
    ck_assert_msg(image_decode(&read, png.at, png.size, 3, 500, &problem), "%s", problem.text);
    ck_assert_double_eq(read.reduction, 8);
    ck_assert_int_eq(read.width, HEIGHT / 8);
    ck_assert_int_eq(read.height, WIDTH / 8);
    for (int y = 0; y < read.height; y += 5)
        for (int x = 0; x < read.width; x += 5)
            ck_assert_int_eq(read.pixels[3 * (y * read.width + x)], tile(8 * y, HEIGHT - 1 - 8 * x));
    image_free(&read);
    free(png.at);
}
END_TEST

/* Rows and columns that fill no box are left out; pixels are blended with white before the mean. */
START_TEST(test_image_reduced_png_has_the_means_of_its_boxes)
{
    struct bytes png = make_large_png(8 * 1000 + 7, 8 * 600 + 5, 1);
    struct image read, whole;
    struct problem problem;
    ck_assert(image_decode(&whole, png.at, png.size, 3, 0, &problem));
    ck_assert_int_eq(whole.width, 8007);
    ck_assert_double_eq(whole.reduction, 1);
    ck_assert(image_decode(&read, png.at, png.size, 3, 1500, &problem));
    ck_assert_double_eq(read.reduction, 4);
    ck_assert_int_eq(read.width, 8007 / 4);
    ck_assert_int_eq(read.height, 4805 / 4);
    for (int y = 0; y < read.height; y += 3)
        for (int x = 0; x < read.width; x += 3)
            ck_assert_int_eq(read.pixels[3 * (y * read.width + x) + 1], tile(4 * x, 4 * y));
    image_free(&read);
    image_free(&whole);
    free(png.at);
}
END_TEST

/* Every kind of PNG in every orientation is the upright one's pixels, moved. */
START_TEST(test_image_png_orientation_is_applied_to_every_kind)
{
    static const int kinds[][3] = {{PNG_COLOR_TYPE_RGB, 8, 0}, {PNG_COLOR_TYPE_RGBA, 8, 1},
        {PNG_COLOR_TYPE_GRAY, 8, 1}, {PNG_COLOR_TYPE_RGBA, 16, 0}};
    struct image made = files_ramp(33, 21), upright, read;
    struct problem problem;
    for (size_t k = 0; k < 4 * 9; k++) {
        const int *kind = kinds[k / 9];
        int orientation = (int)(k % 9);
        size_t size;
        uint8_t *bytes = files_png(&made, kind[0], kind[1], kind[2], 100, &size);
        ck_assert(decode(&upright, bytes, size, 3, &problem));
        bytes = files_add_exif(bytes, &size, orientation);
        ck_assert_msg(decode(&read, bytes, size, 3, &problem), "%s", problem.text);
        ck_assert_int_eq(read.width, orientation >= 5 ? 21 : 33);
        for (int y = 0; y < 21; y++) {
            for (int x = 0; x < 33; x++) {
                int column =
                    orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8 ? 32 - x : x;
                int row =
                    orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7 ? 20 - y : y;
                int to = orientation >= 5 ? column * 21 + row : row * 33 + column;
                ck_assert(!memcmp(read.pixels + 3 * to, upright.pixels + 3 * (y * 33 + x), 3));
            }
        }
        image_free(&upright);
        image_free(&read);
        free(bytes);
    }
    image_free(&made);
}
END_TEST

/* A JPEG's frame header changed to one that libjpeg has no code for: the file may well be whole. */
START_TEST(test_image_unsupported_jpeg_is_not_called_broken)
{
    struct image made = files_gradient(16, 16), read;
    struct problem problem;
    for (int kind = 0; kind < 2; kind++) {
        size_t size;
        uint8_t *bytes = files_jpeg(&made, 80, 0, 0, 0, &size);
        for (size_t i = 0; i + 9 < size; i++) {
            if (bytes[i] != 0xff || bytes[i + 1] != 0xc0) continue;
            if (kind == 0) bytes[i + 1] = 0xc7; /* lossless and differential */
            if (kind == 1) bytes[i + 4] = 13;   /* bits */
            break;
        }
        ck_assert(!decode(&read, bytes, size, 3, &problem));
        ck_assert_msg(!strncmp(problem.text, "unsupported JPEG: ", 18), "%s", problem.text);
        free(bytes);
    }
    image_free(&made);
}
END_TEST

START_TEST(test_image_written_is_read_back)
{
    char *folder = files_make_folder();
    struct image made = files_ramp(33, 21), read;
    struct problem problem;
    const char *path = files_path(folder, "a.png");
    ck_assert(image_write_png(&made, path, &problem));
    ck_assert(image_load(&read, path, 3, 0, &problem));
    assert_near(&read, &made, 0);
    ck_assert(!image_write_png(&made, files_path(folder, "none/a.png"), &problem));
    ck_assert_ptr_nonnull(strstr(problem.text, "none/a.png: No such file"));
    image_free(&made);
    image_free(&read);
    files_remove(folder);
}
END_TEST

#ifdef CRIBO_WEBP
static uint8_t *make_webp(const struct image *made, size_t *size)
{
    uint8_t *bytes;
    *size = WebPEncodeLosslessRGB(made->pixels, made->width, made->height, 3 * made->width, &bytes);
    ck_assert_uint_gt(*size, 0);
    return bytes;
}

static void put32le(uint8_t *out, size_t value)
{
    for (int i = 0; i < 4; i++) out[i] = (uint8_t)(value >> 8 * i);
}

/* The extended form of a simple WebP file, with EXIF or as an animation (which has no frame here). */
static uint8_t *extend_webp(
    const uint8_t *simple, size_t *size, const struct image *made, int orientation, int flags)
{
    const uint8_t exif[22] = {
        'I', 'I', 42, 0, 8, 0, 0, 0, 1, 0, 0x12, 1, 3, 0, 1, 0, 0, 0, (uint8_t)orientation, 0, 0, 0};
    size_t longer = *size + 18 + 8 + sizeof exif;
    uint8_t *bytes = calloc(1, longer);
    memcpy(bytes, simple, 12);
    put32le(bytes + 4, longer - 8);
    memcpy(bytes + 12, "VP8X\12\0\0\0", 8);
    bytes[20] = (uint8_t)flags;
    put32le(bytes + 24, (size_t)made->width - 1);
    put32le(bytes + 27, (size_t)made->height - 1);
    memcpy(bytes + 30, simple + 12, *size - 12);
    memcpy(bytes + 18 + *size, "EXIF", 4);
    put32le(bytes + 22 + *size, sizeof exif);
    memcpy(bytes + 26 + *size, exif, sizeof exif);
    *size = longer;
    return bytes;
}

START_TEST(test_image_webp_gives_its_pixels)
{
    struct image made = files_ramp(37, 21), read, turned;
    struct problem problem;
    size_t size;
    uint8_t *bytes = make_webp(&made, &size), *longer = NULL;
    ck_assert_msg(decode(&read, bytes, size, 3, &problem), "%s", problem.text);
    assert_near(&read, &made, 0);
    for (int orientation = 1; orientation <= 8; orientation++) {
        size_t length = size;
        longer = extend_webp(bytes, &length, &made, orientation, 8);
        ck_assert_msg(decode(&turned, longer, length, 3, &problem), "%s", problem.text);
        struct image expected;
        ck_assert(
            decode(&expected, bytes, size, 3, &problem) && image_orient(&expected, orientation, &problem));
        assert_near(&turned, &expected, 0);
        image_free(&expected);
        image_free(&turned);
        free(longer);
    }
    size_t length = size;
    longer = extend_webp(bytes, &length, &made, 1, 2);
    ck_assert(!decode(&turned, longer, length, 3, &problem));
    ck_assert_str_eq(problem.text, "unsupported WebP: an animation");
    free(longer);
    WebPFree(bytes);
    image_free(&read);
    image_free(&made);
}
END_TEST

START_TEST(test_image_webp_is_reduced_laid_on_white_and_refused_when_cut)
{
    struct image made = files_gradient(803, 601), read;
    struct problem problem;
    size_t size;
    uint8_t *bytes = make_webp(&made, &size);
    ck_assert(image_decode(&read, bytes, size, 3, 170, &problem));
    ck_assert_double_eq(read.reduction, 4);
    ck_assert_int_eq(read.width, 200);
    ck_assert_int_eq(read.height, 150);
    for (int i = 0; i < 200 * 150; i++)
        for (int c = 0; c < 3; c++) {
            const uint8_t *large = made.pixels + 3 * ((4 * (i / 200) + 2) * 803 + 4 * (i % 200) + 2);
            ck_assert_int_le(abs(read.pixels[3 * i + c] - large[c]), 3);
        }
    image_free(&read);
    for (size_t cut = 0; cut < size; cut += 1 + size / 50) {
        uint8_t *exact = malloc(cut ? cut : 1);
        memcpy(exact, bytes, cut);
        ck_assert(!decode(&read, exact, cut, 3, &problem));
        ck_assert_ptr_null(read.pixels);
        free(exact);
    }
    WebPFree(bytes);
    uint8_t clear[4] = {77, 88, 99, 51};
    size = WebPEncodeLosslessRGBA(clear, 1, 1, 4, &bytes);
    ck_assert(decode(&read, bytes, size, 4, &problem));
    ck_assert(!memcmp(read.pixels, clear, 4));
    image_free(&read);
    ck_assert(decode(&read, bytes, size, 3, &problem));
    ck_assert_int_eq(read.channels, 3);
    ck_assert_int_eq(read.pixels[2], (99 * 51 + 255 * 204 + 127) / 255);
    image_free(&read);
    WebPFree(bytes);
    image_free(&made);
}
END_TEST
#define WEBP_TESTS \
    test_image_webp_gives_its_pixels, test_image_webp_is_reduced_laid_on_white_and_refused_when_cut,
#else
#define WEBP_TESTS
#endif

/* Pixels are used as stored: a profile or a gamma does not change them. */
START_TEST(test_image_colour_profiles_change_nothing)
{
    struct image made = files_gradient(32, 24), plain, profiled;
    struct problem problem;
    struct files_jpeg_options options = {.quality = 90};
    const uint8_t gamma[4] = {0, 1, 0x86, 0xa0}, intent = 0;
    size_t size;
    uint8_t *bytes = files_jpeg_with(&made, &options, &size);
    ck_assert(decode(&plain, bytes, size, 3, &problem));
    free(bytes);
    options.profile = 1;
    bytes = files_jpeg_with(&made, &options, &size);
    ck_assert_msg(decode(&profiled, bytes, size, 3, &problem), "%s", problem.text);
    assert_near(&profiled, &plain, 0);
    image_free(&plain);
    image_free(&profiled);
    free(bytes);
    bytes = files_png(&made, PNG_COLOR_TYPE_RGB, 8, 0, 0, &size);
    bytes = files_add_chunk(bytes, &size, "gAMA", gamma, sizeof gamma, 0);
    bytes = files_add_chunk(bytes, &size, "sRGB", &intent, 1, 0);
    bytes = files_add_chunk(bytes, &size, "iCCP", "x\0\0nonsense", 11, 0);
    ck_assert_msg(decode(&profiled, bytes, size, 3, &problem), "%s", problem.text);
    assert_near(&profiled, &made, 0);
    image_free(&profiled);
    image_free(&made);
    free(bytes);
}
END_TEST

/* Of an animated PNG the picture that programs without animations show. */
START_TEST(test_image_animated_png_gives_its_still_picture)
{
    struct image made = files_gradient(32, 24), read;
    struct problem problem;
    const uint8_t frames[8] = {0, 0, 0, 2}, control[26] = {0, 0, 0, 0, 0, 0, 0, 32, 0, 0, 0, 24};
    size_t size;
    uint8_t *bytes = files_png(&made, PNG_COLOR_TYPE_RGB, 8, 0, 0, &size);
    bytes = files_add_chunk(bytes, &size, "fcTL", control, sizeof control, 0);
    bytes = files_add_chunk(bytes, &size, "acTL", frames, sizeof frames, 0);
    bytes = files_add_chunk(bytes, &size, "fdAT", "\0\0\0\2xxxx", 8, 1);
    ck_assert_msg(decode(&read, bytes, size, 3, &problem), "%s", problem.text);
    assert_near(&read, &made, 0);
    image_free(&read);
    image_free(&made);
    free(bytes);
}
END_TEST

/* Other files that people have under a picture's name are refused with their kind. */
START_TEST(test_image_other_files_are_named)
{
    static const struct {
        const char *bytes, *name;
    } files[] = {{"GIF89a", "a GIF picture"}, {"II*\0", "a TIFF picture"},
        {"\0\0\0\x18"
         "ftypheic",
            "a HEIC picture"},
        {"\0\0\0\x18"
         "ftypavif",
            "an AVIF picture"},
        {"version https://git-lfs.github.com/spec/v1\noid sha256:0", "a Git LFS pointer; `git lfs pull`"},
        {"\n<!DOCTYPE HTML><title>404", "a web page"}, {"BM......", "a BMP picture"},
        {"\x1f\x8b\10", "a compressed"}, {"plain words", "a text"},
        {"\1\2\3\4", "a file of unknown content"}};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        struct image read;
        struct problem problem;
        uint8_t bytes[64] = {0};
        size_t size = i < 2 || i == 9 ? 4 + 2 * (i == 0) : i == 2 || i == 3 ? 12 : strlen(files[i].bytes);
        memcpy(bytes, files[i].bytes, size);
        ck_assert(!decode(&read, bytes, size, 3, &problem));
        ck_assert_msg(!strncmp(problem.text, files[i].name, strlen(files[i].name)), "%s", problem.text);
    }
}
END_TEST

RUN_TESTS("image", WEBP_TESTS test_image_colour_profiles_change_nothing,
    test_image_animated_png_gives_its_still_picture, test_image_other_files_are_named,
    test_image_jpeg_gives_its_pixels, test_image_jpeg_with_alpha_asked_is_opaque,
    test_image_grey_and_cmyk_jpeg_become_rgb, test_image_orientation_is_applied,
    test_exif_malformed_counts_as_upright, test_image_png_of_every_kind_gives_its_pixels,
    test_image_transparency_is_kept_or_laid_on_white, test_image_truncated_anywhere_is_refused,
    test_image_flipped_bits_never_crash, test_image_huge_by_its_header_is_refused_with_its_size,
    test_image_file_that_is_none_is_refused, test_image_large_jpeg_is_reduced_while_decoded,
    test_image_larger_than_the_limit_is_read_when_reduced, test_image_reduced_png_has_the_means_of_its_boxes,
    test_image_png_orientation_is_applied_to_every_kind, test_image_unsupported_jpeg_is_not_called_broken,
    test_image_written_is_read_back)
