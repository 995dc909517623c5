/* From images to the first tokens of the residual stream: patches, [CLS], positions and their resampling. */
#include "autograd/operations.h"
#include "tensor/rows.h"

#include <math.h>
#include <string.h>

typedef struct patches_node {
    cb_node node;
    cb_images images;
    size_t patch;
    cb_tensor y;
} patches_node;

/* Where image b's pixels begin, counted from the array of its view. */
static size_t image_begin(const cb_images *images, size_t image)
{
    bool two_arrays = images->view2_pixels || images->view2_bytes;
    return (two_arrays ? image / 2 : image) * 3 * images->height * images->width;
}

static void read_pixels(
    const cb_images *images, size_t image, size_t first, size_t channel, size_t n, cb_real *y)
{
    bool second = image % 2 == 1;
    if (images->pixels) {
        const float *pixels =
            (second && images->view2_pixels ? images->view2_pixels : images->pixels) + first;
        for (size_t i = 0; i < n; i++) y[i] = pixels[i];
    } else {
        const uint8_t *bytes = (second && images->view2_bytes ? images->view2_bytes : images->bytes) + first;
        for (size_t i = 0; i < n; i++) y[i] = bytes[i] * images->scale[channel] + images->shift[channel];
    }
}

/*
 * y[b N + r (W/p) + c, (channel p + i) p + j] = image[b, channel, r p + i, c p + j], or the gradient's way
 * back.
 */
static void move_patch_row(const patches_node *f, size_t task, bool backward)
{
    const cb_images *images = &f->images;
    size_t p = f->patch, grid_rows = images->height / p, grid_columns = images->width / p;
    size_t image = task / grid_rows, r = task % grid_rows;
    for (size_t c = 0; c < grid_columns; c++)
        for (size_t line = 0; line < 3 * p; line++) { /* channel by channel */
            size_t channel = line / p, row = r * p + line % p;
            size_t first =
                image_begin(images, image) + (channel * images->height + row) * images->width + c * p;
            size_t y = (task * grid_columns + c) * f->y.columns + line * p;
            if (backward)
                cb_rows()->add_scaled(images->gradient + first, f->y.gradient + y, 1, p);
            else
                read_pixels(images, image, first, channel, p, f->y.value + y);
        }
}

static void gather_patches(void *context, size_t task, size_t worker)
{
    (void)worker;
    move_patch_row(context, task, false);
}

static void scatter_patches(void *context, size_t task, size_t worker)
{
    (void)worker;
    move_patch_row(context, task, true);
}

static size_t patch_rows(const patches_node *f)
{
    return f->images.count * (f->images.height / f->patch);
}

static void patches_backward(cb_tape *tape, cb_node *node)
{
    patches_node *f = (patches_node *)node;
    cb_pool_run(tape->pool, patch_rows(f), scatter_patches, f);
}

cb_tensor cb_op_patches(cb_tape *tape, const cb_images *images, size_t patch)
{
    size_t patches = (images->height / patch) * (images->width / patch);
    patches_node f = {.images = *images, .patch = patch};
    f.y = cb_tape_tensor(tape, images->count * patches, 3 * patch * patch, false);
    if (images->gradient)
        cb_tape_record(tape, &f.node, sizeof f, patches_backward);
    else
        f.y.gradient = NULL;
    if (cb_tape_runs(tape)) cb_pool_run(tape->pool, patch_rows(&f), gather_patches, &f);
    return f.y;
}

typedef struct tokens_node {
    cb_node node;
    cb_tensor embedded, cls, positions, x;
    size_t images;
} tokens_node;

static void tokens_row(void *context, size_t row, size_t worker)
{
    const tokens_node *f = context;
    size_t d = f->x.columns, tokens = f->positions.rows, image = row / tokens, token = row % tokens;
    const cb_real *content =
        token == 0 ? f->cls.value : f->embedded.value + (image * (tokens - 1) + token - 1) * d;
    (void)worker;
    memcpy(f->x.value + row * d, content, d * sizeof(cb_real));
    cb_rows()->add_scaled(f->x.value + row * d, f->positions.value + token * d, 1, d);
}

/* A task is a token of all images: dpositions[n] += Σ_b dx[b, n], and dcls or dembedded. */
static void tokens_backward_token(void *context, size_t token, size_t worker)
{
    const tokens_node *f = context;
    size_t d = f->x.columns, tokens = f->positions.rows;
    (void)worker;
    for (size_t image = 0; image < f->images; image++) {
        const cb_real *dx = f->x.gradient + (image * tokens + token) * d;
        if (f->positions.gradient) cb_rows()->add_scaled(f->positions.gradient + token * d, dx, 1, d);
        if (token == 0) {
            if (f->cls.gradient) cb_rows()->add_scaled(f->cls.gradient, dx, 1, d);
        } else
            memcpy(f->embedded.gradient + (image * (tokens - 1) + token - 1) * d, dx, d * sizeof(cb_real));
    }
}

static void tokens_backward(cb_tape *tape, cb_node *node)
{
    tokens_node *f = (tokens_node *)node;
    cb_pool_run(tape->pool, f->positions.rows, tokens_backward_token, f);
}

cb_tensor cb_op_tokens(cb_tape *tape, cb_tensor embedded, cb_tensor cls, cb_tensor positions, size_t images)
{
    tokens_node f = {.embedded = embedded, .cls = cls, .positions = positions, .images = images};
    f.x = cb_tape_tensor(tape, images * positions.rows, positions.columns, true);
    cb_tape_record(tape, &f.node, sizeof f, tokens_backward);
    if (cb_tape_runs(tape)) cb_pool_run(tape->pool, f.x.rows, tokens_row, &f);
    return f.x;
}

typedef struct resample_node {
    cb_node node;
    cb_tensor x, y;
    size_t grid, rows, columns;
} resample_node;

/* The four grid lines that output line u reads, and their weights (Keys' bicubic kernel with A = −0.75). */
typedef struct bicubic_taps {
    size_t line[4];
    cb_real weight[4];
} bicubic_taps;

static double bicubic_weight(double t)
{
    const double a = -0.75;
    return t <= 1 ? ((a + 2) * t - (a + 3)) * t * t + 1 : ((a * t - 5 * a) * t + 8 * a) * t - 4 * a;
}

static bicubic_taps taps_of(size_t u, size_t grid, size_t outputs)
{
    bicubic_taps taps;
    /* The 0.1 is DINO's, against rounding; weights trained with it must be read with it. */
    double at = ((double)u + 0.5) * (double)grid / ((double)outputs + 0.1) - 0.5, below = floor(at),
           f = at - below;
    for (int i = 0; i < 4; i++) {
        double line = below - 1 + i, last = (double)grid - 1;
        taps.line[i] = (size_t)(line < 0 ? 0 : line > last ? last : line);
        taps.weight[i] = (cb_real)bicubic_weight(fabs(f + 1 - i));
    }
    return taps;
}

/* Visits every (output row, grid row, weight) of the resampling, outputs in order. */
static void resample(const resample_node *f, bool backward)
{
    size_t d = f->x.columns;
    for (size_t r = 0; r < f->rows; r++) {
        bicubic_taps down = taps_of(r, f->grid, f->rows);
        for (size_t c = 0; c < f->columns; c++) {
            bicubic_taps across = taps_of(c, f->grid, f->columns);
            size_t y = (1 + r * f->columns + c) * d;
            for (int i = 0; i < 16; i++) {
                size_t x = (1 + down.line[i / 4] * f->grid + across.line[i % 4]) * d;
                cb_real weight = down.weight[i / 4] * across.weight[i % 4];
                if (backward)
                    cb_rows()->add_scaled(f->x.gradient + x, f->y.gradient + y, weight, d);
                else
                    cb_rows()->add_scaled(f->y.value + y, f->x.value + x, weight, d);
            }
        }
    }
}

static void resample_backward(cb_tape *tape, cb_node *node)
{
    resample_node *f = (resample_node *)node;
    (void)tape;
    if (!f->x.gradient) return;
    cb_rows()->add_scaled(f->x.gradient, f->y.gradient, 1, f->x.columns);
    resample(f, true);
}

cb_tensor cb_op_resample_positions(
    cb_tape *tape, cb_tensor positions, size_t grid, size_t rows, size_t columns)
{
    resample_node f = {.x = positions, .grid = grid, .rows = rows, .columns = columns};
    f.y = cb_tape_tensor(tape, 1 + rows * columns, positions.columns, true);
    cb_tape_record(tape, &f.node, sizeof f, resample_backward);
    if (cb_tape_runs(tape)) {
        memset(f.y.value, 0, f.y.rows * f.y.columns * sizeof(cb_real));
        memcpy(f.y.value, f.x.value, f.x.columns * sizeof(cb_real));
        resample(&f, false);
    }
    return f.y;
}
