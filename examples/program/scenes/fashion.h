/*
 * Fashion-MNIST (Xiao, Rasul, Vollgraf 2017) as cut-out objects: grey photographs of 28 x 28 pixels of
 * clothes in ten classes, 60 000 to train with and 10 000 others to validate with, from the four IDX files
 * of Debian's package dataset-fashion-mnist.
 */
#ifndef FASHION_H
#define FASHION_H

#include "pictures/image.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { FASHION_CLASSES = 10, FASHION_SIDE = 28, FASHION_DRAWS = 6 };

extern const char *const fashion_class_names[FASHION_CLASSES];

struct fashion {
    size_t count;
    uint8_t *pixels;                   /* [count][28][28], 0: background */
    size_t first[FASHION_CLASSES + 1]; /* class k is items order[first[k]] ... order[first[k + 1] - 1] */
    uint32_t *order;                   /* [count] */
};

/* Whether the folder has such files. */
bool fashion_is_in(const char *folder);

/* Reads one half. Free with fashion_free; on failure *fashion is empty and the problem names the file. */
bool fashion_load(struct fashion *fashion, const char *folder, bool validation, struct problem *problem);
void fashion_free(struct fashion *fashion);

/*
 * Item `which` of class k as RGBA. All pixels inside of its outline are opaque: pixels of (nearly) 0 that are
 * connected to the border are outside, those inside are its darkest parts. Grey is replaced by a ramp from a
 * dark to a bright colour by draws [FASHION_DRAWS], so the colour is independent of the class.
 */
bool fashion_item(struct image *item, const struct fashion *fashion, size_t k, size_t which,
    const double *draws, struct problem *problem);

#endif
