/*
 * The parts of scenes: cut-out objects in classes, and background photographs, each split once into a
 * training and a validation half that share no file.
 */
#ifndef POOLS_H
#define POOLS_H

#include "scenes/fashion.h"
#include "pictures/folder.h"

#define POOLS_STAMPS "/usr/share/tuxpaint/stamps"
#define POOLS_FASHION "/usr/share/datasets/fashion-mnist"

enum { MOST_CLASSES = 250 };

enum split { SPLIT_TRAIN, SPLIT_VALIDATION, SPLIT_ALL };

struct object_class {
    char *name;
    char **paths; /* [count], borrowed from the pools' folders, sorted bytewise; NULL: items of `fashion` */
    size_t count;
};

struct pools {
    struct folder stamps, backgrounds;
    struct fashion fashion;
    struct object_class classes[MOST_CLASSES]; /* class number k is classes[k - 1]: 0 is the background */
    size_t class_count;
};

/*
 * Gathers the pools.
 *
 * stamps       a folder laid out as Tux Paint's stamps: the photographic ones among them, in ten classes by
 *              its folders; or any other folder whose immediate folders are the classes, PNG files with
 *              alpha; or the folder of Fashion-MNIST, whose own two halves are the split (all: both are not
 *              joined, those for training)
 * backgrounds  a folder of photographs; NULL: those of the wallpaper packages that are photographs, where
 *              they are installed
 *
 * Of each list, sorted bytewise, the files with index i mod 5 in {1, 3} are for validation, the others for
 * training (a list of one serves both). Names that contain "mirror" are left out before: mirrored copies
 * would be in both halves.
 */
bool pools_gather(struct pools *pools, const char *stamps, const char *backgrounds, enum split split,
    struct problem *problem);

void pools_free(struct pools *pools);

/*
 * Object number `which` of class k (0: the first class) as RGBA: a file, or an item of Fashion-MNIST in
 * colours from draws [FASHION_DRAWS].
 */
bool pools_object(const struct pools *pools, size_t k, size_t which, const double *draws,
    struct image *object, struct problem *problem);

#endif
