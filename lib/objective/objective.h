/*
 * The objective: the method without the network. Its inputs are the tokens of a teacher and of a student, one
 * micro-batch after the other; its results are losses and the gradients of the student's tokens and heads.
 *
 *   observe.c   the teacher's tokens → clusters → objects
 *   exchange.c  each rank's images and objects → all ranks
 *   match.c     objects → nearest neighbours in the memory bank, cycle test
 *   project.c   [CLS], objects and neighbours → the teacher's bottlenecks: the targets
 *   masks.c     the patches that the student does not see
 *   centring.c  the teacher's bottlenecks → the centres of this step, with Sinkhorn-Knopp centring
 *   koleo.c     the student's vectors of the whole batch → their KoLeo regulariser
 *   anchor.c    the student's patches and an earlier teacher's → Gram anchoring
 *   learn.c     the student's tokens → objects → heads → losses ← targets, and back
 *   local.c     the student's local crops → heads → [CLS] loss ← targets, and back
 *   commit.c updates the centres and the memory bank: the only permanent state
 *
 * A step calls begin; observe for each micro-batch in order; exchange; match; project for each;
 * begin_learning; with KoLeo over several micro-batches collect for each and koleo; learn for each, with
 * end_leaf after each shard; finish_learning; commit. After creation only what ranks exchange can fail.
 */
#ifndef CB_OBJECTIVE_OBJECTIVE_H
#define CB_OBJECTIVE_OBJECTIVE_H

#include "clustering/clusterer.h"
#include "communication/ranks.h"
#include "distillation/balance.h"
#include "distillation/koleo.h"
#include "distillation/memory_bank.h"
#include "distillation/prototype_loss.h"
#include "model/backbone.h"
#include "model/heads.h"
#include "objective/masks.h"
#include "objective/settings.h"
#include "objective/targets.h"

/* One network's heads, and its last layers for the loss. */
typedef struct cb_projection {
    const cb_heads *heads; /* borrowed */
    cb_prototypes cls, objects;
} cb_projection;

/* Sums of a step, for its report. */
typedef struct cb_tally {
    double global, cross_view, cross_image, gram, masked, local;
    double koleo; /* of the batch, in every shard */
    cb_prototype_signs cls_signs, object_signs;
    double cluster_ms, match_ms;
} cb_tally;

/* Sinkhorn-Knopp centring of one head. */
typedef struct cb_centring {
    cb_real *x;      /* [2 B, 2 R or M, E] the teacher's bottlenecks of the whole batch */
    cb_real *centre; /* [P] of the current step */
    cb_arena arena;  /* of the workspace */
    cb_balance_workspace work;
} cb_centring;

/* The student's vectors of the whole batch, of one kind, for KoLeo. */
typedef struct cb_koleo_vectors {
    cb_real *x[2], *dx[2]; /* [B or R, D] of each view, and the gradient; NULL where the weight is 0 */
} cb_koleo_vectors;

/* The sums of one shard. */
typedef struct cb_leaf_tally {
    double global, cross_view, cross_image, gram, masked, local, cls_entropy, object_entropy;
    int64_t cls_rows, object_rows;
} cb_leaf_tally;

/* What a rank tells the others of its share of a batch. Numbers of one size, without padding. */
typedef struct cb_share_notice {
    uint64_t images;
    uint64_t ids, seed_tokens; /* 1: given */
    uint64_t values;           /* the digest of the step's values */
    uint64_t compared;         /* 1: the rank's state has changed by steps alone since the last comparison */
} cb_share_notice;

/* Raw vectors of the matched neighbours of this rank's objects. */
typedef struct cb_neighbour_vectors {
    cb_real *vector;  /* [2 R_own, D] in the order of their arrival */
    size_t *place[2]; /* [R_own] where the neighbour of each object is, for matched ones */
    size_t count;
    cb_real *sent; /* [2 R_own, D] of this rank's entries, for one other rank */
} cb_neighbour_vectors;

typedef struct cb_objective {
    const cb_runtime *runtime;
    cb_ranks *ranks; /* borrowed; NULL: one */
    cribo_objective_config config;
    cb_masking masking;
    cb_token_layout layout; /* of a view's tokens, the teacher's and the student's */
    cb_projection student, teacher;
    cb_clusterer *clusterer;
    cb_memory_bank *bank;
    cb_real *centre, *object_centre; /* [P], [P'] */
    cb_real *masked_centre;          /* [P] of masked patches; NULL: none are masked */

    /* Of the current step. */
    int64_t step;
    cribo_step_values now;
    const int64_t *seed_tokens; /* [B, K] borrowed from begin to the last observe, or NULL */
    cb_targets targets;
    cb_tally tally;              /* of the current shard; after finish_learning of the batch */
    cb_leaf_tally *leaf;         /* [shards] */
    size_t *rank_offsets;        /* [ranks + 1] of the exchanged bytes */
    uint8_t *rank_used;          /* [ranks, P or P'] prototypes used */
    cb_share_notice *rank_share; /* [ranks] */

    /* The search for neighbours; the vectors of other ranks' entries with several ranks only. */
    cb_neighbour *nearest; /* [2, R] of both views; R: the batch's objects */
    cb_neighbour_vectors neighbours;

    cb_centring cls_centring, object_centring, masked_centring; /* zeroed: the centre is the moving mean */

    cb_koleo_vectors koleo_cls, koleo_objects;
    cb_arena koleo_arena; /* of the workspace */
    cb_koleo_workspace koleo_work;

    cb_target_sizes sizes;
    cb_real *group_tokens; /* [group, 2, T, D] with batch_cost, else NULL */
    cb_real *means;        /* [2 or 3, E] sums of the teacher's bottlenecks, for the centres */
} cb_objective;

/*
 * `config` is a full and checked one. The heads are borrowed; the student's have gradients. Where `masking`
 * masks patches, the student's tokens are those of views without the patches in targets.mask. Errors:
 * settings that contradict each other, no memory.
 */
cribo_status cb_objective_create(const cb_runtime *runtime, cb_objective **out,
    const cribo_objective_config *config, const cb_masking *masking, const cb_token_layout *layout,
    const cb_heads *student, const cb_heads *teacher, cb_ranks *ranks);
void cb_objective_free(const cb_runtime *runtime, cb_objective *objective);

/* The kinds of rows that have a centre: [CLS], objects and, if there are any, masked patches. */
static inline size_t cb_objective_kinds(const cb_objective *objective)
{
    return objective->sizes.masked ? 3 : 2;
}

/* The sum of the losses so far. */
static inline double cb_tally_loss(const cb_tally *tally)
{
    return tally->global + tally->cross_view + tally->cross_image + tally->koleo + tally->gram +
           tally->masked + tally->local;
}

#endif
