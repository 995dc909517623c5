/*
 * Features of patches that need no learning: mean colour, deviation, and the oriented gradients in a patch. A
 * network has learnt something if it retrieves better than these.
 */
#ifndef PLAIN_FEATURES_H
#define PLAIN_FEATURES_H

enum { PLAIN_ORIENTATIONS = 8, PLAIN_WIDTH = 3 + 1 + 1 + PLAIN_ORIENTATIONS };

/*
 * features [(size / patch)^2][PLAIN_WIDTH] of a picture, pixels [3][size][size] in 0 ... 1: the means of red,
 * green and blue, 1 (so that a cosine tells dark colours from light ones), the deviation of grey, and for
 * each orientation, without sign, the mean length of the gradients of grey that have it, times sqrt(8).
 * Gradients are central differences, 0 at the border.
 */
void plain_features(const float *pixels, int size, int patch, float *features);

#endif
