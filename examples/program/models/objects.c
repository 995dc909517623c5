/* See objects.h. */
#include "models/objects.h"

#include <stdlib.h>

/* The clusterer's settings are the trainer's of the same names. */
static bool make_clusterer(
    struct object_finder *finder, const cribo_runtime *runtime, struct problem *problem)
{
    const cribo_trainer_config *from = &finder->frozen->config;
    cribo_clusterer_config config;
    if (cribo_clusterer_config_init(&config, sizeof config) != CRIBO_OK) return problem_library(problem);
    config.clusters = from->clusters;
    config.position_weight = from->position_weight_final;
    config.sinkhorn_lambda = from->sinkhorn_lambda;
    config.sinkhorn_iterations = from->sinkhorn_iterations;
    config.cluster_iterations = from->cluster_iterations;
    config.update_marginal = from->update_marginal;
    config.hard_assignment = from->hard_assignment;
    config.seed = from->seed;
    return cribo_clusterer_create(&finder->clusterer, &config, runtime, 1,
               (int64_t)frozen_tokens(finder->frozen), finder->frozen->width) == CRIBO_OK ||
           problem_library(problem);
}

bool object_finder_make(struct object_finder *finder, const struct frozen *frozen,
    const cribo_runtime *runtime, struct problem *problem)
{
    size_t tokens = frozen_tokens(frozen), plane = (size_t)frozen->size * (size_t)frozen->size;
    *finder = (struct object_finder){.frozen = frozen};
    finder->pixels = malloc(3 * plane * sizeof(float));
    finder->tokens = malloc(2 * tokens * (size_t)frozen->width * sizeof(float));
    finder->positions = malloc(2 * tokens * 2 * sizeof(float));
    if (!finder->pixels || !finder->tokens || !finder->positions) return problem_no_memory(problem);
    return make_clusterer(finder, runtime, problem);
}

void object_finder_free(struct object_finder *finder)
{
    cribo_clusterer_free(finder->clusterer);
    free(finder->pixels);
    free(finder->tokens);
    free(finder->positions);
    *finder = (struct object_finder){0};
}

/* Centres of a view's patches in pixels of the picture, equal to those of the trainer. */
static void place_patches(const struct frozen *frozen, const cribo_crop *crop, float *positions)
{
    int side = frozen->side;
    for (int i = 0; i < side * side; i++) {
        int column = crop->flipped ? side - 1 - i % side : i % side;
        positions[2 * i] = (float)(crop->x + (column + 0.5) * crop->width / side - 0.5);
        positions[2 * i + 1] = (float)(crop->y + (i / side + 0.5) * crop->height / side - 0.5);
    }
}

bool object_finder_run(struct object_finder *finder, const uint8_t *const views[2], const cribo_crop crops[2],
    uint64_t call, const struct found_objects *found, struct problem *problem)
{
    const struct frozen *frozen = finder->frozen;
    size_t tokens = frozen_tokens(frozen);
    for (size_t v = 0; v < 2; v++) {
        frozen_normalise(frozen, views[v], finder->pixels);
        float *dense = finder->tokens + v * tokens * (size_t)frozen->width;
        if (cribo_model_features(
                frozen->model, 1, frozen->size, frozen->size, finder->pixels, dense, NULL, NULL) != CRIBO_OK)
            return problem_library(problem);
        place_patches(frozen, &crops[v], finder->positions + v * tokens * 2);
    }
    cribo_cluster_input input = {.struct_size = sizeof input,
        .images = 1,
        .tokens = finder->tokens,
        .positions = finder->positions,
        .call = call};
    cribo_cluster_output output = {.struct_size = sizeof output,
        .labels = found->labels,
        .valid = found->valid,
        .objects = found->vectors};
    return cribo_clusterer_run(finder->clusterer, &input, &output) == CRIBO_OK || problem_library(problem);
}
