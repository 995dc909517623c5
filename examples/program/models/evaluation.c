/* See evaluation.h. */
#include "models/evaluation.h"

#include "base/say.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <jansson.h>

enum { GROUP = 1024 }; /* patches that go to the probe at a time, about: what its search takes at once */

/* An evaluation under way, with room for a group of pictures. */
struct bench {
    const struct frozen *frozen;
    const struct evaluation_options *options;
    cribo_probe *probe;
    size_t group;           /* pictures */
    float *pixels;          /* [3, size, size] of one */
    float *features;        /* [group, N, D] */
    int32_t *truth, *found; /* [group, size, size] */
    int64_t *confusion[2];  /* [classes, classes] by neighbours, by the linear layer */
    struct evaluation *evaluation;
    struct problem *problem;
};

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static bool library_failed(struct problem *problem)
{
    return problem_set(problem, "%s", cribo_last_error());
}

static bool make_probe(struct bench *bench)
{
    const struct evaluation_options *options = bench->options;
    cribo_probe_config config;
    cribo_runtime runtime;
    if (cribo_probe_config_init(&config, sizeof config) != CRIBO_OK ||
        cribo_runtime_init(&runtime, sizeof runtime) != CRIBO_OK)
        return library_failed(bench->problem);
    config.width = bench->frozen->width;
    config.classes = options->test->classes;
    config.ignore_label = NO_LABEL;
    config.memory_patches = options->memory_patches;
    config.seed = options->seed;
    if (options->neighbours) config.neighbours = options->neighbours;
    if (options->temperature > 0) config.temperature = options->temperature;
    runtime.threads = options->threads;
    return cribo_probe_create(&bench->probe, &config, &runtime) == CRIBO_OK || library_failed(bench->problem);
}

static bool make_room(struct bench *bench)
{
    size_t tokens = frozen_tokens(bench->frozen), width = (size_t)bench->frozen->width;
    size_t plane = (size_t)bench->frozen->size * (size_t)bench->frozen->size;
    size_t classes = (size_t)bench->options->test->classes;
    bench->group = tokens < GROUP ? GROUP / tokens : 1;
    bench->pixels = malloc(3 * plane * sizeof *bench->pixels);
    bench->features = malloc(bench->group * tokens * width * sizeof *bench->features);
    bench->truth = malloc(bench->group * plane * sizeof *bench->truth);
    bench->found = malloc(bench->group * plane * sizeof *bench->found);
    for (int i = 0; i < 2; i++) bench->confusion[i] = calloc(classes * classes, sizeof *bench->confusion[i]);
    return (bench->pixels && bench->features && bench->truth && bench->found && bench->confusion[0] &&
               bench->confusion[1]) ||
           problem_set(bench->problem, "no memory for the evaluation");
}

static void release(struct bench *bench)
{
    cribo_probe_free(bench->probe);
    free(bench->pixels);
    free(bench->features);
    free(bench->truth);
    free(bench->found);
    for (int i = 0; i < 2; i++) free(bench->confusion[i]);
}

/* Features and labels of picture `index` into place `at` of the group. */
static bool read_picture(struct bench *bench, const struct dataset *set, size_t index, size_t at)
{
    const struct frozen *frozen = bench->frozen;
    size_t plane = (size_t)frozen->size * (size_t)frozen->size;
    struct image image;
    if (!dataset_picture(set, index, 2.0 * frozen->size, &image, bench->problem)) return false;
    bool read =
        dataset_labels(set, index, &image, NULL, frozen->size, bench->truth + at * plane, bench->problem) &&
        frozen_pixels(frozen, &image, bench->pixels, bench->problem);
    image_free(&image);
    float *features = bench->features + at * frozen_tokens(frozen) * (size_t)frozen->width;
    return read && (cribo_model_features(frozen->model, 1, frozen->size, frozen->size, bench->pixels,
                        features, NULL, NULL) == CRIBO_OK ||
                       library_failed(bench->problem));
}

static void count_classes(const struct bench *bench, size_t pixels, int64_t *counts)
{
    for (size_t i = 0; i < pixels; i++)
        if (bench->truth[i] != NO_LABEL) counts[bench->truth[i]]++;
}

static bool score_group(struct bench *bench, const cribo_patch_maps *maps)
{
    int64_t classes = bench->options->test->classes, pixels = maps->images * maps->height * maps->width;
    count_classes(bench, (size_t)pixels, bench->evaluation->scored);
    for (int reader = CRIBO_PROBE_NEAREST; reader <= (bench->options->linear ? CRIBO_PROBE_LINEAR : 0);
        reader++)
        if (cribo_probe_predict(bench->probe, reader, maps, NULL, bench->found) != CRIBO_OK ||
            cribo_confusion_add(
                classes, NO_LABEL, pixels, bench->truth, bench->found, bench->confusion[reader]) != CRIBO_OK)
            return library_failed(bench->problem);
    return true;
}

static bool remember_group(struct bench *bench, const cribo_patch_maps *maps)
{
    count_classes(bench, (size_t)(maps->images * maps->height * maps->width), bench->evaluation->remembered);
    return cribo_probe_add(bench->probe, maps, bench->truth) == CRIBO_OK || library_failed(bench->problem);
}

/* Shows all pictures of a set to the model, and hands them on group by group. */
static bool walk(struct bench *bench, const struct dataset *set, const char *what,
    bool (*take)(struct bench *, const cribo_patch_maps *))
{
    const struct frozen *frozen = bench->frozen;
    double said = now();
    for (size_t first = 0; first < set->count; first += bench->group) {
        size_t count = set->count - first < bench->group ? set->count - first : bench->group;
        for (size_t i = 0; i < count; i++)
            if (!read_picture(bench, set, first + i, i)) return false;
        cribo_patch_maps maps = {sizeof maps, (int64_t)count, frozen->side, frozen->side, bench->features,
            frozen->size, frozen->size};
        if (!take(bench, &maps)) return false;
        bool last = first + count == set->count;
        if (!bench->options->say || !(last || say_on_terminal() || now() - said >= 10)) continue;
        said = now();
        say_progress("%s: %zu of %zu pictures", what, first + count, set->count);
    }
    if (bench->options->say) say_progress_end();
    return true;
}

static bool scores_of(
    int classes, const int64_t *confusion, double **iou, cribo_scores *scores, struct problem *problem)
{
    *scores = (cribo_scores){.struct_size = sizeof *scores};
    *iou = malloc((size_t)classes * sizeof **iou);
    if (!*iou) return problem_set(problem, "no memory for scores");
    return cribo_confusion_scores(classes, confusion, *iou, scores) == CRIBO_OK || library_failed(problem);
}

static int count_present(const int64_t *counts, int classes)
{
    int present = 0;
    for (int c = 0; c < classes; c++) present += counts[c] != 0;
    return present;
}

static bool check_memory(const struct bench *bench)
{
    const struct dataset *train = bench->options->train;
    int present = count_present(bench->evaluation->remembered, bench->evaluation->classes);
    if (present == 0)
        return problem_set(bench->problem,
            "nothing to remember: none of the %zu label maps (%s, ...) has a pixel with a class; label 255 "
            "counts nowhere",
            train->count, train->list[0].labels);
    return present > 1 ||
           problem_set(bench->problem,
               "all labels that count in the %zu label maps of the memory (%s, ...) are of one class, so "
               "every prediction would be right; label 255 counts nowhere: of a mask, store the object as 1",
               train->count, train->list[0].labels);
}

static bool measure(struct bench *bench, struct evaluation *evaluation)
{
    const struct evaluation_options *options = bench->options;
    double began = now();
    if (!walk(bench, options->train, "remembering", remember_group)) return false;
    if (cribo_probe_count(bench->probe, &evaluation->entries) != CRIBO_OK)
        return library_failed(bench->problem);
    if (!check_memory(bench)) return false;
    double remembered = now();
    if (options->linear && cribo_probe_fit(bench->probe, NULL) != CRIBO_OK)
        return library_failed(bench->problem);
    double fitted = now();
    if (!walk(bench, options->test, "scoring", score_group)) return false;
    if (count_present(evaluation->scored, evaluation->classes) == 0)
        return problem_set(bench->problem,
            "nothing to score: none of the %zu label maps (%s, ...) has a pixel with a class; label 255 "
            "counts nowhere",
            options->test->count, options->test->list[0].labels);
    evaluation->remember_seconds = remembered - began;
    evaluation->fit_seconds = fitted - remembered;
    evaluation->score_seconds = now() - fitted;
    return scores_of(evaluation->classes, bench->confusion[0], &evaluation->nearest_iou, &evaluation->nearest,
               bench->problem) &&
           (!options->linear || scores_of(evaluation->classes, bench->confusion[1], &evaluation->linear_iou,
                                    &evaluation->linear, bench->problem));
}

static bool make_counts(struct evaluation *evaluation, struct problem *problem)
{
    size_t classes = (size_t)evaluation->classes;
    evaluation->remembered = calloc(classes, sizeof *evaluation->remembered);
    evaluation->scored = calloc(classes, sizeof *evaluation->scored);
    return (evaluation->remembered && evaluation->scored) || problem_set(problem, "no memory for counts");
}

bool evaluate(struct evaluation *evaluation, const struct frozen *frozen,
    const struct evaluation_options *options, struct problem *problem)
{
    struct bench bench = {.frozen = frozen, .options = options, .evaluation = evaluation, .problem = problem};
    *evaluation = (struct evaluation){.classes = options->test->classes};
    bool done = make_counts(evaluation, problem) && make_probe(&bench) && make_room(&bench) &&
                measure(&bench, evaluation);
    release(&bench);
    if (!done) evaluation_free(evaluation);
    return done;
}

void evaluation_free(struct evaluation *evaluation)
{
    free(evaluation->nearest_iou);
    free(evaluation->linear_iou);
    free(evaluation->remembered);
    free(evaluation->scored);
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
