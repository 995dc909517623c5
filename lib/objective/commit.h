/* The state of the objective that outlives a step. See objective.h. */
#ifndef CB_OBJECTIVE_COMMIT_H
#define CB_OBJECTIVE_COMMIT_H

#include "objective/objective.h"

/* The centres move by the teacher that taught: to be called before its heads change. */
void cb_objective_move_centres(cb_objective *objective);

/* The batch's objects enter the memory bank. */
void cb_objective_remember(cb_objective *objective);

#endif
