/*
 * Prototypes: the weight-normed last layer of a head, logit[p] = <u_p, x> with u_p = g_p v_p / |v_p| (no ε: a
 * direction of length zero gives logits that are not finite). The effective weights u are never stored:
 * products use the raw directions v, and columns are scaled by g_p / |v_p| afterwards.
 *
 * Shapes: P prototypes of width E; logits of a range [first, first + count) of them are [rows, count].
 */
#ifndef CB_DISTILLATION_PROTOTYPES_H
#define CB_DISTILLATION_PROTOTYPES_H

#include "base/pool.h"
#include "tensor/real.h"

typedef struct cb_prototypes {
    size_t count, width;      /* P, E */
    const cb_real *direction; /* v [P, E]: weight_v */
    const cb_real *gain;      /* g [P]: weight_g */
    cb_real *scale;           /* [P] g / |v|, written by cb_prototypes_refresh */
    bool bf16;                /* products round their operands to bfloat16; logits and gradients are real */
} cb_prototypes;

/* Computes the scales; call it after each change of the weights. */
void cb_prototypes_refresh(cb_pool *pool, cb_prototypes *prototypes);

/* logits [rows, count] of prototypes first ... first + count - 1, from x [rows, E]. */
void cb_prototypes_project(cb_pool *pool, const cb_prototypes *prototypes, size_t first, size_t count,
    const cb_real *x, size_t rows, cb_real *logits);

/*
 * Backward from dlogits [rows, count] of the same range:
 *   du[p] += Σ_r dlogits[r, p] x[r]   with respect to the effective weight u_p; du [P, E] whole, or NULL (not
 *                                     wanted)
 *   dx[r] += Σ_p dlogits[r, p] u_p    dx [rows, E]
 * dlogits is overwritten: it ends scaled by g_p / |v_p|.
 */
void cb_prototypes_backproject(cb_pool *pool, const cb_prototypes *prototypes, size_t first, size_t count,
    cb_real *dlogits, const cb_real *x, size_t rows, cb_real *dx, cb_real *du);

/*
 * From gradients of the effective weights to those of v and g, once after all micro-batches:
 *   dg_p = <du_p, v_p> / |v_p|,   dv_p = (g_p / |v_p|) (du_p - v̂_p <v̂_p, du_p>),   v̂_p = v_p / |v_p|
 * du [P, E] becomes dv in place; dgain [P] is overwritten, NULL when the gain is fixed.
 */
void cb_prototypes_weight_gradient(
    cb_pool *pool, const cb_prototypes *prototypes, cb_real *du, cb_real *dgain);

/*
 * centre <- momentum centre + (1 - momentum) (mean of the teacher's logits). Projection is linear, so the
 * mean logits are those of mean_x [E], the mean of the teacher's rows. centre [P].
 */
void cb_prototypes_move_centre(
    cb_pool *pool, const cb_prototypes *teacher, const cb_real *mean_x, cb_real momentum, cb_real *centre);

#endif
