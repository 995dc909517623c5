/*
 * See resample.h. Rows are read once, top to bottom: each is resampled along x and added at once to the
 * output rows that have it among their taps, so no array of the box's height is stored.
 */
#include "pictures/resample.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { FRACTION_BITS = 22 };

/*
 * The taps of one axis: output i is the sum over j of weights[i * most + j] * input[first[i] + j], j <
 * count[i]. `whole` are the same weights times 2^FRACTION_BITS, rounded: from double, since the rounding of a
 * weight to float before can change the last bit.
 */
struct taps {
    int most;
    int *first, *count;
    float *weights;
    int32_t *whole;
};

static double cubic(double x)
{
    const double a = -0.5;
    x = fabs(x);
    if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
    if (x < 2) return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a;
    return 0;
}

static void taps_free(struct taps *taps)
{
    free(taps->first);
    free(taps->count);
    free(taps->weights);
    free(taps->whole);
}

static double triangle(double x)
{
    return fmax(0, 1 - fabs(x));
}

/* A kernel, and how far from 0 it reaches. */
struct kernel {
    double (*at)(double x);
    double reach;
};

static const struct kernel bicubic = {cubic, 2}, bilinear = {triangle, 1};

static void fill_taps(struct taps *taps, struct kernel kernel, int from, int to)
{
    double scale = (double)from / to, spread = scale > 1 ? scale : 1, reach = kernel.reach * spread;
    for (int i = 0; i < to; i++) {
        double centre = (i + 0.5) * scale, sum = 0;
        int first = (int)(centre - reach + 0.5), end = (int)(centre + reach + 0.5);
        if (first < 0) first = 0;
        if (end > from) end = from;
        size_t at = (size_t)i * (size_t)taps->most;
        for (int j = first; j < end; j++) sum += kernel.at((j + 0.5 - centre) / spread);
        for (int j = first; j < end; j++, at++) {
            double weight = kernel.at((j + 0.5 - centre) / spread) / sum;
            taps->weights[at] = (float)weight;
            taps->whole[at] = (int32_t)floor(0.5 + weight * (1 << FRACTION_BITS));
        }
        taps->first[i] = first;
        taps->count[i] = end - first;
    }
}

static bool taps_make(struct taps *taps, struct kernel kernel, int from, int to)
{
    double scale = (double)from / to;
    taps->most = (int)ceil(4 * (scale > 1 ? scale : 1)) + 2;
    taps->first = malloc((size_t)to * sizeof *taps->first);
    taps->count = malloc((size_t)to * sizeof *taps->count);
    taps->weights = malloc((size_t)to * (size_t)taps->most * sizeof *taps->weights);
    taps->whole = malloc((size_t)to * (size_t)taps->most * sizeof *taps->whole);
    if (!taps->first || !taps->count || !taps->weights || !taps->whole) return false;
    fill_taps(taps, kernel, from, to);
    return true;
}

/* in [*][channels] bytes from the box's left edge; out [width][channels]. */
static void resample_row(const struct taps *taps, const uint8_t *in, int width, int channels, float *out)
{
    for (int x = 0; x < width; x++) {
        const float *weights = taps->weights + (size_t)x * (size_t)taps->most;
        const uint8_t *pixel = in + (size_t)taps->first[x] * (size_t)channels;
        float sums[4] = {0};
        if (channels == 3) {
            for (int j = 0; j < taps->count[x]; j++, pixel += 3)
                for (int c = 0; c < 3; c++) sums[c] += weights[j] * (float)pixel[c];
        } else {
            for (int j = 0; j < taps->count[x]; j++, pixel += channels) {
                float weight = weights[j] * (channels == 4 ? (float)pixel[3] / 255.0f : 1.0f);
                for (int c = 0; c < channels; c++) sums[c] += weight * (float)pixel[c];
                if (channels == 4) sums[3] += (weights[j] - weight) * (float)pixel[3];
            }
        }
        for (int c = 0; c < channels; c++) *out++ = sums[c];
    }
}

static void resample_rows(const struct image *image, struct box box, const struct taps *across,
    const struct taps *down, int width, int height, float *row, float *out)
{
    size_t channels = (size_t)image->channels, row_values = (size_t)width * channels;
    int begin = 0; /* output rows before it are complete */
    memset(out, 0, row_values * (size_t)height * sizeof *out);
    for (int y = 0; y < box.height; y++) {
        const uint8_t *in =
            image->pixels + ((size_t)(box.y + y) * (size_t)image->width + (size_t)box.x) * channels;
        resample_row(across, in, width, image->channels, row);
        while (begin < height && down->first[begin] + down->count[begin] <= y) begin++;
        for (int i = begin; i < height && down->first[i] <= y; i++) {
            if (y >= down->first[i] + down->count[i]) continue;
            float weight = down->weights[(size_t)i * (size_t)down->most + (size_t)(y - down->first[i])];
            float *out_row = out + (size_t)i * row_values;
            for (size_t k = 0; k < row_values; k++) out_row[k] += weight * row[k];
        }
    }
}

static void clamp(float *values, size_t count)
{
    for (size_t i = 0; i < count; i++) values[i] = fminf(fmaxf(values[i], 0.0f), 255.0f);
}

static bool resample_by(const struct image *image, struct kernel kernel, struct box box, int width,
    int height, float *out, struct problem *problem)
{
    struct taps across = {0}, down = {0};
    size_t values = (size_t)width * (size_t)image->channels;
    float *row = malloc(values * sizeof *row);
    bool made =
        row && taps_make(&across, kernel, box.width, width) && taps_make(&down, kernel, box.height, height);
    if (made) {
        resample_rows(image, box, &across, &down, width, height, row, out);
        clamp(out, values * (size_t)height);
    } else {
        problem_set(problem, "no memory to resample to %d x %d", width, height);
    }
    taps_free(&across);
    taps_free(&down);
    free(row);
    return made;
}

bool resample(
    const struct image *image, struct box box, int width, int height, float *out, struct problem *problem)
{
    return resample_by(image, bicubic, box, width, height, out, problem);
}

bool resample_bilinear(
    const struct image *image, struct box box, int width, int height, float *out, struct problem *problem)
{
    return resample_by(image, bilinear, box, width, height, out, problem);
}

/* --- in bytes --- */

/* A byte of the sum of `count` bytes, `stride` apart, times whole weights. */
static uint8_t weighted_byte(const int32_t *whole, int count, const uint8_t *in, size_t stride)
{
    int64_t sum = INT64_C(1) << (FRACTION_BITS - 1);
    for (int j = 0; j < count; j++, in += stride) sum += *in * (int64_t)whole[j];
    return (uint8_t)(sum >> FRACTION_BITS);
}

/* Along one axis: `lines` lines of `values` numbers each become lines of taps; strides in bytes. */
static void resample_lines(const struct taps *taps, int to, const uint8_t *in, size_t in_stride,
    size_t in_line, uint8_t *out, size_t out_stride, size_t out_line, int lines)
{
    for (int line = 0; line < lines; line++, in += in_line, out += out_line)
        for (int i = 0; i < to; i++)
            for (size_t c = 0; c < 3; c++)
                out[(size_t)i * out_stride + c] = weighted_byte(taps->whole + (size_t)i * (size_t)taps->most,
                    taps->count[i], in + (size_t)taps->first[i] * in_stride + c, in_stride);
}

bool resample_bytes(const struct image *image, int width, int height, uint8_t *out, struct problem *problem)
{
    struct taps across = {0}, down = {0};
    size_t row = 3 * (size_t)width, in_row = 3 * (size_t)image->width;
    uint8_t *half = malloc(row * (size_t)image->height);
    bool made = half && taps_make(&across, bilinear, image->width, width) &&
                taps_make(&down, bilinear, image->height, height);
    if (made) {
        resample_lines(&across, width, image->pixels, 3, in_row, half, 3, row, image->height);
        resample_lines(&down, height, half, row, 3, out, row, 3, width);
    } else {
        problem_set(problem, "no memory to resample to %d x %d", width, height);
    }
    taps_free(&across);
    taps_free(&down);
    free(half);
    return made;
}
