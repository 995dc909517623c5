/*
 * Pictures with a label for each pixel, for evaluation. The layouts of their folders are in layout.h.
 */
#ifndef DATASET_H
#define DATASET_H

#include "pictures/image.h"
#include "pictures/layout.h"
#include "pictures/resample.h"

struct labelled {
    char *picture, *labels; /* paths */
};

struct dataset {
    struct labelled *list;
    size_t count, capacity;
    const struct layout *layout;
    int classes;           /* 0: not known */
    char **names;          /* [classes]; NULL: not known */
    int16_t class_of[256]; /* the class of a stored label, NO_LABEL, or -1: refused */
    bool upright;          /* pictures and labels are turned by the picture's EXIF orientation */
    bool floor_labels;     /* pixel i of a resized label map is floor(i s), not floor((i + 1/2) s) */
};

/*
 * The location of an evaluation's pictures, and facts that the data do not contain. Zero except for `train`:
 * the default rules.
 */
struct dataset_choice {
    const char *train, *test;           /* folders; test NULL: the halves of `train` */
    const char *train_list, *test_list; /* files with a picture's name on each line; NULL: the layout's */
    const char *layout;                 /* NULL: by the folders */
    bool published;             /* of layouts found by their folders, the published evaluators' variant */
    int classes;                /* 0: from the data */
    bool reduce_zero;           /* label 0 is ignored, label c is class c - 1 */
    bool upright, floor_labels; /* as in struct dataset */
    bool void_is_zero;          /* in the memory, ignored labels are class 0 */
};

/*
 * The pictures that are remembered and those that are scored, with the same classes. Free both in any case.
 */
bool dataset_open_both(struct dataset *train, struct dataset *test, const struct dataset_choice *choice,
    struct problem *problem);
void dataset_free(struct dataset *dataset);

/*
 * Reads picture `index` with 3 channels; `least_side` as in image_load. Its pixels are in the stored order,
 * without its EXIF orientation, like those of its label map; in an `upright` data set both are turned. The
 * problem names the file.
 */
bool dataset_picture(const struct dataset *dataset, size_t index, double least_side, struct image *picture,
    struct problem *problem);

/*
 * The label map of a box of the picture, of side `size`, by the nearest pixel: labels [size * size], NO_LABEL
 * where there is none. They have the order of the pixels of `picture`, from dataset_picture; box NULL: the
 * whole picture. It is a problem if the file cannot be read, has another size than its picture, or has a
 * label that is not a class; the problem names the file.
 */
bool dataset_labels(const struct dataset *dataset, size_t index, const struct image *picture,
    const struct box *box, int size, int32_t *labels, struct problem *problem);

#endif
