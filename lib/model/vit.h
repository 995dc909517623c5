/*
 * The vision transformer (Dosovitskiy et al. 2021, as timm and DINO write it; reference equations in
 * docs/algorithm.md): patches, [CLS] and positions, pre-norm blocks, a final norm.
 */
#ifndef CB_MODEL_VIT_H
#define CB_MODEL_VIT_H

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

/* Adds the parameters under "backbone." and binds the views; vit->blocks may be NULL while counting. */
void cb_vit_describe(cb_vit *vit, cb_parameters *parameters);

/* Tokens of an image of this size, [CLS] included. */
size_t cb_vit_tokens(const cb_vit *vit, size_t height, size_t width);

typedef struct cb_vit_options {
    const cb_real
        *keep; /* stochastic depth: [depth, 2, B] factors of the branches (cb_op_residual); NULL: all 1 */
    cb_real *attention; /* [B, H, T] of the last block's [CLS] query; NULL: not wanted */
} cb_vit_options;

/*
 * Another model's positions [1 + grid^2, D], resampled to this one's grid, as for an image of another size:
 * to [1 + N, D]. Fails only for lack of memory.
 */
cribo_status cb_vit_adapt_positions(
    const cb_runtime *runtime, const cb_vit *vit, cb_real *positions, size_t grid, cb_real *to);

/* Tokens [B T, D] after the final norm; their gradient shares their memory. */
cb_tensor cb_vit_forward(
    const cb_vit *vit, cb_tape *tape, const cb_images *images, const cb_vit_options *options);

#endif
