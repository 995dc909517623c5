/*
 * Matrix products against double precision, and the promise that their bits depend on the operands alone. CRIBO_CPU and
 * CRIBO_GEMM choose level and path; tests/unit/meson.build runs each.
 */
#include "tensor/gemm.h"
#include "support/suite.h"

#include <check.h>
#include <malloc.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct shape {
    size_t m, n, k;
} shape;

/* Around the tiles (6 or 12 x 16 or 32), past the blocks (1536 or 3072 rows, 256 or 384 columns, 256 or 512 steps), and like the model's. */
static const shape shapes[] = {{1, 1, 1}, {1, 1, 50}, {1, 100, 7}, {100, 1, 7}, {3, 5, 0}, {5, 7, 16},
    {6, 16, 15}, {12, 32, 17}, {13, 33, 31}, {23, 63, 64}, {24, 64, 33}, {47, 95, 100}, {49, 97, 383},
    {50, 130, 513}, {11, 31, 1030}, {197, 197, 64}, {197, 64, 197}, {96, 800, 257}, {3100, 40, 9},
    {35, 2000, 70}};
#define SHAPES ((int)(sizeof shapes / sizeof shapes[0]))

/* An operand, stored in rows that are `pad` longer than they need be; what lies between is NaN. */
typedef struct operand {
    size_t rows, columns, stride;
    float *numbers;
} operand;

static uint64_t state = 1;

static float next(void)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (float)(state >> 40) * 0x1p-23f - 1.0f;
}

static operand make(size_t rows, size_t columns, size_t pad)
{
    operand x = {rows, columns, columns + pad, NULL};
    x.numbers = malloc((rows * x.stride + 1) * sizeof(float));
    for (size_t i = 0; i < rows * x.stride; i++) x.numbers[i] = i % x.stride < columns ? next() : NAN;
    return x;
}

typedef struct problem {
    cb_gemm_form form;
    shape size;
    operand a, b, c;
} problem;

static problem pose(cb_gemm_form form, shape s, size_t pad)
{
    problem p = {.form = form, .size = s};
    p.a = form == CB_TN ? make(s.k, s.m, pad) : make(s.m, s.k, pad);
    p.b = form == CB_NT ? make(s.n, s.k, 2 * pad) : make(s.k, s.n, 2 * pad);
    p.c = make(s.m, s.n, 3 * pad);
    return p;
}

static void dispose(problem *p)
{
    free(p->a.numbers);
    free(p->b.numbers);
    free(p->c.numbers);
}

static void solve(cb_pool *pool, const problem *p, bool accumulate, float *c)
{
    cb_gemm(pool, p->form, p->size.m, p->size.n, p->size.k, p->a.numbers, p->a.stride, p->b.numbers,
        p->b.stride, accumulate, c, p->c.stride);
}

static double exact(const problem *p, size_t i, size_t j, double *size)
{
    double sum = 0;
    *size = 0;
    for (size_t q = 0; q < p->size.k; q++) {
        double a = p->form == CB_TN ? p->a.numbers[q * p->a.stride + i] : p->a.numbers[i * p->a.stride + q];
        double b = p->form == CB_NT ? p->b.numbers[j * p->b.stride + q] : p->b.numbers[q * p->b.stride + j];
        sum += a * b;
        *size += fabs(a * b);
    }
    return sum;
}

static void assert_solved(const problem *p, const float *before, const float *c)
{
    for (size_t i = 0; i < p->size.m; i++)
        for (size_t j = 0; j < p->c.stride; j++) {
            float got = c[i * p->c.stride + j];
            if (j >= p->size.n) {
                ck_assert_msg(isnan(got), "what lies between the rows of C was written");
                continue;
            }
            double size, want = exact(p, i, j, &size) + (before ? before[i * p->c.stride + j] : 0);
            /* rounding of a sum of k terms grows with sqrt(k) at most here */
            ck_assert_msg(fabs(got - want) <= 3e-7 * (size + 1),
                "form %d, %zu x %zu x %zu: c[%zu, %zu] is %.9g, not %.9g", p->form, p->size.m, p->size.n,
                p->size.k, i, j, got, want);
        }
}

static cb_runtime start(size_t threads)
{
    cribo_runtime hooks;
    cb_runtime runtime;
    ck_assert_int_eq(cribo_runtime_init(&hooks, sizeof hooks), CRIBO_OK);
    hooks.threads = (int64_t)threads;
    ck_assert_int_eq(cb_runtime_begin(&runtime, &hooks), CRIBO_OK);
    cb_gemm_begin(&runtime);
    return runtime;
}

START_TEST(test_gemm_every_form_and_shape_close)
{
    cb_runtime runtime = start(2);
    for (int form = CB_NN; form <= CB_TN; form++)
        for (size_t pad = 0; pad < 2; pad++) {
            problem p = pose((cb_gemm_form)form, shapes[_i], 3 * pad);
            size_t bytes = p.size.m * p.c.stride * sizeof(float);
            float *before = malloc(bytes);
            memcpy(before, p.c.numbers, bytes);
            solve(runtime.pool, &p, true, p.c.numbers);
            assert_solved(&p, before, p.c.numbers);
            for (size_t i = 0; i < p.size.m * p.c.stride; i++) p.c.numbers[i] = NAN; /* must not be read */
            solve(runtime.pool, &p, false, p.c.numbers);
            assert_solved(&p, NULL, p.c.numbers);
            free(before);
            dispose(&p);
        }
    cb_runtime_end(&runtime);
}
END_TEST

START_TEST(test_gemm_nothing_to_do_untouched)
{
    float c[4] = {1, 2, 3, 4};
    cb_gemm(NULL, CB_NN, 0, 2, 2, NULL, 2, NULL, 2, false, c, 2);
    cb_gemm(NULL, CB_NN, 2, 0, 2, NULL, 2, NULL, 2, false, c, 2);
    cb_gemm(NULL, CB_NN, 2, 2, 0, NULL, 1, NULL, 2, true, c, 2);
    ck_assert(c[0] == 1 && c[1] == 2 && c[2] == 3 && c[3] == 4);
    cb_gemm(NULL, CB_NN, 2, 1, 0, NULL, 1, NULL, 2, false, c, 2);
    ck_assert(c[0] == 0 && c[1] == 2 && c[2] == 0 && c[3] == 4);
}
END_TEST

START_TEST(test_gemm_any_thread_count_same_bits)
{
    const size_t threads[] = {1, 2, 3, 5};
    for (int form = CB_NN; form <= CB_TN; form++) {
        problem p = pose((cb_gemm_form)form, shapes[_i], 1);
        size_t bytes = p.size.m * p.c.stride * sizeof(float);
        float *alone = malloc(bytes), *shared = malloc(bytes);
        memcpy(alone, p.c.numbers, bytes);
        solve(NULL, &p, true, alone);
        for (size_t t = 0; t < sizeof threads / sizeof threads[0]; t++) {
            cb_runtime runtime = start(threads[t]);
            memcpy(shared, p.c.numbers, bytes);
            solve(runtime.pool, &p, true, shared);
            ck_assert_msg(
                memcmp(alone, shared, bytes) == 0, "form %d with %zu threads differs", form, threads[t]);
            cb_runtime_end(&runtime);
        }
        free(alone);
        free(shared);
        dispose(&p);
    }
}
END_TEST

/* A product of some rows, or of some columns, is those rows or columns of the whole, to the bit. */
START_TEST(test_gemm_any_partition_same_bits)
{
    for (int form = CB_NN; form <= CB_TN; form++) {
        problem whole = pose((cb_gemm_form)form, shapes[_i], 0), part = whole;
        size_t bytes = whole.size.m * whole.c.stride * sizeof(float);
        float *c = malloc(bytes);
        solve(NULL, &whole, false, whole.c.numbers);

        for (size_t begin = 0; begin < whole.size.m; begin += part.size.m) {
            part.size.m = whole.size.m - begin < 7 ? whole.size.m - begin : whole.size.m / 3 + 1;
            if (begin + part.size.m > whole.size.m) part.size.m = whole.size.m - begin;
            part.a.numbers = whole.a.numbers + begin * (form == CB_TN ? 1 : whole.a.stride);
            solve(NULL, &part, false, c + begin * whole.c.stride);
        }
        ck_assert_msg(memcmp(c, whole.c.numbers, bytes) == 0, "form %d by rows differs", form);

        part = whole;
        for (size_t begin = 0; begin < whole.size.n; begin += part.size.n) {
            part.size.n = whole.size.n / 4 + 1;
            if (begin + part.size.n > whole.size.n) part.size.n = whole.size.n - begin;
            part.b.numbers = whole.b.numbers + begin * (form == CB_NT ? whole.b.stride : 1);
            solve(NULL, &part, false, c + begin);
        }
        ck_assert_msg(memcmp(c, whole.c.numbers, bytes) == 0, "form %d by columns differs", form);
        free(c);
        dispose(&whole);
    }
}
END_TEST

START_TEST(test_gemm_forked_child_same_bits)
{
    cb_runtime runtime = start(3);
    problem p = pose(CB_NT, (shape){300, 200, 100}, 0);
    float *c = malloc(p.size.m * p.c.stride * sizeof(float));
    solve(runtime.pool, &p, false, p.c.numbers);
    pid_t child = fork();
    if (child == 0) {
        alarm(20);
        solve(runtime.pool, &p, false, c);
        _exit(memcmp(c, p.c.numbers, p.size.m * p.c.stride * sizeof(float)) == 0 ? 0 : 1);
    }
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
    free(c);
    dispose(&p);
    cb_runtime_end(&runtime);
}
END_TEST

/* Packing buffers are so large that malloc maps them: what is mapped must not grow after the beginning. */
START_TEST(test_gemm_begun_takes_no_memory)
{
    cb_runtime runtime = start(4);
    for (int form = CB_NN; form <= CB_TN; form++) {
        problem p = pose((cb_gemm_form)form, (shape){1700, 1600, 500}, 0);
        size_t mapped = mallinfo2().hblkhd;
        solve(runtime.pool, &p, false, p.c.numbers);
        ck_assert_uint_eq(mallinfo2().hblkhd, mapped);
        dispose(&p);
    }
    cb_runtime_end(&runtime);
}
END_TEST

START_TEST(test_gemm_kernel_named_as_forced)
{
    const char *path = getenv("CRIBO_GEMM"), *level = getenv("CRIBO_CPU");
    if (path && strcmp(path, "blis") == 0) ck_assert_str_eq(cb_gemm_kernel(), "blis");
    if (level && strcmp(level, "generic") == 0) ck_assert_str_eq(cb_gemm_kernel(), "blis");
    ck_assert(strcmp(cb_gemm_kernel(), "blis") == 0 || strncmp(cb_gemm_kernel(), "cribo-", 6) == 0);
    ck_assert_uint_gt(strlen(cb_gemm_blis_version()), 0);
    ck_assert_uint_gt(strlen(cb_gemm_blis_kernels()), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("gemm");
    TCase *cases = tcase_create("gemm");
    tcase_set_timeout(cases, 60);
    tcase_add_loop_test(cases, test_gemm_every_form_and_shape_close, 0, SHAPES);
    tcase_add_test(cases, test_gemm_nothing_to_do_untouched);
    tcase_add_loop_test(cases, test_gemm_any_thread_count_same_bits, 0, SHAPES);
    tcase_add_loop_test(cases, test_gemm_any_partition_same_bits, 0, SHAPES);
    tcase_add_test(cases, test_gemm_forked_child_same_bits);
    tcase_add_test(cases, test_gemm_begun_takes_no_memory);
    tcase_add_test(cases, test_gemm_kernel_named_as_forced);
    suite_add_tcase(suite, cases);
    return run_suite(suite);
}
