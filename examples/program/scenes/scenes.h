/*
 * Composed scenes: photographs of objects on photographs of places, with the exact class of each pixel.
 * Training pictures with more than one object, and the ground truth to score dense features against, from
 * files that Linux distributions package.
 */
#ifndef SCENES_H
#define SCENES_H

#include "scenes/pools.h"
#include "pictures/image.h"

#include <stdint.h>

enum { LABEL_IGNORED = 255 };

struct scene {
    struct image picture; /* RGB */
    struct image labels;  /* grey: 0 background, k class number k, 255 where an edge is neither */
};

/*
 * Composes scene `number`: a square crop of a background, two to five objects at random size, place and flip,
 * later ones over earlier ones. A label is the object's class where its alpha is at least 0.75, 255 from
 * 0.125 on. The scene is a function of (pools, size, seed, number). A file that cannot be read is a failure
 * that names it.
 */
bool scene_compose(struct scene *scene, const struct pools *pools, int size, uint64_t seed, uint64_t number,
    struct problem *problem);
void scene_free(struct scene *scene);

struct scenes_options {
    const char *out;
    const char *stamps, *backgrounds; /* as pools_gather takes them */
    enum split split;
    int count, size, workers;
    uint64_t seed;
};

/*
 * Writes OUT/images/scene-00000.png ..., OUT/labels/ with the same names, and OUT/classes.txt with a line
 * "number name" for each class. OUT/images and OUT/labels must be empty or missing: scenes of two runs are
 * not mixed.
 */
bool scenes_write(const struct scenes_options *options, struct problem *problem);

#endif
