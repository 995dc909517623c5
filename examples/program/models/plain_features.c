/* See plain_features.h. */
#include "models/plain_features.h"

#include <math.h>
#include <stddef.h>

/* A picture's pixels, [3][size][size]. */
struct picture {
    const float *pixels;
    int size;
};

static double grey_at(const struct picture *picture, int x, int y)
{
    size_t plane = (size_t)picture->size * (size_t)picture->size,
           at = (size_t)y * (size_t)picture->size + (size_t)x;
    return ((double)picture->pixels[at] + (double)picture->pixels[plane + at] +
               (double)picture->pixels[2 * plane + at]) /
           3;
}

/* The length of the gradient at a pixel, and which of the orientations it has. */
static double gradient_at(const struct picture *picture, int x, int y, int *orientation)
{
    const double half_turn = acos(-1.0);
    int last = picture->size - 1;
    double across = x > 0 && x < last ? (grey_at(picture, x + 1, y) - grey_at(picture, x - 1, y)) / 2 : 0;
    double down = y > 0 && y < last ? (grey_at(picture, x, y + 1) - grey_at(picture, x, y - 1)) / 2 : 0;
    double angle = atan2(down, across);
    if (angle < 0) angle += half_turn;
    *orientation = (int)(angle / half_turn * PLAIN_ORIENTATIONS) % PLAIN_ORIENTATIONS;
    return hypot(across, down);
}

static void describe_patch(const struct picture *picture, int left, int top, int patch, float *feature)
{
    double sums[PLAIN_WIDTH] = {0}, grey = 0, squares = 0, count = (double)patch * patch;
    size_t plane = (size_t)picture->size * (size_t)picture->size;
    for (int y = top; y < top + patch; y++)
        for (int x = left; x < left + patch; x++) {
            int orientation;
            double length = gradient_at(picture, x, y, &orientation), value = grey_at(picture, x, y);
            for (size_t c = 0; c < 3; c++)
                sums[c] += (double)picture->pixels[c * plane + (size_t)y * (size_t)picture->size + (size_t)x];
            sums[5 + orientation] += sqrt(PLAIN_ORIENTATIONS) * length;
            grey += value;
            squares += value * value;
        }
    for (int i = 0; i < PLAIN_WIDTH; i++) feature[i] = (float)(sums[i] / count);
    feature[3] = 1;
    feature[4] = (float)sqrt(fmax(squares / count - grey / count * (grey / count), 0));
}

void plain_features(const float *pixels, int size, int patch, float *features)
{
    struct picture picture = {pixels, size};
    for (int top = 0; top + patch <= size; top += patch)
        for (int left = 0; left + patch <= size; left += patch, features += PLAIN_WIDTH)
            describe_patch(&picture, left, top, patch, features);
}
