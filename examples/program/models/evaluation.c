/* See evaluation.h. */
#include "models/evaluation.h"

#include "base/say.h"
#include "models/plain_features.h"
#include "pictures/augment.h"
#include "pictures/segmentation_view.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <jansson.h>

enum { GROUP = 1024 }; /* the approximate number of patches per call of the probe: those of one search */

/* A run under way. */
struct memory {
    const struct evaluation_run *run;
    struct evaluation *result;
    cribo_probe *probe;
    int64_t keep;          /* patches of each picture by rare classes; 0: all, or the probe's own sample */
    int64_t *confusion[2]; /* [classes, classes] by neighbours, by the linear layer */
};

/* An evaluation under way, with room for a group of pictures. */
struct bench {
    const struct frozen *frozen;
    const struct evaluation_options *options;
    struct memory *memories;         /* [run_count] */
    struct memory *memory;           /* the one that is filled */
    size_t group;                    /* pictures */
    float *pixels;                   /* [3, size, size] of one */
    float *features;                 /* [group, N, D] */
    int32_t *truth, *found;          /* [group, size, size] */
    float *draws;                    /* [group, N] for patches with rare classes */
    int64_t *chosen;                 /* [group, N] */
    int64_t *own;                    /* [classes, classes] of one picture */
    struct evaluation_origin *views; /* [group] picture and pass of each */
    FILE *record;
    struct problem *problem;
};

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static int64_t classes_of(const struct bench *bench)
{
    return bench->options->test->classes;
}

static bool make_probe(struct bench *bench, struct memory *memory)
{
    const struct evaluation_options *options = bench->options;
    cribo_probe_config config;
    cribo_runtime runtime;
    if (cribo_probe_config_init(&config, sizeof config) != CRIBO_OK ||
        cribo_runtime_init(&runtime, sizeof runtime) != CRIBO_OK)
        return problem_library(bench->problem);
    config.width = bench->frozen->width;
    config.classes = classes_of(bench);
    config.ignore_label = NO_LABEL;
    config.memory_patches = options->protocol.rare ? 0 : options->memory_patches;
    config.seed = memory->run->seed;
    if (options->neighbours) config.neighbours = options->neighbours;
    if (options->temperature > 0) config.temperature = options->temperature;
    runtime.threads = options->threads;
    return cribo_probe_create(&memory->probe, &config, &runtime) == CRIBO_OK ||
           problem_library(bench->problem);
}

/*
 * As the published evaluators: so many of each picture and pass, that the memory is nearly full in the end.
 */
static int64_t patches_to_keep(const struct bench *bench, const struct evaluation_run *run)
{
    const struct protocol *protocol = &bench->options->protocol;
    if (!protocol->rare || !bench->options->memory_patches) return 0;
    int64_t passes = protocol->passes ? protocol->passes : 1, tokens = (int64_t)frozen_tokens(bench->frozen);
    int64_t keep = bench->options->memory_patches / ((int64_t)run->count * passes);
    return keep < 1 ? 1 : keep < tokens ? keep : tokens;
}

static bool make_memory(struct bench *bench, struct memory *memory)
{
    size_t classes = (size_t)classes_of(bench);
    memory->keep = patches_to_keep(bench, memory->run);
    for (int i = 0; i < 2; i++)
        memory->confusion[i] = calloc(classes * classes, sizeof *memory->confusion[i]);
    memory->result->remembered = calloc(classes, sizeof *memory->result->remembered);
    memory->result->scored = calloc(classes, sizeof *memory->result->scored);
    memory->result->worst = calloc(bench->options->worst + 1, sizeof *memory->result->worst);
    return (memory->confusion[0] && memory->confusion[1] && memory->result->remembered &&
               memory->result->scored && memory->result->worst)
               ? make_probe(bench, memory)
               : problem_set(bench->problem, "no memory for counts of %zu classes", classes);
}

static bool make_memories(struct bench *bench, struct evaluation *results)
{
    size_t count = bench->options->run_count;
    bench->memories = calloc(count, sizeof *bench->memories);
    bool made = bench->memories || problem_no_memory(bench->problem);
    for (size_t r = 0; made && r < count; r++) {
        bench->memories[r] = (struct memory){.run = &bench->options->runs[r], .result = &results[r]};
        made = make_memory(bench, &bench->memories[r]);
    }
    return made;
}

static bool make_room(struct bench *bench)
{
    size_t tokens = frozen_tokens(bench->frozen), width = (size_t)bench->frozen->width;
    size_t plane = (size_t)bench->frozen->size * (size_t)bench->frozen->size;
    size_t classes = (size_t)classes_of(bench);
    bench->group = tokens < GROUP ? GROUP / tokens : 1;
    bench->pixels = malloc(3 * plane * sizeof *bench->pixels);
    bench->features = malloc(bench->group * tokens * width * sizeof *bench->features);
    bench->truth = malloc(bench->group * plane * sizeof *bench->truth);
    bench->found = malloc(bench->group * plane * sizeof *bench->found);
    bench->draws = malloc(bench->group * tokens * sizeof *bench->draws);
    bench->chosen = malloc(bench->group * tokens * sizeof *bench->chosen);
    bench->own = malloc(classes * classes * sizeof *bench->own);
    bench->views = malloc(bench->group * sizeof *bench->views);
    return (bench->pixels && bench->features && bench->truth && bench->found && bench->draws &&
               bench->chosen && bench->own && bench->views) ||
           problem_no_memory(bench->problem);
}

static void release(struct bench *bench)
{
    for (size_t r = 0; bench->memories && r < bench->options->run_count; r++) {
        cribo_probe_free(bench->memories[r].probe);
        for (int i = 0; i < 2; i++) free(bench->memories[r].confusion[i]);
    }
    free(bench->memories);
    free(bench->pixels);
    free(bench->features);
    free(bench->truth);
    free(bench->found);
    free(bench->draws);
    free(bench->chosen);
    free(bench->own);
    free(bench->views);
}

/* --- pictures --- */

/* Normalises colours [size][size][3] in 0 ... 255 for the model, with the protocol's deviation of blue. */
static void normalise(
    const struct frozen *frozen, const struct protocol *protocol, const float *colours, float *pixels)
{
    const double *mean = frozen->recipe.mean, *own = frozen->recipe.deviation;
    const double deviation[3] = {
        own[0], own[1], protocol->blue_deviation > 0 ? protocol->blue_deviation : own[2]};
    size_t plane = (size_t)frozen->size * (size_t)frozen->size;
    for (size_t i = 0; i < plane; i++)
        for (size_t c = 0; c < 3; c++)
            pixels[c * plane + i] = (float)(((double)colours[3 * i + c] / 255.0 - mean[c]) / deviation[c]);
}

bool evaluation_pixels(const struct frozen *frozen, const struct protocol *protocol,
    const struct image *image, float *pixels, struct problem *problem)
{
    size_t values = 3 * (size_t)frozen->size * (size_t)frozen->size;
    float *colours = malloc(values * sizeof *colours);
    uint8_t *bytes = malloc(values);
    struct box whole = {0, 0, image->width, image->height};
    bool made = (colours && bytes) || problem_no_memory(problem);
    if (made && protocol->bytes)
        made = resample_bytes(image, frozen->size, frozen->size, bytes, problem);
    else if (made)
        made = resample(image, whole, frozen->size, frozen->size, colours, problem);
    for (size_t i = 0; made && i < values; i++)
        colours[i] = protocol->bytes ? (float)bytes[i] : (float)lrintf(colours[i]);
    if (made) normalise(frozen, protocol, colours, pixels);
    free(bytes);
    free(colours);
    return made;
}

/* A cropped and jittered view, normalised for the model. */
static bool view_pixels(struct bench *bench, const struct segmentation_view *view, struct image *image)
{
    const struct frozen *frozen = bench->frozen;
    float *colours = malloc(3 * (size_t)frozen->size * (size_t)frozen->size * sizeof *colours);
    bool made = colours ? segmentation_view_pixels(view, image, frozen->size, colours, bench->problem)
                        : problem_no_memory(bench->problem);
    if (made) normalise(frozen, &bench->options->protocol, colours, bench->pixels);
    free(colours);
    return made;
}

static bool find_features(struct bench *bench, size_t at)
{
    const struct frozen *frozen = bench->frozen;
    float *features = bench->features + at * frozen_tokens(frozen) * (size_t)frozen->width;
    if (!frozen->model) {
        plain_features(bench->pixels, frozen->size, frozen->patch, features);
        return true;
    }
    return cribo_model_features(frozen->model, 1, frozen->size, frozen->size, bench->pixels, features, NULL,
               NULL) == CRIBO_OK ||
           problem_library(bench->problem);
}

/* The smallest side for decoding a picture. */
static double least_side(const struct bench *bench)
{
    return bench->options->protocol.bytes || bench->options->protocol.passes ? 0 : 2.0 * bench->frozen->size;
}

/* Features and labels of the whole picture `index`, into place `at` of the group. */
static bool read_picture(struct bench *bench, const struct dataset *set, size_t index, size_t at)
{
    const struct frozen *frozen = bench->frozen;
    size_t plane = (size_t)frozen->size * (size_t)frozen->size;
    struct image image;
    if (!dataset_picture(set, index, least_side(bench), &image, bench->problem)) return false;
    bool read =
        dataset_labels(set, index, &image, NULL, frozen->size, bench->truth + at * plane, bench->problem) &&
        evaluation_pixels(frozen, &bench->options->protocol, &image, bench->pixels, bench->problem);
    image_free(&image);
    return read && find_features(bench, at);
}

static void record_view(
    struct bench *bench, const char *picture, int pass, const struct segmentation_view *view)
{
    if (!bench->record) return;
    json_t *line = json_pack("{s:i, s:s, s:[i,i,i,i], s:[]}", "pass", pass, "picture", picture, "crop",
        view->box.x, view->box.y, view->box.width, view->box.height, "jitter");
    for (int i = 0; i < JITTERS; i++)
        json_array_append_new(
            json_object_get(line, "jitter"), view->jittered[i] ? json_real(view->jitter[i]) : json_null());
    char *text = json_dumps(line, JSON_COMPACT);
    fprintf(bench->record, "%s\n", text ? text : "");
    free(text);
    json_decref(line);
}

/* The random numbers of a picture in a pass: its view, and a number for each patch. */
static bool draw_chance(struct bench *bench, size_t index, int pass, size_t at, double *of_view)
{
    size_t tokens = frozen_tokens(bench->frozen);
    double *draws = malloc((SEGMENTATION_DRAWS + tokens) * sizeof *draws);
    bool drawn = draws && cribo_random_uniform((uint64_t)bench->memory->run->seed, (uint64_t)pass, index,
                              SEGMENTATION_DRAWS + tokens, draws) == CRIBO_OK;
    for (size_t i = 0; drawn && i < SEGMENTATION_DRAWS; i++) of_view[i] = draws[i];
    for (size_t i = 0; drawn && i < tokens; i++)
        bench->draws[at * tokens + i] = fminf((float)draws[SEGMENTATION_DRAWS + i], nextafterf(1, 0));
    free(draws);
    return drawn || problem_no_memory(bench->problem);
}

/* The same of a crop of a picture that is remembered. */
static bool read_view(struct bench *bench, size_t index, int pass, size_t at)
{
    const struct frozen *frozen = bench->frozen;
    const struct dataset *set = bench->memory->run->train;
    size_t plane = (size_t)frozen->size * (size_t)frozen->size;
    double draws[SEGMENTATION_DRAWS];
    struct image image;
    if (!draw_chance(bench, index, pass, at, draws)) return false;
    if (bench->options->protocol.passes == 0) return read_picture(bench, set, index, at);
    if (!dataset_picture(set, index, least_side(bench), &image, bench->problem)) return false;
    struct segmentation_view view = segmentation_view_of(draws, image.width, image.height);
    record_view(bench, set->list[index].picture, pass, &view);
    bool read = dataset_labels(
                    set, index, &image, &view.box, frozen->size, bench->truth + at * plane, bench->problem) &&
                view_pixels(bench, &view, &image);
    image_free(&image);
    return read && find_features(bench, at);
}

static cribo_patch_maps maps_of(const struct bench *bench, size_t count)
{
    const struct frozen *frozen = bench->frozen;
    return (cribo_patch_maps){sizeof(cribo_patch_maps), (int64_t)count, frozen->side, frozen->side,
        bench->features, frozen->size, frozen->size};
}

static void count_classes(const struct bench *bench, size_t pixels, int64_t *counts)
{
    for (size_t i = 0; i < pixels; i++)
        if (bench->truth[i] != NO_LABEL) counts[bench->truth[i]]++;
}

static void say_how_far(const struct bench *bench, const char *what, size_t done, size_t all, double *said)
{
    if (!bench->options->say || !(done == all || say_on_terminal() || now() - *said >= 10)) return;
    *said = now();
    say_progress("%s: %zu of %zu pictures", what, done, all);
    if (done == all) say_progress_end();
}

/* Colours [size][size][3] to bytes [3][size][size]. */
static void to_bytes(const float *colours, int size, uint8_t *bytes)
{
    size_t plane = (size_t)size * (size_t)size;
    for (size_t i = 0; i < plane; i++)
        for (size_t c = 0; c < 3; c++) bytes[c * plane + i] = (uint8_t)lrintf(colours[3 * i + c]);
}

bool evaluation_view(const struct frozen *frozen, const struct protocol *protocol,
    const struct evaluation_run *run, const struct evaluation_origin *origin, uint8_t *bytes, int32_t *labels,
    struct problem *problem)
{
    double draws[SEGMENTATION_DRAWS];
    float *colours = malloc(3 * (size_t)frozen->size * (size_t)frozen->size * sizeof *colours);
    struct image image = {0};
    bool made = (colours || problem_no_memory(problem)) &&
                dataset_picture(run->train, origin->picture, 0, &image, problem);
    if (made && cribo_random_uniform((uint64_t)run->seed, origin->pass, origin->picture, SEGMENTATION_DRAWS,
                    draws) != CRIBO_OK)
        made = problem_library(problem);
    struct segmentation_view view = {.box = {0, 0, image.width, image.height}};
    if (made && protocol->passes) view = segmentation_view_of(draws, image.width, image.height);
    made = made &&
           dataset_labels(run->train, origin->picture, &image, &view.box, frozen->size, labels, problem) &&
           segmentation_view_pixels(&view, &image, frozen->size, colours, problem);
    if (made) to_bytes(colours, frozen->size, bytes);
    image_free(&image);
    free(colours);
    return made;
}

/* --- remembering --- */

/* Whether a patch of the group has a label; only such patches are remembered. */
static bool has_label(const struct bench *bench, size_t picture, size_t patch)
{
    const struct frozen *frozen = bench->frozen;
    size_t size = (size_t)frozen->size, side = (size_t)frozen->side, pixels = size / side;
    const int32_t *corner =
        bench->truth + (picture * size + patch / side * pixels) * size + patch % side * pixels;
    for (size_t i = 0; i < pixels * pixels; i++)
        if (corner[i / pixels * size + i % pixels] != NO_LABEL) return true;
    return false;
}

/* Records the origins of a group's entries, if they are needed. */
static bool note_origins(struct bench *bench, size_t count)
{
    struct evaluation *result = bench->memory->result;
    size_t tokens = frozen_tokens(bench->frozen),
           keep = bench->memory->keep ? (size_t)bench->memory->keep : tokens;
    bool sampled = bench->options->memory_patches && !bench->options->protocol.rare;
    if (!bench->options->worst || bench->memory != bench->memories || sampled) return true;
    if (result->origin_count + count * keep > result->origin_room) {
        size_t room = 2 * (result->origin_count + count * keep);
        void *longer = realloc(result->origins, room * sizeof *result->origins);
        if (!longer) return problem_set(bench->problem, "no memory for the origins of %zu patches", room);
        result->origins = longer;
        result->origin_room = room;
    }
    for (size_t i = 0; i < count * keep; i++) {
        size_t patch = bench->memory->keep ? (size_t)bench->chosen[i] : i % keep;
        if (!has_label(bench, i / keep, patch)) continue;
        struct evaluation_origin *origin = &result->origins[result->origin_count++];
        *origin = bench->views[i / keep];
        origin->patch = (uint32_t)patch;
    }
    return true;
}

static bool remember_patches(struct bench *bench, size_t count)
{
    struct memory *memory = bench->memory;
    cribo_patch_maps maps = maps_of(bench, count);
    count_classes(bench, (size_t)(maps.images * maps.height * maps.width), memory->result->remembered);
    if (!memory->keep)
        return cribo_probe_add(memory->probe, &maps, bench->truth) == CRIBO_OK ||
               problem_library(bench->problem);
    return (cribo_rare_patches(&maps, classes_of(bench), NO_LABEL, bench->truth, bench->draws, memory->keep,
                bench->chosen, NULL) == CRIBO_OK &&
               cribo_probe_add_chosen(memory->probe, &maps, bench->truth, memory->keep, bench->chosen) ==
                   CRIBO_OK) ||
           problem_library(bench->problem);
}

static bool remember(struct bench *bench, struct memory *memory)
{
    const struct evaluation_run *run = memory->run;
    int passes = bench->options->protocol.passes ? bench->options->protocol.passes : 1;
    size_t all = run->count * (size_t)passes;
    double began = now(), said = began;
    bench->memory = memory;
    for (size_t first = 0; first < all; first += bench->group) {
        size_t count = all - first < bench->group ? all - first : bench->group;
        for (size_t i = 0; i < count; i++) {
            size_t number = (first + i) % run->count, pass = (first + i) / run->count;
            size_t picture = run->pictures ? run->pictures[number] : number;
            bench->views[i] =
                (struct evaluation_origin){.picture = (uint32_t)picture, .pass = (uint32_t)pass};
            if (!read_view(bench, picture, (int)pass, i)) return false;
        }
        if (!remember_patches(bench, count) || !note_origins(bench, count)) return false;
        say_how_far(bench, "remembering", first + count, all, &said);
    }
    memory->result->remember_seconds = now() - began;
    return cribo_probe_count(memory->probe, &memory->result->entries) == CRIBO_OK ||
           problem_library(bench->problem);
}

static int count_present(const int64_t *counts, int classes)
{
    int present = 0;
    for (int c = 0; c < classes; c++) present += counts[c] != 0;
    return present;
}

static bool check_memory(const struct bench *bench, const struct memory *memory)
{
    const struct evaluation_run *run = memory->run;
    const char *first = run->train->list[run->pictures ? run->pictures[0] : 0].labels;
    int present = count_present(memory->result->remembered, memory->result->classes);
    if (present == 0)
        return problem_set(bench->problem,
            "nothing to remember: none of the %zu label maps (%s, ...) has a pixel with a class; label 255 "
            "counts nowhere",
            run->count, first);
    return present > 1 ||
           problem_set(bench->problem,
               "all labels that count in the %zu label maps of the memory (%s, ...) are of one class, so "
               "every prediction would be right; label 255 counts nowhere: of a mask, store the object as 1",
               run->count, first);
}

static bool fill(struct bench *bench, struct memory *memory)
{
    if (!remember(bench, memory) || !check_memory(bench, memory)) return false;
    double began = now();
    if (bench->options->linear && cribo_probe_fit(memory->probe, NULL) != CRIBO_OK)
        return problem_library(bench->problem);
    memory->result->fit_seconds = now() - began;
    return true;
}

/* --- scoring --- */

/* Keeps the pictures of a group with the lowest scores in the first run. */
static bool keep_worst(struct bench *bench, size_t first, size_t count)
{
    struct evaluation *result = bench->memories[0].result;
    size_t plane = (size_t)bench->frozen->size * (size_t)bench->frozen->size,
           classes = (size_t)classes_of(bench);
    for (size_t i = 0; bench->options->worst && i < count; i++) {
        cribo_scores scores = {.struct_size = sizeof scores};
        memset(bench->own, 0, classes * classes * sizeof *bench->own);
        if (cribo_confusion_add((int64_t)classes, NO_LABEL, (int64_t)plane, bench->truth + i * plane,
                bench->found + i * plane, bench->own) != CRIBO_OK ||
            cribo_confusion_scores((int64_t)classes, bench->own, NULL, &scores) != CRIBO_OK)
            return problem_library(bench->problem);
        if (scores.counted == 0) continue;
        size_t place =
            result->worst_count < bench->options->worst ? result->worst_count++ : result->worst_count;
        for (; place > 0 && scores.mean_iou < result->worst[place - 1].mean_iou; place--)
            result->worst[place] = result->worst[place - 1];
        result->worst[place] = (struct evaluation_picture){first + i, scores.mean_iou};
    }
    return true;
}

static bool score_group(struct bench *bench, size_t first, size_t count)
{
    cribo_patch_maps maps = maps_of(bench, count);
    int64_t pixels = maps.images * maps.height * maps.width;
    for (size_t r = 0; r < bench->options->run_count; r++) {
        struct memory *memory = &bench->memories[r];
        count_classes(bench, (size_t)pixels, memory->result->scored);
        for (int reader = bench->options->linear ? CRIBO_PROBE_LINEAR : CRIBO_PROBE_NEAREST; reader >= 0;
            reader--)
            if (cribo_probe_predict(memory->probe, reader, &maps, NULL, bench->found) != CRIBO_OK ||
                cribo_confusion_add(classes_of(bench), NO_LABEL, pixels, bench->truth, bench->found,
                    memory->confusion[reader]) != CRIBO_OK)
                return problem_library(bench->problem);
        if (r == 0 && !keep_worst(bench, first, count)) return false;
    }
    return true;
}

static bool score(struct bench *bench)
{
    const struct dataset *test = bench->options->test;
    double began = now(), said = began;
    for (size_t first = 0; first < test->count; first += bench->group) {
        size_t count = test->count - first < bench->group ? test->count - first : bench->group;
        for (size_t i = 0; i < count; i++)
            if (!read_picture(bench, test, first + i, i)) return false;
        if (!score_group(bench, first, count)) return false;
        say_how_far(bench, "scoring", first + count, test->count, &said);
    }
    for (size_t r = 0; r < bench->options->run_count; r++)
        bench->memories[r].result->score_seconds = now() - began;
    return count_present(bench->memories[0].result->scored, test->classes) ||
           problem_set(bench->problem,
               "nothing to score: none of the %zu label maps (%s, ...) has a pixel with a class; label 255 "
               "counts nowhere",
               test->count, test->list[0].labels);
}

static bool scores_of(const struct bench *bench, const int64_t *confusion, double **iou, cribo_scores *scores)
{
    int64_t classes = classes_of(bench);
    *scores = (cribo_scores){.struct_size = sizeof *scores};
    *iou = malloc((size_t)classes * sizeof **iou);
    if (!*iou) return problem_no_memory(bench->problem);
    if (cribo_confusion_scores(classes, confusion, *iou, scores) != CRIBO_OK)
        return problem_library(bench->problem);
    if (!bench->options->protocol.matched) return true;
    scores->mean_iou = scores->mean_iou_all;
    scores->classes_seen = classes;
    return true;
}

/*
 * The scores of a run. With `matched` in the protocol, predictions by neighbours are matched with classes
 * first.
 */
static bool conclude(struct bench *bench, struct memory *memory)
{
    struct evaluation *result = memory->result;
    int64_t classes = classes_of(bench);
    const int64_t *confusion = memory->confusion[0];
    if (bench->options->protocol.matched) {
        if (cribo_confusion_match(
                classes, classes, confusion, CRIBO_MATCH_ONE_TO_ONE, 0, NULL, bench->own, NULL) != CRIBO_OK)
            return problem_library(bench->problem);
        confusion = bench->own;
    }
    return scores_of(bench, confusion, &result->nearest_iou, &result->nearest) &&
           (!bench->options->linear ||
               scores_of(bench, memory->confusion[1], &result->linear_iou, &result->linear));
}

static bool measure(struct bench *bench)
{
    size_t count = bench->options->run_count;
    for (size_t r = 0; r < count; r++) {
        if (!fill(bench, &bench->memories[r])) return false;
        if (bench->record) fclose(bench->record);
        bench->record = NULL;
    }
    if (!score(bench)) return false;
    for (size_t r = 0; r < count; r++)
        if (!conclude(bench, &bench->memories[r])) return false;
    return true;
}

static bool open_record(struct bench *bench)
{
    const char *path = bench->options->record;
    if (!path) return true;
    bench->record = fopen(path, "we");
    return bench->record || problem_set(bench->problem, "cannot write %s: %s", path, strerror(errno));
}

bool evaluate(struct evaluation *results, const struct frozen *frozen,
    const struct evaluation_options *options, struct problem *problem)
{
    struct bench bench = {.frozen = frozen, .options = options, .problem = problem};
    for (size_t r = 0; r < options->run_count; r++)
        results[r] = (struct evaluation){.classes = options->test->classes};
    bool done = make_memories(&bench, results) && make_room(&bench) && open_record(&bench) && measure(&bench);
    if (bench.record) fclose(bench.record);
    if (done && options->worst) {
        results[0].probe = bench.memories[0].probe;
        bench.memories[0].probe = NULL;
    }
    release(&bench);
    for (size_t r = 0; !done && r < options->run_count; r++) evaluation_free(&results[r]);
    return done;
}

void evaluation_free(struct evaluation *evaluation)
{
    free(evaluation->nearest_iou);
    free(evaluation->linear_iou);
    free(evaluation->remembered);
    free(evaluation->scored);
    free(evaluation->worst);
    free(evaluation->origins);
    cribo_probe_free(evaluation->probe);
    *evaluation = (struct evaluation){0};
}

const char *evaluation_note(const struct evaluation *e, int c)
{
    if (!e->remembered[c] && !e->scored[c]) return "in no label map";
    if (!e->remembered[c]) return "not in the memory: cannot be found";
    return e->scored[c] ? "" : "not in the scored pictures";
}

enum { MOST_NAMED = 8 }; /* classes in a warning */

/* Warns of the classes with a note: how many, and the first by name. */
static void warn_of(const struct evaluation *e, const struct dataset *test, bool remembered, const char *what)
{
    char names[512] = "";
    int count = 0;
    for (int c = 0; c < e->classes; c++) {
        if ((e->remembered[c] != 0) != remembered || (e->scored[c] != 0) == remembered) continue;
        size_t end = strlen(names);
        if (count++ >= MOST_NAMED) continue;
        snprintf(names + end, sizeof names - end, "%s", end ? ", " : "");
        end = strlen(names);
        if (test->names)
            snprintf(names + end, sizeof names - end, "%.40s", test->names[c]);
        else
            snprintf(names + end, sizeof names - end, "%d", c);
    }
    if (count)
        say_warning(
            "%d of %d classes %s: %s%s", count, e->classes, what, names, count > MOST_NAMED ? ", ..." : "");
}

static void warn_of_absent(const struct evaluation *e, const struct dataset *test)
{
    int absent = 0;
    for (int c = 0; c < e->classes; c++) absent += !e->remembered[c] && !e->scored[c];
    if (absent)
        say_warning("%d of the %d classes%s occur in no label map; the mean is over the others", absent,
            e->classes, test->names ? " that the data name" : "");
}

void evaluation_warn(const struct evaluation *e, const struct dataset *test)
{
    warn_of_absent(e, test);
    warn_of(e, test, false, "are scored but not in the memory, so they cannot be found");
    warn_of(e, test, true, "are in the memory but not in the scored pictures");
    if (count_present(e->scored, e->classes) == 1)
        say_warning("the scored pictures have one class only: the score says little");
}

static json_t *scores_json(const cribo_scores *scores, const double *iou, const struct dataset *test)
{
    json_t *classes = json_object();
    for (int c = 0; c < test->classes; c++) {
        char number[16];
        snprintf(number, sizeof number, "%d", c);
        json_object_set_new(
            classes, test->names ? test->names[c] : number, iou[c] < 0 ? json_null() : json_real(iou[c]));
    }
    return json_pack("{s:f, s:f, s:f, s:I, s:I, s:o}", "mean_iou", scores->mean_iou, "accuracy",
        scores->accuracy, "mean_accuracy", scores->mean_accuracy, "classes_seen",
        (json_int_t)scores->classes_seen, "pixels", (json_int_t)scores->counted, "iou", classes);
}

struct json_t *evaluation_json(const struct evaluation *e, const struct dataset *test)
{
    json_t *root = json_pack("{s:I, s:f, s:f, s:o}", "memory_patches", (json_int_t)e->entries,
        "remember_seconds", e->remember_seconds, "score_seconds", e->score_seconds, "retrieval",
        scores_json(&e->nearest, e->nearest_iou, test));
    if (root && e->linear_iou)
        json_object_set_new(root, "linear_probe", scores_json(&e->linear, e->linear_iou, test));
    return root;
}

static json_t *side_json(const struct dataset *set, size_t pictures)
{
    return json_pack("{s:s, s:s, s:I}", "layout", set->layout->name, "first", set->list[0].picture,
        "pictures", (json_int_t)pictures);
}

struct json_t *evaluation_conditions(const struct frozen *frozen, const struct evaluation_options *o)
{
    const struct protocol *p = &o->protocol;
    json_t *rules = json_pack("{s:s, s:s, s:s, s:i, s:s, s:s, s:s, s:f}", "name", p->name, "resize",
        p->bytes ? "bilinear" : "bicubic", "label_pixel", p->floor_labels ? "floor" : "middle", "passes",
        p->passes, "memory", p->rare ? "rare" : "uniform", "void", p->void_is_zero ? "zero" : "ignore",
        "mean", p->matched ? "matched" : "occurring", "blue_deviation", p->blue_deviation);
    return json_pack("{s:o, s:i, s:i, s:I, s:f, s:I, s:s, s:I, s:o, s:o, s:s, s:s}", "protocol", rules,
        "size", frozen->size, "patch", frozen->patch, "neighbours",
        (json_int_t)(o->neighbours ? o->neighbours : 30), "temperature",
        o->temperature > 0 ? o->temperature : 0.02, "memory_bound", (json_int_t)o->memory_patches, "search",
        "exact", "classes", (json_int_t)o->test->classes, "remembered",
        side_json(o->runs[0].train, o->runs[0].count), "scored", side_json(o->test, o->test->count),
        "library", cribo_version(), "build", cribo_build_info());
}
