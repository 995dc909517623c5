/*
 * Looking at a run during training: at regular intervals the objects that the teacher finds,
 * RUN/clusters-STEP.png, and, with labelled pictures, how well its features segment them, a line of
 * RUN/evaluation.jsonl. Looks do not change the training; with patience they can end it.
 */
#ifndef LOOK_H
#define LOOK_H

#include "models/evaluation.h"
#include "drawing/showcase.h"

struct look_options {
    struct dataset_choice data; /* data.train NULL: pictures only */
    int64_t epochs, steps;      /* between looks, by one of the two; both 0: never */
    int64_t patience;           /* scores in a row below the best that end the run; 0: any number */
    int threads;
};

/* mIoU by retrieval, 0 ... 1, as the lines of the log have it; NaN: not measured. */
struct look_scores {
    double first, newest, best;
    int64_t best_step;
    int64_t since; /* scores after the best, none of which is better */
};

struct look {
    const struct look_options *options;
    const char *folder; /* of the run; borrowed */
    char *log;          /* path */
    struct dataset train, test;
    struct look_scores scores;
    bool warned; /* of classes that are not scored */
};

/* What is looked at. */
struct look_subject {
    cribo_trainer *trainer;
    const cribo_trainer_config *config;
    const struct recipe *recipe;
    struct showcase *showcase;
    int64_t step;
};

/*
 * Finds the labelled pictures, so that errors appear before the training, cuts the log off after step `step`,
 * and takes the scores from it. Free with look_free, on failure too.
 */
bool look_open(struct look *look, const struct look_options *options, const char *folder, int64_t step,
    struct problem *problem);
void look_free(struct look *look);

/* Whether a look is due after `step` steps. The last step of a run counts as the end of an epoch. */
bool look_is_due(const struct look *look, int64_t step, int64_t steps_per_epoch, bool last);

/* Finds the objects in the pictures to show by the trainer's teacher, without a call on the trainer. */
bool look_cluster(struct showcase *showcase, cribo_trainer *trainer, const cribo_trainer_config *config,
    const struct recipe *recipe, int threads, struct problem *problem);

/* Draws, except before the first step, whose objects have a drawing already, and scores. */
bool look_now(struct look *look, const struct look_subject *subject, struct problem *problem);

/* Whether the newest score is the best. */
bool look_is_best(const struct look *look);

/* Whether the scores have stayed below the best for as long as the options allow. */
bool look_ends_run(const struct look *look);

#endif
