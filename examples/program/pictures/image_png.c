/* PNG through libpng, whose errors jump back to image_decode_png. */
#include "pictures/image.h"

#include <stdlib.h>
#include <string.h>

#include <png.h>

struct source {
    const uint8_t *bytes;
    size_t left;
    struct problem *problem;
    png_bytep *rows;
};

static void take_bytes(png_structp png, png_bytep out, size_t count)
{
    struct source *source = png_get_io_ptr(png);
    if (count > source->left) png_error(png, "the data end early");
    memcpy(out, source->bytes, count);
    source->bytes += count;
    source->left -= count;
}

static void give_up(png_structp png, png_const_charp message)
{
    struct source *source = png_get_error_ptr(png);
    problem_set(source->problem, "broken PNG: %s", message);
    png_longjmp(png, 1);
}

static void ignore_warning(png_structp png, png_const_charp message)
{
    (void)png;
    (void)message;
}

/* Lays an RGBA picture on white and packs it to RGB, in place. */
static void flatten(struct image *image)
{
    size_t count = (size_t)image->width * (size_t)image->height;
    const uint8_t *in = image->pixels;
    uint8_t *out = image->pixels;
    for (size_t i = 0; i < count; i++, in += 4, out += 3) {
        unsigned alpha = in[3];
        for (int c = 0; c < 3; c++) out[c] = (uint8_t)((in[c] * alpha + 255 * (255 - alpha) + 127) / 255);
    }
    image->channels = 3;
}

/* Asks libpng for 8-bit RGB, or RGBA where there is or must be alpha; says how many channels that gives. */
static int ask_for_channels(png_structp png, png_infop info, int channels)
{
    bool alpha =
        (png_get_color_type(png, info) & PNG_COLOR_MASK_ALPHA) || png_get_valid(png, info, PNG_INFO_tRNS);
    png_set_expand(png);
    png_set_scale_16(png);
    png_set_gray_to_rgb(png);
    if (!alpha && channels == 4) png_set_add_alpha(png, 255, PNG_FILLER_AFTER);
    png_set_interlace_handling(png);
    png_read_update_info(png, info);
    return alpha || channels == 4 ? 4 : 3;
}

/* Indices and grey values as they are; says whether the picture has them. */
static bool ask_for_labels(png_structp png, png_infop info, struct problem *problem)
{
    int type = png_get_color_type(png, info), bits = png_get_bit_depth(png, info);
    if ((type != PNG_COLOR_TYPE_PALETTE && type != PNG_COLOR_TYPE_GRAY) || bits > 8)
        return problem_set(problem,
            "no labels: they are a palette's indices or grey values of at most 8 bits, this has %s",
            bits > 8 ? "16 bits" : "colours or transparency");
    png_set_packing(png);
    png_set_interlace_handling(png);
    png_read_update_info(png, info);
    return true;
}

static int orientation_of(png_structp png, png_infop info)
{
    png_uint_32 size = 0;
    png_bytep exif = NULL;
    if (!png_get_eXIf_1(png, info, &size, &exif) || !exif) return 1;
    return exif_orientation(exif, size);
}

/* Runs between setjmp and the end: any call into libpng may jump away. */
static bool decode(png_structp png, png_infop info, struct source *source, struct image *image, int channels)
{
    png_set_read_fn(png, source, take_bytes);
    png_set_user_limits(png, 0x7fffffff, 0x7fffffff); /* image_make has the limit, and the better message */
    png_read_info(png, info);
    int64_t width = png_get_image_width(png, info), height = png_get_image_height(png, info);
    if (width > IMAGE_MOST_PIXELS || height > IMAGE_MOST_PIXELS || width * height > IMAGE_MOST_PIXELS)
        return problem_set(source->problem, "%lld x %lld pixels are more than the limit of %lld",
            (long long)width, (long long)height, (long long)IMAGE_MOST_PIXELS);
    if (channels == 1 && !ask_for_labels(png, info, source->problem)) return false;
    int decoded_channels = channels == 1 ? 1 : ask_for_channels(png, info, channels);
    if (!image_make(image, (int)width, (int)height, decoded_channels, source->problem)) return false;
    if (png_get_rowbytes(png, info) != (size_t)width * (size_t)decoded_channels)
        png_error(png, "an unexpected row size");
    source->rows = malloc((size_t)height * sizeof *source->rows);
    if (!source->rows) return problem_set(source->problem, "no memory for %lld rows", (long long)height);
    for (int64_t y = 0; y < height; y++)
        source->rows[y] = image->pixels + (size_t)(y * width) * (size_t)decoded_channels;
    png_read_image(png, source->rows);
    png_read_end(png, info);
    if (decoded_channels > channels) flatten(image);
    return image_orient(image, orientation_of(png, info), source->problem);
}

bool image_decode_png(
    struct image *image, const uint8_t *bytes, size_t size, int channels, struct problem *problem)
{
    struct source source = {.bytes = bytes, .left = size, .problem = problem};
    png_structp png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &source, give_up, ignore_warning);
    png_infop info = png ? png_create_info_struct(png) : NULL;
    if (!info) {
        png_destroy_read_struct(&png, NULL, NULL);
        return problem_set(problem, "no memory for reading a PNG");
    }
    volatile bool decoded = false;
    if (!setjmp(png_jmpbuf(png))) decoded = decode(png, info, &source, image, channels);
    png_destroy_read_struct(&png, &info, NULL);
    free(source.rows);
    if (!decoded) image_free(image);
    return decoded;
}
