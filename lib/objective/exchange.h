/*
 * The exchange of a batch's data between ranks. See objective.h. All calls are collective; with one rank they
 * do nothing.
 */
#ifndef CB_OBJECTIVE_EXCHANGE_H
#define CB_OBJECTIVE_EXCHANGE_H

#include "objective/objective.h"

/*
 * Joins the ranks' shares of a batch: *whole has the images of all, and `compared` where it is on all.
 * CRIBO_INVALID_ARGUMENT, on all ranks, if a rank's share differs from that by `shards`, if batch_cost
 * normalises over images of several ranks, or if the shares differ in a way that a batch cannot.
 */
cribo_status cb_objective_join_shares(
    cb_objective *objective, const cb_share_notice *own, cb_share_notice *whole);

/* After the last observe: ids, global vectors and objects of all images, and the groups' objects. */
cribo_status cb_objective_exchange_objects(cb_objective *objective);

/* After the search: of each object's nearest entries of all ranks the nearest. */
cribo_status cb_objective_exchange_nearest(cb_objective *objective);

/* After the cycle test: every object's outcome, known to the rank that stores its nearest entry. */
cribo_status cb_objective_exchange_matches(cb_objective *objective);

/* The matched neighbours of this rank's objects, from the ranks that store them. */
cribo_status cb_objective_exchange_neighbours(cb_objective *objective);

/* After the last projection: the bottlenecks for Sinkhorn-Knopp centring. */
cribo_status cb_objective_exchange_bottlenecks(cb_objective *objective);

/* After the last collect: the student's vectors for KoLeo. */
cribo_status cb_objective_exchange_vectors(cb_objective *objective);

/* After the last shard: the sums of all shards, and the prototypes used. */
cribo_status cb_objective_exchange_tallies(cb_objective *objective);

#endif
