/*
 * Matrix products, through BLIS. gemm.c is the only file that knows BLIS.
 *
 * The bits of a product depend on its operands alone, not on the number of threads or the division of its
 * rows: the sum over k is never split, and BLIS's small-matrix paths, which sum in another order, are off.
 */
#ifndef CB_TENSOR_GEMM_H
#define CB_TENSOR_GEMM_H

#include "base/runtime.h"
#include "tensor/gemm_job.h"

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
 * Chooses the kernels, once per process, and makes BLIS allocate the packing buffers of the pool's workers,
 * so that their later products allocate nothing. (Two handles that multiply at the same time for the first
 * time may make it allocate more.) CRIBO_SYSTEM_ERROR where BLIS_ARCH_TYPE is set: BLIS ends the process when
 * it lacks the kernels named there, so no function of BLIS is called.
 */
cribo_status cb_gemm_begin(const cb_runtime *runtime);

/*
 * For cribo_build_info: BLIS's version, its kernel set, and which micro-kernel we run ("blis" or
 * "cribo-avx2", ...).
 */
const char *cb_gemm_blis_version(void);
const char *cb_gemm_blis_kernels(void);
const char *cb_gemm_kernel(void);

#endif
