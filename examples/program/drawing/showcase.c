/* See showcase.h. */
#include "drawing/showcase.h"

#include "pictures/augment.h"
#include "drawing/canvas.h"
#include "pictures/loader.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* An epoch that no run reaches, so the showcase's crops are not those of a training batch. */
static const uint64_t showcase_epoch = UINT64_C(1) << 62;

static size_t tokens_of(const struct showcase *showcase)
{
    size_t side = (size_t)(showcase->size / showcase->patch);
    return side * side;
}

bool showcase_views(const struct pictures *pictures, size_t id, uint64_t seed, int size, float *workspace,
    uint8_t *const views[2], cribo_crop crops[2])
{
    struct image image;
    struct problem ignored;
    double draws[2 * AUGMENT_DRAWS];
    if (!pictures_load(pictures, id, &image, 3, augment_least_side(size), &ignored)) return false;
    loader_draws(seed, showcase_epoch, id, draws);
    bool made = true;
    for (int v = 0; v < 2 && made; v++)
        made = augment_view(
            &image, VIEW_PLAIN, size, draws + v * AUGMENT_DRAWS, workspace, views[v], &crops[v], &ignored);
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
    showcase->ids[showcase->images++] = (int64_t)id;
    return true;
}

bool showcase_make(struct showcase *showcase, const struct pictures *pictures,
    const cribo_trainer_config *config, struct problem *problem)
{
    *showcase = (struct showcase){
        .size = (int)config->image_size, .patch = (int)config->patch_size, .clusters = config->clusters};
    size_t most = SHOWCASE_MOST, bytes = 3 * (size_t)showcase->size * (size_t)showcase->size;
    if ((int64_t)most > config->batch_size) most = (size_t)config->batch_size;
    if (most > pictures->count) most = pictures->count;
    for (int v = 0; v < 2; v++) showcase->views[v] = malloc(most * bytes);
    showcase->labels = malloc(most * 2 * tokens_of(showcase) * sizeof *showcase->labels);
    showcase->valid = malloc(most * (size_t)showcase->clusters);
    float *workspace = malloc(augment_workspace(showcase->size) * sizeof *workspace);
    bool made = showcase->views[0] && showcase->views[1] && showcase->labels && showcase->valid && workspace;
    for (size_t i = 0; made && i < most; i++) {
        /* From each stretch of the list its first readable picture. */
        size_t first = i * pictures->count / most, end = (i + 1) * pictures->count / most;
        while (first < end && !add_picture(showcase, pictures, first, (uint64_t)config->seed, workspace))
            first++;
    }
    free(workspace);
    if (!made) showcase_free(showcase);
    return made || problem_set(problem, "no memory for the pictures to show");
}

bool showcase_teach(struct showcase *showcase, cribo_trainer *trainer, struct problem *problem)
{
    cribo_batch batch = {.struct_size = sizeof batch,
        .images = showcase->images,
        .view1_bytes = showcase->views[0],
        .view2_bytes = showcase->views[1],
        .mean = {IMAGENET_MEAN},
        .deviation = {IMAGENET_DEVIATION},
        .crops1 = showcase->crops[0],
        .crops2 = showcase->crops[1],
        .ids = showcase->ids};
    cribo_targets targets = {
        .struct_size = sizeof targets, .labels = showcase->labels, .valid = showcase->valid};
    if (showcase->images == 0) return true;
    bool taught = cribo_trainer_teach(trainer, &batch) == CRIBO_OK &&
                  cribo_trainer_targets(trainer, &targets) == CRIBO_OK;
    if (!taught) problem_set(problem, "cannot cluster the pictures to show: %s", cribo_last_error());
    return cribo_trainer_forget(trainer) == CRIBO_OK && taught;
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
    *showcase = (struct showcase){0};
}

/* Colours that are told apart easily come first; from then on hues at the golden angle. */
struct colour showcase_colour(int rank)
{
    static const struct colour first[] = {{230, 25, 75}, {60, 180, 75}, {0, 110, 230}, {255, 200, 0},
        {245, 130, 48}, {145, 30, 180}, {70, 220, 230}, {240, 50, 230}, {150, 220, 40}, {0, 128, 128},
        {250, 170, 200}, {154, 99, 36}};
    enum { FIRST = sizeof first / sizeof *first };
    if (rank < FIRST) return first[rank];
    double hue = fmod(rank * 0.618034, 1) * 6;
    double red = fabs(hue - 3) - 1, green = 2 - fabs(hue - 2), blue = 2 - fabs(hue - 4);
    struct colour colour;
    colour.red = (uint8_t)(60 + 180 * fmin(fmax(red, 0), 1));
    colour.green = (uint8_t)(60 + 180 * fmin(fmax(green, 0), 1));
    colour.blue = (uint8_t)(60 + 180 * fmin(fmax(blue, 0), 1));
    return colour;
}

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

/* Does the pixel lie on the inner edge between two different labels? */
static bool on_edge(const int64_t *labels, int side, int cell, int x, int y)
{
    enum { HALF = 1 };
    int column = x / cell, row = y / cell;
    int64_t own = labels[row * side + column];
    int left = x - HALF < 0 ? 0 : (x - HALF) / cell,
        right = (x + HALF) / cell < side ? (x + HALF) / cell : side - 1;
    int above = y - HALF < 0 ? 0 : (y - HALF) / cell,
        below = (y + HALF) / cell < side ? (y + HALF) / cell : side - 1;
    return labels[row * side + left] != own || labels[row * side + right] != own ||
           labels[above * side + column] != own || labels[below * side + column] != own;
}

/* Lays the objects over a view that canvas_view has drawn. */
static void draw_objects(struct image *canvas, int x, int y, const struct showcase *showcase, int zoom,
    const int64_t *labels, const int *rank)
{
    static const struct colour grey = {150, 150, 150}, edge = {255, 255, 255};
    int side = showcase->size / showcase->patch, cell = showcase->patch * zoom;
    for (int j = 0; j < side * cell; j++) {
        for (int i = 0; i < side * cell; i++) {
            int object = rank[labels[(j / cell) * side + i / cell]];
            canvas_mix(
                canvas, x + i, y + j, object < 0 ? grey : showcase_colour(object), object < 0 ? 0.75 : 0.6);
            if (on_edge(labels, side, cell, i, j)) canvas_mix(canvas, x + i, y + j, edge, 0.8);
        }
    }
}

enum { CELL = 192, GAP = 6, BLOCK_GAP = 30, HEADER = 34, COLUMNS = 2 };

/* View 1, view 2, objects 1, objects 2, side by side. */
static void draw_block(
    struct image *canvas, int x, int y, const struct showcase *showcase, int image, int zoom, const int *rank)
{
    size_t bytes = 3 * (size_t)showcase->size * (size_t)showcase->size, tokens = tokens_of(showcase);
    int step = showcase->size * zoom + GAP;
    for (int v = 0; v < 2; v++) {
        const uint8_t *view = showcase->views[v] + (size_t)image * bytes;
        const int64_t *labels = showcase->labels + ((size_t)image * 2 + (size_t)v) * tokens;
        canvas_view(canvas, x + v * step, y, view, showcase->size, zoom);
        canvas_view(canvas, x + (2 + v) * step, y, view, showcase->size, zoom);
        draw_objects(canvas, x + (2 + v) * step, y, showcase, zoom, labels, rank);
    }
}

static void draw_header(struct image *canvas, int x, int step)
{
    static const char *const names[] = {"view 1", "view 2", "objects 1", "objects 2"};
    static const struct colour ink = {40, 40, 40};
    for (int i = 0; i < 4; i++) canvas_text(canvas, x + i * step, 12, 2, ink, names[i]);
}

bool showcase_draw(const struct showcase *showcase, struct image *drawing, struct problem *problem)
{
    static const struct colour white = {255, 255, 255};
    int zoom = showcase->size < CELL ? (CELL + showcase->size / 2) / showcase->size : 1;
    int step = showcase->size * zoom + GAP, block = 4 * step - GAP + BLOCK_GAP;
    int columns = showcase->images < COLUMNS ? showcase->images : COLUMNS,
        rows = (showcase->images + COLUMNS - 1) / COLUMNS;
    if (showcase->images == 0) return problem_set(problem, "no picture to show");
    int *rank = malloc((size_t)showcase->clusters * sizeof *rank);
    if (!rank) return problem_set(problem, "no memory to show clusters");
    bool made = image_make(drawing, columns * block, HEADER + rows * (step + GAP) + GAP, 3, problem);
    if (made) canvas_fill(drawing, 0, 0, drawing->width, drawing->height, white);
    for (int i = 0; i < showcase->images && made; i++) {
        int x = BLOCK_GAP / 2 + i % COLUMNS * block;
        if (i < COLUMNS) draw_header(drawing, x, step);
        rank_objects(showcase, i, rank);
        draw_block(drawing, x, HEADER + i / COLUMNS * (step + GAP), showcase, i, zoom, rank);
    }
    free(rank);
    return made;
}
