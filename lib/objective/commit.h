/* The permanent state of the objective: centres and memory bank. See objective.h. */
#ifndef CB_OBJECTIVE_COMMIT_H
#define CB_OBJECTIVE_COMMIT_H

#include "objective/objective.h"

/* Updates the centres with the teacher's heads of this step; call it before these heads change. */
void cb_objective_move_centres(cb_objective *objective);

/* Adds the batch's objects to the memory bank. */
void cb_objective_remember(cb_objective *objective);

#endif
