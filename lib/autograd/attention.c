/*
 * Multi-head self-attention, y = softmax(q kᵀ / √d) v with d = D/H, one task per (image, head).
 *
 * A task processes its queries in blocks, so it stores block × T weights, never T × T. The softmax is exact:
 * a block uses all keys. The backward pass recomputes the weights, which costs less than storing them.
 */
#include "autograd/operations.h"
#include "autograd/precision.h"
#include "tensor/gemm_packed.h"

#include <math.h>
#include <string.h>

#define QUERY_BLOCK 208

typedef struct attention_node {
    cb_node node;
    cb_tensor qkv, y;
    bool bf16;                           /* of the tape, and so of qkv and y */
    size_t images, heads, tokens, width; /* width: d, of a head */
    unsigned char *scratch;              /* of all workers: attention_scratch */
    size_t worker_bytes;
} attention_node;

/*
 * Where one head's [T, d] matrices q, k, v begin in qkv (and their gradients there), and y in y: numbers to
 * skip.
 */
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

/*
 * Copies rows [n, d] of one head to their place among the numbers `to` of all heads, rounded if those are
 * bfloat16.
 */
static void deal_out(
    const attention_node *f, void *to, size_t skipped, size_t stride, const cb_real *from, size_t n)
{
    for (size_t i = 0; i < n; i++, from += f->width, skipped += stride)
        if (f->bf16)
            cb_rows()->to_bf16((cb_bf16 *)to + skipped, from, f->width);
        else
            memcpy((cb_real *)to + skipped, from, f->width * sizeof *from);
}

static size_t block_size(const attention_node *f, size_t first)
{
    return cb_min(f->tokens - first, QUERY_BLOCK);
}

/* One worker's scratch; only training has the last part. */
typedef struct attention_scratch {
    cb_real *shares, *rows;  /* [QUERY_BLOCK, T], [QUERY_BLOCK, d] */
    cb_real *of_keys;        /* packed [d, T]: the keys */
    cb_real *across_keys;    /* packed [T, d]: the values, or the keys */
    cb_real *packed_rows;    /* of the operand multiplied by them */
    cb_real *dshares;        /* [QUERY_BLOCK, T] */
    cb_real *dk, *dv;        /* [T, d] */
    cb_real *of_values;      /* packed [d, T] */
    cb_real *across_queries; /* packed [QUERY_BLOCK, d]: dy, then q */
} attention_scratch;

static attention_scratch lay_out(const attention_node *f, bool training, cb_arena *arena)
{
    const size_t real = sizeof(cb_real), most = f->tokens > QUERY_BLOCK ? f->tokens : QUERY_BLOCK;
    attention_scratch scratch = {
        .shares = cb_arena_take(arena, QUERY_BLOCK, f->tokens * real),
        .rows = cb_arena_take(arena, QUERY_BLOCK, f->width * real),
        .of_keys = cb_arena_take(arena, cb_gemm_packed_size(f->tokens, f->width), real),
        .across_keys = cb_arena_take(arena, cb_gemm_packed_size(f->width, f->tokens), real),
        .packed_rows = cb_arena_take(arena, cb_gemm_rows_size(most, most > f->width ? most : f->width), real),
    };
    if (!training) return scratch;
    scratch.dshares = cb_arena_take(arena, QUERY_BLOCK, f->tokens * real);
    scratch.dk = cb_arena_take(arena, f->tokens, f->width * real);
    scratch.dv = cb_arena_take(arena, f->tokens, f->width * real);
    scratch.of_values = cb_arena_take(arena, cb_gemm_packed_size(f->tokens, f->width), real);
    scratch.across_queries = cb_arena_take(arena, cb_gemm_packed_size(f->width, QUERY_BLOCK), real);
    return scratch;
}

static attention_scratch scratch_of(const attention_node *f, bool training, size_t worker)
{
    cb_arena arena = {.base = f->scratch + worker * f->worker_bytes, .capacity = f->worker_bytes};
    return lay_out(f, training, &arena);
}

/* Keys or values of one head, as the operand of products with queries, x [n, d] to [n, T]. */
static cb_gemm_packed pack_of(const attention_node *f, size_t x, cb_real *memory)
{
    cb_gemm_operand qkv = cb_value_operand(&f->qkv);
    return cb_gemm_pack(NULL,
        (cb_gemm_packed){
            .form = CB_NT, .n = f->tokens, .k = f->width, .b = cb_gemm_at(qkv, x), .bf16 = f->bf16},
        memory);
}

/* The same as what shares are multiplied with, [n, T] to [n, d]. */
static cb_gemm_packed pack_across(const attention_node *f, size_t x, cb_real *memory)
{
    cb_gemm_operand qkv = cb_value_operand(&f->qkv);
    return cb_gemm_pack(NULL,
        (cb_gemm_packed){
            .form = CB_NN, .n = f->width, .k = f->tokens, .b = cb_gemm_at(qkv, x), .bf16 = f->bf16},
        memory);
}

/* C [m, n] = A B, or C += A B. */
static void multiply(
    const attention_scratch *scratch, const cb_gemm_packed *b, size_t m, cb_gemm_operand a, cb_gemm_result c)
{
    const cb_gemm_rows rows = {m, a, c};
    cb_gemm_by_packed(b, cb_gemm_columns(b), &rows, scratch->packed_rows);
}

/* shares [n, T] = softmax(q kᵀ / √d) for n queries from `first` on. */
static void compute_shares(const attention_node *f, const attention_scratch *scratch, const head_place *head,
    const cb_gemm_packed *keys, size_t first, size_t n, cb_real *shares)
{
    cb_gemm_operand qkv = cb_value_operand(&f->qkv);
    multiply(scratch, keys, n, cb_gemm_at(qkv, head->q + first * qkv.stride),
        (cb_gemm_result){shares, f->tokens, false});
    cb_real scale = (cb_real)(1 / sqrt((double)f->width));
    for (size_t i = 0; i < n; i++) cb_rows()->softmax(shares + i * f->tokens, scale, f->tokens);
}

static void attend(void *context, size_t task, size_t worker)
{
    const attention_node *f = context;
    head_place head = place_of(f, task);
    attention_scratch scratch = scratch_of(f, false, worker);
    cb_gemm_packed keys = pack_of(f, head.k, scratch.of_keys),
                   values = pack_across(f, head.v, scratch.across_keys);
    for (size_t first = 0; first < f->tokens; first += QUERY_BLOCK) {
        size_t n = block_size(f, first);
        compute_shares(f, &scratch, &head, &keys, first, n, scratch.shares);
        multiply(&scratch, &values, n, cb_gemm_real(scratch.shares, f->tokens),
            (cb_gemm_result){scratch.rows, f->width, false});
        deal_out(f, f->y.value, head.y + first * f->y.columns, f->y.columns, scratch.rows, n);
    }
}

/* dx [T, d] += dsᵀ y for the queries of a block, all of them for the first: y [n, d]. */
static void add_from_block(const attention_node *f, const attention_scratch *scratch, const cb_real *ds,
    cb_gemm_operand y, size_t first, size_t n, cb_real *dx)
{
    cb_gemm_packed packed =
        cb_gemm_pack(NULL, (cb_gemm_packed){.form = CB_TN, .n = f->width, .k = n, .b = y, .bf16 = f->bf16},
            scratch->across_queries);
    multiply(
        scratch, &packed, f->tokens, cb_gemm_real(ds, f->tokens), (cb_gemm_result){dx, f->width, first > 0});
}

/*
 * With shares P and dP = dy vᵀ:  dv = Pᵀ dy,  dS = P (dP − ⟨P, dP⟩) / √d,  dq = dS k,  dk = dSᵀ q. The
 *                                gradients lie over q, k and v:
 * dq replaces a block of queries that is not read again; dk and dv stay in scratch until all blocks are done.
 */
static void attend_backward(void *context, size_t task, size_t worker)
{
    const attention_node *f = context;
    head_place head = place_of(f, task);
    attention_scratch scratch = scratch_of(f, true, worker);
    size_t tokens = f->tokens, width = f->width;
    cb_gemm_operand qkv = cb_value_operand(&f->qkv), gradient = cb_gradient_operand(&f->y);
    cb_gemm_packed keys = pack_of(f, head.k, scratch.of_keys),
                   across_keys = pack_across(f, head.k, scratch.across_keys),
                   values = pack_of(f, head.v, scratch.of_values);
    cb_real scale = (cb_real)(1 / sqrt((double)width));

    for (size_t first = 0; first < tokens; first += QUERY_BLOCK) {
        size_t n = block_size(f, first);
        cb_gemm_operand q = cb_gemm_at(qkv, head.q + first * qkv.stride),
                        dy = cb_gemm_at(gradient, head.y + first * gradient.stride);
        compute_shares(f, &scratch, &head, &keys, first, n, scratch.shares);
        multiply(&scratch, &values, n, dy, (cb_gemm_result){scratch.dshares, tokens, false});
        add_from_block(f, &scratch, scratch.shares, dy, first, n, scratch.dv);
        for (size_t i = 0; i < n; i++)
            cb_rows()->softmax_backward(
                scratch.dshares + i * tokens, scratch.shares + i * tokens, scale, tokens);
        add_from_block(f, &scratch, scratch.dshares, q, first, n, scratch.dk);
        multiply(&scratch, &across_keys, n, cb_gemm_real(scratch.dshares, tokens),
            (cb_gemm_result){scratch.rows, width, false});
        deal_out(f, f->qkv.gradient, head.q + first * qkv.stride, qkv.stride, scratch.rows, n);
    }
    deal_out(f, f->qkv.gradient, head.k, qkv.stride, scratch.dk, tokens);
    deal_out(f, f->qkv.gradient, head.v, qkv.stride, scratch.dv, tokens);
}

static void attention_backward(cb_tape *tape, cb_node *node)
{
    attention_node *f = (attention_node *)node;
    cb_pool_run(tape->pool, f->images * f->heads, attend_backward, f);
}

static attention_node attention_of(cb_tape *tape, cb_tensor qkv, size_t images, size_t heads)
{
    cb_arena measured = cb_arena_measure();
    attention_node f = {.qkv = qkv,
        .bf16 = tape->bf16,
        .images = images,
        .heads = heads,
        .tokens = qkv.rows / images,
        .width = qkv.columns / 3 / heads};
    lay_out(&f, tape->training, &measured);
    f.worker_bytes = measured.peak;
    f.scratch = cb_tape_scratch(tape, cb_pool_threads(tape->pool), f.worker_bytes);
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
    attention_scratch scratch = scratch_of(&f, false, 0);
    for (size_t task = 0; task < images * heads; task++) {
        head_place head = place_of(&f, task);
        cb_gemm_packed keys = pack_of(&f, head.k, scratch.of_keys);
        compute_shares(&f, &scratch, &head, &keys, 0, 1, shares + task * f.tokens);
    }
}
