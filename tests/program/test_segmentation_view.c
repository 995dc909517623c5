/*
 * Pictures as the published evaluations show them: resized, jittered and cropped, held against bytes that
 * Pillow 13 and torchvision 0.28 gave for the same picture.
 */
#include "pictures/augment.h"
#include "pictures/segmentation_view.h"
#include "suite.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { WIDTH = 9, HEIGHT = 7 };

static struct problem problem;

static struct image picture_of(int width, int height)
{
    struct image image;
    ck_assert(image_make(&image, width, height, 3, &problem));
    uint8_t *pixel = image.pixels;
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++) {
            *pixel++ = (uint8_t)(x * 29 + y * 3);
            *pixel++ = (uint8_t)(x * 7 + y * 37);
            *pixel++ = (uint8_t)(x * x * 5 + y * 11 + 90);
        }
    return image;
}

static struct image picture(void)
{
    return picture_of(WIDTH, HEIGHT);
}

/*
 * Of 4 x 3 pixels; then every fourth pixel of every third row after brightness 1.0731, contrast 0.9268,
 * saturation * 1.0913, a hue turned by -0.0642, and all of them.
 */
static const uint8_t resized[] = {27, 38, 105, 86, 52, 144, 152, 68, 148, 211, 82, 103, 33, 117, 129, 92, 131,
    166, 158, 147, 141, 217, 161, 127, 39, 196, 153, 98, 208, 186, 164, 157, 90, 223, 149, 151};
static const uint8_t jittered[5][27] = {{0, 0, 96, 124, 30, 182, 248, 60, 165, 9, 119, 131, 134, 149, 217,
                                            255, 179, 200, 19, 238, 167, 143, 255, 253, 255, 23, 236},
    {9, 9, 92, 116, 35, 166, 224, 61, 151, 17, 112, 123, 125, 137, 197, 232, 163, 182, 25, 214, 153, 133, 240,
        227, 240, 29, 213},
    {0, 0, 97, 120, 24, 179, 242, 50, 157, 2, 113, 126, 123, 138, 208, 245, 164, 186, 5, 228, 156, 126, 253,
        238, 255, 13, 229},
    {0, 34, 90, 61, 28, 170, 232, 56, 222, 9, 123, 90, 126, 169, 203, 241, 167, 216, 18, 222, 76, 134, 250,
        191, 194, 23, 250},
    {8, 45, 105, 69, 33, 187, 249, 60, 238, 11, 134, 98, 132, 179, 215, 250, 173, 224, 15, 236, 77, 135, 248,
        202, 181, 23, 255}};

START_TEST(test_resample_bytes_are_those_of_pillow)
{
    struct image image = picture();
    uint8_t out[4 * 3 * 3];
    ck_assert(resample_bytes(&image, 4, 3, out, &problem));
    ck_assert_mem_eq(out, resized, sizeof resized);
    image_free(&image);
}
END_TEST

/* One line of 28 pixels 7 i to 3, and of 26 pixels 29 i (mod 256) to 23: across, and down. */
static const struct {
    int step, from, to;
    uint8_t bytes[23];
} lines[] = {{7, 28, 3, {35, 94, 154}}, {29, 26, 23,
                                            {4, 37, 68, 101, 132, 165, 196, 211, 14, 43, 74, 107, 139, 170,
                                                203, 209, 17, 48, 81, 112, 145, 176, 209}}};

/* Sums of weights times bytes are often halves, which the last bit of a weight can turn. */
START_TEST(test_resample_bytes_rounds_weights_once)
{
    int from = lines[_i / 2].from, to = lines[_i / 2].to, down = _i % 2;
    struct image image;
    uint8_t out[3 * 23];
    ck_assert(image_make(&image, down ? 1 : from, down ? from : 1, 3, &problem));
    for (int i = 0; i < 3 * from; i++) image.pixels[i] = (uint8_t)(i / 3 * lines[_i / 2].step);
    ck_assert(resample_bytes(&image, down ? 1 : to, down ? to : 1, out, &problem));
    for (int i = 0; i < 3 * to; i++) ck_assert_int_eq(out[i], lines[_i / 2].bytes[i / 3]);
    image_free(&image);
}
END_TEST

/* Bytes of Pillow 12.2. Pillow 13 resamples a high picture down first: byte 17 is 198 then. */
START_TEST(test_resample_bytes_goes_across_first)
{
    static const uint8_t expected[] = {18, 73, 113, 64, 84, 133, 110, 95, 176, 29, 135, 153, 75, 146, 173,
        121, 157, 197, 39, 93, 192, 85, 104, 202, 131, 115, 110};
    struct image image = picture_of(5, 12);
    uint8_t out[sizeof expected];
    ck_assert(resample_bytes(&image, 3, 3, out, &problem));
    ck_assert_mem_eq(out, expected, sizeof expected);
    image_free(&image);
}
END_TEST

START_TEST(test_segmentation_view_jitter_is_that_of_pillow)
{
    static const double factors[JITTERS] = {1.0731, 0.9268, 1.0913, -0.0642};
    float out[WIDTH * WIDTH * 3];
    struct image image = picture();
    struct segmentation_view view = {.box = {0, 0, WIDTH, HEIGHT}};
    for (int i = 0; i < JITTERS; i++) {
        view.jittered[i] = _i == i || _i == JITTERS;
        view.jitter[i] = factors[i];
    }
    ck_assert(segmentation_view_pixels(&view, &image, WIDTH, out, &problem));
    for (int i = 0; i < 27; i++) {
        int y = i / 9 * 3, x = i / 3 % 3 * 4;
        ck_assert_int_eq(image.pixels[(y * WIDTH + x) * 3 + i % 3], jittered[_i][i]);
    }
    image_free(&image);
}
END_TEST

START_TEST(test_segmentation_view_box_is_resampled_alone)
{
    struct image image = picture();
    struct segmentation_view view = {.box = {2, 1, 3, 3}};
    float out[3 * 3 * 3];
    ck_assert(segmentation_view_pixels(&view, &image, 3, out, &problem));
    for (int i = 0; i < 27; i++) {
        int y = 1 + i / 9, x = 2 + i / 3 % 3;
        ck_assert_float_eq_tol(out[i], image.pixels[(y * WIDTH + x) * 3 + i % 3], 1e-3F);
    }
    image_free(&image);
}
END_TEST

START_TEST(test_segmentation_view_draws_keep_to_their_ranges)
{
    double draws[SEGMENTATION_DRAWS];
    int changed = 0, whole = 0;
    for (uint64_t n = 0; n < 400; n++) {
        ck_assert_int_eq(cribo_random_uniform(3, 0, n, SEGMENTATION_DRAWS, draws), CRIBO_OK);
        struct segmentation_view view = segmentation_view_of(draws, 120, 90);
        double share = view.box.width * (double)view.box.height / (120 * 90);
        double ratio = (double)view.box.width / view.box.height;
        ck_assert(view.box.x >= 0 && view.box.x + view.box.width <= 120 && view.box.y >= 0 &&
                  view.box.y + view.box.height <= 90);
        ck_assert(share > 0.48 && share <= 1 && ratio > 0.72 && ratio < 1.36);
        whole += share > 0.99;
        for (int i = 0; i < JITTERS; i++) {
            changed += view.jittered[i];
            ck_assert(fabs(view.jitter[i] - (i < 3)) <= 0.1);
        }
    }
    ck_assert_int_lt(abs(changed - 800), 100); /* each with probability 1/2 */
    ck_assert_int_gt(whole, 5);                /* areas above 1 do not fit: the picture as it is */
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("segmentation_view");
    TCase *tests = tcase_create("segmentation_view");
    tcase_add_test(tests, test_resample_bytes_are_those_of_pillow);
    tcase_add_loop_test(tests, test_resample_bytes_rounds_weights_once, 0, 4);
    tcase_add_test(tests, test_resample_bytes_goes_across_first);
    tcase_add_loop_test(tests, test_segmentation_view_jitter_is_that_of_pillow, 0, JITTERS + 1);
    tcase_add_test(tests, test_segmentation_view_box_is_resampled_alone);
    tcase_add_test(tests, test_segmentation_view_draws_keep_to_their_ranges);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
