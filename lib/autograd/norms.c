/* Normalisations of rows: layer norm, and L2 normalisation before the prototypes. */
#include "autograd/operations.h"
#include "autograd/precision.h"

#define STRIPE 64 /* columns of a parameter gradient that one task sums */

typedef struct layer_norm_node {
    cb_node node;
    cb_tensor x, gain, bias, y;
    cb_real *mean, *inverse_deviation; /* [rows] */
    cb_real epsilon;
    cb_row_buffers buffers; /* a row of y or dy */
} layer_norm_node;

static void layer_norm_row(void *context, size_t row, size_t worker)
{
    const layer_norm_node *f = context;
    size_t n = f->x.columns;
    cb_real *y = cb_value_place(&f->y, row, cb_row_buffer(&f->buffers, worker));
    cb_rows()->layer_norm(y, f->x.value + row * n, f->gain.value, f->bias.value, f->epsilon, n, &f->mean[row],
        &f->inverse_deviation[row]);
    cb_store_value(&f->y, row, y);
}

static void layer_norm_backward_stripe(void *context, size_t part, size_t worker)
{
    const layer_norm_node *f = context;
    size_t n = f->x.columns;
    cb_range stripe = cb_part(n, part, (n + STRIPE - 1) / STRIPE, 1);
    size_t width = stripe.end - stripe.begin;
    cb_real widened[STRIPE];
    (void)worker;
    for (size_t row = 0; row < f->x.rows; row++) {
        size_t at = row * n + stripe.begin;
        if (f->y.bf16) cb_rows()->from_bf16(widened, f->y.gradient_bf16 + at, width);
        cb_rows()->layer_norm_backward_parameters(f->gain.gradient + stripe.begin,
            f->bias.gradient + stripe.begin, f->y.bf16 ? widened : f->y.gradient + at, f->x.value + at, width,
            f->mean[row], f->inverse_deviation[row]);
    }
}

static void layer_norm_backward_row(void *context, size_t row, size_t worker)
{
    const layer_norm_node *f = context;
    size_t n = f->x.columns;
    const cb_real *dy = cb_read_gradient(&f->y, row, cb_row_buffer(&f->buffers, worker));
    cb_rows()->layer_norm_backward(f->x.gradient + row * n, dy, f->x.value + row * n, f->gain.value, n,
        f->mean[row], f->inverse_deviation[row], cb_tensor_accumulates(&f->x));
}

/*
 * With x̂ = (x − mean)/σ and g = dy · gain: dx = (g − mean(g) − x̂ mean(g x̂))/σ,  dgain += Σ dy x̂,  dbias
 * += Σ dy.
 */
static void layer_norm_backward(cb_tape *tape, cb_node *node)
{
    layer_norm_node *f = (layer_norm_node *)node;
    if (f->gain.gradient)
        cb_pool_run(tape->pool, (f->x.columns + STRIPE - 1) / STRIPE, layer_norm_backward_stripe, f);
    if (f->x.gradient) cb_pool_run(tape->pool, f->x.rows, layer_norm_backward_row, f);
}

cb_tensor cb_op_layer_norm(
    cb_tape *tape, cb_tensor x, cb_tensor gain, cb_tensor bias, double epsilon, cb_storage storage)
{
    cb_tensor y = cb_tape_result(tape, x.rows, x.columns, storage);
    layer_norm_node f = {.x = x, .gain = gain, .bias = bias, .y = y, .epsilon = (cb_real)epsilon};
    f.buffers = cb_take_row_buffers(tape, y.bf16 ? x.columns : 0);
    f.mean = cb_arena_take(tape->arena, x.rows, sizeof(cb_real));
    f.inverse_deviation = cb_arena_take(tape->arena, x.rows, sizeof(cb_real));
    cb_tape_record(tape, &f.node, sizeof f, layer_norm_backward);
    if (cb_tape_runs(tape)) cb_pool_run(tape->pool, x.rows, layer_norm_row, &f);
    return f.y;
}

typedef struct normalise_node {
    cb_node node;
    cb_tensor x, y;
    cb_real *inverse_norm; /* [rows] */
} normalise_node;

static void normalise_row(void *context, size_t row, size_t worker)
{
    const normalise_node *f = context;
    size_t n = f->x.columns;
    (void)worker;
    f->inverse_norm[row] = cb_normalise_row(f->y.value + row * n, f->x.value + row * n, n);
}

/*
 * With u = x / ‖x‖: dx = (dy − u ⟨u, dy⟩) / ‖x‖; if ‖x‖ was below ε, y is linear in x and only the scaling is
 * applied.
 */
static void normalise_backward_row(void *context, size_t row, size_t worker)
{
    const normalise_node *f = context;
    const cb_row_kernels *rows = cb_rows();
    size_t n = f->x.columns;
    const cb_real *x = f->x.value + row * n;
    cb_real *dx = f->x.gradient + row * n, *dy = f->y.gradient + row * n;
    cb_real inverse = f->inverse_norm[row];
    bool constant_scale = inverse >= (cb_real)1e12;
    (void)worker;
    cb_real along = constant_scale ? 0 : rows->dot(x, dy, n) * inverse * inverse;
    rows->add_scaled(dy, x, -along, n);
    rows->scale(dx, dy, inverse, n);
}

static void normalise_backward(cb_tape *tape, cb_node *node)
{
    normalise_node *f = (normalise_node *)node;
    cb_pool_run(tape->pool, f->x.rows, normalise_backward_row, f);
}

cb_tensor cb_op_normalise(cb_tape *tape, cb_tensor x)
{
    normalise_node f = {.x = x, .y = cb_tape_tensor(tape, x.rows, x.columns, true)};
    f.inverse_norm = cb_arena_take(tape->arena, x.rows, sizeof(cb_real));
    cb_tape_record(tape, &f.node, sizeof f, normalise_backward);
    if (cb_tape_runs(tape)) cb_pool_run(tape->pool, x.rows, normalise_row, &f);
    return f.y;
}
