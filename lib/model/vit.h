/*
 * The vision transformer (Dosovitskiy et al. 2021, as timm and DINO write it; reference equations in
 * docs/algorithm.md): patches, [CLS], registers and positions, pre-norm blocks, a final norm. Its settings
 * cover DINO, DINOv2, DINOv3 and their kin (docs/backbones.md).
 */
#ifndef CB_MODEL_VIT_H
#define CB_MODEL_VIT_H

#include "model/backbone.h"
#include "model/layers.h"

typedef struct cb_block {
    cb_layer_norm norm1, norm2;
    cb_affine qkv, proj;
    cb_affine mlp_in, mlp_out; /* fc1 and fc2, or SwiGLU's w12 and w3 */
    cb_tensor scale1, scale2;  /* LayerScale's gains; zeroed: none */
} cb_block;

/* A layer of the convolutional stem: 3 × 3 with stride 2, layer norm over the channels, GELU. */
typedef struct cb_stem_layer {
    cb_affine conv; /* without bias */
    cb_layer_norm norm;
} cb_stem_layer;

#define CB_MAX_STEM_LAYERS 10 /* patches of 2^10 pixels are the largest */

typedef struct cb_vit {
    size_t patch, width, depth, heads, hidden;
    size_t registers;
    cb_training training;
    bool swiglu;        /* the MLP is SwiGLU, not GELU */
    double layer_scale; /* first value of the gains; 0: none */
    double norm_epsilon;
    int64_t qkv_bias;      /* CRIBO_QKV_BIAS_... */
    bool learned;          /* positions are learned, else rotary */
    cb_grid_sampling grid; /* of learned positions */
    cb_rotary rotary;
    bool masks; /* there is a mask token */
    cb_tensor cls_token, register_tokens, pos_embed, mask_token;
    size_t stem_layers; /* 0: the patches are embedded by patch_embed alone */
    cb_stem_layer stem[CB_MAX_STEM_LAYERS];
    cb_affine patch_embed; /* of patches, or of the stem's output */
    cb_block *blocks;      /* [depth] */
    cb_layer_norm norm;
    bool recompute; /* training keeps only blocks' inputs; the backward pass computes blocks again */
} cb_vit;

/* Its table; the network is a cb_vit. */
extern const cb_backbone_table cb_vit_backbone;

/* Tokens [B T, D] after the final norm: [CLS], registers, then the patches row by row. */
cb_tensor cb_vit_forward(
    const cb_vit *vit, cb_tape *tape, const cb_images *images, const cb_forward_options *options);

#endif
