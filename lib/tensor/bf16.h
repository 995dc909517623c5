/*
 * bfloat16: the upper half of a float32, so 8 bits of precision at the same range. Numbers are stored and
 * multiplied in bfloat16; sums are always in float32.
 */
#ifndef CB_TENSOR_BF16_H
#define CB_TENSOR_BF16_H

#include <stdint.h>
#include <string.h>

typedef uint16_t cb_bf16;

static inline float cb_bf16_to_float(cb_bf16 x)
{
    uint32_t bits = (uint32_t)x << 16;
    float y;
    memcpy(&y, &bits, sizeof y);
    return y;
}

/*
 * Rounds to nearest, ties to even. A number above the largest becomes infinity; a NaN stays a NaN, with its
 * sign and upper bits.
 */
static inline cb_bf16 cb_bf16_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    if ((bits & 0x7fffffffu) > 0x7f800000u)
        return (cb_bf16)(bits >> 16 | 0x40u); /* quiet, so never infinity */
    return (cb_bf16)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

/* The value of x rounded to bfloat16. */
static inline float cb_bf16_round(float x)
{
    return cb_bf16_to_float(cb_bf16_of(x));
}

#endif
