/* The losses of a run as curves over its steps. */
#ifndef PLOT_H
#define PLOT_H

#include "base/problem.h"

#include <cribo/trainer.h>

enum { HISTORY_CURVES = 4 };

/*
 * Losses kept for the plot: the mean of those that took part, [CLS], objects between views, objects between
 * images; one that took no part is NaN. The mean, unlike the sum, doesn't jump when the last of them begins.
 */
struct history {
    double (*losses)[HISTORY_CURVES];
    size_t count, capacity;
};

bool history_add(struct history *history, const cribo_report *report, struct problem *problem);
void history_free(struct history *history);

/* The mean of a curve over a stretch of steps, those that took part; NaN without any. */
double history_mean(const struct history *history, int curve, size_t first, size_t end);

/*
 * Draws the curves, smoothed over the values themselves in a paler tint, to a PNG file. Needs two steps at
 * least.
 */
bool plot_losses(const struct history *history, const char *path, struct problem *problem);

#endif
