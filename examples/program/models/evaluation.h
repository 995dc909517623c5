/* How well a frozen model's features tell the classes of a labelled data set apart. */
#ifndef EVALUATION_H
#define EVALUATION_H

#include "pictures/dataset.h"
#include "models/frozen.h"

#include <cribo/evaluation.h>

/* What is measured. Zeroed: dense retrieval with the whole memory by the published protocol. */
struct evaluation_options {
    const struct dataset *train, *test;       /* the memory, and what is scored */
    bool linear;                              /* the linear probe, too */
    int64_t memory_patches, neighbours, seed; /* of the probe; 0 neighbours: the published number */
    double temperature;                       /* 0: the published one */
    int threads;                              /* of the probe */
    bool say;                                 /* progress lines */
};

struct evaluation {
    int classes;
    int64_t entries;                  /* in the memory */
    cribo_scores nearest, linear;     /* linear: only where it was asked for */
    double *nearest_iou, *linear_iou; /* [classes]; -1: the class occurs nowhere */
    double remember_seconds, fit_seconds, score_seconds;
};

/* Free with evaluation_free; on failure *evaluation is empty. */
bool evaluate(struct evaluation *evaluation, const struct frozen *frozen,
    const struct evaluation_options *options, struct problem *problem);
void evaluation_free(struct evaluation *evaluation);

/* As an object of JSON: mean_iou, accuracy, ..., iou of each class by its name or number. */
struct json_t *evaluation_json(const struct evaluation *evaluation, const struct dataset *test);

#endif
