/*
 * Sinkhorn's algorithm (Cuturi, "Sinkhorn distances: lightspeed computation of optimal transport", NeurIPS
 * 2013): the transport P = exp(-lambda M), its rows scaled to 1 / 2N each and its columns to the clusters'
 * masses, in turn.
 */
#ifndef CB_CLUSTERING_SINKHORN_H
#define CB_CLUSTERING_SINKHORN_H

#include "tensor/real.h"

/* The smallest and the largest cost over which M is normalised to 0 ... 1. */
typedef struct cb_cost_range {
    cb_real low, high;
} cb_cost_range;

/* Of cost [K, 2N]. `scratch` [2 * 2N]. */
cb_cost_range cb_find_cost_range(const cb_real *cost, size_t joint_tokens, size_t clusters, cb_real *scratch);

/*
 * plan [K, 2N]: the cost on entry, the transport P on return. mass [K] > 0 sums to 1. The last scaling is
 * that of the clusters; a cluster that has lost all its mass to rounding is not scaled and is 0 for all
 * tokens. A cost that is the same everywhere (up to rounding) counts as 0. The result is never NaN. `scratch`
 * [2 * 2N].
 */
void cb_sinkhorn(cb_real *plan, size_t joint_tokens, size_t clusters, const cb_real *mass,
    cb_cost_range range, double lambda, size_t iterations, cb_real *scratch);

#endif
