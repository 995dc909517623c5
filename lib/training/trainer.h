/*
 * The training step: teach, learn, update.
 *
 *   teach.c   views → teacher → dense tokens → clusters → objects → neighbours in the bank → targets
 *   learn.c   views → student → pooled objects → heads → loss ← targets, and back; micro-batch by micro-batch
 *   update.c  clip, AdamW and EMA, centres, bank, step count, report
 *
 * All memory is planned and allocated by cb_trainer_create. State that outlives a step changes in update
 * alone, after everything that can fail; so an error leaves the trainer as it was.
 *
 * Images of a micro-batch go through the networks as [b, 2] views: view v of image i is number 2 i + v. A
 * micro-batch's rows (pooled tokens, bottlenecks) are its 2 b [CLS] rows in that order, then its objects in
 * view 1, then in view 2.
 */
#ifndef CB_TRAINING_TRAINER_H
#define CB_TRAINING_TRAINER_H

#include "clustering/clusterer.h"
#include "distillation/loss.h"
#include "distillation/memory_bank.h"
#include "distillation/prototype_loss.h"
#include "model/model.h"
#include "training/collapse.h"
#include "training/optimiser.h"
#include "training/schedule.h"
#include "training/settings.h"

/* What teach leaves for learn, of one micro-batch. */
typedef struct cb_micro_batch {
    size_t first, images;         /* of the batch */
    size_t first_object, objects; /* R_b, of the batch's R */
    cb_pooling pooling;           /* the rows [2 b + 2 R_b] from the micro-batch's tokens [b, 2, T] */
    cb_real *cls;                 /* [2 b, E] the teacher's bottlenecks of [CLS] */
    size_t teacher_objects;       /* 2 R_b, and the matched neighbours */
    /* [teacher_objects, E] of the objects in view 1, in view 2, then of the neighbours, view 1's first */
    cb_real *objects_rows;
} cb_micro_batch;

/* What teach leaves for learn, of the whole batch. */
typedef struct cb_step_targets {
    size_t images, objects, micro_batches;
    float *positions;   /* [B, 2, N, 2] */
    int64_t *ids;       /* [B] keep images from matching themselves; CB_NO_ID: none */
    int64_t *keys;      /* [B] of the random draws: the id, or the index where there is none */
    int32_t *labels;    /* [B, 2, N] */
    uint8_t *valid;     /* [B, K] */
    int64_t *per_image; /* [B] objects */
    cb_real *cls;       /* [B, 2, D] the teacher's [CLS] tokens */
    cb_real *object[2]; /* [R, D] its objects in view 1 and view 2 */
    int64_t *index[2];  /* [R] nearest entries of the bank */
    uint8_t *match[2];  /* [R] which of them pass the cycle test */
    size_t matches[2];
    bool cross_image;      /* the cross-image loss takes part */
    cb_micro_batch *micro; /* [micro_batches] */
} cb_step_targets;

/* The batch's objects as the memory bank takes them: to match, and later to remember. */
cb_objects cb_targets_objects(const cb_step_targets *t);

typedef struct cb_last_layers {
    cb_prototypes cls, objects;
} cb_last_layers;

typedef enum cb_phase { CB_PHASE_IDLE, CB_PHASE_TAUGHT, CB_PHASE_LEARNED } cb_phase;

/* What a step has summed up so far for its report. */
typedef struct cb_tally {
    double global, cross_view, cross_image;
    cb_prototype_signs cls_signs, object_signs;
    double teach_ms, cluster_ms, match_ms, learn_ms;
} cb_tally;

typedef struct cb_trainer {
    const cb_runtime *runtime;
    cribo_trainer_config config;
    cb_model *student, *teacher;
    cb_last_layers student_layers, teacher_layers;
    cb_clusterer *clusterer;
    cb_memory_bank *bank;
    cb_optimiser optimiser;
    cb_real *centre, *object_centre; /* [P], [P'] */
    int64_t step;

    cb_phase phase;
    cb_schedule_values now; /* of the step under way */
    cb_step_targets targets;
    cb_tally tally;
    cb_collapse_watch collapse;

    cb_token_layout layout;      /* of a view's tokens */
    size_t patches, tokens;      /* N, the dense ones; T, all of them */
    size_t micro, micro_batches; /* the most images of a micro-batch; the most micro-batches */
    size_t group;            /* images clustered together: the batch with batch_cost, else a micro-batch */
    cb_real *teacher_tokens; /* [group, 2, T, D] */
    cb_arena pass;           /* activations of one micro-batch's pass */
    size_t scratch_bytes;    /* of the pass's tape */
} cb_trainer;

cribo_status cb_trainer_create(
    const cb_runtime *runtime, cb_trainer **out, const cribo_trainer_config *config);
void cb_trainer_free(const cb_runtime *runtime, cb_trainer *trainer);

/* The three phases; the batch is sound (cb_import_batch). See cribo/trainer.h. */
cribo_status cb_train_teach(cb_trainer *trainer, const cribo_batch *batch);
cribo_status cb_train_learn(cb_trainer *trainer, const cribo_batch *batch);
cribo_status cb_train_update(cb_trainer *trainer, cribo_report *report);
cribo_status cb_train_step(cb_trainer *trainer, const cribo_batch *batch, cribo_report *report);

/* What the phases share. */

/*
 * A loss that counts nothing costs nothing: objects are sought only for their losses, and remembered only to
 * be neighbours.
 */
static inline bool cb_wants_neighbours(const cribo_trainer_config *config)
{
    return config->cross_image_weight > 0;
}

static inline bool cb_wants_objects(const cribo_trainer_config *config)
{
    return config->cross_view_weight > 0 || cb_wants_neighbours(config);
}

/* Both views of images first ... first + images - 1; the pixels stay the batch's. */
cb_images cb_batch_images(const cb_trainer *trainer, const cribo_batch *batch, size_t first, size_t images);

/* Begins a pass in the emptied arena. */
cb_tape cb_trainer_begin_pass(cb_trainer *trainer, bool training);

/* The student's pass over a micro-batch: bottlenecks [2 b + 2 R_b, E]. */
cb_tensor cb_student_forward(const cb_trainer *trainer, cb_tape *tape, const cb_images *images,
    const cb_pooling *pooling, const cb_real *keep);

/* Scratch of learn: the loss's, and the targets of its rows. */
typedef struct cb_loss_scratch {
    cb_prototype_workspace workspace;
    cb_row_targets *targets; /* [2 b + 2 R_b] */
} cb_loss_scratch;
cb_loss_scratch cb_loss_scratch_take(
    const cb_trainer *trainer, cb_arena *arena, size_t images, size_t objects, size_t neighbours);

#endif
