/* See showcase.h. */
#include "drawing/showcase.h"

#include "base/output.h"
#include "pictures/augment.h"
#include "pictures/loader.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

/* Larger than the epoch of any run, so the showcase's crops differ from those of training batches. */
static const uint64_t showcase_epoch = UINT64_C(1) << 62;

static size_t tokens_of(const struct showcase *showcase)
{
    size_t side = (size_t)(showcase->size / showcase->patch);
    return side * side;
}

bool showcase_views(const struct pictures *pictures, size_t id, uint64_t seed, int size, float *workspace,
    uint8_t *const views[2], cribo_crop crops[2])
{
    const struct recipe recipe = recipe_published(); /* fixed crops, for comparisons between runs */
    struct image image;
    struct problem ignored;
    double draws[2 * AUGMENT_DRAWS];
    if (!pictures_load(pictures, id, &image, 3, augment_least_side(&recipe, size), &ignored)) return false;
    loader_draws(seed, showcase_epoch, id, draws);
    bool made = true;
    for (int v = 0; v < 2 && made; v++)
        made = augment_view(&recipe, &image, VIEW_PLAIN, size, draws + v * AUGMENT_DRAWS, workspace, views[v],
            &crops[v], &ignored);
    image_free(&image);
    return made;
}

static bool add_picture(
    struct showcase *showcase, const struct pictures *pictures, size_t id, uint64_t seed, float *workspace)
{
    size_t at = (size_t)showcase->images, bytes = 3 * (size_t)showcase->size * (size_t)showcase->size;
    uint8_t *views[] = {showcase->views[0] + at * bytes, showcase->views[1] + at * bytes};
    cribo_crop crops[2];
    if (!showcase_views(pictures, id, seed, showcase->size, workspace, views, crops)) return false;
    for (int v = 0; v < 2; v++) showcase->crops[v][at] = crops[v];
    pictures_name(pictures, id, showcase->names[at], sizeof showcase->names[at]);
    showcase->ids[showcase->images++] = (int64_t)id;
    return true;
}

bool showcase_make(struct showcase *showcase, const struct pictures *pictures, const struct recipe *recipe,
    const cribo_trainer_config *config, struct problem *problem)
{
    *showcase = (struct showcase){.recipe = *recipe,
        .size = (int)config->image_size,
        .patch = (int)config->patch_size,
        .clusters = config->clusters};
    size_t most = SHOWCASE_MAX, bytes = 3 * (size_t)showcase->size * (size_t)showcase->size;
    if ((int64_t)most > config->batch_size) most = (size_t)config->batch_size;
    if (most > pictures->count) most = pictures->count;
    for (int v = 0; v < 2; v++) showcase->views[v] = malloc(most * bytes);
    showcase->labels = malloc(most * 2 * tokens_of(showcase) * sizeof *showcase->labels);
    showcase->valid = malloc(most * (size_t)showcase->clusters);
    float *workspace = malloc(augment_workspace(showcase->size) * sizeof *workspace);
    bool made = showcase->views[0] && showcase->views[1] && showcase->labels && showcase->valid && workspace;
    for (size_t i = 0; made && i < most; i++) {
        /* The first readable picture of each part of the list. */
        size_t first = i * pictures->count / most, end = (i + 1) * pictures->count / most;
        while (first < end && !add_picture(showcase, pictures, first, (uint64_t)config->seed, workspace))
            first++;
    }
    free(workspace);
    if (!made) showcase_free(showcase);
    return made || problem_no_memory(problem);
}

bool showcase_cluster(struct showcase *showcase, struct object_finder *finder, struct problem *problem)
{
    size_t bytes = 3 * (size_t)showcase->size * (size_t)showcase->size, tokens = tokens_of(showcase);
    for (size_t i = 0; i < (size_t)showcase->images; i++) {
        const uint8_t *const views[] = {showcase->views[0] + i * bytes, showcase->views[1] + i * bytes};
        const cribo_crop crops[] = {showcase->crops[0][i], showcase->crops[1][i]};
        struct found_objects found = {
            showcase->labels + i * 2 * tokens, showcase->valid + i * (size_t)showcase->clusters, NULL};
        if (!object_finder_run(finder, views, crops, (uint64_t)showcase->ids[i], &found, problem))
            return false;
    }
    return true;
}

void showcase_free(struct showcase *showcase)
{
    free(showcase->views[0]);
    free(showcase->views[1]);
    free(showcase->labels);
    free(showcase->valid);
    free(showcase->reference);
    *showcase = (struct showcase){0};
}

/* --- colours --- */

/* Numbers an image's valid objects in the order of their first token: rank [clusters], -1 for the others. */
static void rank_objects(const struct showcase *showcase, int image, int *rank)
{
    size_t tokens = tokens_of(showcase);
    const int64_t *labels = showcase->labels + (size_t)image * 2 * tokens;
    const uint8_t *valid = showcase->valid + (size_t)image * (size_t)showcase->clusters;
    int next = 0;
    for (int64_t k = 0; k < showcase->clusters; k++) rank[k] = -1;
    for (size_t i = 0; i < 2 * tokens; i++)
        if (valid[labels[i]] && rank[labels[i]] < 0) rank[labels[i]] = next++;
}

/*
 * The pair of an object without a colour and a free colour with the most common tokens; false if there is
 * none.
 */
static bool find_pair(const int *overlap, int clusters, const int *rank, const int *number, const bool *taken,
    int *object, int *colour)
{
    int most = 0;
    for (int k = 0; k < clusters; k++)
        for (int c = 0; c < clusters && rank[k] >= 0 && number[k] < 0; c++) {
            if (taken[c] || overlap[k * clusters + c] <= most) continue;
            most = overlap[k * clusters + c];
            *object = k;
            *colour = c;
        }
    return most > 0;
}

/*
 * The colours of an image's objects: an object gets the colour of the reference's object with the most common
 * tokens, the largest overlap first; the others get free colours in the order of the ranks. `room` has
 * clusters * (clusters + 2) numbers.
 */
static void match_reference(
    const struct showcase *showcase, int image, const int *rank, int *number, int *room)
{
    int clusters = (int)showcase->clusters, *overlap = room, object = 0, colour = 0;
    bool *taken = (bool *)(room + clusters * clusters);
    size_t tokens = tokens_of(showcase), first = (size_t)image * 2 * tokens;
    memset(room, 0, (size_t)clusters * ((size_t)clusters + 2) * sizeof *room);
    for (size_t i = first; i < first + 2 * tokens; i++)
        if (showcase->reference[i] >= 0) overlap[showcase->labels[i] * clusters + showcase->reference[i]]++;
    for (int k = 0; k < clusters; k++) number[k] = -1;
    while (find_pair(overlap, clusters, rank, number, taken, &object, &colour)) {
        number[object] = colour;
        taken[colour] = true;
    }
    for (int wanted = 0; wanted < clusters; wanted++)
        for (int k = 0, c = 0; k < clusters; k++) {
            if (rank[k] != wanted || number[k] >= 0) continue;
            while (taken[c]) c++;
            number[k] = c;
            taken[c] = true;
        }
}

/* The number of each token's colour, -1 for grey: [images, 2, N]. */
static bool number_colours(const struct showcase *showcase, int *numbers)
{
    size_t clusters = (size_t)showcase->clusters, tokens = tokens_of(showcase);
    int *rank = malloc(clusters * (clusters + 4) * sizeof *rank), *number = rank + clusters;
    for (int image = 0; rank && image < showcase->images; image++) {
        rank_objects(showcase, image, rank);
        if (showcase->reference)
            match_reference(showcase, image, rank, number, number + clusters);
        else
            memcpy(number, rank, clusters * sizeof *number);
        for (size_t i = (size_t)image * 2 * tokens; i < ((size_t)image + 1) * 2 * tokens; i++)
            numbers[i] = number[showcase->labels[i]];
    }
    free(rank);
    return rank != NULL;
}

/* Easily distinguished colours come first; from then on hues at the golden angle. */
static struct colour colour_of(int number)
{
    static const struct colour first[] = {{230, 25, 75}, {60, 180, 75}, {0, 110, 230}, {255, 200, 0},
        {245, 130, 48}, {145, 30, 180}, {70, 220, 230}, {240, 50, 230}, {150, 220, 40}, {0, 128, 128},
        {250, 170, 200}, {154, 99, 36}};
    enum { FIRST = sizeof first / sizeof *first };
    if (number < FIRST) return first[number];
    double hue = fmod(number * 0.618034, 1) * 6;
    double red = fabs(hue - 3) - 1, green = 2 - fabs(hue - 2), blue = 2 - fabs(hue - 4);
    struct colour colour;
    colour.red = (uint8_t)(60 + 180 * fmin(fmax(red, 0), 1));
    colour.green = (uint8_t)(60 + 180 * fmin(fmax(green, 0), 1));
    colour.blue = (uint8_t)(60 + 180 * fmin(fmax(blue, 0), 1));
    return colour;
}

/* --- the reference's file --- */

static json_t *list_of(size_t count, const int *numbers)
{
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++) json_array_append_new(list, json_integer(numbers[i]));
    return list;
}

bool showcase_save_colours(const struct showcase *showcase, const char *path, struct problem *problem)
{
    size_t tokens = tokens_of(showcase);
    json_t *root = json_object(), *pictures = json_array();
    for (int i = 0; showcase->reference && i < showcase->images; i++) {
        json_t *picture = json_object();
        json_object_set_new(picture, "picture", json_integer(showcase->ids[i]));
        json_object_set_new(
            picture, "colours", list_of(2 * tokens, showcase->reference + (size_t)i * 2 * tokens));
        json_array_append_new(pictures, picture);
    }
    json_object_set_new(root, "pictures", pictures);
    char *text = json_dumps(root, JSON_COMPACT);
    json_decref(root);
    bool written = text ? output_write(path, text, strlen(text), problem) : problem_no_memory(problem);
    free(text);
    return written;
}

/* Whether these are the colours of the showcase's picture `image`. */
static bool read_colours(const struct showcase *showcase, int image, json_t *picture, int *colours)
{
    json_t *list = json_object_get(picture, "colours"), *id = json_object_get(picture, "picture");
    size_t count = 2 * tokens_of(showcase);
    if (json_array_size(list) != count || json_integer_value(id) != showcase->ids[image]) return false;
    for (size_t i = 0; i < count; i++) {
        json_int_t colour = json_integer_value(json_array_get(list, i));
        if (colour < -1 || colour >= showcase->clusters) return false;
        colours[i] = (int)colour;
    }
    return true;
}

void showcase_load_colours(struct showcase *showcase, const char *path)
{
    size_t count = 2 * tokens_of(showcase);
    json_t *root = json_load_file(path, 0, NULL), *pictures = json_object_get(root, "pictures");
    int *colours = malloc(((size_t)showcase->images + 1) * count * sizeof *colours);
    bool read = colours && json_array_size(pictures) == (size_t)showcase->images;
    for (int i = 0; read && i < showcase->images; i++)
        read = read_colours(showcase, i, json_array_get(pictures, (size_t)i), colours + (size_t)i * count);
    json_decref(root);
    if (!read) {
        free(colours);
        return;
    }
    free(showcase->reference);
    showcase->reference = colours;
}

/* --- drawing --- */

enum { CELL = 192, GAP = 6, BLOCK_GAP = 30, NAME = 24, HEADER = 84, FOOTER = 14, COLUMNS = 2 };

/* White lines between patches of different colours. */
static void draw_edges(struct sheet *sheet, double x, double y, int side, const int *numbers)
{
    double cell = (double)CELL / side;
    for (int row = 0; row < side; row++)
        for (int column = 0; column < side; column++) {
            const int *at = numbers + row * side + column;
            double left = x + column * cell, top = y + row * cell;
            double across[] = {left + cell, left + cell}, down[] = {top, top + cell};
            double along[] = {left, left + cell}, below[] = {top + cell, top + cell};
            if (column + 1 < side && at[1] != at[0])
                sheet_lines(sheet, 2, across, down, 1.5, sheet_white, 0.9);
            if (row + 1 < side && at[side] != at[0])
                sheet_lines(sheet, 2, along, below, 1.5, sheet_white, 0.9);
        }
}

/* Draws the colours of the objects over a view; `pixels` [N] is scratch. */
static void draw_objects(struct sheet *sheet, double x, double y, const struct showcase *showcase,
    const int *numbers, struct sheet_pixel *pixels)
{
    static const struct colour grey = {150, 150, 150};
    int side = showcase->size / showcase->patch;
    for (int i = 0; i < side * side; i++)
        pixels[i] = numbers[i] < 0 ? (struct sheet_pixel){grey, 190}
                                   : (struct sheet_pixel){colour_of(numbers[i]), 150};
    sheet_pixels(sheet, x, y, CELL, pixels, side, side);
    draw_edges(sheet, x, y, side, numbers);
}

/* A drawing of the objects of one network, or of two networks beside each other. */
struct drawing {
    const struct showcase *showcase;
    struct sheet *sheet;
    const char *title;
    int networks, columns, header; /* 1 or 2; blocks side by side; height above the blocks */
    const char *names[2];          /* of two networks */
    const int *numbers[2];         /* [images, 2, N] of each network */
    struct sheet_pixel *pixels;    /* [N], scratch */
};

/* The place of view or map number `cell` of a block. */
static double cell_x(int cell)
{
    return cell * (CELL + GAP);
}

static double block_width(const struct drawing *drawing)
{
    return cell_x(2 + 2 * drawing->networks) - GAP + BLOCK_GAP;
}

/* The picture's name, and below it view 1, view 2, and for each network objects 1, objects 2 side by side. */
static void draw_block(const struct drawing *drawing, double x, double y, int image)
{
    const struct showcase *showcase = drawing->showcase;
    struct sheet *sheet = drawing->sheet;
    size_t bytes = 3 * (size_t)showcase->size * (size_t)showcase->size, tokens = tokens_of(showcase);
    sheet_text_within(sheet, x, y + NAME - 8, block_width(drawing) - BLOCK_GAP, SHEET_SMALL, sheet_ink,
        showcase->names[image]);
    for (int v = 0; v < 2; v++) {
        const uint8_t *view = showcase->views[v] + (size_t)image * bytes;
        size_t first = ((size_t)image * 2 + (size_t)v) * tokens;
        sheet_picture(sheet, x + cell_x(v), y + NAME, CELL, view, showcase->size);
        for (int n = 0; n < drawing->networks; n++) {
            double left = x + cell_x(2 + 2 * n + v);
            sheet_picture(sheet, left, y + NAME, CELL, view, showcase->size);
            draw_objects(sheet, left, y + NAME, showcase, drawing->numbers[n] + first, drawing->pixels);
        }
    }
}

/* Names of the networks and of the columns above a block. */
static void draw_names(const struct drawing *drawing, double x)
{
    static const char *const names[] = {"view 1", "view 2", "objects in view 1", "objects in view 2"};
    for (int n = 0; n < 2 && drawing->networks > 1; n++)
        sheet_text_within(drawing->sheet, x + cell_x(2 + 2 * n), drawing->header - 26, cell_x(2) - GAP,
            SHEET_TEXT, sheet_ink, drawing->names[n]);
    for (int cell = 0; cell < 2 + 2 * drawing->networks; cell++)
        sheet_text(drawing->sheet, x + cell_x(cell), drawing->header - 6, SHEET_SMALL, SHEET_LEFT, sheet_soft,
            names[cell < 2 ? cell : 2 + cell % 2]);
}

/* Title, legend, and names of the columns. */
static void draw_header(const struct drawing *drawing)
{
    static const struct colour grey = {150, 150, 150};
    struct sheet *sheet = drawing->sheet;
    double x = BLOCK_GAP / 2.0, text = x;
    sheet_title(sheet, x, 28, drawing->title);
    for (int i = 0; i < 3; i++, text += 16) sheet_box(sheet, text, 41, 12, 12, colour_of(i), 0.8);
    static const char one[] = "one colour: one object, found in both views";
    sheet_text(sheet, text + 4, 52, SHEET_SMALL, SHEET_LEFT, sheet_soft, one);
    text += 34 + sheet_text_width(sheet, SHEET_SMALL, one);
    sheet_box(sheet, text, 41, 12, 12, grey, 1);
    sheet_text(sheet, text + 20, 52, SHEET_SMALL, SHEET_LEFT, sheet_soft, "not found in both views");
    for (int c = 0; c < drawing->columns; c++) draw_names(drawing, x + c * block_width(drawing));
}

/* Makes the sheet and draws all; numbers and names are in the drawing. */
static bool draw(struct drawing *drawing, enum sheet_format format, struct problem *problem)
{
    const struct showcase *showcase = drawing->showcase;
    int most = drawing->networks > 1 ? 1 : COLUMNS, block = NAME + CELL + GAP;
    drawing->columns = showcase->images < most ? showcase->images : most;
    drawing->header = drawing->networks > 1 ? HEADER + 22 : HEADER;
    int rows = (showcase->images + drawing->columns - 1) / drawing->columns;
    drawing->pixels = malloc(tokens_of(showcase) * sizeof *drawing->pixels);
    bool drawn = (drawing->pixels || problem_no_memory(problem)) &&
                 sheet_make(drawing->sheet, format, (int)(drawing->columns * block_width(drawing)),
                     drawing->header + rows * block + FOOTER, problem);
    if (drawn) draw_header(drawing);
    for (int i = 0; drawn && i < showcase->images; i++)
        draw_block(drawing, BLOCK_GAP / 2.0 + i % drawing->columns * block_width(drawing),
            drawing->header + i / drawing->columns * block, i);
    free(drawing->pixels);
    return drawn;
}

/* The numbers of the colours of the objects found now, to be freed; NULL after a problem. */
static int *numbers_now(const struct showcase *showcase, struct problem *problem)
{
    int *numbers = malloc((size_t)showcase->images * 2 * tokens_of(showcase) * sizeof *numbers);
    if (numbers && number_colours(showcase, numbers)) return numbers;
    free(numbers);
    problem_no_memory(problem);
    return NULL;
}

void showcase_title(char *title, size_t size, int64_t step)
{
    if (step == 0)
        snprintf(title, size, "Objects that the teacher finds before training");
    else
        snprintf(title, size, "Objects that the teacher finds after %lld steps", (long long)step);
}

static bool has_pictures(const struct showcase *showcase, struct problem *problem)
{
    return showcase->images > 0 || problem_set(problem, "no picture to show");
}

bool showcase_draw(struct showcase *showcase, const char *title, enum sheet_format format,
    struct sheet *sheet, struct problem *problem)
{
    *sheet = (struct sheet){0};
    int *numbers = has_pictures(showcase, problem) ? numbers_now(showcase, problem) : NULL;
    struct drawing drawing = {
        .showcase = showcase, .sheet = sheet, .title = title, .networks = 1, .numbers = {numbers}};
    bool drawn = numbers && draw(&drawing, format, problem);
    if (!drawn || showcase->reference)
        free(numbers);
    else
        showcase->reference = numbers;
    return drawn;
}

bool showcase_refer(struct showcase *showcase, struct problem *problem)
{
    int *numbers = has_pictures(showcase, problem) ? numbers_now(showcase, problem) : NULL;
    if (!numbers) return false;
    free(showcase->reference);
    showcase->reference = numbers;
    return true;
}

bool showcase_draw_both(const struct showcase *showcase, const char *title, const char *const names[2],
    enum sheet_format format, struct sheet *sheet, struct problem *problem)
{
    *sheet = (struct sheet){0};
    int *numbers = has_pictures(showcase, problem) ? numbers_now(showcase, problem) : NULL;
    struct drawing drawing = {.showcase = showcase,
        .sheet = sheet,
        .title = title,
        .networks = 2,
        .names = {names[0], names[1]},
        .numbers = {showcase->reference, numbers}};
    bool drawn = numbers && draw(&drawing, format, problem);
    free(numbers);
    return drawn;
}
