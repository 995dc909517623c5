/*
 * make_pictures FOLDER COUNT: writes COUNT small pictures of coloured boxes, for tests of the command line.
 */
#include "image.h"

#include <stdio.h>
#include <stdlib.h>

/* A gradient with a box whose place and colour follow from the number. */
static void draw(struct image *image, int number)
{
    int left = number * 11 % 40, top = number * 7 % 36;
    uint8_t *pixel = image->pixels;
    for (int y = 0; y < image->height; y++) {
        for (int x = 0; x < image->width; x++, pixel += 3) {
            bool inside = x >= left && x < left + 24 && y >= top && y < top + 24;
            for (int c = 0; c < 3; c++) pixel[c] = (uint8_t)(inside ? number * (53 + 40 * c) : 2 * x + c * y);
        }
    }
}

int main(int count, char **arguments)
{
    if (count != 3) return 2;
    for (int i = 0; i < atoi(arguments[2]); i++) {
        char path[512];
        struct problem problem;
        struct image image;
        snprintf(path, sizeof path, "%s/%03d.png", arguments[1], i);
        if (!image_make(&image, 64 + i % 5, 60, 3, &problem)) return 1;
        draw(&image, i);
        if (!image_write_png(&image, path, &problem)) return 1;
        image_free(&image);
    }
    return 0;
}
