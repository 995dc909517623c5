/*
 * KoLeo of the student's vectors: [CLS] and objects, each view by itself, within groups. It compares all
 * vectors of a batch, so its gradients are known before the first backward pass: a batch of several
 * micro-batches has its vectors collected in a forward pass of its own.
 */
#ifndef CB_OBJECTIVE_KOLEO_H
#define CB_OBJECTIVE_KOLEO_H

#include "objective/objective.h"

/* Whether the student's vectors must be collected before the first micro-batch is learned. */
bool cb_objective_collects(const cb_objective *objective);

/* Pools the vectors of micro-batch m from the student's tokens [b 2 T, D], on a tape that does not train. */
void cb_objective_collect(cb_objective *objective, size_t m, cb_tape *tape, cb_tensor tokens);

/* The same for the largest micro-batch on a tape that measures. */
void cb_objective_plan_collect(const cb_objective *objective, cb_tape *tape, cb_tensor tokens);

/* After the last collect: the loss, and the gradients of all vectors. Collective. */
cribo_status cb_objective_koleo(cb_objective *objective);

/*
 * In learn, between pooling and heads: adds the gradients to those of a micro-batch's pooled rows, and
 * computes them first if nothing was collected.
 */
void cb_objective_learn_koleo(
    cb_objective *objective, const cb_micro_batch *micro, cb_tape *tape, cb_tensor rows);

/* The same for the largest micro-batch on a tape that measures. */
void cb_objective_plan_koleo(const cb_objective *objective, cb_tape *tape, cb_tensor rows);

#endif
