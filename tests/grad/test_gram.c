/* Gram anchoring: its value by hand, its gradient against central differences in double, and its edges. */
#include "base/random.h"
#include "distillation/gram.h"
#include "support/suite.h"
#include "tensor/gemm.h"

#include <check.h>
#include <math.h>
#include <string.h>

enum { VIEWS = 3, TOKENS = 7, DENSE = 2, PATCHES = 5, WIDTH = 4, ALL = VIEWS * TOKENS * WIDTH };

typedef struct problem {
    cb_runtime runtime;
    cb_arena arena;
    cb_gram_workspace work;
    cb_real x[ALL], anchor[ALL], dx[ALL];
} problem;

static void begin(problem *p, int64_t threads)
{
    cribo_runtime runtime = {.struct_size = sizeof runtime, .threads = threads};
    cb_random random = cb_random_begin(3, CB_PURPOSE_CALLER, 0, 0);
    ck_assert_int_eq(cb_runtime_begin(&p->runtime, &runtime), CRIBO_OK);
    ck_assert_int_eq(cb_gemm_begin(&p->runtime), CRIBO_OK);
    for (size_t i = 0; i < ALL; i++) {
        p->x[i] = (cb_real)cb_random_normal(&random);
        p->anchor[i] = (cb_real)cb_random_normal(&random);
    }
    p->arena = cb_arena_measure();
    cb_gram_workspace_take(&p->arena, (size_t)threads, VIEWS, PATCHES, WIDTH);
    ck_assert_int_eq(cb_arena_create(&p->runtime.allocator, &p->arena, p->arena.peak, "scratch"), CRIBO_OK);
    p->work = cb_gram_workspace_take(&p->arena, (size_t)threads, VIEWS, PATCHES, WIDTH);
}

static void end(problem *p)
{
    cb_arena_destroy(&p->runtime.allocator, &p->arena);
    cb_runtime_end(&p->runtime);
}

static double run(problem *p)
{
    const cb_gram_job job = {VIEWS, TOKENS, DENSE, PATCHES, WIDTH, 0.7, p->x, p->anchor, p->dx};
    memset(p->dx, 0xff, sizeof p->dx);
    return cb_gram(p->runtime.pool, &job, &p->work);
}

START_TEST(test_gram_gradient_equals_finite_differences)
{
    const double step = 1e-6;
    problem p;
    cb_real gradient[ALL];
    begin(&p, 1);
    run(&p);
    memcpy(gradient, p.dx, sizeof gradient);
    for (size_t i = 0; i < ALL; i++) {
        cb_real before = p.x[i];
        p.x[i] = before + step;
        double above = run(&p);
        p.x[i] = before - step;
        double slope = (above - run(&p)) / (2 * step);
        p.x[i] = before;
        ck_assert_double_eq_tol(gradient[i], slope, 1e-8);
        size_t token = i / WIDTH % TOKENS;
        ck_assert((gradient[i] != 0) == (token >= DENSE && token < DENSE + PATCHES));
    }
    end(&p);
}
END_TEST

/* Cosines of patches written out; lengths do not count. */
START_TEST(test_gram_of_patches_is_the_mean_square_of_their_similarities)
{
    problem p;
    double expected = 0;
    begin(&p, 1);
    for (size_t v = 0; v < VIEWS; v++)
        for (size_t i = 0; i < PATCHES; i++)
            for (size_t j = 0; j < PATCHES; j++) {
                const cb_real *nets[2] = {p.x, p.anchor};
                double cosine[2];
                for (int n = 0; n < 2; n++) {
                    const cb_real *a = nets[n] + (v * TOKENS + DENSE + i) * WIDTH,
                                  *b = nets[n] + (v * TOKENS + DENSE + j) * WIDTH;
                    double ab = 0, aa = 0, bb = 0;
                    for (size_t d = 0; d < WIDTH; d++) {
                        ab += a[d] * b[d];
                        aa += a[d] * a[d];
                        bb += b[d] * b[d];
                    }
                    cosine[n] = ab / sqrt(aa * bb);
                }
                expected += 0.7 * pow(cosine[0] - cosine[1], 2) / (PATCHES * PATCHES);
            }
    ck_assert_double_eq_tol(run(&p), expected, 1e-12);
    for (size_t i = 0; i < ALL; i++) p.x[i] *= 3;
    ck_assert_double_eq_tol(run(&p), expected, 1e-12);
    end(&p);
}
END_TEST

START_TEST(test_gram_of_the_anchor_itself_is_zero)
{
    problem p;
    begin(&p, 1);
    memcpy(p.x, p.anchor, sizeof p.x);
    memset(p.x + DENSE * WIDTH, 0, WIDTH * sizeof *p.x); /* a vector of length 0 in both */
    memset(p.anchor + DENSE * WIDTH, 0, WIDTH * sizeof *p.x);
    ck_assert(run(&p) == 0);
    for (size_t i = 0; i < ALL; i++) ck_assert(p.dx[i] == 0);
    end(&p);
}
END_TEST

START_TEST(test_gram_threads_give_the_same_bits)
{
    problem one, three;
    begin(&one, 1);
    begin(&three, 3);
    ck_assert(run(&one) == run(&three));
    ck_assert_mem_eq(one.dx, three.dx, sizeof one.dx);
    end(&one);
    end(&three);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("gradients of Gram anchoring");
    TCase *tests = tcase_create("gram");
    tcase_add_test(tests, test_gram_gradient_equals_finite_differences);
    tcase_add_test(tests, test_gram_of_patches_is_the_mean_square_of_their_similarities);
    tcase_add_test(tests, test_gram_of_the_anchor_itself_is_zero);
    tcase_add_test(tests, test_gram_threads_give_the_same_bits);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
