/*
 * Matrix products whose second operand is packed once; each thread then multiplies any rows and columns by
 * it, without BLIS. They are used where several threads need the same B (weights), where the fixed cost of a
 * BLIS call is too high (one head of attention), and where a tile of C is post-processed while it is in
 * caches.
 *
 * The sequence of roundings of an element of C does not depend on the other elements, and gives the bits of
 * cb_gemm while k is no larger than a block of its kernels.
 */
#ifndef CB_TENSOR_GEMM_PACKED_H
#define CB_TENSOR_GEMM_PACKED_H

#include "tensor/buffers.h"
#include "tensor/gemm.h"

/* B [k, n] of products in one form. The caller sets the first fields. */
typedef struct cb_gemm_packed {
    cb_gemm_form form;
    size_t n, k;
    cb_gemm_operand b; /* must not change while it is in use */
    bool bf16;         /* products are in bfloat16, as those of cb_gemm_job */

    const struct cb_gemm_kernels *kernels;
    float *panels; /* block after block of k; NULL: no kernel of ours: products by cb_gemm */
} cb_gemm_packed;

/* Rows to be multiplied by B: A [m, k], and C [m, n]. */
typedef struct cb_gemm_rows {
    size_t m;
    cb_gemm_operand a;
    cb_gemm_result c;
} cb_gemm_rows;

/* The memory of B, and that of each thread that multiplies m rows by it, in numbers. */
size_t cb_gemm_packed_size(size_t n, size_t k);
size_t cb_gemm_rows_size(size_t m, size_t k);

/*
 * Packs B. The threads of `pool` share the work; NULL: this thread alone. `memory`: cb_gemm_packed_size
 * numbers, aligned to CB_ALIGNMENT, for as long as the result is in use.
 */
cb_gemm_packed cb_gemm_pack(cb_pool *pool, cb_gemm_packed b, cb_real *memory);

/*
 * Some columns of C = A B, by this thread; rows->c begins with the first of them. The rules are those of
 * cb_gemm. `memory`: cb_gemm_rows_size numbers, for the call.
 */
void cb_gemm_by_packed(const cb_gemm_packed *b, cb_range columns, const cb_gemm_rows *rows, cb_real *memory);

/* The numbers that cb_gemm_pack writes for this B; 0 where there is no kernel of ours. */
size_t cb_gemm_panels_size(cb_gemm_packed b);

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

/* The most rows of a tile that is cut for a packed B, or for products in bfloat16. */
#define CB_GEMM_TILE_ROWS 240

/* The tiles in which the threads of a pool multiply m rows by B. */
cb_gemm_grid cb_gemm_tiles(const cb_gemm_packed *b, const cb_pool *pool, size_t m);

/*
 * Work on a tile of C by the thread that computed it, while the tile is in the thread's caches: `tile` gets
 * the tile's numbers with their stride. With `buffers` C is not stored: a tile is computed in the buffer of
 * its thread, which holds the largest.
 */
typedef struct cb_gemm_finish {
    void (*tile)(const void *context, const cb_gemm_tile *tile, cb_real *c, size_t stride);
    const void *context;
    const cb_row_buffers *buffers; /* NULL: tiles are computed in C */
} cb_gemm_finish;

/*
 * All of C in these tiles, by the threads of a pool (NULL: this one). `memory`: cb_gemm_rows_size numbers for
 * each of them. `finish` NULL: nothing is done with a tile.
 */
void cb_gemm_in_tiles(cb_pool *pool, const cb_gemm_packed *b, const cb_gemm_rows *rows,
    const cb_row_buffers *memory, const cb_gemm_finish *finish);

#endif
