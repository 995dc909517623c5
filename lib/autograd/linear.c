/* Linear maps, GELU and SwiGLU: the pieces of every MLP. */
#include "autograd/operations.h"
#include "autograd/precision.h"
#include "tensor/gemm_packed.h"

#include <string.h>

#define STRIPE 128 /* columns of a bias gradient that one task sums */

typedef struct linear_node {
    cb_node node;
    cb_tensor x, weight, bias, y;
    cb_gemm_packed packed; /* the weight, or zeroed */
    cb_real *panels;       /* scratch: the second operand of a product, packed */
    cb_row_buffers rows;   /* of the first one, packed */
    cb_row_buffers tiles;  /* of a product that is then rounded */
} linear_node;

/* Rows of x that are packed at a time for the gradient of the weight. */
#define ROWS_PACKED 1024
#define ROWS_GRAIN 16

static size_t row_parts(size_t rows)
{
    return (rows + ROWS_PACKED - 1) / ROWS_PACKED;
}

static void lay_out(linear_node *f, size_t workers, cb_arena *scratch)
{
    size_t in = f->x.columns, out = f->y.columns, rows = f->x.rows, widest = cb_max(in, out);
    size_t weight = cb_max(cb_gemm_packed_size(out, in), cb_gemm_packed_size(in, out));
    size_t x = cb_gemm_packed_size(in, cb_min(rows, ROWS_PACKED));
    f->panels = cb_arena_take(scratch, f->packed.panels ? 0 : cb_max(weight, x), sizeof(cb_real));
    f->rows = cb_row_buffers_in(scratch, workers, cb_gemm_rows_size(CB_GEMM_TILE_ROWS, cb_max(rows, widest)));
    bool rounds = f->x.bf16 || f->y.bf16;
    f->tiles = cb_row_buffers_in(scratch, workers, rounds ? cb_min(rows, CB_GEMM_TILE_ROWS) * widest : 0);
}

static void take_scratch(cb_tape *tape, linear_node *f)
{
    size_t workers = cb_pool_threads(tape->pool);
    cb_arena measured = cb_arena_measure();
    lay_out(f, workers, &measured);
    cb_arena scratch = {.base = cb_tape_scratch(tape, 1, measured.peak), .capacity = measured.peak};
    lay_out(f, workers, &scratch);
}

/* C [m, n] = A B + bias, or C += A B. C is stored in bfloat16 or as real numbers. */
typedef struct product {
    const linear_node *f;
    cb_gemm_rows rows;
    cb_gemm_packed b;
    cb_bf16 *rounded;    /* C, or NULL */
    const cb_real *bias; /* or NULL */
} product;

static void finish_tile(const void *context, const cb_gemm_tile *tile, cb_real *c, size_t stride)
{
    const product *p = context;
    size_t n = tile->columns.end - tile->columns.begin;
    for (size_t i = tile->rows.begin; i < tile->rows.end; i++, c += stride) {
        if (p->bias) cb_rows()->add_scaled(c, p->bias + tile->columns.begin, 1, n);
        if (p->rounded) cb_rows()->to_bf16(p->rounded + i * p->b.n + tile->columns.begin, c, n);
    }
}

/* Packs B [k, n] unless it is, then multiplies the rows by it. */
static void multiply(cb_tape *tape, product *p)
{
    const linear_node *f = p->f;
    const cb_gemm_finish finish = {finish_tile, p, p->rounded ? &f->tiles : NULL};
    p->b.bf16 = tape->bf16;
    if (!p->b.panels) p->b = cb_gemm_pack(tape->pool, p->b, f->panels);
    cb_gemm_in_tiles(tape->pool, &p->b, &p->rows, &f->rows, p->rounded || p->bias ? &finish : NULL);
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

/* dW += dyᵀ x. */
static void add_weight_gradient(cb_tape *tape, const linear_node *f)
{
    size_t rows = f->x.rows, in = f->x.columns, out = f->y.columns;
    cb_gemm_operand x = cb_value_operand(&f->x), dy = cb_gradient_operand(&f->y);
    for (size_t part = 0; part < row_parts(rows); part++) {
        cb_range some = cb_part(rows, part, row_parts(rows), ROWS_GRAIN);
        product p = {.f = f,
            .rows = {out, cb_gemm_at(dy, some.begin * out), {f->weight.gradient, in, true}},
            .b = {.form = CB_TN, .n = in, .k = some.end - some.begin, .b = cb_gemm_at(x, some.begin * in)}};
        multiply(tape, &p);
    }
}

/* dW += dyᵀ x,  db += Σ dy,  dx = dy W: dx last, since it may overwrite x. */
static void linear_backward(cb_tape *tape, cb_node *node)
{
    linear_node *f = (linear_node *)node;
    size_t in = f->x.columns, out = f->y.columns;
    if (f->weight.gradient) add_weight_gradient(tape, f);
    if (f->bias.gradient) cb_pool_run(tape->pool, (out + STRIPE - 1) / STRIPE, sum_bias_stripe, f);
    if (!f->x.gradient) return;
    product dx = {.f = f,
        .rows = {f->x.rows, cb_gradient_operand(&f->y), {f->x.gradient, in, cb_tensor_accumulates(&f->x)}},
        .b = {.form = CB_NN, .n = in, .k = out, .b = cb_value_operand(&f->weight)},
        .rounded = f->x.bf16 ? f->x.gradient_bf16 : NULL};
    multiply(tape, &dx);
}

/* The weight as the second operand of x Wᵀ. */
static cb_gemm_packed operand_of(const cb_tensor *weight, bool bf16)
{
    return (cb_gemm_packed){
        .form = CB_NT, .n = weight->rows, .k = weight->columns, .b = cb_value_operand(weight), .bf16 = bf16};
}

cb_gemm_packed cb_affine_packed(const cb_affine *affine, bool bf16, cb_pool *pool, cb_arena *arena)
{
    cb_gemm_packed b = operand_of(&affine->weight, bf16);
    cb_real *memory = cb_arena_take(arena, cb_gemm_panels_size(b), sizeof *memory);
    return memory ? cb_gemm_pack(pool, b, memory) : (cb_gemm_packed){0};
}

cb_tensor cb_op_linear(cb_tape *tape, cb_tensor x, const cb_affine *affine, cb_storage storage)
{
    cb_tensor weight = affine->weight, y = cb_tape_result(tape, x.rows, weight.rows, storage);
    linear_node f = {.x = x, .weight = weight, .bias = affine->bias, .y = y, .packed = affine->packed};
    take_scratch(tape, &f);
    cb_tape_record(tape, &f.node, sizeof f, linear_backward);
    if (!cb_tape_runs(tape)) return y;
    product p = {.f = &f,
        .rows = {x.rows, cb_value_operand(&x), {y.value, weight.rows, false}},
        .b = f.packed.panels ? f.packed : operand_of(&weight, tape->bf16),
        .rounded = y.bf16 ? y.value_bf16 : NULL,
        .bias = f.bias.value};
    multiply(tape, &p);
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

typedef struct swiglu_node {
    cb_node node;
    cb_tensor x, y;
    cb_row_buffers buffers; /* three rows of y's width: of x (two) and of dy */
} swiglu_node;

static void swiglu_row(void *context, size_t row, size_t worker)
{
    const swiglu_node *f = context;
    size_t n = f->y.columns;
    cb_real *buffer = cb_row_buffer(&f->buffers, worker), *y = cb_value_place(&f->y, row, buffer);
    const cb_real *x = cb_read_value(&f->x, row, buffer);
    cb_rows()->swiglu(y, x, x + n, n);
    cb_store_value(&f->y, row, y);
}

static void swiglu_backward_row(void *context, size_t row, size_t worker)
{
    const swiglu_node *f = context;
    size_t n = f->y.columns;
    cb_real *buffer = cb_row_buffer(&f->buffers, worker), *dx = cb_gradient_place(&f->x, row, buffer);
    const cb_real *dy = cb_read_gradient(&f->y, row, buffer + 2 * n), *x = cb_read_value(&f->x, row, buffer);
    cb_rows()->swiglu_backward(dx, dx + n, dy, x, x + n, n);
    cb_store_gradient(&f->x, row, dx);
}

/* With x = [a; b] and y = silu(a) b: da = dy b silu'(a),  db = dy silu(a). */
static void swiglu_backward(cb_tape *tape, cb_node *node)
{
    swiglu_node *f = (swiglu_node *)node;
    cb_pool_run(tape->pool, f->x.rows, swiglu_backward_row, f);
}

cb_tensor cb_op_swiglu(cb_tape *tape, cb_tensor x)
{
    cb_tensor y = cb_tape_result(tape, x.rows, x.columns / 2, CB_STORE_IN_PRECISION);
    swiglu_node f = {.x = x, .y = y, .buffers = cb_take_row_buffers(tape, x.bf16 ? 3 * y.columns : 0)};
    cb_tape_record(tape, &f.node, sizeof f, swiglu_backward);
    if (cb_tape_runs(tape)) cb_pool_run(tape->pool, x.rows, swiglu_row, &f);
    return y;
}

typedef struct hold_node {
    cb_node node;
    cb_tensor x;
    size_t first, count;
} hold_node;

static void hold_backward(cb_tape *tape, cb_node *node)
{
    hold_node *f = (hold_node *)node;
    (void)tape;
    memset(f->x.gradient + f->first, 0, f->count * sizeof *f->x.gradient);
}

void cb_op_hold(cb_tape *tape, cb_tensor x, size_t first, size_t count)
{
    hold_node f = {.x = x, .first = first, .count = count};
    if (x.gradient || !cb_tape_runs(tape)) cb_tape_record(tape, &f.node, sizeof f, hold_backward);
}

typedef struct complete_node {
    cb_node node;
    cb_tensor x;
} complete_node;

static void complete_backward(cb_tape *tape, cb_node *node)
{
    tape->complete = ((complete_node *)node)->x.gradient;
}

void cb_op_complete(cb_tape *tape, cb_tensor x)
{
    complete_node f = {.x = x};
    if (x.gradient || !cb_tape_runs(tape)) cb_tape_record(tape, &f.node, sizeof f, complete_backward);
}
