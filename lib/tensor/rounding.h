/*
 * Sums of numbers that are first rounded to bfloat16 (to nearest, ties to even): round(a) + round(b) in
 * cb_real.
 */
#ifndef CB_TENSOR_ROUNDING_H
#define CB_TENSOR_ROUNDING_H

#include "tensor/bf16.h"
#include "tensor/real.h"

#include <stddef.h>

/* x ← round(x) */
void cb_round_to_bf16(cb_real *x, size_t n);

/* The memory of n numbers then begins with the n rounded ones. */
void cb_pack_bf16(cb_real *x, size_t n);

/* x ← round(x) + y */
void cb_add_rounded(cb_real *x, const cb_bf16 *y, size_t n);

#endif
