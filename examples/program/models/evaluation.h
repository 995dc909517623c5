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
    int64_t *remembered, *scored; /* [classes] pixels of each class in the memory's and the scored labels */
    double remember_seconds, fit_seconds, score_seconds;
};

/*
 * Free with evaluation_free; on failure *evaluation is empty. A problem, too, where the labels leave nothing
 * to measure: no pixel with a class to remember or to score, or a memory of a single class, by which every
 * prediction would be right.
 */
bool evaluate(struct evaluation *evaluation, const struct frozen *frozen,
    const struct evaluation_options *options, struct problem *problem);
void evaluation_free(struct evaluation *evaluation);

/* A warning for each way in which some classes do not count as they should, by their names. */
void evaluation_warn(const struct evaluation *evaluation, const struct dataset *test);

/* What is to be said of a class beside its score: "not in the memory", ...; "" when nothing is. */
const char *evaluation_note(const struct evaluation *evaluation, int class);

/* As an object of JSON: mean_iou, accuracy, ..., iou of each class by its name or number. */
struct json_t *evaluation_json(const struct evaluation *evaluation, const struct dataset *test);

#endif
