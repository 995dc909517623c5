/*
 * A view of a labelled picture for the memory of the published evaluations: a random resized crop (area 1/2
 * ... 2 times the picture's where that fits, ratio 3/4 ... 4/3, bilinear) of the picture after colour jitter
 * (brightness, contrast, saturation and hue by at most 0.1, each with probability 1/2, in this order, rounded
 * to bytes as Pillow does).
 *
 * The random numbers are SEGMENTATION_DRAWS uniform draws, so a view is a function of (picture, draws).
 */
#ifndef SEGMENTATION_VIEW_H
#define SEGMENTATION_VIEW_H

#include "pictures/resample.h"

enum { SEGMENTATION_DRAWS = 48, JITTERS = 4 };

struct segmentation_view {
    struct box box;
    bool jittered[JITTERS];
    double jitter[JITTERS]; /* factors of brightness, contrast and saturation; turn of the hue */
};

struct segmentation_view segmentation_view_of(const double *draws, int width, int height);

/* Jitters the RGB picture itself, then resamples its box to out [size][size][3], 0 ... 255. */
bool segmentation_view_pixels(
    const struct segmentation_view *view, struct image *image, int size, float *out, struct problem *problem);

#endif
