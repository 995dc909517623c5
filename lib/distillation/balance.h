/*
 * Sinkhorn-Knopp centring: a centre that shares out the teacher's rows evenly among the prototypes, in place
 * of the moving mean (Caron et al. 2020, SwAV; Oquab et al. 2024, DINOv2).
 *
 * With e_rp = exp(t_rp / τ) for the logits t [rows, P] of a batch, rows and columns are scaled in turn:
 *   v_p = 1 / Σ_r u_r e_rp,   u_r = 1 / Σ_p v_p e_rp,   from u = 1 on,
 * and the target of row r is u_r v_p e_rp. This is softmax_p((t_rp - c_p) / τ) with the centre
 * c_p = -τ log v_p. So the loss uses this centre like the moving mean, and no matrix [rows, P] is stored:
 * each iteration streams over chunks of whole columns.
 */
#ifndef CB_DISTILLATION_BALANCE_H
#define CB_DISTILLATION_BALANCE_H

#include "base/memory.h"
#include "distillation/prototypes.h"

typedef struct cb_balance_job {
    const cb_prototypes *teacher; /* scales refreshed */
    cb_real temperature;          /* τ */
    size_t rows, iterations;      /* at least 1 each */
    const cb_real *x;             /* [rows, E] the teacher's bottlenecks */
    cb_real *centre;              /* [P] out */
} cb_balance_job;

/* Scratch of jobs up to a number of rows. */
typedef struct cb_balance_workspace {
    size_t chunk;     /* prototypes */
    cb_real *logits;  /* [rows, chunk] */
    cb_real *row;     /* [rows] log u */
    cb_real *maximum; /* [rows] */
    cb_real *sum;     /* [rows] */
} cb_balance_workspace;
cb_balance_workspace cb_balance_workspace_take(cb_arena *arena, size_t rows, size_t prototypes);

/* Computes the centre. The bits do not depend on the threads. */
void cb_balance(cb_pool *pool, const cb_balance_job *job, const cb_balance_workspace *work);

#endif
