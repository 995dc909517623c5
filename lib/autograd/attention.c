/*
 * Multi-head self-attention, y = softmax(q kᵀ / √d) v with d = D/H, one task per (image, head).
 *
 * A task takes its queries in blocks, so it holds block × T shares, never T × T. The softmax is exact: a block sees all keys. The
 * backward pass computes the shares again, which costs less than the memory to keep them.
 */
#include "autograd/operations.h"
#include "autograd/precision.h"

#include <math.h>
#include <string.h>

#define QUERY_BLOCK 208

typedef struct attention_node {
    cb_node node;
    cb_tensor qkv, y;
    bool bf16;                           /* of the tape, and so of qkv and y */
    size_t images, heads, tokens, width; /* width: d, of a head */
    cb_real *scratch;                    /* of all workers: attention_scratch */
    size_t worker_scratch;
} attention_node;

/* Where one head's [T, d] matrices q, k, v begin in qkv (and their gradients there), and y in y: numbers to skip. */
typedef struct head_place {
    size_t q, k, v, y;
} head_place;

static head_place place_of(const attention_node *f, size_t task)
{
    size_t image = task / f->heads, head = task % f->heads, model_width = f->qkv.columns / 3;
    size_t q = image * f->tokens * 3 * model_width + head * f->width;
    return (head_place){
        q, q + model_width, q + 2 * model_width, image * f->tokens * model_width + head * f->width};
}

static cb_gemm_operand at(cb_gemm_operand x, size_t skipped)
{
    x.numbers = (const char *)x.numbers + skipped * (x.bf16 ? sizeof(cb_bf16) : sizeof(cb_real));
    return x;
}

static void multiply(const attention_node *f, cb_gemm_form form, size_t m, size_t n, size_t k,
    cb_gemm_operand a, cb_gemm_operand b, bool accumulate, cb_real *c, size_t c_stride)
{
    cb_gemm_operands(NULL, f->bf16, form, m, n, k, a, b, accumulate, c, c_stride);
}

/* Copies rows [n, d] to where one head has them among the numbers `to` of all heads, rounded if those are. */
static void deal_out(
    const attention_node *f, void *to, size_t skipped, size_t stride, const cb_real *from, size_t n)
{
    for (size_t i = 0; i < n; i++, from += f->width, skipped += stride)
        if (f->bf16)
            cb_rows()->to_bf16((cb_bf16 *)to + skipped, from, f->width);
        else
            memcpy((cb_real *)to + skipped, from, f->width * sizeof *from);
}

/* shares [n, T] = softmax(q kᵀ / √d) for n queries from `first` on. */
static void compute_shares(
    const attention_node *f, const head_place *head, size_t first, size_t n, cb_real *shares)
{
    cb_gemm_operand qkv = cb_value_operand(&f->qkv);
    multiply(f, CB_NT, n, f->tokens, f->width, at(qkv, head->q + first * qkv.stride), at(qkv, head->k), false,
        shares, f->tokens);
    cb_real scale = (cb_real)(1 / sqrt((double)f->width));
    for (size_t i = 0; i < n; i++) cb_rows()->softmax(shares + i * f->tokens, scale, f->tokens);
}

static size_t block_size(const attention_node *f, size_t first)
{
    return cb_least(f->tokens - first, QUERY_BLOCK);
}

/* One worker's scratch; only training has the last four. */
typedef struct attention_scratch {
    cb_real *shares, *rows;     /* [QUERY_BLOCK, T], [QUERY_BLOCK, d] */
    cb_real *dshares, *dk, *dv; /* [QUERY_BLOCK, T], [T, d], [T, d] */
} attention_scratch;

static attention_scratch scratch_of(const attention_node *f, size_t worker)
{
    size_t block = QUERY_BLOCK * f->tokens, rows = QUERY_BLOCK * f->width;
    cb_real *shares = f->scratch + worker * f->worker_scratch, *dshares = shares + block + rows;
    return (attention_scratch){
        shares, shares + block, dshares, dshares + block, dshares + block + f->tokens * f->width};
}

static void attend(void *context, size_t task, size_t worker)
{
    const attention_node *f = context;
    head_place head = place_of(f, task);
    attention_scratch scratch = scratch_of(f, worker);
    for (size_t first = 0; first < f->tokens; first += QUERY_BLOCK) {
        size_t n = block_size(f, first);
        compute_shares(f, &head, first, n, scratch.shares);
        multiply(f, CB_NN, n, f->width, f->tokens, cb_gemm_real(scratch.shares, f->tokens),
            at(cb_value_operand(&f->qkv), head.v), false, scratch.rows, f->width);
        deal_out(f, f->y.value, head.y + first * f->y.columns, f->y.columns, scratch.rows, n);
    }
}

/*
 * With shares P and dP = dy vᵀ:  dv = Pᵀ dy,  dS = P (dP − ⟨P, dP⟩) / √d,  dq = dS k,  dk = dSᵀ q. The gradients lie over q, k and v:
 * dq replaces a block of queries that nobody reads again, dk and dv wait in scratch until all blocks are done.
 */
static void attend_backward(void *context, size_t task, size_t worker)
{
    const attention_node *f = context;
    head_place head = place_of(f, task);
    attention_scratch scratch = scratch_of(f, worker);
    size_t tokens = f->tokens, width = f->width;
    cb_gemm_operand qkv = cb_value_operand(&f->qkv), gradient = cb_gradient_operand(&f->y);
    cb_gemm_operand shares = cb_gemm_real(scratch.shares, tokens),
                    dshares = cb_gemm_real(scratch.dshares, tokens);
    cb_real scale = (cb_real)(1 / sqrt((double)width));

    for (size_t first = 0; first < tokens; first += QUERY_BLOCK) {
        size_t n = block_size(f, first);
        cb_gemm_operand q = at(qkv, head.q + first * qkv.stride),
                        dy = at(gradient, head.y + first * gradient.stride);
        compute_shares(f, &head, first, n, scratch.shares);
        multiply(f, CB_NT, n, tokens, width, dy, at(qkv, head.v), false, scratch.dshares, tokens);
        multiply(f, CB_TN, tokens, width, n, shares, dy, first > 0, scratch.dv, width);
        for (size_t i = 0; i < n; i++)
            cb_rows()->softmax_backward(
                scratch.dshares + i * tokens, scratch.shares + i * tokens, scale, tokens);
        multiply(f, CB_TN, tokens, width, n, dshares, q, first > 0, scratch.dk, width);
        multiply(f, CB_NN, n, width, tokens, dshares, at(qkv, head.k), false, scratch.rows, width);
        deal_out(f, f->qkv.gradient, head.q + first * qkv.stride, qkv.stride, scratch.rows, n);
    }
    deal_out(f, f->qkv.gradient, head.k, qkv.stride, scratch.dk, tokens);
    deal_out(f, f->qkv.gradient, head.v, qkv.stride, scratch.dv, tokens);
}

/* Scratch for every worker, in numbers. */
static size_t scratch_size(const attention_node *f, bool training)
{
    size_t block = QUERY_BLOCK * f->tokens, rows = QUERY_BLOCK * f->width;
    return training ? 2 * block + rows + 2 * f->tokens * f->width : block + rows;
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
        .bf16 = tape->bf16,
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
    f.y = cb_tape_result(tape, qkv.rows, qkv.columns / 3, CB_STORE_IN_PRECISION);
    cb_tape_record(tape, &f.node, sizeof f, attention_backward);
    if (cb_tape_runs(tape)) cb_pool_run(tape->pool, images * heads, attend, &f);
    return f.y;
}

void cb_first_token_attention(cb_tape *tape, cb_tensor qkv, size_t images, size_t heads, cb_real *shares)
{
    attention_node f = attention_of(tape, qkv, images, heads);
    if (!cb_tape_runs(tape)) return;
    for (size_t task = 0; task < images * heads; task++) {
        head_place head = place_of(&f, task);
        compute_shares(&f, &head, 0, 1, shares + task * f.tokens);
    }
}
