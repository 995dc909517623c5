/*
 * The self-distillation loss streamed over the prototypes: a fixed number of logits is stored, for any rows x
 * P.
 *
 * A student row with bottleneck x and teacher rows t_0, t_1 of weights w_0, w_1 (the paper's sections 1 and
 * 3; the prototypes U of student and teacher, the centre c) has
 *   loss_j = w_j H(p_j, s),   p_j = softmax((U_t t_j - c) / τ_t),   s = softmax(U_s x / τ_s),   H(p, s) = -Σ
 *                             p log s
 * Its gradient is linear in the targets, so they are mixed first and the row is backpropagated once:
 *   dlogits = ((w_0 + w_1) s - w_0 p_0 - w_1 p_1) / τ_s
 * Two passes over chunks of prototypes: the first finds each row's maximum and sum of exponentials, the
 * second the loss and the gradients. The second pass goes backwards, so that the last chunks of the first
 * pass are still stored; the other logits are computed again. All sums have an order fixed by the job and its
 * workspace, never by the threads.
 */
#ifndef CB_DISTILLATION_PROTOTYPE_LOSS_H
#define CB_DISTILLATION_PROTOTYPE_LOSS_H

#include "base/memory.h"
#include "distillation/prototypes.h"

#define CB_NO_ROW UINT32_MAX
#define CB_TERMS 2

/*
 * The teacher rows of a student row: term 0 is the global or the cross-view one, term 1 the cross-image one.
 */
typedef struct cb_row_targets {
    uint32_t row[CB_TERMS];   /* CB_NO_ROW: the term is absent */
    cb_real weight[CB_TERMS]; /* read only where there is a row */
} cb_row_targets;

/*
 * Signs of collapse, over the teacher rows that serve as term 0 of some student row of the job; all
 * accumulate.
 */
typedef struct cb_prototype_signs {
    cb_real *mean;  /* [P] += Σ of the rows' distributions p */
    uint8_t *used;  /* [P] set to 1 where a prototype is the arg-max of a row */
    double entropy; /* += Σ of the rows' entropies, in nats */
    size_t rows;    /* += how many */
} cb_prototype_signs;

typedef struct cb_prototype_job {
    const cb_prototypes *student, *teacher; /* of the same P; scales refreshed */
    const cb_real *centre;                  /* c [P] */
    cb_real student_temperature, teacher_temperature;
    size_t rows;
    const cb_real *x;              /* [rows, E] the student's bottlenecks */
    const cb_row_targets *targets; /* [rows]; rows may share teacher rows */
    size_t teacher_rows;
    const cb_real *teacher_x;  /* [teacher_rows, E] the teacher's bottlenecks */
    cb_real *dx;               /* [rows, E] out; 0 for a row without targets */
    cb_real *du;               /* [P, E] += (see cb_prototypes_backproject); NULL: the last layer is frozen */
    double loss[CB_TERMS];     /* out: Σ over the rows of loss_j */
    cb_prototype_signs *signs; /* NULL: not computed */
} cb_prototype_job;

/* Scratch of jobs up to a number of rows. */
typedef struct cb_prototype_workspace {
    size_t logit_count;
    cb_real *logits;   /* [kept, rows + teacher_rows, chunk] chunk by chunk student rows, then teacher rows */
    cb_real *maximum;  /* [rows + teacher_rows] of a row's logits over temperature */
    cb_real *sum;      /* [rows + teacher_rows] Σ exp(logit - maximum) */
    double *cross;     /* [rows, CB_TERMS] Σ_p exp(t - max t) (s - max s) */
    double *self;      /* [teacher_rows] Σ_p exp(t - max t) (t - max t), for entropies */
    uint32_t *arg_max; /* [teacher_rows] */
    uint8_t *serves;   /* [teacher_rows] 1: term 0 of some student row */
} cb_prototype_workspace;

/*
 * Takes scratch for jobs of up to `rows` student rows and `teacher_rows` teacher rows from an arena.
 * `logit_count` is the number of stored logits, in one chunk or several: stored logits are not computed
 * twice. 0: 2^24 (64 MiB of floats), or 1024 per row if that is more.
 */
cb_prototype_workspace cb_prototype_workspace_take(
    cb_arena *arena, size_t rows, size_t teacher_rows, size_t prototypes, size_t logit_count);

/* Computes job->dx, job->loss, and adds to job->du and job->signs. Allocates nothing. */
void cb_prototype_loss(cb_pool *pool, cb_prototype_job *job, const cb_prototype_workspace *workspace);

#endif
