/*
 * A trainer: a learner (learner.h) with student and teacher networks of this library. Its steps are in
 * step.h. All memory is planned and allocated here.
 */
#ifndef CB_TRAINING_TRAINER_H
#define CB_TRAINING_TRAINER_H

#include "cribo/trainer.h"
#include "model/model.h"
#include "training/learner.h"

typedef struct cb_trainer {
    const cb_runtime *runtime;
    cribo_trainer_config config;
    cb_ranks *ranks;                       /* NULL: one */
    cb_model *student, *teacher, *average; /* average NULL: none is kept */
    cb_model *anchor;                      /* an earlier teacher's backbone; NULL: no Gram anchoring */
    cb_real *anchor_tokens;                /* [b, 2, T, D] of a micro-batch */
    cb_real *trunk; /* [B, 2, T, D] outputs of the frozen blocks in this step; NULL: none are frozen */
    cb_learner learner;
    uint64_t *digests; /* [2, B] of teach's batch, and of the current one */
} cb_trainer;

/* `communicator` NULL: one rank. `status`: the outcome of the config's checks, which the ranks join. */
cribo_status cb_trainer_create(const cb_runtime *runtime, cb_trainer **out, cribo_status status,
    const cribo_trainer_config *config, const cribo_communicator *communicator);

/* The ranks begin the public call `call`, with the outcome of its checks: cb_ranks_meet. */
cribo_status cb_trainer_meet(const cb_trainer *trainer, const char *call, cribo_status status);

/* The place of the frozen blocks' outputs [2 b T, D] for some of a batch's images. */
cb_tensor cb_trainer_trunk(const cb_trainer *trainer, size_t first, size_t images);

void cb_trainer_free(const cb_runtime *runtime, cb_trainer *trainer);

#endif
