/*
 * The checkpoints of a run: RUN/checkpoint-STEP.safetensors.gz, each the trainer with the place in the stream
 * of batches, so that a resumed run sees the same pictures in the same views.
 */
#ifndef CHECKPOINTS_H
#define CHECKPOINTS_H

#include "folder.h"

#include <cribo/trainer.h>

/* What a checkpoint says besides the trainer's state. */
struct position {
    uint64_t batches; /* taken from the loader */
    uint64_t digest;  /* folder_digest of the pictures */
    size_t files;     /* how many pictures */
    char preset[64];  /* with which the run was begun; "": none */
    uint32_t *broken; /* [broken_count] files found broken in these batches, by index */
    size_t broken_count;
};

/* The path of the newest checkpoint in the run's folder, to be freed; NULL when there is none. */
bool checkpoints_newest(char **path, const char *folder, struct problem *problem);

/*
 * Writes the checkpoint of step `step`, and then removes all but the newest `keep`. What cannot be removed is
 * a warning. On failure the older checkpoints are as they were.
 */
bool checkpoints_save(const char *folder, const cribo_trainer *trainer, int64_t step,
    const struct position *position, int keep, struct problem *problem);

/* Removes all but the newest `keep`, and what saves that were killed have left. */
void checkpoints_prune(const char *folder, int keep);

/* Free with position_free; on failure *position is empty. */
bool position_read(struct position *position, const char *path, struct problem *problem);
void position_free(struct position *position);

#endif
