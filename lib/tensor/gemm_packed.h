/*
 * Matrix products whose second operand is packed once for many first ones, by one thread, without BLIS: for matrices so small
 * that what BLIS does before and after a product takes longer than it should, and that stay in the caches of one core.
 *
 * An element of C is one chain of multiply-adds in the order of k: to the bit that of cb_gemm while k is no larger than its blocks.
 */
#ifndef CB_TENSOR_GEMM_PACKED_H
#define CB_TENSOR_GEMM_PACKED_H

#include "tensor/gemm.h"

/* B [k, n] of products in one form. Where no kernel of ours serves it is not packed, and products are cb_gemm's. */
typedef struct cb_gemm_packed {
    cb_gemm_form form;
    bool bf16; /* multiplies as cb_gemm_bf16 */
    size_t n, k;
    cb_gemm_operand b; /* must stay as it is */
    const struct cb_gemm_kernels *kernels;
    float *panels;  /* of B */
    float *a_panel; /* rows of A that cannot be multiplied where they are */
} cb_gemm_packed;

/* How much memory cb_gemm_pack wants, in numbers. */
size_t cb_gemm_packed_size(size_t n, size_t k);

/* `memory` is the result's, and aligned to CB_ALIGNMENT; one thread at a time may multiply by it. */
cb_gemm_packed cb_gemm_pack(
    bool bf16, cb_gemm_form form, size_t n, size_t k, cb_gemm_operand b, cb_real *memory);

/* C [m, n] = A B, or C += A B. The rules are those of cb_gemm and cb_gemm_bf16. */
void cb_gemm_by_packed(
    const cb_gemm_packed *b, size_t m, cb_gemm_operand a, bool accumulate, cb_real *c, size_t c_stride);

#endif
