/* The KoLeo regulariser: its value by hand, its gradient against central differences, and its edges. */
#include "base/random.h"
#include "distillation/koleo.h"
#include "support/suite.h"

#include <check.h>
#include <math.h>
#include <string.h>

enum { ROWS = 9, WIDTH = 5 };

typedef struct problem {
    cb_real x[ROWS * WIDTH], u[ROWS * WIDTH], dx[ROWS * WIDTH];
    unsigned char memory[16384];
    cb_koleo_workspace work;
} problem;

static void begin(problem *p)
{
    cb_random random = cb_random_begin(7, CB_PURPOSE_CALLER, 0, 0);
    for (size_t i = 0; i < ROWS * WIDTH; i++) p->x[i] = (cb_real)cb_random_normal(&random);
    uintptr_t start = ((uintptr_t)p->memory + CB_ALIGNMENT) / CB_ALIGNMENT * CB_ALIGNMENT;
    cb_arena arena = {.base = (unsigned char *)start, .capacity = sizeof p->memory - CB_ALIGNMENT};
    p->work = cb_koleo_workspace_take(&arena, ROWS);
}

static double run_with(cb_pool *pool, problem *p, size_t rows, double weight)
{
    const cb_koleo_job job = {rows, WIDTH, weight, p->u, p->dx};
    memcpy(p->u, p->x, sizeof p->u);
    return cb_koleo(pool, &job, &p->work);
}

static double run(problem *p, size_t rows, double weight)
{
    return run_with(NULL, p, rows, weight);
}

START_TEST(test_koleo_gradient_equals_finite_differences)
{
    const double step = 1e-6;
    problem p;
    cb_real gradient[ROWS * WIDTH];
    begin(&p);
    run(&p, ROWS, 0.7);
    memcpy(gradient, p.dx, sizeof gradient);
    for (size_t i = 0; i < ROWS * WIDTH; i++) {
        cb_real before = p.x[i];
        p.x[i] = before + step;
        double above = run(&p, ROWS, 0.7);
        p.x[i] = before - step;
        double slope = (above - run(&p, ROWS, 0.7)) / (2 * step);
        p.x[i] = before;
        ck_assert_double_eq_tol(gradient[i], slope, 1e-7);
    }
}
END_TEST

START_TEST(test_koleo_of_known_vectors)
{
    problem p;
    const cb_real x[3][WIDTH] = {{2, 0, 0, 0, 0}, {0, 3, 0, 0, 0}, {-1, 0, 0, 0, 0}};
    begin(&p);
    memcpy(p.x, x, sizeof x);
    /* Each has a neighbour at a right angle: δ = √2. */
    ck_assert_double_eq_tol(run(&p, 3, 1), -log(sqrt(2)), 1e-12);
}
END_TEST

START_TEST(test_koleo_is_finite_for_duplicates_and_zeros)
{
    problem p;
    begin(&p);
    memcpy(p.x + WIDTH, p.x, WIDTH * sizeof *p.x);
    memset(p.x + 2 * WIDTH, 0, WIDTH * sizeof *p.x);
    ck_assert(isfinite(run(&p, ROWS, 1)));
    for (size_t i = 0; i < ROWS * WIDTH; i++) ck_assert(fabs(p.dx[i]) < 1e3);
}
END_TEST

/* Duplicates alone: the bound of the distance, and no gradient. */
START_TEST(test_koleo_of_duplicates_is_the_bound)
{
    problem p;
    begin(&p);
    memcpy(p.x + WIDTH, p.x, WIDTH * sizeof *p.x);
    ck_assert_double_eq_tol(run(&p, 2, 3), -3 * log(CB_KOLEO_EPSILON), 1e-12);
    for (size_t i = 0; i < 2 * WIDTH; i++) ck_assert(p.dx[i] == 0);
}
END_TEST

START_TEST(test_koleo_of_numbers_that_are_not_finite_is_not_finite)
{
    problem p;
    begin(&p);
    for (size_t i = 0; i < ROWS * WIDTH; i++) p.x[i] = NAN;
    ck_assert(isnan(run(&p, ROWS, 1)));
}
END_TEST

START_TEST(test_koleo_threads_give_the_same_bits)
{
    const cb_allocator standard = {0};
    cb_pool *pool;
    problem p;
    cb_real gradient[ROWS * WIDTH];
    begin(&p);
    double loss = run(&p, ROWS, 1);
    memcpy(gradient, p.dx, sizeof gradient);
    ck_assert_int_eq(cb_pool_create(&standard, &pool, 3), CRIBO_OK);
    ck_assert(run_with(pool, &p, ROWS, 1) == loss);
    ck_assert_mem_eq(gradient, p.dx, sizeof gradient);
    cb_pool_free(pool);
}
END_TEST

START_TEST(test_koleo_of_one_vector_is_nothing)
{
    problem p;
    begin(&p);
    ck_assert(run(&p, 1, 1) == 0);
    for (size_t i = 0; i < WIDTH; i++) ck_assert(p.dx[i] == 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("gradients of the KoLeo regulariser");
    TCase *tests = tcase_create("koleo");
    tcase_add_test(tests, test_koleo_gradient_equals_finite_differences);
    tcase_add_test(tests, test_koleo_of_known_vectors);
    tcase_add_test(tests, test_koleo_is_finite_for_duplicates_and_zeros);
    tcase_add_test(tests, test_koleo_of_one_vector_is_nothing);
    tcase_add_test(tests, test_koleo_of_duplicates_is_the_bound);
    tcase_add_test(tests, test_koleo_of_numbers_that_are_not_finite_is_not_finite);
    tcase_add_test(tests, test_koleo_threads_give_the_same_bits);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
