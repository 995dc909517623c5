/*
 * The rules by which patches are remembered and scored: those of a named protocol, each of which can be
 * chosen by itself. docs/evaluation.md explains them.
 */
#ifndef PROTOCOL_H
#define PROTOCOL_H

#include "base/problem.h"

#include <stdbool.h>
#include <stddef.h>

struct protocol {
    const char *name;
    bool bytes;        /* pictures bilinear, rounded to bytes as Pillow does; otherwise bicubic */
    bool floor_labels; /* label pixel floor(i s); otherwise floor((i + 1/2) s) */
    int passes;        /* over the remembered pictures, cropped and jittered; 0: once, as they are */
    bool rare;         /* a bounded memory keeps K patches of each picture, rare classes first */
    bool void_is_zero; /* in the memory, labels that count nowhere are class 0 */
    bool matched;      /* predictions matched with classes, mean over all; otherwise over those that occur */
    bool published;    /* layouts: SegmentationClassAug, ADE20k with 151 classes */
    double
        blue_deviation; /* by which blue is normalised; the published evaluator has 0.255, ImageNet 0.225 */
};

/* By its name: "simple" or "hummingbird". */
bool protocol_named(struct protocol *protocol, const char *name, struct problem *problem);

/*
 * Sets one of the rules, by the names of the options: resize, label-pixel, passes, memory, void, mean,
 * blue-deviation.
 */
bool protocol_set(struct protocol *protocol, const char *rule, const char *value, struct problem *problem);

/* Writes the rules down in words. */
void protocol_describe(const struct protocol *protocol, char *text, size_t size);

#endif
