/* The networks' side of a step: a batch's pixels, and the tokens that student and teacher make of them. */
#ifndef CB_TRAINING_NETWORKS_H
#define CB_TRAINING_NETWORKS_H

#include "cribo/trainer.h"
#include "model/model.h"

/*
 * Both views of `images` images from `first` on; the pixels stay the batch's. View v of image i is number
 * 2 i + v.
 */
cb_images cb_batch_images(const cribo_batch *batch, size_t side, size_t first, size_t images);

/* Patch centres [B, 2, N, 2]: the batch's own, or those of its crops on the layout's map of patches. */
void cb_batch_positions(
    const cribo_batch *batch, const cb_token_layout *layout, size_t patch, float *positions);

/* What the draws of stochastic depth depend on; `keys` [images]. */
typedef struct cb_depth_draw {
    size_t depth, images;
    double drop_path;
    int64_t seed, step;
    const int64_t *keys;
} cb_depth_draw;

/*
 * Stochastic depth (Huang et al. 2016): branch l of L is dropped with probability drop_path · l / (L − 1),
 * for each view of each image on its own, by numbers that belong to (seed, step, key). keep [L, 2, 2 b] from
 * the arena; NULL when nothing is ever dropped.
 */
const cb_real *cb_draw_depth(const cb_depth_draw *draw, cb_arena *arena);

#endif
