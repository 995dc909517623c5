/*
 * Matrix products, through BLIS. gemm.c is the only file that knows BLIS.
 *
 * The bits of a product depend on its operands alone, not on the number of threads nor on the cut of its
 * rows: the sum over k is never split, and BLIS's small-matrix paths, which sum in another order, are off.
 */
#ifndef CB_TENSOR_GEMM_H
#define CB_TENSOR_GEMM_H

#include "base/runtime.h"
#include "tensor/bf16.h"
#include "tensor/real.h"

/* How the operands are stored; all row-major, C [m, n] always plain. */
typedef enum cb_gemm_form {
    CB_NN, /* C = A B,   A [m, k], B [k, n]: dX = dY W */
    CB_NT, /* C = A Bᵀ,  A [m, k], B [n, k]: Y = X Wᵀ */
    CB_TN  /* C = Aᵀ B,  A [k, m], B [k, n]: dW = dYᵀ X */
} cb_gemm_form;

/* An operand, and the elements from one of its stored rows to the next. */
typedef struct cb_gemm_operand {
    const void *numbers; /* cb_real or cb_bf16 */
    size_t stride;
    bool bf16;
} cb_gemm_operand;

static inline cb_gemm_operand cb_gemm_real(const cb_real *numbers, size_t stride)
{
    return (cb_gemm_operand){numbers, stride, false};
}

static inline cb_gemm_operand cb_gemm_stored_bf16(const cb_bf16 *numbers, size_t stride)
{
    return (cb_gemm_operand){numbers, stride, true};
}

/* The operand that begins so many stored numbers later. */
static inline cb_gemm_operand cb_gemm_at(cb_gemm_operand x, size_t skipped)
{
    x.numbers = (const char *)x.numbers + skipped * (x.bf16 ? sizeof(cb_bf16) : sizeof(cb_real));
    return x;
}

/* C, and the elements from one of its rows to the next. */
typedef struct cb_gemm_result {
    cb_real *numbers;
    size_t stride;
    bool accumulate; /* C += product; else C = product */
} cb_gemm_result;

/* The part of C from this element on. */
static inline cb_gemm_result cb_gemm_result_at(cb_gemm_result c, size_t row, size_t column)
{
    c.numbers += row * c.stride + column;
    return c;
}

/*
 * A product. With `bf16` both operands are multiplied in bfloat16: those stored as cb_real are rounded to
 * nearest, ties to even, while they are packed; products are exact, the sum over k is in float32, and so is
 * C. Infinities and NaN come through as in float32; numbers below 2^-126 may count as zero (instructions for
 * bfloat16 do not know them). Without `bf16` both operands are stored as cb_real.
 */
typedef struct cb_gemm_job {
    cb_gemm_form form;
    size_t m, n, k;
    cb_gemm_operand a, b;
    cb_gemm_result c; /* overlaps neither operand */
    bool bf16;
} cb_gemm_job;

/*
 * Computes a product. The threads of `pool` share the work; NULL: this thread alone (inside a task). k = 0
 * gives zero (or leaves C).
 */
void cb_gemm(cb_pool *pool, const cb_gemm_job *job);

/* Whether products in bfloat16 use instructions for it, at up to twice the speed of float32. */
bool cb_gemm_bf16_is_faster(void);

/* C [m, n] cut into tiles, row_parts * column_parts of them, some of which may be empty. */
typedef struct cb_gemm_grid {
    size_t m, n;
    size_t row_parts, column_parts;
} cb_gemm_grid;

typedef struct cb_gemm_tile {
    cb_range rows, columns;
} cb_gemm_tile;

/*
 * The grid for so many threads whose largest tile is done first, where each packs its rows of A for itself,
 * and its columns of B unless they are packed already.
 */
cb_gemm_grid cb_gemm_cut(size_t threads, size_t m, size_t n, size_t k, bool b_is_packed);
cb_gemm_tile cb_gemm_tile_of(const cb_gemm_grid *grid, size_t index);

/*
 * Chooses the kernels, once per process, and makes BLIS take the packing buffers that the pool's workers will
 * want: their later products allocate nothing. (Two handles that multiply at the same time for the first time
 * may make it take more.)
 */
void cb_gemm_begin(const cb_runtime *runtime);

/*
 * For cribo_build_info: BLIS's version, its kernel set, and which micro-kernel we run ("blis" or
 * "cribo-avx2", ...).
 */
const char *cb_gemm_blis_version(void);
const char *cb_gemm_blis_kernels(void);
const char *cb_gemm_kernel(void);

#endif
