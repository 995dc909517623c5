/*
 * A sheet to draw on with cairo, which becomes a PNG or an SVG file. Places and sizes are pixels from the top
 * left; text has anti-aliased outlines of the system's sans-serif font.
 */
#ifndef SHEET_H
#define SHEET_H

#include "base/problem.h"

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cairo.h>

struct colour {
    uint8_t red, green, blue;
};

extern const struct colour sheet_white, sheet_ink, sheet_soft, sheet_faint; /* page, text, notes, grid */

/* Easily distinguished, also by colour-blind people; used in this order. */
enum { SHEET_COLOURS = 7 };
extern const struct colour sheet_colours[SHEET_COLOURS];

enum sheet_align { SHEET_LEFT, SHEET_CENTRE, SHEET_RIGHT };
enum sheet_format { SHEET_PNG, SHEET_SVG };

struct sheet {
    enum sheet_format format;
    int width, height;
    cairo_surface_t *surface;
    cairo_t *cairo;
    FILE *stream; /* to `bytes`, of an SVG file */
    char *bytes;
    size_t size;
};

/* The font size of titles, of text, and of notes and numbers. */
enum { SHEET_TITLE = 20, SHEET_TEXT = 15, SHEET_SMALL = 13 };

/* A white sheet. Free with sheet_free, which takes a zeroed one, too. */
bool sheet_make(
    struct sheet *sheet, enum sheet_format format, int width, int height, struct problem *problem);
void sheet_free(struct sheet *sheet);

void sheet_box(struct sheet *sheet, double x, double y, double width, double height, struct colour colour,
    double opacity);

/* Lines through `count` points; without a break, with round joints. */
void sheet_lines(struct sheet *sheet, size_t count, const double *x, const double *y, double thickness,
    struct colour colour, double opacity);

/*
 * A line of text whose base line is at y; x is its left end, middle or right end. Bytes that are not UTF-8,
 * and control characters, become question marks.
 */
void sheet_text(struct sheet *sheet, double x, double y, double size, enum sheet_align align,
    struct colour colour, const char *text);
double sheet_text_width(struct sheet *sheet, double size, const char *text);

/* The same in bold, for titles. */
void sheet_title(struct sheet *sheet, double x, double y, const char *text);

/* The text, left-aligned, shortened in its middle to fit `width`. */
void sheet_text_within(struct sheet *sheet, double x, double y, double width, double size,
    struct colour colour, const char *text);

/* The picture [3][size][size], smoothly scaled to side x side pixels. */
void sheet_picture(struct sheet *sheet, double x, double y, double side, const uint8_t *picture, int size);

/* Pixels [rows][columns] of colours with an opacity (0 ... 255), as boxes that fill side x side pixels. */
struct sheet_pixel {
    struct colour colour;
    uint8_t opacity;
};
void sheet_pixels(struct sheet *sheet, double x, double y, double side, const struct sheet_pixel *pixels,
    int columns, int rows);

/* The format by a path's ending, ".png" or ".svg" in any case; "-" is PNG. False for any other ending. */
bool sheet_format_of(const char *path, enum sheet_format *format);

/* The file's bytes, to be freed. Nothing can be drawn afterwards. */
bool sheet_encode(struct sheet *sheet, uint8_t **bytes, size_t *size, struct problem *problem);

/* Writes the sheet to a file, "-": to standard output. */
bool sheet_write(struct sheet *sheet, const char *path, struct problem *problem);

#endif
