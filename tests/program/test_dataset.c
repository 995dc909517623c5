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
        ck_assert_msg(dataset_labels(&dataset, i, 8, 4, 0, 8, labels, &problem), "%s", problem.text);
        for (int p = 0; p < 64; p++) ck_assert_int_eq(labels[p], i == 0 ? p % 8 : p % 8 % 4);
    }
    ck_assert(dataset_labels(&dataset, 0, 8, 4, 0, 4, labels, &problem)); /* every second column */
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
    ck_assert(dataset_labels(&dataset, 0, 8, 4, 0, 8, labels, &problem));
    for (int p = 0; p < 64; p++) ck_assert_int_eq(labels[p], p % 8 ? p % 8 - 1 : NO_LABEL);
    dataset_free(&dataset);
}
END_TEST

static void refused(const struct dataset *dataset, int width, int height, int slack, const char *text)
{
    int32_t labels[64];
    ck_assert(!dataset_labels(dataset, 0, width, height, slack, 8, labels, &problem));
    ck_assert_msg(strstr(problem.text, text) && strstr(problem.text, "labels/a.png"), "%s", problem.text);
}

START_TEST(test_dataset_wrong_labels_are_refused_by_name)
{
    write_pair("a", PNG_COLOR_TYPE_GRAY, 8);
    struct dataset dataset = open_all();
    dataset.classes = 7;
    refused(&dataset, 8, 4, 0, "label 7 at (7, 0), but there are 7 classes");
    refused(&dataset, 9, 4, 0, "8 x 4 pixels, but its picture");
    refused(&dataset, 8, 6, 1, "has 8 x 6");
    write_pair("a", PNG_COLOR_TYPE_RGB, 8);
    refused(&dataset, 8, 4, 0, "colours");
    write_pair("a", PNG_COLOR_TYPE_GRAY_ALPHA, 8);
    refused(&dataset, 8, 4, 0, "transparency");
    write_pair("a", PNG_COLOR_TYPE_GRAY, 16);
    refused(&dataset, 8, 4, 0, "16 bits");
    files_write(files_path(folder, "labels/a.png"), "\xff\xd8\xff", 3);
    refused(&dataset, 8, 4, 0, "no PNG file");
    files_write(files_path(folder, "labels/a.png"), "", 0);
    refused(&dataset, 8, 4, 0, "empty");
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
    tcase_add_test(tests, test_dataset_both_halves_take_turns_or_take_all);
    tcase_add_test(tests, test_dataset_names_say_how_many_classes);
    tcase_add_test(tests, test_dataset_missing_parts_are_named);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
