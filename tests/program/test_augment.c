/* Views: crops match their boxes, and each operation has the effect of its name. */
#include "pictures/augment.h"
#include "files.h"
#include "pictures/loader.h"
#include "suite.h"

#include <math.h>
#include <string.h>

enum { S = 32 };

static uint8_t view[3 * S * S];
static float workspace[6 * S * S];

static cribo_crop make_view_by(
    const struct recipe *recipe, const struct image *image, enum view_kind kind, const double *draws)
{
    cribo_crop crop;
    struct problem problem;
    ck_assert_uint_eq(augment_workspace(S), sizeof workspace / sizeof *workspace);
    ck_assert(augment_view(recipe, image, kind, S, draws, workspace, view, &crop, &problem));
    return crop;
}

static cribo_crop make_view(const struct image *image, enum view_kind kind, const double *draws)
{
    const struct recipe recipe = recipe_published();
    return make_view_by(&recipe, image, kind, draws);
}

START_TEST(test_augment_crops_stay_inside_with_the_published_shapes)
{
    static const int sizes[][2] = {{200, 100}, {100, 230}, {33, 33}, {1, 1}, {3, 90}, {400, 7}};
    double draws[2 * AUGMENT_DRAWS];
    for (size_t k = 0; k < 6; k++) {
        struct image image = files_ramp(sizes[k][0], sizes[k][1]);
        for (uint64_t i = 0; i < 60; i++) {
            loader_draws(3, i, k, draws);
            cribo_crop crop = make_view(&image, VIEW_PLAIN, draws);
            ck_assert_double_ge(crop.x, 0);
            ck_assert_double_ge(crop.y, 0);
            ck_assert_double_ge(crop.width, 1);
            ck_assert_double_ge(crop.height, 1);
            ck_assert_double_le(crop.x + crop.width, image.width);
            ck_assert_double_le(crop.y + crop.height, image.height);
            if (k > 2) continue;
            double area = crop.width * crop.height / (image.width * image.height),
                   ratio = crop.width / crop.height;
            ck_assert_double_ge(area, 0.25 * 0.9);
            ck_assert(ratio > 0.75 * 0.9 && ratio < 4.0 / 3 * 1.1);
        }
        image_free(&image);
    }
}
END_TEST

/* In a picture whose colours are its coordinates, a view's colours give its place. */
START_TEST(test_augment_pixels_come_from_the_crop_box)
{
    struct image image = files_ramp(240, 200);
    double draws[2 * AUGMENT_DRAWS];
    int flips = 0;
    for (uint64_t i = 0; i < 40; i++) {
        loader_draws(7, 0, i, draws);
        cribo_crop crop = make_view(&image, VIEW_PLAIN, draws);
        flips += crop.flipped != 0;
        for (int y = 2; y < S - 2; y++) {
            for (int x = 2; x < S - 2; x++) {
                int column = crop.flipped ? S - 1 - x : x;
                double expected_x = crop.x + (column + 0.5) * crop.width / S - 0.5;
                double expected_y = crop.y + (y + 0.5) * crop.height / S - 0.5;
                ck_assert_double_eq_tol(view[y * S + x], expected_x, 0.6);
                ck_assert_double_eq_tol(view[S * S + y * S + x], expected_y, 0.6);
                ck_assert_int_eq(view[2 * S * S + y * S + x], 77);
            }
        }
    }
    ck_assert(flips > 8 && flips < 32);
    image_free(&image);
}
END_TEST

START_TEST(test_augment_of_a_reduced_picture_gives_boxes_of_the_original)
{
    struct image image = files_ramp(240, 200);
    double draws[2 * AUGMENT_DRAWS];
    loader_draws(1, 2, 3, draws);
    cribo_crop whole = make_view(&image, VIEW_PLAIN, draws);
    image.reduction = 4;
    cribo_crop reduced = make_view(&image, VIEW_PLAIN, draws);
    ck_assert_double_eq(reduced.x, 4 * whole.x);
    ck_assert_double_eq(reduced.y, 4 * whole.y);
    ck_assert_double_eq(reduced.width, 4 * whole.width);
    ck_assert_double_eq(reduced.height, 4 * whole.height);
    image_free(&image);
}
END_TEST

/*
 * Sets the draws of one operation, and all others so that they have no effect. The indices are those of
 * augment.c.
 */
enum { FLIP = 40, JITTER, BRIGHTNESS, CONTRAST, SATURATION, HUE, GREY = 49, BLUR, DEVIATION, SOLARISE };

static void quiet(double *draws)
{
    for (int i = 0; i < AUGMENT_DRAWS; i++) draws[i] = 0.5;
    draws[FLIP] = draws[JITTER] = draws[GREY] = draws[BLUR] = draws[SOLARISE] = 0.99;
}

static struct image flat(int red, int green, int blue)
{
    struct image image = files_ramp(40, 40);
    for (int i = 0; i < 1600; i++)
        memcpy(image.pixels + 3 * i, (uint8_t[3]){(uint8_t)red, (uint8_t)green, (uint8_t)blue}, 3);
    return image;
}

static void assert_colour(int red, int green, int blue)
{
    for (int i = 0; i < S * S; i++) {
        ck_assert_int_le(abs(view[i] - red), 1);
        ck_assert_int_le(abs(view[S * S + i] - green), 1);
        ck_assert_int_le(abs(view[2 * S * S + i] - blue), 1);
    }
}

START_TEST(test_augment_operations_change_a_flat_colour_as_computed_by_hand)
{
    struct image image = flat(200, 100, 50);
    double draws[AUGMENT_DRAWS];
    quiet(draws);
    make_view(&image, VIEW_SECOND, draws);
    assert_colour(200, 100, 50);
    draws[GREY] = 0.1;
    make_view(&image, VIEW_SECOND, draws);
    assert_colour(124, 124, 124); /* 0.299 * 200 + 0.587 * 100 + 0.114 * 50 = 124.2 */
    quiet(draws);
    draws[SOLARISE] = 0.1;
    make_view(&image, VIEW_SECOND, draws);
    assert_colour(55, 100, 50);
    make_view(&image, VIEW_FIRST, draws);
    assert_colour(200, 100, 50);
    quiet(draws);
    draws[JITTER] = 0; /* all factors 1, no turn */
    make_view(&image, VIEW_SECOND, draws);
    assert_colour(200, 100, 50);
    draws[BRIGHTNESS] = 0;
    make_view(&image, VIEW_SECOND, draws);
    assert_colour(120, 60, 30);
    draws[BRIGHTNESS] = draws[CONTRAST] = 0.5;
    draws[CONTRAST] = 0;
    make_view(&image, VIEW_SECOND, draws);
    assert_colour(170, 110, 80); /* 0.6 colour + 0.4 * 124.2 */
    draws[CONTRAST] = 0.5;
    draws[SATURATION] = 0;
    make_view(&image, VIEW_SECOND, draws);
    assert_colour(185, 105, 65); /* 0.8 colour + 0.2 * 124.2 */
    draws[SATURATION] = 0.5;
    draws[HUE] = 1 - 1e-9; /* 36 degrees on: from 20 to 56 */
    make_view(&image, VIEW_SECOND, draws);
    assert_colour(200, 190, 50);
    draws[HUE] = 0; /* from 20 to -16 */
    make_view(&image, VIEW_SECOND, draws);
    assert_colour(200, 50, 90);
    image_free(&image);
}
END_TEST

START_TEST(test_augment_blur_has_its_deviation_and_keeps_the_sum)
{
    struct image image = flat(0, 0, 0);
    double draws[AUGMENT_DRAWS], sum = 0, square = 0;
    for (int c = 0; c < 3; c++) image.pixels[3 * (20 * 40 + 20) + c] = 255;
    quiet(draws);
    for (int i = 0; i < 40; i += 4) draws[i] = 1 - 1e-12; /* the whole picture, so the view is 32/40 of it */
    draws[DEVIATION] = 1 - 1e-9;
    draws[BLUR] = 0.5;
    make_view(&image, VIEW_SECOND, draws); /* blurred with probability 0.1 only */
    ck_assert_int_gt(view[16 * S + 16], 100);
    make_view(&image, VIEW_FIRST, draws);
    for (int i = 0; i < S * S; i++) {
        double x = i % S + 0.5 - 16.4; /* 20.5 * 32 / 40 */
        sum += view[i];
        square += view[i] * x * x;
    }
    ck_assert_double_eq_tol(sum / 255, 0.64, 0.1);
    ck_assert_double_eq_tol(sqrt(square / sum), 2, 0.2);
    image_free(&image);
}
END_TEST

/* A flat picture of one colour, and draws that change nothing. */
static struct image make_flat(int red, int green, int blue)
{
    struct image image = files_ramp(64, 64);
    for (int i = 0; i < 64 * 64; i++) {
        image.pixels[3 * i] = (uint8_t)red;
        image.pixels[3 * i + 1] = (uint8_t)green;
        image.pixels[3 * i + 2] = (uint8_t)blue;
    }
    return image;
}

static struct recipe recipe_of(const char *text)
{
    struct recipe recipe;
    struct problem problem;
    ck_assert_msg(recipe_read(&recipe, text, &problem), "%s", problem.text);
    return recipe;
}

static void expect_view(
    const char *recipe_text, enum view_kind kind, double draw, int red, int green, int blue)
{
    struct recipe recipe = recipe_of(recipe_text);
    struct image image = make_flat(200, 100, 50);
    double draws[AUGMENT_DRAWS];
    for (int i = 0; i < AUGMENT_DRAWS; i++) draws[i] = draw;
    make_view_by(&recipe, &image, kind, draws);
    const int expected[3] = {red, green, blue};
    for (int c = 0; c < 3; c++)
        ck_assert_msg(abs(view[c * S * S + S] - expected[c]) <= 1, "%s: channel %d is %d", recipe_text, c,
            view[c * S * S + S]);
    image_free(&image);
}

#define NOTHING "jitter=0;grey=0;blur=0;solarise=0;"

/* Each setting has the effect that its help states, in the view that it is given for. */
START_TEST(test_augment_follows_the_recipe)
{
    expect_view(NOTHING, VIEW_FIRST, 0.5, 200, 100, 50);
    expect_view(NOTHING "solarise=1,0", VIEW_FIRST, 0.5, 55, 100, 50);
    expect_view(NOTHING "solarise=1,0", VIEW_SECOND, 0.5, 200, 100, 50);
    expect_view(NOTHING "solarise=1;solarise_threshold=0.9", VIEW_FIRST, 0.5, 200, 100, 50);
    expect_view(NOTHING "solarise=1;solarise_threshold=0.1", VIEW_SECOND, 0.5, 55, 155, 205);
    expect_view(NOTHING "grey=0,1", VIEW_FIRST, 0.5, 200, 100, 50);
    expect_view(NOTHING "grey=0,1", VIEW_SECOND, 0.5, 124, 124, 124);
    expect_view(
        NOTHING "jitter=1,0;brightness=0.5;contrast=0;saturation=0;hue=0", VIEW_FIRST, 0, 100, 50, 25);
    expect_view(
        NOTHING "jitter=1,0;brightness=0.5;contrast=0;saturation=0;hue=0", VIEW_SECOND, 0, 200, 100, 50);
    expect_view(NOTHING "jitter=1;brightness=0;contrast=1;saturation=0;hue=0", VIEW_FIRST, 0, 124, 124, 124);
    expect_view(NOTHING "jitter=1;brightness=0;contrast=0;saturation=1;hue=0", VIEW_FIRST, 0, 124, 124, 124);
    expect_view(NOTHING "jitter=1;brightness=0;contrast=0;saturation=0;hue=0.5", VIEW_FIRST, 0, 50, 150, 200);
}
END_TEST

START_TEST(test_augment_crops_follow_the_recipe)
{
    struct recipe recipe =
        recipe_of("crop_area_min=0.04;crop_area_max=0.1;crop_ratio_min=1.9;crop_ratio_max=2;flip=1,0");
    struct image image = files_ramp(300, 300);
    double draws[2 * AUGMENT_DRAWS];
    for (uint64_t i = 0; i < 100; i++) {
        loader_draws(3, i, 1, draws);
        cribo_crop crop = make_view_by(&recipe, &image, i % 2 ? VIEW_SECOND : VIEW_FIRST, draws);
        double area = crop.width * crop.height / (300 * 300), ratio = crop.width / crop.height;
        ck_assert(area > 0.038 && area < 0.104);
        ck_assert(ratio > 1.85 && ratio < 2.05);
        ck_assert_int_eq(crop.flipped, i % 2 == 0);
    }
    /* The shorter side of the smallest crop, a twenty-fifth of the area and half as high as wide, has 2 S. */
    double least = augment_least_side(&recipe, S);
    ck_assert_double_eq_tol(least * sqrt(0.04 / 2), 2 * S, 1e-9);
    image_free(&image);
}
END_TEST

/* Of a picture of one colour but for a column, the linear kernel spreads less far than the cubic one. */
START_TEST(test_augment_resampling_is_the_recipe_s)
{
    double draws[AUGMENT_DRAWS] = {[0] = 0.999999, [1] = 0.5};
    struct image image = make_flat(100, 0, 0);
    int sums[2];
    for (int y = 0; y < 64; y++) image.pixels[3 * (64 * y + 20)] = 255;
    for (int linear = 0; linear < 2; linear++) {
        struct recipe recipe = recipe_of(linear ? NOTHING "flip=0;resampling=bilinear" : NOTHING "flip=0");
        make_view_by(&recipe, &image, VIEW_FIRST, draws);
        sums[linear] = 0;
        for (int x = 0; x < S; x++) sums[linear] += view[5 * S + x] != 100;
    }
    ck_assert_int_lt(sums[1], sums[0]);
    ck_assert_int_ge(sums[1], 2);
    image_free(&image);
}
END_TEST

START_TEST(test_recipe_table_fits_the_struct)
{
    size_t end = 0;
    for (size_t i = 0; i < RECIPE_SETTINGS; i++) {
        const struct recipe_setting *setting = &recipe_settings[i];
        ck_assert_uint_eq(setting->offset, end);
        end = setting->offset + (size_t)setting->count * sizeof(double);
        for (int k = 0; k < setting->count; k++)
            ck_assert(setting->initial[k] >= setting->least && setting->initial[k] <= setting->most);
        ck_assert_ptr_eq(recipe_find(setting->name), setting);
        ck_assert_int_gt(strlen(setting->help), 20);
    }
    ck_assert_uint_eq(end, sizeof(struct recipe));
    struct recipe published = recipe_published();
    ck_assert(published.crop_area_min == 0.25 && published.jitter[1] == 0.8 && published.blur[1] == 0.1);
    ck_assert(published.solarise[0] == 0 && published.solarise[1] == 0.2 && published.mean[2] == 0.406);
}
END_TEST

START_TEST(test_recipe_text_is_read_back)
{
    char text[RECIPE_WHOLE_TEXT];
    struct recipe recipe = recipe_published(), read;
    struct problem problem;
    recipe_write(&recipe, text);
    ck_assert_str_eq(text, "");
    recipe = recipe_of(
        "crop_area_min=0.1;flip=0.3,0.4;blur=1;resampling=bilinear;deviation=1,0.3333333333333333,1");
    recipe_write(&recipe, text);
    ck_assert_msg(recipe_read(&read, text, &problem), "%s", problem.text);
    ck_assert(!memcmp(&read, &recipe, sizeof read));
    for (size_t i = 0; i < RECIPE_SETTINGS; i++) { /* the longest text that there can be */
        double third = (recipe_settings[i].least + recipe_settings[i].most) / 3;
        for (int k = 0; k < recipe_settings[i].count; k++)
            memcpy(
                (char *)&recipe + recipe_settings[i].offset + (size_t)k * sizeof third, &third, sizeof third);
        third *= 1.01;
        if (recipe_settings[i].count > 1)
            memcpy((char *)&recipe + recipe_settings[i].offset, &third, sizeof third);
    }
    recipe.resampling = 1;
    recipe_write(&recipe, text);
    ck_assert_msg(recipe_read(&read, text, &problem), "%s", problem.text);
    ck_assert(!memcmp(&read, &recipe, sizeof read));
}
END_TEST

START_TEST(test_recipe_refuses_what_makes_no_sense)
{
    static const char *const texts[][2] = {{"crop_area_min=0", "from 0.001 to 1"},
        {"crop_area_min=0.5;crop_area_max=0.4", "more than crop_area_max"}, {"flip=1,0,1", "a number or two"},
        {"flip=", "a number or two"}, {"mean=0.5", "three numbers"}, {"mean=0.5,nan,0.5", "three numbers"},
        {"hue=0.6", "from 0 to 0.5"}, {"hue=0.1x", "expected a number"},
        {"resampling=nearest", "expected bicubic or bilinear"}, {"blur_min=3", "more than blur_max"},
        {"crop_ratio_min=2", "more than crop_ratio_max"}, {"tilt=1", "tilt is no setting"},
        {"flip", "no settings of views"}};
    struct recipe recipe;
    struct problem problem;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        ck_assert_msg(!recipe_read(&recipe, texts[i][0], &problem), "%s", texts[i][0]);
        ck_assert_msg(strstr(problem.text, texts[i][1]), "%s: %s", texts[i][0], problem.text);
    }
}
END_TEST

RUN_TESTS("augment", test_augment_follows_the_recipe, test_augment_crops_follow_the_recipe,
    test_augment_resampling_is_the_recipe_s, test_recipe_table_fits_the_struct, test_recipe_text_is_read_back,
    test_recipe_refuses_what_makes_no_sense, test_augment_crops_stay_inside_with_the_published_shapes,
    test_augment_pixels_come_from_the_crop_box, test_augment_of_a_reduced_picture_gives_boxes_of_the_original,
    test_augment_operations_change_a_flat_colour_as_computed_by_hand,
    test_augment_blur_has_its_deviation_and_keeps_the_sum)
