/* The objects that a frozen model finds in the two views of a picture. */
#ifndef OBJECTS_H
#define OBJECTS_H

#include "models/frozen.h"

#include <cribo/clusterer.h>

struct object_finder {
    const struct frozen *frozen;
    cribo_clusterer *clusterer;
    float *pixels;    /* [3, size, size] */
    float *tokens;    /* [2, N, D] */
    float *positions; /* [2, N, 2] */
};

/* Pointers to the objects of one picture; NULL: not computed. */
struct found_objects {
    int64_t *labels; /* [2, N] */
    uint8_t *valid;  /* [clusters] of the training's settings */
    float *vectors;  /* [2, clusters, D] */
};

/* Free with object_finder_free, on failure too. */
bool object_finder_make(struct object_finder *finder, const struct frozen *frozen,
    const cribo_runtime *runtime, struct problem *problem);
void object_finder_free(struct object_finder *finder);

/* views [3][size][size] with their crops; `call` chooses the clusters' first tokens. */
bool object_finder_run(struct object_finder *finder, const uint8_t *const views[2], const cribo_crop crops[2],
    uint64_t call, const struct found_objects *found, struct problem *problem);

#endif
