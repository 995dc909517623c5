/*
 * Evaluation: the retrieval protocol against an independent computation (tests/evaluation/make_protocol.py),
 * the search against an exhaustive one, the linear probe, scores and principal components against what they
 * are defined to be.
 */
#include "base/random.h"
#include "cribo/evaluation.h"
#include "support/faulty.h"
#include "support/golden.h"
#include "support/suite.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OK(call) ck_assert_msg((call) == CRIBO_OK, "%s: %s", #call, cribo_last_error())

static cribo_probe_config config_of(int64_t width, int64_t classes)
{
    cribo_probe_config config;
    OK(cribo_probe_config_init(&config, sizeof config));
    config.width = width;
    config.classes = classes;
    return config;
}

static cribo_probe *probe_of(const cribo_probe_config *config, int64_t threads)
{
    cribo_runtime runtime;
    cribo_probe *probe;
    OK(cribo_runtime_init(&runtime, sizeof runtime));
    runtime.threads = threads;
    OK(cribo_probe_create(&probe, config, &runtime));
    return probe;
}

/* One feature per image, one label each. */
static cribo_patch_maps rows_of(int64_t count, const float *features)
{
    return (cribo_patch_maps){sizeof(cribo_patch_maps), count, 1, 1, features, 1, 1};
}

static int64_t entries_of(const cribo_probe *probe)
{
    int64_t entries;
    OK(cribo_probe_count(probe, &entries));
    return entries;
}

static float *random_rows(uint64_t seed, size_t n)
{
    cb_random random = cb_random_begin(seed, CB_PURPOSE_CALLER, 0, 0);
    float *x = malloc(n * sizeof *x);
    for (size_t i = 0; i < n; i++) x[i] = (float)cb_random_normal(&random);
    return x;
}

/* --- the protocol --- */

typedef struct protocol {
    golden file;
    cribo_patch_maps train, test;
    int32_t *train_labels, *test_labels;
    size_t test_pixels, test_patches, classes;
} protocol;

static int32_t *labels_of(const golden *file, const char *name, size_t *count)
{
    const uint8_t *from = golden_bytes(file, count, "%s", name);
    int32_t *labels = malloc(*count * sizeof *labels);
    for (size_t i = 0; i < *count; i++) labels[i] = from[i];
    return labels;
}

static cribo_patch_maps maps_of(const golden *file, const char *set)
{
    char features[32], labels[32];
    snprintf(features, sizeof features, "%s.features", set);
    snprintf(labels, sizeof labels, "%s.labels", set);
    return (cribo_patch_maps){.struct_size = sizeof(cribo_patch_maps),
        .images = (int64_t)golden_axis(file, labels, 0),
        .rows = 6,
        .columns = 8,
        .features = golden_floats(file, NULL, "%s", features),
        .height = (int64_t)golden_axis(file, labels, 1),
        .width = (int64_t)golden_axis(file, labels, 2)};
}

static protocol open_protocol(void)
{
    size_t count;
    protocol p = {.file = golden_open_path(CRIBO_SOURCE "/tests/evaluation/protocol.safetensors")};
    p.train = maps_of(&p.file, "train");
    p.test = maps_of(&p.file, "test");
    p.train_labels = labels_of(&p.file, "train.labels", &count);
    p.test_labels = labels_of(&p.file, "test.labels", &p.test_pixels);
    p.test_patches = golden_axis(&p.file, "index", 0);
    p.classes = golden_axis(&p.file, "shares", 1);
    return p;
}

static void close_protocol(protocol *p)
{
    free(p->train_labels);
    free(p->test_labels);
    golden_close(&p->file);
}

static cribo_probe *protocol_probe(const protocol *p, int64_t threads)
{
    cribo_probe_config config =
        config_of((int64_t)golden_axis(&p->file, "train.features", 2), (int64_t)p->classes);
    cribo_probe *probe = probe_of(&config, threads);
    OK(cribo_probe_add(probe, &p->train, p->train_labels));
    ck_assert_int_eq(entries_of(probe), golden_integer(&p->file, "entries"));
    return probe;
}

START_TEST(test_probe_predict_equals_independent_protocol)
{
    protocol p = open_protocol();
    cribo_probe *probe = protocol_probe(&p, 1 + _i);
    float *shares = malloc(p.test_patches * p.classes * sizeof *shares);
    int32_t *labels = malloc(p.test_pixels * sizeof *labels);
    int64_t confusion[25] = {0};
    double iou[5];
    cribo_scores scores = {.struct_size = sizeof scores};
    OK(cribo_probe_predict(probe, CRIBO_PROBE_NEAREST, &p.test, shares, labels));
    assert_close("shares", shares, golden_floats(&p.file, NULL, "shares"), p.test_patches * p.classes, 1e-4);
    const uint8_t *predicted = golden_bytes(&p.file, NULL, "predicted");
    for (size_t i = 0; i < p.test_pixels; i++)
        ck_assert_msg(labels[i] == predicted[i], "pixel %zu is %d, not %d", i, labels[i], predicted[i]);
    OK(cribo_confusion_add(5, 255, (int64_t)p.test_pixels, p.test_labels, labels, confusion));
    OK(cribo_confusion_scores(5, confusion, iou, &scores));
    ck_assert_double_eq_tol(scores.mean_iou, golden_number(&p.file, "mean_iou"), 1e-9);
    ck_assert_double_eq_tol(scores.accuracy, golden_number(&p.file, "accuracy"), 1e-9);
    for (size_t c = 0; c < 5; c++)
        ck_assert_double_eq_tol(iou[c], (double)golden_floats(&p.file, NULL, "iou")[c], 1e-6);
    free(labels);
    free(shares);
    cribo_probe_free(probe);
    close_protocol(&p);
}
END_TEST

START_TEST(test_probe_search_equals_independent_protocol)
{
    protocol p = open_protocol();
    cribo_probe *probe = protocol_probe(&p, 2);
    size_t found = p.test_patches * 30;
    int64_t *index = malloc(found * sizeof *index);
    float *cosine = malloc(found * sizeof *cosine);
    OK(cribo_probe_search(probe, (int64_t)p.test_patches, p.test.features, index, cosine));
    ck_assert_mem_eq(index, golden_integers(&p.file, NULL, "index"), found * sizeof *index);
    assert_close("cosine", cosine, golden_floats(&p.file, NULL, "cosine"), found, 1e-6);
    free(cosine);
    free(index);
    cribo_probe_free(probe);
    close_protocol(&p);
}
END_TEST

/* --- search --- */

/*
 * Several blocks of memory, more queries than in one search, and very many entries with equal cosines.
 */
enum { MANY = 2500, QUERIES = 1100, COARSE = 6 };

static float *coarse_rows(uint64_t seed, size_t rows)
{
    cb_random random = cb_random_begin(seed, CB_PURPOSE_CALLER, 1, 0);
    float *x = calloc(rows * COARSE, sizeof *x);
    for (size_t r = 0; r < rows;
        r++) /* one or four ones: unit vectors are exact, cosines are 0, 1/2, 1 and such */
        for (uint32_t i = cb_random_below(&random, 2) ? 1 : 4; i > 0;) {
            size_t place = r * COARSE + cb_random_below(&random, COARSE);
            if (x[place] == 0) i--;
            x[place] = 1;
        }
    return x;
}

static void assert_exhaustive(const float *memory, const float *query, size_t k, const int64_t *index)
{
    bool taken[MANY] = {false};
    double length = 0;
    for (size_t i = 0; i < COARSE; i++) length += query[i];
    for (size_t j = 0; j < k; j++) {
        size_t best = MANY;
        double greatest = -2;
        for (size_t m = 0; m < MANY; m++) {
            double dot = 0, own = 0;
            for (size_t i = 0; i < COARSE; i++) {
                dot += memory[m * COARSE + i] * query[i];
                own += memory[m * COARSE + i];
            }
            if (!taken[m] && dot / sqrt(own * length) > greatest) {
                greatest = dot / sqrt(own * length);
                best = m;
            }
        }
        ck_assert_int_eq(index[j], (int64_t)best);
        taken[best] = true;
    }
}

START_TEST(test_probe_search_equals_exhaustive_search_with_ties)
{
    enum { K = 40 };
    cribo_probe_config config = config_of(COARSE, 2);
    config.neighbours = K;
    float *memory = coarse_rows(1, MANY), *queries = coarse_rows(2, QUERIES);
    int32_t *labels = calloc(MANY, sizeof *labels);
    int64_t *index = malloc(sizeof *index * QUERIES * K);
    cribo_probe *probe = probe_of(&config, 1 + _i);
    cribo_patch_maps maps = rows_of(MANY, memory);
    OK(cribo_probe_add(probe, &maps, labels));
    OK(cribo_probe_search(probe, QUERIES, queries, index, NULL));
    for (size_t q = 0; q < QUERIES; q += 97)
        assert_exhaustive(memory, queries + q * COARSE, K, index + q * K);
    cribo_probe_free(probe);
    free(index);
    free(labels);
    free(queries);
    free(memory);
}
END_TEST

START_TEST(test_probe_search_does_not_depend_on_threads_or_calls)
{
    enum { D = 33, K = 30 };
    cribo_probe_config config = config_of(D, 2);
    float *memory = random_rows(1, (size_t)MANY * D), *queries = random_rows(2, (size_t)QUERIES * D);
    int32_t *labels = calloc(MANY, sizeof *labels);
    int64_t *index[4];
    float *cosine[4];
    for (int t = 0; t < 4; t++) {
        cribo_probe *probe = probe_of(&config, t + 1);
        cribo_patch_maps maps = rows_of(MANY, memory);
        OK(cribo_probe_add(probe, &maps, labels));
        index[t] = malloc(sizeof *index[t] * QUERIES * K);
        cosine[t] = malloc(sizeof *cosine[t] * QUERIES * K);
        int64_t cut = t == 3 ? 77 : QUERIES; /* the last in two calls */
        OK(cribo_probe_search(probe, cut, queries, index[t], cosine[t]));
        OK(cribo_probe_search(
            probe, QUERIES - cut, queries + cut * D, index[t] + cut * K, cosine[t] + cut * K));
        ck_assert(memcmp(index[t], index[0], sizeof *index[t] * QUERIES * K) == 0);
        ck_assert(memcmp(cosine[t], cosine[0], sizeof *cosine[t] * QUERIES * K) == 0);
        cribo_probe_free(probe);
    }
    for (int t = 0; t < 4; t++) {
        free(cosine[t]);
        free(index[t]);
    }
    free(labels);
    free(queries);
    free(memory);
}
END_TEST

START_TEST(test_probe_with_fewer_entries_than_neighbours_takes_all)
{
    static const float memory[] = {1, 0, 0, 1, 0, -2}, query[] = {3, 0, 0, 0};
    static const int32_t labels[] = {0, 1, 1};
    cribo_probe_config config = config_of(2, 2);
    config.temperature = 1;
    cribo_probe *probe = probe_of(&config, 1);
    cribo_patch_maps maps = rows_of(3, memory), queries = rows_of(2, query);
    int64_t index[60];
    float cosine[60], shares[4];
    OK(cribo_probe_add(probe, &maps, labels));
    OK(cribo_probe_search(probe, 2, query, index, cosine));
    const int64_t expected[2][4] = {
        {0, 1, 2, -1}, {0, 1, 2, -1}}; /* a feature of length 0 is equally near to all */
    for (int q = 0; q < 2; q++) ck_assert_mem_eq(index + 30 * q, expected[q], sizeof expected[q]);
    ck_assert_float_eq(cosine[0], 1);
    ck_assert_float_eq(cosine[3], 0);
    ck_assert_int_eq(index[29], -1);
    OK(cribo_probe_predict(probe, CRIBO_PROBE_NEAREST, &queries, shares, NULL));
    float near = 1 / (1 + 2 * expf(-1));
    ck_assert_float_eq_tol(shares[0], near, 1e-6f);
    ck_assert_float_eq_tol(shares[1], 1 - near, 1e-6f);
    ck_assert_float_eq_tol(shares[3], 2.f / 3, 1e-6f);
    cribo_probe_free(probe);
}
END_TEST

START_TEST(test_probe_search_does_not_depend_on_lengths)
{
    enum { ROWS = 40, D = 9, K = 7 };
    cribo_probe_config config = config_of(D, 1);
    config.neighbours = K;
    float *x = random_rows(1, ROWS * D), query[2 * D];
    int32_t labels[ROWS] = {0};
    int64_t index[2 * K];
    for (size_t r = 0; r < ROWS; r++) /* whole powers of two leave the digits alone */
        for (size_t i = 0; i < D; i++)
            x[r * D + i] = ldexpf(x[r * D + i], r % 3 == 0 ? 120 : r % 3 == 1 ? -20 : 0);
    for (size_t i = 0; i < D; i++) query[D + i] = ldexpf(query[i] = x[i], -130);
    cribo_probe *probe = probe_of(&config, 1);
    cribo_patch_maps maps = rows_of(ROWS, x);
    OK(cribo_probe_add(probe, &maps, labels));
    float cosine[2 * K];
    OK(cribo_probe_search(probe, 2, query, index, cosine));
    ck_assert_mem_eq(index, index + K, K * sizeof *index);
    ck_assert_int_eq(index[0], 0);
    ck_assert_float_eq_tol(cosine[0], 1, 1e-6f);
    cribo_probe_free(probe);
    free(x);
}
END_TEST

/* --- memory --- */

START_TEST(test_probe_add_patch_to_be_ignored_is_passed_over)
{
    static const float features[] = {1, 2, 3, 4};
    static const int32_t labels[] = {9, 9, 0, 9, /**/ 9, 9, 1, 2}; /* two patches of 2 x 2, side by side */
    cribo_probe_config config = config_of(2, 3);
    config.ignore_label = 9;
    cribo_probe *probe = probe_of(&config, 1);
    cribo_patch_maps maps = {sizeof maps, 1, 1, 2, features, 2, 4};
    int64_t index[30];
    float shares[6];
    OK(cribo_probe_add(probe, &maps, labels));
    ck_assert_int_eq(entries_of(probe), 1);
    OK(cribo_probe_search(probe, 1, features, index, NULL));
    ck_assert_int_eq(index[0], 0);
    ck_assert_int_eq(index[1], -1);
    OK(cribo_probe_predict(probe, CRIBO_PROBE_NEAREST, &maps, shares, NULL));
    for (int c = 0; c < 3; c++) ck_assert_float_eq_tol(shares[c], 1.f / 3, 1e-6f);
    cribo_probe_free(probe);
}
END_TEST

/*
 * Which of the first `offered` one-hot-like features a bounded memory kept: entry i is the direction of angle
 * i.
 */
static void sample_of(uint64_t seed, size_t offered, size_t step, int64_t *kept, size_t most)
{
    cribo_probe_config config = config_of(2, 1);
    config.memory_patches = (int64_t)most;
    config.seed = (int64_t)seed;
    config.neighbours = 1;
    cribo_probe *probe = probe_of(&config, 1);
    float *x = malloc(2 * offered * sizeof *x);
    int32_t *labels = calloc(offered, sizeof *labels);
    for (size_t i = 0; i < offered; i++) {
        x[2 * i] = (float)cos((double)i / (double)offered);
        x[2 * i + 1] = (float)sin((double)i / (double)offered);
    }
    for (size_t i = 0; i < offered; i += step) {
        cribo_patch_maps maps = rows_of((int64_t)(offered - i < step ? offered - i : step), x + 2 * i);
        OK(cribo_probe_add(probe, &maps, labels + i));
    }
    ck_assert_int_eq(entries_of(probe), (int64_t)most);
    for (size_t m = 0; m < most; m++) kept[m] = -1;
    for (size_t i = 0; i < offered;
        i++) { /* an offered feature is in the memory when its nearest entry is itself */
        int64_t index;
        float cosine;
        OK(cribo_probe_search(probe, 1, x + 2 * i, &index, &cosine));
        if (cosine >= 0.9999999f) kept[index] = (int64_t)i;
    }
    free(labels);
    free(x);
    cribo_probe_free(probe);
}

START_TEST(test_probe_add_bounded_memory_is_a_uniform_sample)
{
    enum { OFFERED = 60, MOST = 15, TRIALS = 200 };
    int64_t kept[MOST], again[MOST];
    int times[OFFERED] = {0};
    sample_of(3, OFFERED, OFFERED, kept, MOST);
    sample_of(3, OFFERED, 7, again, MOST);
    ck_assert_mem_eq(kept, again, sizeof kept);
    for (uint64_t seed = 0; seed < TRIALS; seed++) {
        sample_of(seed, OFFERED, OFFERED, kept, MOST);
        for (size_t m = 0; m < MOST; m++) {
            ck_assert_int_ge(kept[m], 0);
            times[kept[m]]++;
        }
    }
    for (size_t i = 0; i < OFFERED; i++) /* 50 expected, with a deviation of 6 */
        ck_assert_msg(times[i] > 22 && times[i] < 78, "%zu was kept %d times", i, times[i]);
}
END_TEST

static cribo_status create_and_add(cribo_probe **out, faulty *allocator, size_t rows)
{
    cribo_probe_config config = config_of(8, 3);
    cribo_runtime runtime;
    OK(cribo_runtime_init(&runtime, sizeof runtime));
    runtime.threads = 2;
    runtime.allocate = faulty_allocate;
    runtime.release = faulty_release;
    runtime.allocator_user = allocator;
    float *x = random_rows(5, rows * 8);
    int32_t *labels = calloc(rows, sizeof *labels);
    float shares[3];
    cribo_patch_maps maps = rows_of((int64_t)rows, x), one = rows_of(1, x);
    for (size_t i = 0; i < rows; i++) labels[i] = (int32_t)(i % 3);
    cribo_status status = cribo_probe_create(out, &config, &runtime);
    if (status == CRIBO_OK) status = cribo_probe_add(*out, &maps, labels);
    if (status == CRIBO_OK) status = cribo_probe_fit(*out, NULL);
    if (status == CRIBO_OK) status = cribo_probe_predict(*out, CRIBO_PROBE_LINEAR, &one, shares, labels);
    free(labels);
    free(x);
    return status;
}

START_TEST(test_probe_out_of_memory_leaks_nothing)
{
    faulty allocator = {0};
    cribo_probe *probe;
    ck_assert_int_eq(create_and_add(&probe, &allocator, 1500), CRIBO_OK);
    cribo_probe_free(probe);
    size_t calls = allocator.calls;
    ck_assert_uint_gt(calls, 20);
    for (size_t at = 1; at <= calls; at++) {
        allocator = (faulty){.fail_at = at, .for_ever = at % 2};
        ck_assert_int_eq(create_and_add(&probe, &allocator, 1500), CRIBO_OUT_OF_MEMORY);
        cribo_probe_free(probe);
        ck_assert_uint_eq(allocator.held, 0);
    }
}
END_TEST

START_TEST(test_probe_add_refused_changes_nothing)
{
    float x[] = {1, 2, 3, 4};
    int32_t labels[] = {1, 1};
    cribo_probe_config config = config_of(2, 2);
    cribo_probe *probe = probe_of(&config, 1);
    cribo_patch_maps maps = rows_of(2, x);
    OK(cribo_probe_add(probe, &maps, labels));
    labels[1] = 2;
    ck_assert_int_eq(cribo_probe_add(probe, &maps, labels), CRIBO_INVALID_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(cribo_last_error(), "labels[1, 0, 0] = 2"));
    ck_assert_int_eq(entries_of(probe), 2);
    cribo_probe_free(probe);
}
END_TEST

/* --- the linear probe --- */

static double penalised_loss(const float *shares, const int32_t *labels, size_t rows, size_t classes)
{
    double loss = 0;
    for (size_t r = 0; r < rows; r++) loss -= log((double)shares[r * classes + (size_t)labels[r]]);
    return loss / (double)rows;
}

START_TEST(test_probe_fit_finds_the_minimum)
{
    enum { ROWS = 1300, D = 5, C = 3 };
    cribo_probe_config config = config_of(D, C);
    config.weight_penalty = 0;
    config.iterations = 1000;
    float *x = random_rows(8, ROWS * D), *shares = malloc(sizeof *shares * ROWS * C);
    float *again = malloc(sizeof *again * ROWS * C);
    int32_t labels[ROWS];
    double loss;
    for (size_t r = 0; r < ROWS; r++)
        labels[r] = (x[r * D] + 0.7f * x[r * D + 1] > 0) + (x[r * D + 3] > 0.8f);
    for (size_t r = 0; r < ROWS; r += 9)
        labels[r] = (int32_t)(r % C); /* not separable: the minimum is finite */
    cribo_patch_maps maps = rows_of(ROWS, x);
    cribo_probe *probe = probe_of(&config, 1), *other = probe_of(&config, 3);
    OK(cribo_probe_add(probe, &maps, labels));
    OK(cribo_probe_add(other, &maps, labels));
    ck_assert_int_eq(cribo_probe_predict(probe, CRIBO_PROBE_LINEAR, &maps, shares, NULL), CRIBO_WRONG_STATE);
    OK(cribo_probe_fit(probe, &loss));
    OK(cribo_probe_fit(other, NULL));
    OK(cribo_probe_predict(probe, CRIBO_PROBE_LINEAR, &maps, shares, NULL));
    OK(cribo_probe_predict(other, CRIBO_PROBE_LINEAR, &maps, again, NULL));
    ck_assert(memcmp(shares, again, sizeof *shares * ROWS * C) == 0);
    ck_assert_double_eq_tol(loss, penalised_loss(shares, labels, ROWS, C), 1e-5);
    ck_assert_double_lt(loss, 0.8 * log(C));
    /*
     * At the minimum of a layer with a bias, the mean share of each class is the class's share of the rows,
     * and residuals are orthogonal to every feature.
     */
    for (size_t c = 0; c < C; c++)
        for (size_t d = 0; d <= D; d++) {
            double slope = 0;
            for (size_t r = 0; r < ROWS; r++) {
                double length = 0;
                for (size_t i = 0; i < D; i++) length += (double)x[r * D + i] * (double)x[r * D + i];
                double feature = d == D ? 1 : (double)x[r * D + d] / sqrt(length) * sqrt(D);
                slope += ((double)shares[r * C + c] - (labels[r] == (int32_t)c)) * feature / ROWS;
            }
            ck_assert_msg(fabs(slope) < 2e-5, "d loss / d W[%zu, %zu] = %g", c, d, slope);
        }
    cribo_probe_free(other);
    cribo_probe_free(probe);
    free(again);
    free(shares);
    free(x);
}
END_TEST

START_TEST(test_probe_fit_greater_penalty_gives_duller_shares)
{
    static const float x[] = {1, 0, 0, 1, -1, 0, 0, -1};
    static const int32_t labels[] = {0, 0, 1, 1};
    cribo_patch_maps maps = rows_of(4, x);
    float before = 1;
    for (int i = 0; i < 4; i++) {
        cribo_probe_config config = config_of(2, 2);
        float shares[8];
        config.weight_penalty = pow(10, i - 3);
        cribo_probe *probe = probe_of(&config, 1);
        OK(cribo_probe_add(probe, &maps, labels));
        OK(cribo_probe_fit(probe, NULL));
        OK(cribo_probe_predict(probe, CRIBO_PROBE_LINEAR, &maps, shares, NULL));
        ck_assert_float_lt(shares[0], before);
        ck_assert_float_gt(shares[0], 0.5f);
        before = shares[0];
        cribo_probe_free(probe);
    }
}
END_TEST

typedef struct heard {
    int level;
    char message[256];
} heard;

static void hear(void *user, int level, const char *message)
{
    heard *h = user;
    h->level = level;
    snprintf(h->message, sizeof h->message, "%s", message);
}

/*
 * A fit that ends before convergence gives a warning with the remaining gradient; a converged fit does not.
 */
START_TEST(test_probe_fit_that_ends_short_says_so)
{
    static const float x[] = {1, 0, 0, 1, -1, 0, 0, -1};
    static const int32_t labels[] = {0, 0, 1, 1};
    cribo_patch_maps maps = rows_of(4, x);
    for (int i = 0; i < 2; i++) {
        cribo_probe_config config = config_of(2, 2);
        cribo_runtime runtime;
        cribo_probe *probe;
        heard h = {0};
        config.iterations = i == 0 ? 1 : 200;
        OK(cribo_runtime_init(&runtime, sizeof runtime));
        runtime.threads = 1;
        runtime.log = hear;
        runtime.log_user = &h;
        OK(cribo_probe_create(&probe, &config, &runtime));
        OK(cribo_probe_add(probe, &maps, labels));
        OK(cribo_probe_fit(probe, NULL));
        cribo_fit_report report = {.struct_size = sizeof report};
        OK(cribo_probe_fit_report(probe, &report));
        ck_assert_int_eq(report.reached, i);
        ck_assert_int_eq(report.gradient <= 1e-6, i);
        ck_assert(i == 0 ? report.iterations == 1 : report.iterations > 1 && report.iterations < 200);
        ck_assert(report.loss > 0 && report.loss < log(2));
        ck_assert_int_eq(h.level, i == 0 ? CRIBO_LOG_WARNING : CRIBO_LOG_INFO);
        ck_assert_ptr_nonnull(strstr(h.message, i == 0 ? "after 1 iterations" : "linear probe: loss"));
        cribo_probe_free(probe);
    }
}
END_TEST

/* --- progress --- */

static int stop_at_once(void *user, const char *phase, double share)
{
    (void)phase, (void)share;
    return (*(int *)user)-- <= 0;
}

START_TEST(test_probe_cancelled_call_leaves_memory_and_layer)
{
    cribo_probe_config config = config_of(4, 2);
    cribo_runtime runtime;
    cribo_probe *probe;
    int patience = 1000;
    float *x = random_rows(1, 80), shares[40], again[40];
    int32_t labels[20];
    for (size_t i = 0; i < 20; i++) labels[i] = i % 3 == 0;
    cribo_patch_maps maps = rows_of(20, x);
    OK(cribo_runtime_init(&runtime, sizeof runtime));
    runtime.progress = stop_at_once;
    runtime.progress_user = &patience;
    OK(cribo_probe_create(&probe, &config, &runtime));
    OK(cribo_probe_add(probe, &maps, labels));
    OK(cribo_probe_fit(probe, NULL));
    OK(cribo_probe_predict(probe, CRIBO_PROBE_LINEAR, &maps, shares, NULL));
    patience = 2;
    ck_assert_int_eq(cribo_probe_fit(probe, NULL), CRIBO_CANCELLED);
    patience = 0;
    ck_assert_int_eq(cribo_probe_search(probe, 20, x, NULL, again), CRIBO_CANCELLED);
    patience = 1000;
    OK(cribo_probe_predict(probe, CRIBO_PROBE_LINEAR, &maps, again, NULL));
    ck_assert_mem_eq(shares, again, sizeof shares);
    cribo_probe_free(probe);
    free(x);
}
END_TEST

/* --- scores --- */

START_TEST(test_confusion_scores_by_hand)
{
    static const int32_t truth[] = {0, 0, 0, 1, 1, 7, 2, 7}, predicted[] = {0, 0, 1, 1, 2, 0, 2, -5};
    int64_t confusion[16] = {0};
    double iou[4];
    cribo_scores s = {.struct_size = sizeof s};
    OK(cribo_confusion_add(4, 7, 8, truth, predicted, confusion));
    OK(cribo_confusion_scores(4, confusion, iou, &s));
    const double expected[] = {2. / 3, 1. / 3, 1. / 2, -1};
    for (int c = 0; c < 4; c++) ck_assert_double_eq_tol(iou[c], expected[c], 1e-15);
    ck_assert_double_eq_tol(s.mean_iou, 0.5, 1e-15);
    ck_assert_double_eq_tol(s.accuracy, 4. / 6, 1e-15);
    ck_assert_double_eq_tol(s.mean_accuracy, (2. / 3 + 1. / 2 + 1) / 3, 1e-15);
    ck_assert_int_eq(s.classes_seen, 3);
    ck_assert_int_eq(s.counted, 6);
}
END_TEST

START_TEST(test_confusion_scores_all_ignored_are_zero)
{
    static const int32_t truth[] = {255, 255}, predicted[] = {0, 1};
    int64_t confusion[4] = {0};
    double iou[2];
    cribo_scores s = {.struct_size = sizeof s, .mean_iou = 9};
    OK(cribo_confusion_add(2, 255, 2, truth, predicted, confusion));
    OK(cribo_confusion_scores(2, confusion, iou, &s));
    ck_assert(iou[0] == -1 && iou[1] == -1 && s.mean_iou == 0 && s.accuracy == 0 && s.mean_accuracy == 0);
    ck_assert(s.classes_seen == 0 && s.counted == 0);
}
END_TEST

/* --- principal components --- */

START_TEST(test_principal_components_of_known_directions)
{
    enum { ROWS = 700, D = 40 };
    static const double size[3] = {5, 3, 1};
    float *noise = random_rows(1, ROWS * 3), *x = calloc((size_t)ROWS * D, sizeof *x);
    float directions[4 * D], projected[ROWS * 4];
    double variance[4];
    for (size_t r = 0; r < ROWS; r++)
        for (size_t k = 0; k < 3; k++) { /* orthogonal: each has its own coordinates */
            for (size_t i = 0; i < 10; i++)
                x[r * D + 10 * k + i] = (float)(size[k] * noise[r * 3 + k] * (i == 3 ? -2 : 1) + 100);
        }
    OK(cribo_principal_components(ROWS, D, x, 4, directions, projected, variance, NULL));
    for (size_t k = 0; k < 3; k++) {
        double along = 0, length = 0, scatter = 0, mean = 0;
        for (size_t i = 0; i < 10; i++)
            along += directions[k * D + 10 * k + i] * (i == 3 ? 2 : -1) / sqrt(13);
        for (size_t i = 0; i < D; i++) length += directions[k * D + i] * directions[k * D + i];
        for (size_t r = 0; r < ROWS; r++) mean += projected[r * 4 + k] / ROWS;
        for (size_t r = 0; r < ROWS; r++) scatter += pow(projected[r * 4 + k] - mean, 2) / (ROWS - 1);
        ck_assert_double_eq_tol(length, 1, 1e-5);
        ck_assert_double_gt(along, 0.99); /* positive where it is greatest; noise correlates a little */
        ck_assert_double_eq_tol(mean, 0, 1e-3);
        ck_assert_double_eq_tol(scatter / variance[k], 1, 1e-3);
    }
    ck_assert_double_eq(variance[3], 0); /* rows vary in three directions only */
    for (size_t i = 0; i < D; i++) ck_assert_float_eq(directions[3 * D + i], 0);
    free(x);
    free(noise);
}
END_TEST

START_TEST(test_principal_components_without_gap_are_orthonormal_for_any_threads)
{
    enum { ROWS = 600, D = 70, K = 5 };
    float *x = random_rows(4, ROWS * D), directions[3][K * D];
    double variance[K];
    for (int t = 0; t < 3; t++) {
        cribo_runtime runtime;
        OK(cribo_runtime_init(&runtime, sizeof runtime));
        runtime.threads = t + 1;
        OK(cribo_principal_components(ROWS, D, x, K, directions[t], NULL, variance, &runtime));
        ck_assert_mem_eq(directions[t], directions[0], sizeof directions[0]);
    }
    for (size_t a = 0; a < K; a++)
        for (size_t b = 0; b < K; b++) {
            double dot = 0, spread = 0;
            for (size_t i = 0; i < D; i++) dot += directions[0][a * D + i] * directions[0][b * D + i];
            ck_assert_double_eq_tol(dot, a == b, 1e-5);
            for (size_t r = 0; a == b && r < ROWS; r++) {
                double along = 0;
                for (size_t i = 0; i < D; i++) along += x[r * D + i] * directions[0][a * D + i];
                spread += along * along / (ROWS - 1);
            }
            if (a == b) ck_assert_double_eq_tol(spread / variance[a], 1, 0.02); /* up to the mean */
        }
    for (size_t a = 1; a < K; a++) ck_assert_double_le(variance[a], variance[a - 1]);
    free(x);
}
END_TEST

START_TEST(test_principal_components_of_equal_rows_are_zero)
{
    static const float x[] = {1, 2, 1, 2, 1, 2};
    float directions[4], projected[6];
    double variance[2];
    OK(cribo_principal_components(3, 2, x, 2, directions, projected, variance, NULL));
    for (int i = 0; i < 4; i++) ck_assert_float_eq(directions[i], 0);
    for (int i = 0; i < 6; i++) ck_assert_float_eq(projected[i], 0);
    ck_assert(variance[0] == 0 && variance[1] == 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("evaluation");
    TCase *tests = tcase_create("evaluation");
    tcase_set_timeout(tests, 240);
    tcase_add_loop_test(tests, test_probe_predict_equals_independent_protocol, 0, 3);
    tcase_add_test(tests, test_probe_search_equals_independent_protocol);
    tcase_add_loop_test(tests, test_probe_search_equals_exhaustive_search_with_ties, 0, 3);
    tcase_add_test(tests, test_probe_search_does_not_depend_on_threads_or_calls);
    tcase_add_test(tests, test_probe_search_does_not_depend_on_lengths);
    tcase_add_test(tests, test_probe_with_fewer_entries_than_neighbours_takes_all);
    tcase_add_test(tests, test_probe_add_patch_to_be_ignored_is_passed_over);
    tcase_add_test(tests, test_probe_add_bounded_memory_is_a_uniform_sample);
    tcase_add_test(tests, test_probe_add_refused_changes_nothing);
    tcase_add_test(tests, test_probe_out_of_memory_leaks_nothing);
    tcase_add_test(tests, test_probe_fit_finds_the_minimum);
    tcase_add_test(tests, test_probe_fit_greater_penalty_gives_duller_shares);
    tcase_add_test(tests, test_probe_fit_that_ends_short_says_so);
    tcase_add_test(tests, test_probe_cancelled_call_leaves_memory_and_layer);
    tcase_add_test(tests, test_confusion_scores_by_hand);
    tcase_add_test(tests, test_confusion_scores_all_ignored_are_zero);
    tcase_add_test(tests, test_principal_components_of_known_directions);
    tcase_add_test(tests, test_principal_components_without_gap_are_orthonormal_for_any_threads);
    tcase_add_test(tests, test_principal_components_of_equal_rows_are_zero);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
