/*
 * The [CLS] loss of local crops (multi-crop, Caron et al. 2020; DINO): small crops, which only the student
 * sees, are to have the distributions that the teacher has for both views of their image.
 */
#ifndef CB_OBJECTIVE_LOCAL_H
#define CB_OBJECTIVE_LOCAL_H

#include "objective/objective.h"

/* The student's tokens [b crops T, D] of the local crops of a micro-batch, image by image. */
typedef struct cb_local_tokens {
    cb_tensor tokens;
    cb_token_layout layout; /* of a crop */
    size_t crops;           /* of an image */
} cb_local_tokens;

/*
 * After cb_objective_learn of micro-batch m: computes heads, the loss times its weight, and the gradients
 * of its input rows. The caller then runs the tape backwards.
 */
void cb_objective_learn_local(
    cb_objective *objective, size_t m, cb_tape *tape, const cb_local_tokens *local, double weight);

/* The same for the largest micro-batch on a tape that measures. */
void cb_objective_plan_local(const cb_objective *objective, cb_tape *tape, const cb_local_tokens *local);

#endif
