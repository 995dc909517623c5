/*
 * Composed scenes: deterministic, with labels that agree with the pixels, and with halves that share no file.
 */
#include "files.h"
#include "scenes/pools.h"
#include "suite.h"
#include "scenes/scenes.h"

#include <png.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SIZE = 64 };

/* Stamps of one flat colour with alpha 255 in a 20 x 20 middle part, on a transparent rim. */
static void write_stamp(const char *path, int red, int green, int blue)
{
    struct image image;
    struct problem problem;
    ck_assert(image_make(&image, 30, 30, 4, &problem));
    for (int i = 0; i < 900; i++) {
        bool inside = i % 30 >= 5 && i % 30 < 25 && i / 30 >= 5 && i / 30 < 25;
        memcpy(image.pixels + 4 * i,
            (uint8_t[4]){(uint8_t)red, (uint8_t)green, (uint8_t)blue, inside ? 255 : 0}, 4);
    }
    ck_assert(image_write_png(&image, path, &problem));
    image_free(&image);
}

/* Two classes, red and blue, and green backgrounds. */
static char *make_sources(void)
{
    char *root = files_make_folder(), name[64];
    static const char *const folders[] = {"stamps", "stamps/blue", "stamps/red", "photographs"};
    for (size_t i = 0; i < 4; i++) ck_assert_int_eq(mkdir(files_path(root, folders[i]), 0700), 0);
    for (int i = 0; i < 7; i++) {
        snprintf(name, sizeof name, "stamps/blue/%d.png", i);
        write_stamp(files_path(root, name), 0, 0, 255);
        snprintf(name, sizeof name, "stamps/red/%d.png", i);
        write_stamp(files_path(root, name), 255, 0, 0);
        struct image green;
        struct problem problem;
        ck_assert(image_make(&green, 90, 70 + i, 3, &problem));
        for (int p = 0; p < 90 * (70 + i); p++) memcpy(green.pixels + 3 * p, (uint8_t[3]){0, 255, 0}, 3);
        snprintf(name, sizeof name, "photographs/%d.png", i);
        ck_assert(image_write_png(&green, files_path(root, name), &problem));
        image_free(&green);
    }
    write_stamp(files_path(root, "stamps/red/0_mirror.png"), 255, 0, 0);
    return root;
}

static void gather(struct pools *pools, const char *root, enum split split)
{
    struct problem problem;
    ck_assert_msg(
        pools_gather(pools, files_path(root, "stamps"), files_path(root, "photographs"), split, &problem),
        "%s", problem.text);
}

START_TEST(test_pools_halves_share_no_file_and_leave_out_mirrored_ones)
{
    char *root = make_sources();
    struct pools train, validation, all;
    gather(&train, root, SPLIT_TRAIN);
    gather(&validation, root, SPLIT_VALIDATION);
    gather(&all, root, SPLIT_ALL);
    ck_assert_uint_eq(train.class_count, 2);
    ck_assert_str_eq(train.classes[0].name, "blue");
    ck_assert_str_eq(train.classes[1].name, "red");
    for (size_t k = 0; k < 2; k++) {
        ck_assert_uint_eq(all.classes[k].count, 7);
        ck_assert_uint_eq(train.classes[k].count, 4);
        ck_assert_uint_eq(validation.classes[k].count, 3);
        for (size_t i = 0; i < 3; i++)
            for (size_t j = 0; j < 4; j++)
                ck_assert_str_ne(validation.classes[k].paths[i], train.classes[k].paths[j]);
    }
    ck_assert_uint_eq(train.backgrounds.count, 4);
    ck_assert_uint_eq(validation.backgrounds.count, 3);
    pools_free(&train);
    pools_free(&validation);
    pools_free(&all);
    files_remove(root);
}
END_TEST

START_TEST(test_pools_know_tux_paints_folders)
{
    char *root = files_make_folder();
    static const char *const folders[] = {"s", "s/animals", "s/animals/birds", "s/animals/birds/cartoon",
        "s/clothes", "s/food", "s/food/fruit", "p"};
    struct pools pools;
    struct problem problem;
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++)
        ck_assert_int_eq(mkdir(files_path(root, folders[i]), 0700), 0);
    write_stamp(files_path(root, "s/animals/birds/a.png"), 1, 2, 3);
    write_stamp(files_path(root, "s/animals/birds/cartoon/b.png"), 1, 2, 3);
    write_stamp(files_path(root, "s/clothes/c.png"), 1, 2, 3);
    write_stamp(files_path(root, "s/food/fruit/d.png"), 1, 2, 3);
    write_stamp(files_path(root, "p/p.png"), 1, 2, 3);
    ck_assert(pools_gather(&pools, files_path(root, "s/"), files_path(root, "p"), SPLIT_ALL, &problem));
    size_t objects = 0;
    for (size_t k = 0; k < pools.class_count; k++) {
        objects += pools.classes[k].count;
        if (!strcmp(pools.classes[k].name, "bird")) ck_assert_uint_eq(pools.classes[k].count, 1);
    }
    ck_assert_uint_eq(pools.class_count, 10);
    ck_assert_uint_eq(objects, 2);
    pools_free(&pools);
    files_remove(root);
}
END_TEST

START_TEST(test_scene_labels_agree_with_the_pixels)
{
    char *root = make_sources();
    struct pools pools;
    struct problem problem;
    long counts[3] = {0};
    gather(&pools, root, SPLIT_TRAIN);
    for (uint64_t number = 0; number < 40; number++) {
        struct scene scene;
        ck_assert(scene_compose(&scene, &pools, SIZE, 1, number, &problem));
        for (int i = 0; i < SIZE * SIZE; i++) {
            const uint8_t *pixel = scene.picture.pixels + 3 * i;
            int label = scene.labels.pixels[i];
            int expected = pixel[1] > 0.9 * 255   ? 0
                           : pixel[1] > 0.2 * 255 ? LABEL_IGNORED
                           : pixel[2] > pixel[0]  ? 1
                                                  : 2;
            ck_assert(label == 0 || label == 1 || label == 2 || label == LABEL_IGNORED);
            if (label != LABEL_IGNORED) counts[label]++;
            bool clear = pixel[1] < 0.05 * 255 || pixel[1] > 0.95 * 255;
            if (clear && label != LABEL_IGNORED) ck_assert_int_eq(label, expected);
        }
        scene_free(&scene);
    }
    for (int k = 0; k < 3; k++) ck_assert_int_gt(counts[k], 40 * 200);
    pools_free(&pools);
    files_remove(root);
}
END_TEST

static void assert_same_file(const char *a, const char *b)
{
    struct image first, second;
    struct problem problem;
    ck_assert(image_load(&first, a, 3, 0, &problem));
    ck_assert(image_load(&second, b, 3, 0, &problem));
    ck_assert_int_eq(first.width, second.width);
    ck_assert_int_eq(memcmp(first.pixels, second.pixels, 3 * (size_t)first.width * (size_t)first.height), 0);
    image_free(&first);
    image_free(&second);
}

START_TEST(test_scenes_are_the_same_for_any_number_of_workers)
{
    char *root = make_sources(), name[64];
    struct problem problem;
    const char *stamps = files_path(root, "stamps"), *photographs = files_path(root, "photographs");
    const char *one = files_path(root, "one"), *three = files_path(root, "three/deep");
    struct scenes_options options = {.out = one,
        .stamps = stamps,
        .backgrounds = photographs,
        .count = 8,
        .size = SIZE,
        .workers = 1,
        .seed = 4};
    ck_assert_msg(scenes_write(&options, &problem), "%s", problem.text);
    options.out = three;
    options.workers = 3;
    ck_assert_msg(scenes_write(&options, &problem), "%s", problem.text);
    ck_assert(!scenes_write(&options, &problem));
    ck_assert_ptr_nonnull(strstr(problem.text, "already holds files"));
    /* A stopped command may begin again, and no file of the earlier one remains. */
    files_write(files_path(root, "three/deep/incomplete"), "", 0);
    files_write(files_path(root, "three/deep/images/scene-00009.png"), "x", 1);
    ck_assert_msg(scenes_write(&options, &problem), "%s", problem.text);
    ck_assert_int_ne(access(files_path(root, "three/deep/images/scene-00009.png"), F_OK), 0);
    ck_assert_int_ne(access(files_path(root, "three/deep/incomplete"), F_OK), 0);
    for (int i = 0; i < 16; i++) {
        snprintf(name, sizeof name, "%s/scene-%05d.png", i % 2 ? "images" : "labels", i / 2);
        char first[600], second[600];
        snprintf(first, sizeof first, "%s/one/%s", root, name);
        snprintf(second, sizeof second, "%s/three/deep/%s", root, name);
        assert_same_file(first, second);
    }
    files_remove(root);
}
END_TEST

START_TEST(test_scenes_broken_stamp_is_named)
{
    char *root = make_sources();
    struct problem problem;
    const char *stamps = files_path(root, "stamps"), *photographs = files_path(root, "photographs");
    for (int i = 0; i < 7; i++) {
        char name[64];
        snprintf(name, sizeof name, "stamps/red/%d.png", i);
        files_write(files_path(root, name), "x", 1);
    }
    struct scenes_options options = {.out = files_path(root, "out"),
        .stamps = stamps,
        .backgrounds = photographs,
        .count = 8,
        .size = SIZE,
        .workers = 2};
    ck_assert(!scenes_write(&options, &problem));
    ck_assert_ptr_nonnull(strstr(problem.text, "stamps/red/"));
    ck_assert_msg(strstr(problem.text, "a text, not a JPEG"), "%s", problem.text);
    files_remove(root);
}
END_TEST

RUN_TESTS("scenes", test_pools_halves_share_no_file_and_leave_out_mirrored_ones,
    test_pools_know_tux_paints_folders, test_scene_labels_agree_with_the_pixels,
    test_scenes_are_the_same_for_any_number_of_workers, test_scenes_broken_stamp_is_named)
