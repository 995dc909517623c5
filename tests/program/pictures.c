/*
 * make_pictures FOLDER COUNT [LABELS [KIND]]: writes COUNT small pictures of coloured boxes, for tests of the
 * command line, and into the folder LABELS their labels: 1, 2 or 3 in the box, 255 along its left edge, 0
 * elsewhere. KIND mask: 255 in the box, 0 elsewhere; none: 255 everywhere.
 */
#include "pictures/image.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *kind = ""; /* of the labels */

static bool is_inside(int number, int x, int y)
{
    int left = number * 11 % 40, top = number * 7 % 36;
    return x >= left && x < left + 24 && y >= top && y < top + 24;
}

/* A gradient with a box; its place and colour depend on the number. */
static void draw(struct image *image, int number)
{
    uint8_t *pixel = image->pixels;
    for (int y = 0; y < image->height; y++)
        for (int x = 0; x < image->width; x++, pixel += 3)
            for (int c = 0; c < 3; c++)
                pixel[c] = (uint8_t)(is_inside(number, x, y) ? number * (53 + 40 * c) : 2 * x + c * y);
}

static void draw_labels(struct image *image, int number)
{
    uint8_t *pixel = image->pixels;
    for (int y = 0; y < image->height; y++)
        for (int x = 0; x < image->width; x++) {
            bool inside = is_inside(number, x, y), edge = inside && !is_inside(number, x - 1, y);
            if (*kind) edge = inside || !strcmp(kind, "none");
            *pixel++ = (uint8_t)(edge ? 255 : inside ? 1 + number % 3 : 0);
        }
}

static bool write(
    const char *folder, int number, int channels, void (*paint)(struct image *image, int number))
{
    char path[512];
    struct problem problem;
    struct image image;
    snprintf(path, sizeof path, "%s/%03d.png", folder, number);
    if (!image_make(&image, 64 + number % 5, 60, channels, &problem)) return false;
    paint(&image, number);
    bool written = image_write_png(&image, path, &problem);
    image_free(&image);
    return written;
}

int main(int count, char **arguments)
{
    if (count < 3 || count > 5) return 2;
    if (count == 5) kind = arguments[4];
    for (int i = 0; i < atoi(arguments[2]); i++)
        if (!write(arguments[1], i, 3, draw) || (count >= 4 && !write(arguments[3], i, 1, draw_labels)))
            return 1;
    return 0;
}
