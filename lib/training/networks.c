/* Pixels, positions and stochastic depth. See networks.h. */
#include "training/networks.h"

#include "clustering/positions.h"

#include <string.h>

/* (byte / 255 - mean) / deviation */
static void normalise_bytes(const cribo_batch *batch, cb_images *images)
{
    for (int c = 0; c < 3; c++) {
        images->scale[c] = (cb_real)(1 / (255 * batch->deviation[c]));
        images->shift[c] = (cb_real)(-batch->mean[c] / batch->deviation[c]);
    }
}

cb_images cb_batch_images(const cribo_batch *batch, size_t side, size_t first, size_t images)
{
    size_t begin = first * 3 * side * side;
    cb_images both = {.count = 2 * images, .height = side, .width = side};
    if (batch->view1) {
        both.pixels = batch->view1 + begin;
        both.view2_pixels = batch->view2 + begin;
        return both;
    }
    both.bytes = batch->view1_bytes + begin;
    both.view2_bytes = batch->view2_bytes + begin;
    normalise_bytes(batch, &both);
    return both;
}

cb_images cb_batch_local_crops(
    const cribo_batch *batch, size_t crops, size_t side, size_t first, size_t images)
{
    size_t begin = first * crops * 3 * side * side;
    cb_images local = {.count = images * crops, .height = side, .width = side};
    if (batch->local_views) {
        local.pixels = batch->local_views + begin;
        return local;
    }
    local.bytes = batch->local_views_bytes + begin;
    normalise_bytes(batch, &local);
    return local;
}

void cb_batch_positions(
    const cribo_batch *batch, const cb_token_layout *layout, size_t patch, float *positions)
{
    size_t views = 2 * (size_t)batch->images, n = cb_layout_patches(layout);
    if (batch->positions) {
        memcpy(positions, batch->positions, views * n * 2 * sizeof *positions);
        return;
    }
    for (size_t i = 0; i < views; i++)
        cb_patch_positions((i % 2 ? batch->crops2 : batch->crops1) + i / 2, layout->rows, layout->columns,
            patch, positions + i * n * 2);
}

const cb_real *cb_draw_depth(const cb_depth_draw *draw, cb_arena *arena)
{
    size_t depth = draw->depth, views = draw->views * draw->images;
    cb_real *keep = cb_arena_take(arena, depth * 2 * views, sizeof *keep);
    if (!(draw->drop_path > 0) || depth == 1) return NULL;
    for (size_t i = 0; i < draw->images; i++) {
        cb_random random = cb_random_begin(
            (uint64_t)draw->seed, draw->purpose, (uint64_t)draw->step, (uint64_t)draw->keys[i]);
        for (size_t branch = 0; branch < 2 * depth; branch++) {
            double drop = draw->drop_path * (double)(branch / 2) / (double)(depth - 1);
            for (size_t v = 0; v < draw->views; v++)
                keep[branch * views + draw->views * i + v] =
                    cb_random_uniform(&random) < drop ? 0 : (cb_real)(1 / (1 - drop));
        }
    }
    return keep;
}
