/*
 * Multinomial logistic regression on a patch memory: the linear probe.
 *
 *   f(W, b) = 1/M sum_i -sum_c h_ic log softmax(W x_i + b)_c + penalty/2 |W|^2        x_i = sqrt(D) u_i
 *
 * u_i: unit feature, h_i: histogram as shares. Minimised by L-BFGS (Liu & Nocedal, "On the limited memory
 * BFGS method for large scale optimization", 1989) with backtracking; f is convex. Logits are products of
 * blocks in float, all sums over entries are in double.
 */
#ifndef CB_EVALUATION_LINEAR_PROBE_H
#define CB_EVALUATION_LINEAR_PROBE_H

#include "base/runtime.h"
#include "evaluation/patch_memory.h"

/* A layer: W [C, D], already times sqrt(D), so that it takes unit features; b [C]. */
typedef struct cb_linear_probe {
    size_t classes, width;
    cb_real *weights; /* NULL: none was fitted */
    cb_real *bias;
    double loss, gradient; /* f at the layer, and the largest magnitude in f's gradient there */
    int64_t iterations;    /* of L-BFGS that led there */
} cb_linear_probe;

#define CB_LINEAR_PROBE_FLAT 1e-6 /* a gradient whose largest magnitude is at most this counts as zero */

typedef struct cb_linear_probe_options {
    double penalty;
    int64_t iterations;
} cb_linear_probe_options;

/*
 * Fits a new layer that replaces the old one. On failure the old layer is kept. The memory must not be empty.
 */
cribo_status cb_linear_probe_fit(const cb_runtime *runtime, cb_linear_probe *linear,
    const cb_patch_memory *memory, const cb_linear_probe_options *options);

/* shares [rows, C] = softmax(W u + b) of features [rows, D] of any length; `unit` [rows, D] is scratch. */
void cb_linear_probe_shares(cb_pool *pool, const cb_linear_probe *linear, size_t rows,
    const cb_real *features, cb_real *unit, cb_real *shares);

void cb_linear_probe_destroy(const cb_runtime *runtime, cb_linear_probe *linear);

#endif
