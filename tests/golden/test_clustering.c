/*
 * The clusterer against the authors' code: all variants and runs of the golden data, end to end and piece by
 * piece.
 */
#include "clustering/clusterer.h"
#include "clustering/positions.h"
#include "clustering/sinkhorn.h"
#include "support/golden.h"
#include "support/suite.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const files[] = {"clustering_empty_clusters", "clustering_low_overlap",
    "clustering_n196_d384_k64", "clustering_n196_d64_k32", "clustering_n49_d32_k8", "clustering_same_crop"};
static const char *const variants[] = {"hard_updatec", "hard_fixedc", "soft_updatec", "soft_fixedc"};
enum { FILES = 6, VARIANTS = 4 };

/* One run of a file: all of its images, or one of them. */
typedef struct golden_run {
    golden *file;
    char name[64]; /* VARIANT.RUN */
    bool hard, update, together;
    size_t first, images;
    size_t tokens, width, clusters;
    cb_runtime runtime;
    cb_clusterer *clusterer;
    cb_cluster_job job;
} golden_run;

static cribo_clusterer_config config_of(const golden_run *run, int64_t repetitions)
{
    cribo_clusterer_config config;
    ck_assert_int_eq(cb_config_init(&cb_clusterer_settings, &config, sizeof config), CRIBO_OK);
    config.clusters = (int64_t)run->clusters;
    config.sinkhorn_lambda = golden_number(run->file, "sinkhorn_lambda");
    config.sinkhorn_iterations = golden_integer(run->file, "sinkhorn_iterations");
    config.cluster_iterations = repetitions;
    config.update_marginal = run->update;
    config.hard_assignment = run->hard;
    config.batch_cost = run->together;
    return config;
}

/* Clusters `repetitions` times; ends with end_run. */
static golden_run begin_run(
    golden *file, const char *variant, size_t image, bool together, int64_t repetitions)
{
    golden_run run = {.file = file, .together = together, .first = together ? 0 : image};
    snprintf(run.name, sizeof run.name, together ? "%s.batch" : "%s.image%zu", variant, image);
    run.hard = strncmp(variant, "hard", 4) == 0;
    run.update = strstr(variant, "updatec") != NULL;
    run.images = together ? (size_t)golden_integer(file, "batch") : 1;
    run.tokens = (size_t)golden_integer(file, "tokens_per_view");
    run.width = (size_t)golden_integer(file, "dim");
    run.clusters = (size_t)golden_integer(file, "clusters");

    const cribo_clusterer_config config = config_of(&run, repetitions);
    ck_assert_int_eq(cb_runtime_begin(&run.runtime, NULL), CRIBO_OK);
    ck_assert_int_eq(
        cb_clusterer_create(&run.runtime, &run.clusterer, &config, run.images, run.tokens, run.width),
        CRIBO_OK);
    const float *tokens = golden_floats(file, NULL, "tokens") + run.first * 2 * run.tokens * run.width;
    run.job = (cb_cluster_job){
        .images = run.images,
        .view = {tokens, tokens + run.tokens * run.width},
        .image_stride = 2 * run.tokens * run.width,
        .positions = golden_floats(file, NULL, "positions") + run.first * 4 * run.tokens,
        .seed_tokens = golden_integers(file, NULL, "init_index") + run.first * run.clusters,
        .position_weight = golden_number(file, "pos_alpha"),
    };
    cb_clusterer_run(run.clusterer, &run.job);
    return run;
}

static void end_run(golden_run *run)
{
    cb_clusterer_free(&run->runtime, run->clusterer);
    cb_runtime_end(&run->runtime);
}

static void check_labels(const char *what, const golden_run *run, const int64_t *expected)
{
    const int32_t *labels = cb_clusterer_labels(run->clusterer);
    for (size_t i = 0; i < run->images * 2 * run->tokens; i++)
        ck_assert_msg(labels[i] == expected[i], "%s %s[%zu] = %d, expected %d", run->name, what, i,
            (int)labels[i], (int)expected[i]);
}

static void check_validity(const golden_run *run)
{
    const uint8_t *valid = golden_bytes(run->file, NULL, "%s.valid", run->name);
    const int64_t *counts = golden_integers(run->file, NULL, "%s.centroids_per_view", run->name);
    ck_assert_mem_eq(cb_clusterer_valid(run->clusterer), valid, run->images * run->clusters);
    for (size_t b = 0; b < run->images; b++)
        ck_assert_int_eq((int64_t)cb_clusterer_count(run->clusterer, b), counts[b]);
}

/*
 * The objects of one view as a pooling over tokens [images, 2N, D] or, with a CLS token before each, of its
 * own tensor.
 */
static cb_pooling pooling_of(const golden_run *run, size_t view, size_t token_base, size_t token_stride)
{
    size_t entries = run->images * cb_clusterer_max_entries(run->clusterer);
    cb_pooling pooling = {0, malloc((run->images * run->clusters + 1) * sizeof(uint32_t)),
        malloc(entries * sizeof(uint32_t)), malloc(entries * sizeof(cb_real))};
    cb_clusterer_objects(run->clusterer, 0, run->images, view, &pooling, token_base, token_stride);
    return pooling;
}

static void free_pooling(cb_pooling *pooling)
{
    free(pooling->begin);
    free(pooling->token);
    free(pooling->weight);
}

/*
 * The same objects twice: as poolings over the batch's tokens, and as the dense array of the public
 * interface.
 */
static void check_objects(const golden_run *run, double tolerance)
{
    const size_t N = run->tokens, D = run->width, K = run->clusters;
    const uint8_t *valid = golden_bytes(run->file, NULL, "%s.valid", run->name);
    float *rows = malloc(run->images * K * D * sizeof *rows),
          *dense = malloc(run->images * 2 * K * D * sizeof *dense);
    cb_clusterer_pool_objects(run->runtime.pool, run->clusterer, &run->job, dense);
    for (size_t v = 0; v < 2; v++) {
        size_t count, r = 0;
        const float *expected = golden_floats(run->file, &count, "%s.centroids_v%zu", run->name, v + 1);
        cb_pooling pooling = pooling_of(run, v, v * N, 2 * N);
        ck_assert_uint_eq(pooling.rows * D, count);
        cb_pool_tokens(run->runtime.pool, &pooling, run->job.view[0], D, rows);
        assert_close("objects", rows, expected, count, tolerance);
        for (size_t i = 0; i < run->images * K; i++)
            if (valid[i])
                assert_close("dense objects", dense + ((i / K * 2 + v) * K + i % K) * D, expected + r++ * D,
                    D, tolerance);
            else
                ck_assert(max_magnitude(dense + ((i / K * 2 + v) * K + i % K) * D, D) == 0);
        free_pooling(&pooling);
    }
    free(rows);
    free(dense);
}

static void check_run(golden *file, const char *variant, size_t image, bool together)
{
    golden_run run = begin_run(file, variant, image, together, golden_integer(file, "n_iter"));
    size_t count;
    const float *assignment = golden_floats(file, &count, "%s.assignment", run.name);
    ck_assert_uint_eq(count, run.images * 2 * run.tokens * run.clusters);
    check_labels("labels", &run, golden_integers(file, NULL, "%s.labels", run.name));
    check_validity(&run);
    assert_close(
        "assignment", cb_clusterer_assignment(run.clusterer), assignment, count, run.hard ? 1e-6 : 3e-4);
    check_objects(&run, run.hard ? 1e-5 : 5e-4);
    end_run(&run);
}

START_TEST(test_clustering_every_golden_run_agrees)
{
    golden file = golden_open(files[_i / VARIANTS]);
    const char *variant = variants[_i % VARIANTS];
    if (golden_has(&file, "%s.batch.labels", variant)) check_run(&file, variant, 0, true);
    for (size_t b = 0; b < (size_t)golden_integer(&file, "batch"); b++)
        if (golden_has(&file, "%s.image%zu.labels", variant, b)) check_run(&file, variant, b, false);
    golden_close(&file);
}
END_TEST

/* The result of r repetitions shows the labels of repetition r. */
static void check_trace(golden *file, const char *variant, size_t image, bool together)
{
    for (int64_t r = 1; r <= golden_integer(file, "n_iter"); r++) {
        golden_run run = begin_run(file, variant, image, together, r);
        const int64_t *labels = golden_integers(file, NULL, "%s.trace.labels", run.name);
        check_labels("trace.labels", &run, labels + (size_t)(r - 1) * run.images * 2 * run.tokens);
        end_run(&run);
    }
}

START_TEST(test_clustering_every_repetition_has_golden_labels)
{
    static const char *const traced[] = {"clustering_empty_clusters", "clustering_n49_d32_k8"};
    golden file = golden_open(traced[_i]);
    size_t seen = 0;
    if (golden_has(&file, "hard_updatec.batch.trace.labels"))
        check_trace(&file, "hard_updatec", 0, true), seen++;
    for (size_t b = 0; b < (size_t)golden_integer(&file, "batch"); b++)
        if (golden_has(&file, "hard_updatec.image%zu.trace.labels", b))
            check_trace(&file, "hard_updatec", b, false), seen++;
    ck_assert_uint_ge(seen, 1);
    golden_close(&file);
}
END_TEST

START_TEST(test_clustering_student_objects_and_gradient_agree)
{
    golden file = golden_open("clustering_n49_d32_k8");
    golden_run run = begin_run(&file, "hard_updatec", 0, true, golden_integer(&file, "n_iter"));
    const size_t N = run.tokens, D = run.width;
    size_t size;
    const float *student = golden_floats(&file, &size, "student_tokens");
    float *gradient = calloc(size, sizeof *gradient),
          *rows = malloc(run.images * run.clusters * D * sizeof *rows);
    for (size_t v = 0; v < 2; v++) {
        size_t count;
        const float *expected = golden_floats(&file, &count, "student_centroids_v%zu", v + 1);
        cb_pooling pooling = pooling_of(&run, v, v * N, 2 * N);
        cb_pool_tokens(run.runtime.pool, &pooling, student, D, rows);
        assert_close("student objects", rows, expected, count, 2e-6);
        cb_pool_tokens_backward(
            run.runtime.pool, &pooling, golden_floats(&file, NULL, "student_G%zu", v + 1), D, gradient);
        free_pooling(&pooling);
    }
    assert_close(
        "student_tokens_grad", gradient, golden_floats(&file, NULL, "student_tokens_grad"), size, 2e-6);
    free(gradient);
    free(rows);
    end_run(&run);
    golden_close(&file);
}
END_TEST

/* ---- the pieces, on the full trace ---- */

typedef struct piece {
    golden file;
    size_t images, tokens, width, clusters; /* tokens: 2N */
    float *z, *x, *y, *g, *cost, *scratch;
} piece;

static piece open_piece(void)
{
    piece p = {.file = golden_open("clustering_empty_clusters")};
    p.images = (size_t)golden_integer(&p.file, "batch");
    p.tokens = 2 * (size_t)golden_integer(&p.file, "tokens_per_view");
    p.width = (size_t)golden_integer(&p.file, "dim");
    p.clusters = (size_t)golden_integer(&p.file, "clusters");
    p.z = malloc(p.tokens * p.width * sizeof(float));
    p.x = malloc(p.tokens * sizeof(float));
    p.y = malloc(p.tokens * sizeof(float));
    p.g = malloc(p.tokens * p.clusters * sizeof(float));
    p.cost = malloc(p.images * p.tokens * p.clusters * sizeof(float));
    p.scratch = malloc(2 * p.tokens * sizeof(float));
    return p;
}

static void close_piece(piece *p)
{
    free(p->z);
    free(p->x);
    free(p->y);
    free(p->g);
    free(p->cost);
    free(p->scratch);
    golden_close(&p->file);
}

static void unit_row(float *y, const float *x, size_t n)
{
    double square = 0;
    for (size_t i = 0; i < n; i++) square += (double)x[i] * x[i];
    for (size_t i = 0; i < n; i++) y[i] = (float)(x[i] / fmax(sqrt(square), 1e-12));
}

static void load_piece(piece *p, size_t b)
{
    const float *tokens = golden_floats(&p->file, NULL, "tokens") + b * p->tokens * p->width;
    const float *positions = golden_floats(&p->file, NULL, "positions") + b * p->tokens * 2;
    for (size_t i = 0; i < p->tokens; i++) {
        unit_row(p->z + i * p->width, tokens + i * p->width, p->width);
        p->x[i] = positions[2 * i];
        p->y[i] = positions[2 * i + 1];
    }
}

/* Labels before repetition r of image b: the seeds alone, or the last repetition's. */
static void labels_before(const piece *p, size_t r, size_t b, int32_t *labels)
{
    const int64_t *seeds = golden_integers(&p->file, NULL, "init_index") + b * p->clusters;
    const int64_t *trace = golden_integers(&p->file, NULL, "hard_updatec.batch.trace.labels");
    for (size_t i = 0; i < p->tokens; i++)
        labels[i] = r == 0 ? -1 : (int32_t)trace[((r - 1) * p->images + b) * p->tokens + i];
    if (r == 0)
        for (size_t k = 0; k < p->clusters; k++) labels[seeds[k]] = (int32_t)k;
}

/* M before its normalisation, with plain loops for the cosines: cost [K, 2N]. */
static void raw_cost(const piece *p, const int32_t *labels, float *cost)
{
    float *mean = malloc(p->width * sizeof *mean);
    const double weight = golden_number(&p->file, "pos_alpha");
    uint8_t *changed = malloc(p->clusters);
    memset(changed, 1, p->clusters);
    cb_nearest_members(p->g, p->x, p->y, labels, changed, p->tokens, p->clusters);
    free(changed);
    cb_normalise_positional_cost(p->g, p->g, p->tokens, p->clusters, p->scratch);
    for (size_t k = 0; k < p->clusters; k++) {
        memset(mean, 0, p->width * sizeof *mean);
        for (size_t i = 0; i < p->tokens; i++)
            for (size_t d = 0; labels[i] == (int32_t)k && d < p->width; d++)
                mean[d] += p->z[i * p->width + d];
        unit_row(mean, mean, p->width);
        for (size_t i = 0; i < p->tokens; i++) {
            double cosine = 0;
            for (size_t d = 0; d < p->width; d++) cosine += (double)mean[d] * p->z[i * p->width + d];
            cost[k * p->tokens + i] = (float)(weight * p->g[k * p->tokens + i] - cosine);
        }
    }
    free(mean);
}

START_TEST(test_positional_cost_every_repetition_agrees)
{
    piece p = open_piece();
    const float *expected = golden_floats(&p.file, NULL, "hard_updatec.batch.trace.cost") +
                            (size_t)_i * p.images * p.tokens * p.clusters;
    int32_t *labels = malloc(p.tokens * sizeof *labels);
    cb_cost_range range = {INFINITY, -INFINITY};
    for (size_t b = 0; b < p.images; b++) {
        load_piece(&p, b);
        labels_before(&p, (size_t)_i, b, labels);
        float *cost = p.cost + b * p.tokens * p.clusters;
        raw_cost(&p, labels, cost);
        cb_cost_range own = cb_find_cost_range(cost, p.tokens, p.clusters, p.scratch);
        range.low = fminf(range.low, own.low);
        range.high = fmaxf(range.high, own.high);
    }
    for (size_t b = 0; b < p.images; b++)
        for (size_t i = 0; i < p.tokens; i++)
            for (size_t k = 0; k < p.clusters; k++) {
                double got =
                    (p.cost[(b * p.clusters + k) * p.tokens + i] - range.low) / (range.high - range.low);
                ck_assert_double_eq_tol(got, expected[(b * p.tokens + i) * p.clusters + k], 3e-6);
            }
    free(labels);
    close_piece(&p);
}
END_TEST

START_TEST(test_sinkhorn_every_repetition_agrees)
{
    piece p = open_piece();
    const size_t size = p.tokens * p.clusters;
    for (size_t b = 0; b < p.images; b++) {
        const size_t row = (size_t)_i * p.images + b;
        const float *cost = golden_floats(&p.file, NULL, "hard_updatec.batch.trace.cost") + row * size;
        const float *expected =
            golden_floats(&p.file, NULL, "hard_updatec.batch.trace.transport") + row * size;
        const float *mass =
            golden_floats(&p.file, NULL, "hard_updatec.batch.trace.marginal") + row * p.clusters;
        for (size_t i = 0; i < size; i++) p.cost[i % p.clusters * p.tokens + i / p.clusters] = cost[i];
        cb_sinkhorn(p.cost, p.tokens, p.clusters, mass, (cb_cost_range){0, 1},
            golden_number(&p.file, "sinkhorn_lambda"), (size_t)golden_integer(&p.file, "sinkhorn_iterations"),
            p.scratch);
        for (size_t i = 0; i < size; i++)
            ck_assert_double_eq_tol(p.cost[i % p.clusters * p.tokens + i / p.clusters], expected[i], 3e-7);
    }
    close_piece(&p);
}
END_TEST

int main(void)
{
    TCase *tests = tcase_create("clustering");
    tcase_set_timeout(tests, 120);
    tcase_add_loop_test(tests, test_clustering_every_golden_run_agrees, 0, FILES * VARIANTS);
    tcase_add_loop_test(tests, test_clustering_every_repetition_has_golden_labels, 0, 2);
    tcase_add_test(tests, test_clustering_student_objects_and_gradient_agree);
    tcase_add_loop_test(tests, test_positional_cost_every_repetition_agrees, 0, 5);
    tcase_add_loop_test(tests, test_sinkhorn_every_repetition_agrees, 0, 5);
    Suite *suite = suite_create("golden clustering");
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
