/*
 * Weights of a vision transformer in any layout (layout.h): opening a file recognises the layout and derives
 * the model's settings from the names and shapes of its tensors.
 */
#ifndef CB_FILES_WEIGHTS_H
#define CB_FILES_WEIGHTS_H

#include "files/layout.h"
#include "io/safetensors.h"
#include "model/model.h"

#define CB_PREFIX_BYTES 96
#define CB_NOTE_BYTES 400

/* A file of weights that is open for reading. */
typedef struct cb_weights {
    cb_safetensors *file;
    const char *path; /* borrowed, for messages */
    bool alone;       /* there is no folder that could have config.json */
    const cb_layout *layout;
    char prefix[CB_PREFIX_BYTES];       /* precedes the backbone's names in the layout */
    char heads_prefix[CB_PREFIX_BYTES]; /* precedes "head.mlp.0.weight" */
    bool has_heads;                     /* the projection heads are there, all of them */
    cribo_model_config config;          /* without heads where the file has none */
    bool known;                         /* the settings are from the file or its config.json */
    char assumed[CB_NOTE_BYTES];        /* the settings that were assumed; "": none */
} cb_weights;

/*
 * Opens a file. `prefix` precedes the names of the model, with or without "backbone."; NULL: it is found, and
 * if there are several it is the teacher's. Errors: those of cb_safetensors_open; CRIBO_INVALID_ARGUMENT: the
 * file has no vision transformer, or one that this library does not support; the message names the tensor.
 */
cribo_status cb_weights_open(
    const cb_allocator *allocator, cb_weights *weights, cb_place place, const char *prefix);
void cb_weights_close(cb_weights *weights);

/* Applies the caller's "name=value,name=value" to the settings of the file. */
cribo_status cb_weights_override(cb_weights *weights, const char *settings);

/* The tensors of a parameter of the backbone, `ours` after "backbone."; count 0: the file lacks it. */
cb_sources cb_weights_sources(const cb_weights *weights, const char *ours);

/* The tensor prefix + name, or NULL. */
const cb_tensor_info *cb_weights_tensor(const cb_weights *weights, const char *name);

/*
 * Reads the backbone, and with `heads` the projection heads, into a model whose shape is that of the file;
 * positions of another grid are resampled. Every tensor under the prefix that would change the result must be
 * known. On failure the model is unchanged.
 */
cribo_status cb_weights_read(
    const cb_weights *weights, const cb_runtime *runtime, cb_model *model, bool heads);

/* Replaces the file at `place` atomically by the backbone of a model in a layout. */
cribo_status cb_weights_write(const cb_runtime *runtime, const cb_model *model, cb_place place,
    const cb_layout *layout, const char *prefix);

/*
 * Whether a tensor of a file, by its name after the prefix, does not affect the features: classifiers, mask
 * tokens, decoders, tables that are computed.
 */
bool cb_weights_is_harmless(const char *name);

/* Whether files of weights may lack a parameter, which then keeps its value: the mask token. */
bool cb_weights_may_lack(const cb_parameter *parameter);

#endif
