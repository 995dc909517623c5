/* Digests of a batch's images, by which learn checks that its batch is that of teach. */
#ifndef CB_TRAINING_BATCH_DIGEST_H
#define CB_TRAINING_BATCH_DIGEST_H

#include "base/pool.h"
#include "cribo/trainer.h"

/* digests [B]: of each image's pixels in views of side * side, its crops or `positions` numbers, its id. */
void cb_batch_digest(
    cb_pool *pool, const cribo_batch *batch, size_t side, size_t positions, uint64_t *digests);

#endif
