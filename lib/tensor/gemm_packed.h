/*
 * Matrix products whose second operand is packed once, and then multiplied by one thread at a time for any
 * rows and columns of the result, without BLIS. That serves where several threads need the same B (weights),
 * where what BLIS does before and after a product takes longer than it should (one head of attention), and
 * where a tile of C is to be finished while it lies in caches.
 *
 * An element of C is the same sequence of roundings whatever else is multiplied; to the bit that of cb_gemm
 * while k is no larger than a block of its kernels.
 */
#ifndef CB_TENSOR_GEMM_PACKED_H
#define CB_TENSOR_GEMM_PACKED_H

#include "tensor/gemm.h"

/*
 * B [k, n] of products in one form. Where no kernel of ours serves it is not packed, and products are
 * cb_gemm's.
 */
typedef struct cb_gemm_packed {
    cb_gemm_form form;
    bool bf16; /* multiplies as cb_gemm_bf16 */
    size_t n, k;
    cb_gemm_operand b; /* must stay as it is */
    const struct cb_gemm_kernels *kernels;
    float *panels; /* block after block of k; NULL: not packed */
} cb_gemm_packed;

/* How many numbers of memory B takes, and how many each thread that multiplies m rows by it. */
size_t cb_gemm_packed_size(size_t n, size_t k);
size_t cb_gemm_rows_size(size_t m, size_t k);

/*
 * `pool` shares the packing out; NULL: this thread alone. `memory` is the result's, and aligned to
 * CB_ALIGNMENT.
 */
cb_gemm_packed cb_gemm_pack(
    cb_pool *pool, bool bf16, cb_gemm_form form, size_t n, size_t k, cb_gemm_operand b, cb_real *memory);

/*
 * Some columns of C [m, n] = A B, or C += A B, by this thread: c is where the first of them begins. The rules
 * are those of cb_gemm and cb_gemm_bf16. `memory`: cb_gemm_rows_size numbers, for the call.
 */
void cb_gemm_by_packed(const cb_gemm_packed *b, cb_range columns, size_t m, cb_gemm_operand a,
    bool accumulate, cb_real *c, size_t c_stride, cb_real *memory);

/* The rows of A from one on. */
static inline cb_gemm_operand cb_gemm_rows_from(const cb_gemm_packed *b, cb_gemm_operand a, size_t row)
{
    return cb_gemm_at(a, row * (b->form == CB_TN ? 1 : a.stride));
}

/* All columns. */
static inline cb_range cb_gemm_columns(const cb_gemm_packed *b)
{
    return (cb_range){0, b->n};
}

/* No tile has more rows where tiles are cut for a packed B, or for products in bfloat16. */
#define CB_GEMM_TILE_ROWS 240

/* The tiles in which the threads of a pool multiply m rows by B. */
cb_gemm_grid cb_gemm_tiles(const cb_gemm_packed *b, const cb_pool *pool, size_t m);

/*
 * All of C in these tiles, by the threads of a pool (NULL: this one). `memory`: cb_gemm_rows_size numbers for
 * each of them.
 */
void cb_gemm_in_tiles(cb_pool *pool, const cb_gemm_packed *b, size_t m, cb_gemm_operand a, bool accumulate,
    cb_real *c, size_t c_stride, cb_real *memory);

#endif
