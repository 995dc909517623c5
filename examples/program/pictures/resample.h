/*
 * Bicubic resampling of a box of a picture to another size, with antialiasing as in Pillow and torchvision.
 *
 *   out(i) = sum_j w_ij in(j),   w_ij = k((j + 1/2 - centre_i) / s) / sum,   centre_i = left + (i + 1/2)
 *   scale, s = max(scale, 1),   k the cubic convolution kernel with a = -1/2 (Keys 1981), support 2 s,
 *
 * first along rows, then along columns. Taps end at the box's edges: pixels outside of it never count.
 */
#ifndef RESAMPLE_H
#define RESAMPLE_H

#include "pictures/image.h"

struct box {
    int x, y, width, height;
};

/*
 * Resamples `box`, which is inside of the picture, to out [height][width][channels], 0 ... 255 with
 * overshoots clamped, not rounded. Colours of an RGBA picture come out multiplied by alpha / 255.
 */
bool resample(
    const struct image *image, struct box box, int width, int height, float *out, struct problem *problem);

/* The same with the bilinear kernel, k(x) = max(0, 1 - |x|), whose support is s. */
bool resample_bilinear(
    const struct image *image, struct box box, int width, int height, float *out, struct problem *problem);

/*
 * An RGB picture, bilinear, to bytes out [height][width][3] as the resize of Pillow before 13 rounds them:
 * weights to multiples of 2^-22, pixels to whole numbers after each axis, across first. (Pillow 13 resamples
 * some pictures that are higher than wide down first.)
 */
bool resample_bytes(const struct image *image, int width, int height, uint8_t *out, struct problem *problem);

#endif
