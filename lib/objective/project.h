/* The teacher's bottlenecks. See objective.h. */
#ifndef CB_OBJECTIVE_PROJECT_H
#define CB_OBJECTIVE_PROJECT_H

#include "objective/objective.h"

/*
 * Computes the bottlenecks of all targets of the student's rows of micro-batch m: global vectors, objects,
 * the neighbours that passed the cycle test, and masked patches. On an inferring tape with enough memory.
 */
void cb_objective_project(cb_objective *objective, size_t m, cb_tape *tape);

/* The same for the largest micro-batch on a tape that measures. */
void cb_objective_plan_project(const cb_objective *objective, cb_tape *tape);

#endif
