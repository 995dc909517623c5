/*
 * AdamW (Loshchilov & Hutter 2019) with the teacher's exponential moving average in the same sweep.
 *
 *   θ ← θ (1 − lr wd);  m ← β₁ m + (1 − β₁) g;  v ← β₂ v + (1 − β₂) g²;  θ ← θ − lr m̂ / (√v̂ + ε);  teacher
 *                       ← μ teacher + (1 − μ) θ
 *
 * Each parameter counts its own updates: one that rests (a frozen last layer) is passed over altogether, and
 * its bias correction begins at 1 when it thaws. Work is cut into pieces fixed at creation, so results don't
 * depend on the threads.
 */
#ifndef CB_TRAINING_OPTIMISER_H
#define CB_TRAINING_OPTIMISER_H

#include "model/parameters.h"

/* Some numbers of one parameter. */
typedef struct cb_piece {
    size_t parameter, begin, count; /* begin: in the flat buffers */
} cb_piece;

typedef struct cb_optimiser {
    const cb_parameters *student;
    cb_real *teacher; /* the teacher's flat values */
    cb_real *first;   /* m, flat */
    cb_real *second;  /* v, flat */
    int64_t *updates; /* [parameters] */
    double *norms;    /* [parameters] of the gradients, by cb_optimiser_measure; 0 for those that rest */
    cb_piece *pieces;
    double *squares; /* [pieces] */
    size_t piece_count;
} cb_optimiser;

cribo_status cb_optimiser_create(
    const cb_runtime *runtime, cb_optimiser *optimiser, const cb_parameters *student, cb_real *teacher);
void cb_optimiser_free(const cb_runtime *runtime, cb_optimiser *optimiser);

typedef struct cb_optimiser_step {
    double learning_rate, weight_decay, ema_momentum;
    double clip_norm; /* 0: no clipping */
    bool clip_per_tensor;
    bool last_layer_frozen;
} cb_optimiser_step;

/*
 * Measures the gradients: the global L2 norm. Not finite where some gradient is not; then norms tells which.
 */
double cb_optimiser_measure(cb_optimiser *optimiser, cb_pool *pool, bool last_layer_frozen);

/* Updates student, moments and teacher, with the norms of the latest measure. */
void cb_optimiser_update(cb_optimiser *optimiser, cb_pool *pool, const cb_optimiser_step *step);

#endif
