/* See frozen.h. */
#include "models/frozen.h"

#include "models/weights.h"
#include "pictures/augment.h"
#include "base/arguments.h"
#include "models/plain_features.h"
#include "pictures/folder.h"
#include "pictures/resample.h"
#include "base/say.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <jansson.h>

enum {
    KEY_PRESET = 512,
    KEY_MODEL,
    KEY_PREFIX,
    KEY_STUDENT,
    KEY_BEST,
    KEY_SIZE,
    KEY_THREADS,
    KEY_MEAN,
    KEY_DEVIATION
};

static const struct argp_option options[] = {
    {"preset", KEY_PRESET, "NAME", 0,
        "Settings of the clustering for a file of weights that has none: tiny, small, base, or the name of a "
        "published run",
        10},
    {"model", KEY_MODEL, "NAME=VALUE,...", 0,
        "Settings of the model in place of those found in the file, such as heads=12; cribo info FILE lists "
        "them",
        10},
    {"prefix", KEY_PREFIX, "TEXT", 0,
        "Prefix of the names of the model's parameters in the file; default: found, the teacher's where the "
        "file has student and teacher",
        10},
    {"student", KEY_STUDENT, NULL, 0, "Use the student instead of the teacher", 10},
    {"best", KEY_BEST, NULL, 0,
        "Use the weights of the run with the best evaluation (best.safetensors) instead of the newest", 10},
    {"size", KEY_SIZE, "PIXELS", 0,
        "Side in pixels to which pictures are resized; default: the training's image_size", 10},
    {"mean", KEY_MEAN, "R,G,B", 0,
        "Mean of red, green and blue (0 ... 1) that is subtracted from the pixels; default: the run's, or "
        "ImageNet's",
        10},
    {"deviation", KEY_DEVIATION, "R,G,B", 0,
        "Deviation of red, green and blue by which the pixels are divided; default: the run's, or ImageNet's",
        10},
    {"threads", KEY_THREADS, "N", 0,
        "Number of compute threads; default: the CPUs. Results do not depend on it", 10},
    {"quiet", 'q', NULL, 0, "Print warnings and errors only", 10},
    {0},
};

static error_t parse(int key, char *value, struct argp_state *state)
{
    struct frozen_options *chosen = state->input;
    switch (key) {
    case KEY_PRESET: chosen->preset = value; return 0;
    case KEY_MODEL: chosen->settings = value; return 0;
    case KEY_PREFIX: chosen->prefix = value; return 0;
    case KEY_STUDENT: chosen->prefix = "student."; return 0;
    case KEY_BEST: chosen->best = true; return 0;
    case KEY_SIZE: chosen->size = (int)command_integer(state, "size", value, 1, 16384); return 0;
    case KEY_THREADS: chosen->threads = (int)command_integer(state, "threads", value, 1, 256); return 0;
    case KEY_MEAN: chosen->mean = value; return 0;
    case KEY_DEVIATION: chosen->deviation = value; return 0;
    case 'q': say_quiet(true); return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

const struct argp frozen_argp = {.options = options, .parser = parse};

/* The settings that a run's config.json has. */
static bool read_settings(cribo_trainer_config *config, const char *path, struct problem *problem)
{
    json_error_t error;
    json_t *root = json_load_file(path, 0, &error), *value;
    json_t *settings = json_object_get(root, "settings");
    const char *name;
    bool read =
        json_is_object(settings) || problem_set(problem, "%s: no settings of a run: %s", path, error.text);
    if (read) json_object_foreach(settings, name, value)
        {
            char text[64];
            if (json_is_integer(value))
                snprintf(text, sizeof text, "%lld", (long long)json_integer_value(value));
            else
                snprintf(text, sizeof text, "%.17g", json_number_value(value));
            if (cribo_trainer_config_set(config, name, text) != CRIBO_OK)
                read = problem_set(problem, "%s: %s", path, cribo_last_error());
        }
    json_decref(root);
    return read;
}

/* Refuses a path that does not exist, or a folder without a run, before anything is read. */
static bool check_model(const char *path, struct problem *problem)
{
    struct stat status;
    char *settings = path_join(path, "config.json");
    bool folder = stat(path, &status) == 0 && S_ISDIR(status.st_mode),
         there = settings && access(settings, F_OK) == 0;
    free(settings);
    if (access(path, F_OK))
        return problem_set(problem,
            "%s: %s; a MODEL is the folder of a run, one of its checkpoints, or a file of weights", path,
            strerror(errno));
    return !folder || there ||
           problem_set(problem, "%s: not the folder of a run: it has no config.json", path);
}

/* The newest or the best weights of a run; to be freed, NULL after a problem. */
static char *choose_weights(const struct frozen_options *chosen, struct problem *problem)
{
    char *path = path_join(chosen->path, chosen->best ? "best.safetensors" : "weights.safetensors");
    if (!path) problem_no_memory(problem);
    if (!path || !chosen->best || access(path, F_OK) == 0) return path;
    problem_set(problem, "%s: %s; a run has it after an evaluation (cribo pretrain --evaluate)", path,
        strerror(errno));
    free(path);
    return NULL;
}

/* Settings and weights of a run's folder or a file. *weights is to be freed. */
static bool find_parts(const struct frozen_options *chosen, cribo_trainer_config *config, char **weights,
    struct problem *problem)
{
    struct stat status;
    *weights = NULL;
    if (cribo_trainer_config_init(config, sizeof *config) != CRIBO_OK) return problem_library(problem);
    if (stat(chosen->path, &status) == 0 && S_ISDIR(status.st_mode)) {
        char *settings = path_join(chosen->path, "config.json");
        bool read = settings && read_settings(config, settings, problem);
        free(settings);
        return read && (*weights = choose_weights(chosen, problem));
    }
    if (chosen->best) return problem_set(problem, "%s: --best applies to the folder of a run", chosen->path);
    *weights = strdup(chosen->path);
    if (!*weights) return problem_no_memory(problem);
    if (chosen->preset)
        return cribo_trainer_config_preset(config, chosen->preset) == CRIBO_OK || problem_library(problem);
    cribo_trainer_config found = *config;
    if (cribo_checkpoint_config(chosen->path, &found) == CRIBO_OK) *config = found;
    return true; /* a file of another origin: the settings of the clustering are the defaults */
}

/* The settings of the transformer in the trainer's struct are those of the model that was opened. */
static bool adopt_settings(cribo_trainer_config *config, const cribo_model_config *model)
{
    config->image_size = model->image_size;
    config->patch_size = model->patch_size;
    config->width = model->width;
    config->depth = model->depth;
    config->heads = model->heads;
    config->mlp_ratio = model->mlp_ratio;
    return true;
}

bool frozen_runtime(const struct frozen_options *chosen, cribo_runtime *runtime, struct problem *problem)
{
    if (cribo_runtime_init(runtime, sizeof *runtime) != CRIBO_OK) return problem_library(problem);
    runtime->threads = chosen->threads;
    return true;
}

static bool load(
    struct frozen *frozen, const struct frozen_options *chosen, const char *weights, struct problem *problem)
{
    cribo_model_config settings;
    cribo_runtime runtime;
    const cribo_open_options how = {
        .struct_size = sizeof how, .prefix = chosen->prefix, .settings = chosen->settings};
    if (!frozen_runtime(chosen, &runtime, problem)) return false;
    if (cribo_model_config_init(&settings, sizeof settings) != CRIBO_OK ||
        cribo_model_config_from_file(weights, &how, &settings) != CRIBO_OK ||
        cribo_model_open(&frozen->model, weights, &how, &runtime) != CRIBO_OK)
        return problem_library(problem);
    return adopt_settings(&frozen->config, &settings);
}

static void set_size(struct frozen *frozen, int size)
{
    frozen->size = size ? size : (int)frozen->config.image_size;
    frozen->patch = (int)frozen->config.patch_size;
    frozen->side = frozen->size / frozen->patch;
    frozen->width = frozen->config.width;
    frozen->heads = frozen->config.heads;
}

static bool set_normalisation(
    struct recipe *recipe, const struct frozen_options *chosen, struct problem *problem)
{
    return (!chosen->mean || recipe_set(recipe, "mean", chosen->mean, problem)) &&
           (!chosen->deviation || recipe_set(recipe, "deviation", chosen->deviation, problem));
}

bool frozen_open(struct frozen *frozen, const struct frozen_options *chosen, struct problem *problem)
{
    char *weights = NULL;
    *frozen = (struct frozen){.recipe = recipe_published()};
    if (!check_model(chosen->path, problem)) return false;
    bool opened = find_parts(chosen, &frozen->config, &weights, problem) &&
                  weights_recipe(&frozen->recipe, chosen->path, problem) &&
                  set_normalisation(&frozen->recipe, chosen, problem) &&
                  load(frozen, chosen, weights, problem);
    free(weights);
    set_size(frozen, chosen->size);
    if (opened && frozen->size % frozen->patch)
        opened = problem_set(problem, "--size=%d: the model's patches of %d pixels do not divide it",
            frozen->size, frozen->patch);
    if (!opened) frozen_free(frozen);
    return opened;
}

struct frozen frozen_of(cribo_model *model, const cribo_trainer_config *config, const struct recipe *recipe)
{
    struct frozen frozen = {.model = model, .config = *config, .recipe = *recipe};
    set_size(&frozen, 0);
    return frozen;
}

struct frozen frozen_plain(const struct frozen *frozen)
{
    struct frozen plain = *frozen;
    plain.model = NULL;
    plain.width = PLAIN_WIDTH;
    for (int c = 0; c < 3; c++) plain.recipe.mean[c] = 0, plain.recipe.deviation[c] = 1;
    return plain;
}

void frozen_free(struct frozen *frozen)
{
    cribo_model_free(frozen->model);
    *frozen = (struct frozen){0};
}

size_t frozen_tokens(const struct frozen *frozen)
{
    return (size_t)frozen->side * (size_t)frozen->side;
}

bool frozen_bytes(
    const struct frozen *frozen, const struct image *image, uint8_t *bytes, struct problem *problem)
{
    size_t plane = (size_t)frozen->size * (size_t)frozen->size;
    float *resized = malloc(3 * plane * sizeof *resized);
    if (!resized) return problem_no_memory(problem);
    struct box whole = {0, 0, image->width, image->height};
    bool made = resample(image, whole, frozen->size, frozen->size, resized, problem);
    for (size_t i = 0; made && i < plane; i++)
        for (size_t c = 0; c < 3; c++) bytes[c * plane + i] = (uint8_t)lrintf(resized[3 * i + c]);
    free(resized);
    return made;
}

void frozen_normalise(const struct frozen *frozen, const uint8_t *bytes, float *pixels)
{
    const double *mean = frozen->recipe.mean, *deviation = frozen->recipe.deviation;
    size_t plane = (size_t)frozen->size * (size_t)frozen->size;
    for (size_t c = 0; c < 3; c++)
        for (size_t i = 0; i < plane; i++)
            pixels[c * plane + i] = (float)((bytes[c * plane + i] / 255.0 - mean[c]) / deviation[c]);
}

bool frozen_pixels(
    const struct frozen *frozen, const struct image *image, float *pixels, struct problem *problem)
{
    uint8_t *bytes = malloc(3 * (size_t)frozen->size * (size_t)frozen->size);
    bool made = bytes ? frozen_bytes(frozen, image, bytes, problem) : problem_no_memory(problem);
    if (made) frozen_normalise(frozen, bytes, pixels);
    free(bytes);
    return made;
}

bool frozen_load(const struct frozen *frozen, struct image *image, const char *path, struct problem *problem)
{
    struct problem why;
    return image_load(image, path, 3, 2.0 * frozen->size, &why) ||
           problem_set(problem, "%s: %s", path, why.text);
}

bool frozen_load_listed(const struct frozen *frozen, struct image *image, const struct pictures *pictures,
    size_t index, struct problem *problem)
{
    struct problem why;
    char name[512];
    if (pictures_load(pictures, index, image, 3, 2.0 * frozen->size, &why)) return true;
    pictures_name(pictures, index, name, sizeof name);
    return problem_set(problem, "%s: %s", name, why.text);
}
