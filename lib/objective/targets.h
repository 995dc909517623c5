/*
 * The targets of a step: the results of the teacher for the student's losses. A batch is divided into groups,
 * each with separate normalisers, cycle test and cost range, and each group into micro-batches, which go
 * through the networks one by one. With several ranks the arrays are those of the whole batch: each rank
 * writes its share of the images, and the ranks exchange them (exchange.h). Only the micro-batches, the
 * positions, labels, valid clusters and masks are those of this rank.
 *
 * View v of image i is number 2 i + v. The rows of a micro-batch of b images with R_b objects (pooled tokens,
 * bottlenecks) are its 2 b [CLS] rows in that order, then its objects in view 1, then in view 2, then its
 * masked patches.
 */
#ifndef CB_OBJECTIVE_TARGETS_H
#define CB_OBJECTIVE_TARGETS_H

#include "base/runtime.h"
#include "distillation/memory_bank.h"
#include "tensor/pooling.h"

typedef struct cb_group {
    size_t first, images;         /* of the batch */
    size_t first_object, objects; /* of the batch's R */
    size_t matches[2];            /* number of its neighbours that pass the cycle test: Z_1, Z_2 */
} cb_group;

typedef struct cb_micro_batch {
    size_t group, leaf;           /* leaf: of this rank's shards */
    size_t first, images;         /* of the batch */
    size_t first_object, objects; /* R_b, of the batch's R */
    size_t first_masked, masked;  /* M_b, of this rank's masked patches */
    cb_pooling pooling;           /* the rows [2 b + 2 R_b + M_b] from the micro-batch's tokens [b, 2, T] */
    cb_real *cls;                 /* [2 b, E] the teacher's bottlenecks of [CLS] */
    size_t teacher_objects;       /* 2 R_b, and the matched neighbours */
    /* [teacher_objects, E] of the objects in view 1, in view 2, then of the neighbours, view 1's first */
    cb_real *object_rows;
} cb_micro_batch;

/* A rank's share of a batch. */
typedef struct cb_share {
    size_t first, images, first_object, objects;
} cb_share;

typedef struct cb_targets {
    size_t images, objects, groups; /* of the batch; images = 0: there are no targets */
    size_t micro_batches;           /* of this rank */
    cb_share own;
    float *positions;      /* [B, 2, N, 2] */
    int64_t *ids;          /* [B] keep images from matching themselves; CB_NO_ID: none */
    int64_t *keys;         /* [B] of the random draws: the id, or the index where there is none */
    int32_t *labels;       /* [B, 2, N] */
    uint8_t *valid;        /* [B, K] */
    int64_t *per_image;    /* [B] objects */
    cb_real *cls;          /* [B, 2, D] the teacher's [CLS] tokens */
    cb_real *object[2];    /* [R, D] its objects in view 1 and view 2 */
    int64_t *index[2];     /* [R] nearest entries of the bank */
    uint8_t *match[2];     /* [R] which of them pass the cycle test */
    bool cross_image;      /* the cross-image loss is computed */
    uint8_t *mask;         /* [B, 2, N] 1: the student does not see the patch; NULL: none are masked */
    int64_t *masked;       /* [B, 2] number of a view's masked patches */
    cb_real *masked_token; /* [M, D] the teacher's tokens of this rank's masked patches, by image and view */
    cb_real *masked_row;   /* [M, E] its bottlenecks of them */
    cb_group *group;       /* [groups] */
    cb_micro_batch *micro; /* [micro_batches] */
} cb_targets;

/* The largest sizes of a step. */
typedef struct cb_target_sizes {
    size_t images, group_images, micro_images;  /* of a batch, a group, a micro-batch */
    size_t shards, ranks, rank;                 /* a rank has shards / ranks of them */
    size_t tokens, width, clusters, bottleneck; /* N, D, K, E */
    size_t entries;                             /* of a view's pooling */
    size_t masked;                              /* patches of a view; 0: none */
} cb_target_sizes;

/* On failure, allocated memory stays for cb_targets_release. */
cribo_status cb_targets_allocate(
    const cb_allocator *allocator, cb_targets *targets, const cb_target_sizes *sizes);
void cb_targets_release(const cb_allocator *allocator, cb_targets *targets, const cb_target_sizes *sizes);

/* The first image of a rank's share of a batch; rank `ranks`: where the last share ends. */
size_t cb_targets_first(const cb_target_sizes *sizes, size_t images, size_t rank);

/* Divides a batch of `images` images into groups, and this rank's share into micro-batches. */
void cb_targets_cut(cb_targets *targets, const cb_target_sizes *sizes, size_t images);

/* The objects of a group, and those of all groups, in the form of the memory bank. */
cb_objects cb_targets_of_group(const cb_targets *targets, const cb_group *group, size_t width);
cb_objects cb_targets_objects(const cb_targets *targets);

/* The masked patches of the images before image `image`; image B: of the whole batch. */
size_t cb_targets_masked_before(const cb_targets *targets, size_t image);

#endif
