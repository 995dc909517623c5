/*
 * Pooling: rows that are weighted sums of token rows, y[r] = Σ_e weight[e] x[token[e]] over begin[r] <= e <
 * begin[r + 1]. An object (c_v^k = Σ_n Q*_v(n, k) z_v^n, section 1) is such a row, and so is a [CLS] token.
 */
#ifndef CB_TENSOR_POOLING_H
#define CB_TENSOR_POOLING_H

#include "base/pool.h"
#include "tensor/real.h"

typedef struct cb_pooling {
    size_t rows;
    uint32_t *begin; /* [rows + 1] */
    uint32_t *token; /* [begin[rows]] rows of x */
    cb_real *weight; /* [begin[rows]] */
} cb_pooling;

/* y [rows, width] from x [.., width]. */
void cb_pool_tokens(cb_pool *pool, const cb_pooling *pooling, const cb_real *x, size_t width, cb_real *y);

/* dx[token] += weight dy[r]; rows that share tokens are added in order. */
void cb_pool_tokens_backward(
    cb_pool *pool, const cb_pooling *pooling, const cb_real *dy, size_t width, cb_real *dx);

#endif
