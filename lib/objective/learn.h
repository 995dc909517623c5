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

/* After the last micro-batch: the gradients of the last layers' parameters. */
void cb_objective_finish_learning(cb_objective *objective);

/* CRIBO_NOT_FINITE, naming the loss, where the losses so far are not finite. */
cribo_status cb_objective_check_losses(const cb_objective *objective);

#endif
