/*
 * A learner: an objective and an optimiser of a student's parameters, with the teacher as their moving
 * average and the count of steps. It has all parts of training except the network: a trainer gives it tokens
 * of this library's networks (step.h), a token trainer those of another network (token_trainer.h).
 *
 * A step: begin; cb_objective_observe for each micro-batch; end_teaching; begin_learning; with KoLeo over
 * several micro-batches cb_objective_collect for each, and end_collecting; cb_learner_learn or other losses,
 * and cb_learner_backward, for each micro-batch; end_learning; update. Permanent state changes only in
 * update, after everything that can fail, so after an error the learner is unchanged.
 *
 * Over several ranks every rank makes the same calls, each with its share of the batch. The calls that take a
 * status join it: all ranks get the failure of the lowest that failed (cb_ranks_agree).
 */
#ifndef CB_TRAINING_LEARNER_H
#define CB_TRAINING_LEARNER_H

#include "objective/observe.h"
#include "training/leaves.h"
#include "training/optimiser.h"
#include "training/pass.h"
#include "training/report.h"

typedef enum cb_phase { CB_PHASE_IDLE, CB_PHASE_TAUGHT, CB_PHASE_LEARNED } cb_phase;

/* The parts of a learner; all are borrowed except the config. */
typedef struct cb_learner_parts {
    cribo_objective_config config;
    cb_masking masking; /* zeroed: no patch is masked */
    cb_token_layout layout;
    const cb_parameters *student, *teacher; /* of one layout; the student's have gradients */
    const cb_heads *student_heads, *teacher_heads;
    cb_ranks *ranks; /* NULL: one */
} cb_learner_parts;

typedef struct cb_learner {
    const cb_runtime *runtime;
    const cb_parameters *student, *teacher;
    cb_ranks *ranks; /* borrowed; NULL: one */
    cb_objective *objective;
    cb_optimiser optimiser;
    cb_leaves leaves;
    cb_collapse_watch collapse;
    int64_t step;
    bool compared;        /* the state has changed by steps alone since the ranks last compared theirs */
    cb_real *average;     /* flat mean of the student's values over the last steps; NULL: none is kept */
    int64_t average_from; /* the first of these steps; the owner sets both */
    int64_t averaged;     /* steps in the mean */
    const cb_parameters *anchor; /* of the Gram anchor, a copy of the teacher's backbone; NULL: none */
    bool renews_anchor;          /* the current step's update copies the teacher; the owner sets both */
    bool heads_only;             /* the current step trains only the heads; the owner sets it after begin */

    size_t tallied; /* leaves whose sums the objective has */
    bool joins;     /* gradients are being added to those of the other ranks */
    cb_phase phase;
    double teach_start, teach_ms, learn_ms; /* the owner adds to learn_ms */
    cb_pass pass;                           /* its owner plans it */
    cb_report_scratch scratch;
} cb_learner;

/* On failure, created parts stay for cb_learner_free. */
cribo_status cb_learner_create(const cb_runtime *runtime, cb_learner *learner, const cb_learner_parts *parts);
void cb_learner_free(cb_learner *learner);

/*
 * Begins a step with `images` images of this rank; an unfinished step is discarded. `values` NULL: those of
 * the schedules. The caller writes the positions [images, 2, N, 2] to *positions.
 * Afterwards `compared` holds for all ranks; where it does not, their states are to be compared
 * (cb_state_compare).
 */
cribo_status cb_learner_begin(cb_learner *learner, size_t images, const int64_t *ids,
    const int64_t *seed_tokens, const cribo_step_values *values, float **positions);

/*
 * After the last observe, with its outcome `status`: computes neighbours and targets. On failure there are no
 * targets.
 */
cribo_status cb_learner_end_teaching(cb_learner *learner, cribo_status status);

/* Discards the step; after a failed teach also its targets. */
void cb_learner_forget(cb_learner *learner);
void cb_learner_forget_targets(cb_learner *learner);

void cb_learner_begin_learning(cb_learner *learner);

/*
 * After cb_objective_collect for each micro-batch, with the outcome `status`: KoLeo of the whole batch.
 * Only where cb_objective_collects.
 */
cribo_status cb_learner_end_collecting(cb_learner *learner, cribo_status status);

/* The losses of micro-batch m's student tokens [b 2 T, D]. */
void cb_learner_learn(cb_learner *learner, size_t m, cb_tape *tape, cb_tensor tokens);

/*
 * The backward pass of a tape with losses of micro-batch m. Fails before it if a loss is not finite. `last`:
 * it is the step's last, and the gradients are added to those of the other ranks as soon as they are
 * complete.
 */
cribo_status cb_learner_backward(cb_learner *learner, size_t m, cb_tape *tape, bool last);

/* After the last micro-batch, with its outcome `status`: the gradients and losses of the whole batch. */
cribo_status cb_learner_end_learning(cb_learner *learner, cribo_status status);

/* Clipping, AdamW, the teacher, centres, memory bank, step count, report. */
cribo_status cb_learner_update(cb_learner *learner, cribo_report *report);

#endif
