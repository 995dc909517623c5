/*
 * One augmented view of a picture, by a recipe (recipe.h): random resized crop, flip, colour jitter, grey,
 * Gaussian blur, solarisation, in this order.
 *
 * The random numbers are AUGMENT_DRAWS uniform draws, each with one fixed use, so a view is a function of
 * (picture, draws).
 */
#ifndef AUGMENT_H
#define AUGMENT_H

#include "pictures/image.h"
#include "pictures/recipe.h"
#include "pictures/resample.h"

#include <cribo/trainer.h>

enum { AUGMENT_DRAWS = 64 };

enum view_kind {
    VIEW_FIRST,
    VIEW_SECOND,
    VIEW_PLAIN /* crop and flip only: for drawings */
};

/* The number of draws of choose_crop. */
enum { CROP_DRAWS = 40 };

/*
 * A random box in a picture as torchvision's RandomResizedCrop chooses it, by the recipe's areas (beyond 1 a
 * box may not fit) and ratios: ten attempts, then the largest box in the middle.
 */
struct box choose_crop(const struct recipe *recipe, const double *draws, int width, int height);

/* The number of floats in augment_view's workspace for views of side `size`. */
size_t augment_workspace(int size);

/*
 * Makes a view.
 *
 * draws  [AUGMENT_DRAWS] in [0, 1)
 * view   [3][size][size] bytes
 * crop   the box in pixels of the original (upright) picture, and the flip
 */
bool augment_view(const struct recipe *recipe, const struct image *image, enum view_kind kind, int size,
    const double *draws, float *workspace, uint8_t *view, cribo_crop *crop, struct problem *problem);

/*
 * The side below which a JPEG need not be reduced while it is decoded: even the smallest crop then has twice
 * the view's resolution.
 */
double augment_least_side(const struct recipe *recipe, int size);

#endif
