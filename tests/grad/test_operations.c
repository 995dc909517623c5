/*
 * Every differentiable operation, and a whole transformer with its heads, against central differences in
 * double precision.
 *
 * The table below lists operations with shapes. The loss is a random linear functional of the output; what
 * differs from the gradient that the tape gives is looked for element by element (of a large input: in some
 * of them) and along one random direction over all inputs. The same problem with 3 threads, and without
 * recording, must give the same bits.
 */
#include "model/model.h"
#include "support/suite.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STEP 1e-5
#define TOLERANCE 1e-7
#define MOST_ELEMENTS 120 /* of an input that are moved one by one */
#define MOST_INPUTS 5

/* The place of an input's gradient (tape.h). */
typedef enum place {
    NOWHERE, /* it has none */
    OWN,     /* its own memory, with earlier values in it */
    FRESH,   /* its own memory, zeroed */
    SHARED   /* the value's memory */
} place;

typedef struct problem problem;
typedef cb_tensor operation(cb_tape *tape, problem *p);

typedef struct table_row {
    const char *name;
    operation *run;
    struct {
        size_t rows, columns;
        place gradient;
    } input[MOST_INPUTS];
    size_t images, size[3]; /* further arguments of the operation */
    const void *how;        /* a struct of them */
    double step;            /* 0: STEP */
} table_row;

struct problem {
    const table_row *row;
    cb_tensor input[MOST_INPUTS];
    cb_real *start[MOST_INPUTS];  /* what an input's value is before a pass */
    cb_real *preset[MOST_INPUTS]; /* initial content of a separate gradient */
    cb_real *functional;          /* of the output */
    cb_runtime runtime;
    cb_arena arena;
    size_t scratch_bytes;
    cb_model *model; /* of the whole transformer */
};

/* Operations. */

static cb_tensor linear(cb_tape *tape, problem *p)
{
    const cb_affine affine = {.weight = p->input[1], .bias = p->input[2]};
    return cb_op_linear(tape, p->input[0], &affine, CB_STORE_REAL);
}

static cb_tensor gelu(cb_tape *tape, problem *p)
{
    return cb_op_gelu(tape, p->input[0]);
}

static cb_tensor layer_norm(cb_tape *tape, problem *p)
{
    return cb_op_layer_norm(tape, p->input[0], p->input[1], p->input[2], 1e-6, CB_STORE_REAL);
}

static cb_tensor normalise(cb_tape *tape, problem *p)
{
    return cb_op_normalise(tape, p->input[0]);
}

static cb_tensor attention(cb_tape *tape, problem *p)
{
    return cb_op_attention(tape, p->input[0], p->row->images, p->row->size[0]);
}

static const cb_real keep[] = {0, 1.25, 1, 0.5, 1.0 / 3, 0, 2, 1};

static cb_tensor residual(cb_tape *tape, problem *p)
{
    return cb_op_residual(tape, p->input[0], p->input[1], p->input[2], p->row->images, keep);
}

static cb_tensor residual_whole(cb_tape *tape, problem *p)
{
    return cb_op_residual(tape, p->input[0], p->input[1], p->input[2], p->row->images, NULL);
}

static cb_tensor tokens(cb_tape *tape, problem *p)
{
    cb_token_parts parts = {
        .embedded = p->input[0], .cls = p->input[1], .registers = p->input[2], .positions = p->input[3]};
    return cb_op_tokens(tape, &parts, p->row->images);
}

static const uint8_t mask[] = {0, 1, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1};

static cb_tensor masked_tokens(cb_tape *tape, problem *p)
{
    cb_token_parts parts = {
        p->input[0], p->input[1], p->input[2], p->input[3], .mask_token = p->input[4], .mask = mask};
    return cb_op_tokens(tape, &parts, p->row->images);
}

static cb_tensor resample(cb_tape *tape, problem *p)
{
    return cb_op_resample_positions(tape, p->input[0], p->row->how, p->row->size[1], p->row->size[2]);
}

static cb_tensor swiglu(cb_tape *tape, problem *p)
{
    return cb_op_swiglu(tape, p->input[0]);
}

/* Heads size[0], patches size[1] x size[2]; tokens before the patches are what is left. */
static cb_tensor rotate(cb_tape *tape, problem *p)
{
    const size_t *size = p->row->size, heads = size[0];
    cb_tensor qkv = p->input[0];
    size_t first = qkv.rows / p->row->images - size[1] * size[2], width = qkv.columns / 3 / heads;
    cb_rotation rotation = cb_rotation_of(tape, p->row->how, first, size[1], size[2], width);
    return cb_op_rotate(tape, qkv, p->row->images, heads, &rotation);
}

/* Rows that share tokens, a row that names one twice, and empty rows: first, last and between. */
static cb_pooling rows_of_tokens(void)
{
    static uint32_t begin[] = {0, 0, 3, 3, 5, 6, 9, 9}, token[] = {0, 2, 4, 2, 4, 1, 0, 0, 5};
    static cb_real weight[] = {0.25, 0.5, -0.125, 1, 0.75, 1, 0.3, 0.7, 2};
    return (cb_pooling){7, begin, token, weight};
}

static cb_tensor pool(cb_tape *tape, problem *p)
{
    static cb_pooling pooling;
    pooling = rows_of_tokens();
    return cb_op_pool(tape, p->input[0], &pooling);
}

/* Input 0 as pixels: they are float, but all starts and steps are multiples of 2^-12. */
static cb_images pictures(const problem *p, size_t height, size_t width)
{
    static float pixels[1024];
    cb_tensor x = p->input[0];
    ck_assert_uint_le(x.columns, 1024);
    for (size_t i = 0; x.value && i < x.columns; i++) pixels[i] = (float)x.value[i];
    return (cb_images){
        .count = p->row->images, .height = height, .width = width, .pixels = pixels, .gradient = x.gradient};
}

static cb_tensor patches(cb_tape *tape, problem *p)
{
    cb_images images = pictures(p, p->row->size[0], p->row->size[1]);
    return cb_op_patches(tape, &images, p->row->size[2]);
}

static cb_tensor windows(cb_tape *tape, problem *p)
{
    return cb_op_windows(tape, p->input[0], p->row->images, p->row->size[0], p->row->size[1]);
}

/* Images of size[0] x size[1] through transformer, pooling and heads; all parameters are input 0. */
static cb_tensor whole_model(cb_tape *tape, problem *p)
{
    static float pixels[2 * 3 * 9 * 9];
    static cb_pooling pooling;
    for (size_t i = 0; i < sizeof pixels / sizeof *pixels; i++)
        pixels[i] = (float)((i * 37 + 11) % 101) / 50 - 1;
    cb_images images = {.count = 2, .height = p->row->size[0], .width = p->row->size[1], .pixels = pixels};
    pooling = rows_of_tokens();
    const uint8_t *masked = p->model->config.mask_token ? mask : NULL;
    cb_tensor x = cb_backbone_forward(
        &p->model->backbone, tape, &images, &(cb_forward_options){.keep = keep, .mask = masked});
    return cb_heads_forward(&p->model->heads, tape, cb_op_pool(tape, x, &pooling));
}

/* The table. */

#define LINEAR(rows, in, out, x, weight) \
    { \
        .name = "linear", .run = linear, .input = { {rows, in, x}, {out, in, weight}, {1, out, weight} } \
    }
#define GELU(rows, columns) \
    { \
        .name = "gelu", .run = gelu, .input = { {rows, columns, SHARED} } \
    }
#define LAYER_NORM(rows, columns, x, gain) \
    { \
        .name = "layer norm", .run = layer_norm, .input = { \
            {rows, columns, x}, \
            {1, columns, gain}, \
            {1, columns, gain} \
        } \
    }
#define NORMALISE(rows, columns) \
    { \
        .name = "normalise", .run = normalise, .input = { {rows, columns, SHARED} } \
    }
#define ATTENTION(images_, tokens, heads, width) \
    { \
        .name = "attention", .run = attention, \
        .input = {{(images_) * (tokens), 3 * (heads) * (width), SHARED}}, .images = images_, .size = { \
            heads \
        } \
    }
#define SCALED_RESIDUAL(run_, images_, tokens, columns, gain) \
    { \
        .name = #run_ ", scaled", .run = run_, .images = images_, .input = { \
            {(images_) * (tokens), columns, FRESH}, \
            {(images_) * (tokens), columns, SHARED}, \
            {1, columns, gain} \
        } \
    }
#define SWIGLU(rows, columns) \
    { \
        .name = "swiglu", .run = swiglu, .input = { {rows, 2 * (columns), SHARED} } \
    }
#define ROTATE(images_, before, rows, columns, heads, width, ...) \
    { \
        .name = "rotate", .run = rotate, .images = images_, \
        .input = {{(images_) * ((before) + (rows) * (columns)), 3 * (heads) * (width), SHARED}}, \
        .size = {heads, rows, columns}, .how = &(const cb_rotary) \
        { \
            __VA_ARGS__ \
        } \
    }
#define RESIDUAL(run_, images_, tokens, columns) \
    { \
        .name = #run_, .run = run_, .images = images_, .input = { \
            {(images_) * (tokens), columns, FRESH}, \
            {(images_) * (tokens), columns, SHARED} \
        } \
    }
#define TOKENS(images_, patches, columns, registers, positions) \
    { \
        .name = "tokens", .run = tokens, .images = images_, .input = { \
            {(images_) * (patches), columns, SHARED}, \
            {1, columns, OWN}, \
            {registers, columns, OWN}, \
            {positions, columns, OWN} \
        } \
    }
#define MASKED_TOKENS(images_, patches, columns, registers, positions, mask_gradient) \
    { \
        .name = "masked tokens", .run = masked_tokens, .images = images_, .input = { \
            {(images_) * (patches), columns, SHARED}, \
            {1, columns, OWN}, \
            {registers, columns, OWN}, \
            {positions, columns, OWN}, \
            {1, columns, mask_gradient} \
        } \
    }
#define RESAMPLE_AS(before, grid, offset, antialias, rows, columns, width) \
    { \
        .name = "resampled positions", .run = resample, .input = {{(before) + (grid) * (grid), width, OWN}}, \
        .size = {0, rows, columns}, .how = &(const cb_grid_sampling) \
        { \
            before, grid, offset, antialias \
        } \
    }
#define RESAMPLE(grid, rows, columns, width) RESAMPLE_AS(1, grid, 0.1, false, rows, columns, width)
#define POOL(columns, x) \
    { \
        .name = "pool", .run = pool, .input = { {6, columns, x} } \
    }
#define PATCHES(images_, height, width, patch) \
    {.name = "patches", \
        .run = patches, \
        .input = {{1, (images_) * 3 * (height) * (width), OWN}}, \
        .images = images_, \
        .size = {height, width, patch}, \
        .step = 0.5}
#define WINDOWS(images_, height, width, channels) \
    { \
        .name = "windows", .run = windows, .input = {{(images_) * (height) * (width), channels, SHARED}}, \
        .images = images_, .size = { \
            height, \
            width \
        } \
    }
#define WHOLE_MODEL(height, width, settings) \
    {.name = "model", .run = whole_model, .input = {{1, 0, OWN}}, .size = {height, width}, .how = settings}

static const table_row table[] = {
    LINEAR(5, 7, 3, SHARED, OWN),
    LINEAR(1, 1, 1, SHARED, OWN),
    LINEAR(4, 9, 150, OWN, OWN),
    LINEAR(70, 3, 2, NOWHERE, OWN),
    LINEAR(6, 5, 4, SHARED, NOWHERE),
    GELU(1, 1),
    GELU(7, 33),
    LAYER_NORM(5, 12, SHARED, OWN),
    LAYER_NORM(3, 67, OWN, OWN),
    LAYER_NORM(2, 130, SHARED, OWN),
    LAYER_NORM(4, 2, OWN, NOWHERE),
    LAYER_NORM(4, 5, NOWHERE, OWN),
    NORMALISE(1, 2),
    NORMALISE(6, 19),
    ATTENTION(2, 1, 1, 3),
    ATTENTION(3, 5, 2, 1),
    ATTENTION(1, 64, 1, 5),
    ATTENTION(2, 65, 3, 4),
    ATTENTION(1, 130, 2, 3),
    RESIDUAL(residual, 4, 3, 5),
    RESIDUAL(residual, 2, 1, 1),
    RESIDUAL(residual_whole, 3, 2, 17),
    SCALED_RESIDUAL(residual, 4, 3, 5, OWN),
    SCALED_RESIDUAL(residual, 2, 1, 1, NOWHERE),
    SCALED_RESIDUAL(residual_whole, 3, 2, 130, OWN),
    SWIGLU(1, 1),
    SWIGLU(6, 35),
    ROTATE(1, 0, 1, 1, 1, 4, .base = 100),
    ROTATE(2, 1, 2, 3, 2, 8, .base = 100),
    ROTATE(2, 3, 3, 2, 1, 12, .base = 10, .coordinates = CB_COORDINATES_MIN),
    ROTATE(1, 5, 1, 4, 3, 4, .min_period = 0.5, .max_period = 7, .coordinates = CB_COORDINATES_MAX),
    TOKENS(1, 1, 1, 0, 2),
    TOKENS(3, 4, 7, 0, 5),
    TOKENS(3, 4, 7, 2, 5),
    TOKENS(2, 3, 5, 3, 3),
    TOKENS(2, 3, 5, 1, 0),
    MASKED_TOKENS(3, 4, 7, 2, 5, OWN),
    MASKED_TOKENS(2, 3, 70, 1, 3, OWN),
    MASKED_TOKENS(2, 3, 5, 1, 4, NOWHERE),
    RESAMPLE(1, 1, 1, 3),
    RESAMPLE(1, 3, 2, 2),
    RESAMPLE(2, 2, 2, 3),
    RESAMPLE(4, 3, 6, 5),
    RESAMPLE(3, 7, 1, 2),
    RESAMPLE(6, 2, 3, 2),
    RESAMPLE_AS(0, 3, 0, false, 5, 2, 3),
    RESAMPLE_AS(1, 3, 0, true, 5, 2, 3),
    RESAMPLE_AS(0, 7, 0, true, 3, 2, 2),
    RESAMPLE_AS(1, 6, 0.1, true, 2, 9, 2),
    RESAMPLE_AS(1, 1, 0, true, 3, 1, 2),
    POOL(1, SHARED),
    POOL(5, OWN),
    POOL(3, NOWHERE),
    POOL(67, SHARED),
    PATCHES(1, 1, 1, 1),
    PATCHES(2, 6, 9, 3),
    PATCHES(1, 4, 10, 2),
    WINDOWS(1, 2, 2, 1),
    WINDOWS(2, 4, 6, 3),
    WINDOWS(1, 8, 2, 17),
    WHOLE_MODEL(6, 6, ""),
    WHOLE_MODEL(6, 4, "patch_size=2 stem=convolution"),
    WHOLE_MODEL(8, 8, "image_size=8 patch_size=4 stem=convolution mask_token=1 recompute=1"),
    WHOLE_MODEL(9, 6, ""),
    WHOLE_MODEL(6, 6, "mask_token=1"),
    WHOLE_MODEL(9, 6, "mask_token=1 registers=2 position_embedding=rope recompute=1"),
    WHOLE_MODEL(9, 6, "layer_scale=0.5 registers=2 position_offset=0 position_antialias=1"),
    WHOLE_MODEL(
        6, 9, "layer_scale=0.5 mlp=swiglu mlp_hidden=7 cls_position=0 position_grid=4 norm_epsilon=0.01"),
    WHOLE_MODEL(9, 6, "layer_scale=2 registers=1 position_embedding=rope qkv_bias=none recompute=1"),
    WHOLE_MODEL(6, 6, "registers=1 position_embedding=rope mlp=swiglu rope_coordinates=max"),
};
#define ROWS (sizeof table / sizeof table[0])

/* Problems. */

/* Multiples of 2^-12 in [-1, 1): a function of the seed. */
static cb_real *random_numbers(size_t count, uint64_t seed)
{
    cb_real *values = malloc((count + 1) * sizeof *values);
    uint64_t state = seed * 0x9e3779b97f4a7c15u + 1;
    for (size_t i = 0; i < count; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        values[i] = (cb_real)(state >> 51) / 4096 - 1;
    }
    return values;
}

static size_t count_of(const problem *p, size_t input)
{
    return p->input[input].rows * p->input[input].columns;
}

static void create_input(problem *p, size_t i)
{
    cb_tensor *x = &p->input[i];
    place gradient = p->row->input[i].gradient;
    x->rows = p->row->input[i].rows;
    x->columns = p->row->input[i].columns;
    if (p->model) x->columns = p->model->parameters.total;
    size_t count = count_of(p, i), bytes = (count + 1) * sizeof(cb_real);
    x->value = p->model ? p->model->parameters.values : malloc(bytes);
    if (gradient == SHARED) x->gradient = x->value;
    if (gradient == OWN || gradient == FRESH)
        x->gradient = p->model ? p->model->parameters.gradients : malloc(bytes);
    p->start[i] = random_numbers(count, i + 1);
    p->preset[i] = gradient == OWN ? random_numbers(count, i + 10) : calloc(count + 1, sizeof(cb_real));
}

/* Assigns settings, "name=value name=value". */
static void set_all(cribo_model_config *config, const char *settings)
{
    char copy[256], name[64], value[64];
    int length;
    snprintf(copy, sizeof copy, "%s", settings);
    for (const char *at = copy; sscanf(at, " %63[^=]=%63s%n", name, value, &length) == 2; at += length)
        ck_assert_int_eq(cb_config_set(&cb_model_settings, config, name, value), CRIBO_OK);
}

static void create_model(problem *p)
{
    cribo_model_config config;
    ck_assert_int_eq(cb_config_init(&cb_model_settings, &config, sizeof config), CRIBO_OK);
    config.image_size = 6;
    config.patch_size = 3;
    config.width = 12;
    config.heads = 3;
    config.depth = 2;
    config.mlp_ratio = 2;
    config.head_hidden = 10;
    config.head_bottleneck = 5;
    config.prototypes = config.object_prototypes = 4;
    set_all(&config, p->row->how);
    ck_assert_int_eq(cb_model_create(&p->runtime, &p->model, &config, &cb_train_all), CRIBO_OK);
}

/* Measures the operation, and makes what a pass needs. */
static problem create_problem(const table_row *row, int64_t threads)
{
    problem p = {.row = row};
    cribo_runtime hooks;
    ck_assert_int_eq(cribo_runtime_init(&hooks, sizeof hooks), CRIBO_OK);
    hooks.threads = threads;
    ck_assert_int_eq(cb_runtime_begin(&p.runtime, &hooks), CRIBO_OK);
    if (row->run == whole_model) create_model(&p);
    for (size_t i = 0; i < MOST_INPUTS && row->input[i].rows; i++) create_input(&p, i);

    cb_arena measured = cb_arena_measure();
    cb_tape tape = cb_tape_begin(&measured, p.runtime.pool, true, 0);
    cb_tensor y = row->run(&tape, &p);
    p.scratch_bytes = tape.scratch_bytes;
    ck_assert_int_eq(
        cb_arena_create(&p.runtime.allocator, &p.arena, cb_tape_planned_bytes(&tape), "pass"), CRIBO_OK);
    p.functional = random_numbers(y.rows * y.columns, 99);
    return p;
}

static void free_problem(problem *p)
{
    for (size_t i = 0; i < MOST_INPUTS; i++) {
        free(p->start[i]);
        free(p->preset[i]);
        if (p->model) continue;
        if (p->input[i].gradient != p->input[i].value) free(p->input[i].gradient);
        free(p->input[i].value);
    }
    free(p->functional);
    cb_arena_destroy(&p->runtime.allocator, &p->arena);
    cb_model_free(p->model);
    cb_runtime_end(&p->runtime);
}

/* A pass forward from the start values. */
static cb_tensor forward(problem *p, cb_tape *tape, bool training)
{
    for (size_t i = 0; i < MOST_INPUTS; i++) {
        cb_tensor *x = &p->input[i];
        size_t bytes = count_of(p, i) * sizeof(cb_real);
        if (bytes == 0) continue;
        if (x->gradient) memcpy(x->gradient, p->preset[i], bytes);
        memcpy(x->value, p->start[i], bytes);
    }
    cb_arena_return(&p->arena, 0);
    *tape = cb_tape_begin(&p->arena, p->runtime.pool, training, p->scratch_bytes);
    return p->row->run(tape, p);
}

static double loss_of(problem *p)
{
    cb_tape tape;
    cb_tensor y = forward(p, &tape, true);
    double loss = 0;
    for (size_t i = 0; i < y.rows * y.columns; i++) loss += p->functional[i] * y.value[i];
    return loss;
}

/*
 * Runs forward and backward; copies the output, and the gradients minus their earlier values. The caller
 * frees.
 */
static cb_real *both_ways(problem *p, cb_real *gradients[MOST_INPUTS])
{
    cb_tape tape;
    cb_tensor y = forward(p, &tape, true);
    size_t count = y.rows * y.columns;
    cb_real *output = malloc((count + 1) * sizeof *output);
    memcpy(output, y.value, count * sizeof *output);
    if (!cb_tensor_accumulates(&y)) memset(y.gradient, 0, count * sizeof *output);
    for (size_t i = 0; i < count; i++) y.gradient[i] += p->functional[i];
    cb_tape_backward(&tape);
    for (size_t input = 0; input < MOST_INPUTS; input++) {
        const cb_tensor *x = &p->input[input];
        gradients[input] = NULL;
        if (!x->gradient) continue;
        gradients[input] = malloc((count_of(p, input) + 1) * sizeof(cb_real));
        for (size_t i = 0; i < count_of(p, input); i++)
            gradients[input][i] = x->gradient[i] - p->preset[input][i];
    }
    return output;
}

static void free_all(cb_real *gradients[MOST_INPUTS])
{
    for (size_t i = 0; i < MOST_INPUTS; i++) free(gradients[i]);
}

/* Differences. */

static double step_of(const problem *p)
{
    return p->row->step > 0 ? p->row->step : STEP;
}

static void check_elements(problem *p, size_t input, const cb_real *gradient)
{
    size_t count = count_of(p, input), stride = count / MOST_ELEMENTS + 1;
    double largest = 0, h = step_of(p);
    for (size_t i = 0; i < count; i++) largest = fmax(largest, fabs(gradient[i]));
    for (size_t i = 0; i < count; i += stride) {
        cb_real start = p->start[input][i];
        p->start[input][i] = start + h;
        double above = loss_of(p);
        p->start[input][i] = start - h;
        double below = loss_of(p), expected = (above - below) / (2 * h);
        p->start[input][i] = start;
        ck_assert_msg(fabs(gradient[i] - expected) <= TOLERANCE * (1 + largest),
            "%s %zu: gradient of input %zu [%zu] is %.12g, by differences %.12g", p->row->name,
            (size_t)(p->row - table), input, i, gradient[i], expected);
    }
}

/* Moves all inputs that have a gradient by h times their directions. */
static double moved_loss(problem *p, cb_real *const directions[MOST_INPUTS], double h)
{
    cb_real *starts[MOST_INPUTS];
    memcpy(starts, p->start, sizeof starts);
    for (size_t input = 0; input < MOST_INPUTS; input++) {
        if (!directions[input]) continue;
        p->start[input] = malloc((count_of(p, input) + 1) * sizeof(cb_real));
        for (size_t i = 0; i < count_of(p, input); i++)
            p->start[input][i] = starts[input][i] + h * directions[input][i];
    }
    double loss = loss_of(p);
    for (size_t input = 0; input < MOST_INPUTS; input++)
        if (directions[input]) free(p->start[input]);
    memcpy(p->start, starts, sizeof starts);
    return loss;
}

static void check_direction(problem *p, cb_real *const gradients[MOST_INPUTS])
{
    cb_real *directions[MOST_INPUTS] = {0};
    double along = 0, size = 0, h = step_of(p) / 4;
    for (size_t input = 0; input < MOST_INPUTS; input++) {
        if (!gradients[input]) continue;
        directions[input] = random_numbers(count_of(p, input), input + 20);
        for (size_t i = 0; i < count_of(p, input); i++) {
            along += gradients[input][i] * directions[input][i];
            size += fabs(gradients[input][i] * directions[input][i]);
        }
    }
    double expected = (moved_loss(p, directions, h) - moved_loss(p, directions, -h)) / (2 * h);
    ck_assert_msg(fabs(along - expected) <= TOLERANCE * (1 + size),
        "%s %zu: along a direction %.12g, by differences %.12g", p->row->name, (size_t)(p->row - table),
        along, expected);
    free_all(directions);
}

START_TEST(test_operations_gradients_match_differences)
{
    problem p = create_problem(&table[_i], 1);
    cb_real *gradients[MOST_INPUTS];
    free(both_ways(&p, gradients));
    for (size_t input = 0; input < MOST_INPUTS; input++)
        if (gradients[input]) check_elements(&p, input, gradients[input]);
    check_direction(&p, gradients);
    free_all(gradients);
    free_problem(&p);
}
END_TEST

static size_t output_bytes(problem *p)
{
    cb_tape tape;
    cb_tensor y = forward(p, &tape, true);
    return y.rows * y.columns * sizeof(cb_real);
}

START_TEST(test_operations_more_threads_give_the_same_bits)
{
    problem one = create_problem(&table[_i], 1), three = create_problem(&table[_i], 3);
    cb_real *expected[MOST_INPUTS], *got[MOST_INPUTS];
    cb_real *y = both_ways(&one, expected), *z = both_ways(&three, got);
    ck_assert_mem_eq(z, y, output_bytes(&one));
    for (size_t input = 0; input < MOST_INPUTS; input++)
        if (expected[input])
            ck_assert_mem_eq(got[input], expected[input], count_of(&one, input) * sizeof(cb_real));
    free(y);
    free(z);
    free_all(expected);
    free_all(got);
    free_problem(&one);
    free_problem(&three);
}
END_TEST

START_TEST(test_operations_without_recording_give_the_same_bits)
{
    problem p = create_problem(&table[_i], 2);
    cb_tape tape;
    cb_real *gradients[MOST_INPUTS], *expected = both_ways(&p, gradients);
    cb_tensor y = forward(&p, &tape, false);
    ck_assert_mem_eq(y.value, expected, y.rows * y.columns * sizeof(cb_real));
    ck_assert_ptr_null(tape.last);
    free(expected);
    free_all(gradients);
    free_problem(&p);
}
END_TEST

/* Below ε the norm counts as ε: y = 1e12 x, and the gradient is only multiplied by the factor. */
START_TEST(test_operations_normalise_tiny_row_is_scaled_by_a_constant)
{
    static const table_row row = NORMALISE(3, 4);
    problem p = create_problem(&row, 1);
    cb_real *gradients[MOST_INPUTS];
    for (size_t i = 4; i < 8; i++) p.start[0][i] *= 1e-14;
    for (size_t i = 8; i < 12; i++) p.start[0][i] = 0;
    cb_real *y = both_ways(&p, gradients);
    for (size_t i = 4; i < 12; i++) {
        ck_assert_double_eq_tol(y[i], 1e12 * p.start[0][i], 1e-12);
        ck_assert_double_eq_tol(gradients[0][i], 1e12 * p.functional[i], 1);
    }
    free(y);
    free_all(gradients);
    free_problem(&p);
}
END_TEST

/*
 * y[b N + r C + c, (channel p + i) p + j] = scale[channel] byte[b, channel, r p + i, c p + j] +
 * shift[channel].
 */
START_TEST(test_operations_patches_of_bytes_are_scaled_and_shifted)
{
    enum { IMAGES = 2, HEIGHT = 4, WIDTH = 6, PATCH = 2, AREA = HEIGHT * WIDTH };
    uint8_t bytes[IMAGES * 3 * AREA];
    for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (uint8_t)(i * 7);
    cb_images images = {.count = IMAGES,
        .height = HEIGHT,
        .width = WIDTH,
        .bytes = bytes,
        .scale = {0.5, 2, 0.25},
        .shift = {1, -3, 8}};
    cb_arena arena;
    const cb_allocator allocator = {0};
    ck_assert_int_eq(cb_arena_create(&allocator, &arena, 65536, "patches"), CRIBO_OK);
    cb_tape tape = cb_tape_begin(&arena, NULL, false, 0);
    cb_tensor y = cb_op_patches(&tape, &images, PATCH);
    ck_assert_uint_eq(y.rows, IMAGES * 6);
    ck_assert_uint_eq(y.columns, 12);
    for (size_t at = 0; at < sizeof bytes; at++) {
        size_t image = at / (3 * AREA), channel = at / AREA % 3, row = at % AREA / WIDTH, column = at % WIDTH;
        size_t patch = image * 6 + row / PATCH * 3 + column / PATCH;
        size_t element = (channel * PATCH + row % PATCH) * PATCH + column % PATCH;
        ck_assert_double_eq(
            y.value[patch * 12 + element], images.scale[channel] * bytes[at] + images.shift[channel]);
    }
    cb_arena_destroy(&allocator, &arena);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("operations");
    TCase *tests = tcase_create("gradients");
    tcase_set_timeout(tests, 120);
    tcase_add_loop_test(tests, test_operations_gradients_match_differences, 0, ROWS);
    tcase_add_loop_test(tests, test_operations_more_threads_give_the_same_bits, 0, ROWS);
    tcase_add_loop_test(tests, test_operations_without_recording_give_the_same_bits, 0, ROWS);
    tcase_add_test(tests, test_operations_normalise_tiny_row_is_scaled_by_a_constant);
    tcase_add_test(tests, test_operations_patches_of_bytes_are_scaled_and_shifted);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
