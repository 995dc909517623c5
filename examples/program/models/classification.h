/*
 * Classification of whole pictures by the nearest neighbours of their [CLS] tokens (Caron et al., "Emerging
 * properties in self-supervised vision transformers", 2021): the short side becomes 8/7 of the model's size,
 * bicubic, the middle is cut out, and each of the k nearest by cosine votes for its class with exp(cosine /
 * temperature).
 *
 * Data: ROOT/train and ROOT/val, a folder of pictures for each class, or two such folders of classes.
 */
#ifndef CLASSIFICATION_H
#define CLASSIFICATION_H

#include "models/frozen.h"

struct classification_options {
    const char *train, *test; /* test NULL: ROOT/train and ROOT/val of `train` */
    int64_t neighbours;       /* 0: 20 */
    double temperature;       /* 0: 0.07 */
    int threads;
    bool say;
};

struct classification {
    int classes;
    size_t remembered, scored; /* pictures */
    double first, first_five;  /* the share of pictures whose class is the first, among the first five */
};

bool classification_evaluate(struct classification *result, const struct frozen *frozen,
    const struct classification_options *options, struct problem *problem);

#endif
