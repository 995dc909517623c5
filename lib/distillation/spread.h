/*
 * The KoLeo regulariser (Sablayrolles et al. 2019; DINOv2): unit vectors of a batch are pushed apart from
 * their nearest neighbours, after the differential entropy estimator of Kozachenko and Leonenko.
 *
 *   L = -1/n Σ_i log max(δ_i, ε),   δ_i = |u_i - u_j(i)|,   j(i) = argmax_{j ≠ i} <u_i, u_j>,   u = x / |x|
 *
 * Equal cosines: the lower index. The neighbour is not differentiated, its vector is. Where δ_i < ε
 * (duplicates) the term has no gradient, so that nothing becomes infinite. A batch of one vector has the loss
 * 0.
 */
#ifndef CB_DISTILLATION_SPREAD_H
#define CB_DISTILLATION_SPREAD_H

#include "base/memory.h"
#include "base/pool.h"
#include "tensor/real.h"

#define CB_SPREAD_EPSILON 1e-4 /* δ of unit vectors that float32 can just tell apart */

typedef struct cb_spread_job {
    size_t rows, width;
    const cb_real *x; /* [rows, width] */
    double weight;    /* of the loss */
    cb_real *dx;      /* [rows, width] +=; NULL: not computed */
} cb_spread_job;

/* Scratch for jobs of at most so many rows. */
typedef struct cb_spread_workspace {
    cb_real *unit, *gradient; /* [rows, width] u, dL/du */
    cb_real *inverse;         /* [rows] 1 / |x| */
    size_t *nearest;          /* [rows] j(i) */
} cb_spread_workspace;
cb_spread_workspace cb_spread_workspace_take(cb_arena *arena, size_t rows, size_t width);

/* Returns weight L, and adds its gradient. The bits do not depend on the threads. */
double cb_spread(cb_pool *pool, const cb_spread_job *job, const cb_spread_workspace *work);

#endif
