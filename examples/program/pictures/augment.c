/*
 * See augment.h. Colours follow torchvision's functions on floats in 0 ... 1: each operation clamps, grey is
 * 0.299 R + 0.587 G + 0.114 B, hue turns in HSV. Pixels are planar from the crop on: colour [3][size][size].
 */
#include "pictures/augment.h"

#include "pictures/resample.h"

#include <math.h>
#include <string.h>

/* The use of each draw. */
enum {
    DRAW_CROPS = 0, /* ten attempts of (area, ratio, x, y) */
    CROP_ATTEMPTS = 10,
    DRAW_FLIP = CROP_DRAWS,
    DRAW_JITTER,
    DRAW_BRIGHTNESS,
    DRAW_CONTRAST,
    DRAW_SATURATION,
    DRAW_HUE,
    DRAW_ORDER,
    DRAW_GREY = DRAW_ORDER + 3,
    DRAW_BLUR,
    DRAW_DEVIATION,
    DRAW_SOLARISE
};

double augment_least_side(const struct recipe *recipe, int size)
{
    /*
     * The short side of the smallest crop is side * sqrt(area * ratio), ratio the one furthest from a square.
     */
    double ratio = fmin(recipe->crop_ratio_min, 1 / recipe->crop_ratio_max);
    return 2.0 * size / sqrt(recipe->crop_area_min * fmin(ratio, 1));
}

size_t augment_workspace(int size)
{
    return 6 * (size_t)size * (size_t)size;
}

static double between(double draw, double low, double high)
{
    return low + draw * (high - low);
}

/* The largest box in the middle whose ratio is allowed: when ten attempts did not fit. */
static struct box central_box(const struct recipe *recipe, int width, int height)
{
    struct box box = {0, 0, width, height};
    double ratio = (double)width / height;
    if (ratio < recipe->crop_ratio_min)
        box.height = (int)lround(width / recipe->crop_ratio_min);
    else if (ratio > recipe->crop_ratio_max)
        box.width = (int)lround(height * recipe->crop_ratio_max);
    if (box.width < 1) box.width = 1;
    if (box.height < 1) box.height = 1;
    box.x = (width - box.width) / 2;
    box.y = (height - box.height) / 2;
    return box;
}

struct box choose_crop(const struct recipe *recipe, const double *draws, int width, int height)
{
    double area = (double)width * height;
    for (int i = 0; i < CROP_ATTEMPTS; i++, draws += 4) {
        double target = area * between(draws[0], recipe->crop_area_min, recipe->crop_area_max);
        double ratio = exp(between(draws[1], log(recipe->crop_ratio_min), log(recipe->crop_ratio_max)));
        int w = (int)lround(sqrt(target * ratio)), h = (int)lround(sqrt(target / ratio));
        if (w < 1 || h < 1 || w > width || h > height) continue;
        return (struct box){(int)(draws[2] * (width - w + 1)), (int)(draws[3] * (height - h + 1)), w, h};
    }
    return central_box(recipe, width, height);
}

/* interleaved [size][size][3] in 0 ... 255 to colour [3][size][size] in 0 ... 1, mirrored if asked. */
static void to_planes(const float *interleaved, int size, bool mirror, float *colour)
{
    size_t plane = (size_t)size * (size_t)size;
    for (int y = 0; y < size; y++) {
        for (int x = 0; x < size; x++, interleaved += 3) {
            size_t at = (size_t)y * (size_t)size + (size_t)(mirror ? size - 1 - x : x);
            for (size_t c = 0; c < 3; c++) colour[c * plane + at] = interleaved[c] / 255.0f;
        }
    }
}

static float unit(float value)
{
    return fminf(fmaxf(value, 0.0f), 1.0f);
}

static float grey_of(const float *colour, size_t plane, size_t i)
{
    return 0.299f * colour[i] + 0.587f * colour[plane + i] + 0.114f * colour[2 * plane + i];
}

static void brighten(float *colour, size_t plane, float factor)
{
    for (size_t i = 0; i < 3 * plane; i++) colour[i] = unit(factor * colour[i]);
}

static void contrast(float *colour, size_t plane, float factor)
{
    double sum = 0;
    for (size_t i = 0; i < plane; i++) sum += grey_of(colour, plane, i);
    float rest = (1 - factor) * (float)(sum / (double)plane);
    for (size_t i = 0; i < 3 * plane; i++) colour[i] = unit(factor * colour[i] + rest);
}

static void saturate(float *colour, size_t plane, float factor)
{
    for (size_t i = 0; i < plane; i++) {
        float grey = (1 - factor) * grey_of(colour, plane, i);
        for (size_t c = 0; c < 3; c++) colour[c * plane + i] = unit(factor * colour[c * plane + i] + grey);
    }
}

/* Turns the hue of one pixel by `turn` of the whole circle, through HSV. */
static void turn_pixel(float *red, float *green, float *blue, float turn)
{
    float r = *red, g = *green, b = *blue;
    float value = fmaxf(r, fmaxf(g, b)), chroma = value - fminf(r, fminf(g, b));
    if (chroma <= 0) return;
    float sector = value == r ? (g - b) / chroma : value == g ? 2 + (b - r) / chroma : 4 + (r - g) / chroma;
    float hue = sector + 6 * turn;
    float *out[3] = {red, green, blue};
    static const float offsets[3] = {5, 3, 1};
    for (int c = 0; c < 3; c++) {
        float k = fmodf(offsets[c] + hue + 12, 6);
        *out[c] = value - chroma * unit(fminf(k, 4 - k));
    }
}

static void turn_hue(float *colour, size_t plane, float turn)
{
    for (size_t i = 0; i < plane; i++)
        turn_pixel(colour + i, colour + plane + i, colour + 2 * plane + i, turn);
}

/* Permutation number draw of the four operations, by Fisher and Yates. */
static void choose_order(const double *draws, int order[4])
{
    for (int i = 0; i < 4; i++) order[i] = i;
    for (int i = 3; i > 0; i--) {
        int j = (int)(draws[3 - i] * (i + 1)), kept = order[i];
        order[i] = order[j];
        order[j] = kept;
    }
}

/* From 1 - strength to 1 + strength. */
static float factor(double draw, double strength)
{
    return (float)between(draw, 1 - strength, 1 + strength);
}

static void jitter(const struct recipe *recipe, float *colour, size_t plane, const double *draws)
{
    int order[4];
    choose_order(draws + DRAW_ORDER, order);
    for (int i = 0; i < 4; i++) {
        switch (order[i]) {
        case 0: brighten(colour, plane, factor(draws[DRAW_BRIGHTNESS], recipe->brightness)); break;
        case 1: contrast(colour, plane, factor(draws[DRAW_CONTRAST], recipe->contrast)); break;
        case 2: saturate(colour, plane, factor(draws[DRAW_SATURATION], recipe->saturation)); break;
        default: turn_hue(colour, plane, (float)between(draws[DRAW_HUE], -recipe->hue, recipe->hue)); break;
        }
    }
}

static void make_grey(float *colour, size_t plane)
{
    for (size_t i = 0; i < plane; i++) {
        float grey = grey_of(colour, plane, i);
        for (size_t c = 0; c < 3; c++) colour[c * plane + i] = grey;
    }
}

enum { MOST_RADIUS = 40 }; /* four of the largest deviation that a recipe may have */

/* Blurs the rows of in [size][size] into the columns of out: twice is both directions, upright again. */
static void blur_transposed(const float *in, int size, const float *kernel, int radius, float *out)
{
    for (int y = 0; y < size; y++) {
        const float *row = in + (size_t)y * (size_t)size;
        for (int x = 0; x < size; x++) {
            float sum = 0;
            for (int k = -radius; k <= radius; k++) {
                int from = x + k < 0 ? 0 : x + k >= size ? size - 1 : x + k;
                sum += kernel[k + radius] * row[from];
            }
            out[(size_t)x * (size_t)size + (size_t)y] = sum;
        }
    }
}

static void blur(float *colour, int size, double deviation, float *scratch)
{
    float kernel[2 * MOST_RADIUS + 1];
    int radius = (int)ceil(4 * deviation);
    double sum = 0;
    for (int k = -radius; k <= radius; k++) sum += exp(-0.5 * k * k / (deviation * deviation));
    for (int k = -radius; k <= radius; k++)
        kernel[k + radius] = (float)(exp(-0.5 * k * k / (deviation * deviation)) / sum);
    for (int c = 0; c < 3; c++, colour += (size_t)size * (size_t)size) {
        blur_transposed(colour, size, kernel, radius, scratch);
        blur_transposed(scratch, size, kernel, radius, colour);
    }
}

static void solarise(float *colour, size_t plane, float threshold)
{
    for (size_t i = 0; i < 3 * plane; i++)
        if (colour[i] >= threshold) colour[i] = 1 - colour[i];
}

static void change_colours(const struct recipe *recipe, float *colour, enum view_kind kind, int size,
    const double *draws, float *scratch)
{
    size_t plane = (size_t)size * (size_t)size;
    int v = kind == VIEW_SECOND;
    if (draws[DRAW_JITTER] < recipe->jitter[v]) jitter(recipe, colour, plane, draws);
    if (draws[DRAW_GREY] < recipe->grey[v]) make_grey(colour, plane);
    if (draws[DRAW_BLUR] < recipe->blur[v])
        blur(colour, size, between(draws[DRAW_DEVIATION], recipe->blur_min, recipe->blur_max), scratch);
    if (draws[DRAW_SOLARISE] < recipe->solarise[v])
        solarise(colour, plane, (float)recipe->solarise_threshold);
}

bool augment_view(const struct recipe *recipe, const struct image *image, enum view_kind kind, int size,
    const double *draws, float *workspace, uint8_t *view, cribo_crop *crop, struct problem *problem)
{
    size_t values = 3 * (size_t)size * (size_t)size;
    float *colour = workspace, *scratch = workspace + values;
    struct box box = choose_crop(recipe, draws + DRAW_CROPS, image->width, image->height);
    bool flipped = draws[DRAW_FLIP] < recipe->flip[kind == VIEW_SECOND];
    bool linear = recipe->resampling == RECIPE_BILINEAR;
    if (!(linear ? resample_bilinear : resample)(image, box, size, size, scratch, problem)) return false;
    to_planes(scratch, size, flipped, colour);
    if (kind != VIEW_PLAIN) change_colours(recipe, colour, kind, size, draws, scratch);
    for (size_t i = 0; i < values; i++) view[i] = (uint8_t)(255.0f * unit(colour[i]) + 0.5f);
    double full = image->reduction;
    *crop = (cribo_crop){box.x * full, box.y * full, box.width * full, box.height * full, flipped};
    return true;
}
