/*
 * Multi-head self-attention, y = softmax(q kᵀ / √d) v with d = D/H, one task per (image, head).
 *
 * A task takes its queries in blocks, so it holds block × T shares, never T × T. The softmax is exact: a block sees all keys. The
 * backward pass computes the shares again, which costs less than the memory to keep them.
 */
#include "autograd/operations.h"
#include "tensor/gemm.h"
#include "tensor/rows.h"

#include <math.h>
#include <string.h>

#define QUERY_BLOCK 64

typedef struct attention_node {
    cb_node node;
    cb_tensor qkv, y;
    size_t images, heads, tokens, width; /* width: d, of a head */
    cb_real *scratch;                    /* a worker's part: shares, and backward dshares, dk, dv */
    size_t worker_scratch;
} attention_node;

/* The corner of one head's [T, d] matrices: q, k, v (or their gradients) in qkv, and y. */
typedef struct head_view {
    cb_real *q, *k, *v, *y;
} head_view;

static head_view view_of(const attention_node *f, size_t task, cb_real *qkv, cb_real *y)
{
    size_t image = task / f->heads, head = task % f->heads, model_width = f->y.columns;
    cb_real *q = qkv + image * f->tokens * 3 * model_width + head * f->width;
    return (head_view){q, q + model_width, q + 2 * model_width,
        y ? y + image * f->tokens * model_width + head * f->width : NULL};
}

/* shares [n, T] = softmax(q kᵀ / √d) for n queries from `first` on. */
static void compute_shares(
    const attention_node *f, const head_view *head, size_t first, size_t n, cb_real *shares)
{
    size_t stride = f->qkv.columns;
    cb_gemm(NULL, CB_NT, n, f->tokens, f->width, head->q + first * stride, stride, head->k, stride, false,
        shares, f->tokens);
    cb_real scale = (cb_real)(1 / sqrt((double)f->width));
    for (size_t i = 0; i < n; i++) cb_rows()->softmax(shares + i * f->tokens, scale, f->tokens);
}

static size_t block_size(const attention_node *f, size_t first)
{
    return f->tokens - first < QUERY_BLOCK ? f->tokens - first : QUERY_BLOCK;
}

static void attend(void *context, size_t task, size_t worker)
{
    const attention_node *f = context;
    head_view head = view_of(f, task, f->qkv.value, f->y.value);
    cb_real *shares = f->scratch + worker * f->worker_scratch;
    size_t stride = f->qkv.columns, y_stride = f->y.columns;
    for (size_t first = 0; first < f->tokens; first += QUERY_BLOCK) {
        size_t n = block_size(f, first);
        compute_shares(f, &head, first, n, shares);
        cb_gemm(NULL, CB_NN, n, f->width, f->tokens, shares, f->tokens, head.v, stride, false,
            head.y + first * y_stride, y_stride);
    }
}

static void copy_columns(cb_real *to, size_t to_stride, const cb_real *from, size_t rows, size_t columns)
{
    for (size_t i = 0; i < rows; i++) memcpy(to + i * to_stride, from + i * columns, columns * sizeof *to);
}

/*
 * With shares P and dP = dy vᵀ:  dv = Pᵀ dy,  dS = P (dP − ⟨P, dP⟩) / √d,  dq = dS k,  dk = dSᵀ q. The gradients lie over q, k and v:
 * dq replaces a block of queries that nobody reads again, dk and dv wait in scratch until all blocks are done.
 */
static void attend_backward(void *context, size_t task, size_t worker)
{
    const attention_node *f = context;
    head_view head = view_of(f, task, f->qkv.value, f->y.gradient);
    head_view gradient = view_of(f, task, f->qkv.gradient, NULL);
    size_t tokens = f->tokens, width = f->width, stride = f->qkv.columns, y_stride = f->y.columns;
    cb_real *shares = f->scratch + worker * f->worker_scratch, *dshares = shares + QUERY_BLOCK * tokens;
    cb_real *dk = dshares + QUERY_BLOCK * tokens, *dv = dk + tokens * width;
    cb_real scale = (cb_real)(1 / sqrt((double)width));

    for (size_t first = 0; first < tokens; first += QUERY_BLOCK) {
        size_t n = block_size(f, first);
        const cb_real *q = head.q + first * stride, *dy = head.y + first * y_stride;
        compute_shares(f, &head, first, n, shares);
        cb_gemm(NULL, CB_NT, n, tokens, width, dy, y_stride, head.v, stride, false, dshares, tokens);
        cb_gemm(NULL, CB_TN, tokens, width, n, shares, tokens, dy, y_stride, first > 0, dv, width);
        for (size_t i = 0; i < n; i++)
            cb_rows()->softmax_backward(dshares + i * tokens, shares + i * tokens, scale, tokens);
        cb_gemm(NULL, CB_TN, tokens, width, n, dshares, tokens, q, stride, first > 0, dk, width);
        cb_gemm(NULL, CB_NN, n, width, tokens, dshares, tokens, head.k, stride, false,
            gradient.q + first * stride, stride);
    }
    copy_columns(gradient.k, stride, dk, tokens, width);
    copy_columns(gradient.v, stride, dv, tokens, width);
}

/* Scratch for every worker, in numbers: the block's shares, and what the backward pass adds. */
static size_t scratch_size(const attention_node *f, bool training)
{
    size_t block = QUERY_BLOCK * f->tokens;
    return training ? 2 * block + 2 * f->tokens * f->width : block;
}

static void attention_backward(cb_tape *tape, cb_node *node)
{
    attention_node *f = (attention_node *)node;
    cb_pool_run(tape->pool, f->images * f->heads, attend_backward, f);
}

static attention_node attention_of(cb_tape *tape, cb_tensor qkv, size_t images, size_t heads)
{
    size_t lines = CB_ALIGNMENT / sizeof(cb_real);
    attention_node f = {.qkv = qkv,
        .images = images,
        .heads = heads,
        .tokens = qkv.rows / images,
        .width = qkv.columns / 3 / heads};
    f.worker_scratch = (scratch_size(&f, tape->training) + lines - 1) / lines * lines;
    f.scratch = cb_tape_scratch(tape, cb_pool_threads(tape->pool), f.worker_scratch * sizeof(cb_real));
    return f;
}

cb_tensor cb_op_attention(cb_tape *tape, cb_tensor qkv, size_t images, size_t heads)
{
    attention_node f = attention_of(tape, qkv, images, heads);
    f.y = cb_tape_tensor(tape, qkv.rows, qkv.columns / 3, false);
    cb_tape_record(tape, &f.node, sizeof f, attention_backward);
    if (cb_tape_runs(tape)) cb_pool_run(tape->pool, images * heads, attend, &f);
    return f.y;
}

void cb_first_token_attention(cb_tape *tape, cb_tensor qkv, size_t images, size_t heads, cb_real *shares)
{
    attention_node f = attention_of(tape, qkv, images, heads);
    f.y.columns = qkv.columns / 3;
    if (!cb_tape_runs(tape)) return;
    for (size_t task = 0; task < images * heads; task++) {
        head_view head = view_of(&f, task, f.qkv.value, NULL);
        compute_shares(&f, &head, 0, 1, shares + task * f.tokens);
    }
}
