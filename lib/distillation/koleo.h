/*
 * The KoLeo regulariser (Sablayrolles et al. 2019; as in DINOv2, Oquab et al. 2024): each unit vector is
 * pushed away from its nearest neighbour, after the entropy estimator of Kozachenko and Leonenko.
 *
 *   L = -1/n Σ_i log max(δ_i, ε),   δ_i = ‖u_i - u_j(i)‖,   j(i) = arg max_{j ≠ i} ⟨u_i, u_j⟩,   u = x / ‖x‖
 *
 * Equal cosines: the lowest index. The choice of the neighbour is not differentiated; its vector is. A term
 * with δ_i < ε has no gradient, nor has a vector of length 0, so duplicates are safe. The loss of fewer
 * than two vectors is 0.
 */
#ifndef CB_DISTILLATION_KOLEO_H
#define CB_DISTILLATION_KOLEO_H

#include "base/memory.h"
#include "base/pool.h"
#include "tensor/real.h"

#define CB_KOLEO_EPSILON 1e-4 /* shorter distances are close to the rounding of unit vectors in float32 */

typedef struct cb_koleo_job {
    size_t rows, width;
    double weight; /* of the loss */
    cb_real *x;    /* [rows, width] in: the vectors; out: u */
    cb_real *dx;   /* [rows, width] out: the gradient of weight L */
} cb_koleo_job;

/* Scratch of jobs of up to a number of rows. */
typedef struct cb_koleo_workspace {
    cb_real *inverse; /* [rows] 1 / ‖x‖ */
    size_t *nearest;  /* [rows] j(i) */
} cb_koleo_workspace;
cb_koleo_workspace cb_koleo_workspace_take(cb_arena *arena, size_t rows);

/* Returns weight L and computes its gradient. Allocates nothing; the bits do not depend on the threads. */
double cb_koleo(cb_pool *pool, const cb_koleo_job *job, const cb_koleo_workspace *work);

#endif
