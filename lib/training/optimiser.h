/*
 * AdamW (Loshchilov & Hutter 2019) with the teacher's exponential moving average in the same sweep.
 *
 *   θ ← θ (1 − lr wd);  m ← β₁ m + (1 − β₁) g;  v ← β₂ v + (1 − β₂) g²;  θ ← θ − lr m̂ / (√v̂ + ε);  teacher
 *                       ← μ teacher + (1 − μ) θ
 *
 * lr is the step's times the rate of the parameter's group. Each parameter counts its own updates: one that
 * is not trained in a step (a last layer at first, the backbone while only the heads are trained) is skipped,
 * and its bias correction begins at 1 when it is trained again. Frozen parameters are skipped: the teacher
 * has the same values. The division into pieces is fixed at creation, so results do not depend on the
 * threads.
 *
 * Over several ranks the flat buffers are cut into buckets, and each bucket into one part for each rank. A
 * rank holds the moments of its parts, and updates them; the others get the new values. Every rank updates
 * the teacher. The gradients of a bucket can be summed as soon as they are complete.
 */
#ifndef CB_TRAINING_OPTIMISER_H
#define CB_TRAINING_OPTIMISER_H

#include "communication/ranks.h"
#include "model/parameters.h"

/* Some numbers of one parameter. */
typedef struct cb_piece {
    size_t parameter, begin, count; /* begin: in the flat buffers */
} cb_piece;

/* A piece that this rank updates, and where its numbers begin in the moments. */
typedef struct cb_own_piece {
    size_t piece, held;
} cb_own_piece;

typedef struct cb_optimiser {
    const cb_parameters *student;
    cb_real *teacher; /* the teacher's flat values */
    int64_t *updates; /* [parameters] */
    double *norms;    /* [parameters] of the gradients, by cb_optimiser_measure; 0 for frozen ones */
    cb_piece *pieces;
    double *squares; /* [pieces] */
    size_t piece_count;

    size_t held;     /* numbers whose moments this rank holds: one rank all */
    cb_real *first;  /* [held] m */
    cb_real *second; /* [held] v */

    cb_ranks *ranks; /* borrowed; NULL: one */
    size_t buckets;
    size_t *part_pieces;  /* [buckets, ranks + 1] where the parts begin, in pieces */
    size_t *part_numbers; /* [buckets, ranks + 1] and in the flat buffers */
    size_t *held_before;  /* [buckets] numbers that this rank holds of the buckets before */
    cb_own_piece *own;    /* [own_count] the pieces of this rank's parts */
    size_t own_count;
    cb_real *gradients; /* [held] with several ranks, until all have the new values */
} cb_optimiser;

/*
 * The number of buckets over several ranks. 0: as many as have at least 2^22 numbers, and 4 pieces for each
 * rank, so that the parts are of nearly one size. Tests set it before creation. No result depends on it.
 */
extern size_t cb_optimiser_chosen_buckets;

cribo_status cb_optimiser_create(const cb_runtime *runtime, cb_optimiser *optimiser,
    const cb_parameters *student, cb_real *teacher, cb_ranks *ranks);
void cb_optimiser_free(const cb_runtime *runtime, cb_optimiser *optimiser);

/* Parts that are not trained in a step. */
typedef struct cb_frozen_parts {
    bool last_layers, backbone;
} cb_frozen_parts;

typedef struct cb_optimiser_step {
    double learning_rate, weight_decay, ema_momentum;
    double clip_norm; /* 0: no clipping */
    bool clip_per_tensor;
    cb_frozen_parts frozen_parts;
} cb_optimiser_step;

/*
 * The sums of the gradients over all ranks, in this rank's parts of the buckets, for cb_ranks_begin_sums.
 */
cb_bucket_sums cb_optimiser_sums(const cb_optimiser *optimiser, bool rounded);

/*
 * How many buckets, from the last on, have no number before `number` of the flat buffers; and the first
 * number of the last `buckets` buckets, of which there is one at least.
 */
size_t cb_optimiser_buckets_from(const cb_optimiser *optimiser, size_t number);
size_t cb_optimiser_begin_of(const cb_optimiser *optimiser, size_t buckets);

/*
 * Computes the global L2 norm of the gradients. It is not finite if some gradient is not; `norms` then shows
 * which. Collective.
 */
cribo_status cb_optimiser_measure(
    cb_optimiser *optimiser, cb_pool *pool, cb_frozen_parts frozen_parts, double *norm);

/*
 * With several ranks: computes the new values of this rank's part, with the norms of the last measure, and
 * gives them to every rank. They replace the gradients in their buffer; on failure nothing else has changed.
 * Collective; with one rank it does nothing.
 */
cribo_status cb_optimiser_exchange(cb_optimiser *optimiser, cb_pool *pool, const cb_optimiser_step *step);

/* Updates student, moments and teacher. */
void cb_optimiser_update(cb_optimiser *optimiser, cb_pool *pool, const cb_optimiser_step *step);

/*
 * The first or second moments of the numbers begin ... begin + count - 1 of the flat buffers, in `to` on rank
 * 0. Collective.
 */
typedef enum cb_moment { CB_FIRST_MOMENT, CB_SECOND_MOMENT } cb_moment;
cribo_status cb_optimiser_collect(
    const cb_optimiser *optimiser, cb_moment moment, size_t begin, size_t count, cb_real *to);

/*
 * Of `values`, numbers begin ... begin + count - 1 of the flat buffers, keeps those whose moments this rank
 * holds in `held`, which is laid out as the moments.
 */
void cb_optimiser_keep(
    const cb_optimiser *optimiser, size_t begin, size_t count, const cb_real *values, cb_real *held);

#endif
