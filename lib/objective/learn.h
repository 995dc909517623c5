/* The student's losses and gradients. See objective.h. */
#ifndef CB_OBJECTIVE_LEARN_H
#define CB_OBJECTIVE_LEARN_H

#include "objective/objective.h"

/*
 * Before the first micro-batch: losses and signs from zero, last layers as the weights are. The gradients of
 * the student's heads are zero, too, which is the caller's.
 */
void cb_objective_begin_learning(cb_objective *objective);

/*
 * The student's tokens [b 2 T, D] of micro-batch m, in order: heads, losses and the gradients of the rows
 * that the loss reads. The caller then runs the tape backwards.
 */
void cb_objective_learn(cb_objective *objective, size_t m, cb_tape *tape, cb_tensor tokens);

/* The same for the largest micro-batch on a tape that measures. */
void cb_objective_plan_learn(const cb_objective *objective, cb_tape *tape, cb_tensor tokens);

/*
 * After the last micro-batch of shard `leaf` of this rank: the gradients of the last layers' parameters, and
 * the shard's sums. The arrays of cb_objective_sums then hold those of the shard.
 */
void cb_objective_end_leaf(cb_objective *objective, size_t leaf);

/* After the last shard, when the arrays hold the sums of all: the losses of the batch. Collective. */
cribo_status cb_objective_finish_learning(cb_objective *objective);

/* What shards add up besides gradients: zero when a shard begins. */
#define CB_OBJECTIVE_SUMS 3
typedef struct cb_sum_array {
    cb_real *values;
    size_t count;
} cb_sum_array;
void cb_objective_sums(const cb_objective *objective, cb_sum_array arrays[CB_OBJECTIVE_SUMS]);

/* CRIBO_NOT_FINITE, naming the loss, where the losses so far are not finite. */
cribo_status cb_objective_check_losses(const cb_objective *objective);

#endif
