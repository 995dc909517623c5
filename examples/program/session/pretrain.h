/* The training run: pictures in, weights, log and pictures out. */
#ifndef PRETRAIN_H
#define PRETRAIN_H

#include "session/checkpoints.h"
#include "session/look.h"
#include "session/ranks.h"
#include "session/settings.h"

struct pretrain_options {
    char *const *sources; /* [source_count] of the pictures: pictures.h */
    size_t source_count;
    const char *keys; /* the members of archives that are used (pictures/members.h); NULL: by their names */
    const char *out;
    struct settings settings;
    const char *weights; /* to begin with; NULL: random ones */
    bool weights_heads;  /* of the file, too, not only its backbone */
    int threads;         /* of the library; 0: its choice */
    int workers;         /* that load pictures; 0: the CPUs */
    int64_t
        log_every; /* steps between progress lines where they are not rewritten; 0: about every ten seconds */
    int64_t stop_after;   /* end this session after this number of steps of the run; 0: at the run's end */
    int64_t save_every;   /* steps between saves of weights and checkpoint; 0: not by steps */
    int64_t save_minutes; /* minutes between them; 0: not by time */
    struct keeping keeping;
    bool save_in_background; /* by a separate thread, from a copy of the state */
    double skip_from; /* skip updates with a spike of the loss: watch.h; -1: as in the checkpoint, or none */
    struct look_options look; /* at the run during training */
    bool overwrite;           /* the run in `out`, instead of continuing it */
    bool resume;              /* there must be a checkpoint in `out` */
    struct ranks_options ranks;
};

/*
 * Trains, and returns the program's exit status: 0, 1 after a failure that it has reported, 128 + signal when
 * SIGINT, SIGTERM or SIGHUP ended the run early, after finishing the step and saving.
 */
int pretrain(const struct pretrain_options *options);

#endif
