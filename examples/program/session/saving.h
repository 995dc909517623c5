/*
 * Saving a run: checkpoint and weights, at once or, from a snapshot of the trainer, by a separate thread
 * while training continues.
 */
#ifndef SAVING_H
#define SAVING_H

#include "session/checkpoints.h"

#include <pthread.h>

/* Where a run is saved. */
struct saving_place {
    const char *folder, *weights;
    struct keeping keeping;
    bool writes; /* false: another rank writes the files, and this one takes part in the library's calls */
};

struct saving {
    struct saving_place place;
    bool running; /* the thread is to be joined */
    pthread_t thread;
    cribo_snapshot *snapshot;
    int64_t step;
    struct position position;
    bool saved;
    struct problem problem;
};

/* Saves now. Takes over what `position` owns, as saving_begin does. */
bool saving_now(const struct saving_place *place, const cribo_trainer *trainer, int64_t step,
    struct position *position, struct problem *problem);

/*
 * Takes a snapshot and begins to save it, after waiting for the save before, whose failure is then this
 * one's. Needs memory for a second copy of the trainer's state.
 */
bool saving_begin(struct saving *saving, const struct saving_place *place, const cribo_trainer *trainer,
    int64_t step, struct position *position, struct problem *problem);

/* Waits for the current save, if there is one, and returns its result. */
bool saving_end(struct saving *saving, struct problem *problem);

#endif
