/* cribo neighbours: objects and their nearest neighbours in other pictures. */
#include "pictures/augment.h"
#include "drawing/sheet.h"
#include "commands/model_command.h"
#include "base/say.h"
#include "drawing/showcase.h"

#include <cribo/evaluation.h>
#include <cribo/memory_bank.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KEY_MEMORY = 256 };
enum { NEIGHBOURS = 5, OBJECTS = 2, CELL = 156, GAP = 8, FRAME = 4, HEADER = 84, MARGIN = 14, CAPTION = 42 };
enum { ROW = CELL + 2 * FRAME + CAPTION, PANEL = (1 + NEIGHBOURS) * (CELL + 2 * FRAME + GAP) + 2 * GAP };
enum { BETWEEN = 24 }; /* the panels of two networks */

static const struct argp_option table[] = {
    {"memory", KEY_MEMORY, "N", 0, "Number of pictures in the memory, spread over the folder; default 200",
        0},
    {0},
};

/* A picture of the memory. */
struct remembered {
    uint8_t *view[2]; /* [3, size, size] */
    int64_t *labels;  /* [2, N] */
    uint8_t *valid;   /* [clusters] */
    char name[256];
    int64_t objects, first; /* the number of its rows, and the first of them */
};

struct arguments {
    struct model_command command; /* must be first: model_command_run uses only this part */
    int memory;
};

/* The objects that a network finds. */
struct gallery {
    const struct model_command *command;
    const struct frozen *frozen;
    struct object_finder finder;
    struct remembered *pictures;
    size_t count, shown;        /* the first ones are shown, the others searched */
    int64_t rows, queries;      /* objects of all pictures */
    float *vectors[2];          /* [rows, D] of view 1, view 2 */
    int64_t *cluster;           /* [rows] each object's number in its picture */
    size_t *picture;            /* [rows] */
    int64_t *counts;            /* [count] objects of each, for the bank */
    uint8_t *match;             /* [rows] the cycle test's verdict on the nearest */
    int64_t *nearest;           /* [rows] the index of the nearest; -1: none */
    struct sheet_pixel *pixels; /* [N] */
    cribo_probe *probe;         /* finds the nearest objects of the memory */
    struct sheet *sheet;        /* that all networks draw on, this one to the right of `left` */
    double left;
};

static error_t parse(int key, char *value, struct argp_state *state)
{
    struct arguments *arguments = state->input;
    switch (key) {
    case KEY_MEMORY: arguments->memory = (int)command_integer(state, "memory", value, 2, 100000); return 0;
    case ARGP_KEY_INIT: state->child_inputs[0] = state->child_inputs[1] = &arguments->command; return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static bool make_room(struct gallery *gallery, size_t most, struct problem *problem)
{
    size_t clusters = (size_t)gallery->frozen->config.clusters, width = (size_t)gallery->frozen->width;
    size_t rows = most * clusters;
    gallery->pictures = calloc(most, sizeof *gallery->pictures);
    for (int v = 0; v < 2; v++) gallery->vectors[v] = malloc(rows * width * sizeof(float));
    gallery->cluster = malloc(rows * sizeof *gallery->cluster);
    gallery->picture = malloc(rows * sizeof *gallery->picture);
    gallery->counts = malloc(most * sizeof *gallery->counts);
    gallery->match = malloc(rows);
    gallery->nearest = malloc(rows * sizeof *gallery->nearest);
    gallery->pixels = malloc(frozen_tokens(gallery->frozen) * sizeof *gallery->pixels);
    return (gallery->pictures && gallery->vectors[0] && gallery->vectors[1] && gallery->cluster &&
               gallery->picture && gallery->counts && gallery->match && gallery->nearest &&
               gallery->pixels) ||
           problem_no_memory(problem);
}

static void release(struct gallery *gallery)
{
    for (size_t i = 0; gallery->pictures && i < gallery->count; i++) {
        for (int v = 0; v < 2; v++) free(gallery->pictures[i].view[v]);
        free(gallery->pictures[i].labels);
        free(gallery->pictures[i].valid);
    }
    free(gallery->pictures);
    for (int v = 0; v < 2; v++) free(gallery->vectors[v]);
    free(gallery->cluster);
    free(gallery->picture);
    free(gallery->counts);
    free(gallery->match);
    free(gallery->nearest);
    object_finder_free(&gallery->finder);
    free(gallery->pixels);
    cribo_probe_free(gallery->probe);
}

/* Adds the valid objects of the newest picture to the rows; found vectors are [2, clusters, D]. */
static void add_rows(struct gallery *gallery, const float *found)
{
    struct remembered *newest = &gallery->pictures[gallery->count];
    size_t clusters = (size_t)gallery->frozen->config.clusters, width = (size_t)gallery->frozen->width;
    newest->first = gallery->rows;
    for (size_t k = 0; k < clusters; k++) {
        if (!newest->valid[k]) continue;
        for (size_t v = 0; v < 2; v++)
            memcpy(gallery->vectors[v] + (size_t)gallery->rows * width, found + (v * clusters + k) * width,
                width * sizeof(float));
        gallery->cluster[gallery->rows] = (int64_t)k;
        gallery->picture[gallery->rows++] = gallery->count;
    }
    newest->objects = gallery->rows - newest->first;
    gallery->counts[gallery->count] = newest->objects;
    gallery->count++;
}

/* A warning; the run continues without it. */
static void say_unreadable(const struct pictures *pictures, size_t id)
{
    char name[512];
    pictures_name(pictures, id, name, sizeof name);
    say_warning("%s cannot be read; left out", name);
}

static bool remember(struct gallery *gallery, const struct pictures *pictures, size_t id, float *workspace,
    float *vectors, struct problem *problem)
{
    const struct frozen *frozen = gallery->frozen;
    struct remembered *picture = &gallery->pictures[gallery->count];
    size_t bytes = 3 * (size_t)frozen->size * (size_t)frozen->size;
    cribo_crop crops[2];
    *picture = (struct remembered){.view = {malloc(bytes), malloc(bytes)},
        .labels = malloc(2 * frozen_tokens(frozen) * sizeof(int64_t)),
        .valid = malloc((size_t)frozen->config.clusters)};
    struct found_objects found = {picture->labels, picture->valid, vectors};
    bool room = picture->view[0] && picture->view[1] && picture->labels && picture->valid;
    bool read = room && showcase_views(pictures, id, (uint64_t)frozen->config.seed, frozen->size, workspace,
                            picture->view, crops);
    const uint8_t *const views[] = {picture->view[0], picture->view[1]};
    pictures_name(pictures, id, picture->name, sizeof picture->name);
    if (read && object_finder_run(&gallery->finder, views, crops, (uint64_t)id, &found, problem)) {
        add_rows(gallery, vectors);
        return true;
    }
    for (int v = 0; v < 2; v++) free(picture->view[v]);
    free(picture->labels);
    free(picture->valid);
    if (!room) return problem_no_memory(problem);
    if (!read) say_unreadable(pictures, id);
    return !read;
}

/* Whether number `i` of `most` pictures is one of the `shown` pictures, which are spread evenly. */
static bool is_shown(size_t i, size_t most, size_t shown)
{
    size_t nearest = (i * shown + most - 1) / most;
    return nearest < shown && nearest * most / shown == i;
}

/* Reads the shown pictures first, and then the pictures whose objects are searched. */
static bool remember_all(
    struct gallery *gallery, const struct pictures *pictures, size_t most, struct problem *problem)
{
    const struct frozen *frozen = gallery->frozen;
    size_t shown = (size_t)gallery->command->count < most / 2 ? (size_t)gallery->command->count : most / 2;
    float *workspace = malloc(augment_workspace(frozen->size) * sizeof *workspace);
    float *vectors = malloc(2 * (size_t)frozen->config.clusters * (size_t)frozen->width * sizeof *vectors);
    bool done = (workspace && vectors) || problem_no_memory(problem);
    for (int memory = 0; memory < 2; memory++) {
        for (size_t i = 0; done && i < most; i++) {
            size_t at = i * pictures->count / most;
            if (is_shown(i, most, shown) == memory) continue;
            done = remember(gallery, pictures, at, workspace, vectors, problem);
            if (say_progress_due()) say_progress("%zu of %zu pictures seen", gallery->count, most);
        }
        if (memory == 0) gallery->shown = gallery->count;
        if (memory == 0) gallery->queries = gallery->rows;
    }
    say_progress_end();
    free(workspace);
    free(vectors);
    if (done && (gallery->queries == 0 || gallery->rows == gallery->queries))
        return problem_set(
            problem, "%s: two pictures with objects are needed at least", gallery->command->pictures);
    return done;
}

/* The cycle test, as in training: the shown pictures are the batch, the others are the bank. */
static bool test_cycles(struct gallery *gallery, const cribo_runtime *runtime, struct problem *problem)
{
    cribo_memory_bank_config config;
    cribo_memory_bank *bank = NULL;
    size_t offset = (size_t)gallery->queries * (size_t)gallery->frozen->width;
    cribo_object_batch batch = {.struct_size = sizeof batch,
        .images = (int64_t)gallery->shown,
        .objects_per_image = gallery->counts,
        .view1 = gallery->vectors[0],
        .view2 = gallery->vectors[1]};
    cribo_object_batch memory = {.struct_size = sizeof memory,
        .images = (int64_t)(gallery->count - gallery->shown),
        .objects_per_image = gallery->counts + gallery->shown,
        .view1 = gallery->vectors[0] + offset,
        .view2 = gallery->vectors[1] + offset};
    cribo_match match = {.struct_size = sizeof match, .index1 = gallery->nearest, .match1 = gallery->match};
    bool tested = cribo_memory_bank_config_init(&config, sizeof config) == CRIBO_OK;
    config.bank_images = memory.images;
    config.objects_per_image = gallery->frozen->config.clusters;
    config.width = gallery->frozen->width;
    config.max_objects = gallery->rows;
    tested = tested && cribo_memory_bank_create(&bank, &config, runtime) == CRIBO_OK &&
             cribo_memory_bank_push(bank, &memory) == CRIBO_OK &&
             cribo_memory_bank_query(bank, &batch, &match) == CRIBO_OK;
    cribo_memory_bank_free(bank);
    return tested || problem_library(problem);
}

/* --- drawing --- */

static const struct colour pass_green = {22, 130, 60}, fail_red = {200, 40, 40};

/*
 * Draws a view with one object in full colours and the rest pale, in a frame, with the picture's name below.
 */
static void draw_object(struct gallery *gallery, double x, double y, int64_t row, struct colour frame)
{
    const struct frozen *frozen = gallery->frozen;
    const struct remembered *picture = &gallery->pictures[gallery->picture[row]];
    for (size_t i = 0; i < frozen_tokens(frozen); i++)
        gallery->pixels[i] =
            (struct sheet_pixel){sheet_white, picture->labels[i] == gallery->cluster[row] ? 0 : 184};
    sheet_box(gallery->sheet, x - FRAME, y - FRAME, CELL + 2 * FRAME, CELL + 2 * FRAME, frame, 1);
    sheet_picture(gallery->sheet, x, y, CELL, picture->view[0], frozen->size);
    sheet_pixels(gallery->sheet, x, y, CELL, gallery->pixels, frozen->side, frozen->side);
    sheet_text_within(gallery->sheet, x - FRAME, y + CELL + FRAME + 15, CELL + 2 * FRAME, SHEET_SMALL,
        sheet_soft, picture->name);
}

static int64_t tokens_of_object(const struct gallery *gallery, int64_t row)
{
    const struct remembered *picture = &gallery->pictures[gallery->picture[row]];
    int64_t tokens = 0;
    for (size_t i = 0; i < frozen_tokens(gallery->frozen); i++)
        tokens += picture->labels[i] == gallery->cluster[row];
    return tokens;
}

/* The picture's objects that cover most of view 1. */
static int choose_objects(
    const struct gallery *gallery, const struct remembered *picture, int64_t chosen[OBJECTS])
{
    int count = 0;
    for (int64_t row = picture->first; row < picture->first + picture->objects; row++) {
        int place = count < OBJECTS ? count++ : OBJECTS;
        for (; place > 0 && tokens_of_object(gallery, row) > tokens_of_object(gallery, chosen[place - 1]);
            place--)
            if (place < OBJECTS) chosen[place] = chosen[place - 1];
        if (place < OBJECTS) chosen[place] = row;
    }
    return count;
}

/*
 * Draws an object and its nearest objects, with their cosines; the frame and the text show the result of the
 * cycle test for the first.
 */
static void draw_row(
    struct gallery *gallery, double y, int64_t row, const int64_t *index, const float *cosine)
{
    double x = gallery->left + FRAME;
    draw_object(gallery, x, y, row, sheet_ink);
    x += 2 * GAP;
    for (int j = 0; j < NEIGHBOURS && index[j] >= 0; j++) {
        bool tested = index[j] == gallery->nearest[row], match = gallery->match[row];
        char caption[64];
        x += CELL + 2 * FRAME + GAP;
        draw_object(gallery, x, y, gallery->queries + index[j],
            !tested ? sheet_faint
            : match ? pass_green
                    : fail_red);
        snprintf(caption, sizeof caption, "%.3f%s", (double)cosine[j],
            !tested ? ""
            : match ? ", passes"
                    : ", fails");
        sheet_text_within(gallery->sheet, x - FRAME, y + CELL + FRAME + 31, CELL + 2 * FRAME + GAP,
            SHEET_SMALL,
            !tested ? sheet_ink
            : match ? pass_green
                    : fail_red,
            caption);
    }
}

/* The object with the most tokens of view 1 in common with an object of another network; -1: none. */
static int64_t find_same(const struct gallery *gallery, const struct gallery *other, int64_t row)
{
    const struct remembered *picture = &gallery->pictures[other->picture[row]];
    const int64_t *theirs = other->pictures[other->picture[row]].labels;
    int64_t best = -1, most = 0;
    for (int64_t own = picture->first; own < picture->first + picture->objects; own++) {
        int64_t common = 0;
        for (size_t i = 0; i < frozen_tokens(gallery->frozen); i++)
            common += theirs[i] == other->cluster[row] && picture->labels[i] == gallery->cluster[own];
        if (common <= most) continue;
        most = common;
        best = own;
    }
    return best;
}

static bool make_probe(struct gallery *gallery, const cribo_runtime *runtime, struct problem *problem)
{
    cribo_probe_config config;
    int32_t *labels = calloc((size_t)gallery->rows, sizeof *labels);
    const float *memory = gallery->vectors[0] + (size_t)gallery->queries * (size_t)gallery->frozen->width;
    cribo_patch_maps maps = {sizeof maps, gallery->rows - gallery->queries, 1, 1, memory, 1, 1};
    if (!labels) return problem_no_memory(problem);
    bool made = cribo_probe_config_init(&config, sizeof config) == CRIBO_OK;
    config.width = gallery->frozen->width;
    config.classes = 1;
    config.neighbours = NEIGHBOURS;
    made = made && cribo_probe_create(&gallery->probe, &config, runtime) == CRIBO_OK &&
           cribo_probe_add(gallery->probe, &maps, labels) == CRIBO_OK;
    free(labels);
    return made || problem_library(problem);
}

/* An object and its nearest, on the gallery's part of the sheet. */
static bool draw_nearest(struct gallery *gallery, double y, int64_t row, struct problem *problem)
{
    int64_t index[NEIGHBOURS];
    float cosine[NEIGHBOURS];
    const float *x = gallery->vectors[0] + (size_t)row * (size_t)gallery->frozen->width;
    if (cribo_probe_search(gallery->probe, 1, x, index, cosine) != CRIBO_OK) return problem_library(problem);
    draw_row(gallery, y, row, index, cosine);
    return true;
}

/* Below the header: names of the columns, and above them that of one of two networks. */
static bool draw_names(const struct gallery *gallery, double y, bool before, struct problem *problem)
{
    double second = gallery->left + CELL + 4 * FRAME + 3 * GAP;
    sheet_text(gallery->sheet, gallery->left, y, SHEET_SMALL, SHEET_LEFT, sheet_soft, "object");
    sheet_text(gallery->sheet, second, y, SHEET_SMALL, SHEET_LEFT, sheet_soft,
        "nearest objects, the most similar first");
    if (!gallery->command->before) return true;
    char *name = model_command_name(gallery->command, before, problem);
    if (name)
        sheet_text_within(
            gallery->sheet, gallery->left, y - 22, PANEL - 3 * GAP, SHEET_TEXT, sheet_ink, name);
    free(name);
    return name != NULL;
}

static void draw_header(struct sheet *sheet)
{
    sheet_title(sheet, MARGIN, 28, "Objects and their nearest in other pictures");
    static const char cosine[] = "Numbers: cosine similarity. Cycle test of the nearest object:",
                      pass[] = "passes, its nearest object here is the first", fail[] = "fails";
    double x = MARGIN;
    sheet_text(sheet, x, 52, SHEET_SMALL, SHEET_LEFT, sheet_soft, cosine);
    x += sheet_text_width(sheet, SHEET_SMALL, cosine) + 10;
    sheet_box(sheet, x, 41, 12, 12, pass_green, 1);
    sheet_text(sheet, x + 18, 52, SHEET_SMALL, SHEET_LEFT, sheet_soft, pass);
    x += 18 + sheet_text_width(sheet, SHEET_SMALL, pass) + 16;
    sheet_box(sheet, x, 41, 12, 12, fail_red, 1);
    sheet_text(sheet, x + 18, 52, SHEET_SMALL, SHEET_LEFT, sheet_soft, fail);
}

/*
 * Draws the rows of all networks beside each other. The first chooses the objects; the others show their
 * object at the same place.
 */
static bool draw_rows(struct gallery *galleries, int networks, double y, struct problem *problem)
{
    const struct gallery *first = &galleries[0];
    bool drawn = true;
    for (size_t i = 0; drawn && i < first->shown; i++) {
        int64_t chosen[OBJECTS];
        int objects = choose_objects(first, &first->pictures[i], chosen);
        for (int o = 0; drawn && o < objects; o++, y += ROW)
            for (int n = 0; drawn && n < networks; n++) {
                int64_t row = n == 0 ? chosen[o] : find_same(&galleries[n], first, chosen[o]);
                drawn = row < 0 || draw_nearest(&galleries[n], y, row, problem);
            }
    }
    return drawn;
}

static bool draw(struct gallery *galleries, int networks, struct sheet *sheet, struct problem *problem)
{
    int64_t chosen[OBJECTS];
    int rows = 0, header = networks > 1 ? HEADER + 22 : HEADER;
    for (size_t i = 0; i < galleries->shown; i++)
        rows += choose_objects(galleries, &galleries->pictures[i], chosen);
    if (!sheet_make(sheet, galleries->command->format,
            2 * MARGIN + networks * PANEL - GAP + (networks - 1) * BETWEEN, header + rows * ROW + MARGIN,
            problem))
        return false;
    draw_header(sheet);
    for (int n = 0; n < networks; n++) {
        galleries[n].sheet = sheet;
        galleries[n].left = MARGIN + n * (PANEL + BETWEEN);
        if (!draw_names(&galleries[n], header - 8, n < networks - 1, problem)) return false;
    }
    return draw_rows(galleries, networks, header + FRAME, problem);
}

static void say_share(const struct gallery *gallery, const char *name)
{
    int64_t passed = 0;
    for (int64_t i = 0; i < gallery->queries; i++) passed += gallery->match[i];
    say_note("%s%s%lld objects of %zu pictures; for %.1f %% the nearest of %lld passes the cycle test", name,
        name[0] ? ": " : "", (long long)gallery->queries, gallery->shown,
        100.0 * (double)passed / (double)gallery->queries, (long long)(gallery->rows - gallery->queries));
}

/* Finds the objects of all pictures and their nearest by a network. */
static bool fill(struct gallery *gallery, const struct frozen *frozen, const struct arguments *arguments,
    const struct pictures *pictures, struct problem *problem)
{
    size_t most = (size_t)arguments->memory < pictures->count ? (size_t)arguments->memory : pictures->count;
    cribo_runtime runtime;
    *gallery = (struct gallery){.command = &arguments->command, .frozen = frozen};
    return frozen_runtime(&arguments->command.model, &runtime, problem) &&
           object_finder_make(&gallery->finder, frozen, &runtime, problem) &&
           make_room(gallery, most, problem) && remember_all(gallery, pictures, most, problem) &&
           test_cycles(gallery, &runtime, problem) && make_probe(gallery, &runtime, problem);
}

static bool run(struct model_command *command, const struct frozen *frozen, const struct pictures *pictures,
    struct problem *problem)
{
    const struct arguments *arguments = (const struct arguments *)command;
    const struct frozen *const both[] = {command->before ? &command->other : frozen, frozen};
    struct gallery galleries[2] = {{0}};
    struct sheet sheet = {0};
    int networks = command->before ? 2 : 1;
    bool done = true;
    for (int n = 0; done && n < networks; n++)
        done = fill(&galleries[n], both[n], arguments, pictures, problem);
    done = done && draw(galleries, networks, &sheet, problem) && sheet_write(&sheet, command->out, problem);
    for (int n = 0; done && n < networks; n++)
        say_share(&galleries[n], networks == 1 ? "" : n == 0 ? command->before : command->model.path);
    for (int n = 0; n < networks; n++) release(&galleries[n]);
    sheet_free(&sheet);
    return done;
}

int command_neighbours(int count, char **arguments)
{
    static const struct argp_child children[] = {
        {&model_command_argp, 0, NULL, 0}, {&shown_argp, 0, NULL, 0}, {0}};
    static const struct argp argp = {.options = table,
        .parser = parse,
        .children = children,
        .args_doc = "MODEL DIR -o FILE.png",
        .doc =
            "Draws objects of some pictures and the most similar objects of other pictures. The frame of the "
            "nearest object is green if the pair passes the cycle test, so that training would use it, and "
            "red if it fails. As in training, each object is found in two views, and the pictures shown "
            "are the batch of the cycle test. With --before, the left half shows the objects of that model, "
            "and the right half those of MODEL at the same places."};
    struct arguments parsed = {.memory = 200, .command = {.count = 4, .draws = true}};
    return model_command_run("cribo neighbours", &argp, count, arguments, &parsed.command, run);
}
