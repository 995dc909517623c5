/*
 * The vision transformer (Dosovitskiy et al. 2021, as timm and DINO write it; reference equations in
 * docs/algorithm.md): patches, [CLS] and positions, pre-norm blocks, a final norm.
 */
#ifndef CB_MODEL_VIT_H
#define CB_MODEL_VIT_H

#include "model/backbone.h"
#include "model/layers.h"

typedef struct cb_block {
    cb_affine norm1, qkv, proj, norm2, fc1, fc2;
} cb_block;

typedef struct cb_vit {
    size_t patch, width, depth, heads, hidden, grid; /* grid: patches along the training image's side */
    cb_tensor cls_token, pos_embed;
    cb_affine patch_embed;
    cb_block *blocks; /* [depth] */
    cb_affine norm;
    bool recompute; /* training keeps a block's input alone, and computes the block again on the way back */
} cb_vit;

/* Its table; the network is a cb_vit. */
extern const cb_backbone_table cb_vit_backbone;

/* Tokens [B T, D] after the final norm, T = 1 + N: [CLS], then the patches row by row. */
cb_tensor cb_vit_forward(
    const cb_vit *vit, cb_tape *tape, const cb_images *images, const cb_forward_options *options);

#endif
