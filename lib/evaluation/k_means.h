/*
 * k-means: centres that minimise the sum of the squared distances of rows to their nearest centre (Lloyd,
 * "Least squares quantization in PCM", 1982), from a start by k-means++ (Arthur and Vassilvitskii, SODA
 * 2007). The bits do not depend on the threads.
 */
#ifndef CB_EVALUATION_K_MEANS_H
#define CB_EVALUATION_K_MEANS_H

#include "base/runtime.h"
#include "tensor/real.h"

typedef struct cb_k_means {
    size_t rows, width, clusters;
    const cb_real *x; /* [rows, width] */
    uint64_t seed;
    int64_t iterations;
    cb_real *centres; /* [clusters, width] result */
    int32_t *labels;  /* [rows] result: the nearest of the centres */
    double *inertia;  /* result: the sum of the squared distances */
} cb_k_means;

/*
 * Stops when the sum no longer decreases, or after `iterations`. A centre without rows moves to the row that
 * is farthest from its own. Fails for lack of memory or when cancelled; the results are then undefined.
 */
cribo_status cb_k_means_fit(const cb_runtime *runtime, const cb_k_means *problem);

/* Labels and inertia of rows for given centres. Fails for lack of memory only. */
cribo_status cb_k_means_assign(const cb_runtime *runtime, const cb_k_means *problem);

#endif
