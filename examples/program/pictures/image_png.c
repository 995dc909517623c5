/* PNG through libpng, whose errors jump back to image_decode_png. */
#include "pictures/image.h"

#include <stdlib.h>
#include <string.h>

#include <png.h>
#include <zlib.h>

struct source {
    const uint8_t *bytes;
    size_t left;
    struct problem *problem;
    uint8_t *row;   /* as libpng gives it */
    unsigned *sums; /* of a reduced row */
};

/* Larger pictures are reduced while they are read, so that a few of them fit into memory. */
#define MOST_UNREDUCED (INT64_C(1) << 25)

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

/* Sets libpng to 8-bit RGB, or RGBA if there is or must be alpha; returns the number of channels. */
static int ask_for_channels(png_structp png, png_infop info, int channels)
{
    bool alpha =
        (png_get_color_type(png, info) & PNG_COLOR_MASK_ALPHA) || png_get_valid(png, info, PNG_INFO_tRNS);
    png_set_expand(png);
    png_set_scale_16(png);
    png_set_gray_to_rgb(png);
    if (!alpha && channels == 4) png_set_add_alpha(png, 255, PNG_FILLER_AFTER);
    return alpha || channels == 4 ? 4 : 3;
}

/* Indices and grey values as stored; returns whether the picture has them. */
static bool ask_for_labels(png_structp png, png_infop info, struct problem *problem)
{
    int type = png_get_color_type(png, info), bits = png_get_bit_depth(png, info);
    if ((type != PNG_COLOR_TYPE_PALETTE && type != PNG_COLOR_TYPE_GRAY) || bits > 8)
        return problem_set(problem,
            "no labels: they are a palette's indices or grey values of at most 8 bits, this has %s",
            bits > 8 ? "16 bits" : "colours or transparency");
    png_set_packing(png);
    return true;
}

static uint32_t read32(const uint8_t *bytes)
{
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

/* Of the first eXIf chunk, which may be after the pixels. */
static int find_orientation(const uint8_t *png, size_t size)
{
    enum { FRAME = 12 }; /* length and type before a chunk's data, a sum behind them */
    for (size_t at = 8; size - at >= FRAME;) {
        const uint8_t *chunk = png + at;
        size_t length = read32(chunk);
        if (length > size - at - FRAME) return 1;
        bool exif = !memcmp(chunk + 4, "eXIf", 4);
        if (exif && crc32(crc32(0, NULL, 0), chunk + 4, (uInt)length + 4) == read32(chunk + 8 + length))
            return exif_orientation(chunk + 8, length);
        at += FRAME + length;
    }
    return 1;
}

/* The conversion of the file's rows to the picture's. */
struct plan {
    int width, height; /* the file's */
    int channels;      /* that libpng gives */
    int passes;        /* 7 of an interlaced file, else 1 */
    int reduction;
    int orientation;
};

static bool make_plan(struct plan *plan, png_structp png, png_infop info, struct source *source, int channels,
    double least_side)
{
    int64_t width = png_get_image_width(png, info), height = png_get_image_height(png, info);
    bool interlaced = png_get_interlace_type(png, info) != PNG_INTERLACE_NONE, sized = true;
    *plan = (struct plan){.reduction = 1};
    if (!interlaced && channels == 3 && (double)width * (double)height > (double)MOST_UNREDUCED)
        plan->reduction = (int)image_reduction((double)width, (double)height, least_side);
    sized = width <= IMAGE_MOST_PIXELS && height <= IMAGE_MOST_PIXELS &&
            (width / plan->reduction) * (height / plan->reduction) <= IMAGE_MOST_PIXELS;
    if (!sized)
        return problem_set(source->problem, "%lld x %lld pixels are more than the limit of %lld",
            (long long)width, (long long)height, (long long)IMAGE_MOST_PIXELS);
    if (channels == 1 && !ask_for_labels(png, info, source->problem)) return false;
    plan->width = (int)width;
    plan->height = (int)height;
    plan->channels = channels == 1 ? 1 : ask_for_channels(png, info, channels);
    plan->passes = png_set_interlace_handling(png);
    png_read_update_info(png, info);
    if (png_get_rowbytes(png, info) != (size_t)width * (size_t)plan->channels)
        png_error(png, "an unexpected row size");
    return true;
}

/* Each pass has some pixels of each row; all passes are complete before pixels are blended with white. */
static void read_interlaced(
    png_structp png, const struct plan *plan, struct source *source, struct image *image, int channels)
{
    for (int pass = 0; pass < plan->passes; pass++) {
        for (int y = 0; y < plan->height; y++) {
            image_get_row(image, plan->orientation, y, source->row);
            png_read_row(png, source->row, NULL);
            image_put_row(image, plan->orientation, y, source->row);
        }
    }
    if (plan->channels > channels) image_flatten(image);
}

/* Adds a row to the sums of its boxes of `reduction` columns; columns that do not fill a box are left out. */
static void add_row(const uint8_t *row, int width, int channels, int reduction, unsigned *sums)
{
    for (int x = 0; x < width / reduction * reduction; x++)
        for (int c = 0; c < channels; c++) sums[x / reduction * channels + c] += *row++;
}

static void mean_row(unsigned *sums, int values, int reduction, uint8_t *row)
{
    unsigned count = (unsigned)(reduction * reduction);
    for (int i = 0; i < values; i++) row[i] = (uint8_t)((sums[i] + count / 2) / count);
    memset(sums, 0, (size_t)values * sizeof *sums);
}

/* Each box of reduction x reduction pixels becomes its mean. */
static void read_rows(png_structp png, const struct plan *plan, struct source *source, struct image *image)
{
    int reduction = plan->reduction, width = plan->width / reduction;
    for (int y = 0; y < plan->height; y++) {
        png_read_row(png, source->row, NULL);
        if (plan->channels > image->channels) image_flatten_row(source->row, (size_t)plan->width);
        if (reduction == 1) image_put_row(image, plan->orientation, y, source->row);
        if (reduction == 1 || y >= plan->height / reduction * reduction) continue;
        add_row(source->row, plan->width, image->channels, reduction, source->sums);
        if ((y + 1) % reduction) continue;
        mean_row(source->sums, width * image->channels, reduction, source->row);
        image_put_row(image, plan->orientation, y / reduction, source->row);
    }
}

/* Runs between setjmp and the end: any call into libpng may jump away. */
static bool decode(png_structp png, png_infop info, struct source *source, struct image *image, int channels,
    double least_side)
{
    struct plan plan;
    const uint8_t *bytes = source->bytes;
    size_t size = source->left;
    png_set_read_fn(png, source, take_bytes);
    png_set_user_limits(png, 0x7fffffff, 0x7fffffff); /* make_plan checks the limit, with a better message */
    png_read_info(png, info);
    if (!make_plan(&plan, png, info, source, channels, least_side)) return false;
    plan.orientation = find_orientation(bytes, size);
    int width = plan.width / plan.reduction, height = plan.height / plan.reduction;
    if (!image_make_upright(image, width, height, plan.passes > 1 ? plan.channels : channels,
            plan.orientation, source->problem))
        return false;
    image->reduction = plan.reduction;
    source->row = malloc((size_t)plan.width * (size_t)plan.channels);
    source->sums = plan.reduction > 1 ? calloc((size_t)width * 3, sizeof *source->sums) : NULL;
    if (!source->row || (plan.reduction > 1 && !source->sums))
        return problem_set(source->problem, "no memory for a row of %d pixels", plan.width);
    if (plan.passes > 1)
        read_interlaced(png, &plan, source, image, channels);
    else
        read_rows(png, &plan, source, image);
    png_read_end(png, info);
    return true;
}

bool image_decode_png(struct image *image, const uint8_t *bytes, size_t size, int channels, double least_side,
    struct problem *problem)
{
    struct source source = {.bytes = bytes, .left = size, .problem = problem};
    png_structp png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &source, give_up, ignore_warning);
    png_infop info = png ? png_create_info_struct(png) : NULL;
    if (!info) {
        png_destroy_read_struct(&png, NULL, NULL);
        return problem_set(problem, "no memory for reading a PNG");
    }
    volatile bool decoded = false;
    if (!setjmp(png_jmpbuf(png))) decoded = decode(png, info, &source, image, channels, least_side);
    png_destroy_read_struct(&png, &info, NULL);
    free(source.row);
    free(source.sums);
    if (!decoded) image_free(image);
    return decoded;
}
