/* See failures.h. */
#include "drawing/failures.h"

#include "drawing/sheet.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    VOTERS = 5,
    CELL = 170,
    GAP = 10,
    MARGIN = 16,
    HEADER = 72,
    CAPTION = 24,
    FOOT = 20,
    COLUMNS = 3 + VOTERS
};

/* What a row is drawn from. */
struct page {
    const struct frozen *frozen;
    const struct evaluation_options *options;
    struct evaluation *result;
    struct sheet sheet;
    float *pixels, *tokens;          /* [3, size, size], [N, D] */
    uint8_t *bytes;                  /* [3, size, size] */
    int32_t *truth, *found, *labels; /* [size, size] */
    struct sheet_pixel *map;         /* [size, size] */
    int64_t *index;                  /* [neighbours] */
    float *cosine;
    struct problem *problem;
};

static bool library_failed(struct problem *problem)
{
    return problem_set(problem, "%s", cribo_last_error());
}

static size_t pixels_of(const struct page *page)
{
    return (size_t)page->frozen->size * (size_t)page->frozen->size;
}

static size_t neighbours_of(const struct page *page)
{
    return page->options->neighbours ? (size_t)page->options->neighbours : 30;
}

static bool make_room(struct page *page)
{
    size_t plane = pixels_of(page), k = neighbours_of(page);
    page->pixels = malloc(3 * plane * sizeof *page->pixels);
    page->tokens = malloc(frozen_tokens(page->frozen) * (size_t)page->frozen->width * sizeof *page->tokens);
    page->bytes = malloc(3 * plane);
    page->truth = malloc(plane * sizeof *page->truth);
    page->found = malloc(plane * sizeof *page->found);
    page->labels = malloc(plane * sizeof *page->labels);
    page->map = malloc(plane * sizeof *page->map);
    page->index = malloc(k * sizeof *page->index);
    page->cosine = malloc(k * sizeof *page->cosine);
    return (page->pixels && page->tokens && page->bytes && page->truth && page->found && page->labels &&
               page->map && page->index && page->cosine) ||
           problem_set(page->problem, "no memory for a picture of failures");
}

static void release(struct page *page)
{
    void *blocks[] = {page->pixels, page->tokens, page->bytes, page->truth, page->found, page->labels,
        page->map, page->index, page->cosine};
    for (size_t i = 0; i < sizeof blocks / sizeof blocks[0]; i++) free(blocks[i]);
    sheet_free(&page->sheet);
}

/* --- colours and names --- */

/* A class's colour, the same in every picture: hues a golden section apart. */
static struct colour colour_of(int class)
{
    double hue = fmod(class * 0.61803398875, 1) * 6, value = class / 3 % 2 ? 235 : 190;
    uint8_t colours[3];
    const double offsets[3] = {5, 3, 1};
    for (int c = 0; c < 3; c++) {
        double k = fmod(offsets[c] + hue, 6);
        colours[c] = (uint8_t)(value - value * 0.75 * fmax(0, fmin(fmin(k, 4 - k), 1)));
    }
    return (struct colour){colours[0], colours[1], colours[2]};
}

static void name_of(const struct page *page, int class, char *text, size_t size)
{
    char *const *names = page->options->test->names;
    if (names)
        snprintf(text, size, "%.30s", names[class]);
    else
        snprintf(text, size, "class %d", class);
}

/* --- places --- */

static double place_x(int column)
{
    return MARGIN + column * (CELL + GAP);
}

static double place_y(size_t row)
{
    return HEADER + CAPTION + (double)row * (CAPTION + CELL + FOOT + GAP);
}

/* A frame around a patch of the picture in a cell. */
static void frame_patch(struct page *page, double x, double y, size_t patch)
{
    double side = page->frozen->side, cell = CELL / side, thickness = 2;
    double left = x + (double)(patch % (size_t)side) * cell, top = y + (double)(patch / (size_t)side) * cell;
    const double xs[] = {left, left + cell, left + cell, left, left};
    const double ys[] = {top, top, top + cell, top + cell, top};
    sheet_lines(&page->sheet, 5, xs, ys, 2 * thickness, sheet_white, 1);
    sheet_lines(&page->sheet, 5, xs, ys, thickness, sheet_ink, 1);
}

static void draw_map(struct page *page, int column, size_t row, const int32_t *labels)
{
    for (size_t i = 0; i < pixels_of(page); i++)
        page->map[i] = labels[i] == NO_LABEL ? (struct sheet_pixel){sheet_white, 255}
                                             : (struct sheet_pixel){colour_of(labels[i]), 255};
    sheet_pixels(
        &page->sheet, place_x(column), place_y(row), CELL, page->map, page->frozen->size, page->frozen->size);
}

static void draw_foot(struct page *page, int column, size_t row, const char *text)
{
    sheet_text_within(
        &page->sheet, place_x(column), place_y(row) + CELL + 15, CELL, SHEET_SMALL, sheet_soft, text);
}

/* --- a row --- */

/* The picture's labels, true and predicted, and its tokens. */
static bool read_picture(struct page *page, size_t index)
{
    const struct frozen *frozen = page->frozen;
    const struct dataset *test = page->options->test;
    struct image image;
    if (!dataset_picture(test, index, 0, &image, page->problem)) return false;
    bool read = dataset_labels(test, index, &image, NULL, frozen->size, page->truth, page->problem) &&
                evaluation_pixels(frozen, &page->options->protocol, &image, page->pixels, page->problem) &&
                frozen_bytes(frozen, &image, page->bytes, page->problem);
    image_free(&image);
    cribo_patch_maps maps = {
        sizeof maps, 1, frozen->side, frozen->side, page->tokens, frozen->size, frozen->size};
    return read && ((cribo_model_features(frozen->model, 1, frozen->size, frozen->size, page->pixels,
                         page->tokens, NULL, NULL) == CRIBO_OK &&
                        cribo_probe_predict(page->result->probe, CRIBO_PROBE_NEAREST, &maps, NULL,
                            page->found) == CRIBO_OK) ||
                       library_failed(page->problem));
}

/* The patch with the most wrong pixels. */
static size_t worst_patch(const struct page *page)
{
    size_t size = (size_t)page->frozen->size, side = (size_t)page->frozen->side, worst = 0;
    int most = -1;
    for (size_t patch = 0; patch < side * side; patch++) {
        int wrong = 0;
        for (size_t i = 0; i < size / side * (size / side); i++) {
            size_t y = patch / side * (size / side) + i / (size / side);
            size_t x = patch % side * (size / side) + i % (size / side);
            wrong += page->truth[y * size + x] != NO_LABEL &&
                     page->truth[y * size + x] != page->found[y * size + x];
        }
        if (wrong > most) most = wrong, worst = patch;
    }
    return worst;
}

/* The class of the middle of a patch; NO_LABEL: none. */
static int class_at(const struct page *page, const int32_t *labels, size_t patch)
{
    size_t size = (size_t)page->frozen->size, side = (size_t)page->frozen->side, cell = size / side;
    return labels[(patch / side * cell + cell / 2) * size + patch % side * cell + cell / 2];
}

static bool draw_voter(struct page *page, size_t row, int number)
{
    char text[128], name[64];
    int64_t entry = page->index[number];
    if (entry < 0 || (size_t)entry >= page->result->origin_count) return true;
    const struct evaluation_origin *origin = &page->result->origins[entry];
    double x = place_x(3 + number), y = place_y(row);
    if (!evaluation_view(page->frozen, &page->options->protocol, &page->options->runs[0], origin, page->bytes,
            page->labels, page->problem))
        return false;
    sheet_picture(&page->sheet, x, y, CELL, page->bytes, page->frozen->size);
    frame_patch(page, x, y, origin->patch);
    int class = class_at(page, page->labels, origin->patch);
    if (class == NO_LABEL)
        snprintf(name, sizeof name, "no class in its middle");
    else
        name_of(page, class, name, sizeof name);
    snprintf(text, sizeof text, "%s, cosine %.2f", name, (double)page->cosine[number]);
    draw_foot(page, 3 + number, row, text);
    return true;
}

static bool draw_row(struct page *page, size_t row)
{
    const struct evaluation_picture *picture = &page->result->worst[row];
    char text[640], truth[64] = "none", found[64];
    if (!read_picture(page, picture->index)) return false;
    size_t patch = worst_patch(page);
    snprintf(text, sizeof text, "%s: mean IoU %.1f %%", page->options->test->list[picture->index].picture,
        100 * picture->mean_iou);
    sheet_text_within(
        &page->sheet, MARGIN, place_y(row) - 7, page->sheet.width - 2 * MARGIN, SHEET_SMALL, sheet_ink, text);
    sheet_picture(&page->sheet, place_x(0), place_y(row), CELL, page->bytes, page->frozen->size);
    frame_patch(page, place_x(0), place_y(row), patch);
    draw_map(page, 1, row, page->truth);
    draw_map(page, 2, row, page->found);
    if (class_at(page, page->truth, patch) != NO_LABEL)
        name_of(page, class_at(page, page->truth, patch), truth, sizeof truth);
    name_of(page, class_at(page, page->found, patch), found, sizeof found);
    draw_foot(page, 1, row, truth);
    draw_foot(page, 2, row, found);
    if (cribo_probe_search(page->result->probe, 1, page->tokens + patch * (size_t)page->frozen->width,
            page->index, page->cosine) != CRIBO_OK)
        return library_failed(page->problem);
    for (int n = 0; n < VOTERS && n < (int)neighbours_of(page); n++)
        if (!draw_voter(page, row, n)) return false;
    return true;
}

static void draw_header(struct page *page)
{
    static const char *const names[] = {"picture", "truth", "prediction", "nearest remembered patches"};
    sheet_title(&page->sheet, MARGIN, 30, "The pictures that were scored worst");
    sheet_text(&page->sheet, MARGIN, 52, SHEET_SMALL, SHEET_LEFT, sheet_soft,
        page->result->origins
            ? "The frame is the patch with the most wrong pixels; below the maps are the classes there."
            : "The memory is a uniform sample, of which it is not known where its patches come from.");
    for (int i = 0; i < 4; i++)
        sheet_text(&page->sheet, place_x(i), HEADER, SHEET_SMALL, SHEET_LEFT, sheet_ink, names[i]);
}

bool failures_draw(const char *path, const struct frozen *frozen, const struct evaluation_options *options,
    struct evaluation *result, struct problem *problem)
{
    struct page page = {.frozen = frozen, .options = options, .result = result, .problem = problem};
    int height = (int)place_y(result->worst_count) + MARGIN;
    enum sheet_format format;
    bool drawn = (sheet_format_of(path, &format) ||
                     problem_set(problem, "%s: the name of a picture must end in .png or .svg", path)) &&
                 make_room(&page) &&
                 sheet_make(&page.sheet, format, 2 * MARGIN + COLUMNS * (CELL + GAP) - GAP, height, problem);
    if (drawn) draw_header(&page);
    for (size_t row = 0; drawn && row < result->worst_count; row++) drawn = draw_row(&page, row);
    drawn = drawn && sheet_write(&page.sheet, path, problem);
    release(&page);
    return drawn;
}
