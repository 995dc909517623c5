/*
 * Checkpoints, and the weights of a training run, as files. See docs/checkpoints.md for the format.
 *
 * The state that is written is that of a trainer or an objective, or a copy of it. Reading stores everything
 * in separate memory, checks it, and only then changes the trainer or the objective.
 */
#ifndef CB_FILES_CHECKPOINT_H
#define CB_FILES_CHECKPOINT_H

#include "cribo/trainer.h"
#include "io/safetensors.h"
#include "training/state.h"

/* The differences between the files of trainers and those of objectives. */
typedef struct cb_run_kind {
    const char *noun, *format; /* for messages; the metadata "cribo" */
    const cb_config_table *settings;
} cb_run_kind;
extern const cb_run_kind cb_trainer_run, cb_objective_run;

#define CB_DEFAULT_LEVEL 1 /* of compression: weights do not get smaller beyond it */

/* A state to be written. */
typedef struct cb_subject {
    const cb_runtime *runtime; /* its memory and workers are used for writing */
    const cb_run_kind *kind;
    const void *config; /* of the kind's settings */
    int64_t step;
    const cb_state *state;
    cb_learner *learner; /* has the values that are not in `state`; NULL: `state` is a complete copy */
} cb_subject;

/*
 * Replaces the file at `place` atomically by a checkpoint with the caller's metadata. `options` is complete
 * and checked.
 * Of several ranks rank 0 writes; the others send it their parts of the state. Collective.
 */
cribo_status cb_checkpoint_write(
    const cb_subject *subject, cb_place place, const cribo_save_options *options);

/*
 * Replaces the file at `place` atomically by the parameters of student and teacher, with all settings and the
 * caller's strings as metadata. `options` is complete and checked; its level is not used.
 * Of several ranks rank 0 writes. Collective.
 */
cribo_status cb_run_weights_write(
    const cb_subject *subject, cb_place place, const cribo_save_options *options);

/* A checkpoint that is open for reading. */
typedef struct cb_checkpoint {
    const cb_run_kind *kind;
    cb_safetensors *file;
    const char *path; /* borrowed, for messages */
} cb_checkpoint;

/*
 * `kind` NULL: a checkpoint of any kind, or the weights of a run, for their metadata. Errors: those of
 * cb_safetensors_open; CRIBO_CORRUPT: the file is not a checkpoint of this kind, or has another version.
 */
cribo_status cb_checkpoint_open(
    const cb_allocator *allocator, cb_checkpoint *checkpoint, const cb_run_kind *kind, cb_place place);
void cb_checkpoint_close(cb_checkpoint *checkpoint);

/* The settings of the run; a setting that the file lacks gets its default. */
cribo_status cb_checkpoint_settings(const cb_checkpoint *checkpoint, void *config);

/* The settings of the run that wrote a file: a checkpoint, or weights of student and teacher. */
cribo_status cb_run_settings(
    const cb_allocator *allocator, const cb_run_kind *kind, cb_place place, void *config);

/* The caller's text of this key, valid until the checkpoint is closed; NULL: there is none. */
const char *cb_checkpoint_text(const cb_checkpoint *checkpoint, const char *key);

/*
 * Replaces the learner's state by the checkpoint's. `config` has the settings of the learner's run.
 * `overrides` lists settings, separated by commas, that may differ between file and run. On failure the
 * learner is unchanged.
 */
cribo_status cb_checkpoint_restore(
    const cb_checkpoint *checkpoint, cb_learner *learner, const void *config, const char *overrides);

#endif
