/*
 * Gram anchoring (DINOv3, Siméoni et al. 2025): the patches of a view keep the similarities that they have
 * in an anchor, an earlier teacher.
 *
 *   L = 1/N² Σ_ij (⟨u_i, u_j⟩ − ⟨a_i, a_j⟩)²   of one view, u and a the unit vectors of student and anchor
 *   du_i = 4/N² Σ_j (⟨u_i, u_j⟩ − ⟨a_i, a_j⟩) u_j,   dx_i = (du_i − u_i ⟨u_i, du_i⟩) / ‖x_i‖
 */
#ifndef CB_DISTILLATION_GRAM_H
#define CB_DISTILLATION_GRAM_H

#include "base/memory.h"
#include "base/pool.h"
#include "tensor/real.h"

/* Tokens [views, T, D], of which the N from `dense` on are patches. */
typedef struct cb_gram_job {
    size_t views, tokens, dense, patches, width; /* tokens: T, patches: N */
    double weight;                               /* of a view's L */
    const cb_real *x, *anchor;                   /* [views, T, D] of student and anchor */
    cb_real *dx;                                 /* [views, T, D] out: 0 for tokens that are no patches */
} cb_gram_job;

/* Scratch of jobs with up to a number of views. */
typedef struct cb_gram_workspace {
    double *loss;     /* [views] */
    cb_real *numbers; /* [workers, worker_numbers] */
    size_t worker_numbers;
} cb_gram_workspace;
cb_gram_workspace cb_gram_workspace_take(
    cb_arena *arena, size_t workers, size_t views, size_t patches, size_t width);

/*
 * Returns weight Σ_views L and computes its gradient. Allocates nothing; the bits do not depend on the
 * threads.
 */
double cb_gram(cb_pool *pool, const cb_gram_job *job, const cb_gram_workspace *work);

#endif
