/* Features of a frozen model. See features.h. */
#include "model/features.h"

#include <string.h>

/* Images go through the model one by one: a single one fills the machine, and the workspace stays small. */

/* The attention for one image, [H, T], stands before everything else in the arena. */
static cb_tensor infer(cb_tape *tape, const cb_model *model, const cb_images *image, cb_real **attention)
{
    size_t tokens = cb_vit_tokens(&model->vit, image->height, image->width);
    tape->bf16 = model->config.precision == CRIBO_BF16;
    *attention = cb_arena_take(tape->arena, model->vit.heads * tokens, sizeof(cb_real));
    return cb_vit_forward(&model->vit, tape, image, &(cb_vit_options){.attention = *attention});
}

/* Lets the workspace hold an image; tells the scratch that its tape begins with. */
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

/* Rows of all tokens but the first, from [H, 1 + N] to [H, N]. */
static void copy_patch_shares(cb_real *to, const cb_real *from, size_t heads, size_t tokens)
{
    for (size_t h = 0; h < heads; h++)
        memcpy(to + h * (tokens - 1), from + h * tokens + 1, (tokens - 1) * sizeof *to);
}

cribo_status cb_features_compute(const cb_runtime *runtime, cb_features *features, const cb_model *model,
    const cb_images *images, cb_real *dense, cb_real *cls, cb_real *attention)
{
    cb_images image = *images;
    size_t scratch_bytes, tokens = cb_vit_tokens(&model->vit, image.height, image.width),
                          d = model->vit.width;
    image.count = 1;
    CB_TRY(plan(runtime, features, model, &image, &scratch_bytes));
    for (size_t b = 0; b < images->count; b++) {
        cb_real *shares;
        cb_arena_return(&features->arena, 0);
        cb_tape tape = cb_tape_begin(&features->arena, runtime->pool, false, scratch_bytes);
        image.pixels = images->pixels + b * 3 * image.height * image.width;
        cb_tensor x = infer(&tape, model, &image, &shares);
        if (cls) memcpy(cls + b * d, x.value, d * sizeof *cls);
        if (dense) memcpy(dense + b * (tokens - 1) * d, x.value + d, (tokens - 1) * d * sizeof *dense);
        if (attention)
            copy_patch_shares(
                attention + b * model->vit.heads * (tokens - 1), shares, model->vit.heads, tokens);
    }
    return CRIBO_OK;
}

void cb_features_free(const cb_runtime *runtime, cb_features *features)
{
    cb_arena_destroy(&runtime->allocator, &features->arena);
}
