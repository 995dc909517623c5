/*
 * Speed of the clusterer at the published sizes: images per second end to end, and the time of every stage of
 * one image on one thread.
 *
 * clusterer [images [tokens_per_view [clusters [width [threads]]]]]; threads 0: all.
 */
#include "clustering/clusterer.h"
#include "clustering/positions.h"
#include "clustering/sinkhorn.h"
#include "cribo/clusterer.h"
#include "tensor/gemm_packed.h"
#include "tensor/rows.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct sizes {
    size_t images, tokens, clusters, width, threads;
} sizes;

static double now(void)
{
    struct timespec t;
    timespec_get(&t, TIME_UTC);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void check(cribo_status status)
{
    if (status == CRIBO_OK) return;
    fprintf(stderr, "%s\n", cribo_last_error());
    exit(1);
}

static void *allocate(size_t count, size_t size)
{
    void *memory = calloc(count, size);
    if (!memory) exit(1);
    return memory;
}

/* Tokens around 20 directions that follow the place, on two overlapping crops. */
static void make_batch(const sizes *s, float *tokens, float *positions)
{
    const size_t grid = (size_t)lround(sqrt((double)s->tokens));
    for (size_t i = 0; i < s->images * 2; i++) {
        float *positions_i = positions + i * s->tokens * 2, *tokens_i = tokens + i * s->tokens * s->width;
        double random[8];
        check(cribo_random_uniform(1, 0, i, 8, random));
        const cribo_crop crop = {
            100 * random[0], 100 * random[1], 150 + 150 * random[2], 150 + 150 * random[3], random[4] > 0.5};
        cb_patch_positions(&crop, grid, grid, 16, positions_i);
        for (size_t n = 0; n < s->tokens; n++) {
            int place = (int)(positions_i[2 * n] / 100) + 4 * (int)(positions_i[2 * n + 1] / 100);
            for (size_t d = 0; d < s->width; d++) {
                double noise = sin((double)(n * s->width + d) * 12.9898 + (double)i) * 43758.5453;
                tokens_i[n * s->width + d] =
                    (float)(sin((double)d * (place + 2)) + (noise - floor(noise)) - 0.5);
            }
        }
    }
}

static void time_runs(const sizes *s, const char *name, const float *tokens, const float *positions,
    const char *setting, const char *value)
{
    cribo_runtime runtime;
    cribo_clusterer_config config;
    cribo_clusterer *clusterer;
    check(cribo_runtime_init(&runtime, sizeof runtime));
    check(cribo_clusterer_config_init(&config, sizeof config));
    runtime.threads = (int64_t)s->threads;
    config.clusters = (int64_t)s->clusters;
    if (setting) check(cribo_clusterer_config_set(&config, setting, value));
    check(cribo_clusterer_create(
        &clusterer, &config, &runtime, (int64_t)s->images, (int64_t)s->tokens, (int64_t)s->width));

    int64_t *labels = allocate(s->images * 2 * s->tokens, sizeof *labels);
    float *objects = allocate(s->images * 2 * s->clusters * s->width, sizeof *objects);
    cribo_cluster_input input = {sizeof input, (int64_t)s->images, tokens, positions, NULL, 0};
    cribo_cluster_output output = {sizeof output, NULL, labels, NULL, objects};
    double best = INFINITY;
    for (int run = 0; run < 5; run++) {
        double begin = now();
        check(cribo_clusterer_run(clusterer, &input, &output));
        best = fmin(best, now() - begin);
    }
    printf("%-24s %8.1f images/s  %7.3f ms per image\n", name, (double)s->images / best,
        1e3 * best / (double)s->images);
    free(labels);
    free(objects);
    cribo_clusterer_free(clusterer);
}

/* The shortest time of a stage over a few runs, in microseconds. */
#define TIME_STAGE(name, times, prepare, stage) \
    do { \
        double best_ = INFINITY; \
        for (int go_ = 0; go_ < 20; go_++) { \
            prepare; \
            double begin_ = now(); \
            stage; \
            best_ = fmin(best_, now() - begin_); \
        } \
        printf("  %-22s %2d times %8.1f us\n", name, times, best_ * 1e6); \
    } while (0)

static void time_stages(const sizes *s, const float *tokens, const float *positions)
{
    const size_t joint = 2 * s->tokens, K = s->clusters, D = s->width;
    cb_runtime runtime;
    check(cb_runtime_begin(&runtime, NULL));
    (void)!cb_gemm_begin(&runtime);
    float *z = allocate(joint * D, 4), *means = allocate(K * D, 4), *g = allocate(K * joint, 4),
          *x = allocate(joint, 4);
    float *y = allocate(joint, 4), *scratch = allocate(2 * joint, 4), *mass = allocate(K, 4),
          *plan = allocate(K * joint, 4);
    float *distances = allocate(joint * joint, 4), *panels = allocate(cb_gemm_packed_size(joint, D), 4),
          *packed_means = allocate(cb_gemm_rows_size(K, D), 4);
    int32_t *labels = allocate(joint, sizeof *labels);
    uint8_t *changed = allocate(K, 1);
    memset(changed, 1, K);
    for (size_t i = 0; i < joint; i++) {
        x[i] = positions[2 * i];
        y[i] = positions[2 * i + 1];
        labels[i] = (int32_t)(i * 7 % K);
    }
    for (size_t k = 0; k < K; k++) mass[k] = 1 / (float)K;

    printf("stages of an image, one thread:\n");
    TIME_STAGE("normalise tokens", 1, (void)0,
        for (size_t i = 0; i < joint; i++) cb_normalise_row(z + i * D, tokens + i * D, D));
    TIME_STAGE("means", 5, (void)0,
        for (size_t i = 0; i < joint; i++) cb_rows()->add_scaled(
            means + (size_t)labels[i] * D, z + i * D, 1, D));
    cb_gemm_packed of_tokens;
    TIME_STAGE("pack tokens", 1, (void)0,
        of_tokens = cb_gemm_pack(NULL,
            (cb_gemm_packed){.form = CB_NT, .n = joint, .k = D, .b = cb_gemm_real(z, D), .bf16 = false},
            panels));
    const cb_gemm_rows rows = {K, cb_gemm_real(means, D), {plan, joint, false}};
    const cb_row_buffers memory = {packed_means, 0};
    const cb_gemm_job soft = {
        CB_NN, K, D, joint, cb_gemm_real(plan, joint), cb_gemm_real(z, D), {means, D, false}, false};
    TIME_STAGE("similarities", 5, (void)0, cb_gemm_in_tiles(NULL, &of_tokens, &rows, &memory, NULL));
    TIME_STAGE("nearest members", 5, (void)0, cb_nearest_members(g, x, y, labels, changed, joint, K));
    TIME_STAGE("positional normalisation", 5, cb_nearest_members(g, x, y, labels, changed, joint, K),
        cb_normalise_positional_cost(plan, g, joint, K, scratch));
    TIME_STAGE("cost range", 5, (void)0, (void)cb_find_cost_range(g, joint, K, scratch));
    TIME_STAGE("sinkhorn", 5, for (size_t i = 0; i < K * joint; i++) plan[i] = g[i],
        cb_sinkhorn(plan, joint, K, mass, ((cb_cost_range){0, 1}), 20, 5, scratch));
    TIME_STAGE("distances (soft)", 1, (void)0, cb_token_distances(distances, x, y, joint));
    TIME_STAGE("least products (soft)", 4, (void)0, cb_least_products(g, distances, plan, joint, K));
    TIME_STAGE("means (soft, gemm)", 4, (void)0, cb_gemm(NULL, &soft));
    cb_runtime_end(&runtime);
    free(z), free(means), free(g), free(x), free(y), free(scratch), free(mass), free(plan), free(distances),
        free(changed), free(labels), free(panels), free(packed_means);
}

static size_t argument(int count, char **arguments, int index, size_t otherwise)
{
    return count > index ? (size_t)strtoull(arguments[index], NULL, 10) : otherwise;
}

int main(int count, char **arguments)
{
    const sizes s = {argument(count, arguments, 1, 64), argument(count, arguments, 2, 196),
        argument(count, arguments, 3, 32), argument(count, arguments, 4, 384),
        argument(count, arguments, 5, 0)};
    float *tokens = allocate(s.images * 2 * s.tokens * s.width, sizeof *tokens);
    float *positions = allocate(s.images * 4 * s.tokens, sizeof *positions);
    make_batch(&s, tokens, positions);
    printf("N = %zu, K = %zu, D = %zu, %zu images\n", s.tokens, s.clusters, s.width, s.images);
    time_runs(&s, "hard", tokens, positions, NULL, NULL);
    time_runs(&s, "hard, cost of the batch", tokens, positions, "batch_cost", "1");
    time_runs(&s, "soft", tokens, positions, "hard_assignment", "0");
    time_stages(&s, tokens, positions);
    free(tokens);
    free(positions);
    return 0;
}
