/* Features of a frozen model: dense tokens, global vector, and the attention of the last block. */
#ifndef CB_MODEL_FEATURES_H
#define CB_MODEL_FEATURES_H

#include "model/model.h"

/* The workspace of the largest image so far. Zeroed: none yet. */
typedef struct cb_features {
    cb_arena arena;
} cb_features;

/* The workspace grows to what an image of this size needs; fails for lack of memory. */
cribo_status cb_features_reserve(
    const cb_runtime *runtime, cb_features *features, const cb_model *model, size_t height, size_t width);

/*
 * Features of images [count, 3, height, width], as numbers, whose sides are multiples of the patch; dense
 * [count, N, D], global [count, D], attention [count, H, N], each NULL if not needed. Fails only for lack
 * of memory, before anything is written.
 */
cribo_status cb_features_compute(const cb_runtime *runtime, cb_features *features, const cb_model *model,
    const cb_images *images, cb_real *dense, cb_real *global, cb_real *attention);
void cb_features_free(const cb_runtime *runtime, cb_features *features);

#endif
