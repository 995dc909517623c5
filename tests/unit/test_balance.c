/* Sinkhorn-Knopp centring against the plain algorithm on a whole matrix in double precision. */
#include "distillation/balance.h"
#include "support/suite.h"
#include "tensor/gemm.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct problem {
    size_t rows, prototypes, width;
    cb_real *direction, *gain, *scale, *x, *centre;
    cb_prototypes teacher;
    cb_real temperature;
} problem;

static cb_real random_number(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (cb_real)((double)(*state >> 33) / (double)(1u << 30) - 1);
}

static cb_real *random_numbers(size_t count, uint64_t *state)
{
    cb_real *numbers = malloc(count * sizeof *numbers);
    ck_assert_ptr_nonnull(numbers);
    for (size_t i = 0; i < count; i++) numbers[i] = random_number(state);
    return numbers;
}

static problem make(size_t rows, size_t prototypes, cb_real temperature)
{
    uint64_t state = rows * 31 + prototypes;
    problem p = {.rows = rows, .prototypes = prototypes, .width = 8, .temperature = temperature};
    p.direction = random_numbers(prototypes * p.width, &state);
    p.gain = random_numbers(prototypes, &state);
    p.x = random_numbers(rows * p.width, &state);
    p.scale = random_numbers(prototypes, &state);
    p.centre = random_numbers(prototypes, &state);
    for (size_t i = 0; i < prototypes; i++) p.gain[i] = 1;
    p.teacher = (cb_prototypes){prototypes, p.width, p.direction, p.gain, p.scale, false};
    return p;
}

static void release(problem *p)
{
    free(p->direction);
    free(p->gain);
    free(p->x);
    free(p->scale);
    free(p->centre);
}

static void run(cb_pool *pool, problem *p, size_t iterations)
{
    const cb_allocator standard = {0};
    cb_arena arena = cb_arena_measure();
    cb_balance_workspace_take(&arena, p->rows, p->prototypes);
    ck_assert_int_eq(cb_arena_create(&standard, &arena, arena.peak, "test"), CRIBO_OK);
    cb_balance_workspace work = cb_balance_workspace_take(&arena, p->rows, p->prototypes);
    cb_prototypes_refresh(pool, &p->teacher);
    const cb_balance_job job = {&p->teacher, p->temperature, p->rows, iterations, p->x, p->centre};
    cb_balance(pool, &job, &work);
    cb_arena_destroy(&standard, &arena);
}

/* exp(t / τ) as a matrix. */
static double *exponentials(const problem *p)
{
    double *e = malloc(p->rows * p->prototypes * sizeof *e);
    ck_assert_ptr_nonnull(e);
    for (size_t r = 0; r < p->rows; r++)
        for (size_t j = 0; j < p->prototypes; j++) {
            const cb_real *v = p->direction + j * p->width, *x = p->x + r * p->width;
            double dot = 0, length = 0;
            for (size_t i = 0; i < p->width; i++) {
                dot += (double)v[i] * (double)x[i];
                length += (double)v[i] * (double)v[i];
            }
            e[r * p->prototypes + j] = exp(dot / sqrt(length) / (double)p->temperature);
        }
    return e;
}

/* As published: the matrix's columns and rows are divided by their sums in turn. */
static void sinkhorn(const problem *p, double *q, size_t iterations)
{
    for (size_t i = 0; i < iterations; i++) {
        for (size_t j = 0; j < p->prototypes; j++) {
            double sum = 0;
            for (size_t r = 0; r < p->rows; r++) sum += q[r * p->prototypes + j];
            for (size_t r = 0; r < p->rows; r++) q[r * p->prototypes + j] /= sum * (double)p->prototypes;
        }
        for (size_t r = 0; r < p->rows; r++) {
            double sum = 0;
            for (size_t j = 0; j < p->prototypes; j++) sum += q[r * p->prototypes + j];
            for (size_t j = 0; j < p->prototypes; j++) q[r * p->prototypes + j] /= sum * (double)p->rows;
        }
    }
    for (size_t i = 0; i < p->rows * p->prototypes; i++) q[i] *= (double)p->rows;
}

static void assert_targets_are_those_of_sinkhorn(size_t rows, size_t prototypes, size_t iterations)
{
    problem p = make(rows, prototypes, (cb_real)0.2);
    double *expected = exponentials(&p), *e = exponentials(&p);
    sinkhorn(&p, expected, iterations);
    run(NULL, &p, iterations);
    for (size_t r = 0; r < rows; r++) {
        double sum = 0;
        for (size_t j = 0; j < prototypes; j++)
            sum += e[r * prototypes + j] * exp(-(double)(p.centre[j] / p.temperature));
        for (size_t j = 0; j < prototypes; j++) {
            double target = e[r * prototypes + j] * exp(-(double)(p.centre[j] / p.temperature)) / sum;
            ck_assert_double_eq_tol(
                target, expected[r * prototypes + j], 2e-5 * expected[r * prototypes + j] + 1e-9);
        }
    }
    free(expected);
    free(e);
    release(&p);
}

START_TEST(test_balance_equals_plain_sinkhorn)
{
    assert_targets_are_those_of_sinkhorn(5, 3, 3);
    assert_targets_are_those_of_sinkhorn(7, 130, 1);
    assert_targets_are_those_of_sinkhorn(33, 700, 3);
    assert_targets_are_those_of_sinkhorn(1, 40, 2);
}
END_TEST

/* 4200 rows leave a chunk of 1024 and one of 76 prototypes. */
START_TEST(test_balance_in_chunks_equals_plain_sinkhorn)
{
    assert_targets_are_those_of_sinkhorn(4200, 1100, 2);
}
END_TEST

START_TEST(test_balance_gives_each_prototype_its_share)
{
    problem p = make(400, 20, (cb_real)0.3);
    double *e = exponentials(&p), share[20] = {0};
    run(NULL, &p, 60);
    for (size_t r = 0; r < 400; r++) {
        double sum = 0;
        for (size_t j = 0; j < 20; j++) sum += e[r * 20 + j] * exp(-(double)(p.centre[j] / p.temperature));
        for (size_t j = 0; j < 20; j++)
            share[j] += e[r * 20 + j] * exp(-(double)(p.centre[j] / p.temperature)) / sum / 400;
    }
    for (size_t j = 0; j < 20; j++) ck_assert_double_eq_tol(share[j], 1.0 / 20, 1e-4);
    free(e);
    release(&p);
}
END_TEST

START_TEST(test_balance_stays_finite_where_exponentials_overflow)
{
    problem p = make(40, 300, (cb_real)1e-4);
    run(NULL, &p, 3);
    for (size_t j = 0; j < 300; j++) ck_assert(isfinite(p.centre[j]));
    release(&p);
}
END_TEST

START_TEST(test_balance_has_the_same_bits_for_any_number_of_threads)
{
    const cb_allocator standard = {0};
    problem one = make(60, 2000, (cb_real)0.05), three = make(60, 2000, (cb_real)0.05);
    cb_pool *pool;
    ck_assert_int_eq(cb_pool_create(&standard, &pool, 3), CRIBO_OK);
    run(NULL, &one, 3);
    run(pool, &three, 3);
    ck_assert_mem_eq(one.centre, three.centre, 2000 * sizeof *one.centre);
    cb_pool_free(pool);
    release(&one);
    release(&three);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("balance");
    TCase *tests = tcase_create("balance");
    const cb_runtime runtime = {0};
    (void)!cb_gemm_begin(&runtime);
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, test_balance_equals_plain_sinkhorn);
    tcase_add_test(tests, test_balance_in_chunks_equals_plain_sinkhorn);
    tcase_add_test(tests, test_balance_gives_each_prototype_its_share);
    tcase_add_test(tests, test_balance_stays_finite_where_exponentials_overflow);
    tcase_add_test(tests, test_balance_has_the_same_bits_for_any_number_of_threads);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
