/*
 * Drawing on an RGB picture: smooth lines, boxes, small text. Places are pixels from the top left; what lies
 * outside is clipped.
 */
#ifndef CANVAS_H
#define CANVAS_H

#include "pictures/image.h"

struct colour {
    uint8_t red, green, blue;
};

void canvas_fill(struct image *canvas, int x, int y, int width, int height, struct colour colour);

/* Mixes `share` (0 ... 1) of the colour into a pixel. */
void canvas_mix(struct image *canvas, int x, int y, struct colour colour, double share);

/* A line between two points with soft edges. */
void canvas_line(struct image *canvas, double x0, double y0, double x1, double y1, double thickness,
    struct colour colour, double share);

/*
 * Text in a built-in font of 5 x 7 dots, each scale x scale pixels; (x, y) is its top left. Characters that
 * it lacks stay blank.
 */
void canvas_text(struct image *canvas, int x, int y, int scale, struct colour colour, const char *text);
int canvas_text_width(const char *text, int scale);

/* An RGB picture of the view [3][size][size], its pixels enlarged `zoom` times, with its corner at (x, y). */
void canvas_view(struct image *canvas, int x, int y, const uint8_t *view, int size, int zoom);

#endif
