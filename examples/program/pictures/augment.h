/*
 * One augmented view of a picture, by the published recipe: random resized crop (area 1/4 ... 1, ratio 3/4
 * ... 4/3, bicubic), flip with probability 1/2, colour jitter 0.4 0.4 0.2 0.1 with probability 0.8, grey 0.2,
 * Gaussian blur (always in view 1, 0.1 in view 2; deviation 0.1 ... 2 pixels of the view), solarisation 0.2
 * in view 2.
 *
 * All chance comes in as AUGMENT_DRAWS uniform numbers, each with one fixed use, so a view is a function of
 * (picture, draws).
 */
#ifndef AUGMENT_H
#define AUGMENT_H

#include "pictures/image.h"
#include "pictures/resample.h"

#include <cribo/trainer.h>

/* Of the channels of ImageNet's pixels, 0 ... 1: what views are normalised with. */
#define IMAGENET_MEAN 0.485, 0.456, 0.406
#define IMAGENET_DEVIATION 0.229, 0.224, 0.225

enum { AUGMENT_DRAWS = 64 };

enum view_kind {
    VIEW_FIRST,
    VIEW_SECOND,
    VIEW_PLAIN /* crop and flip only: for pictures that a person looks at */
};

/* The draws that choose_crop takes. */
enum { CROP_DRAWS = 40 };

/*
 * A random box in a picture as torchvision's RandomResizedCrop chooses it: an area that is a share of the
 * picture's between the two given ones (beyond 1 it may not fit), a ratio of 3/4 ... 4/3; ten attempts, then
 * the largest box in the middle.
 */
struct box choose_crop(const double *draws, int width, int height, double least_area, double most_area);

/* How many floats augment_view needs as workspace for views of side `size`. */
size_t augment_workspace(int size);

/*
 * Makes a view.
 *
 * draws  [AUGMENT_DRAWS] in [0, 1)
 * view   [3][size][size] bytes
 * crop   the box in pixels of the original (upright) picture, and the flip
 */
bool augment_view(const struct image *image, enum view_kind kind, int size, const double *draws,
    float *workspace, uint8_t *view, cribo_crop *crop, struct problem *problem);

/*
 * The side below which a JPEG need not be reduced while it is decoded: even the smallest crop then has twice
 * the view's resolution.
 */
double augment_least_side(int size);

#endif
