/* See linear_segmentation.h. */
#include "evaluation/linear_segmentation.h"
#include "evaluation/segmentation.h"

#include "tensor/gemm.h"
#include "tensor/rows.h"

#include <math.h>
#include <string.h>

/* A step or a prediction under way. */
typedef struct pass {
    const cb_runtime *runtime;
    const cb_linear_segmentation *problem;
    const cb_label_maps *maps;
    cb_real *logits; /* [images, N, C] */
    cb_real *slopes; /* [images, N, C] dL/dlogits */
    cb_real *pixel;  /* [threads, C] */
    cb_real *change; /* [C, D] dL/dW */
    double *losses;  /* [images] */
    double counted;  /* pixels that count */
} pass;

static size_t patches_of(const pass *p)
{
    return p->maps->rows * p->maps->columns;
}

static cribo_status find_logits(pass *p, const cb_real *features)
{
    const cb_linear_segmentation *l = p->problem;
    const cb_allocator *allocator = &p->runtime->allocator;
    size_t rows = p->maps->images * patches_of(p);
    const cb_real *bias = l->layer + l->classes * l->width;
    CB_TRY(CB_ALLOCATE(allocator, &p->logits, rows * l->classes, "linear segmentation"));
    cb_gemm(
        p->runtime->pool, &(cb_gemm_job){CB_NT, rows, l->classes, l->width, cb_gemm_real(features, l->width),
                              cb_gemm_real(l->layer, l->width), {p->logits, l->classes, false}, false});
    for (size_t r = 0; r < rows; r++) cb_rows()->add_scaled(p->logits + r * l->classes, bias, 1, l->classes);
    return CRIBO_OK;
}

/* The four patches around a pixel and their shares in it. */
typedef struct corners {
    size_t patch[4];
    cb_real share[4];
} corners;

static corners corners_of(const cb_label_maps *maps, size_t y, size_t x)
{
    cb_between down = cb_between_cells(y, maps->height, maps->rows);
    cb_between along = cb_between_cells(x, maps->width, maps->columns);
    return (corners){{down.low * maps->columns + along.low, down.low * maps->columns + along.high,
                         down.high * maps->columns + along.low, down.high * maps->columns + along.high},
        {(1 - down.part) * (1 - along.part), (1 - down.part) * along.part, down.part * (1 - along.part),
            down.part * along.part}};
}

/* A pixel's logits become its gradient, which its patches get; gives its loss. */
static double descend_pixel(
    const pass *p, const corners *c, int32_t truth, cb_real *pixel, const cb_real *logits, cb_real *slopes)
{
    size_t classes = p->problem->classes;
    cb_real maximum = -INFINITY, sum = 0;
    memset(pixel, 0, classes * sizeof *pixel);
    for (int i = 0; i < 4; i++)
        cb_rows()->add_scaled(pixel, logits + c->patch[i] * classes, c->share[i], classes);
    cb_rows()->running_sum_exp(pixel, classes, &maximum, &sum);
    double loss = (double)maximum + log((double)sum) - (double)pixel[truth];
    cb_rows()->softmax(pixel, 1, classes);
    pixel[truth] -= 1;
    for (int i = 0; i < 4; i++)
        cb_rows()->add_scaled(
            slopes + c->patch[i] * classes, pixel, (cb_real)((double)c->share[i] / p->counted), classes);
    return loss;
}

/* Task: one image. */
static void descend_image(void *context, size_t image, size_t worker)
{
    pass *p = context;
    const cb_label_maps *maps = p->maps;
    size_t classes = p->problem->classes, values = patches_of(p) * classes;
    const int32_t *label = maps->labels + image * maps->height * maps->width;
    for (size_t y = 0; y < maps->height; y++)
        for (size_t x = 0; x < maps->width; x++, label++) {
            if (*label == p->problem->ignore_label) continue;
            corners c = corners_of(maps, y, x);
            p->losses[image] += descend_pixel(p, &c, *label, p->pixel + worker * classes,
                p->logits + image * values, p->slopes + image * values);
        }
}

/* Moves n weights by their gradient, with momentum. */
static void move(
    const cb_linear_segmentation *l, cb_real *weights, cb_real *velocity, const cb_real *gradient, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        velocity[i] = (cb_real)(l->momentum * (double)velocity[i] + (double)gradient[i] +
                                l->decay * (double)weights[i]);
        weights[i] -= (cb_real)(l->rate * (double)velocity[i]);
    }
}

static void move_layer(pass *p, const cb_real *features)
{
    const cb_linear_segmentation *l = p->problem;
    size_t rows = p->maps->images * patches_of(p), weights = l->classes * l->width;
    cb_real *of_bias = p->pixel; /* [C] */
    cb_gemm(p->runtime->pool,
        &(cb_gemm_job){CB_TN, l->classes, l->width, rows, cb_gemm_real(p->slopes, l->classes),
            cb_gemm_real(features, l->width), {p->change, l->width, false}, false});
    memset(of_bias, 0, l->classes * sizeof *of_bias);
    for (size_t r = 0; r < rows; r++)
        cb_rows()->add_scaled(of_bias, p->slopes + r * l->classes, 1, l->classes);
    move(l, l->layer, l->velocity, p->change, weights);
    move(l, l->layer + weights, l->velocity + weights, of_bias, l->classes);
}

static cribo_status allocate(pass *p)
{
    const cb_allocator *allocator = &p->runtime->allocator;
    const char *what = "linear segmentation";
    size_t classes = p->problem->classes, threads = cb_pool_threads(p->runtime->pool);
    CB_TRY(CB_ALLOCATE(allocator, &p->slopes, p->maps->images * patches_of(p) * classes, what));
    CB_TRY(CB_ALLOCATE(allocator, &p->pixel, threads * classes, what));
    CB_TRY(CB_ALLOCATE(allocator, &p->change, classes * p->problem->width, what));
    return CB_ALLOCATE(allocator, &p->losses, p->maps->images, what);
}

static void release(pass *p)
{
    void *blocks[] = {p->losses, p->change, p->pixel, p->slopes, p->logits};
    for (size_t i = 0; i < sizeof blocks / sizeof blocks[0]; i++)
        cb_release(&p->runtime->allocator, blocks[i]);
}

cribo_status cb_linear_segmentation_step(const cb_runtime *runtime, const cb_linear_segmentation *problem,
    const cb_label_maps *maps, const cb_real *features, double *loss)
{
    pass p = {.runtime = runtime, .problem = problem, .maps = maps};
    for (size_t i = 0; i < maps->images * maps->height * maps->width; i++)
        p.counted += maps->labels[i] != problem->ignore_label;
    cribo_status status = find_logits(&p, features);
    if (status == CRIBO_OK) status = allocate(&p);
    if (status == CRIBO_OK) *loss = 0;
    if (status == CRIBO_OK && p.counted > 0) {
        cb_pool_run(runtime->pool, maps->images, descend_image, &p);
        move_layer(&p, features);
        for (size_t b = 0; b < maps->images; b++) *loss += p.losses[b] / p.counted;
    }
    release(&p);
    return status;
}

cribo_status cb_linear_segmentation_predict(const cb_runtime *runtime, const cb_linear_segmentation *problem,
    const cb_label_maps *maps, const cb_real *features, int32_t *labels)
{
    pass p = {.runtime = runtime, .problem = problem, .maps = maps};
    cb_share_map map = {.rows = maps->rows,
        .columns = maps->columns,
        .classes = problem->classes,
        .height = maps->height,
        .width = maps->width};
    cribo_status status = find_logits(&p, features);
    if (status == CRIBO_OK)
        status = CB_ALLOCATE(&runtime->allocator, &p.pixel,
            cb_pool_threads(runtime->pool) * cb_label_scratch(&map), "linear segmentation");
    for (size_t b = 0; status == CRIBO_OK && b < maps->images; b++) {
        map.shares = p.logits + b * patches_of(&p) * problem->classes;
        cb_label_pixels(runtime->pool, &map, p.pixel, labels + b * maps->height * maps->width);
    }
    release(&p);
    return status;
}
