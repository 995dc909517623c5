/*
 * Labelled pictures: layouts, what a stored label stands for, sizes, and every way in which labels can be
 * wrong.
 */
#include "pictures/dataset.h"
#include "files.h"
#include "suite.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <png.h>

static char *folder;
static struct problem problem;
static const struct image whole = {.width = 8, .height = 4, .reduction = 1}; /* a picture as it was read */

static void begin(void)
{
    folder = files_make_folder();
    mkdir(files_path(folder, "images"), 0777);
    mkdir(files_path(folder, "labels"), 0777);
}

static void end(void)
{
    files_remove(folder);
}

/* A picture 8 x 4 under images/NAME.png, and under labels/NAME.png red of a ramp in some form. */
static void write_pair(const char *name, int colour_type, int depth)
{
    char path[64];
    size_t size;
    struct image ramp = files_ramp(8, 4);
    uint8_t *picture = files_png(&ramp, PNG_COLOR_TYPE_RGB, 8, 0, 255, &size);
    snprintf(path, sizeof path, "images/%s.png", name);
    files_write(files_path(folder, path), picture, size);
    free(picture);
    uint8_t *labels = files_png(&ramp, colour_type, depth, 0, 255, &size);
    snprintf(path, sizeof path, "labels/%s.png", name);
    files_write(files_path(folder, path), labels, size);
    free(labels);
    image_free(&ramp);
}

static struct dataset open_all(void)
{
    struct dataset dataset;
    ck_assert_msg(dataset_open(&dataset, folder, DATASET_ALL, &problem), "%s", problem.text);
    return dataset;
}

START_TEST(test_dataset_labels_are_indices_and_grey_values_as_stored)
{
    int32_t labels[64];
    write_pair("grey", PNG_COLOR_TYPE_GRAY, 8);
    write_pair("palette", PNG_COLOR_TYPE_PALETTE, 2);
    struct dataset dataset = open_all();
    dataset.classes = 8;
    for (size_t i = 0; i < 2; i++) {
        ck_assert_msg(dataset_labels(&dataset, i, &whole, 8, labels, &problem), "%s", problem.text);
        for (int p = 0; p < 64; p++) ck_assert_int_eq(labels[p], i == 0 ? p % 8 : p % 8 % 4);
    }
    ck_assert(dataset_labels(&dataset, 0, &whole, 4, labels, &problem)); /* every second column */
    for (int p = 0; p < 16; p++) ck_assert_int_eq(labels[p], p % 4 * 2 + 1);
    dataset_free(&dataset);
}
END_TEST

START_TEST(test_dataset_reduced_zero_counts_nowhere)
{
    int32_t labels[64];
    write_pair("a", PNG_COLOR_TYPE_GRAY, 8);
    struct dataset dataset = open_all();
    dataset.classes = 7;
    dataset.reduce_zero = true;
    ck_assert(dataset_labels(&dataset, 0, &whole, 8, labels, &problem));
    for (int p = 0; p < 64; p++) ck_assert_int_eq(labels[p], p % 8 ? p % 8 - 1 : NO_LABEL);
    dataset_free(&dataset);
}
END_TEST

static void refused(const struct dataset *dataset, int width, int height, double reduction, const char *text)
{
    int32_t labels[64];
    struct image picture = {.width = width, .height = height, .reduction = reduction};
    ck_assert(!dataset_labels(dataset, 0, &picture, 8, labels, &problem));
    ck_assert_msg(strstr(problem.text, text) && strstr(problem.text, "labels/a.png"), "%s", problem.text);
}

START_TEST(test_dataset_wrong_labels_are_refused_by_name)
{
    write_pair("a", PNG_COLOR_TYPE_GRAY, 8);
    struct dataset dataset = open_all();
    dataset.classes = 7;
    refused(&dataset, 8, 4, 1, "label 7 at (7, 0), but there are 7 classes");
    refused(&dataset, 9, 4, 1, "8 x 4 pixels, but its picture");
    refused(&dataset, 4, 3, 2, "has 8 x 6");
    write_pair("a", PNG_COLOR_TYPE_RGB, 8);
    refused(&dataset, 8, 4, 1, "colours");
    write_pair("a", PNG_COLOR_TYPE_GRAY_ALPHA, 8);
    refused(&dataset, 8, 4, 1, "transparency");
    write_pair("a", PNG_COLOR_TYPE_GRAY, 16);
    refused(&dataset, 8, 4, 1, "16 bits");
    files_write(files_path(folder, "labels/a.png"), "\xff\xd8\xff", 3);
    refused(&dataset, 8, 4, 1, "no PNG file");
    files_write(files_path(folder, "labels/a.png"), "", 0);
    refused(&dataset, 8, 4, 1, "empty");
    dataset_free(&dataset);
}
END_TEST

/*
 * Writes a JPEG as images/a.png, whose red grows to the right and which has an EXIF orientation, and its
 * label map, stored in the same orientation.
 */
static void write_turned(int orientation)
{
    size_t size;
    struct image red = files_gradient(8, 4);
    write_pair("a", PNG_COLOR_TYPE_GRAY, 8);
    uint8_t *picture = files_jpeg(&red, 95, orientation, 0, 0, &size);
    files_write(files_path(folder, "images/a.png"), picture, size);
    free(picture);
    image_free(&red);
}

START_TEST(test_dataset_orientation_keeps_pictures_and_labels_in_one_frame)
{
    int32_t labels[64];
    struct image picture;
    for (int orientation = 1; orientation <= 8; orientation++) {
        write_turned(orientation);
        struct dataset dataset = open_all();
        dataset.classes = 8;
        ck_assert_msg(dataset_picture(&dataset, 0, 0, &picture, &problem), "%s", problem.text);
        ck_assert_msg(picture.width == 8 && picture.height == 4, "orientation %d", orientation);
        ck_assert_int_lt(picture.pixels[0], picture.pixels[7 * 3]); /* red grows to the right, as stored */
        ck_assert_msg(dataset_labels(&dataset, 0, &picture, 8, labels, &problem), "%s", problem.text);
        for (int p = 0; p < 64; p++) ck_assert_int_eq(labels[p], p % 8);
        image_free(&picture);
        dataset_free(&dataset);
    }
}
END_TEST

START_TEST(test_dataset_upright_turns_pictures_and_labels_alike)
{
    int32_t labels[64];
    struct image picture;
    for (int orientation = 1; orientation <= 8; orientation++) {
        write_turned(orientation);
        struct dataset dataset = open_all();
        dataset.classes = 8;
        dataset.upright = true;
        ck_assert_msg(dataset_picture(&dataset, 0, 0, &picture, &problem), "%s", problem.text);
        ck_assert_int_eq(picture.width, orientation >= 5 ? 4 : 8);
        ck_assert_msg(dataset_labels(&dataset, 0, &picture, 8, labels, &problem), "%s", problem.text);
        for (int p = 0; p < 64; p++) { /* where the picture is redder the label is greater */
            int y = p / 8 * picture.height / 8, x = p % 8 * picture.width / 8;
            int red = picture.pixels[(y * picture.width + x) * 3];
            int first = picture.pixels[0];
            ck_assert_msg((red - first) * (labels[p] - labels[0]) >= 0, "orientation %d", orientation);
        }
        ck_assert_int_ne(labels[0], labels[63]);
        image_free(&picture);
        dataset_free(&dataset);
    }
}
END_TEST

START_TEST(test_dataset_name_that_begins_with_a_digit_keeps_it)
{
    write_pair("a", PNG_COLOR_TYPE_GRAY, 8);
    files_write(files_path(folder, "classes.txt"), "2d thing\n1 way road\n3\n", 23);
    struct dataset dataset = open_all();
    ck_assert_int_eq(dataset.classes, 3);
    ck_assert_str_eq(dataset.names[0], "2d thing");
    ck_assert_str_eq(dataset.names[1], "1 way road");
    ck_assert_str_eq(dataset.names[2], "3");
    dataset_free(&dataset);
}
END_TEST

START_TEST(test_dataset_both_halves_take_turns_or_take_all)
{
    struct dataset train, test;
    for (int i = 0; i < 5; i++)
        write_pair((const char *[]){"a", "b", "c", "d", "e"}[i], PNG_COLOR_TYPE_GRAY, 8);
    struct dataset_choice choice = {.train = folder, .classes = 9};
    ck_assert_msg(dataset_open_both(&train, &test, &choice, &problem), "%s", problem.text);
    ck_assert_uint_eq(train.count, 3);
    ck_assert_uint_eq(test.count, 2);
    ck_assert_ptr_nonnull(strstr(train.list[1].picture, "images/c.png"));
    ck_assert_ptr_nonnull(strstr(test.list[1].labels, "labels/d.png"));
    dataset_free(&train);
    dataset_free(&test);
    choice.test = folder;
    ck_assert(dataset_open_both(&train, &test, &choice, &problem));
    ck_assert(train.count == 5 && test.count == 5 && train.classes == 9);
    dataset_free(&train);
    dataset_free(&test);
}
END_TEST

START_TEST(test_dataset_names_say_how_many_classes)
{
    struct dataset train, test;
    struct dataset_choice choice = {.train = folder, .classes = 9};
    write_pair("a", PNG_COLOR_TYPE_GRAY, 8);
    write_pair("b", PNG_COLOR_TYPE_GRAY, 8);
    files_write(files_path(folder, "classes.txt"), "0 sky\n1 sea\r\n\n2 old man\n", 24);
    ck_assert(!dataset_open_both(&train, &test, &choice, &problem)); /* two authorities */
    ck_assert_ptr_nonnull(strstr(problem.text, "classes.txt names 3"));
    dataset_free(&train);
    dataset_free(&test);
    choice.classes = 0;
    ck_assert(dataset_open_both(&train, &test, &choice, &problem));
    ck_assert_int_eq(test.classes, 3);
    ck_assert_str_eq(test.names[1], "sea");
    ck_assert_str_eq(test.names[2], "old man");
    dataset_free(&train);
    dataset_free(&test);
}
END_TEST

START_TEST(test_dataset_missing_parts_are_named)
{
    struct dataset dataset;
    ck_assert(!dataset_open(&dataset, folder, DATASET_ALL, &problem));
    ck_assert_ptr_nonnull(strstr(problem.text, "no pictures with labels"));
    write_pair("a", PNG_COLOR_TYPE_GRAY, 8);
    remove(files_path(folder, "labels/a.png"));
    ck_assert(!dataset_open(&dataset, folder, DATASET_ALL, &problem));
    ck_assert_ptr_nonnull(strstr(problem.text, "images/a.png: no labels for it"));
    rmdir(files_path(folder, "labels"));
    ck_assert(!dataset_open(&dataset, folder, DATASET_ALL, &problem));
    ck_assert_ptr_nonnull(strstr(problem.text, "no data set with labels"));
    ck_assert_uint_eq(dataset.count, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("dataset");
    TCase *tests = tcase_create("dataset");
    tcase_add_checked_fixture(tests, begin, end);
    tcase_add_test(tests, test_dataset_labels_are_indices_and_grey_values_as_stored);
    tcase_add_test(tests, test_dataset_reduced_zero_counts_nowhere);
    tcase_add_test(tests, test_dataset_wrong_labels_are_refused_by_name);
    tcase_add_test(tests, test_dataset_orientation_keeps_pictures_and_labels_in_one_frame);
    tcase_add_test(tests, test_dataset_upright_turns_pictures_and_labels_alike);
    tcase_add_test(tests, test_dataset_name_that_begins_with_a_digit_keeps_it);
    tcase_add_test(tests, test_dataset_both_halves_take_turns_or_take_all);
    tcase_add_test(tests, test_dataset_names_say_how_many_classes);
    tcase_add_test(tests, test_dataset_missing_parts_are_named);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
