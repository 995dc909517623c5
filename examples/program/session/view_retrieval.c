/* See view_retrieval.h. */
#include "session/view_retrieval.h"

#include "pictures/augment.h"
#include "pictures/loader.h"

#include <cribo/evaluation.h>

#include <math.h>
#include <stdlib.h>

/* Larger than the epoch of any run, and not that of the showcase. */
static const uint64_t own_epoch = (UINT64_C(1) << 62) + 1;

/* Patches beside the right one that count: the place of a patch often lies between two of the other view. */
enum { REACH = 1 };

static size_t bytes_of(const struct view_retrieval *retrieval)
{
    return 3 * (size_t)retrieval->size * (size_t)retrieval->size;
}

static bool add_picture(struct view_retrieval *retrieval, const struct pictures *pictures, size_t id,
    uint64_t seed, float *workspace)
{
    size_t at = (size_t)retrieval->images;
    double draws[2 * AUGMENT_DRAWS], least = augment_least_side(&retrieval->recipe, retrieval->size);
    struct image image;
    struct problem ignored;
    if (!pictures_load(pictures, id, &image, 3, least, &ignored)) return false;
    loader_draws(seed, own_epoch, id, draws);
    bool made = true;
    for (int v = 0; v < 2 && made; v++)
        made = augment_view(&retrieval->recipe, &image, v ? VIEW_SECOND : VIEW_FIRST, retrieval->size,
            draws + v * AUGMENT_DRAWS, workspace, retrieval->views[v] + at * bytes_of(retrieval),
            &retrieval->crops[v][at], &ignored);
    image_free(&image);
    retrieval->images += made;
    return made;
}

static bool allocate(struct view_retrieval *retrieval, size_t most)
{
    size_t numbers = (size_t)retrieval->side * (size_t)retrieval->side * (size_t)retrieval->width;
    bool allocated = (retrieval->pixels = malloc(bytes_of(retrieval) * sizeof *retrieval->pixels));
    for (int v = 0; v < 2; v++)
        allocated = (retrieval->views[v] = malloc(most * bytes_of(retrieval))) &&
                    (retrieval->crops[v] = malloc(most * sizeof *retrieval->crops[v])) &&
                    (retrieval->features[v] = malloc(most * numbers * sizeof *retrieval->features[v])) &&
                    allocated;
    return allocated;
}

bool view_retrieval_make(struct view_retrieval *retrieval, const struct pictures *pictures,
    const struct recipe *recipe, const cribo_trainer_config *config, struct problem *problem)
{
    *retrieval = (struct view_retrieval){.recipe = *recipe,
        .size = (int)config->image_size,
        .side = (int)(config->image_size / config->patch_size),
        .width = config->width};
    size_t most = pictures->count < VIEW_RETRIEVAL_PICTURES ? pictures->count : VIEW_RETRIEVAL_PICTURES;
    float *workspace = malloc(augment_workspace(retrieval->size) * sizeof *workspace);
    bool made = workspace && allocate(retrieval, most);
    for (size_t i = 0; made && i < most; i++) {
        /* The first readable picture of each part of the list. */
        size_t first = i * pictures->count / most, end = (i + 1) * pictures->count / most;
        while (first < end && !add_picture(retrieval, pictures, first, (uint64_t)config->seed, workspace))
            first++;
    }
    free(workspace);
    return made || problem_no_memory(problem);
}

void view_retrieval_free(struct view_retrieval *retrieval)
{
    for (int v = 0; v < 2; v++) {
        free(retrieval->views[v]);
        free(retrieval->crops[v]);
        free(retrieval->features[v]);
    }
    free(retrieval->pixels);
    *retrieval = (struct view_retrieval){0};
}

static int64_t interval_of(int64_t total_steps)
{
    int64_t interval = total_steps / 30;
    return interval < 25 ? 25 : interval > 500 ? 500 : interval;
}

bool view_retrieval_is_due(int64_t step, int64_t total_steps)
{
    return step % interval_of(total_steps) == 0 || step == total_steps;
}

bool view_retrieval_is_conclusive(int64_t step, int64_t total_steps)
{
    int64_t interval = interval_of(total_steps), third = total_steps / 3;
    return step == (third + interval - 1) / interval * interval && step < total_steps;
}

static cribo_status compute_features(struct view_retrieval *retrieval, const struct frozen *frozen)
{
    size_t numbers = (size_t)retrieval->side * (size_t)retrieval->side * (size_t)retrieval->width;
    cribo_status status = CRIBO_OK;
    for (size_t i = 0; i < 2 * (size_t)retrieval->images && status == CRIBO_OK; i++) {
        size_t v = i % 2, image = i / 2;
        frozen_normalise(frozen, retrieval->views[v] + image * bytes_of(retrieval), retrieval->pixels);
        status = cribo_model_features(frozen->model, 1, retrieval->size, retrieval->size, retrieval->pixels,
            retrieval->features[v] + image * numbers, NULL, NULL);
    }
    return status;
}

bool view_retrieval_measure(struct view_retrieval *retrieval, const struct frozen *frozen, int threads,
    double *percent, struct problem *problem)
{
    int64_t asked = 0, found = 0;
    cribo_runtime runtime;
    *percent = NAN;
    if (retrieval->images == 0) return true;
    cribo_status status = cribo_runtime_init(&runtime, sizeof runtime);
    runtime.threads = threads;
    if (status == CRIBO_OK) status = compute_features(retrieval, frozen);
    if (status == CRIBO_OK)
        status = cribo_view_retrieval(retrieval->images, retrieval->side, retrieval->side, retrieval->width,
            retrieval->features[0], retrieval->features[1], retrieval->crops[0], retrieval->crops[1], REACH,
            &asked, &found, &runtime);
    if (asked > 0) *percent = 100 * (double)found / (double)asked;
    return status == CRIBO_OK ||
           problem_set(problem, "cannot measure view retrieval: %s", cribo_last_error());
}
