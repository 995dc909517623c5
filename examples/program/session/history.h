/* The losses and the view retrieval of a run over its steps, and their picture. */
#ifndef HISTORY_H
#define HISTORY_H

#include "base/problem.h"

#include <cribo/trainer.h>

#include <stddef.h>

enum { HISTORY_CURVES = 4 };

/* The names of the curves, as pictures and messages have them. */
extern const char *const history_names[HISTORY_CURVES];

/*
 * Losses of each step: the mean of those in use, [CLS], objects between views, objects between images; a loss
 * that is not in use is NaN. The mean, unlike the sum, does not jump when the last of them begins.
 */
struct history {
    double (*losses)[HISTORY_CURVES];
    size_t count, capacity;
    /* View retrieval in per cent after some of the steps, in their order; step 0: before training. */
    struct history_retrieval {
        double step, percent;
    } *retrievals;
    size_t retrieval_count, retrieval_capacity;
};

bool history_add(struct history *history, const cribo_report *report, struct problem *problem);
bool history_add_retrieval(struct history *history, double step, double percent, struct problem *problem);
void history_free(struct history *history);

/* View retrieval before training, and the newest; NaN if it was not measured. */
double history_retrieval_start(const struct history *history);
double history_retrieval_newest(const struct history *history);

/*
 * Whether view retrieval is above that before training, by its newest value or by the mean of the last
 * three: with small views it varies by several tenths of a per cent without any learning. True if it was not
 * measured.
 */
bool history_retrieval_rose(const struct history *history);

/* The mean of a curve's values over a range of steps, without NaN; NaN if there are none. */
double history_mean(const struct history *history, int curve, size_t first, size_t end);

/*
 * Draws the curves to a PNG file: smoothed, over the original values in a paler tint, and below them view
 * retrieval where it was measured twice. Needs at least two steps.
 */
bool history_draw(const struct history *history, const char *path, struct problem *problem);

#endif
