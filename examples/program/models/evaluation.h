/* Evaluation of a frozen model's features on a labelled data set. */
#ifndef EVALUATION_H
#define EVALUATION_H

#include "models/frozen.h"
#include "models/protocol.h"
#include "pictures/dataset.h"

#include <cribo/evaluation.h>

/* One run: the pictures of its memory, and its seed. */
struct evaluation_run {
    const char *name; /* for the table: a fraction or a list */
    const struct dataset *train;
    const size_t *pictures; /* [count] of `train`; NULL: the first `count` */
    size_t count;
    int64_t seed; /* of crops, jitter and the patches that are kept */
};

/* The options of an evaluation. Default: the protocol "simple". */
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
    size_t worst;       /* number of pictures with the lowest scores of the first run to list */
    const char *record; /* a file for the crops, jitter and patches of the first run; NULL: none */
};

struct evaluation_picture {
    size_t index;    /* in `test` */
    double mean_iou; /* of the picture's pixels, over the classes that occur in it */
};

/* The origin of an entry of the memory. */
struct evaluation_origin {
    uint32_t picture, patch; /* in the run's data set; of the view's N */
    uint32_t pass;
};

/* The result of a run. */
struct evaluation {
    int classes;
    int64_t entries;              /* in the memory */
    cribo_scores nearest, linear; /* mean_iou is the protocol's mean; linear: only with the option `linear` */
    double *nearest_iou, *linear_iou; /* [classes]; -1: the class occurs nowhere */
    int64_t *remembered, *scored; /* [classes] pixels of each class in the memory's and the scored labels */
    double remember_seconds, fit_seconds, score_seconds;
    struct evaluation_picture *worst; /* [worst_count], the worst first */
    size_t worst_count;
    /* The memory of the first run, if the pictures with the lowest scores are listed. */
    cribo_probe *probe;
    struct evaluation_origin
        *origins; /* [origin_count] of the entries; NULL: the memory is a uniform sample */
    size_t origin_count, origin_room;
};

/*
 * Results [run_count], each to be freed with evaluation_free; on failure they are empty. It is also a failure
 * if the labels permit no meaningful score: no pixel has a class to remember or to score, or the memory has a
 * single class, so that every prediction would be right.
 */
bool evaluate(struct evaluation *results, const struct frozen *frozen,
    const struct evaluation_options *options, struct problem *problem);
void evaluation_free(struct evaluation *evaluation);

/* Warns of classes that occur on one side only or nowhere, by their names. */
void evaluation_warn(const struct evaluation *evaluation, const struct dataset *test);

/* The note on a class next to its score: "not in the memory", ...; "" if there is none. */
const char *evaluation_note(const struct evaluation *evaluation, int class);

/* As an object of JSON: mean_iou, accuracy, ..., iou of each class by its name or number. */
struct json_t *evaluation_json(const struct evaluation *evaluation, const struct dataset *test);

/* The conditions of all runs as an object of JSON: the protocol's rules, sizes, counts, versions. */
struct json_t *evaluation_conditions(const struct frozen *frozen, const struct evaluation_options *options);

/*
 * A picture of a run's memory in a pass, with crop and jitter: bytes [3][size][size], and their
 * classes [size * size].
 */
bool evaluation_view(const struct frozen *frozen, const struct protocol *protocol,
    const struct evaluation_run *run, const struct evaluation_origin *origin, uint8_t *bytes, int32_t *labels,
    struct problem *problem);

/* A picture of the data set as scored by the protocol: [3][size][size]. */
bool evaluation_pixels(const struct frozen *frozen, const struct protocol *protocol,
    const struct image *image, float *pixels, struct problem *problem);

#endif
