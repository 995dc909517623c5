/* The weight-normed last layer. See prototypes.h. */
#include "distillation/prototypes.h"

#include "tensor/gemm.h"
#include "tensor/rows.h"

#include <math.h>

/* Data of all stripes of one sweep; each function uses the fields it needs. */
typedef struct prototype_sweep {
    const cb_prototypes *prototypes;
    size_t parts, first, count, rows;
    cb_real *logits;
    cb_real *scale;
    cb_real *du, *dgain;
    const cb_real *mean_x;
    cb_real momentum;
    cb_real *centre;
} prototype_sweep;

/* Divides the prototypes among tasks: they are independent, so the division never changes a result. */
static void over_prototypes(cb_pool *pool, cb_task *stripe, prototype_sweep *sweep)
{
    sweep->parts = cb_pool_parts(pool, sweep->prototypes->count);
    cb_pool_run(pool, sweep->parts, stripe, sweep);
}

static cb_real length(const cb_real *v, size_t n)
{
    return (cb_real)sqrt(cb_rows()->sum_squares(v, n));
}

static void refresh_stripe(void *context, size_t part, size_t worker)
{
    const prototype_sweep *sweep = context;
    const cb_prototypes *prototypes = sweep->prototypes;
    cb_range range = cb_part(prototypes->count, part, sweep->parts, 1);
    (void)worker;
    for (size_t p = range.begin; p < range.end; p++)
        sweep->scale[p] =
            prototypes->gain[p] / length(prototypes->direction + p * prototypes->width, prototypes->width);
}

void cb_prototypes_refresh(cb_pool *pool, cb_prototypes *prototypes)
{
    prototype_sweep sweep = {.prototypes = prototypes, .scale = prototypes->scale};
    over_prototypes(pool, refresh_stripe, &sweep);
}

static void scale_logit_rows(void *context, size_t part, size_t worker)
{
    const prototype_sweep *sweep = context;
    cb_range rows = cb_part(sweep->rows, part, sweep->parts, 1);
    (void)worker;
    for (size_t r = rows.begin; r < rows.end; r++)
        cb_rows()->scale_logits(
            sweep->logits + r * sweep->count, sweep->prototypes->scale + sweep->first, NULL, 1, sweep->count);
}

static void scale_columns(
    cb_pool *pool, const cb_prototypes *prototypes, size_t first, size_t count, cb_real *logits, size_t rows)
{
    prototype_sweep sweep = {.prototypes = prototypes,
        .parts = cb_pool_parts(pool, rows),
        .first = first,
        .count = count,
        .rows = rows,
        .logits = logits};
    cb_pool_run(pool, sweep.parts, scale_logit_rows, &sweep);
}

void cb_prototypes_project(cb_pool *pool, const cb_prototypes *prototypes, size_t first, size_t count,
    const cb_real *x, size_t rows, cb_real *logits)
{
    size_t width = prototypes->width;
    const cb_real *direction = prototypes->direction + first * width;
    cb_gemm(pool, &(cb_gemm_job){CB_NT, rows, count, width, cb_gemm_real(x, width),
                      cb_gemm_real(direction, width), {logits, count, false}, prototypes->bf16});
    scale_columns(pool, prototypes, first, count, logits, rows);
}

void cb_prototypes_backproject(cb_pool *pool, const cb_prototypes *prototypes, size_t first, size_t count,
    cb_real *dlogits, const cb_real *x, size_t rows, cb_real *dx, cb_real *du)
{
    size_t width = prototypes->width;
    const cb_real *direction = prototypes->direction + first * width;
    if (du)
        cb_gemm(pool, &(cb_gemm_job){CB_TN, count, width, rows, cb_gemm_real(dlogits, count),
                          cb_gemm_real(x, width), {du + first * width, width, true}, prototypes->bf16});
    scale_columns(pool, prototypes, first, count, dlogits, rows);
    cb_gemm(pool, &(cb_gemm_job){CB_NN, rows, width, count, cb_gemm_real(dlogits, count),
                      cb_gemm_real(direction, width), {dx, width, true}, prototypes->bf16});
}

static void weight_gradient_stripe(void *context, size_t part, size_t worker)
{
    const prototype_sweep *sweep = context;
    const cb_prototypes *prototypes = sweep->prototypes;
    size_t width = prototypes->width;
    cb_range range = cb_part(prototypes->count, part, sweep->parts, 1);
    (void)worker;
    for (size_t p = range.begin; p < range.end; p++) {
        const cb_real *v_p = prototypes->direction + p * width;
        cb_real *du_p = sweep->du + p * width;
        cb_real inverse_length = 1 / length(v_p, width);
        cb_real along = cb_rows()->dot(du_p, v_p, width) * inverse_length;
        if (sweep->dgain) sweep->dgain[p] = along;
        cb_rows()->add_scaled(du_p, v_p, -along * inverse_length, width);
        cb_rows()->scale(du_p, du_p, prototypes->gain[p] * inverse_length, width);
    }
}

void cb_prototypes_weight_gradient(
    cb_pool *pool, const cb_prototypes *prototypes, cb_real *du, cb_real *dgain)
{
    prototype_sweep sweep = {.prototypes = prototypes, .du = du, .dgain = dgain};
    over_prototypes(pool, weight_gradient_stripe, &sweep);
}

static void move_centre_stripe(void *context, size_t part, size_t worker)
{
    const prototype_sweep *sweep = context;
    const cb_prototypes *teacher = sweep->prototypes;
    cb_range range = cb_part(teacher->count, part, sweep->parts, 1);
    (void)worker;
    for (size_t p = range.begin; p < range.end; p++) {
        cb_real logit = teacher->scale[p] * cb_rows()->dot(teacher->direction + p * teacher->width,
                                                sweep->mean_x, teacher->width);
        sweep->centre[p] = sweep->momentum * sweep->centre[p] + (1 - sweep->momentum) * logit;
    }
}

void cb_prototypes_move_centre(
    cb_pool *pool, const cb_prototypes *teacher, const cb_real *mean_x, cb_real momentum, cb_real *centre)
{
    prototype_sweep sweep = {.prototypes = teacher, .mean_x = mean_x, .momentum = momentum, .centre = centre};
    over_prototypes(pool, move_centre_stripe, &sweep);
}
