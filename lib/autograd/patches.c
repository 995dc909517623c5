/* From images to the first tokens of the residual stream: patches, [CLS], registers, positions and their
 * resampling. */
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
 * y[b N + r (W/p) + c, (channel p + i) p + j] = image[b, channel, r p + i, c p + j], or the gradient in the
 * opposite direction.
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
    cb_token_parts parts;
    cb_tensor x;
    size_t images, tokens, prefix, patches; /* of an image: all, those before the patches, and those */
    size_t parts_of_columns;                /* tasks of the mask token's gradient */
} tokens_node;

/* The rows of positions before those of patches: one for [CLS], or none. */
static size_t rows_before(const tokens_node *f)
{
    return f->parts.positions.rows > f->patches ? 1 : 0;
}

static bool has_position(const tokens_node *f, size_t token)
{
    if (token < f->prefix) return token < rows_before(f);
    return f->parts.positions.rows > 0;
}

static size_t position_of(const tokens_node *f, size_t token)
{
    return token < f->prefix ? 0 : token - f->prefix + rows_before(f);
}

static bool is_masked(const tokens_node *f, size_t image, size_t token)
{
    return f->parts.mask && token >= f->prefix && f->parts.mask[image * f->patches + token - f->prefix];
}

static const cb_real *content_of(const tokens_node *f, size_t image, size_t token)
{
    size_t d = f->x.columns;
    if (token == 0) return f->parts.cls.value;
    if (token < f->prefix) return f->parts.registers.value + (token - 1) * d;
    if (is_masked(f, image, token)) return f->parts.mask_token.value;
    return f->parts.embedded.value + (image * f->patches + token - f->prefix) * d;
}

static void tokens_row(void *context, size_t row, size_t worker)
{
    const tokens_node *f = context;
    size_t d = f->x.columns, token = row % f->tokens;
    cb_real *x = f->x.value + row * d;
    (void)worker;
    memcpy(x, content_of(f, row / f->tokens, token), d * sizeof *x);
    if (has_position(f, token))
        cb_rows()->add_scaled(x, f->parts.positions.value + position_of(f, token) * d, 1, d);
}

/* The gradient of [CLS] or a register, which all images share; NULL: not computed. */
static cb_real *shared_gradient(const tokens_node *f, size_t token)
{
    cb_real *registers = f->parts.registers.gradient;
    if (token == 0) return f->parts.cls.gradient;
    return registers ? registers + (token - 1) * f->x.columns : NULL;
}

/* A task is a token of all images: dpositions[n] += Σ_b dx[b, n], and dcls, dregisters or dembedded. */
static void tokens_backward_token(void *context, size_t token, size_t worker)
{
    const tokens_node *f = context;
    size_t d = f->x.columns, position = position_of(f, token);
    bool positions = has_position(f, token) && f->parts.positions.gradient;
    cb_real *shared = token < f->prefix ? shared_gradient(f, token) : NULL;
    (void)worker;
    for (size_t image = 0; image < f->images; image++) {
        const cb_real *dx = f->x.gradient + (image * f->tokens + token) * d;
        if (positions) cb_rows()->add_scaled(f->parts.positions.gradient + position * d, dx, 1, d);
        if (shared) cb_rows()->add_scaled(shared, dx, 1, d);
        if (token < f->prefix || !f->parts.embedded.gradient) continue;
        cb_real *dembedded = f->parts.embedded.gradient + (image * f->patches + token - f->prefix) * d;
        if (is_masked(f, image, token))
            memset(dembedded, 0, d * sizeof *dembedded);
        else
            memcpy(dembedded, dx, d * sizeof *dembedded);
    }
}

/* A task is a stripe of columns: dmask_token += Σ dx over the masked patches, in order. */
static void mask_token_backward(void *context, size_t part, size_t worker)
{
    const tokens_node *f = context;
    size_t d = f->x.columns;
    cb_range stripe = cb_part(d, part, f->parts_of_columns, 1);
    (void)worker;
    for (size_t row = 0; row < f->x.rows; row++)
        if (is_masked(f, row / f->tokens, row % f->tokens))
            cb_rows()->add_scaled(f->parts.mask_token.gradient + stripe.begin,
                f->x.gradient + row * d + stripe.begin, 1, stripe.end - stripe.begin);
}

static void tokens_backward(cb_tape *tape, cb_node *node)
{
    tokens_node *f = (tokens_node *)node;
    cb_pool_run(tape->pool, f->tokens, tokens_backward_token, f);
    if (!f->parts.mask || !f->parts.mask_token.gradient) return;
    f->parts_of_columns = cb_pool_parts(tape->pool, f->x.columns);
    cb_pool_run(tape->pool, f->parts_of_columns, mask_token_backward, f);
}

cb_tensor cb_op_tokens(cb_tape *tape, const cb_token_parts *parts, size_t images)
{
    tokens_node f = {.parts = *parts, .images = images, .patches = parts->embedded.rows / images};
    f.prefix = 1 + parts->registers.rows;
    f.tokens = f.prefix + f.patches;
    f.x = cb_tape_tensor(tape, images * f.tokens, parts->embedded.columns, true);
    cb_tape_record(tape, &f.node, sizeof f, tokens_backward);
    if (cb_tape_runs(tape)) cb_pool_run(tape->pool, f.x.rows, tokens_row, &f);
    return f.x;
}

typedef struct resample_node {
    cb_node node;
    cb_tensor x, y;
    cb_grid_sampling how;
    size_t rows, columns;
} resample_node;

/*
 * The grid lines that an output line reads: first, first + 1, ..., each no less than 0 and no more than
 * `last`. Line i of them has the weight kernel(|at - i| scale) / total.
 */
typedef struct bicubic_taps {
    double first, at, scale, sharpness, total, last;
    size_t count;
} bicubic_taps;

/* Keys' bicubic kernel; its sharpness A is -0.75, or -0.5 where it is stretched against aliases. */
static double bicubic_weight(double t, double a)
{
    if (t >= 2) return 0;
    return t <= 1 ? ((a + 2) * t - (a + 3)) * t * t + 1 : ((a * t - 5 * a) * t + 8 * a) * t - 4 * a;
}

static double raw_weight(const bicubic_taps *taps, size_t i)
{
    return bicubic_weight(fabs(taps->at - (double)i) * taps->scale, taps->sharpness);
}

static cb_real weight_of(const bicubic_taps *taps, size_t i)
{
    return (cb_real)(raw_weight(taps, i) / taps->total);
}

static size_t line_of(const bicubic_taps *taps, size_t i)
{
    double line = taps->first + (double)i;
    return (size_t)(line < 0 ? 0 : line > taps->last ? taps->last : line);
}

/* Four lines about the place of output u; beyond the grid its edge is repeated. */
static bicubic_taps sharp_taps(const cb_grid_sampling *how, double step, size_t u)
{
    double at = ((double)u + 0.5) * step - 0.5, below = floor(at);
    return (bicubic_taps){.first = below - 1,
        .at = at - below + 1,
        .scale = 1,
        .sharpness = -0.75,
        .total = 1,
        .last = (double)how->grid - 1,
        .count = 4};
}

/* The lines within two steps of it, for steps of one line and more; beyond the grid there is none. */
static bicubic_taps smooth_taps(const cb_grid_sampling *how, double step, size_t u)
{
    double centre = ((double)u + 0.5) * step, stretch = step > 1 ? step : 1, support = 2 * stretch;
    double first = floor(fmax(centre - support + 0.5, 0));
    double end = floor(fmin(centre + support + 0.5, (double)how->grid));
    bicubic_taps taps = {.first = first,
        .at = centre - 0.5 - first,
        .scale = 1 / stretch,
        .sharpness = -0.5,
        .total = 1,
        .last = (double)how->grid - 1,
        .count = (size_t)fmax(end - first, 1)};
    double total = 0;
    for (size_t i = 0; i < taps.count; i++) total += raw_weight(&taps, i);
    taps.total = total;
    return taps;
}

static bicubic_taps taps_of(const cb_grid_sampling *how, size_t u, size_t outputs)
{
    double step = (double)how->grid / ((double)outputs + how->offset);
    return how->antialias ? smooth_taps(how, step, u) : sharp_taps(how, step, u);
}

/* y += or dx += the product of one output and one grid line's weight. */
static void add_tap(const resample_node *f, size_t y, size_t x, cb_real weight, bool backward)
{
    size_t d = f->x.columns;
    if (backward)
        cb_rows()->add_scaled(f->x.gradient + x * d, f->y.gradient + y * d, weight, d);
    else
        cb_rows()->add_scaled(f->y.value + y * d, f->x.value + x * d, weight, d);
}

/* Visits every (output, grid place, weight) of the resampling, outputs in order. */
static void resample(const resample_node *f, bool backward)
{
    const cb_grid_sampling *how = &f->how;
    for (size_t r = 0; r < f->rows; r++) {
        bicubic_taps down = taps_of(how, r, f->rows);
        for (size_t c = 0; c < f->columns; c++) {
            bicubic_taps across = taps_of(how, c, f->columns);
            for (size_t i = 0; i < down.count; i++)
                for (size_t j = 0; j < across.count; j++)
                    add_tap(f, how->before + r * f->columns + c,
                        how->before + line_of(&down, i) * how->grid + line_of(&across, j),
                        weight_of(&down, i) * weight_of(&across, j), backward);
        }
    }
}

static void resample_backward(cb_tape *tape, cb_node *node)
{
    resample_node *f = (resample_node *)node;
    (void)tape;
    if (!f->x.gradient) return;
    cb_rows()->add_scaled(f->x.gradient, f->y.gradient, 1, f->how.before * f->x.columns);
    resample(f, true);
}

cb_tensor cb_op_resample_positions(
    cb_tape *tape, cb_tensor positions, const cb_grid_sampling *how, size_t rows, size_t columns)
{
    resample_node f = {.x = positions, .how = *how, .rows = rows, .columns = columns};
    f.y = cb_tape_tensor(tape, how->before + rows * columns, positions.columns, true);
    cb_tape_record(tape, &f.node, sizeof f, resample_backward);
    if (cb_tape_runs(tape)) {
        memset(f.y.value, 0, f.y.rows * f.y.columns * sizeof(cb_real));
        memcpy(f.y.value, f.x.value, how->before * f.x.columns * sizeof(cb_real));
        resample(&f, false);
    }
    return f.y;
}
