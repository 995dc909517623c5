/*
 * The projection heads: one MLP for [CLS] vectors and objects, x → linear → GELU → linear → GELU → linear →
 * L2 normalisation, and two weight-normed last layers. The logits are not computed here: the loss iterates
 * over the prototypes.
 */
#ifndef CB_MODEL_HEADS_H
#define CB_MODEL_HEADS_H

#include "model/layers.h"

/* The prefix of the names of the heads' parameters. */
#define CB_HEAD_NAMES "head."

/* A last layer, W[p] = gain[p] direction[p] / ‖direction[p]‖. */
typedef struct cb_last_layer {
    cb_tensor gain, direction; /* weight_g [P, 1], weight_v [P, E] */
} cb_last_layer;

typedef struct cb_heads {
    size_t input, hidden, bottleneck, prototypes, object_prototypes;
    bool fixed_gain;
    cb_affine mlp0, mlp2, mlp4;
    cb_last_layer cls, objects; /* "last_layer" and "last_layer_c" */
} cb_heads;

/* Adds the parameters under "head." and binds the views. */
void cb_heads_describe(cb_heads *heads, cb_parameters *parameters);

/* Computes the unit bottleneck vectors [rows, E] of x [rows, input], with a separate gradient. */
cb_tensor cb_heads_forward(const cb_heads *heads, cb_tape *tape, cb_tensor x);

#endif
