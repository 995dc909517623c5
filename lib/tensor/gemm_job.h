/* A matrix product to be computed: its operands, and the place of its result. */
#ifndef CB_TENSOR_GEMM_JOB_H
#define CB_TENSOR_GEMM_JOB_H

#include "tensor/bf16.h"
#include "tensor/real.h"

#include <stdbool.h>
#include <stddef.h>

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

/* The operand that begins `skipped` stored numbers later. */
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
 * C. Infinities and NaN give the same results as in float32; numbers below 2^-126 may count as zero (bfloat16
 * instructions do not support them). Without `bf16` both operands are stored as cb_real.
 */
typedef struct cb_gemm_job {
    cb_gemm_form form;
    size_t m, n, k;
    cb_gemm_operand a, b;
    cb_gemm_result c; /* overlaps neither operand */
    bool bf16;
} cb_gemm_job;

#endif
