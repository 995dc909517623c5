/* See layout.h. */
#include "pictures/layout.h"

#include "pictures/folder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#define VOC_PICTURES "JPEGImages|images"
#define VOC_LIST(name) "ImageSets/Segmentation/" name ".txt|sets/" name ".txt"
#define COCO_PICTURES(half) "images/" half "2017|" half "2017"

static const struct layout layouts[] = {
    {"voc", "voc-aug", {VOC_PICTURES, VOC_PICTURES}, {"SegmentationClass", "SegmentationClass"},
        {VOC_LIST("train"), VOC_LIST("val")}, "", "", 21, LABELS_STORED, NULL, false},
    {"voc-aug", NULL, {VOC_PICTURES, VOC_PICTURES}, {"SegmentationClassAug", "SegmentationClass"},
        {VOC_LIST("trainaug"), VOC_LIST("val")}, "", "", 21, LABELS_STORED, NULL, true},
    {"ade20k", "ade20k-151", {"images/training", "images/validation"},
        {"annotations/training", "annotations/validation"}, {NULL, NULL}, "", "", 150, LABELS_FROM_ONE, NULL,
        false},
    {"ade20k-151", NULL, {"images/training", "images/validation"},
        {"annotations/training", "annotations/validation"}, {NULL, NULL}, "", "", 151, LABELS_ZERO_UNSEEN,
        NULL, true},
    {"cityscapes", NULL, {"leftImg8bit/train", "leftImg8bit/val"}, {"gtFine/train", "gtFine/val"},
        {NULL, NULL}, "_leftImg8bit", "_gtFine_labelIds", 19, LABELS_CITYSCAPES, NULL, false},
    {"coco-stuff-15", NULL, {COCO_PICTURES("train"), COCO_PICTURES("val")},
        {"annotations/stuff_annotations/stuff_train2017_pixelmaps",
            "annotations/stuff_annotations/stuff_val2017_pixelmaps"},
        {NULL, NULL}, "", "", 0, LABELS_SUPER_STUFF, "annotations/stuff_annotations/stuff_val2017.json",
        true},
    {"coco-things-12", NULL, {COCO_PICTURES("train"), COCO_PICTURES("val")},
        {"annotations/train2017", "annotations/val2017"}, {NULL, NULL}, "", "", 0, LABELS_SUPER_THINGS,
        "annotations/panoptic_annotations/panoptic_val2017.json", true},
    {"coco-stuff", NULL, {COCO_PICTURES("train"), COCO_PICTURES("val")},
        {"annotations/train2017|stuffthingmaps/train2017", "annotations/val2017|stuffthingmaps/val2017"},
        {NULL, NULL}, "", "_labelTrainIds|", 171, LABELS_COCO_STUFF, NULL, false},
    {"pascal-context", NULL, {VOC_PICTURES, VOC_PICTURES},
        {"SegmentationClassContext", "SegmentationClassContext"},
        {"ImageSets/SegmentationContext/train.txt", "ImageSets/SegmentationContext/val.txt"}, "", "", 60,
        LABELS_STORED, NULL, false},
    {"pascal-context-59", NULL, {VOC_PICTURES, VOC_PICTURES},
        {"SegmentationClassContext", "SegmentationClassContext"},
        {"ImageSets/SegmentationContext/train.txt", "ImageSets/SegmentationContext/val.txt"}, "", "", 59,
        LABELS_FROM_ONE, NULL, true},
    {"pairs", NULL, {"images", "images"}, {"labels", "labels"}, {NULL, NULL}, "", "", 0, LABELS_STORED, NULL,
        false},
};

enum { LAYOUTS = sizeof layouts / sizeof layouts[0] };

char *layout_path(const char *root, const char *alternatives)
{
    char name[256], *path = NULL;
    for (const char *next = alternatives; next; next = strchr(next, '|') ? strchr(next, '|') + 1 : NULL) {
        snprintf(name, sizeof name, "%.*s", (int)strcspn(next, "|"), next);
        free(path);
        path = path_join(root, name);
        if (!path || access(path, F_OK) == 0) return path;
    }
    free(path);
    snprintf(name, sizeof name, "%.*s", (int)strcspn(alternatives, "|"), alternatives);
    return path_join(root, name);
}

static bool exists(const char *root, const char *alternatives)
{
    char *path = layout_path(root, alternatives);
    bool there = path && access(path, F_OK) == 0;
    free(path);
    return there;
}

bool layout_has_halves(const struct layout *layout)
{
    return layout->lists[0] || strcmp(layout->pictures[0], layout->pictures[1]);
}

const struct layout *layout_named(const char *name, struct problem *problem)
{
    char known[512] = "";
    for (size_t i = 0; i < LAYOUTS; i++) {
        if (!strcmp(layouts[i].name, name)) return &layouts[i];
        size_t end = strlen(known);
        snprintf(known + end, sizeof known - end, "%s%s", end ? ", " : "", layouts[i].name);
    }
    problem_set(problem, "--layout=%s: there are %s", name, known);
    return NULL;
}

/* One half of the data is enough: another folder may have the other half. */
static bool is_at(const struct layout *layout, const char *root)
{
    for (int half = 0; half < 2; half++)
        if (exists(root, layout->pictures[half]) && exists(root, layout->labels[half])) return true;
    return false;
}

const struct layout *layout_find(const char *root, struct problem *problem)
{
    for (size_t i = 0; i < LAYOUTS; i++)
        if (!layouts[i].by_name && is_at(&layouts[i], root)) return &layouts[i];
    problem_set(problem,
        "%s: no data set with labels: its folders are neither images and labels, nor those of Pascal VOC "
        "(JPEGImages, SegmentationClass), ADE20k (images, annotations), Cityscapes (leftImg8bit, gtFine), "
        "COCO-Stuff (images/val2017, annotations/val2017) or Pascal Context",
        root);
    return NULL;
}

/* --- labels --- */

static void number_from(int16_t *class_of, int first, int classes)
{
    for (int c = 0; c < classes && c + first < NO_LABEL; c++) class_of[c + first] = (int16_t)c;
}

/* The listed labels are classes 0, 1, ...; all others are ignored. */
static void number_listed(int16_t *class_of, const uint8_t *labels, int classes)
{
    for (int label = 0; label < 256; label++) class_of[label] = NO_LABEL;
    for (int c = 0; c < classes; c++) class_of[labels[c]] = (int16_t)c;
}

/* All but the listed labels are classes, in their order. */
static void number_others(int16_t *class_of, const uint8_t *unused, size_t count, int labels)
{
    int class = 0;
    for (int label = 0; label < labels; label++)
        class_of[label] = (int16_t)(memchr(unused, label, count) ? NO_LABEL : class ++);
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Whether a category has a class: in COCO's stuff all but "other", in COCO's things only things. */
static bool has_class(const json_t *category, bool things)
{
    const char *super = json_string_value(json_object_get(category, "supercategory"));
    if (!super) return false;
    return things ? json_integer_value(json_object_get(category, "isthing")) == 1
                  : strcmp(super, "other") != 0;
}

/* The supercategories that are classes, sorted; *names is to be freed with its strings. */
static int super_names(const json_t *categories, bool things, char ***names)
{
    int count = 0;
    size_t i;
    const json_t *category;
    *names = calloc(json_array_size(categories) + 1, sizeof **names);
    json_array_foreach(categories, i, category)
    {
        const char *super = json_string_value(json_object_get(category, "supercategory"));
        bool known = !*names || !has_class(category, things);
        for (int c = 0; !known && c < count; c++) known = !strcmp((*names)[c], super);
        if (!known && ((*names)[count] = strdup(super))) count++;
    }
    if (*names) qsort(*names, (size_t)count, sizeof **names, compare_names);
    return count;
}

static bool number_supers(
    const char *path, bool things, int *classes, int16_t *class_of, char ***names, struct problem *problem)
{
    json_error_t error;
    json_t *root = json_load_file(path, 0, &error), *categories = json_object_get(root, "categories"),
           *category;
    size_t i;
    *classes = super_names(categories, things, names);
    for (int label = 0; label < 256; label++) class_of[label] = NO_LABEL;
    json_array_foreach(categories, i, category)
    {
        int64_t id = json_integer_value(json_object_get(category, "id"));
        const char *super = json_string_value(json_object_get(category, "supercategory"));
        if (id <= 0 || id >= NO_LABEL || !has_class(category, things)) continue;
        for (int c = 0; c < *classes; c++)
            if (!strcmp((*names)[c], super)) class_of[id] = (int16_t)c;
    }
    bool numbered = *classes > 0 || problem_set(problem, "%s: no categories in it: %s", path, error.text);
    json_decref(root);
    return numbered;
}

bool layout_classes(const struct layout *layout, const char *root, bool truth, int *classes,
    int16_t *class_of, char ***names, struct problem *problem)
{
    static const uint8_t cityscapes[] = {
        7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33};
    static const uint8_t no_stuff[] = {11, 25, 28, 29, 44, 65, 67, 68, 70, 82, 90};
    if (layout->classes && !*classes) *classes = layout->classes;
    for (int label = 0; label < 256; label++) class_of[label] = -1;
    class_of[NO_LABEL] = NO_LABEL;
    switch (layout->rule) {
    case LABELS_STORED: number_from(class_of, 0, *classes); break;
    case LABELS_FROM_ONE:
        number_from(class_of, 1, *classes);
        class_of[0] = NO_LABEL;
        break;
    case LABELS_ZERO_UNSEEN:
        number_from(class_of, 0, *classes);
        if (truth) class_of[0] = NO_LABEL;
        break;
    case LABELS_CITYSCAPES: number_listed(class_of, cityscapes, layout->classes); break;
    case LABELS_COCO_STUFF: number_others(class_of, no_stuff, sizeof no_stuff, 182); break;
    default: {
        char *path = path_join(root, layout->categories);
        bool numbered = path && number_supers(path, layout->rule == LABELS_SUPER_THINGS, classes, class_of,
                                    names, problem);
        free(path);
        return numbered;
    }
    }
    return true;
}
