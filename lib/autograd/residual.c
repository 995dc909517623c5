/* The residual stream, which all blocks add to, the pooling that ends it, and gradients from elsewhere. */
#include "autograd/operations.h"
#include "autograd/precision.h"

#include <string.h>

typedef struct residual_node {
    cb_node node;
    cb_tensor x, y, gain, z;
    size_t tokens;       /* of an image */
    const cb_real *keep; /* [images] */
    cb_row_buffers buffers;
} residual_node;

static cb_real kept(const residual_node *f, size_t row)
{
    return f->keep ? f->keep[row / f->tokens] : 1;
}

static void residual_row(void *context, size_t row, size_t worker)
{
    const residual_node *f = context;
    size_t n = f->x.columns;
    cb_real *z = f->z.value + row * n;
    const cb_real *y = cb_read_value(&f->y, row, cb_row_buffer(&f->buffers, worker));
    if (z != f->x.value + row * n) memcpy(z, f->x.value + row * n, n * sizeof *z);
    if (f->gain.columns)
        cb_rows()->add_product(z, f->gain.value, y, kept(f, row), n);
    else
        cb_rows()->add_scaled(z, y, kept(f, row), n);
}

#define STRIPE 64 /* columns of a gain's gradient that one task sums */

static size_t stripes(const residual_node *f)
{
    return (f->x.columns + STRIPE - 1) / STRIPE;
}

/* dgain += Σ keep dz y. */
static void residual_backward_stripe(void *context, size_t part, size_t worker)
{
    const residual_node *f = context;
    size_t n = f->x.columns;
    cb_range stripe = cb_part(n, part, stripes(f), 1);
    size_t width = stripe.end - stripe.begin;
    cb_real widened[STRIPE];
    (void)worker;
    for (size_t row = 0; row < f->x.rows; row++) {
        size_t at = row * n + stripe.begin;
        if (f->y.bf16) cb_rows()->from_bf16(widened, f->y.value_bf16 + at, width);
        cb_rows()->add_product(f->gain.gradient + stripe.begin, f->z.gradient + at,
            f->y.bf16 ? widened : f->y.value + at, kept(f, row), width);
    }
}

/* dy = keep gain dz; dx and dz are the same memory. */
static void residual_backward_row(void *context, size_t row, size_t worker)
{
    const residual_node *f = context;
    size_t n = f->x.columns;
    cb_real *dy = cb_gradient_place(&f->y, row, cb_row_buffer(&f->buffers, worker));
    if (f->gain.columns)
        cb_rows()->product(dy, f->gain.value, f->z.gradient + row * n, kept(f, row), n);
    else
        cb_rows()->scale(dy, f->z.gradient + row * n, kept(f, row), n);
    cb_store_gradient(&f->y, row, dy);
}

static void residual_backward(cb_tape *tape, cb_node *node)
{
    residual_node *f = (residual_node *)node;
    if (f->gain.gradient) cb_pool_run(tape->pool, stripes(f), residual_backward_stripe, f);
    cb_pool_run(tape->pool, f->x.rows, residual_backward_row, f);
}

cb_tensor cb_op_residual(
    cb_tape *tape, cb_tensor x, cb_tensor y, cb_tensor gain, size_t images, const cb_real *keep)
{
    residual_node f = {.x = x, .y = y, .gain = gain, .z = x, .tokens = x.rows / images, .keep = keep};
    f.buffers = cb_take_row_buffers(tape, y.bf16 ? x.columns : 0);
    if (tape->training) f.z.value = cb_arena_take(tape->arena, x.rows * x.columns, sizeof(cb_real));
    cb_tape_record(tape, &f.node, sizeof f, residual_backward);
    if (cb_tape_runs(tape)) cb_pool_run(tape->pool, x.rows, residual_row, &f);
    return f.z;
}

typedef struct pool_node {
    cb_node node;
    cb_tensor x, y;
    const cb_pooling *pooling;
} pool_node;

static void pool_backward(cb_tape *tape, cb_node *node)
{
    pool_node *f = (pool_node *)node;
    if (!f->x.gradient) return;
    if (!cb_tensor_accumulates(&f->x)) memset(f->x.gradient, 0, f->x.rows * f->x.columns * sizeof(cb_real));
    cb_pool_tokens_backward(tape->pool, f->pooling, f->y.gradient, f->x.columns, f->x.gradient);
}

cb_tensor cb_op_pool(cb_tape *tape, cb_tensor x, const cb_pooling *pooling)
{
    pool_node f = {.x = x, .y = cb_tape_tensor(tape, pooling->rows, x.columns, false), .pooling = pooling};
    cb_tape_record(tape, &f.node, sizeof f, pool_backward);
    if (cb_tape_runs(tape)) cb_pool_tokens(tape->pool, pooling, x.value, x.columns, f.y.value);
    return f.y;
}

typedef struct add_gradient_node {
    cb_node node;
    cb_tensor x;
    const cb_real *gradient;
} add_gradient_node;

static void add_gradient_row(void *context, size_t row, size_t worker)
{
    const add_gradient_node *f = context;
    size_t n = f->x.columns;
    (void)worker;
    cb_rows()->add_scaled(f->x.gradient + row * n, f->gradient + row * n, 1, n);
}

static void add_gradient_backward(cb_tape *tape, cb_node *node)
{
    add_gradient_node *f = (add_gradient_node *)node;
    cb_pool_run(tape->pool, f->x.rows, add_gradient_row, f);
}

void cb_op_add_gradient(cb_tape *tape, cb_tensor x, const cb_real *gradient)
{
    add_gradient_node f = {.x = x, .gradient = gradient};
    if (x.gradient || !cb_tape_runs(tape)) cb_tape_record(tape, &f.node, sizeof f, add_gradient_backward);
}
