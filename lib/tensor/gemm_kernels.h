/*
 * The inner parts of a matrix product, which gemm.c passes to BLIS: packing, and the product of two packed
 * panels. One source, gemm_kernels.c, is compiled for each CPU level that has a vector FMA.
 *
 * A panel of A is [k][mr], one of B is [k][nr]: adjacent rows or columns of C are adjacent in memory. Its
 * elements have 4 bytes: floats, or, if the CPU multiplies bfloat16, two adjacent numbers along k. If the CPU
 * has tiles (AMX), a panel of A is [k / 16][mr][16]: each tile holds 16 rows of 16 elements.
 */
#ifndef CB_TENSOR_GEMM_KERNELS_H
#define CB_TENSOR_GEMM_KERNELS_H

#include "tensor/gemm_job.h"

#include <stdbool.h>
#include <stddef.h>

/* One operand as lines along k: rows of A, columns of B. One of line and step is 1. */
typedef struct cb_gemm_lines {
    const void *numbers;
    size_t line, step; /* numbers from one line, or one number of a line, to the next */
    size_t length;     /* of a line: k */
    bool bf16;         /* stored as bfloat16, not as real numbers */
} cb_gemm_lines;

/* An operand's lines: rows in memory, or columns. */
static inline cb_gemm_lines cb_gemm_lines_of(cb_gemm_operand x, bool rows, size_t k)
{
    return (cb_gemm_lines){x.numbers, rows ? x.stride : 1, rows ? 1 : x.stride, k, x.bf16};
}

/* The lines from one on, from the number `step` of each on. */
static inline cb_gemm_lines cb_gemm_lines_from(cb_gemm_lines x, size_t line, size_t step)
{
    size_t offset = line * x.line + step * x.step;
    x.numbers = x.bf16 ? (const void *)((const cb_bf16 *)x.numbers + offset)
                       : (const void *)((const cb_real *)x.numbers + offset);
    x.length -= step;
    return x;
}

/* The operands of a product. */
typedef enum cb_gemm_side {
    CB_GEMM_A, /* panels of mr lines */
    CB_GEMM_B  /* panels of nr lines */
} cb_gemm_side;

typedef struct cb_gemm_kernels {
    const char *name;
    size_t mr, nr; /* the tile of C that stays in registers */
    size_t mc, kc,
        nc; /* the blocks of A (mc x kc elements) and B (kc x nc) that are packed at a time: A's stays in the
                          second-level cache; mc, nc are multiples of mr, nr */
    size_t in_element; /* numbers along k in an element: 1 or 2 */
    size_t k_grain;    /* elements: a panel has a multiple of this number, the last ones zeros */

    /* Before and after the products of a thread; NULL: nothing to do. */
    void (*begin)(void);
    void (*end)(void);

    /*
     * The m x n corner of C = A B, or C += A B when `accumulate`, for panels of k elements; m <= mr and n <=
     * nr. C is not read unless it accumulates.
     */
    void (*multiply)(size_t m, size_t n, size_t k, const float *a, const float *b, bool accumulate, float *c,
        ptrdiff_t c_row, ptrdiff_t c_column);

    /*
     * The same for A that is not packed: element p of its row i is a[i * a_row + p * a_step]. One of them is
     * 1 (with tiles a_step), m is mr, and k is a multiple of k_grain without zeros at its end.
     */
    void (*multiply_unpacked)(size_t n, size_t k, const float *a, size_t a_row, size_t a_step, const float *b,
        bool accumulate, float *c, ptrdiff_t c_row, ptrdiff_t c_column);

    /*
     * Packs `count` whole lines of an operand into panels that begin `panel_stride` elements apart. Missing
     * lines of the last panel and missing numbers of the last elements become zeros.
     */
    void (*pack)(
        float *panels, size_t panel_stride, cb_gemm_side side, const cb_gemm_lines *lines, size_t count);
} cb_gemm_kernels;

/* The elements of a panel for k numbers. */
static inline size_t cb_gemm_elements(const cb_gemm_kernels *kernels, size_t k)
{
    size_t numbers = kernels->in_element * kernels->k_grain;
    return (k + numbers - 1) / numbers * kernels->k_grain;
}

/* A level's kernels for products in float, and in bfloat16. */
typedef struct cb_gemm_level {
    cb_gemm_kernels real, bf16;
} cb_gemm_level;

/* The kernels that gemm.c has chosen for this process; NULL: those of BLIS, or none. */
const cb_gemm_kernels *cb_gemm_own_kernels(bool bf16);

/* No level has larger tiles, or larger blocks of A. */
#define CB_GEMM_MOST_MR 32
#define CB_GEMM_MOST_NR 32
#define CB_GEMM_MOST_MC 240
#define CB_GEMM_MOST_KC 512
#define CB_GEMM_MOST_K_GRAIN 16

#if defined(__x86_64__)
extern const cb_gemm_level cb_gemm_level_avx2;
extern const cb_gemm_level cb_gemm_level_avx512;
extern const cb_gemm_level cb_gemm_level_avx512bf16;
extern const cb_gemm_level cb_gemm_level_amx;
#endif

#endif
