/*
 * The state of a trainer between steps, as a list of named arrays: the content of a checkpoint, besides
 * settings and step.
 *
 *   student.NAME, teacher.NAME                        parameters
 *   gram.NAME                                         the Gram anchor's parameters
 *   average.NAME, average_steps int64 [1]             the mean of the weights, and its number of steps
 *   optimiser.first.NAME, optimiser.second.NAME       moments
 *   optimiser.updates         int64 [parameters]      number of updates of each parameter
 *   centre [P], object_centre [P']
 *   bank.objects_per_image, bank.ids  int64 [images]  newest first
 *   bank.view1, bank.view2    [objects, D]
 *   collapse.steps            int64 [signs]           for how long each sign of collapse has been seen
 *
 * A state is read from the trainer in place; or copied, so that training can continue; or staged: collected
 * in separate memory, checked, then adopted as a whole.
 */
#ifndef CB_TRAINING_STATE_H
#define CB_TRAINING_STATE_H

#include "training/learner.h"

#define CB_STUDENT_PREFIX "student."
#define CB_TEACHER_PREFIX "teacher."
#define CB_AVERAGE_PREFIX "average."
#define CB_ANCHOR_PREFIX "gram."

/* What may be divided over ranks. */
typedef enum cb_state_kind {
    CB_STATE_FIRST,
    CB_STATE_SECOND,
    CB_STATE_VIEW1,
    CB_STATE_VIEW2,
    CB_STATE_OTHER
} cb_state_kind;

typedef struct cb_state_array {
    const char *prefix, *name; /* its name is the one after the other */
    bool integers;             /* int64_t; else cb_real */
    size_t axes, shape[4];
    size_t count;
    /* in the trainer or in the stage; NULL: the bank's vectors, in stretches, or a divided array */
    void *values;
    void *target; /* their place in the trainer; NULL: in the bank, or divided */
    cb_state_kind kind;
    bool divided; /* over several ranks */
    size_t begin; /* of moments, in the flat buffers */
} cb_state_array;

typedef struct cb_state {
    const cb_allocator *allocator; /* of what follows; borrowed */
    cb_state_array *arrays;
    size_t count;
    size_t images, objects;       /* in the bank */
    void *memory;                 /* the stage or copy, or arrays that the bank has in several pieces */
    char (*names)[CB_NAME_BYTES]; /* [count] a copy's own; NULL: the trainer's */

    /* With divided arrays. */
    cb_real *piece;               /* scratch for a piece of one */
    cb_real *own[CB_STATE_OTHER]; /* a stage's: this rank's moments, and its rows of the bank */
} cb_state;

/*
 * The trainer's state, borrowed until it changes. Fails for lack of memory. All kinds end with cb_state_free.
 */
cribo_status cb_state_of(cb_learner *learner, cb_state *state);

/*
 * A copy of the state with all `values`, independent of the trainer. `allocator` must outlive it. Of several
 * ranks rank 0 gets it, the others an empty state. Collective.
 */
cribo_status cb_state_copy(cb_learner *learner, const cb_allocator *allocator, cb_state *state);

/* A stage for a state with this number of images and objects in the bank, which must have room for them. */
cribo_status cb_state_stage(cb_learner *learner, size_t images, size_t objects, cb_state *state);

void cb_state_free(cb_state *state);

/*
 * Divided arrays are passed piece by piece: `count` numbers from `first` on, a multiple of the piece, up to
 * the next piece.
 *
 * fetch   gets a piece from all ranks, in `to` on rank 0. Collective
 * store   keeps this rank's part of a piece for a stage
 */
size_t cb_state_piece(const cb_state_array *array);
cribo_status cb_state_fetch(cb_learner *learner, const cb_state *state, const cb_state_array *array,
    size_t first, size_t count, cb_real *to);
void cb_state_store(const cb_learner *learner, const cb_state *stage, const cb_state_array *array,
    size_t first, size_t count, const cb_real *values);

/* The array with this name, or NULL. */
const cb_state_array *cb_state_find(const cb_state *state, const char *name);

/*
 * CRIBO_CORRUPT, with the names of `origin` and the array, unless the stage is a possible state of a trainer
 * with these settings.
 */
cribo_status cb_state_check(const cb_learner *learner, const cb_state *stage, const char *origin);

/*
 * After cb_learner_begin: CRIBO_INVALID_ARGUMENT, on all ranks, if the ranks' states differ in their steps or
 * in an array that is not divided; the message names it, and there is no current step. Does nothing where
 * learner->compared. Allocates some KiB. Collective.
 */
cribo_status cb_state_compare(cb_learner *learner);

/* Replaces the trainer's state by a checked stage, before step `step`; an unfinished step is discarded. */
void cb_state_adopt(cb_learner *learner, const cb_state *stage, int64_t step);

#endif
