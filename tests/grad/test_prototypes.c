/*
 * The gradients of the streamed loss in bottlenecks, directions and gains, by finite differences in double
 * precision.
 */
#include "support/prototype_problem.h"
#include "support/suite.h"

typedef struct shape {
    size_t prototypes, width, rows, teacher_rows, chunk; /* chunk 0: one */
} shape;

/* Odd sizes; chunks of one, of some, with a short last one; more and fewer teacher rows than student rows. */
static const shape shapes[] = {
    {7, 3, 5, 4, 0},
    {7, 3, 5, 4, 1},
    {23, 5, 9, 3, 4},
    {61, 4, 6, 11, 24},
    {2, 1, 4, 1, 1},
};

static double total_loss(prototype_problem *p, size_t logit_count)
{
    prototype_problem_run(NULL, p, logit_count, false, false);
    return p->job.loss[0] + p->job.loss[1];
}

/* Central differences; the problem is small enough to be smooth at this step. */
static void check_gradient(prototype_problem *p, size_t logit_count, const char *what, cb_real *values,
    const cb_real *gradient, size_t n)
{
    const double step = 1e-5;
    double largest = 0;
    for (size_t i = 0; i < n; i++) largest = fmax(largest, fabs(gradient[i]));
    for (size_t i = 0; i < n; i++) {
        cb_real value = values[i];
        values[i] = value + step;
        double above = total_loss(p, logit_count);
        values[i] = value - step;
        double below = total_loss(p, logit_count);
        values[i] = value;
        double expected = (above - below) / (2 * step);
        ck_assert_msg(fabs(gradient[i] - expected) <= 1e-7 * (1 + largest),
            "d%s[%zu] = %.12g, by differences %.12g", what, i, gradient[i], expected);
    }
}

static cb_real *copy(const cb_real *values, size_t n)
{
    cb_real *result = malloc((n + 1) * sizeof *result);
    memcpy(result, values, n * sizeof *result);
    return result;
}

START_TEST(test_prototype_loss_gradients_match_differences)
{
    const shape *s = &shapes[_i];
    size_t logit_count = s->chunk * (s->rows + s->teacher_rows), size = s->prototypes * s->width;
    prototype_problem p = prototype_problem_create(s->prototypes, s->width, s->rows, s->teacher_rows, 0.4);
    prototype_problem_run(NULL, &p, logit_count, true, false);
    cb_real *dx = copy(p.dx, s->rows * s->width), *dv = copy(p.du, size);
    cb_real *dgain = malloc(s->prototypes * sizeof *dgain);
    cb_prototypes_weight_gradient(NULL, &p.student, dv, dgain);

    check_gradient(&p, logit_count, "x", p.x, dx, s->rows * s->width);
    check_gradient(&p, logit_count, "v", p.direction[0], dv, size);
    check_gradient(&p, logit_count, "g", p.gain[0], dgain, s->prototypes);
    free(dx);
    free(dv);
    free(dgain);
    prototype_problem_free(&p);
}
END_TEST

/* Losses, gradients and signs are those of the direct computation to the last digits of double precision. */
START_TEST(test_prototype_loss_double_equals_direct)
{
    const shape *s = &shapes[_i];
    prototype_problem p = prototype_problem_create(s->prototypes, s->width, s->rows, s->teacher_rows, 2);
    prototype_problem_run(NULL, &p, s->chunk * (s->rows + s->teacher_rows), true, true);
    direct_result direct = direct_loss(&p);
    for (int j = 0; j < CB_TERMS; j++) ck_assert_double_eq_tol(p.job.loss[j], direct.loss[j], 1e-12);
    assert_reals_near("dx", p.dx, direct.dx, s->rows * s->width, 1e-12);
    assert_reals_near("du", p.du, direct.du, s->prototypes * s->width, 1e-12);
    assert_reals_near("mean", p.mean, direct.mean, s->prototypes, 1e-12);
    ck_assert_double_eq_tol(p.signs.entropy, direct.entropy, 1e-12);
    direct_free(&direct);
    prototype_problem_free(&p);
}
END_TEST

int main(void)
{
    const int count = sizeof shapes / sizeof shapes[0];
    Suite *suite = suite_create("prototype gradients");
    TCase *cases = tcase_create("prototype gradients");
    tcase_set_timeout(cases, 120);
    tcase_add_loop_test(cases, test_prototype_loss_gradients_match_differences, 0, count);
    tcase_add_loop_test(cases, test_prototype_loss_double_equals_direct, 0, count);
    suite_add_tcase(suite, cases);
    return run_suite(suite);
}
