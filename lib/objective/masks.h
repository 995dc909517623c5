/*
 * The patches of the student's views that are masked: blocks, as in BEiT (Bao et al. 2022), whose masks iBOT
 * (Zhou et al. 2022) and DINOv2 (Oquab et al. 2024) use, too.
 *
 * A view is masked with probability `views`. Of its N patches the share u is masked, u uniform in share_min
 * ... share_max: blocks are drawn, and each is masked that adds at least one patch and no more than are left,
 * until u N patches are masked or ten blocks in a row did not fit.
 */
#ifndef CB_OBJECTIVE_MASKS_H
#define CB_OBJECTIVE_MASKS_H

#include "base/random.h"

/* The settings. Zeroed: no patch is masked. */
typedef struct cb_masking {
    double weight; /* of the loss; 0: no patch is masked */
    double views;
    double share_min, share_max;
} cb_masking;

/* The most patches of a view of `patches` patches that are masked; 0: none are. */
size_t cb_masks_most(const cb_masking *masking, size_t patches);

/*
 * Masks at most `wanted` patches of a grid by blocks; returns how many. mask [rows, columns]: 1 where a patch
 * is masked.
 */
size_t cb_masks_draw_blocks(cb_random *random, size_t rows, size_t columns, size_t wanted, uint8_t *mask);

/*
 * The masks of both views of an image, mask [2, rows, columns], and the number of masked patches of each: a
 * function of (seed, step, key).
 */
typedef struct cb_mask_draw {
    const cb_masking *masking;
    size_t rows, columns;
    int64_t seed, step, key;
} cb_mask_draw;
void cb_masks_draw(const cb_mask_draw *draw, uint8_t *mask, int64_t counts[2]);

#endif
