/* Features of a frozen model. See features.h. */
#include "model/features.h"

#include <string.h>

/* Images are processed one by one: one image uses all threads, and the workspace stays small. */

/* The attention of one image, [H, T], is the first block of the arena. */
static cb_tensor infer(cb_tape *tape, const cb_model *model, const cb_images *image, cb_real **attention)
{
    cb_token_layout layout = cb_backbone_layout(&model->backbone, image->height, image->width);
    tape->bf16 = model->config.precision == CRIBO_BF16;
    *attention = cb_arena_take(tape->arena, model->backbone.heads * layout.tokens, sizeof(cb_real));
    return cb_backbone_forward(&model->backbone, tape, image, &(cb_forward_options){.attention = *attention});
}

/* Grows the workspace for an image; returns the scratch of its tape. */
static cribo_status plan(const cb_runtime *runtime, cb_features *features, const cb_model *model,
    const cb_images *image, size_t *scratch_bytes)
{
    cb_arena measured = cb_arena_measure();
    cb_real *attention;
    cb_tape tape = cb_tape_begin(&measured, runtime->pool, false, 0);
    infer(&tape, model, image, &attention);
    size_t bytes = cb_tape_planned_bytes(&tape);
    *scratch_bytes = tape.scratch_bytes;
    if (bytes <= features->arena.capacity) return CRIBO_OK;
    cb_arena_destroy(&runtime->allocator, &features->arena);
    return cb_arena_create(&runtime->allocator, &features->arena, bytes, "workspace of the features");
}

cribo_status cb_features_reserve(
    const cb_runtime *runtime, cb_features *features, const cb_model *model, size_t height, size_t width)
{
    const cb_images image = {.count = 1, .height = height, .width = width};
    size_t scratch_bytes;
    return plan(runtime, features, model, &image, &scratch_bytes);
}

/* The shares of the dense tokens, from [H, T] to [H, N]. */
static void copy_dense_shares(const cb_token_layout *layout, size_t heads, const cb_real *shares, cb_real *to)
{
    size_t n = cb_layout_patches(layout);
    for (size_t h = 0; h < heads; h++)
        memcpy(to + h * n, shares + h * layout->tokens + layout->dense, n * sizeof *to);
}

cribo_status cb_features_compute(const cb_runtime *runtime, cb_features *features, const cb_model *model,
    const cb_images *images, cb_real *dense, cb_real *global, cb_real *attention)
{
    cb_images image = *images;
    cb_token_layout layout = cb_backbone_layout(&model->backbone, image.height, image.width);
    size_t scratch_bytes, n = cb_layout_patches(&layout), d = model->backbone.width,
                          heads = model->backbone.heads;
    image.count = 1;
    CB_TRY(plan(runtime, features, model, &image, &scratch_bytes));
    for (size_t b = 0; b < images->count; b++) {
        cb_real *shares;
        cb_arena_return(&features->arena, 0);
        cb_tape tape = cb_tape_begin(&features->arena, runtime->pool, false, scratch_bytes);
        image.pixels = images->pixels + b * 3 * image.height * image.width;
        cb_tensor x = infer(&tape, model, &image, &shares);
        if (global) cb_layout_copy_global(&layout, x.value, 1, d, global + b * d);
        if (dense) memcpy(dense + b * n * d, x.value + layout.dense * d, n * d * sizeof *dense);
        if (attention) copy_dense_shares(&layout, heads, shares, attention + b * heads * n);
    }
    return CRIBO_OK;
}

void cb_features_free(const cb_runtime *runtime, cb_features *features)
{
    cb_arena_destroy(&runtime->allocator, &features->arena);
}
