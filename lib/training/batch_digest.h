/* Digests of a batch's images, by which learn checks that its batch is that of teach. */
#ifndef CB_TRAINING_BATCH_DIGEST_H
#define CB_TRAINING_BATCH_DIGEST_H

#include "base/pool.h"
#include "cribo/trainer.h"

/* The numbers of an image: of a view, of its local crops, and of its positions. */
typedef struct cb_batch_sizes {
    size_t view, local, positions;
} cb_batch_sizes;

/* digests [B]: of each image's pixels, its crops or positions, and its id. */
void cb_batch_digest(cb_pool *pool, const cribo_batch *batch, const cb_batch_sizes *sizes, uint64_t *digests);

#endif
