/*
 * A model: a backbone with heads (or without), its parameters in one flat buffer, and, when it is to be
 * trained, their gradients in another.
 */
#ifndef CB_MODEL_MODEL_H
#define CB_MODEL_MODEL_H

#include "model/backbone.h"
#include "model/heads.h"

typedef struct cb_model {
    cribo_model_config config;
    cb_parameters parameters;
    cb_backbone backbone;
    cb_heads heads; /* prototypes = 0: there are none */
} cb_model;

extern const cb_config_table cb_model_settings;

/* The names of CRIBO_FLOAT32 and CRIBO_BF16; descriptions of the settings that a trainer has as well. */
extern const char *const cb_precisions[2];
#define CB_PRECISION_HELP \
    "number format of the networks' matrix products and activations; parameters are float32"
#define CB_RECOMPUTE_HELP \
    "1: keep only each block's input and recompute the block in the backward pass (less memory); 0: keep all"

/*
 * Makes a model with fresh parameters, with gradients when `trained`. `config` is a full one whose ranges
 * hold.
 */
cribo_status cb_model_create(
    const cb_runtime *runtime, cb_model **out, const cribo_model_config *config, bool trained);

/* A frozen copy of a model: the same settings and values, no gradients. */
cribo_status cb_model_copy(const cb_runtime *runtime, cb_model **out, const cb_model *source);

void cb_model_free(const cb_runtime *runtime, cb_model *model);

#endif
