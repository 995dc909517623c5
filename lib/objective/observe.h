/* From the teacher's tokens to clusters and objects. See objective.h. */
#ifndef CB_OBJECTIVE_OBSERVE_H
#define CB_OBJECTIVE_OBSERVE_H

#include "objective/objective.h"

/*
 * A batch, before its tokens. ids [B]: NULL where no image has one; seed_tokens [B, K]: NULL to draw them,
 * else borrowed until the last observe.
 */
typedef struct cb_objective_batch {
    size_t images;
    const int64_t *ids, *seed_tokens;
    int64_t step;
    const cribo_step_values *values;
} cb_objective_batch;

/*
 * Begins a step; an unfinished step is discarded. Returns where the caller writes the positions
 * [B, 2, N, 2] before the first observe.
 */
float *cb_objective_begin(cb_objective *objective, const cb_objective_batch *batch);

/* The teacher's tokens [b, 2, T, D] of micro-batch m; in order, each once. */
void cb_objective_observe(cb_objective *objective, size_t m, const cb_real *tokens);

#endif
