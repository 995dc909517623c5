/* cribo attention: draws the attention of a model's [CLS] token, and its tokens as colours. */
#include "commands/model_command.h"
#include "drawing/components.h"
#include "drawing/sheet.h"
#include "base/say.h"

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

/* What a network computes. */
struct network {
    const struct frozen *frozen;
    char *name;       /* "before: FILE", "after: FILE"; NULL: the only network */
    float *tokens;    /* [pictures, N, D] of all pictures, whose principal components are common */
    float *projected; /* [pictures, N, 3] */
};

/* The drawing: for each picture a row of each network. */
struct gallery {
    int networks, pictures, columns;
    size_t tokens; /* N */
    struct network network[2];
    struct view view;
    struct sheet_pixel *pixels; /* [pictures, N] */
    struct sheet sheet;
};

static bool make_network(
    struct network *network, const struct frozen *frozen, int pictures, struct problem *problem)
{
    size_t all = (size_t)pictures * frozen_tokens(frozen);
    *network = (struct network){.frozen = frozen,
        .tokens = malloc(all * (size_t)frozen->width * sizeof(float)),
        .projected = malloc(all * 3 * sizeof(float))};
    return (network->tokens && network->projected) || problem_no_memory(problem);
}

/* The second model, before, is above the first, after. */
static bool make_networks(struct gallery *gallery, const struct model_command *command,
    const struct frozen *frozen, struct problem *problem)
{
    const struct frozen *const both[] = {command->before ? &command->other : frozen, frozen};
    gallery->networks = command->before ? 2 : 1;
    for (int n = 0; n < gallery->networks; n++) {
        struct network *network = &gallery->network[n];
        if (!make_network(network, both[n], gallery->pictures, problem)) return false;
        if (command->before && !(network->name = model_command_name(command, n == 0, problem))) return false;
    }
    return true;
}

static int64_t most_heads(const struct gallery *gallery)
{
    int64_t most = 0;
    for (int n = 0; n < gallery->networks; n++)
        if (gallery->network[n].frozen->heads > most) most = gallery->network[n].frozen->heads;
    return most;
}

static bool make_gallery(struct gallery *gallery, const struct model_command *command,
    const struct frozen *frozen, int pictures, struct problem *problem)
{
    size_t plane = (size_t)frozen->size * (size_t)frozen->size, tokens = frozen_tokens(frozen);
    *gallery = (struct gallery){.pictures = pictures, .tokens = tokens};
    if (!make_networks(gallery, command, frozen, problem)) return false;
    gallery->columns = (int)most_heads(gallery) + 3;
    gallery->view.bytes = malloc(3 * plane);
    gallery->view.pixels = malloc(3 * plane * sizeof(float));
    gallery->view.attention = malloc((size_t)most_heads(gallery) * tokens * sizeof(float));
    gallery->pixels = malloc((size_t)pictures * tokens * sizeof *gallery->pixels);
    if (!gallery->view.bytes || !gallery->view.pixels || !gallery->view.attention || !gallery->pixels)
        return problem_no_memory(problem);
    return sheet_make(&gallery->sheet, command->format, 2 * MARGIN + gallery->columns * (CELL + GAP) - GAP,
        HEADER + gallery->networks * pictures * (NAME + CELL + GAP) + MARGIN, problem);
}

static void free_gallery(struct gallery *gallery)
{
    for (int n = 0; n < 2; n++) {
        free(gallery->network[n].name);
        free(gallery->network[n].tokens);
        free(gallery->network[n].projected);
    }
    free(gallery->view.bytes);
    free(gallery->view.pixels);
    free(gallery->view.attention);
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

/* Draws the colours of all patches into a cell. */
static void draw_pixels(struct gallery *gallery, int row, int column, const struct sheet_pixel *pixels)
{
    int side = gallery->network[0].frozen->side;
    sheet_pixels(&gallery->sheet, place_x(column), place_y(row), CELL, pixels, side, side);
}

/* A map of patches: the smallest value is dark, the largest is bright. */
static void draw_map(struct gallery *gallery, int row, int column, const float *map)
{
    float least = INFINITY, most = -INFINITY;
    for (size_t i = 0; i < gallery->tokens; i++) {
        least = fminf(least, map[i]);
        most = fmaxf(most, map[i]);
    }
    for (size_t i = 0; i < gallery->tokens; i++)
        gallery->pixels[i] =
            (struct sheet_pixel){heat(most > least ? (map[i] - least) / (most - least) : 0), 255};
    draw_pixels(gallery, row, column, gallery->pixels);
}

/* The maps of the heads, and their mean over the heads, into the row. */
static void draw_attention(struct gallery *gallery, int row, size_t heads)
{
    size_t tokens = gallery->tokens;
    float *maps = gallery->view.attention;
    for (size_t h = 0; h < heads; h++) draw_map(gallery, row, 1 + (int)h, maps + h * tokens);
    for (size_t i = 0; i < tokens; i++)
        for (size_t h = 1; h < heads; h++) maps[i] += maps[h * tokens + i];
    draw_map(gallery, row, gallery->columns - 2, maps);
}

/* The picture's name, and that of one of two networks. */
static void draw_name(struct gallery *gallery, int row, const char *picture, const char *network)
{
    struct sheet *sheet = &gallery->sheet;
    double x = MARGIN, y = place_y(row) - 7;
    if (network) {
        sheet_text_within(sheet, x, y, sheet->width / 2.0 - MARGIN, SHEET_SMALL, sheet_ink, network);
        x = fmin(sheet->width / 2.0, x + sheet_text_width(sheet, SHEET_SMALL, network) + 24);
    }
    sheet_text_within(
        sheet, x, y, sheet->width - x - MARGIN, SHEET_SMALL, network ? sheet_soft : sheet_ink, picture);
}

/* Features of picture number `number` by a network, and its row. */
static bool show_features(struct gallery *gallery, struct network *network, int number, int row,
    const char *name, struct problem *problem)
{
    const struct frozen *frozen = network->frozen;
    float *dense = network->tokens + (size_t)number * gallery->tokens * (size_t)frozen->width;
    frozen_normalise(frozen, gallery->view.bytes, gallery->view.pixels);
    if (cribo_model_features(frozen->model, 1, frozen->size, frozen->size, gallery->view.pixels, dense, NULL,
            gallery->view.attention) != CRIBO_OK)
        return problem_library(problem);
    draw_name(gallery, row, name, network->name);
    sheet_picture(&gallery->sheet, place_x(0), place_y(row), CELL, gallery->view.bytes, frozen->size);
    draw_attention(gallery, row, (size_t)frozen->heads);
    return true;
}

static bool show_picture(struct gallery *gallery, const struct pictures *pictures, size_t index, int number,
    struct problem *problem)
{
    const struct frozen *frozen = gallery->network[0].frozen;
    struct image image;
    char name[512];
    if (!frozen_load_listed(frozen, &image, pictures, index, problem)) return false;
    bool shown = frozen_bytes(frozen, &image, gallery->view.bytes, problem);
    image_free(&image);
    pictures_name(pictures, index, name, sizeof name);
    for (int n = 0; shown && n < gallery->networks; n++)
        shown = show_features(
            gallery, &gallery->network[n], number, gallery->networks * number + n, name, problem);
    return shown;
}

/*
 * The colours of all tokens by their first three principal components, which are common to all pictures. The
 * components of the second network are rotated to those of the first, so that the colours can be compared.
 */
static bool draw_components(struct gallery *gallery, int threads, struct problem *problem)
{
    size_t tokens = gallery->tokens, count = (size_t)gallery->pictures * tokens;
    for (int n = 0; n < gallery->networks; n++) {
        struct network *network = &gallery->network[n];
        float *projected = network->projected;
        if (!components_project(network->tokens, count, network->frozen->width, threads, projected, problem))
            return false;
        if (n > 0) components_align(projected, gallery->network[0].projected, count);
        if (!components_colours(projected, count, gallery->pixels, problem)) return false;
        for (int i = 0; i < gallery->pictures; i++)
            draw_pixels(gallery, gallery->networks * i + n, gallery->columns - 1,
                gallery->pixels + (size_t)i * tokens);
    }
    return true;
}

/* Title, legend of the maps' colours, and names of the columns. */
static void draw_header(struct gallery *gallery)
{
    static const char least[] = "least attention", most[] = "most";
    struct sheet *sheet = &gallery->sheet;
    int heads = gallery->columns - 3;
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
    int64_t width = frozen->width;
    if (command->before && command->other.width < width) width = command->other.width;
    if (frozen_tokens(frozen) * (size_t)shown < 4 || width < 3)
        return problem_set(problem, "%s: too few tokens for colours", command->pictures);
    bool drawn = make_gallery(&gallery, command, frozen, shown, problem);
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
            "red, green and blue. With --before, the rows of that model stand above those of MODEL, and the "
            "components of MODEL are rotated to those of that model, so that similar tokens keep their "
            "colour."};
    struct model_command command = {.draws = true};
    return model_command_run("cribo attention", &argp, count, arguments, &command, run);
}
