/*
 * Pictures with a label for each of their pixels, as evaluation takes them.
 *
 * Three layouts are told apart by their folders:
 *
 *   ROOT/images, ROOT/labels            names that match but for their endings, in folders or not; as `cribo
 *                                       scenes` writes. ROOT/classes.txt, a name on each line, from class 0
 *                                       on
 *   ROOT/JPEGImages, ROOT/SegmentationClass   Pascal VOC; ROOT/ImageSets/Segmentation/{train,val}.txt lists
 *   ROOT/images/{training,validation}, ROOT/annotations/{...}   ADE20k; label 0 is "nothing" and left out
 */
#ifndef DATASET_H
#define DATASET_H

#include "pictures/image.h"

enum { NO_LABEL = 255 };

struct labelled {
    char *picture, *labels; /* paths */
};

struct dataset {
    struct labelled *list;
    size_t count, capacity;
    int classes;      /* 0: the data do not say */
    char **names;     /* [classes]; NULL: the data do not say */
    bool reduce_zero; /* label 0 is left out, label c is class c - 1 */
    bool plain;       /* the layout without halves */
    bool upright;     /* pictures and labels are turned by the picture's EXIF orientation */
};

/* Which pictures of a folder. The first layout has no halves of its own: its pictures take turns. */
enum dataset_part { DATASET_TRAIN, DATASET_VALIDATION, DATASET_ALL };

/*
 * A problem when ROOT has no such layout, a picture has no labels, or there is none. DATASET_ALL of the
 * layouts with halves is not asked for. Free with dataset_free.
 */
bool dataset_open(struct dataset *dataset, const char *root, enum dataset_part part, struct problem *problem);
void dataset_free(struct dataset *dataset);

/* Where the pictures of an evaluation are, and what the data do not say. */
struct dataset_choice {
    const char *train, *test; /* folders; test NULL: the halves of `train` */
    int classes;              /* 0: the data say it */
    bool reduce_zero, upright;
};

/*
 * The pictures that are remembered and those that are scored, with the same classes. Free both in any case.
 */
bool dataset_open_both(struct dataset *train, struct dataset *test, const struct dataset_choice *choice,
    struct problem *problem);

/*
 * Reads picture `index` with 3 channels; `least_side` as in image_load. Its pixels lie as they are stored,
 * whatever its EXIF orientation, for so do those of its label map; in an `upright` data set they are turned.
 * The problem names the file.
 */
bool dataset_picture(const struct dataset *dataset, size_t index, double least_side, struct image *picture,
    struct problem *problem);

/*
 * Label maps of side `size` by the nearest pixel: labels [size * size], NO_LABEL where there is none. They
 * lie as the pixels of `picture`, which dataset_picture has read, lie. A problem names the file: it is
 * unreadable, has another size than its picture, or a label that is no class.
 */
bool dataset_labels(const struct dataset *dataset, size_t index, const struct image *picture, int size,
    int32_t *labels, struct problem *problem);

#endif
