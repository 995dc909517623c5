/* Sinkhorn-Knopp centring of a step. See objective.h and distillation/balance.h. */
#ifndef CB_OBJECTIVE_CENTRING_H
#define CB_OBJECTIVE_CENTRING_H

#include "objective/objective.h"

/* After the last projection: the centres of this step from the whole batch's bottlenecks. Collective. */
cribo_status cb_objective_centre(cb_objective *objective);

/* The centre that the losses of this step subtract: the step's own, or the moving mean. */
static inline const cb_real *cb_objective_centre_of(
    const cb_objective *objective, const cb_centring *own, const cb_real *mean)
{
    return objective->config.sinkhorn_centring ? own->centre : mean;
}

#endif
