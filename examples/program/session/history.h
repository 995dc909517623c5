/* The losses of a run over its steps, and their picture. */
#ifndef HISTORY_H
#define HISTORY_H

#include "base/problem.h"

#include <cribo/trainer.h>

#include <stddef.h>

enum { HISTORY_CURVES = 4 };

/* The names of the curves, as pictures and messages have them. */
extern const char *const history_names[HISTORY_CURVES];

/*
 * Losses of each step: the mean of those that took part, [CLS], objects between views, objects between
 * images; one that took no part is NaN. The mean, unlike the sum, does not jump when the last of them begins.
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
 * Draws the curves, smoothed over their own values in a paler tint, to a PNG file. Needs two steps at least.
 */
bool history_draw(const struct history *history, const char *path, struct problem *problem);

#endif
