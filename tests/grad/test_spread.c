/* The KoLeo regulariser: its value by hand, its gradient against central differences, and its edges. */
#include "base/random.h"
#include "distillation/spread.h"
#include "support/suite.h"

#include <check.h>
#include <math.h>
#include <string.h>

enum { ROWS = 9, WIDTH = 5 };

typedef struct problem {
    cb_real x[ROWS * WIDTH], dx[ROWS * WIDTH];
    unsigned char memory[16384];
    cb_spread_workspace work;
} problem;

static void begin(problem *p)
{
    cb_random random = cb_random_begin(7, CB_PURPOSE_CALLER, 0, 0);
    for (size_t i = 0; i < ROWS * WIDTH; i++) p->x[i] = (cb_real)cb_random_normal(&random);
    uintptr_t start = ((uintptr_t)p->memory + CB_ALIGNMENT) / CB_ALIGNMENT * CB_ALIGNMENT;
    cb_arena arena = {.base = (unsigned char *)start, .capacity = sizeof p->memory - CB_ALIGNMENT};
    p->work = cb_spread_workspace_take(&arena, ROWS, WIDTH);
}

static double run(problem *p, size_t rows, double weight)
{
    const cb_spread_job job = {rows, WIDTH, p->x, weight, p->dx};
    memset(p->dx, 0, sizeof p->dx);
    return cb_spread(NULL, &job, &p->work);
}

START_TEST(test_spread_gradient_equals_finite_differences)
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

START_TEST(test_spread_of_known_vectors)
{
    problem p;
    const cb_real x[3][WIDTH] = {{2, 0, 0, 0, 0}, {0, 3, 0, 0, 0}, {-1, 0, 0, 0, 0}};
    begin(&p);
    memcpy(p.x, x, sizeof x);
    /* Each has a neighbour at a right angle: δ = √2. */
    ck_assert_double_eq_tol(run(&p, 3, 1), -log(sqrt(2)), 1e-12);
}
END_TEST

START_TEST(test_spread_is_finite_for_duplicates_and_zeros)
{
    problem p;
    begin(&p);
    memcpy(p.x + WIDTH, p.x, WIDTH * sizeof *p.x);
    memset(p.x + 2 * WIDTH, 0, WIDTH * sizeof *p.x);
    ck_assert(isfinite(run(&p, ROWS, 1)));
    for (size_t i = 0; i < ROWS * WIDTH; i++) ck_assert(isfinite(p.dx[i]));
}
END_TEST

START_TEST(test_spread_of_one_vector_is_nothing)
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
    TCase *tests = tcase_create("spread");
    tcase_add_test(tests, test_spread_gradient_equals_finite_differences);
    tcase_add_test(tests, test_spread_of_known_vectors);
    tcase_add_test(tests, test_spread_is_finite_for_duplicates_and_zeros);
    tcase_add_test(tests, test_spread_of_one_vector_is_nothing);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
