/*
 * Unsupervised segmentation: k-means of the tokens of all scored pictures, clusters matched with classes
 * afterwards. Tokens are normalised to length 1; every pixel has the cluster of its patch.
 */
#ifndef UNSUPERVISED_H
#define UNSUPERVISED_H

#include "models/frozen.h"
#include "models/protocol.h"
#include "pictures/dataset.h"

#include <cribo/evaluation.h>

enum {
    CLUSTER_SAMPLE = 256,
    CLUSTER_ITERATIONS = 50
}; /* tokens for each cluster in the sample of k-means; its rounds */

struct unsupervised_options {
    const struct protocol *protocol; /* how pictures and label maps are resized */
    const struct dataset *test;
    int clusters;     /* 0: as many as classes */
    int64_t matching; /* CRIBO_MATCH_ONE_TO_ONE or CRIBO_MATCH_MANY_TO_ONE */
    int64_t seed;     /* of the sample of tokens and of the start */
    int threads;
    bool say;
};

struct unsupervised {
    int clusters;
    int64_t sampled;     /* tokens in the sample of k-means */
    cribo_scores scores; /* of the matched clusters; mean_iou is over all classes */
    double *iou;         /* [classes] */
};

/* Free with unsupervised_free; on failure *result is empty. */
bool unsupervised_evaluate(struct unsupervised *result, const struct frozen *frozen,
    const struct unsupervised_options *options, struct problem *problem);
void unsupervised_free(struct unsupervised *result);

#endif
