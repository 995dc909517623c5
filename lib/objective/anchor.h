/* Gram anchoring of a micro-batch. See distillation/gram.h. */
#ifndef CB_OBJECTIVE_ANCHOR_H
#define CB_OBJECTIVE_ANCHOR_H

#include "objective/objective.h"

/*
 * Before cb_objective_learn: the loss of the student's patches against those of `anchor`, both tokens [b 2
 * T, D] of a micro-batch, weight times its mean over the views of the batch; its gradient is added to that
 * of the tokens.
 */
void cb_objective_anchor(
    cb_objective *objective, cb_tape *tape, cb_tensor tokens, const cb_real *anchor, double weight);

/* The same for the largest micro-batch on a tape that measures. */
void cb_objective_plan_anchor(const cb_objective *objective, cb_tape *tape, cb_tensor tokens);

#endif
