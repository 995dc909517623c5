/*
 * Looking at a run during training: every few epochs the objects that the teacher finds,
 * RUN/clusters-STEP.png, and, with labelled pictures, how well its features segment them, a line of
 * RUN/evaluation.jsonl. Neither changes the run.
 */
#ifndef LOOK_H
#define LOOK_H

#include "models/evaluation.h"
#include "drawing/showcase.h"

struct look_options {
    struct dataset_choice data; /* data.train NULL: pictures only */
    int64_t epochs;             /* between looks; 0: never */
    int threads;
};

struct look {
    const struct look_options *options;
    const char *folder; /* of the run; borrowed */
    char *log;          /* path */
    struct dataset train, test;
    bool warned; /* of classes that are not scored */
};

/*
 * Finds the labelled pictures, so that errors appear before the training, and cuts the log off after step
 * `step`. Free with look_free, on failure too.
 */
bool look_open(struct look *look, const struct look_options *options, const char *folder, int64_t step,
    struct problem *problem);
void look_free(struct look *look);

/* Whether a look is due after `step` steps. The last step counts as the end of an epoch. */
bool look_is_due(const struct look *look, int64_t step, int64_t steps_per_epoch, bool last);

/* Finds the objects in the pictures to show by the trainer's teacher, without a call on the trainer. */
bool look_cluster(struct showcase *showcase, cribo_trainer *trainer, const cribo_trainer_config *config,
    const struct recipe *recipe, int threads, struct problem *problem);

bool look_now(struct look *look, cribo_trainer *trainer, const cribo_trainer_config *config,
    const struct recipe *recipe, struct showcase *showcase, int64_t step, struct problem *problem);

#endif
