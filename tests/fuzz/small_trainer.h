/* A trainer small enough for thousands of loads, whose checkpoints are the fuzzers' seeds. */
#ifndef TESTS_FUZZ_SMALL_TRAINER_H
#define TESTS_FUZZ_SMALL_TRAINER_H

#include "support/training.h"

static inline cribo_trainer_config small_trainer_config(void)
{
    cribo_trainer_config c = training_config();
    c.image_size = 16;
    c.width = 4;
    c.depth = 1;
    c.mlp_ratio = 1;
    c.head_hidden = 3;
    c.head_bottleneck = 3;
    c.prototypes = c.object_prototypes = 4;
    c.clusters = 2;
    c.bank_images = 3;
    return c;
}

#endif
