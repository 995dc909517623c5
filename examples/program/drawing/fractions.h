/* A plot of the mean IoU against the share of the pictures that the memory has seen. */
#ifndef FRACTIONS_H
#define FRACTIONS_H

#include "models/run_plan.h"

/* Writes PNG or SVG, by the path's ending; a problem with fewer than two shares. */
bool fractions_draw(
    const char *path, const struct run_summary *summaries, size_t count, struct problem *problem);

#endif
