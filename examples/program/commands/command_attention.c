/* cribo attention: draws the attention of a model's [CLS] token, and its tokens as colours. */
#include "drawing/sheet.h"
#include "commands/model_command.h"
#include "base/say.h"

#include <cribo/evaluation.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CELL = 160, GAP = 6, HEADER = 84, NAME = 22, MARGIN = 14 };

/* One picture with its features. */
struct view {
    uint8_t *bytes;   /* [3, size, size] */
    float *pixels;    /* the same, normalised */
    float *dense;     /* [N, D] */
    float *attention; /* [H, N] */
};

/* The drawing: a row for each picture. */
struct gallery {
    const struct frozen *frozen;
    int pictures, columns;
    struct view view;
    float *tokens;              /* [pictures, N, D] of all, whose principal components are common */
    float *projected;           /* [pictures, N, 3] */
    struct sheet_pixel *pixels; /* [N] of one map */
    struct sheet sheet;
};

static bool make_gallery(struct gallery *gallery, const struct frozen *frozen, int pictures,
    enum sheet_format format, struct problem *problem)
{
    size_t plane = (size_t)frozen->size * (size_t)frozen->size, tokens = frozen_tokens(frozen);
    size_t all = (size_t)pictures * tokens;
    *gallery = (struct gallery){.frozen = frozen, .pictures = pictures, .columns = (int)frozen->heads + 3};
    gallery->view.bytes = malloc(3 * plane);
    gallery->view.pixels = malloc(3 * plane * sizeof(float));
    gallery->view.attention = malloc((size_t)frozen->heads * tokens * sizeof(float));
    gallery->tokens = malloc(all * (size_t)frozen->width * sizeof(float));
    gallery->projected = malloc(all * 3 * sizeof(float));
    gallery->pixels = malloc(tokens * sizeof *gallery->pixels);
    if (!gallery->view.bytes || !gallery->view.pixels || !gallery->view.attention || !gallery->tokens ||
        !gallery->projected || !gallery->pixels)
        return problem_no_memory(problem);
    return sheet_make(&gallery->sheet, format, 2 * MARGIN + gallery->columns * (CELL + GAP) - GAP,
        HEADER + pictures * (NAME + CELL + GAP) + MARGIN, problem);
}

static void free_gallery(struct gallery *gallery)
{
    free(gallery->view.bytes);
    free(gallery->view.pixels);
    free(gallery->view.attention);
    free(gallery->tokens);
    free(gallery->projected);
    free(gallery->pixels);
    sheet_free(&gallery->sheet);
}

static int place_x(int column)
{
    return MARGIN + column * (CELL + GAP);
}

static int place_y(int row)
{
    return HEADER + NAME + row * (NAME + CELL + GAP);
}

/* From dark violet through red and orange to pale yellow, like the field's usual maps. */
static struct colour heat(double share)
{
    static const double stops[][3] = {
        {13, 8, 60}, {96, 18, 120}, {188, 55, 84}, {245, 125, 21}, {252, 250, 170}};
    double place = fmin(fmax(share, 0), 1) * 4;
    int low = place < 3.999 ? (int)place : 3;
    double part = place - low, mixed[3];
    for (int c = 0; c < 3; c++) mixed[c] = stops[low][c] + part * (stops[low + 1][c] - stops[low][c]);
    return (struct colour){(uint8_t)mixed[0], (uint8_t)mixed[1], (uint8_t)mixed[2]};
}

/* Draws the colours of all patches, from gallery->pixels, into a cell. */
static void draw_pixels(struct gallery *gallery, int row, int column)
{
    int side = gallery->frozen->side;
    sheet_pixels(&gallery->sheet, place_x(column), place_y(row), CELL, gallery->pixels, side, side);
}

/* A map of patches: the smallest value is dark, the largest is bright. */
static void draw_map(struct gallery *gallery, int row, int column, const float *map)
{
    size_t tokens = frozen_tokens(gallery->frozen);
    float least = INFINITY, most = -INFINITY;
    for (size_t i = 0; i < tokens; i++) {
        least = fminf(least, map[i]);
        most = fmaxf(most, map[i]);
    }
    for (size_t i = 0; i < tokens; i++)
        gallery->pixels[i] =
            (struct sheet_pixel){heat(most > least ? (map[i] - least) / (most - least) : 0), 255};
    draw_pixels(gallery, row, column);
}

/* The maps of the heads, and their mean over the heads, into the row. */
static void draw_attention(struct gallery *gallery, int row)
{
    size_t tokens = frozen_tokens(gallery->frozen), heads = (size_t)gallery->frozen->heads;
    float *maps = gallery->view.attention;
    for (size_t h = 0; h < heads; h++) draw_map(gallery, row, 1 + (int)h, maps + h * tokens);
    for (size_t i = 0; i < tokens; i++)
        for (size_t h = 1; h < heads; h++) maps[i] += maps[h * tokens + i];
    draw_map(gallery, row, 1 + (int)heads, maps);
}

static bool show_picture(
    struct gallery *gallery, const struct pictures *pictures, size_t index, int row, struct problem *problem)
{
    const struct frozen *frozen = gallery->frozen;
    struct image image;
    if (!frozen_load_listed(frozen, &image, pictures, index, problem)) return false;
    bool made = frozen_bytes(frozen, &image, gallery->view.bytes, problem);
    image_free(&image);
    if (!made) return false;
    frozen_normalise(frozen, gallery->view.bytes, gallery->view.pixels);
    float *dense = gallery->tokens + (size_t)row * frozen_tokens(frozen) * (size_t)frozen->width;
    if (cribo_model_features(frozen->model, 1, frozen->size, frozen->size, gallery->view.pixels, dense, NULL,
            gallery->view.attention) != CRIBO_OK)
        return problem_library(problem);
    char name[512];
    pictures_name(pictures, index, name, sizeof name);
    sheet_text_within(&gallery->sheet, MARGIN, place_y(row) - 7, gallery->sheet.width - 2 * MARGIN,
        SHEET_SMALL, sheet_ink, name);
    sheet_picture(&gallery->sheet, place_x(0), place_y(row), CELL, gallery->view.bytes, frozen->size);
    draw_attention(gallery, row);
    return true;
}

static int compare(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/*
 * The range of a component's colours. A hundredth of the values at each end is cut off, because outliers
 * would make all others grey.
 */
static bool find_range(const float *projected, size_t count, size_t component, float *low, float *high)
{
    float *sorted = malloc(count * sizeof *sorted);
    if (!sorted) return false;
    for (size_t i = 0; i < count; i++) sorted[i] = projected[3 * i + component];
    qsort(sorted, count, sizeof *sorted, compare);
    *low = sorted[count / 100];
    *high = sorted[count - 1 - count / 100];
    free(sorted);
    return true;
}

static uint8_t level(float value, float low, float high)
{
    float share = high > low ? (value - low) / (high - low) : 0.5f;
    return (uint8_t)lrintf(255 * fminf(fmaxf(share, 0), 1));
}

/*
 * The colours of all tokens by their first three principal components, which are common to all pictures:
 * similar tokens have similar colours.
 */
static bool draw_components(struct gallery *gallery, int threads, struct problem *problem)
{
    size_t tokens = frozen_tokens(gallery->frozen), count = (size_t)gallery->pictures * tokens;
    float low[3], high[3];
    cribo_runtime runtime;
    if (cribo_runtime_init(&runtime, sizeof runtime) != CRIBO_OK) return problem_library(problem);
    runtime.threads = threads;
    if (cribo_principal_components((int64_t)count, gallery->frozen->width, gallery->tokens, 3, NULL,
            gallery->projected, NULL, &runtime) != CRIBO_OK)
        return problem_library(problem);
    for (size_t c = 0; c < 3; c++)
        if (!find_range(gallery->projected, count, c, &low[c], &high[c])) return problem_no_memory(problem);
    for (size_t i = 0; i < count; i++) {
        const float *p = gallery->projected + 3 * i;
        struct colour colour = {
            level(p[0], low[0], high[0]), level(p[1], low[1], high[1]), level(p[2], low[2], high[2])};
        gallery->pixels[i % tokens] = (struct sheet_pixel){colour, 255};
        if (i % tokens == tokens - 1) draw_pixels(gallery, (int)(i / tokens), gallery->columns - 1);
    }
    return true;
}

/* Title, legend of the maps' colours, and names of the columns. */
static void draw_header(struct gallery *gallery)
{
    static const char least[] = "least attention", most[] = "most";
    struct sheet *sheet = &gallery->sheet;
    int heads = (int)gallery->frozen->heads;
    double x = MARGIN + sheet_text_width(sheet, SHEET_SMALL, least) + 8;
    sheet_title(sheet, MARGIN, 28, "Attention of [CLS] to the patches");
    sheet_text(sheet, MARGIN, 52, SHEET_SMALL, SHEET_LEFT, sheet_soft, least);
    for (int i = 0; i < 60; i++) sheet_box(sheet, x + 2 * i, 41, 2, 12, heat(i / 59.0), 1);
    sheet_text(sheet, x + 128, 52, SHEET_SMALL, SHEET_LEFT, sheet_soft, most);
    for (int i = 0; i < gallery->columns; i++) {
        char name[32];
        snprintf(name, sizeof name,
            i == 0           ? "picture"
            : i <= heads     ? "head %d"
            : i == heads + 1 ? "mean of heads"
                             : "tokens as colours",
            i);
        sheet_text(sheet, place_x(i), HEADER - 4, SHEET_SMALL, SHEET_LEFT, sheet_soft, name);
    }
}

static bool run(struct model_command *command, const struct frozen *frozen, const struct pictures *pictures,
    struct problem *problem)
{
    struct gallery gallery = {0};
    int shown = (size_t)command->count < pictures->count ? command->count : (int)pictures->count;
    if (frozen_tokens(frozen) * (size_t)shown < 4 || frozen->width < 3)
        return problem_set(problem, "%s: too few tokens for colours", command->pictures);
    bool drawn = make_gallery(&gallery, frozen, shown, command->format, problem);
    for (int i = 0; drawn && i < shown; i++)
        drawn = show_picture(&gallery, pictures, model_command_spread(pictures, shown, i), i, problem);
    drawn = drawn && draw_components(&gallery, command->model.threads, problem);
    if (drawn) draw_header(&gallery);
    drawn = drawn && sheet_write(&gallery.sheet, command->out, problem);
    free_gallery(&gallery);
    if (drawn && strcmp(command->out, "-")) say_note("%s", command->out);
    return drawn;
}

/* All options are shared ones. */
static error_t parse(int key, char *value, struct argp_state *state)
{
    (void)value;
    if (key != ARGP_KEY_INIT) return ARGP_ERR_UNKNOWN;
    state->child_inputs[0] = state->child_inputs[1] = state->input;
    return 0;
}

int command_attention(int count, char **arguments)
{
    static const struct argp_child children[] = {
        {&model_command_argp, 0, NULL, 0}, {&shown_argp, 0, NULL, 0}, {0}};
    static const struct argp argp = {.parser = parse,
        .children = children,
        .args_doc = "MODEL DIR -o FILE.png",
        .doc =
            "Draws pictures with the attention of [CLS] to their patches, for each head of the last block "
            "and as the mean of the heads, and with the first three principal components of their tokens as "
            "red, green and blue."};
    struct model_command command = {.draws = true};
    return model_command_run("cribo attention", &argp, count, arguments, &command, run);
}
