/* Patch centres and the positional cost, against the formulas written out. */
#include "clustering/positions.h"
#include "support/golden.h"
#include "support/suite.h"

#include <check.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>

START_TEST(test_patch_positions_unflipped_are_centres_of_the_crop)
{
    float p[8];
    cb_patch_positions(&(cribo_crop){10, 20, 64, 32, 0}, 2, 2, 16, p);
    const float expected[8] = {25.5f, 27.5f, 57.5f, 27.5f, 25.5f, 43.5f, 57.5f, 43.5f};
    assert_close("positions", p, expected, 8, 1e-6);
}
END_TEST

START_TEST(test_patch_positions_flipped_reverse_the_columns)
{
    float p[8];
    cb_patch_positions(&(cribo_crop){10, 20, 64, 32, 1}, 2, 2, 16, p);
    const float expected[8] = {57.5f, 27.5f, 25.5f, 27.5f, 57.5f, 43.5f, 25.5f, 43.5f};
    assert_close("positions", p, expected, 8, 1e-6);
}
END_TEST

START_TEST(test_patch_positions_golden_crops_agree_to_a_twentieth_pixel)
{
    static const char *const files[] = {"clustering_low_overlap", "clustering_n49_d32_k8",
        "clustering_same_crop", "clustering_n196_d64_k32", "clustering_empty_clusters"};
    golden file = golden_open(files[_i]);
    const size_t images = (size_t)golden_integer(&file, "batch"),
                 tokens = (size_t)golden_integer(&file, "tokens_per_view");
    const size_t size = (size_t)golden_integer(&file, "crop_size"),
                 patch = (size_t)golden_integer(&file, "patch_size");
    const int64_t *crops = golden_integers(&file, NULL, "crop_boxes"); /* top, left, height, width, flip */
    const float *expected = golden_floats(&file, NULL, "positions");
    float *p = malloc(tokens * 2 * sizeof *p);
    for (size_t i = 0; i < images * 2; i++) {
        const int64_t *crop = crops + 5 * i;
        const cribo_crop box = {
            (double)crop[1], (double)crop[0], (double)crop[3], (double)crop[2], crop[4] != 0};
        cb_patch_positions(&box, size / patch, size / patch, patch, p);
        assert_close("positions", p, expected + i * tokens * 2, tokens * 2, 0.06);
    }
    free(p);
    golden_close(&file);
}
END_TEST

enum { JOINT = 37, CLUSTERS = 5 };

typedef struct scene {
    cb_real x[JOINT], y[JOINT], shares[CLUSTERS * JOINT], distances[JOINT * JOINT], g[CLUSTERS * JOINT];
    int32_t labels[JOINT];
} scene;

/*
 * Places on a coarse grid, so that some coincide; cluster 3 empty, cluster 4 of one token; some shares are 0.
 */
static void make_scene(scene *s)
{
    for (int i = 0; i < JOINT; i++) {
        s->x[i] = (cb_real)(i * 17 % 7 * 10);
        s->y[i] = (cb_real)(i * 5 % 4 * 10);
        s->labels[i] = i == 0 ? 4 : i % 5 == 0 ? -1 : i % 3;
        for (int k = 0; k < CLUSTERS; k++)
            s->shares[k * JOINT + i] = (cb_real)((i * 11 + k * 7) % 13 * (k != 3)) / 13;
    }
}

/* (b) of the reference: the least of D A that is not 0. */
static double least(const scene *s, int i, int k, bool hard)
{
    double best = INFINITY;
    for (int j = 0; j < JOINT; j++) {
        double a = hard ? s->labels[j] == k : (double)s->shares[k * JOINT + j];
        double product = a * hypot((double)s->x[i] - (double)s->x[j], (double)s->y[i] - (double)s->y[j]);
        if (product != 0 && product < best) best = product;
    }
    return best == INFINITY ? 0 : fmin(best, 100000);
}

static void check_scene(const scene *s, bool hard)
{
    for (int k = 0; k < CLUSTERS; k++)
        for (int i = 0; i < JOINT; i++)
            ck_assert_double_eq_tol(s->g[k * JOINT + i], least(s, i, k, hard), 1e-4);
}

static const uint8_t all[CLUSTERS] = {1, 1, 1, 1, 1};

START_TEST(test_nearest_members_skip_the_own_place)
{
    scene s;
    make_scene(&s);
    cb_nearest_members(s.g, s.x, s.y, s.labels, all, JOINT, CLUSTERS);
    check_scene(&s, true);
    for (int i = 0; i < JOINT; i++) ck_assert(s.g[3 * JOINT + i] == 0); /* no token there */
    ck_assert(s.g[4 * JOINT] == 0);                                     /* only itself */
}
END_TEST

START_TEST(test_nearest_members_unchanged_clusters_stay)
{
    static const uint8_t changed[CLUSTERS] = {0, 1, 0, 0, 1};
    scene s;
    make_scene(&s);
    for (int i = 0; i < CLUSTERS * JOINT; i++) s.g[i] = -1;
    cb_nearest_members(s.g, s.x, s.y, s.labels, changed, JOINT, CLUSTERS);
    for (int k = 0; k < CLUSTERS; k++)
        for (int i = 0; i < JOINT; i++)
            ck_assert_double_eq_tol(s.g[k * JOINT + i], changed[k] ? least(&s, i, k, true) : -1, 1e-4);
}
END_TEST

START_TEST(test_least_products_skip_zeros)
{
    scene s;
    make_scene(&s);
    cb_token_distances(s.distances, s.x, s.y, JOINT);
    cb_least_products(s.g, s.distances, s.shares, JOINT, CLUSTERS);
    check_scene(&s, false);
}
END_TEST

START_TEST(test_positional_cost_far_members_are_cut)
{
    scene s;
    make_scene(&s);
    for (int i = 0; i < JOINT; i++) s.x[i] *= (cb_real)1e30;
    cb_nearest_members(s.g, s.x, s.y, s.labels, all, JOINT, CLUSTERS);
    check_scene(&s, true);
    for (int i = 0; i < JOINT; i++) s.x[i] = i % 2 ? (cb_real)3e38 : (cb_real)-3e38;
    cb_token_distances(s.distances, s.x, s.y, JOINT);
    cb_least_products(s.g, s.distances, s.shares, JOINT, CLUSTERS);
    for (int i = 0; i < CLUSTERS * JOINT; i++) ck_assert(s.g[i] >= 0 && s.g[i] <= 100000);
}
END_TEST

START_TEST(test_positional_normalisation_zeros_take_the_mean)
{
    cb_real g[6] = {0, 4, 2, 0, 0, 6}, ones[3];
    const float expected[6] = {2.f / 6, 4.f / 6, 2.f / 6, 2.f / 6, 2.f / 6, 1};
    cb_normalise_positional_cost(g, g, 3, 2, ones);
    assert_close("g", g, expected, 6, 1e-6);
}
END_TEST

/* One over the largest would be infinite. */
START_TEST(test_positional_normalisation_tiniest_cost_is_finite)
{
    cb_real g[6] = {0, FLT_TRUE_MIN, 0, 0, 0, FLT_TRUE_MIN}, ones[3];
    cb_normalise_positional_cost(g, g, 3, 2, ones);
    for (int i = 0; i < 6; i++) ck_assert(g[i] >= 0 && g[i] <= 1);
    ck_assert(g[1] == 1 && g[5] == 1);
}
END_TEST

START_TEST(test_positional_normalisation_all_in_one_place_stays_zero)
{
    cb_real g[6] = {0}, ones[3];
    cb_normalise_positional_cost(g, g, 3, 2, ones);
    for (int i = 0; i < 6; i++) ck_assert(g[i] == 0);
}
END_TEST

int main(void)
{
    TCase *tests = tcase_create("positions");
    tcase_add_test(tests, test_patch_positions_unflipped_are_centres_of_the_crop);
    tcase_add_test(tests, test_patch_positions_flipped_reverse_the_columns);
    tcase_add_loop_test(tests, test_patch_positions_golden_crops_agree_to_a_twentieth_pixel, 0, 5);
    tcase_add_test(tests, test_nearest_members_skip_the_own_place);
    tcase_add_test(tests, test_nearest_members_unchanged_clusters_stay);
    tcase_add_test(tests, test_least_products_skip_zeros);
    tcase_add_test(tests, test_positional_cost_far_members_are_cut);
    tcase_add_test(tests, test_positional_normalisation_zeros_take_the_mean);
    tcase_add_test(tests, test_positional_normalisation_tiniest_cost_is_finite);
    tcase_add_test(tests, test_positional_normalisation_all_in_one_place_stays_zero);
    Suite *suite = suite_create("positions");
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
