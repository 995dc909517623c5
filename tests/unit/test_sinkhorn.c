/* Sinkhorn's algorithm, and the way from a transport to labels and Q*. */
#include "clustering/assignment.h"
#include "clustering/sinkhorn.h"
#include "support/golden.h"
#include "support/suite.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>

enum { JOINT = 6, CLUSTERS = 3 };

static const cb_cost_range unit_range = {0, 1};
static const cb_real costs[CLUSTERS * JOINT] = {
    0, 0.1f, 0.5f, 0.9f, 1, 0.3f, 0.8f, 0.7f, 0, 0.2f, 0.6f, 0.5f, 0.4f, 1, 0.3f, 0.7f, 0.1f, 0.2f};
static const cb_real masses[CLUSTERS] = {0.5f, 0.2f, 0.3f};

typedef struct scene {
    cb_real plan[CLUSTERS * JOINT], scratch[2 * JOINT];
} scene;

static scene solve(const cb_real *mass, cb_cost_range range, double lambda, size_t iterations)
{
    scene s;
    for (int i = 0; i < CLUSTERS * JOINT; i++) s.plan[i] = costs[i];
    cb_sinkhorn(s.plan, JOINT, CLUSTERS, mass, range, lambda, iterations, s.scratch);
    return s;
}

static double cluster_sum(const scene *s, int k)
{
    double sum = 0;
    for (int i = 0; i < JOINT; i++) sum += (double)s->plan[k * JOINT + i];
    return sum;
}

static double token_sum(const scene *s, int i)
{
    double sum = 0;
    for (int k = 0; k < CLUSTERS; k++) sum += (double)s->plan[k * JOINT + i];
    return sum;
}

START_TEST(test_sinkhorn_last_scaling_is_that_of_the_clusters)
{
    scene s = solve(masses, unit_range, 20, 1);
    for (int k = 0; k < CLUSTERS; k++) ck_assert_double_eq_tol(cluster_sum(&s, k), (double)masses[k], 1e-6);
    ck_assert(fabs(token_sum(&s, 0) - 1.0 / JOINT) > 1e-3);
}
END_TEST

START_TEST(test_sinkhorn_converges_to_both_marginals)
{
    scene s = solve(masses, unit_range, 5, 500);
    for (int k = 0; k < CLUSTERS; k++) ck_assert_double_eq_tol(cluster_sum(&s, k), (double)masses[k], 1e-6);
    for (int i = 0; i < JOINT; i++) ck_assert_double_eq_tol(token_sum(&s, i), 1.0 / JOINT, 1e-5);
}
END_TEST

/* One iteration written out, in double precision and without taking off the least cost. */
START_TEST(test_sinkhorn_one_iteration_follows_the_formula)
{
    scene s = solve(masses, (cb_cost_range){-1, 3}, 8, 1);
    double p[CLUSTERS][JOINT];
    for (int i = 0; i < JOINT; i++) {
        double sum = 0;
        for (int k = 0; k < CLUSTERS; k++) sum += p[k][i] = exp(-8 * ((double)costs[k * JOINT + i] + 1) / 4);
        for (int k = 0; k < CLUSTERS; k++) p[k][i] /= sum * JOINT;
    }
    for (int k = 0; k < CLUSTERS; k++) {
        double sum = 0;
        for (int i = 0; i < JOINT; i++) sum += p[k][i];
        for (int i = 0; i < JOINT; i++)
            ck_assert_double_eq_tol(s.plan[k * JOINT + i], p[k][i] * (double)masses[k] / sum, 1e-6);
    }
}
END_TEST

START_TEST(test_sinkhorn_flat_cost_is_uniform)
{
    scene s = solve(masses, (cb_cost_range){0.5f, 0.5f}, 20, 5);
    for (int k = 0; k < CLUSTERS; k++)
        for (int i = 0; i < JOINT; i++)
            ck_assert_double_eq_tol(s.plan[k * JOINT + i], (double)masses[k] / JOINT, 1e-6);
}
END_TEST

START_TEST(test_sinkhorn_underflow_is_zero_and_never_nan)
{
    static const size_t iterations[] = {1, 5, 1000};
    const cb_real tiny[CLUSTERS] = {1e-6f, 1e-6f, 1 - 2e-6f};
    scene s = solve(tiny, unit_range, 1e4, iterations[_i]);
    for (int i = 0; i < CLUSTERS * JOINT; i++) ck_assert(isfinite(s.plan[i]) && s.plan[i] >= 0);
    ck_assert(s.plan[1] > 0);          /* the least cost of its token */
    ck_assert(s.plan[JOINT + 1] == 0); /* 0.6 lambda worse */
}
END_TEST

START_TEST(test_sinkhorn_cluster_that_nobody_wants_stays_empty)
{
    scene s;
    for (int i = 0; i < JOINT; i++) s.plan[i] = 1, s.plan[JOINT + i] = 0, s.plan[2 * JOINT + i] = 0.01f;
    cb_sinkhorn(s.plan, JOINT, CLUSTERS, masses, unit_range, 1000, 5, s.scratch);
    ck_assert(cluster_sum(&s, 0) == 0);
    ck_assert_double_eq_tol(cluster_sum(&s, 1), 0.2, 1e-6);
    ck_assert_double_eq_tol(cluster_sum(&s, 2), 0.3, 1e-6);
}
END_TEST

START_TEST(test_cost_range_finds_both_ends)
{
    cb_real scratch[2 * JOINT], cost[CLUSTERS * JOINT];
    for (int at = 0; at < CLUSTERS * JOINT - 1; at++) {
        for (int i = 0; i < CLUSTERS * JOINT; i++) cost[i] = costs[i];
        cost[at] = -7;
        cost[at + 1] = 9;
        cb_cost_range range = cb_find_cost_range(cost, JOINT, CLUSTERS, scratch);
        ck_assert(range.low == -7 && range.high == 9);
    }
}
END_TEST

START_TEST(test_labels_lowest_of_equals_wins)
{
    const cb_real transport[3 * 4] = {1, 2, 3, 0, 1, 3, 3, 0, 0, 3, 4, 0};
    cb_real best[4];
    int32_t labels[4];
    cb_label_tokens(labels, transport, 4, 3, best);
    ck_assert_int_eq(labels[0], 0);
    ck_assert_int_eq(labels[1], 1);
    ck_assert_int_eq(labels[2], 2);
    ck_assert_int_eq(labels[3], 0);
}
END_TEST

START_TEST(test_assignment_by_labels_is_one_over_size)
{
    const int32_t labels[4] = {2, 0, 2, 2};
    const float expected[12] = {0, 0, 1.f / 3, 1, 0, 0, 0, 0, 1.f / 3, 0, 0, 1.f / 3};
    cb_real assignment[12], sizes[3];
    cb_assign_by_labels(assignment, labels, 4, 3, sizes);
    assert_close("assignment", assignment, expected, 12, 1e-7);
}
END_TEST

/* The second view of two tokens; normalising columns moves the label of its first token from 0 to 1. */
START_TEST(test_assignment_by_shares_labels_after_normalisation)
{
    const cb_real transport[3 * 4] = {9, 9, 4, 12, 9, 9, 3, 1, 0, 0, 0, 0};
    const float expected[6] = {0.25f, 0.75f, 0, 0.75f, 0.25f, 0};
    cb_real assignment[6];
    int32_t labels[2];
    cb_assign_by_shares(assignment, labels, transport + 2, 4, 2, 3);
    assert_close("assignment", assignment, expected, 6, 1e-7);
    ck_assert_int_eq(labels[0], 1);
    ck_assert_int_eq(labels[1], 0);
}
END_TEST

START_TEST(test_validity_needs_both_views)
{
    const int32_t labels[6] = {0, 1, 1, 1, 2, 1};
    uint8_t valid[4];
    cb_mark_valid(valid, labels, 3, 4);
    for (int k = 0; k < 4; k++) ck_assert_int_eq(valid[k], k == 1);
}
END_TEST

int main(void)
{
    TCase *tests = tcase_create("sinkhorn");
    tcase_add_test(tests, test_sinkhorn_last_scaling_is_that_of_the_clusters);
    tcase_add_test(tests, test_sinkhorn_converges_to_both_marginals);
    tcase_add_test(tests, test_sinkhorn_one_iteration_follows_the_formula);
    tcase_add_test(tests, test_sinkhorn_flat_cost_is_uniform);
    tcase_add_loop_test(tests, test_sinkhorn_underflow_is_zero_and_never_nan, 0, 3);
    tcase_add_test(tests, test_sinkhorn_cluster_that_nobody_wants_stays_empty);
    tcase_add_test(tests, test_cost_range_finds_both_ends);
    tcase_add_test(tests, test_labels_lowest_of_equals_wins);
    tcase_add_test(tests, test_assignment_by_labels_is_one_over_size);
    tcase_add_test(tests, test_assignment_by_shares_labels_after_normalisation);
    tcase_add_test(tests, test_validity_needs_both_views);
    Suite *suite = suite_create("sinkhorn");
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
