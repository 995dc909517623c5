/*
 * Matrix products, through BLIS. gemm.c is the only file that uses BLIS.
 *
 * The bits of a product depend only on its operands, not on the number of threads or the division of its
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

/* C [m, n] is cut into row_parts * column_parts tiles; some may be empty. */
typedef struct cb_gemm_grid {
    size_t m, n;
    size_t row_parts, column_parts;
    size_t row_grain, column_grain; /* tiles end at multiples of them */
} cb_gemm_grid;

typedef struct cb_gemm_tile {
    cb_range rows, columns;
} cb_gemm_tile;

/*
 * Returns the grid for a number of threads that minimises the time of the largest tile. Each thread packs its
 * rows of A, and its columns of B unless they are packed already.
 */
cb_gemm_grid cb_gemm_cut(size_t threads, size_t m, size_t n, size_t k, bool bf16, bool b_is_packed);
cb_gemm_tile cb_gemm_tile_of(const cb_gemm_grid *grid, size_t index);

/*
 * Chooses the kernels, once per process, and makes BLIS allocate the packing buffers of the pool's workers,
 * so that their later products allocate nothing. (BLIS may allocate more when two handles multiply at the
 * same time for the first time.) CRIBO_SYSTEM_ERROR if BLIS_ARCH_TYPE forces kernels: BLIS ends the process
 * if it lacks these kernels, so no function of BLIS is called.
 */
cribo_status cb_gemm_begin(const cb_runtime *runtime);

/*
 * For cribo_build_info: BLIS's version, its kernel set, and the name of the micro-kernel in use ("blis" or
 * "cribo-avx2", ...).
 */
const char *cb_gemm_blis_version(void);
const char *cb_gemm_blis_kernels(void);
const char *cb_gemm_kernel(void);

#endif
