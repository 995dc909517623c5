/* The picture of found objects: one colour for an object in both views, grey for what is in one view only. */
#include "drawing/canvas.h"
#include "drawing/showcase.h"
#include "suite.h"

#include <stdlib.h>
#include <string.h>

enum { SIZE = 16, PATCH = 8, CLUSTERS = 4 };

/* Objects 0 and 1 change places between the views, 2 is in view 1 only, 3 in view 2 only. */
static struct showcase make_showcase(void)
{
    static const int64_t labels[8] = {0, 1, 2, 2, 1, 0, 3, 3};
    static const uint8_t valid[CLUSTERS] = {1, 1, 0, 0};
    struct showcase showcase = {.images = 1, .size = SIZE, .patch = PATCH, .clusters = CLUSTERS};
    for (int v = 0; v < 2; v++) {
        showcase.views[v] = malloc(3 * SIZE * SIZE);
        memset(showcase.views[v], 128, 3 * SIZE * SIZE);
    }
    showcase.labels = malloc(sizeof labels);
    showcase.valid = malloc(sizeof valid);
    memcpy(showcase.labels, labels, sizeof labels);
    memcpy(showcase.valid, valid, sizeof valid);
    return showcase;
}

/* The colour in the middle of a token of one of the four squares of a drawing with one picture. */
static const uint8_t *colour_at(const struct image *drawing, int square, int token)
{
    int edge = 15, header = 34, side = 12 * SIZE, step = side + 6;
    int x = edge + square * step + token % 2 * side / 2 + side / 4,
        y = header + token / 2 * side / 2 + side / 4;
    return drawing->pixels + 3 * (y * drawing->width + x);
}

static bool same(const uint8_t *a, const uint8_t *b)
{
    return memcmp(a, b, 3) == 0;
}

START_TEST(test_showcase_draws_an_object_alike_in_both_views)
{
    struct showcase showcase = make_showcase();
    struct problem problem;
    struct image drawing;
    ck_assert_msg(showcase_draw(&showcase, &drawing, &problem), "%s", problem.text);
    for (int v = 0; v < 2; v++) ck_assert(same(colour_at(&drawing, v, 0), (const uint8_t[3]){128, 128, 128}));
    ck_assert(same(colour_at(&drawing, 2, 0), colour_at(&drawing, 3, 1)));
    ck_assert(same(colour_at(&drawing, 2, 1), colour_at(&drawing, 3, 0)));
    ck_assert(!same(colour_at(&drawing, 2, 0), colour_at(&drawing, 2, 1)));
    const uint8_t *grey = colour_at(&drawing, 2, 3);
    ck_assert(same(grey, colour_at(&drawing, 3, 2)));
    ck_assert(grey[0] == grey[1] && grey[1] == grey[2]);
    image_free(&drawing);
    showcase_free(&showcase);
}
END_TEST

START_TEST(test_canvas_clips_what_lies_outside)
{
    struct image canvas;
    struct problem problem;
    static const struct colour black = {0, 0, 0}, white = {255, 255, 255};
    ck_assert(image_make(&canvas, 30, 20, 3, &problem));
    canvas_fill(&canvas, -10, -10, 100, 100, white);
    canvas_line(&canvas, -50, 10, 80, 10, 2, black, 1);
    canvas_text(&canvas, 25, 15, 2, black, "loss 12.5");
    canvas_text(&canvas, -20, -4, 2, black, "step");
    ck_assert_uint_eq(canvas.pixels[3 * (10 * 30 + 15)], 0);
    ck_assert_uint_eq(canvas.pixels[3 * (5 * 30 + 29)], 255);
    ck_assert_int_eq(canvas_text_width("ab", 2), 22);
    image_free(&canvas);
}
END_TEST

RUN_TESTS("showcase", test_showcase_draws_an_object_alike_in_both_views, test_canvas_clips_what_lies_outside)
