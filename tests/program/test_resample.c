/* Bicubic resampling against known values and what any resampling must keep. */
#include "files.h"
#include "pictures/resample.h"
#include "suite.h"

#include <string.h>

static void do_resample(const struct image *image, struct box box, int width, int height, float *out)
{
    struct problem problem;
    ck_assert(resample(image, box, width, height, out, &problem));
}

START_TEST(test_resample_constant_stays_constant)
{
    struct image image;
    struct problem problem;
    static const int sizes[][2] = {{1, 1}, {3, 50}, {37, 29}, {200, 7}};
    float out[3 * 200 * 50];
    ck_assert(image_make(&image, 37, 29, 3, &problem));
    memset(image.pixels, 201, 3 * 37 * 29);
    for (size_t k = 0; k < 4; k++) {
        int width = sizes[k][0], height = sizes[k][1];
        do_resample(&image, (struct box){0, 0, 37, 29}, width, height, out);
        for (int i = 0; i < 3 * width * height; i++) ck_assert_float_eq_tol(out[i], 201, 1e-3);
    }
    image_free(&image);
}
END_TEST

START_TEST(test_resample_to_the_same_size_changes_nothing)
{
    struct image image = files_ramp(40, 30);
    float out[3 * 20 * 10];
    do_resample(&image, (struct box){7, 11, 20, 10}, 20, 10, out);
    for (int y = 0; y < 10; y++) {
        for (int x = 0; x < 20; x++) {
            ck_assert_float_eq_tol(out[3 * (y * 20 + x)], (float)(7 + x), 1e-4);
            ck_assert_float_eq_tol(out[3 * (y * 20 + x) + 1], (float)(11 + y), 1e-4);
        }
    }
    image_free(&image);
}
END_TEST

/* Away from the edges a ramp is reproduced: out(i) is the place of i's centre in the input. */
START_TEST(test_resample_ramp_stays_a_ramp)
{
    struct image image = files_ramp(200, 160);
    static float out[3 * 300 * 300];
    static const int sizes[][2] = {{300, 250}, {60, 40}, {50, 140}};
    for (size_t k = 0; k < 3; k++) {
        int width = sizes[k][0], height = sizes[k][1];
        do_resample(&image, (struct box){20, 10, 150, 120}, width, height, out);
        for (int y = 3; y < height - 3; y++) {
            for (int x = 3; x < width - 3; x++) {
                const float *pixel = out + 3 * (y * width + x);
                ck_assert_float_eq_tol(pixel[0], 20 + (x + 0.5) * 150 / width - 0.5, 0.02);
                ck_assert_float_eq_tol(pixel[1], 10 + (y + 0.5) * 120 / height - 0.5, 0.02);
                ck_assert_float_eq_tol(pixel[2], 77, 1e-3);
            }
        }
    }
    image_free(&image);
}
END_TEST

/*
 * Values of Pillow 9.4, Image.resize(..., BICUBIC) in its mode F, for in(x, y) = (37 y^2 + 91 x^2 + 13 x y)
 * mod 256.
 */
START_TEST(test_resample_agrees_with_pillow)
{
    static const float smaller[3][4] = {{84.437f, 120.139f, 157.807f, 101.549f},
        {112.462f, 125.475f, 142.729f, 150.915f}, {97.558f, 99.014f, 146.825f, 138.664f}};
    static const float larger_row[17] = {66.562f, 145.664f, 199.532f, 31.539f, 89.532f, 247.364f, 177.626f,
        184.004f, 239.105f, 65.441f, 36.419f, 194.136f, 127.285f, 72.982f, 118.541f, 111.637f, 97.015f};
    static const float cropped[3][5] = {{117.135f, 71.102f, 132.163f, 166.136f, 75.507f},
        {65.949f, 186.264f, 188.272f, 136.327f, 75.874f}, {63.701f, 152.026f, 93.910f, 100.076f, 192.778f}};
    struct image image;
    struct problem problem;
    float out[17 * 14];
    ck_assert(image_make(&image, 11, 9, 1, &problem));
    for (int y = 0; y < 9; y++)
        for (int x = 0; x < 11; x++)
            image.pixels[y * 11 + x] = (uint8_t)(37 * y * y + 91 * x * x + 13 * x * y);
    do_resample(&image, (struct box){0, 0, 11, 9}, 4, 3, out);
    for (int i = 0; i < 12; i++) ck_assert_float_eq_tol(out[i], smaller[i / 4][i % 4], 2e-3);
    do_resample(&image, (struct box){0, 0, 11, 9}, 17, 14, out);
    for (int i = 0; i < 17; i++) ck_assert_float_eq_tol(out[5 * 17 + i], larger_row[i], 2e-3);
    do_resample(&image, (struct box){2, 1, 8, 7}, 5, 5, out);
    for (int i = 0; i < 15; i++) ck_assert_float_eq_tol(out[i], cropped[i / 5][i % 5], 2e-3);
    image_free(&image);
}
END_TEST

START_TEST(test_resample_transparent_colours_do_not_bleed)
{
    struct image image;
    struct problem problem;
    float out[4 * 4 * 4];
    ck_assert(image_make(&image, 16, 16, 4, &problem));
    for (int i = 0; i < 256; i++) { /* the left half green, the right half transparent red */
        uint8_t *pixel = image.pixels + 4 * i;
        bool left = i % 16 < 8;
        memcpy(pixel, left ? (uint8_t[4]){0, 200, 0, 255} : (uint8_t[4]){255, 0, 0, 0}, 4);
    }
    do_resample(&image, (struct box){0, 0, 16, 16}, 4, 4, out);
    for (int i = 0; i < 16; i++) {
        ck_assert_float_eq_tol(out[4 * i], 0, 1e-3);
        ck_assert_float_eq_tol(out[4 * i + 1], out[4 * i + 3] * 200 / 255, 4.0);
    }
    ck_assert_float_gt(out[3], 250);
    ck_assert_float_lt(out[4 * 3 + 3], 1);
    image_free(&image);
}
END_TEST

RUN_TESTS("resample", test_resample_constant_stays_constant, test_resample_to_the_same_size_changes_nothing,
    test_resample_ramp_stays_a_ramp, test_resample_agrees_with_pillow,
    test_resample_transparent_colours_do_not_bleed)
