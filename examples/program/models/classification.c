/* See classification.h. */
#include "models/classification.h"

#include "base/say.h"
#include "pictures/augment.h"
#include "pictures/folder.h"
#include "pictures/resample.h"

#include <cribo/evaluation.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The pictures under a root; the first folder of a path is the class. */
struct classes {
    char *root;
    struct folder folder;
};

/* The work under way. */
struct worker {
    const struct frozen *frozen;
    const struct classification_options *options;
    struct classes train, test;
    char **names; /* [classes], sorted */
    int classes;
    cribo_probe *probe;
    float *pixels, *feature, *shares;
    struct problem *problem;
};

/* The name of a picture's class, from malloc. */
static char *class_name(const struct classes *set, size_t index)
{
    const char *name = set->folder.paths[index] + strlen(set->root);
    name += strspn(name, "/");
    return strchr(name, '/') ? strndup(name, strcspn(name, "/")) : NULL;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Opens ROOT/half, or ROOT if `half` is NULL. */
static bool open_classes(struct classes *set, const char *root, const char *half, struct problem *problem)
{
    set->root = half ? path_join(root, half) : strdup(root);
    if (!set->root) return problem_no_memory(problem);
    return folder_list(&set->folder, set->root, problem) &&
           (set->folder.count || problem_set(problem, "%s: no pictures in it", set->root));
}

/* The classes are the folders of the pictures that are remembered. */
static bool find_names(struct worker *w)
{
    size_t count = w->train.folder.count;
    w->names = calloc(count, sizeof *w->names);
    if (!w->names) return problem_no_memory(w->problem);
    for (size_t i = 0; i < count; i++) {
        char *name = class_name(&w->train, i);
        if (!name)
            return problem_set(w->problem, "%s: it is in no folder of a class: %s/CLASS/picture is expected",
                w->train.folder.paths[i], w->train.root);
        if (w->classes && !strcmp(w->names[w->classes - 1], name)) {
            free(name);
            continue;
        }
        w->names[w->classes++] = name;
    }
    qsort(w->names, (size_t)w->classes, sizeof *w->names, compare_names);
    if (w->classes > 1) return true;
    return problem_set(
        w->problem, "%s: pictures of one class only, so every answer would be right", w->train.root);
}

static int class_of(const struct worker *w, const struct classes *set, size_t index)
{
    char *name = class_name(set, index);
    char **found =
        name ? bsearch(&name, w->names, (size_t)w->classes, sizeof *w->names, compare_names) : NULL;
    free(name);
    return found ? (int)(found - w->names) : -1;
}

static bool make_room(struct worker *w)
{
    size_t plane = (size_t)w->frozen->size * (size_t)w->frozen->size;
    cribo_probe_config config;
    cribo_runtime runtime;
    w->pixels = malloc(3 * plane * sizeof *w->pixels);
    w->feature = malloc((size_t)w->frozen->width * sizeof *w->feature);
    w->shares = malloc((size_t)w->classes * sizeof *w->shares);
    if (!w->pixels || !w->feature || !w->shares) return problem_no_memory(w->problem);
    if (cribo_probe_config_init(&config, sizeof config) != CRIBO_OK) return problem_library(w->problem);
    config.width = w->frozen->width;
    config.classes = w->classes;
    config.ignore_label = -1;
    config.neighbours = w->options->neighbours ? w->options->neighbours : 20;
    config.temperature = w->options->temperature > 0 ? w->options->temperature : 0.07;
    return frozen_runtime(&(struct frozen_options){.threads = w->options->threads}, &runtime, w->problem) &&
           (cribo_probe_create(&w->probe, &config, &runtime) == CRIBO_OK || problem_library(w->problem));
}

static void release(struct worker *w)
{
    for (int c = 0; c < w->classes; c++) free(w->names[c]);
    free(w->names);
    folder_free(&w->train.folder);
    folder_free(&w->test.folder);
    free(w->train.root);
    free(w->test.root);
    cribo_probe_free(w->probe);
    free(w->pixels);
    free(w->feature);
    free(w->shares);
}

/* The middle of the picture whose short side has become 8/7 of the size, in bytes, normalised. */
static bool cut_middle(
    const struct frozen *frozen, const struct image *image, float *pixels, struct problem *problem)
{
    const double *mean = frozen->recipe.mean, *deviation = frozen->recipe.deviation;
    int size = frozen->size, side = (int)lround(size * 8 / 7.0);
    int shorter = image->width < image->height ? image->width : image->height;
    int width = (int)((double)side * image->width / shorter),
        height = (int)((double)side * image->height / shorter);
    int left = (int)lround((width - size) / 2.0), top = (int)lround((height - size) / 2.0);
    size_t plane = (size_t)size * (size_t)size;
    float *resized = malloc(3 * (size_t)width * (size_t)height * sizeof *resized);
    if (!resized) return problem_no_memory(problem);
    struct box whole = {0, 0, image->width, image->height};
    bool made = resample(image, whole, width, height, resized, problem);
    for (size_t i = 0; made && i < plane; i++) {
        size_t y = (size_t)top + i / (size_t)size, x = (size_t)left + i % (size_t)size;
        const float *colour = resized + 3 * (y * (size_t)width + x);
        for (size_t c = 0; c < 3; c++)
            pixels[c * plane + i] = (float)((lrintf(colour[c]) / 255.0 - mean[c]) / deviation[c]);
    }
    free(resized);
    return made;
}

static bool find_feature(struct worker *w, const char *path)
{
    struct image image;
    const struct frozen *frozen = w->frozen;
    if (!frozen_load(frozen, &image, path, w->problem)) return false;
    bool made = cut_middle(frozen, &image, w->pixels, w->problem);
    image_free(&image);
    return made && (cribo_model_features(frozen->model, 1, frozen->size, frozen->size, w->pixels, NULL,
                        w->feature, NULL) == CRIBO_OK ||
                       problem_library(w->problem));
}

static cribo_patch_maps one_row(const struct worker *w)
{
    return (cribo_patch_maps){sizeof(cribo_patch_maps), 1, 1, 1, w->feature, 1, 1};
}

static bool remember(struct worker *w)
{
    const struct folder *folder = &w->train.folder;
    for (size_t i = 0; i < folder->count; i++) {
        int32_t class = class_of(w, &w->train, i);
        cribo_patch_maps maps = one_row(w);
        if (!find_feature(w, folder->paths[i])) return false;
        if (cribo_probe_add(w->probe, &maps, &class) != CRIBO_OK) return problem_library(w->problem);
        if (w->options->say && (i + 1 == folder->count || say_on_terminal()))
            say_progress("remembering: %zu of %zu pictures", i + 1, folder->count);
    }
    if (w->options->say) say_progress_end();
    return true;
}

/*
 * The number of classes before the true one: those with a greater share, or an equal share and a lower
 * number.
 */
static int rank_of(const struct worker *w, int truth)
{
    int before = 0;
    for (int c = 0; c < w->classes; c++)
        before += w->shares[c] > w->shares[truth] || (w->shares[c] == w->shares[truth] && c < truth);
    return before;
}

static bool score(struct worker *w, struct classification *result)
{
    const struct folder *folder = &w->test.folder;
    size_t first = 0, five = 0;
    for (size_t i = 0; i < folder->count; i++) {
        int truth = class_of(w, &w->test, i);
        cribo_patch_maps maps = one_row(w);
        if (truth < 0)
            return problem_set(
                w->problem, "%s: its folder is no class of %s", folder->paths[i], w->train.root);
        if (!find_feature(w, folder->paths[i])) return false;
        if (cribo_probe_predict(w->probe, CRIBO_PROBE_NEAREST, &maps, w->shares, NULL) != CRIBO_OK)
            return problem_library(w->problem);
        first += rank_of(w, truth) < 1;
        five += rank_of(w, truth) < 5;
        if (w->options->say && (i + 1 == folder->count || say_on_terminal()))
            say_progress("scoring: %zu of %zu pictures", i + 1, folder->count);
    }
    if (w->options->say) say_progress_end();
    *result = (struct classification){.classes = w->classes,
        .remembered = w->train.folder.count,
        .scored = folder->count,
        .first = (double)first / (double)folder->count,
        .first_five = (double)five / (double)folder->count};
    return true;
}

bool classification_evaluate(struct classification *result, const struct frozen *frozen,
    const struct classification_options *options, struct problem *problem)
{
    struct worker w = {.frozen = frozen, .options = options, .problem = problem};
    const char *test = options->test ? options->test : options->train;
    bool done = open_classes(&w.train, options->train, options->test ? NULL : "train", problem) &&
                open_classes(&w.test, test, options->test ? NULL : "val", problem) && find_names(&w) &&
                make_room(&w) && remember(&w) && score(&w, result);
    release(&w);
    return done;
}
