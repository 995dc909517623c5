/* The student's losses and gradients. See objective.h. */
#ifndef CB_OBJECTIVE_LEARN_H
#define CB_OBJECTIVE_LEARN_H

#include "objective/objective.h"

/*
 * Before the first micro-batch: sets losses and signs to zero and computes the last layers from the weights.
 * The caller sets the gradients of the student's heads to zero.
 */
void cb_objective_begin_learning(cb_objective *objective);

/*
 * Computes heads, losses and the gradients of the loss's input rows for the student's tokens [b 2 T, D] of
 * micro-batch m; micro-batches are in order. The caller then runs the tape backwards.
 */
void cb_objective_learn(cb_objective *objective, size_t m, cb_tape *tape, cb_tensor tokens);

/* The same for the largest micro-batch on a tape that measures. */
void cb_objective_plan_learn(const cb_objective *objective, cb_tape *tape, cb_tensor tokens);

/*
 * After the last micro-batch of shard `leaf` of this rank: computes the gradients of the last layers'
 * parameters, and the shard's sums, which are then in the arrays of cb_objective_sums.
 */
void cb_objective_end_leaf(cb_objective *objective, size_t leaf);

/*
 * After the last shard, with the sums of all shards in the arrays: computes the batch's losses. Collective.
 */
cribo_status cb_objective_finish_learning(cb_objective *objective);

/* The sums of a shard besides gradients: zero at its beginning. */
#define CB_OBJECTIVE_SUMS 3
typedef struct cb_sum_array {
    cb_real *values;
    size_t count;
} cb_sum_array;
void cb_objective_sums(const cb_objective *objective, cb_sum_array arrays[CB_OBJECTIVE_SUMS]);

/* CRIBO_NOT_FINITE, naming the loss, where the losses so far are not finite. */
cribo_status cb_objective_check_losses(const cb_objective *objective);

#endif
