/* Tokens as colours: similar tokens of a network have similar colours. */
#ifndef COMPONENTS_H
#define COMPONENTS_H

#include "drawing/sheet.h"

#include <stddef.h>
#include <stdint.h>

/* The first three principal components of tokens [count][width]: projected [count][3]. */
bool components_project(
    const float *tokens, size_t count, int64_t width, int threads, float *projected, struct problem *problem);

/*
 * Rotates `projected` so that it is as near as possible to `reference`, both [count][3] of the same tokens by
 * two networks: the orthogonal R with the least ||projected R - reference||. Components that do not span
 * three axes are left as they are.
 */
void components_align(float *projected, const float *reference, size_t count);

/* Red, green and blue by the three components, each stretched over all tokens. */
bool components_colours(
    const float *projected, size_t count, struct sheet_pixel *pixels, struct problem *problem);

#endif
