/* Gradients of the losses from logits against central differences, in double precision. */
#include "base/random.h"
#include "distillation/loss.h"
#include "support/suite.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>

enum { IMAGES = 3, OBJECTS = 5, CLS = 7, OBJECT = 6 };

typedef struct problem {
    cb_runtime runtime;
    cb_loss *loss;
    cb_real student[2][2 * OBJECTS * CLS], teacher[2][2 * OBJECTS * CLS], neighbour[2][OBJECTS * OBJECT];
    cb_loss_input input;
} problem;

static const uint8_t match[2][OBJECTS] = {{1, 0, 0, 1, 0}, {0, 1, 1, 1, 0}};

static void fill(cb_real *x, size_t n, uint64_t index)
{
    cb_random random = cb_random_begin(5, CB_PURPOSE_CALLER, 0, index);
    for (size_t i = 0; i < n; i++) x[i] = (cb_real)(0.3 * cb_random_normal(&random));
}

static void problem_begin(problem *p, bool authors)
{
    cribo_loss_config config;
    ck_assert_int_eq(cb_config_init(&cb_loss_settings, &config, sizeof config), CRIBO_OK);
    config.prototypes = CLS;
    config.object_prototypes = OBJECT;
    config.student_temperature = 0.2;
    config.authors_normalisation = authors;
    ck_assert_int_eq(cb_runtime_begin(&p->runtime, NULL), CRIBO_OK);
    ck_assert_int_eq(cb_loss_create(&p->runtime, &p->loss, &config), CRIBO_OK);
    for (int i = 0; i < 2; i++) {
        fill(p->student[i], 2 * OBJECTS * CLS, (uint64_t)i);
        fill(p->teacher[i], 2 * OBJECTS * CLS, 2 + (uint64_t)i);
        fill(p->neighbour[i], OBJECTS * OBJECT, 4 + (uint64_t)i);
        fill(cb_loss_centre(p->loss, i), cb_loss_prototypes(p->loss, i), 6 + (uint64_t)i);
    }
    p->input = (cb_loss_input){
        .head = {{IMAGES, p->student[0], p->teacher[0], 0.07}, {OBJECTS, p->student[1], p->teacher[1], 0.05}},
        .neighbour = {p->neighbour[0], p->neighbour[1]},
        .match = {match[0], match[1]},
    };
}

static void problem_end(problem *p)
{
    cb_loss_free(&p->runtime, p->loss);
    cb_runtime_end(&p->runtime);
}

static double objective(problem *p)
{
    cb_loss_output output = {0};
    cb_loss_compute(p->loss, &p->input, &output);
    return output.global + output.cross_view + output.cross_image;
}

static void check_gradient(problem *p, int head, const cb_real *gradient)
{
    const double step = 1e-5;
    size_t n = 2 * p->input.head[head].rows * cb_loss_prototypes(p->loss, head);
    for (size_t i = 0; i < n; i++) {
        cb_real *x = &p->student[head][i], before = *x;
        *x = before + step;
        double above = objective(p);
        *x = before - step;
        double difference = (above - objective(p)) / (2 * step);
        *x = before;
        ck_assert_msg(fabs(gradient[i] - difference) < 1e-7, "head %d, logit %zu: %.9g, by differences %.9g",
            head, i, gradient[i], difference);
    }
}

START_TEST(test_loss_gradients_equal_finite_differences)
{
    problem p;
    cb_real cls[2 * IMAGES * CLS], objects[2 * OBJECTS * OBJECT];
    cb_loss_output output = {.gradient = {cls, objects}};
    problem_begin(&p, _i == 1);
    cb_loss_compute(p.loss, &p.input, &output);
    check_gradient(&p, 0, cls);
    check_gradient(&p, 1, objects);
    problem_end(&p);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("gradients of the losses");
    TCase *group = tcase_create("loss");
    tcase_add_loop_test(group, test_loss_gradients_equal_finite_differences, 0, 2);
    suite_add_tcase(suite, group);
    return run_suite(suite);
}
