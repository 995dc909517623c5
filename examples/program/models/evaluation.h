/* Evaluation of a frozen model's features on a labelled data set. */
#ifndef EVALUATION_H
#define EVALUATION_H

#include "models/frozen.h"
#include "models/protocol.h"
#include "pictures/dataset.h"

#include <cribo/evaluation.h>

/* A memory of its own: which pictures it has seen, and by which chance. */
struct evaluation_run {
    const char *name; /* for people: a fraction, a list */
    const struct dataset *train;
    const size_t *pictures; /* [count] of `train`; NULL: the first `count` */
    size_t count;
    int64_t seed; /* of crops, jitter and the patches that are kept */
};

/* What is measured. The defaults of the protocol "simple" but for what is given. */
struct evaluation_options {
    struct protocol protocol;
    const struct evaluation_run *runs;
    size_t run_count;
    const struct dataset *test;         /* what is scored, by each run */
    bool linear;                        /* the linear probe, too */
    int64_t memory_patches, neighbours; /* of the probe; 0 patches: all, 0 neighbours: the published number */
    double temperature;                 /* 0: the published one */
    int threads;                        /* of the probe */
    bool say;                           /* progress lines */
    size_t worst;                       /* pictures to name that were scored worst in the first run */
    const char *record; /* a file for the crops, jitter and patches of the first run; NULL: none */
};

struct evaluation_picture {
    size_t index;    /* in `test` */
    double mean_iou; /* of its own pixels, over the classes that occur in it */
};

/* Where an entry of the memory comes from. */
struct evaluation_origin {
    uint32_t picture, patch; /* in the run's data set; of the view's N */
    uint32_t pass;
};

/* The result of a run. */
struct evaluation {
    int classes;
    int64_t entries;              /* in the memory */
    cribo_scores nearest, linear; /* mean_iou is the protocol's mean; linear: only where it was asked for */
    double *nearest_iou, *linear_iou; /* [classes]; -1: the class occurs nowhere */
    int64_t *remembered, *scored; /* [classes] pixels of each class in the memory's and the scored labels */
    double remember_seconds, fit_seconds, score_seconds;
    struct evaluation_picture *worst; /* [worst_count], the worst first */
    size_t worst_count;
    /* Of the first run where the worst pictures are wanted: its memory, to be looked at. */
    cribo_probe *probe;
    struct evaluation_origin
        *origins; /* [origin_count] of the entries; NULL: the memory is a uniform sample */
    size_t origin_count, origin_room;
};

/*
 * Results [run_count], each to be freed with evaluation_free; on failure they are empty. A problem, too,
 * where the labels leave nothing to measure: no pixel with a class to remember or to score, or a memory of a
 * single class, by which every prediction would be right.
 */
bool evaluate(struct evaluation *results, const struct frozen *frozen,
    const struct evaluation_options *options, struct problem *problem);
void evaluation_free(struct evaluation *evaluation);

/* A warning for each way in which some classes do not count as they should, by their names. */
void evaluation_warn(const struct evaluation *evaluation, const struct dataset *test);

/* What is to be said of a class beside its score: "not in the memory", ...; "" when nothing is. */
const char *evaluation_note(const struct evaluation *evaluation, int class);

/* As an object of JSON: mean_iou, accuracy, ..., iou of each class by its name or number. */
struct json_t *evaluation_json(const struct evaluation *evaluation, const struct dataset *test);

/* The conditions of all runs as an object of JSON: the protocol's rules, sizes, counts, versions. */
struct json_t *evaluation_conditions(const struct frozen *frozen, const struct evaluation_options *options);

/*
 * A picture as the memory of a run has seen it in a pass: bytes [3][size][size], and the classes [size *
 * size] under them.
 */
bool evaluation_view(const struct frozen *frozen, const struct protocol *protocol,
    const struct evaluation_run *run, const struct evaluation_origin *origin, uint8_t *bytes, int32_t *labels,
    struct problem *problem);

/* A picture of the data set as the protocol shows it to the model when it is scored: [3][size][size]. */
bool evaluation_pixels(const struct frozen *frozen, const struct protocol *protocol,
    const struct image *image, float *pixels, struct problem *problem);

#endif
