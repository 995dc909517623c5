/* Nearest neighbours of the objects, and the cycle test. See objective.h. */
#ifndef CB_OBJECTIVE_MATCH_H
#define CB_OBJECTIVE_MATCH_H

#include "objective/objective.h"

/*
 * After the last observe: computes nn(c_v^k) and O(c_v^k) of section 2 with the memory bank before this
 * batch, group by group, and decides whether the cross-image loss is computed. Each rank searches for its own
 * objects.
 */
cribo_status cb_objective_match(cb_objective *objective);

/* Objects of the whole batch that pass the cycle test in a view. */
size_t cb_objective_matches(const cb_objective *objective, int view);

#endif
