/*
 * Sums over a batch whose bits do not depend on the number of processes. A batch is cut into `shards` leaves.
 * The micro-batches of a leaf are added in their order, and leaves are added in a fixed binary tree:
 *
 *   ((leaf 0 + leaf 1) + (leaf 2 + leaf 3)) + ...
 *
 * `rounded`: both terms of each of these additions are rounded to bfloat16, whether they are on one rank or
 * on two, so the bits do not depend on the number of ranks; the result of the last addition is not rounded.
 *
 * A rank has a whole subtree: this file adds the rank's leaves, and cb_ranks_sum adds the sums of the ranks.
 */
#ifndef CB_TRAINING_LEAVES_H
#define CB_TRAINING_LEAVES_H

#include "objective/learn.h"

#define CB_LEAF_ARRAYS (1 + CB_OBJECTIVE_SUMS) /* the gradients, and the objective's sums */
#define CB_MAX_LEAF_LEVELS 16                  /* 2^16 leaves */

typedef struct cb_leaves {
    size_t count, ended; /* of this rank, a power of two; those that have ended in the current step */
    bool rounded;        /* gradients are rounded to bfloat16 before they are added; set before creation */
    size_t total;        /* numbers of all arrays */
    size_t open;         /* numbers of the first array that cb_leaves_complete has not joined */
    cb_sum_array arrays[CB_LEAF_ARRAYS];
    cb_real *level[CB_MAX_LEAF_LEVELS]; /* [total] a sum of 2^l leaves, until the next is complete */
} cb_leaves;

/*
 * For arrays that the caller owns. One leaf needs no memory. On failure, created parts stay for
 * cb_leaves_free.
 */
cribo_status cb_leaves_create(const cb_allocator *allocator, cb_leaves *leaves, size_t count,
    const cb_sum_array arrays[CB_LEAF_ARRAYS]);
void cb_leaves_free(const cb_allocator *allocator, cb_leaves *leaves);

/* Begins a step: the arrays are zero. */
void cb_leaves_begin(cb_leaves *leaves, cb_pool *pool);

/*
 * In the last leaf, the numbers of the first array from `from` on, which decreases from call to call, are
 * complete: they become the sums of all leaves now. cb_leaves_end joins what is left.
 */
void cb_leaves_complete(cb_leaves *leaves, cb_pool *pool, size_t from);

/* Ends a leaf. The arrays are zero again for the next one, and hold the sum of all leaves after the last. */
void cb_leaves_end(cb_leaves *leaves, cb_pool *pool);

#endif
