/*
 * A token trainer: a learner (learner.h) with heads of student and teacher, for tokens of another network.
 * See cribo/objective.h.
 */
#ifndef CB_TRAINING_TOKEN_TRAINER_H
#define CB_TRAINING_TOKEN_TRAINER_H

#include "training/learner.h"

typedef struct cb_token_trainer {
    const cb_runtime *runtime;
    cribo_objective_config config;
    cb_ranks *ranks;                /* NULL: one */
    cb_parameters student, teacher; /* of the heads */
    cb_heads student_heads, teacher_heads;
    cb_learner learner;
    size_t learned; /* micro-batches of the current step */
} cb_token_trainer;

/*
 * `config` is complete; `checked` is the outcome of its checks, which the ranks join. `communicator` NULL:
 * one rank.
 */
cribo_status cb_token_trainer_create(const cb_runtime *runtime, cb_token_trainer **out, cribo_status checked,
    const cribo_objective_config *config, const cribo_communicator *communicator);

/* The ranks begin the public call `call`, with the outcome of its checks: cb_ranks_meet. */
cribo_status cb_token_trainer_meet(const cb_token_trainer *trainer, const char *call, cribo_status status);

void cb_token_trainer_free(const cb_runtime *runtime, cb_token_trainer *trainer);

/*
 * Tokens and global vectors of some images in the caller's memory: view v of image i has its N tokens at
 * dense + i * dense_image + v * dense_view, its global vector at global + i * global_image + v * global_view.
 */
typedef struct cb_token_view {
    const cb_real *dense, *global;
    size_t dense_image, dense_view, global_image, global_view;
} cb_token_view;

/* This rank's share of a batch. */
typedef struct cb_token_batch {
    size_t images;
    cb_token_view teacher;
    const float *positions; /* [B, 2, N, 2] */
    const int64_t *ids, *seed_tokens;
    const cribo_step_values *values; /* NULL: the schedules' */
} cb_token_batch;

/* The batch has been checked. After a failure there is no current step. */
cribo_status cb_token_teach(cb_token_trainer *trainer, const cb_token_batch *batch);

/* The number of images of the share that the current step has learned: the beginning of the next chunk. */
size_t cb_token_learned(const cb_token_trainer *trainer);

/* Whether a chunk may end before image `image`: micro-batches are learned whole. */
bool cb_token_chunk_ends(const cb_token_trainer *trainer, size_t image);

/* Images first ... first + images - 1 of the share; gradients, at the strides of the tokens, may be NULL. */
typedef struct cb_token_chunk {
    size_t first, images;
    cb_token_view student;
    cb_real *dense_gradient, *global_gradient;
} cb_token_chunk;

/*
 * Learns a chunk that begins at image 0, which restarts learn, or at cb_token_learned, and ends at a
 * permitted image. After a failure the next chunk begins at image 0.
 *
 * `checked`: the outcome of the chunk's checks. One rank returns a failure at once, and nothing has changed.
 * Several ranks meet at the last chunk of their shares, and at once after a failure: then all have it.
 */
cribo_status cb_token_learn(cb_token_trainer *trainer, cribo_status checked, const cb_token_chunk *chunk);

#endif
