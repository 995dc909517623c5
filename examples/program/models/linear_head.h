/*
 * Linear segmentation as in papers: one layer on frozen tokens, by stochastic gradient descent on the pixels
 * of coarse label maps, scored at the full size. The schedule is fixed and stated with the result.
 */
#ifndef LINEAR_HEAD_H
#define LINEAR_HEAD_H

#include "models/frozen.h"
#include "models/protocol.h"
#include "pictures/dataset.h"

#include <cribo/evaluation.h>

enum {
    HEAD_EPOCHS = 25,
    HEAD_DROP = 20,
    HEAD_BATCH = 16,
    HEAD_LABELS = 100
}; /* the rate falls to 1/10 at HEAD_DROP */
#define HEAD_RATE 0.01
#define HEAD_MOMENTUM 0.9
#define HEAD_DECAY 1e-4

struct linear_head_options {
    const struct protocol *protocol; /* how pictures and label maps are resized */
    const struct dataset *train, *test;
    int epochs;   /* 0: HEAD_EPOCHS; the rate falls after four fifths of them */
    double rate;  /* 0: HEAD_RATE */
    int64_t seed; /* of the order */
    int threads;
    bool say;
};

struct linear_head {
    int epochs,
        label_side; /* of the label maps in training: the least multiple of the patches from HEAD_LABELS on */
    double rate, loss; /* loss: mean over the last epoch */
    cribo_scores scores;
    double *iou; /* [classes] */
};

/* Free with linear_head_free; on failure *result is empty. */
bool linear_head_evaluate(struct linear_head *result, const struct frozen *frozen,
    const struct linear_head_options *options, struct problem *problem);
void linear_head_free(struct linear_head *result);

#endif
