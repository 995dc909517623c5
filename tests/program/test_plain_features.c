/* Features of patches without a network, on pictures whose features are known. */
#include "models/plain_features.h"
#include "suite.h"

#include <math.h>

enum { SIZE = 16, PATCH = 8, PLANE = SIZE * SIZE, PATCHES = 4 };

static float pixels[3 * PLANE], features[PATCHES][PLAIN_WIDTH];

START_TEST(test_plain_features_of_one_colour_are_its_channels)
{
    for (int i = 0; i < PLANE; i++) pixels[i] = 0.25F, pixels[PLANE + i] = 0.5F, pixels[2 * PLANE + i] = 1;
    plain_features(pixels, SIZE, PATCH, features[0]);
    for (int p = 0; p < PATCHES; p++) {
        const float wanted[PLAIN_WIDTH] = {0.25F, 0.5F, 1, 1};
        for (int d = 0; d < PLAIN_WIDTH; d++) ck_assert_double_eq_tol(features[p][d], wanted[d], 1e-6);
    }
}
END_TEST

/* A grey ramp in a direction: inside the picture its gradient has one length and one orientation. */
START_TEST(test_plain_features_of_a_ramp_have_its_direction)
{
    const double pi = acos(-1.0);
    for (int k = 0; k < 2 * PLAIN_ORIENTATIONS; k++) {
        double angle = (k + 0.5) * pi / PLAIN_ORIENTATIONS, length = 0.02;
        for (int i = 0; i < 3 * PLANE; i++) {
            int x = i % PLANE % SIZE, y = i % PLANE / SIZE;
            pixels[i] = (float)(0.5 + length * ((x - 8) * cos(angle) + (y - 8) * sin(angle)));
        }
        plain_features(pixels, SIZE, PATCH, features[0]);
        /* 49 of 64 pixels of a corner patch lie inside; the border has no gradient across it. */
        const float *histogram = features[0] + 5;
        ck_assert_double_ge(
            histogram[k % PLAIN_ORIENTATIONS], sqrt(PLAIN_ORIENTATIONS) * length * 49 / 64 - 1e-5);
        double sum = 0;
        for (int o = 0; o < PLAIN_ORIENTATIONS; o++) sum += (double)histogram[o];
        ck_assert_double_le(sum, sqrt(PLAIN_ORIENTATIONS) * length + 1e-5);
        ck_assert_double_gt(features[0][4], 0);
    }
}
END_TEST

/* Patches stand row by row, and a patch's colour is its own. */
START_TEST(test_plain_features_stand_row_by_row)
{
    for (int i = 0; i < 3 * PLANE; i++) pixels[i] = 0;
    for (int y = 0; y < PATCH; y++)
        for (int x = PATCH; x < SIZE; x++) pixels[y * SIZE + x] = 1; /* red, above right */
    plain_features(pixels, SIZE, PATCH, features[0]);
    for (int p = 0; p < PATCHES; p++) {
        ck_assert_double_eq(features[p][0], p == 1);
        ck_assert_double_eq(features[p][1], 0);
        ck_assert_double_eq(features[p][3], 1);
    }
}
END_TEST

RUN_TESTS("plain_features", test_plain_features_of_one_colour_are_its_channels,
    test_plain_features_of_a_ramp_have_its_direction, test_plain_features_stand_row_by_row)
