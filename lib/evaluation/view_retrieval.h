/*
 * Dense retrieval without labels, between the two views of photographs: does a patch of view 1 find, among
 * all patches of view 2 of all images, the patch at the same place of its photograph?
 */
#ifndef CB_EVALUATION_VIEW_RETRIEVAL_H
#define CB_EVALUATION_VIEW_RETRIEVAL_H

#include "base/runtime.h"
#include "cribo/objective.h"
#include "tensor/real.h"

typedef struct cb_view_retrieval {
    size_t images, rows, columns, width;
    const cb_real *features[2]; /* [images, rows * columns, width] of each view */
    const cribo_crop *crops[2]; /* [images] */
    size_t reach;               /* a patch counts up to this many rows and columns beside the right one */
    size_t asked, found;        /* results */
} cb_view_retrieval;

/* Fails for lack of memory only. The results do not depend on the threads. */
cribo_status cb_view_retrieval_run(const cb_runtime *runtime, cb_view_retrieval *retrieval);

#endif
