/*
 * The pictures that an evaluation got worst, a row each: the picture, its true and its predicted classes in
 * colours, and the remembered patches that voted for the patch with the most wrong pixels.
 */
#ifndef FAILURES_H
#define FAILURES_H

#include "models/evaluation.h"

/* Writes PNG or SVG, by the path's ending. `result` is the first run's, with its memory. */
bool failures_draw(const char *path, const struct frozen *frozen, const struct evaluation_options *options,
    struct evaluation *result, struct problem *problem);

#endif
