/* Linear maps and GELU: the pieces of every MLP. */
#include "autograd/operations.h"
#include "autograd/precision.h"

#include <string.h>

#define STRIPE 128 /* columns of a bias gradient that one task sums */

typedef struct linear_node {
    cb_node node;
    cb_tensor x, weight, bias, y;
    cb_real *product; /* [rows, out] or [rows, in]: a product before it is rounded into y or dx; scratch */
} linear_node;

static void copy_bias(void *context, size_t row, size_t worker)
{
    const linear_node *f = context;
    (void)worker;
    memcpy(f->y.value + row * f->y.columns, f->bias.value, f->y.columns * sizeof(cb_real));
}

static void add_bias_and_round(void *context, size_t row, size_t worker)
{
    const linear_node *f = context;
    cb_real *y = f->product + row * f->y.columns;
    (void)worker;
    cb_rows()->add_scaled(y, f->bias.value, 1, f->y.columns);
    cb_store_value(&f->y, row, y);
}

static void round_gradient(void *context, size_t row, size_t worker)
{
    const linear_node *f = context;
    (void)worker;
    cb_store_gradient(&f->x, row, f->product + row * f->x.columns);
}

/* db[j] += Σ_i dy[i, j], a stripe of columns per task. */
static void sum_bias_stripe(void *context, size_t part, size_t worker)
{
    const linear_node *f = context;
    size_t columns = f->y.columns;
    cb_range stripe = cb_part(columns, part, (columns + STRIPE - 1) / STRIPE, 1);
    cb_real *sum = f->bias.gradient + stripe.begin, widened[STRIPE];
    size_t n = stripe.end - stripe.begin;
    (void)worker;
    for (size_t at = stripe.begin; at < f->y.rows * columns; at += columns) {
        if (f->y.bf16) cb_rows()->from_bf16(widened, f->y.gradient_bf16 + at, n);
        cb_rows()->add_scaled(sum, f->y.bf16 ? widened : f->y.gradient + at, 1, n);
    }
}

static void multiply(cb_tape *tape, cb_gemm_form form, size_t m, size_t n, size_t k, cb_gemm_operand a,
    cb_gemm_operand b, bool accumulate, cb_real *c)
{
    cb_gemm_operands(tape->pool, tape->bf16, form, m, n, k, a, b, accumulate, c, n);
}

/* dW += dyᵀ x,  db += Σ dy,  dx = dy W: dx last, for it may lie over x. */
static void linear_backward(cb_tape *tape, cb_node *node)
{
    linear_node *f = (linear_node *)node;
    size_t rows = f->x.rows, in = f->x.columns, out = f->y.columns;
    cb_gemm_operand dy = cb_gradient_operand(&f->y);
    if (f->weight.gradient)
        multiply(tape, CB_TN, out, in, rows, dy, cb_value_operand(&f->x), true, f->weight.gradient);
    if (f->bias.gradient) cb_pool_run(tape->pool, (out + STRIPE - 1) / STRIPE, sum_bias_stripe, f);
    if (!f->x.gradient) return;
    cb_real *dx = f->x.bf16 ? f->product : f->x.gradient;
    multiply(tape, CB_NN, rows, in, out, dy, cb_value_operand(&f->weight), cb_tensor_accumulates(&f->x), dx);
    if (f->x.bf16) cb_pool_run(tape->pool, rows, round_gradient, f);
}

cb_tensor cb_op_linear(cb_tape *tape, cb_tensor x, cb_tensor weight, cb_tensor bias, cb_storage storage)
{
    cb_tensor y = cb_tape_result(tape, x.rows, weight.rows, storage);
    size_t rows = y.rows, in = x.columns, out = y.columns, widest = in > out ? in : out;
    linear_node f = {.x = x, .weight = weight, .bias = bias, .y = y};
    if (x.bf16 || y.bf16) f.product = cb_tape_scratch(tape, 1, rows * widest * sizeof(cb_real));
    cb_tape_record(tape, &f.node, sizeof f, linear_backward);
    if (!cb_tape_runs(tape)) return y;
    if (!y.bf16) cb_pool_run(tape->pool, rows, copy_bias, &f);
    multiply(tape, CB_NT, rows, out, in, cb_value_operand(&x), cb_value_operand(&weight), !y.bf16,
        y.bf16 ? f.product : y.value);
    if (y.bf16) cb_pool_run(tape->pool, rows, add_bias_and_round, &f);
    return y;
}

typedef struct gelu_node {
    cb_node node;
    cb_tensor x, y;
    cb_row_buffers buffers; /* two rows each: of x and of dy */
} gelu_node;

static void gelu_row(void *context, size_t row, size_t worker)
{
    const gelu_node *f = context;
    cb_real *buffer = cb_row_buffer(&f->buffers, worker), *y = cb_value_place(&f->y, row, buffer);
    cb_rows()->gelu(y, cb_read_value(&f->x, row, buffer), f->x.columns);
    cb_store_value(&f->y, row, y);
}

static void gelu_backward_row(void *context, size_t row, size_t worker)
{
    const gelu_node *f = context;
    cb_real *buffer = cb_row_buffer(&f->buffers, worker), *dx = cb_gradient_place(&f->x, row, buffer);
    cb_rows()->gelu_backward(dx, cb_read_gradient(&f->y, row, buffer + f->x.columns),
        cb_read_value(&f->x, row, buffer), f->x.columns);
    cb_store_gradient(&f->x, row, dx);
}

/* dx = dy gelu'(x). */
static void gelu_backward(cb_tape *tape, cb_node *node)
{
    gelu_node *f = (gelu_node *)node;
    cb_pool_run(tape->pool, f->x.rows, gelu_backward_row, f);
}

cb_tensor cb_op_gelu(cb_tape *tape, cb_tensor x)
{
    cb_tensor y = cb_tape_result(tape, x.rows, x.columns, CB_STORE_IN_PRECISION);
    gelu_node f = {.x = x, .y = y, .buffers = cb_take_row_buffers(tape, x.bf16 ? 2 * x.columns : 0)};
    cb_tape_record(tape, &f.node, sizeof f, gelu_backward);
    if (cb_tape_runs(tape)) cb_pool_run(tape->pool, x.rows, gelu_row, &f);
    return y;
}
