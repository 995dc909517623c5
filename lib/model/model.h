/*
 * A model: a backbone with or without heads, its parameters in one flat buffer, and, if it is trained, their
 * gradients in another.
 */
#ifndef CB_MODEL_MODEL_H
#define CB_MODEL_MODEL_H

#include "model/backbone.h"
#include "model/heads.h"

#include <stdatomic.h>

typedef struct cb_model {
    cb_allocator allocator; /* of all its memory */
    atomic_size_t holders;  /* the handles that use it; while there are several, nothing changes it */
    cribo_model_config config;
    cb_parameters parameters;
    cb_backbone backbone;
    cb_training training;
    cb_heads heads;  /* prototypes = 0: there are none */
    cb_arena packed; /* the backbone's weights, packed for inference; empty: they are not */
} cb_model;

extern const cb_config_table cb_model_settings;

/* The names of CRIBO_FLOAT32 and CRIBO_BF16; descriptions of the settings that a trainer has as well. */
extern const char *const cb_precisions[2];
#define CB_PRECISION_HELP \
    "number format of the networks' matrix products and activations; parameters are float32"
#define CB_RECOMPUTE_HELP \
    "1: keep only each block's input and recompute the block in the backward pass (less memory); 0: keep all"

/* The settings of the transformer's family, which a trainer has, too. */
extern const char *const cb_stems[2], *const cb_mlps[2], *const cb_position_embeddings[2],
                                                             *const cb_rope_coordinates[3],
                                                                 *const cb_qkv_biases[3];
#define CB_TRANSFORMER_FIELDS(T) \
    CB_INTEGER(T, registers, 0, 1024, 0, "register tokens between [CLS] and the patches"), \
        CB_REAL(T, layer_scale, 0, 1000, 0, "first value of LayerScale's gains; 0: no LayerScale"), \
        CB_CHOICE(T, mlp, cb_mlps, CRIBO_MLP_GELU, \
            "MLP of a block: gelu, or swiglu as in DINOv2 g/14 and DINOv3 S+"), \
        CB_INTEGER(T, mlp_hidden, 0, 4194304, 0, "hidden width of a block's MLP; 0: mlp_ratio times width"), \
        CB_CHOICE(T, position_embedding, cb_position_embeddings, CRIBO_POSITIONS_LEARNED, \
            "learned positions, or rope: rotary positions as in DINOv3"), \
        CB_INTEGER(T, position_grid, 0, 16384, 0, \
            "side in patches of the grid of learned positions; 0: image_size / patch_size"), \
        CB_INTEGER(T, cls_position, 0, 1, 1, "1: [CLS] has a learned position; 0: it has none"), \
        CB_REAL(T, position_offset, 0, 1, 0.1, \
            "offset of resampling learned positions: 0.1 as DINO and DINOv2, 0 as timm and Hugging Face"), \
        CB_INTEGER(T, position_antialias, 0, 1, 0, \
            "1: resample learned positions with antialiasing, as timm and DINOv2 with registers"), \
        CB_REAL(T, rope_base, 1e-6, 1e12, 100, "base of the periods of rotary positions"), \
        CB_REAL( \
            T, rope_min_period, 0, 1e12, 0, "least period of rotary positions; 0: periods by rope_base"), \
        CB_REAL( \
            T, rope_max_period, 0, 1e12, 0, "largest period of rotary positions; 0: periods by rope_base"), \
        CB_CHOICE(T, rope_coordinates, cb_rope_coordinates, CRIBO_ROPE_SEPARATE, \
            "sides that rotary positions are divided by: each its own, or both the smaller or larger"), \
        CB_REAL(T, norm_epsilon, 1e-12, 1, 1e-6, "epsilon of the layer norms"), \
        CB_CHOICE(T, qkv_bias, cb_qkv_biases, CRIBO_QKV_BIAS_ALL, \
            "biases of queries, keys and values: all, no_key (the keys' stays 0), or none")

#define CB_STEM_FIELD(T) \
    CB_CHOICE(T, stem, cb_stems, CRIBO_STEM_PATCH, \
        "embedding of the pixels: patch, a linear map of each patch; or convolution, a few strided " \
        "convolutions, for patch sizes that are powers of two")

/*
 * Makes a model with random parameters, and with gradients if `training` is not NULL. `config` is complete
 * and checked.
 */
cribo_status cb_model_create(
    const cb_runtime *runtime, cb_model **out, const cribo_model_config *config, const cb_training *training);

/* A frozen copy of a model: the same settings and values, no gradients. */
cribo_status cb_model_copy(const cb_runtime *runtime, cb_model **out, const cb_model *source);

/*
 * The same for its backbone alone, without heads. The parameters of a backbone come first in a model: those
 * of the copy have the offsets of the source.
 */
cribo_status cb_model_copy_backbone(const cb_runtime *runtime, cb_model **out, const cb_model *source);

/* The same model for another holder, which frees it, too. */
cb_model *cb_model_hold(cb_model *model);

/* Gives up one hold; the last one frees the model. */
void cb_model_free(cb_model *model);

/*
 * Packs the weights of the backbone for inference, once for all later passes; the results have the same bits.
 * The model has no gradients and one holder. A change of its parameters calls cb_model_unpack.
 */
cribo_status cb_model_pack(const cb_runtime *runtime, cb_model *model);
void cb_model_unpack(cb_model *model);

#endif
