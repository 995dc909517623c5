/*
 * The clusterer's public interface: bad arguments, edges, memory, threads, draws. Numbers are in
 * tests/golden.
 */
#include "clustering/clusterer.h"
#include "support/faulty.h"
#include "support/suite.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A batch with a clusterer, and room for all outputs. */
typedef struct scene {
    cribo_clusterer_config config;
    cribo_runtime runtime;
    size_t images, tokens, width;
    float *values, *positions;
    int64_t *seeds;
    cribo_clusterer *clusterer;
    cribo_cluster_input input;
    cribo_cluster_output output;
} scene;

static scene make_scene(size_t images, size_t tokens, size_t width, int64_t clusters)
{
    scene s = {.images = images, .tokens = tokens, .width = width};
    ck_assert_int_eq(cribo_clusterer_config_init(&s.config, sizeof s.config), CRIBO_OK);
    ck_assert_int_eq(cribo_runtime_init(&s.runtime, sizeof s.runtime), CRIBO_OK);
    s.config.clusters = clusters;
    s.runtime.threads = 1;
    const size_t rows = images * 2 * tokens;
    s.values = malloc(rows * width * sizeof *s.values);
    s.positions = malloc(rows * 2 * sizeof *s.positions);
    s.seeds = malloc(images * (size_t)clusters * sizeof *s.seeds);
    double *random = malloc((width > 2 ? width : 2) * sizeof *random);
    for (size_t i = 0; i < rows; i++) {
        ck_assert_int_eq(cribo_random_uniform(5, 1, i, width, random), CRIBO_OK);
        for (size_t d = 0; d < width; d++) s.values[i * width + d] = (float)(random[d] - 0.5);
        ck_assert_int_eq(cribo_random_uniform(5, 2, i, 2, random), CRIBO_OK);
        for (size_t d = 0; d < 2; d++) s.positions[i * 2 + d] = (float)(200 * random[d]);
    }
    free(random);
    for (size_t i = 0; i < images * (size_t)clusters; i++) s.seeds[i] = (int64_t)(i % (size_t)clusters);
    s.input = (cribo_cluster_input){sizeof s.input, (int64_t)images, s.values, s.positions, NULL, 0};
    s.output = (cribo_cluster_output){sizeof s.output, malloc(rows * (size_t)clusters * sizeof(float)),
        malloc(rows * sizeof(int64_t)), malloc(images * (size_t)clusters),
        malloc(images * 2 * (size_t)clusters * width * sizeof(float))};
    return s;
}

static void create(scene *s)
{
    ck_assert_int_eq(cribo_clusterer_create(&s->clusterer, &s->config, &s->runtime, (int64_t)s->images,
                         (int64_t)s->tokens, (int64_t)s->width),
        CRIBO_OK);
}

static void run(scene *s)
{
    cribo_status status = cribo_clusterer_run(s->clusterer, &s->input, &s->output);
    ck_assert_msg(status == CRIBO_OK, "%s", cribo_last_error());
}

static void create_and_run(scene *s)
{
    create(s);
    run(s);
}

static void free_scene(scene *s)
{
    cribo_clusterer_free(s->clusterer);
    free(s->values);
    free(s->positions);
    free(s->seeds);
    free(s->output.assignment);
    free(s->output.labels);
    free(s->output.valid);
    free(s->output.objects);
}

static size_t assignment_bytes(const scene *s)
{
    return s->images * 2 * s->tokens * (size_t)s->config.clusters * sizeof(float);
}

static void assert_same_results(const scene *a, const scene *b)
{
    const size_t K = (size_t)a->config.clusters;
    ck_assert_mem_eq(a->output.assignment, b->output.assignment, assignment_bytes(a));
    ck_assert_mem_eq(a->output.labels, b->output.labels, a->images * 2 * a->tokens * sizeof(int64_t));
    ck_assert_mem_eq(a->output.valid, b->output.valid, a->images * K);
    ck_assert_mem_eq(a->output.objects, b->output.objects, a->images * 2 * K * a->width * sizeof(float));
}

/* ---- what holds for every result ---- */

/* Labels are the first largest of their rows of Q*. */
static void check_labels(const scene *s)
{
    const size_t K = (size_t)s->config.clusters;
    for (size_t i = 0; i < s->images * 2 * s->tokens; i++) {
        const float *row = s->output.assignment + i * K;
        size_t best = 0;
        for (size_t k = 0; k < K; k++) {
            ck_assert(isfinite(row[k]) && row[k] >= 0);
            if (row[k] > row[best]) best = k;
        }
        ck_assert_int_eq(s->output.labels[i], (int64_t)best);
    }
}

static bool labelled(const scene *s, size_t b, size_t v, size_t k)
{
    for (size_t n = 0; n < s->tokens; n++)
        if (s->output.labels[(b * 2 + v) * s->tokens + n] == (int64_t)k) return true;
    return false;
}

/*
 * Column k of view v: its sum is 1 or 0, and the object is the weighted sum of tokens, or 0 without validity.
 */
static void check_object(const scene *s, size_t b, size_t v, size_t k)
{
    const size_t K = (size_t)s->config.clusters, first = (b * 2 + v) * s->tokens;
    double sum = 0;
    for (size_t n = 0; n < s->tokens; n++) sum += (double)s->output.assignment[(first + n) * K + k];
    ck_assert_msg(sum == 0 || fabs(sum - 1) < 1e-5, "column %zu of view %zu sums to %g", k, v, sum);
    for (size_t d = 0; d < s->width; d++) {
        double expected = 0, scale = 0;
        for (size_t n = 0; n < s->tokens && s->output.valid[b * K + k]; n++) {
            double term = (double)s->output.assignment[(first + n) * K + k] *
                          (double)s->values[(first + n) * s->width + d];
            expected += term;
            scale += fabs(term);
        }
        double got = (double)s->output.objects[((b * 2 + v) * K + k) * s->width + d];
        ck_assert(fabs(got - expected) <= 1e-5 * scale);
    }
}

static void check_results(const scene *s)
{
    const size_t K = (size_t)s->config.clusters;
    check_labels(s);
    for (size_t b = 0; b < s->images; b++)
        for (size_t k = 0; k < K; k++) {
            ck_assert_int_eq(s->output.valid[b * K + k], labelled(s, b, 0, k) && labelled(s, b, 1, k));
            check_object(s, b, 0, k);
            check_object(s, b, 1, k);
        }
}

/* ---- edges ---- */

static void equal_tokens(scene *s)
{
    for (size_t i = 0; i < s->images * 2 * s->tokens * s->width; i++) s->values[i] = s->values[i % s->width];
}

static void equal_positions(scene *s)
{
    for (size_t i = 0; i < s->images * 4 * s->tokens; i++) s->positions[i] = s->positions[i % 2];
}

static void equal_everything(scene *s)
{
    equal_tokens(s);
    equal_positions(s);
}

static void zero_tokens(scene *s)
{
    memset(s->values, 0, s->images * 2 * s->tokens * s->width * sizeof *s->values);
}

static void one_zero_token(scene *s)
{
    memset(s->values, 0, s->width * sizeof *s->values);
}

static void scale_tokens(scene *s, float factor)
{
    for (size_t i = 0; i < s->images * 2 * s->tokens * s->width; i++) s->values[i] *= factor;
}

static void huge_tokens(scene *s)
{
    scale_tokens(s, 3.4e38f);
}

static void tiny_tokens(scene *s)
{
    scale_tokens(s, 1e-30f);
}

static void far_positions(scene *s)
{
    for (size_t i = 0; i < s->images * 4 * s->tokens; i++) s->positions[i] = i / 2 % 3 ? 3e38f : -3e38f;
}

static void close_positions(scene *s)
{
    for (size_t i = 0; i < s->images * 4 * s->tokens; i++) s->positions[i] *= 1e-30f;
}

static void sharp(scene *s)
{
    s->config.sinkhorn_lambda = 1e4;
}

static void blunt(scene *s)
{
    s->config.sinkhorn_lambda = 0.001;
}

static void sharp_and_long(scene *s)
{
    s->config.sinkhorn_lambda = 1e4;
    s->config.sinkhorn_iterations = 1000;
}

static void many_repetitions(scene *s)
{
    s->config.cluster_iterations = 100;
}

static void no_position_weight(scene *s)
{
    s->config.position_weight = 0;
}

static void large_position_weight(scene *s)
{
    s->config.position_weight = 1e6;
}

static void one_cluster(scene *s)
{
    s->config.clusters = 1;
}

static void plain(scene *s)
{
    (void)s;
}

static void (*const edges[])(scene *) = {plain, equal_tokens, equal_positions, equal_everything, zero_tokens,
    one_zero_token, huge_tokens, tiny_tokens, far_positions, close_positions, sharp, blunt, sharp_and_long,
    many_repetitions, no_position_weight, large_position_weight, one_cluster};
enum { EDGES = sizeof edges / sizeof edges[0], SHAPES = 4 };

START_TEST(test_clusterer_edges_have_defined_results)
{
    static const size_t shapes[SHAPES][4] = {
        {2, 9, 6, 4}, {2, 5, 7, 10}, {1, 1, 3, 2}, {3, 1, 1, 1}}; /* B, N, D, K */
    for (size_t i = 0; i < SHAPES; i++)
        for (int mode = 0; mode < 8; mode++) {
            scene s = make_scene(shapes[i][0], shapes[i][1], shapes[i][2], (int64_t)shapes[i][3]);
            s.config.hard_assignment = mode & 1;
            s.config.batch_cost = mode >> 1 & 1;
            s.config.update_marginal = mode >> 2 & 1;
            edges[_i](&s);
            create_and_run(&s);
            check_results(&s);
            free_scene(&s);
        }
}
END_TEST

START_TEST(test_clusterer_everything_equal_makes_one_object)
{
    scene s = make_scene(1, 9, 6, 4);
    equal_everything(&s);
    create_and_run(&s);
    for (size_t i = 0; i < 18; i++) ck_assert_int_eq(s.output.labels[i], 0);
    ck_assert_int_eq(s.output.valid[0], 1);
    for (size_t k = 1; k < 4; k++) ck_assert_int_eq(s.output.valid[k], 0);
    for (size_t d = 0; d < 6; d++) ck_assert_float_eq_tol(s.output.objects[d], s.values[d], 1e-6f);
    free_scene(&s);
}
END_TEST

START_TEST(test_clusterer_scaled_tokens_have_the_same_labels)
{
    static const float factors[] = {0x1p-30f, 0x1p20f, 0x1p100f, 0x1p126f};
    scene a = make_scene(2, 16, 12, 5), b = make_scene(2, 16, 12, 5);
    scale_tokens(&b, factors[_i]);
    create_and_run(&a);
    create_and_run(&b);
    ck_assert_mem_eq(a.output.labels, b.output.labels, 2 * 2 * 16 * sizeof(int64_t));
    free_scene(&a);
    free_scene(&b);
}
END_TEST

/* Two far apart groups of tokens, each in both views, and one cluster seeded in each. */
START_TEST(test_clusterer_two_groups_are_found)
{
    scene s = make_scene(1, 8, 2, 2);
    s.config.hard_assignment = _i;
    for (size_t i = 0; i < 16; i++) {
        const bool right = i % 2;
        s.values[2 * i] = right ? 0 : 3, s.values[2 * i + 1] = right ? 5 : 0;
        s.positions[2 * i] = (float)(i + (right ? 500 : 0)), s.positions[2 * i + 1] = 0;
    }
    s.input.seed_tokens = s.seeds;
    create_and_run(&s);
    for (size_t i = 0; i < 16; i++) ck_assert_int_eq(s.output.labels[i], (int64_t)(i % 2));
    const float tolerance = s.config.hard_assignment ? 1e-6f : 1; /* shares leak */
    ck_assert_float_eq_tol(s.output.objects[0], 3, tolerance);
    ck_assert_float_eq_tol(s.output.objects[3], 5, tolerance);
    free_scene(&s);
}
END_TEST

START_TEST(test_clusterer_unwanted_outputs_may_be_null)
{
    scene s = make_scene(1, 9, 6, 4);
    create(&s);
    cribo_cluster_output none = {.struct_size = sizeof none};
    ck_assert_int_eq(cribo_clusterer_run(s.clusterer, &s.input, &none), CRIBO_OK);
    run(&s);
    check_results(&s);
    free_scene(&s);
}
END_TEST

/* ---- independence ---- */

START_TEST(test_clusterer_any_thread_count_gives_the_same_bits)
{
    for (size_t images = 1; images <= 5; images += 2)
        for (int64_t threads = 2; threads <= 6; threads += 2) {
            scene one = make_scene(images, 49, 40, 9), many = make_scene(images, 49, 40, 9);
            one.config.hard_assignment = many.config.hard_assignment = _i & 1;
            one.config.batch_cost = many.config.batch_cost = _i >> 1;
            many.runtime.threads = threads;
            create_and_run(&one);
            create_and_run(&many);
            assert_same_results(&one, &many);
            free_scene(&one);
            free_scene(&many);
        }
}
END_TEST

/* The second image of three, on its own. */
static bool alone_as_in_batch(int64_t batch_cost)
{
    scene all = make_scene(3, 25, 12, 6), alone = make_scene(1, 25, 12, 6);
    memcpy(alone.values, all.values + 50 * 12, 50 * 12 * sizeof(float));
    memcpy(alone.positions, all.positions + 50 * 2, 50 * 2 * sizeof(float));
    for (size_t i = 0; i < 50 * 2; i++) all.positions[i] *= 3; /* a neighbour with another range of cost */
    for (size_t i = 0; i < 50 * 12; i++) all.values[i] = fabsf(all.values[i]);
    all.config.batch_cost = alone.config.batch_cost = batch_cost;
    all.config.hard_assignment = alone.config.hard_assignment = 0;
    all.input.seed_tokens = all.seeds;
    alone.input.seed_tokens = alone.seeds;
    create_and_run(&all);
    create_and_run(&alone);
    bool same = memcmp(all.output.assignment + 50 * 6, alone.output.assignment, 50 * 6 * sizeof(float)) == 0;
    free_scene(&all);
    free_scene(&alone);
    return same;
}

START_TEST(test_clusterer_own_cost_ignores_neighbours)
{
    ck_assert(alone_as_in_batch(0));
    ck_assert(!alone_as_in_batch(1)); /* or the test could not fail */
}
END_TEST

START_TEST(test_clusterer_repeated_runs_give_the_same_bits)
{
    scene a = make_scene(3, 25, 12, 6), b = make_scene(3, 25, 12, 6);
    create_and_run(&a);
    create(&b);
    b.input.images = 2;
    b.input.call = 9;
    run(&b);
    b.input.images = 3;
    b.input.call = 0;
    run(&b);
    assert_same_results(&a, &b);
    free_scene(&a);
    free_scene(&b);
}
END_TEST

/* ---- draws ---- */

START_TEST(test_clusterer_draws_depend_on_seed_call_and_image)
{
    scene a = make_scene(2, 25, 12, 6), b = make_scene(2, 25, 12, 6);
    memcpy(a.values + 50 * 12, a.values, 50 * 12 * sizeof(float)); /* both images alike */
    memcpy(a.positions + 50 * 2, a.positions, 50 * 2 * sizeof(float));
    memcpy(b.values, a.values, 100 * 12 * sizeof(float));
    memcpy(b.positions, a.positions, 100 * 2 * sizeof(float));
    create_and_run(&a);
    ck_assert(memcmp(a.output.labels, a.output.labels + 50, 50 * sizeof(int64_t)) != 0);
    b.input.call = 1;
    create_and_run(&b);
    ck_assert(memcmp(a.output.labels, b.output.labels, 100 * sizeof(int64_t)) != 0);
    cribo_clusterer_free(b.clusterer);
    b.input.call = 0;
    b.config.seed = 1;
    create_and_run(&b);
    ck_assert(memcmp(a.output.labels, b.output.labels, 100 * sizeof(int64_t)) != 0);
    free_scene(&a);
    free_scene(&b);
}
END_TEST

/*
 * With as many clusters as tokens a draw is a permutation: without repetitions every token starts, so the
 * result is that of some seeds.
 */
START_TEST(test_clusterer_draws_are_without_replacement)
{
    scene s = make_scene(1, 8, 16, 16);
    s.config.cluster_iterations = 1;
    s.config.position_weight = 0;
    s.config.sinkhorn_lambda = 100;
    for (size_t i = 0; i < 16; i++)
        for (size_t d = 0; d < 16; d++) s.values[i * 16 + d] = i == d; /* only its own seed is like a token */
    create_and_run(&s);
    bool seen[16] = {false};
    for (size_t i = 0; i < 16; i++) {
        ck_assert(!seen[s.output.labels[i]]);
        seen[s.output.labels[i]] = true;
    }
    free_scene(&s);
}
END_TEST

/* With an id, an image's draw does not depend on its place in the batch. */
START_TEST(test_clusterer_ids_key_the_draws)
{
    scene s = make_scene(2, 25, 12, 6);
    cb_runtime runtime;
    cb_clusterer *core;
    const int64_t ids[2][2] = {{70, 1}, {1, 70}};
    int32_t labels[2][100];
    memcpy(s.values + 50 * 12, s.values, 50 * 12 * sizeof(float));
    memcpy(s.positions + 50 * 2, s.positions, 50 * 2 * sizeof(float));
    ck_assert_int_eq(cb_runtime_begin(&runtime, &s.runtime), CRIBO_OK);
    ck_assert_int_eq(cb_clusterer_create(&runtime, &core, &s.config, 2, 25, 12), CRIBO_OK);
    for (int i = 0; i < 2; i++) {
        cb_cluster_job job = {.images = 2,
            .view = {s.values, s.values + 25 * 12},
            .image_stride = 50 * 12,
            .positions = s.positions,
            .ids = ids[i],
            .position_weight = 1};
        cb_clusterer_run(core, &job);
        memcpy(labels[i], cb_clusterer_labels(core), sizeof labels[i]);
    }
    ck_assert_mem_eq(labels[0], labels[1] + 50, 50 * sizeof(int32_t));
    ck_assert_mem_eq(labels[0] + 50, labels[1], 50 * sizeof(int32_t));
    ck_assert(memcmp(labels[0], labels[1], 50 * sizeof(int32_t)) != 0);
    cb_clusterer_free(&runtime, core);
    cb_runtime_end(&runtime);
    free_scene(&s);
}
END_TEST

/* ---- poolings, as the trainer takes them: views [images, 1 + N, D], some images at a time ---- */

START_TEST(test_clusterer_poolings_skip_cls_tokens_and_continue)
{
    enum { B = 3, N = 16, D = 10, K = 5, STRIDE = 1 + N };
    scene s = make_scene(B, N, D, K);
    s.config.hard_assignment = _i;
    create_and_run(&s);
    cb_runtime runtime;
    cb_clusterer *core;
    ck_assert_int_eq(cb_runtime_begin(&runtime, &s.runtime), CRIBO_OK);
    ck_assert_int_eq(cb_clusterer_create(&runtime, &core, &s.config, B, N, D), CRIBO_OK);

    float *view[2], rows[B * K * D];
    for (size_t v = 0; v < 2; v++) {
        view[v] = malloc(B * STRIDE * D * sizeof(float));
        for (size_t i = 0; i < B * STRIDE * D; i++)
            view[v][i] = NAN; /* a CLS token that took part would show */
        for (size_t b = 0; b < B; b++)
            memcpy(view[v] + (b * STRIDE + 1) * D, s.values + (b * 2 + v) * N * D, N * D * sizeof(float));
    }
    cb_cluster_job job = {.images = B,
        .view = {view[0] + D, view[1] + D},
        .image_stride = STRIDE * D,
        .positions = s.positions,
        .position_weight = 1};
    cb_clusterer_run(core, &job);
    ck_assert_mem_eq(cb_clusterer_assignment(core), s.output.assignment, assignment_bytes(&s));

    for (size_t v = 0; v < 2; v++) {
        uint32_t begin[B * K + 1], token[B * N * K];
        cb_real weight[B * N * K];
        cb_pooling pooling = {0, begin, token, weight};
        size_t rows_1 = cb_clusterer_objects(core, 0, 1, v, &pooling, 1, STRIDE);
        ck_assert_uint_eq(rows_1, cb_clusterer_count(core, 0));
        ck_assert_uint_le(pooling.begin[rows_1], cb_clusterer_max_entries(core));
        cb_clusterer_objects(core, 1, 2, v, &pooling, STRIDE + 1, STRIDE);
        cb_pool_tokens(NULL, &pooling, view[v], D, rows);
        size_t r = 0;
        for (size_t i = 0; i < B * K; i++)
            for (size_t d = 0; s.output.valid[i] && d < D; d++)
                ck_assert_float_eq_tol(
                    rows[r++], s.output.objects[((i / K * 2 + v) * K + i % K) * D + d], 1e-6f);
        ck_assert_uint_eq(r, pooling.rows * D);
        free(view[v]);
    }
    cb_clusterer_free(&runtime, core);
    cb_runtime_end(&runtime);
    free_scene(&s);
}
END_TEST

/* ---- memory ---- */

START_TEST(test_clusterer_run_allocates_nothing)
{
    faulty memory = {0};
    scene s = make_scene(4, 16, 12, 5);
    s.config.hard_assignment = _i & 1;
    s.config.batch_cost = _i >> 1;
    s.runtime.allocate = faulty_allocate;
    s.runtime.release = faulty_release;
    s.runtime.allocator_user = &memory;
    s.runtime.threads = 2;
    create(&s);
    ck_assert_uint_gt(memory.calls, 0);
    size_t before = memory.calls;
    for (int i = 0; i < 3; i++) run(&s);
    ck_assert_uint_eq(memory.calls, before);
    check_results(&s);
    free_scene(&s);
    ck_assert_uint_eq(memory.held, 0);
}
END_TEST

START_TEST(test_clusterer_create_without_memory_leaks_nothing)
{
    bool succeeded = false;
    for (size_t n = 1; !succeeded; n++) {
        faulty memory = {.fail_at = n, .for_ever = _i};
        scene s = make_scene(2, 16, 12, 5);
        s.runtime.allocate = faulty_allocate;
        s.runtime.release = faulty_release;
        s.runtime.allocator_user = &memory;
        s.clusterer = (cribo_clusterer *)&s;
        cribo_status status = cribo_clusterer_create(&s.clusterer, &s.config, &s.runtime, 2, 16, 12);
        succeeded = memory.calls < n;
        if (succeeded) {
            ck_assert_int_eq(status, CRIBO_OK);
            ck_assert_uint_ge(n, 4);
        } else {
            ck_assert_int_eq(status, CRIBO_OUT_OF_MEMORY);
            ck_assert_ptr_null(s.clusterer);
            ck_assert_uint_eq(memory.held, 0);
        }
        free_scene(&s);
    }
}
END_TEST

START_TEST(test_clusterer_create_enormous_sizes_are_refused)
{
    faulty memory = {.largest = (size_t)1 << 40};
    scene s = make_scene(1, 16, 1, 32);
    s.runtime.allocate = faulty_allocate;
    s.runtime.release = faulty_release;
    s.runtime.allocator_user = &memory;
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(
            cribo_clusterer_create(&s.clusterer, &s.config, &s.runtime, i == 0 ? 1 << 24 : 1 << 14,
                i == 1 ? 1 << 24 : 1 << 20, i == 2 ? 1 << 24 : 1 << 20),
            CRIBO_OUT_OF_MEMORY);
    ck_assert_ptr_null(s.clusterer);
    ck_assert_uint_eq(memory.held, 0);
    free_scene(&s);
}
END_TEST

/* ---- bad arguments ---- */

static void assert_refused(cribo_status status, const char *name)
{
    ck_assert_int_eq(status, CRIBO_INVALID_ARGUMENT);
    ck_assert_msg(
        strstr(cribo_last_error(), name) != NULL, "\"%s\" does not name %s", cribo_last_error(), name);
}

START_TEST(test_clusterer_create_bad_settings_are_named)
{
    static const struct {
        const char *name, *value;
    } bad[] = {{"clusters", "0"}, {"clusters", "4097"}, {"position_weight", "-1"}, {"sinkhorn_lambda", "0"},
        {"sinkhorn_iterations", "0"}, {"cluster_iterations", "1001"}, {"update_marginal", "2"},
        {"hard_assignment", "-1"}, {"batch_cost", "2"}, {"seed", "-1"}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        cribo_clusterer_config config;
        cribo_clusterer *clusterer = (cribo_clusterer *)&config;
        ck_assert_int_eq(cribo_clusterer_config_init(&config, sizeof config), CRIBO_OK);
        assert_refused(cribo_clusterer_config_set(&config, bad[i].name, bad[i].value), bad[i].name);
        const cb_field *field = cb_config_find(&cb_clusterer_settings, bad[i].name);
        cb_config_put(field, &config, strtod(bad[i].value, NULL));
        assert_refused(cribo_clusterer_create(&clusterer, &config, NULL, 1, 4096, 1), bad[i].name);
        ck_assert_ptr_null(clusterer);
    }
}
END_TEST

START_TEST(test_clusterer_create_bad_sizes_are_named)
{
    cribo_clusterer_config config;
    cribo_clusterer *c;
    ck_assert_int_eq(cribo_clusterer_config_init(&config, sizeof config), CRIBO_OK);
    assert_refused(cribo_clusterer_create(NULL, &config, NULL, 1, 16, 1), "out");
    assert_refused(cribo_clusterer_create(&c, NULL, NULL, 1, 16, 1), "config");
    assert_refused(cribo_clusterer_create(&c, &config, NULL, 0, 16, 1), "max_images");
    assert_refused(cribo_clusterer_create(&c, &config, NULL, INT64_MAX, 16, 1), "max_images");
    assert_refused(cribo_clusterer_create(&c, &config, NULL, 1, 0, 1), "tokens_per_view");
    assert_refused(cribo_clusterer_create(&c, &config, NULL, 1, INT64_MAX, 1), "tokens_per_view");
    assert_refused(cribo_clusterer_create(&c, &config, NULL, 1, 16, -1), "width");
    assert_refused(cribo_clusterer_create(&c, &config, NULL, 1, 16, INT64_MAX), "width");
    assert_refused(cribo_clusterer_create(&c, &config, NULL, 1, 15, 1), "clusters");
    config.struct_size = 4;
    assert_refused(cribo_clusterer_create(&c, &config, NULL, 1, 16, 1), "struct_size");
    config.struct_size = sizeof config;
    cribo_runtime runtime = {0};
    assert_refused(cribo_clusterer_create(&c, &config, &runtime, 1, 16, 1), "runtime");
    ck_assert_ptr_null(c);
    cribo_clusterer_free(NULL);
}
END_TEST

/* Runs with a wrong argument: refused with its name, and nothing is written. */
static void refuse(scene *s, const char *name)
{
    const size_t size = assignment_bytes(s);
    memset(s->output.assignment, 0x5a, size);
    assert_refused(cribo_clusterer_run(s->clusterer, &s->input, &s->output), name);
    for (size_t i = 0; i < size; i++) ck_assert_int_eq(((unsigned char *)s->output.assignment)[i], 0x5a);
}

static void refuse_value(scene *s, float *value, float bad, const char *name)
{
    float before = *value;
    *value = bad;
    refuse(s, name);
    *value = before;
}

START_TEST(test_clusterer_run_bad_arrays_are_named)
{
    static const float bad[3] = {NAN, INFINITY, -INFINITY};
    scene s = make_scene(2, 9, 6, 4);
    create(&s);
    for (size_t i = 0; i < 3; i++) {
        refuse_value(&s, &s.values[0], bad[i], "tokens[0]");
        refuse_value(&s, &s.values[2 * 18 * 6 - 1], bad[i], "tokens[215]");
        refuse_value(&s, &s.positions[0], bad[i], "positions[0]");
        refuse_value(&s, &s.positions[71], bad[i], "positions[71]");
    }
    s.input.seed_tokens = s.seeds;
    s.seeds[7] = 18;
    refuse(&s, "seed_tokens[1, 3] = 18");
    s.seeds[7] = -1;
    refuse(&s, "seed_tokens[1, 3] = -1");
    s.seeds[7] = s.seeds[4];
    refuse(&s, "seed_tokens[1, 3]");
    s.seeds[7] = 17;
    run(&s);
    check_results(&s);
    free_scene(&s);
}
END_TEST

START_TEST(test_clusterer_run_bad_structs_are_named)
{
    scene s = make_scene(2, 9, 6, 4);
    create(&s);
    cribo_cluster_input good = s.input;
    assert_refused(cribo_clusterer_run(NULL, &s.input, &s.output), "clusterer");
    assert_refused(cribo_clusterer_run(s.clusterer, NULL, &s.output), "input");
    assert_refused(cribo_clusterer_run(s.clusterer, &s.input, NULL), "output");
    s.input.struct_size--, refuse(&s, "input.struct_size"), s.input = good;
    s.input.images = 0, refuse(&s, "images"), s.input = good;
    s.input.images = 3, refuse(&s, "images"), s.input = good;
    s.input.tokens = NULL, refuse(&s, "tokens"), s.input = good;
    s.input.positions = NULL, refuse(&s, "positions"), s.input = good;
    s.output.struct_size++, refuse(&s, "output.struct_size"), s.output.struct_size--;
    run(&s);
    check_results(&s);
    free_scene(&s);
}
END_TEST

START_TEST(test_clusterer_settings_cover_the_struct)
{
    ck_assert_uint_eq(cb_clusterer_settings.count * 8 + sizeof(size_t), sizeof(cribo_clusterer_config));
    for (size_t i = 0; i < cb_clusterer_settings.count; i++) {
        cribo_setting setting;
        ck_assert_uint_eq(cb_clusterer_settings.fields[i].offset, 8 + 8 * i);
        ck_assert_int_eq(cribo_clusterer_config_setting(i, &setting), CRIBO_OK);
        ck_assert(setting.minimum <= setting.initial && setting.initial <= setting.maximum);
    }
}
END_TEST

static void add_tests(TCase *tests)
{
    tcase_add_loop_test(tests, test_clusterer_edges_have_defined_results, 0, EDGES);
    tcase_add_test(tests, test_clusterer_everything_equal_makes_one_object);
    tcase_add_loop_test(tests, test_clusterer_scaled_tokens_have_the_same_labels, 0, 4);
    tcase_add_loop_test(tests, test_clusterer_two_groups_are_found, 0, 2);
    tcase_add_test(tests, test_clusterer_unwanted_outputs_may_be_null);
    tcase_add_loop_test(tests, test_clusterer_any_thread_count_gives_the_same_bits, 0, 4);
    tcase_add_test(tests, test_clusterer_own_cost_ignores_neighbours);
    tcase_add_test(tests, test_clusterer_repeated_runs_give_the_same_bits);
    tcase_add_test(tests, test_clusterer_draws_depend_on_seed_call_and_image);
    tcase_add_test(tests, test_clusterer_draws_are_without_replacement);
    tcase_add_test(tests, test_clusterer_ids_key_the_draws);
    tcase_add_loop_test(tests, test_clusterer_poolings_skip_cls_tokens_and_continue, 0, 2);
    tcase_add_loop_test(tests, test_clusterer_run_allocates_nothing, 0, 4);
    tcase_add_loop_test(tests, test_clusterer_create_without_memory_leaks_nothing, 0, 2);
    tcase_add_test(tests, test_clusterer_create_enormous_sizes_are_refused);
    tcase_add_test(tests, test_clusterer_create_bad_settings_are_named);
    tcase_add_test(tests, test_clusterer_create_bad_sizes_are_named);
    tcase_add_test(tests, test_clusterer_run_bad_arrays_are_named);
    tcase_add_test(tests, test_clusterer_run_bad_structs_are_named);
    tcase_add_test(tests, test_clusterer_settings_cover_the_struct);
}

int main(void)
{
    TCase *tests = tcase_create("clusterer");
    tcase_set_timeout(tests, 120);
    add_tests(tests);
    Suite *suite = suite_create("clusterer");
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
