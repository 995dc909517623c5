/* What the public handles hold, where files of this room share them. */
#ifndef CB_API_HANDLES_H
#define CB_API_HANDLES_H

#include "api/guard.h"
#include "distillation/memory_bank.h"
#include "model/features.h"

/*
 * A model by itself owns its runtime and parameters. The two of a trainer are lent: runtime, model and guard
 * are the trainer's, which frees them, and the features' workspace with cb_features_free.
 */
struct cribo_model {
    cb_guard own_guard, *guard; /* `guard` is the own one, or the trainer's; so for all handles */
    cb_runtime own;             /* unused when lent */
    const cb_runtime *runtime;  /* &own, or the trainer's */
    cb_model *model;
    cb_features features;
};

/* A memory bank, by itself or lent by a trainer or an objective with a copy of its runtime. */
struct cribo_memory_bank {
    cb_guard own_guard, *guard;
    cb_runtime runtime;
    cb_memory_bank *bank;
};

#endif
