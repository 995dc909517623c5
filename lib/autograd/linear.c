/* Linear maps and GELU: the pieces of every MLP. */
#include "autograd/operations.h"
#include "tensor/gemm.h"
#include "tensor/rows.h"

#include <string.h>

#define STRIPE 128 /* columns of a bias gradient that one task sums */

typedef struct linear_node {
    cb_node node;
    cb_tensor x, weight, bias, y;
} linear_node;

static void copy_bias(void *context, size_t row, size_t worker)
{
    const linear_node *f = context;
    (void)worker;
    memcpy(f->y.value + row * f->y.columns, f->bias.value, f->y.columns * sizeof(cb_real));
}

/* db[j] += Σ_i dy[i, j], a stripe of columns per task. */
static void sum_bias_stripe(void *context, size_t part, size_t worker)
{
    const linear_node *f = context;
    cb_range stripe = cb_part(f->y.columns, part, (f->y.columns + STRIPE - 1) / STRIPE, 1);
    (void)worker;
    for (size_t i = 0; i < f->y.rows; i++)
        cb_rows()->add_scaled(f->bias.gradient + stripe.begin,
            f->y.gradient + i * f->y.columns + stripe.begin, 1, stripe.end - stripe.begin);
}

/* dW += dyᵀ x,  db += Σ dy,  dx = dy W: dx last, for it may lie over x. */
static void linear_backward(cb_tape *tape, cb_node *node)
{
    linear_node *f = (linear_node *)node;
    size_t rows = f->x.rows, in = f->x.columns, out = f->y.columns;
    if (f->weight.gradient)
        cb_gemm(tape->pool, CB_TN, out, in, rows, f->y.gradient, out, f->x.value, in, true,
            f->weight.gradient, in);
    if (f->bias.gradient) cb_pool_run(tape->pool, (out + STRIPE - 1) / STRIPE, sum_bias_stripe, f);
    if (f->x.gradient)
        cb_gemm(tape->pool, CB_NN, rows, in, out, f->y.gradient, out, f->weight.value, in,
            cb_tensor_accumulates(&f->x), f->x.gradient, in);
}

cb_tensor cb_op_linear(cb_tape *tape, cb_tensor x, cb_tensor weight, cb_tensor bias)
{
    cb_tensor y = cb_tape_tensor(tape, x.rows, weight.rows, false);
    linear_node f = {.x = x, .weight = weight, .bias = bias, .y = y};
    cb_tape_record(tape, &f.node, sizeof f, linear_backward);
    if (cb_tape_runs(tape)) {
        cb_pool_run(tape->pool, y.rows, copy_bias, &f);
        cb_gemm(tape->pool, CB_NT, y.rows, y.columns, x.columns, x.value, x.columns, weight.value, x.columns,
            true, y.value, y.columns);
    }
    return y;
}

typedef struct gelu_node {
    cb_node node;
    cb_tensor x, y;
} gelu_node;

static void gelu_row(void *context, size_t row, size_t worker)
{
    const gelu_node *f = context;
    size_t n = f->x.columns;
    (void)worker;
    cb_rows()->gelu(f->y.value + row * n, f->x.value + row * n, n);
}

static void gelu_backward_row(void *context, size_t row, size_t worker)
{
    const gelu_node *f = context;
    size_t n = f->x.columns;
    (void)worker;
    cb_rows()->gelu_backward(f->x.gradient + row * n, f->y.gradient + row * n, f->x.value + row * n, n);
}

/* dx = dy gelu'(x). */
static void gelu_backward(cb_tape *tape, cb_node *node)
{
    gelu_node *f = (gelu_node *)node;
    cb_pool_run(tape->pool, f->x.rows, gelu_backward_row, f);
}

cb_tensor cb_op_gelu(cb_tape *tape, cb_tensor x)
{
    cb_tensor y = cb_tape_tensor(tape, x.rows, x.columns, false);
    gelu_node f = {.x = x, .y = y};
    cb_tape_record(tape, &f.node, sizeof f, gelu_backward);
    if (cb_tape_runs(tape)) cb_pool_run(tape->pool, x.rows, gelu_row, &f);
    return y;
}
