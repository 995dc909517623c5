/* Line charts as SVG inside of a page of HTML. */
#ifndef CHART_H
#define CHART_H

#include <stddef.h>
#include <stdio.h>

enum { CHART_MOST_LINES = 6 };

struct chart_line {
    const char *name;
    const double *values; /* [points]; NaN: the line is broken there */
    int colour;           /* 0 ... 5, of the page's palette; 6: grey, for what only gives orientation */
    size_t smooth;        /* points to both sides over which a thicker line is averaged; 0: none */
};

struct chart {
    const char *title, *note; /* the note stands below in small letters; NULL: none */
    const double *steps;      /* [points] */
    size_t points;
    int lines;
    struct chart_line line[CHART_MOST_LINES];
    double percent; /* 1: values are shares, shown as percent */
    int wide;       /* 1: over the page's width */
};

/* Nothing is drawn of a chart without two numbers. */
void chart_write(FILE *page, const struct chart *chart);

/* Text in which <, > and & are spelt out. */
void chart_text(FILE *page, const char *text);

#endif
