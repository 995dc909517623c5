/*
 * Labelled pictures: layouts, the classes of stored labels, sizes, and all kinds of wrong labels.
 */
#include "pictures/dataset.h"
#include "pictures/folder.h"
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

static struct dataset open_as(struct dataset_choice choice)
{
    struct dataset train, test;
    choice.train = choice.test = folder;
    ck_assert_msg(dataset_open_both(&train, &test, &choice, &problem), "%s", problem.text);
    dataset_free(&test);
    return train;
}

static struct dataset open_all(int classes)
{
    return open_as((struct dataset_choice){.classes = classes});
}

START_TEST(test_dataset_labels_are_indices_and_grey_values_as_stored)
{
    int32_t labels[64];
    write_pair("grey", PNG_COLOR_TYPE_GRAY, 8);
    write_pair("palette", PNG_COLOR_TYPE_PALETTE, 2);
    struct dataset dataset = open_all(8);
    for (size_t i = 0; i < 2; i++) {
        ck_assert_msg(dataset_labels(&dataset, i, &whole, NULL, 8, labels, &problem), "%s", problem.text);
        for (int p = 0; p < 64; p++) ck_assert_int_eq(labels[p], i == 0 ? p % 8 : p % 8 % 4);
    }
    ck_assert(dataset_labels(&dataset, 0, &whole, NULL, 4, labels, &problem)); /* every second column */
    for (int p = 0; p < 16; p++) ck_assert_int_eq(labels[p], p % 4 * 2 + 1);
    dataset_free(&dataset);
}
END_TEST

START_TEST(test_dataset_reduced_zero_counts_nowhere)
{
    int32_t labels[64];
    write_pair("a", PNG_COLOR_TYPE_GRAY, 8);
    struct dataset dataset = open_as((struct dataset_choice){.classes = 7, .reduce_zero = true});
    ck_assert(dataset_labels(&dataset, 0, &whole, NULL, 8, labels, &problem));
    for (int p = 0; p < 64; p++) ck_assert_int_eq(labels[p], p % 8 ? p % 8 - 1 : NO_LABEL);
    dataset_free(&dataset);
}
END_TEST

static void refused(const struct dataset *dataset, int width, int height, double reduction, const char *text)
{
    int32_t labels[64];
    struct image picture = {.width = width, .height = height, .reduction = reduction};
    ck_assert(!dataset_labels(dataset, 0, &picture, NULL, 8, labels, &problem));
    ck_assert_msg(strstr(problem.text, text) && strstr(problem.text, "labels/a.png"), "%s", problem.text);
}

START_TEST(test_dataset_wrong_labels_are_refused_by_name)
{
    write_pair("a", PNG_COLOR_TYPE_GRAY, 8);
    struct dataset dataset = open_all(7);
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
        struct dataset dataset = open_all(8);
        ck_assert_msg(dataset_picture(&dataset, 0, 0, &picture, &problem), "%s", problem.text);
        ck_assert_msg(picture.width == 8 && picture.height == 4, "orientation %d", orientation);
        ck_assert_int_lt(picture.pixels[0], picture.pixels[7 * 3]); /* red grows to the right, as stored */
        ck_assert_msg(dataset_labels(&dataset, 0, &picture, NULL, 8, labels, &problem), "%s", problem.text);
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
        struct dataset dataset = open_as((struct dataset_choice){.classes = 8, .upright = true});
        ck_assert_msg(dataset_picture(&dataset, 0, 0, &picture, &problem), "%s", problem.text);
        ck_assert_int_eq(picture.width, orientation >= 5 ? 4 : 8);
        ck_assert_msg(dataset_labels(&dataset, 0, &picture, NULL, 8, labels, &problem), "%s", problem.text);
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
    struct dataset dataset = open_all(0);
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

static void not_opened(const char *text)
{
    struct dataset train, test;
    struct dataset_choice choice = {.train = folder, .test = folder, .classes = 9};
    ck_assert(!dataset_open_both(&train, &test, &choice, &problem));
    ck_assert_msg(strstr(problem.text, text), "%s", problem.text);
    dataset_free(&train);
    dataset_free(&test);
}

START_TEST(test_dataset_missing_parts_are_named)
{
    not_opened("no pictures with labels");
    write_pair("a", PNG_COLOR_TYPE_GRAY, 8);
    remove(files_path(folder, "labels/a.png"));
    not_opened("images/a.png: no labels for it");
    rmdir(files_path(folder, "labels"));
    not_opened("no data set with labels");
}
END_TEST

/* --- layouts --- */

/* Makes the folders of a path below `folder` and moves the pair "a" there. */
static void place(const char *pictures, const char *picture, const char *labels, const char *label)
{
    char from[512], to[512];
    mkdir(files_path(folder, "images"), 0777);
    mkdir(files_path(folder, "labels"), 0777);
    write_pair("a", PNG_COLOR_TYPE_GRAY, 8);
    const char *folders[] = {pictures, labels}, *names[] = {picture, label},
               *sources[] = {"images", "labels"};
    for (int i = 0; i < 2; i++) {
        snprintf(to, sizeof to, "%s/%s", folder, folders[i]);
        ck_assert_msg(folder_make(to, &problem), "%s", problem.text);
        snprintf(from, sizeof from, "%s/%s/a.png", folder, sources[i]);
        snprintf(to, sizeof to, "%s/%s/%s", folder, folders[i], names[i]);
        ck_assert_int_eq(rename(from, to), 0);
    }
}

/* Both sides of a layout with a picture each; removes the plain folders first. */
static void open_halves(struct dataset *train, struct dataset *test, struct dataset_choice choice)
{
    rmdir(files_path(folder, "images"));
    rmdir(files_path(folder, "labels"));
    choice.train = folder;
    ck_assert_msg(dataset_open_both(train, test, &choice, &problem), "%s", problem.text);
}

static void free_halves(struct dataset *train, struct dataset *test)
{
    dataset_free(train);
    dataset_free(test);
}

START_TEST(test_dataset_cityscapes_labels_are_the_nineteen_classes)
{
    struct dataset train, test;
    place("leftImg8bit/train/x", "x_1_leftImg8bit.png", "gtFine/train/x", "x_1_gtFine_labelIds.png");
    place("leftImg8bit/val/y", "y_1_leftImg8bit.png", "gtFine/val/y", "y_1_gtFine_labelIds.png");
    open_halves(&train, &test, (struct dataset_choice){.void_is_zero = true});
    ck_assert(train.count == 1 && test.count == 1 && test.classes == 19);
    ck_assert(test.class_of[7] == 0 && test.class_of[8] == 1 && test.class_of[33] == 18);
    ck_assert(test.class_of[0] == NO_LABEL && test.class_of[255] == NO_LABEL);
    ck_assert(train.class_of[0] == 0 && train.class_of[255] == 0 && train.class_of[11] == 2);
    free_halves(&train, &test);
}
END_TEST

START_TEST(test_dataset_published_variants_of_voc_and_ade20k)
{
    struct dataset train, test;
    place("JPEGImages", "a.jpg", "SegmentationClassAug", "a.png");
    place("JPEGImages", "b.jpg", "SegmentationClass", "b.png");
    folder_make(files_path(folder, "ImageSets/Segmentation"), &problem);
    files_write(files_path(folder, "ImageSets/Segmentation/trainaug.txt"), "a\n", 2);
    files_write(files_path(folder, "ImageSets/Segmentation/val.txt"), "b\n", 2);
    open_halves(&train, &test, (struct dataset_choice){.published = true});
    ck_assert_ptr_nonnull(strstr(train.list[0].labels, "SegmentationClassAug/a.png"));
    ck_assert_ptr_nonnull(strstr(test.list[0].labels, "SegmentationClass/b.png"));
    ck_assert_int_eq(test.classes, 21);
    free_halves(&train, &test);
    open_halves(&train, &test,
        (struct dataset_choice){
            .layout = "voc", .train_list = files_path(folder, "ImageSets/Segmentation/val.txt")});
    ck_assert_ptr_nonnull(strstr(train.list[0].labels, "SegmentationClass/b.png"));
    free_halves(&train, &test);
}
END_TEST

START_TEST(test_dataset_ade20k_has_150_or_151_classes)
{
    struct dataset train, test;
    place("images/training", "a.png", "annotations/training", "a.png");
    place("images/validation", "a.png", "annotations/validation", "a.png");
    open_halves(&train, &test, (struct dataset_choice){0});
    ck_assert(test.classes == 150 && test.class_of[0] == NO_LABEL && test.class_of[150] == 149);
    free_halves(&train, &test);
    open_halves(&train, &test, (struct dataset_choice){.published = true});
    ck_assert(test.classes == 151 && test.class_of[0] == NO_LABEL && test.class_of[150] == 150);
    ck_assert(train.class_of[0] == 0 && train.class_of[150] == 150 && train.class_of[151] == -1);
    free_halves(&train, &test);
}
END_TEST

START_TEST(test_dataset_coco_stuff_by_identifiers_and_by_supercategories)
{
    static const char categories[] =
        "{\"categories\":[{\"id\":92,\"supercategory\":\"textile\"},{\"id\":94,\"supercategory\":\"plant\"},"
        "{\"id\":95,\"supercategory\":\"textile\"},{\"id\":183,\"supercategory\":\"other\"}]}";
    struct dataset train, test;
    place("images/train2017", "a.png", "annotations/train2017", "a.png");
    place("images/val2017", "a.png", "annotations/val2017", "a.png");
    open_halves(&train, &test, (struct dataset_choice){0});
    ck_assert(test.classes == 171 && test.class_of[10] == 10 && test.class_of[11] == NO_LABEL);
    ck_assert(test.class_of[12] == 11 && test.class_of[181] == 170 && test.class_of[182] == -1);
    free_halves(&train, &test);
    place("images/train2017", "a.png", "annotations/stuff_annotations/stuff_train2017_pixelmaps", "a.png");
    place("images/val2017", "a.png", "annotations/stuff_annotations/stuff_val2017_pixelmaps", "a.png");
    files_write(files_path(folder, "annotations/stuff_annotations/stuff_val2017.json"), categories,
        sizeof categories - 1);
    open_halves(&train, &test, (struct dataset_choice){.layout = "coco-stuff-15"});
    ck_assert(test.classes == 2 && !strcmp(test.names[0], "plant") && test.class_of[94] == 0);
    ck_assert(test.class_of[92] == 1 && test.class_of[183] == NO_LABEL && test.class_of[0] == NO_LABEL);
    free_halves(&train, &test);
}
END_TEST

START_TEST(test_dataset_pascal_context_has_60_or_59_classes)
{
    struct dataset train, test;
    place("JPEGImages", "a.jpg", "SegmentationClassContext", "a.png");
    folder_make(files_path(folder, "ImageSets/SegmentationContext"), &problem);
    files_write(files_path(folder, "ImageSets/SegmentationContext/train.txt"), "a\n", 2);
    files_write(files_path(folder, "ImageSets/SegmentationContext/val.txt"), "a\n", 2);
    open_halves(&train, &test, (struct dataset_choice){0});
    ck_assert(test.classes == 60 && test.class_of[0] == 0 && test.class_of[59] == 59);
    free_halves(&train, &test);
    open_halves(&train, &test, (struct dataset_choice){.layout = "pascal-context-59"});
    ck_assert(test.classes == 59 && test.class_of[0] == NO_LABEL && test.class_of[59] == 58);
    free_halves(&train, &test);
}
END_TEST

START_TEST(test_dataset_list_names_the_pictures_of_a_folder)
{
    struct dataset train, test;
    for (int i = 0; i < 4; i++) write_pair((const char *[]){"a", "b", "c", "d"}[i], PNG_COLOR_TYPE_GRAY, 8);
    files_write(files_path(folder, "train.txt"), "d\nb.png\n", 8);
    files_write(files_path(folder, "test.txt"), "e\n", 2);
    struct dataset_choice choice = {.train = folder, .classes = 9};
    choice.train_list = strdup(files_path(folder, "train.txt"));
    ck_assert_msg(dataset_open_both(&train, &test, &choice, &problem), "%s", problem.text);
    ck_assert_uint_eq(train.count, 2);
    ck_assert_ptr_nonnull(strstr(train.list[0].picture, "images/b.png"));
    free_halves(&train, &test);
    choice.test_list = strdup(files_path(folder, "test.txt"));
    ck_assert(!dataset_open_both(&train, &test, &choice, &problem));
    ck_assert_msg(strstr(problem.text, "test.txt: no picture e in"), "%s", problem.text);
    free_halves(&train, &test);
    free((char *)choice.train_list);
    free((char *)choice.test_list);
}
END_TEST

START_TEST(test_dataset_labels_by_floor_are_those_of_the_published_evaluators)
{
    int32_t labels[64];
    write_pair("a", PNG_COLOR_TYPE_GRAY, 8);
    struct dataset dataset = open_as((struct dataset_choice){.classes = 8, .floor_labels = true});
    ck_assert(dataset_labels(&dataset, 0, &whole, NULL, 4, labels, &problem));
    for (int p = 0; p < 16; p++) ck_assert_int_eq(labels[p], p % 4 * 2); /* floor(2 i) */
    struct box box = {3, 1, 5, 2};
    ck_assert(dataset_labels(&dataset, 0, &whole, &box, 3, labels, &problem));
    for (int p = 0; p < 9; p++) ck_assert_int_eq(labels[p], 3 + p % 3 * 5 / 3);
    dataset_free(&dataset);
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
    tcase_add_test(tests, test_dataset_cityscapes_labels_are_the_nineteen_classes);
    tcase_add_test(tests, test_dataset_published_variants_of_voc_and_ade20k);
    tcase_add_test(tests, test_dataset_ade20k_has_150_or_151_classes);
    tcase_add_test(tests, test_dataset_coco_stuff_by_identifiers_and_by_supercategories);
    tcase_add_test(tests, test_dataset_pascal_context_has_60_or_59_classes);
    tcase_add_test(tests, test_dataset_list_names_the_pictures_of_a_folder);
    tcase_add_test(tests, test_dataset_labels_by_floor_are_those_of_the_published_evaluators);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
