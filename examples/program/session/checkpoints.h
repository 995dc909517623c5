/*
 * The checkpoints of a run: RUN/checkpoint-STEP.safetensors.gz, each with the trainer and the place in the
 * stream of batches, so that a resumed run uses the same pictures in the same views.
 */
#ifndef CHECKPOINTS_H
#define CHECKPOINTS_H

#include "pictures/folder.h"
#include "pictures/recipe.h"
#include "session/time_budget.h"
#include "session/watch.h"

#include <cribo/trainer.h>

/* The content of a checkpoint besides the trainer's state. */
struct position {
    uint64_t batches; /* taken from the loader */
    uint64_t digest;  /* of the list of pictures */
    size_t files;     /* number of pictures */
    char preset[128]; /* of the beginning of the run, separated by commas; "": none */
    uint32_t *broken; /* [broken_count] pictures found broken in these batches, by number */
    size_t broken_count;
    char recipe[RECIPE_WHOLE_TEXT]; /* of the views, as recipe_write wrote it; "": the published one */
    char time[TIME_TEXT];           /* as time_plan_print wrote it; "": the length was not given as a time */
    char watch[WATCH_TEXT];         /* as watch_print wrote it; "": of an earlier version, which had none */
};

/* The state to save: one of the two. */
struct state_source {
    const cribo_trainer *trainer;
    const cribo_snapshot *snapshot;
};

/* How checkpoints are written and kept. */
struct keeping {
    int keep;      /* the number of newest ones that are kept; 0: all, and no file is removed */
    int64_t level; /* of gzip, 0 ... 9 */
};

/*
 * The checkpoints in the run's folder, the newest first; none when there is no folder. Free with folder_free.
 */
bool checkpoints_list(struct folder *checkpoints, const char *folder, struct problem *problem);

/* The path of the newest of them, to be freed; NULL when there is none. */
bool checkpoints_newest(char **path, const char *folder, struct problem *problem);

/*
 * Writes the checkpoint of step `step`, and then removes all but the newest ones. A failure to remove one
 * gives a warning. After a failed write the older checkpoints are unchanged.
 */
bool checkpoints_save(const char *folder, struct state_source source, int64_t step,
    const struct position *position, struct keeping keeping, struct problem *problem);

/* Renames a damaged checkpoint to PATH.damaged; a failure gives a warning. */
void checkpoints_set_aside(const char *path);

/* Removes all but the newest `keep`, and the files of killed saves; with 0 also damaged ones. */
void checkpoints_prune(const char *folder, int keep);

/* Free with position_free; on failure *position is empty. */
bool position_read(struct position *position, const char *path, struct problem *problem);
void position_free(struct position *position);

#endif
