/* The networks' part of a step: a batch's pixels, and the tokens of student and teacher. */
#ifndef CB_TRAINING_NETWORKS_H
#define CB_TRAINING_NETWORKS_H

#include "base/random.h"
#include "cribo/trainer.h"
#include "model/model.h"

/*
 * Both views of `images` images from `first` on; the pixels are borrowed from the batch. View v of image i is
 * number 2 i + v.
 */
cb_images cb_batch_images(const cribo_batch *batch, size_t side, size_t first, size_t images);

/* The local crops of these images, [images, crops], of side `side`. */
cb_images cb_batch_local_crops(
    const cribo_batch *batch, size_t crops, size_t side, size_t first, size_t images);

/* Patch centres [B, 2, N, 2]: the batch's own, or those of its crops on the layout's map of patches. */
void cb_batch_positions(
    const cribo_batch *batch, const cb_token_layout *layout, size_t patch, float *positions);

/* The inputs of the random draws of stochastic depth; `keys` [images]. */
typedef struct cb_depth_draw {
    cb_purpose purpose;
    size_t depth, images, views; /* views: of an image */
    double drop_path;
    int64_t seed, step;
    const int64_t *keys;
} cb_depth_draw;

/*
 * Stochastic depth (Huang et al. 2016): branch l of L is dropped with probability drop_path · l / (L − 1),
 * separately for each view of each image, by random numbers that depend on (seed, purpose, step, key). keep
 * [L, 2, images views] from the arena; NULL if drop_path is 0.
 */
const cb_real *cb_draw_depth(const cb_depth_draw *draw, cb_arena *arena);

#endif
