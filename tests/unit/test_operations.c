/*
 * Operations in single precision, where its limits show; their gradients are checked in double (tests/grad).
 */
#include "autograd/operations.h"
#include "support/model.h"
#include "support/suite.h"

#include <check.h>
#include <math.h>
#include <string.h>

/* Rows of 3, of lengths around 1e-12 and far from it. */
enum { ROWS = 5, WIDTH = 3 };
static const float lengths[ROWS] = {0, 1e-30f, 1e-13f, 1e-11f, 1e15f};

static cb_tensor normalise(cb_tape *tape, void *context)
{
    return cb_op_normalise(tape, *(const cb_tensor *)context);
}

START_TEST(test_operations_normalise_is_finite_for_every_length)
{
    const float direction[WIDTH] = {0.6f, 0, -0.8f}, dy[WIDTH] = {1, 2, 3};
    const double along = 0.6 * 1 - 0.8 * 3;
    float values[ROWS * WIDTH];
    cb_runtime runtime = runtime_of(1);
    for (size_t i = 0; i < ROWS * WIDTH; i++) values[i] = lengths[i / WIDTH] * direction[i % WIDTH];
    cb_tensor x = {.value = values, .gradient = values, .rows = ROWS, .columns = WIDTH};
    pass p = pass_begin(&runtime, normalise, &x);
    cb_tensor y = pass_run(&runtime, &p, normalise, &x);
    for (size_t i = 0; i < ROWS * WIDTH; i++) {
        double length = lengths[i / WIDTH], expected = direction[i % WIDTH] * length / fmax(length, 1e-12);
        ck_assert_double_eq_tol(y.value[i], expected, 1e-6);
        y.gradient[i] = dy[i % WIDTH];
    }
    cb_tape_backward(&p.tape);
    for (size_t i = 0; i < ROWS * WIDTH; i++) {
        double length = lengths[i / WIDTH], unit = length < 1e-12 ? 0 : direction[i % WIDTH];
        double expected = (dy[i % WIDTH] - unit * along) / fmax(length, 1e-12);
        ck_assert_double_eq_tol(values[i], expected, 1e-5 * fabs(expected));
    }
    pass_end(&runtime, &p);
    cb_runtime_end(&runtime);
}
END_TEST

/* Scores of ±1e4: exponentials overflow unless the maximum is taken off first. */
static cb_tensor attention(cb_tape *tape, void *context)
{
    return cb_op_attention(tape, *(const cb_tensor *)context, 1, 1);
}

START_TEST(test_operations_attention_survives_large_scores)
{
    float qkv[] = {100, 100, 1, -100, -100, 2, 100, 0, 4}; /* rows q k v: three tokens of width 1 */
    cb_runtime runtime = runtime_of(1);
    cb_tensor x = {.value = qkv, .gradient = qkv, .rows = 3, .columns = 3};
    pass p = pass_begin(&runtime, attention, &x);
    cb_tensor y = pass_run(&runtime, &p, attention, &x);
    const float expected[] = {1, 2, 1};
    ck_assert_mem_eq(y.value, expected, sizeof expected);
    for (size_t i = 0; i < 3; i++) y.gradient[i] = 1;
    cb_tape_backward(&p.tape);
    const float dqkv[] = {0, 0, 2, 0, 0, 1, 0, 0, 0};
    for (size_t i = 0; i < 9; i++) ck_assert_float_eq(qkv[i], dqkv[i]);
    pass_end(&runtime, &p);
    cb_runtime_end(&runtime);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("operations");
    TCase *tests = tcase_create("single precision");
    tcase_add_test(tests, test_operations_normalise_is_finite_for_every_length);
    tcase_add_test(tests, test_operations_attention_survives_large_scores);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
