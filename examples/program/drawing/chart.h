/* Line charts with axes, a legend and smoothed curves. */
#ifndef CHART_H
#define CHART_H

#include "drawing/sheet.h"

enum { CHART_MAX_LINES = 6 };

struct chart_line {
    const char *name;
    const double *values; /* [points]; NaN: the line is broken there */
    struct colour colour;
    size_t smooth; /* points to both sides over which a stronger curve is smoothed; 0: none */
};

struct chart {
    const char *title;
    const char *note;    /* in small letters below the title; NULL: none */
    const char *x_label; /* NULL: "step", in whole numbers */
    const double *steps; /* [points], rising */
    size_t points;
    int lines;
    struct chart_line line[CHART_MAX_LINES];
    bool percent; /* values are shares, shown as percent */
};

/*
 * The least-squares straight line through the nearest 2 * reach + 1 finite values around each value,
 * evaluated there. The number of values does not shrink at the ends, where a plain mean would lag or grow
 * noisy; in between it is their mean. NaN where `values` is.
 */
void chart_smooth(const double *values, size_t count, size_t reach, double *smoothed);

/* Draws into a box of the sheet; false, and nothing is drawn, without two numbers. */
bool chart_draw(
    struct sheet *sheet, double x, double y, double width, double height, const struct chart *chart);

#endif
