/* The picture of found objects: one colour for an object in both views, grey for what is in one view only. */
#include "drawing/components.h"
#include "drawing/sheet.h"
#include "drawing/showcase.h"
#include "files.h"
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

/* The colour in the middle of a token of one of the squares of a drawing with one picture. */
static const uint8_t *colour_below(const struct image *drawing, int header, int square, int token)
{
    int edge = 15, side = 192, step = side + 6;
    int x = edge + square * step + token % 2 * side / 2 + side / 4,
        y = header + token / 2 * side / 2 + side / 4;
    return drawing->pixels + 3 * (y * drawing->width + x);
}

/* The same where the drawing has one network, with four squares. */
static const uint8_t *colour_at(const struct image *drawing, int square, int token)
{
    return colour_below(drawing, 84 + 24, square, token);
}

/* Writes the sheet to a file and reads it again. */
static struct image read_sheet(struct sheet *sheet)
{
    char *folder = files_make_folder();
    const char *path = files_path(folder, "objects.png");
    struct problem problem;
    struct image image;
    ck_assert_msg(sheet_write(sheet, path, &problem), "%s", problem.text);
    ck_assert_msg(image_load(&image, path, 3, 0, &problem), "%s", problem.text);
    sheet_free(sheet);
    files_remove(folder);
    return image;
}

static struct image draw(struct showcase *showcase)
{
    struct problem problem;
    struct sheet sheet;
    ck_assert_msg(showcase_draw(showcase, "objects", SHEET_PNG, &sheet, &problem), "%s", problem.text);
    return read_sheet(&sheet);
}

static bool same(const uint8_t *a, const uint8_t *b)
{
    return memcmp(a, b, 3) == 0;
}

START_TEST(test_showcase_draws_an_object_alike_in_both_views)
{
    struct showcase showcase = make_showcase();
    struct image drawing = draw(&showcase);
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

/*
 * Objects keep their colours when a clustering numbers them otherwise, and after their colours were kept in a
 * file.
 */
START_TEST(test_showcase_gives_an_object_the_colour_that_it_had)
{
    static const int64_t later[8] = {3, 0, 1, 1, 0, 3, 2, 2};
    static const uint8_t valid[CLUSTERS] = {1, 0, 0, 1};
    char *folder = files_make_folder();
    const char *path = files_path(folder, "colours.json");
    struct problem problem;
    struct showcase showcase = make_showcase(), again = make_showcase();
    struct image before = draw(&showcase), after;
    ck_assert_msg(showcase_save_colours(&showcase, path, &problem), "%s", problem.text);
    showcase_load_colours(&again, files_path(folder, "none.json"));
    ck_assert_ptr_null(again.reference);
    showcase_load_colours(&again, path);
    ck_assert_ptr_nonnull(again.reference);
    memcpy(showcase.labels, later, sizeof later);
    memcpy(showcase.valid, valid, sizeof valid);
    memcpy(again.labels, later, sizeof later);
    memcpy(again.valid, valid, sizeof valid);
    for (int i = 0; i < 2; i++) {
        after = draw(i ? &again : &showcase);
        for (int square = 2; square < 4; square++)
            for (int token = 0; token < 2; token++)
                ck_assert(same(colour_at(&before, square, token), colour_at(&after, square, token)));
        image_free(&after);
    }
    /* A file of other pictures is passed over. */
    again.ids[0] = 7;
    free(again.reference);
    again.reference = NULL;
    showcase_load_colours(&again, path);
    ck_assert_ptr_null(again.reference);
    image_free(&before);
    showcase_free(&showcase);
    showcase_free(&again);
    files_remove(folder);
}
END_TEST

/* Objects of two networks beside each other: the same object has one colour, whatever its number. */
START_TEST(test_showcase_draws_two_networks_in_the_same_colours)
{
    static const int64_t later[8] = {3, 0, 1, 1, 0, 0, 2, 2};
    static const uint8_t valid[CLUSTERS] = {1, 0, 0, 1};
    static const char *const names[] = {"before: a", "after: b"};
    struct showcase showcase = make_showcase();
    struct problem problem;
    struct sheet sheet;
    ck_assert_msg(showcase_refer(&showcase, &problem), "%s", problem.text);
    memcpy(showcase.labels, later, sizeof later);
    memcpy(showcase.valid, valid, sizeof valid);
    ck_assert_msg(
        showcase_draw_both(&showcase, "both", names, SHEET_PNG, &sheet, &problem), "%s", problem.text);
    struct image drawing = read_sheet(&sheet);
    ck_assert_int_eq(drawing.width, 30 + 6 * 198 - 6);
    const int header = 84 + 22 + 24;
    for (int v = 0; v < 2; v++)
        ck_assert(same(colour_below(&drawing, header, v, 0), (const uint8_t[3]){128, 128, 128}));
    for (int token = 0; token < 2; token++) /* as before in view 1 */
        ck_assert(same(colour_below(&drawing, header, 2, token), colour_below(&drawing, header, 4, token)));
    ck_assert(!same(colour_below(&drawing, header, 2, 0), colour_below(&drawing, header, 2, 1)));
    /* In view 2 the first token has the object of the second now, which it had not before. */
    ck_assert(same(colour_below(&drawing, header, 3, 0), colour_below(&drawing, header, 5, 0)));
    ck_assert(!same(colour_below(&drawing, header, 3, 1), colour_below(&drawing, header, 5, 1)));
    ck_assert(same(colour_below(&drawing, header, 5, 0), colour_below(&drawing, header, 5, 1)));
    image_free(&drawing);
    showcase_free(&showcase);
}
END_TEST

enum { POINTS = 200 };

/* Components of a network that are those of another one, permuted, mirrored and rotated, are turned back. */
START_TEST(test_components_of_two_networks_get_the_same_colours)
{
    static const float turn[3][3] = {{0, -0.6f, 0.8f}, {0, 0.8f, 0.6f}, {-1, 0, 0}};
    float reference[3 * POINTS], turned[3 * POINTS];
    struct sheet_pixel before[POINTS], after[POINTS];
    struct problem problem;
    int differ = 0;
    for (int i = 0; i < 3 * POINTS; i++) reference[i] = (float)((i * 7919 + 13) % 1009) / 1009 - 0.5f;
    for (int i = 0; i < POINTS; i++)
        for (int c = 0; c < 3; c++) {
            turned[3 * i + c] = 0;
            for (int b = 0; b < 3; b++) turned[3 * i + c] += 3 * reference[3 * i + b] * turn[b][c];
        }
    ck_assert(components_colours(reference, POINTS, before, &problem));
    for (int aligned = 0; aligned < 2; aligned++, differ = 0) {
        if (aligned) components_align(turned, reference, POINTS);
        ck_assert(components_colours(turned, POINTS, after, &problem));
        for (int i = 0; i < POINTS; i++)
            differ += abs(before[i].colour.red - after[i].colour.red) > 1 ||
                      abs(before[i].colour.green - after[i].colour.green) > 1 ||
                      abs(before[i].colour.blue - after[i].colour.blue) > 1;
        ck_assert(aligned ? differ == 0 : differ > POINTS / 2);
    }
    for (int i = 0; i < 3 * POINTS; i++)
        if (i % 3 == 2) turned[i] = 0;
    float flat[3 * POINTS];
    memcpy(flat, turned, sizeof flat);
    components_align(flat, reference, POINTS); /* of two axes: left as they are */
    ck_assert_mem_eq(flat, turned, sizeof flat);
}
END_TEST

/* Names of files may be no UTF-8, and long. */
START_TEST(test_sheet_draws_any_text)
{
    static const char *const texts[] = {
        "", "a\xff\xc3", "\xed\xa0\x80", "\xf0\x9f\x98\x80 \xc3\xa4\x7f\n", "\xc0\x80"};
    struct sheet sheet;
    struct problem problem;
    char text[3000];
    uint8_t *bytes;
    size_t size;
    memset(text, 'w', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    for (int format = SHEET_PNG; format <= SHEET_SVG; format++) {
        static const char *const begin[] = {"\x89PNG", "<?xml"};
        ck_assert(sheet_make(&sheet, (enum sheet_format)format, 300, 100, &problem));
        for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
            sheet_text(&sheet, 10, 20, SHEET_TEXT, SHEET_LEFT, sheet_ink, texts[i]);
        sheet_text_within(&sheet, 0, 50, 100, SHEET_TEXT, sheet_ink, text);
        sheet_text_within(&sheet, 0, 50, -5, SHEET_TEXT, sheet_ink, "\xc3\xa4\xc3\xa4");
        ck_assert_msg(sheet_encode(&sheet, &bytes, &size, &problem), "%s", problem.text);
        ck_assert(size > 8 && !memcmp(bytes, begin[format], strlen(begin[format])));
        free(bytes);
        sheet_free(&sheet);
    }
}
END_TEST

START_TEST(test_sheet_format_is_the_ending)
{
    enum sheet_format format;
    ck_assert(sheet_format_of("a.PNG", &format) && format == SHEET_PNG);
    ck_assert(sheet_format_of("b.png/a.svg", &format) && format == SHEET_SVG);
    ck_assert(sheet_format_of("-", &format) && format == SHEET_PNG);
    ck_assert(!sheet_format_of("a.jpg", &format) && !sheet_format_of(".png", &format) &&
              !sheet_format_of("png", &format));
}
END_TEST

RUN_TESTS("showcase", test_showcase_draws_an_object_alike_in_both_views,
    test_showcase_gives_an_object_the_colour_that_it_had,
    test_showcase_draws_two_networks_in_the_same_colours,
    test_components_of_two_networks_get_the_same_colours, test_sheet_draws_any_text,
    test_sheet_format_is_the_ending)
