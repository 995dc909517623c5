/* cribo attention: where a model's [CLS] token looks, and its tokens in colours. */
#include "drawing/canvas.h"
#include "commands/model_command.h"
#include "base/say.h"

#include <cribo/evaluation.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CELL = 160, GAP = 6, HEADER = 34, MARGIN = 12 };

/* One picture's features and what they are drawn from. */
struct view {
    uint8_t *bytes;   /* [3, size, size] */
    float *pixels;    /* the same, normalised */
    float *dense;     /* [N, D] */
    float *attention; /* [H, N] */
};

/* The sheet that is drawn: a row for each picture. */
struct sheet {
    const struct frozen *frozen;
    int pictures, columns, side; /* side of a cell in pixels */
    struct view view;
    float *tokens;    /* [pictures, N, D] of all, whose principal components are common */
    float *projected; /* [pictures, N, 3] */
    struct image canvas;
};

static bool no_memory(struct problem *problem)
{
    return problem_set(problem, "no memory for the pictures");
}

static bool make_sheet(
    struct sheet *sheet, const struct frozen *frozen, int pictures, struct problem *problem)
{
    size_t plane = (size_t)frozen->size * (size_t)frozen->size, tokens = frozen_tokens(frozen);
    size_t all = (size_t)pictures * tokens;
    int zoom = frozen->side < CELL ? (CELL + frozen->side - 1) / frozen->side : 1;
    *sheet = (struct sheet){.frozen = frozen,
        .pictures = pictures,
        .columns = (int)frozen->heads + 3,
        .side = zoom * frozen->side};
    sheet->view.bytes = malloc(3 * plane);
    sheet->view.pixels = malloc(3 * plane * sizeof(float));
    sheet->view.attention = malloc((size_t)frozen->heads * tokens * sizeof(float));
    sheet->tokens = malloc(all * (size_t)frozen->width * sizeof(float));
    sheet->projected = malloc(all * 3 * sizeof(float));
    if (!sheet->view.bytes || !sheet->view.pixels || !sheet->view.attention || !sheet->tokens ||
        !sheet->projected)
        return no_memory(problem);
    int step = sheet->side + GAP;
    if (!image_make(&sheet->canvas, 2 * MARGIN + sheet->columns * step - GAP,
            HEADER + pictures * step + MARGIN, 3, problem))
        return false;
    canvas_fill(
        &sheet->canvas, 0, 0, sheet->canvas.width, sheet->canvas.height, (struct colour){255, 255, 255});
    return true;
}

static void free_sheet(struct sheet *sheet)
{
    free(sheet->view.bytes);
    free(sheet->view.pixels);
    free(sheet->view.attention);
    free(sheet->tokens);
    free(sheet->projected);
    image_free(&sheet->canvas);
}

static int place_x(const struct sheet *sheet, int column)
{
    return MARGIN + column * (sheet->side + GAP);
}

static int place_y(const struct sheet *sheet, int row)
{
    return HEADER + row * (sheet->side + GAP);
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

/* A map of patches, dark where it is least, bright where it is greatest. */
static void draw_map(struct sheet *sheet, int row, int column, const float *map)
{
    int side = sheet->frozen->side, cell = sheet->side / side;
    float least = INFINITY, most = -INFINITY;
    for (int i = 0; i < side * side; i++) {
        least = fminf(least, map[i]);
        most = fmaxf(most, map[i]);
    }
    for (int i = 0; i < side * side; i++)
        canvas_fill(&sheet->canvas, place_x(sheet, column) + i % side * cell,
            place_y(sheet, row) + i / side * cell, cell, cell,
            heat(most > least ? (map[i] - least) / (most - least) : 0));
}

/* The picture, to the sheet's scale by the nearest pixel. */
static void draw_picture(struct sheet *sheet, int row)
{
    int size = sheet->frozen->size;
    size_t plane = (size_t)size * (size_t)size;
    for (int y = 0; y < sheet->side; y++)
        for (int x = 0; x < sheet->side; x++) {
            size_t at = (size_t)(y * size / sheet->side) * (size_t)size + (size_t)(x * size / sheet->side);
            const uint8_t *b = sheet->view.bytes;
            canvas_mix(&sheet->canvas, place_x(sheet, 0) + x, place_y(sheet, row) + y,
                (struct colour){b[at], b[plane + at], b[2 * plane + at]}, 1);
        }
}

/* The maps of the heads, and their mean over the heads, into the row. */
static void draw_attention(struct sheet *sheet, int row)
{
    size_t tokens = frozen_tokens(sheet->frozen), heads = (size_t)sheet->frozen->heads;
    float *maps = sheet->view.attention;
    for (size_t h = 0; h < heads; h++) draw_map(sheet, row, 1 + (int)h, maps + h * tokens);
    for (size_t i = 0; i < tokens; i++)
        for (size_t h = 1; h < heads; h++) maps[i] += maps[h * tokens + i];
    draw_map(sheet, row, 1 + (int)heads, maps);
}

static bool show_picture(
    struct sheet *sheet, const struct pictures *pictures, size_t index, int row, struct problem *problem)
{
    const struct frozen *frozen = sheet->frozen;
    struct image image;
    if (!frozen_load_listed(frozen, &image, pictures, index, problem)) return false;
    bool made = frozen_bytes(frozen, &image, sheet->view.bytes, problem);
    image_free(&image);
    if (!made) return false;
    frozen_normalise(frozen, sheet->view.bytes, sheet->view.pixels);
    float *dense = sheet->tokens + (size_t)row * frozen_tokens(frozen) * (size_t)frozen->width;
    if (cribo_model_features(frozen->model, 1, frozen->size, frozen->size, sheet->view.pixels, dense, NULL,
            sheet->view.attention) != CRIBO_OK)
        return problem_set(problem, "%s", cribo_last_error());
    draw_picture(sheet, row);
    draw_attention(sheet, row);
    return true;
}

static int compare(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/*
 * The values between which a component's colours run: a hundredth at either end is cut off, for outliers
 * would make the rest grey.
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
 * All tokens by their first three principal components, which are common to the pictures: equal colours are
 * like tokens.
 */
static bool draw_components(struct sheet *sheet, int threads, struct problem *problem)
{
    size_t tokens = frozen_tokens(sheet->frozen), count = (size_t)sheet->pictures * tokens;
    int side = sheet->frozen->side, cell = sheet->side / side;
    float low[3], high[3];
    cribo_runtime runtime;
    if (cribo_runtime_init(&runtime, sizeof runtime) != CRIBO_OK)
        return problem_set(problem, "%s", cribo_last_error());
    runtime.threads = threads;
    if (cribo_principal_components((int64_t)count, sheet->frozen->width, sheet->tokens, 3, NULL,
            sheet->projected, NULL, &runtime) != CRIBO_OK)
        return problem_set(problem, "%s", cribo_last_error());
    for (size_t c = 0; c < 3; c++)
        if (!find_range(sheet->projected, count, c, &low[c], &high[c])) return no_memory(problem);
    for (size_t i = 0; i < count; i++) {
        const float *p = sheet->projected + 3 * i;
        int row = (int)(i / tokens), at = (int)(i % tokens), x = at % side, y = at / side;
        canvas_fill(&sheet->canvas, place_x(sheet, sheet->columns - 1) + x * cell,
            place_y(sheet, row) + y * cell, cell, cell,
            (struct colour){
                level(p[0], low[0], high[0]), level(p[1], low[1], high[1]), level(p[2], low[2], high[2])});
    }
    return true;
}

static void draw_header(struct sheet *sheet)
{
    static const struct colour ink = {40, 40, 40};
    for (int i = 0; i < sheet->columns; i++) {
        char name[32];
        int heads = (int)sheet->frozen->heads;
        snprintf(name, sizeof name,
            i == 0           ? "picture"
            : i <= heads     ? "head %d"
            : i == heads + 1 ? "mean"
                             : "PCA",
            i);
        canvas_text(&sheet->canvas, place_x(sheet, i), 12, 2, ink, name);
    }
}

static bool run(struct model_command *command, const struct frozen *frozen, const struct pictures *pictures,
    struct problem *problem)
{
    struct sheet sheet = {0};
    int shown = (size_t)command->count < pictures->count ? command->count : (int)pictures->count;
    if (frozen_tokens(frozen) * (size_t)shown < 4 || frozen->width < 3)
        return problem_set(problem, "%s: too few tokens for colours", command->pictures);
    bool drawn = make_sheet(&sheet, frozen, shown, problem);
    for (int i = 0; drawn && i < shown; i++)
        drawn = show_picture(&sheet, pictures, model_command_spread(pictures, shown, i), i, problem);
    drawn = drawn && draw_components(&sheet, command->model.threads, problem);
    if (drawn) draw_header(&sheet);
    drawn = drawn && image_write_png(&sheet.canvas, command->out, problem);
    free_sheet(&sheet);
    if (drawn) say_note("%s", command->out);
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
        .doc = "Draws pictures with the attention of [CLS] to their patches, for each head of the last block "
               "and in the mean, and "
               "with their tokens' first three principal components as red, green and blue."};
    struct model_command command = {0};
    return model_command_run("cribo attention", &argp, count, arguments, &command, run);
}
