/*
 * What a checkpoint's metadata are called, on both sides, and how a state is written. See
 * docs/checkpoints.md.
 */
#ifndef CB_API_CHECKPOINT_H
#define CB_API_CHECKPOINT_H

#include "training/state.h"

#define CB_CHECKPOINT_FORMAT_KEY "format"
#define CB_CHECKPOINT_FORMAT "cribo checkpoint 1"
#define CB_CHECKPOINT_STEP_KEY "step"
#define CB_CHECKPOINT_CALLER "caller." /* + the caller's key */

/* A state that is to be written: a trainer's own, or a copy. */
typedef struct cb_subject {
    const cb_runtime *runtime; /* whose memory and workers write it */
    const cribo_trainer_config *config;
    int64_t step;
    const cb_state *state;
    const cb_memory_bank *bank; /* has the vectors that `state` does not hold; NULL: a copy holds all */
} cb_subject;

/* What cribo_trainer_save and cribo_trainer_save_weights do. `options` NULL: the defaults. */
cribo_status cb_save_checkpoint(
    const cb_subject *subject, const char *path, const cribo_save_options *options);
cribo_status cb_save_weights(const cb_subject *subject, const char *path);

#endif
