/*
 * Matrix products against double precision, and the promise that their bits depend on the operands alone.
 * CRIBO_CPU and CRIBO_GEMM choose level and path; tests/unit/meson.build runs each.
 */
#include "tensor/gemm_packed.h"
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

/*
 * Around the tiles (6 or 12 x 16 or 32), past the blocks (240 rows, 1536 columns, 256 or 512 steps, 1024 of
 * bfloat16), and like the model's.
 */
static const shape shapes[] = {{1, 1, 1}, {1, 1, 50}, {1, 100, 7}, {100, 1, 7}, {3, 5, 0}, {5, 7, 16},
    {6, 16, 15}, {12, 32, 17}, {13, 33, 31}, {23, 63, 64}, {24, 64, 33}, {47, 95, 100}, {49, 97, 383},
    {50, 130, 513}, {11, 31, 1030}, {197, 197, 64}, {197, 64, 197}, {96, 800, 257}, {500, 40, 9},
    {35, 1600, 70}};
#define SHAPES ((int)(sizeof shapes / sizeof shapes[0]))

/* The product, and the operands stored in bfloat16. */
typedef enum arithmetic { FLOAT, ROUND_BOTH, ROUND_A, ROUND_B, ROUND_NONE, ARITHMETICS } arithmetic;

/* An operand, stored in rows with `pad` additional numbers, which are NaN. */
typedef struct operand {
    size_t rows, columns, stride;
    float *numbers;
    cb_bf16 *stored; /* the same rounded, NULL: not multiplied from there */
} operand;

static uint64_t state = 1;

static float next(void)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (float)(state >> 40) * 0x1p-23f - 1.0f;
}

static operand make(size_t rows, size_t columns, size_t pad)
{
    operand x = {rows, columns, columns + pad, NULL, NULL};
    x.numbers = malloc((rows * x.stride + 1) * sizeof(float));
    for (size_t i = 0; i < rows * x.stride; i++) x.numbers[i] = i % x.stride < columns ? next() : NAN;
    return x;
}

static void store(operand *x)
{
    size_t count = x->rows * x->stride + 1;
    x->stored = malloc(count * sizeof(cb_bf16));
    for (size_t i = 0; i < count - 1; i++) x->stored[i] = cb_bf16_of(x->numbers[i]);
}

typedef struct problem {
    cb_gemm_form form;
    arithmetic in;
    shape size;
    operand a, b, c;
} problem;

static problem pose(cb_gemm_form form, arithmetic in, shape s, size_t pad)
{
    problem p = {.form = form, .in = in, .size = s};
    p.a = form == CB_TN ? make(s.k, s.m, pad) : make(s.m, s.k, pad);
    p.b = form == CB_NT ? make(s.n, s.k, 2 * pad) : make(s.k, s.n, 2 * pad);
    p.c = make(s.m, s.n, 3 * pad);
    if (in == ROUND_B || in == ROUND_NONE) store(&p.a);
    if (in == ROUND_A || in == ROUND_NONE) store(&p.b);
    return p;
}

static void dispose(problem *p)
{
    free(p->a.numbers);
    free(p->b.numbers);
    free(p->c.numbers);
    free(p->a.stored);
    free(p->b.stored);
}

static cb_gemm_operand given(const operand *x, size_t offset)
{
    return x->stored ? cb_gemm_stored_bf16(x->stored + offset, x->stride)
                     : cb_gemm_real(x->numbers + offset, x->stride);
}

/* Some of the problem's rows and columns. */
static void solve_part(
    cb_pool *pool, const problem *p, cb_range rows, cb_range columns, bool accumulate, float *c)
{
    size_t a = rows.begin * (p->form == CB_TN ? 1 : p->a.stride);
    size_t b = columns.begin * (p->form == CB_NT ? p->b.stride : 1);
    size_t m = rows.end - rows.begin, n = columns.end - columns.begin, k = p->size.k;
    c += rows.begin * p->c.stride + columns.begin;
    cb_gemm(pool, &(cb_gemm_job){p->form, m, n, k, given(&p->a, a), given(&p->b, b),
                      {c, p->c.stride, accumulate}, p->in != FLOAT});
}

static void solve(cb_pool *pool, const problem *p, bool accumulate, float *c)
{
    solve_part(pool, p, (cb_range){0, p->size.m}, (cb_range){0, p->size.n}, accumulate, c);
}

static double multiplied(const problem *p, const operand *x, size_t at)
{
    return p->in == FLOAT ? x->numbers[at] : cb_bf16_round(x->numbers[at]);
}

/* A problem's product in double precision, and the same of the absolute values, both [m, n]. */
typedef struct solution {
    double *product, *size;
} solution;

static double *doubles_of(size_t count)
{
    return calloc(count ? count : 1, sizeof(double));
}

/* B as [k, n], the form whose rows are read in order. */
static double *right_side(const problem *p)
{
    double *b = doubles_of(p->size.k * p->size.n);
    for (size_t q = 0; q < p->size.k; q++)
        for (size_t j = 0; j < p->size.n; j++)
            b[q * p->size.n + j] =
                multiplied(p, &p->b, p->form == CB_NT ? j * p->b.stride + q : q * p->b.stride + j);
    return b;
}

static solution solve_exactly(const problem *p)
{
    size_t m = p->size.m, n = p->size.n, k = p->size.k;
    solution exact = {doubles_of(m * n), doubles_of(m * n)};
    double *b = right_side(p);
    for (size_t i = 0; i < m; i++)
        for (size_t q = 0; q < k; q++) {
            double a = multiplied(p, &p->a, p->form == CB_TN ? q * p->a.stride + i : i * p->a.stride + q);
            for (size_t j = 0; j < n; j++) {
                exact.product[i * n + j] += a * b[q * n + j];
                exact.size[i * n + j] += fabs(a * b[q * n + j]);
            }
        }
    free(b);
    return exact;
}

static void forget(solution *exact)
{
    free(exact->product);
    free(exact->size);
}

static void assert_solved(const problem *p, const solution *exact, const float *before, const float *c)
{
    /* k + 1 roundings of at most 2^-24 of the sum of the sizes; independent errors grow like sqrt(k) */
    double roundings = 0x1p-24 * (3 * sqrt((double)p->size.k) + 2);
    for (size_t i = 0; i < p->size.m; i++)
        for (size_t j = 0; j < p->c.stride; j++) {
            size_t at = i * p->size.n + j, c_at = i * p->c.stride + j;
            if (j >= p->size.n) {
                ck_assert_msg(isnan(c[c_at]), "the padding between the rows of C was written");
                continue;
            }
            double expected = exact->product[at] + (before ? before[c_at] : 0);
            if (fabs(c[c_at] - expected) <= roundings * (exact->size[at] + 1)) continue;
            ck_abort_msg("form %d, arithmetic %d, %zu x %zu x %zu: c[%zu, %zu] is %.9g, expected %.9g",
                p->form, p->in, p->size.m, p->size.n, p->size.k, i, j, c[c_at], expected);
        }
}

static cb_runtime start(size_t threads)
{
    cribo_runtime hooks;
    cb_runtime runtime;
    ck_assert_int_eq(cribo_runtime_init(&hooks, sizeof hooks), CRIBO_OK);
    hooks.threads = (int64_t)threads;
    ck_assert_int_eq(cb_runtime_begin(&runtime, &hooks), CRIBO_OK);
    (void)!cb_gemm_begin(&runtime);
    return runtime;
}

static void check_close(cb_pool *pool, cb_gemm_form form, arithmetic in, shape s, size_t pad)
{
    problem p = pose(form, in, s, pad);
    size_t bytes = p.size.m * p.c.stride * sizeof(float);
    float *before = malloc(bytes);
    solution exact = solve_exactly(&p);
    memcpy(before, p.c.numbers, bytes);
    solve(pool, &p, true, p.c.numbers);
    assert_solved(&p, &exact, before, p.c.numbers);
    for (size_t i = 0; i < p.size.m * p.c.stride; i++) p.c.numbers[i] = NAN; /* must not be read */
    solve(pool, &p, false, p.c.numbers);
    assert_solved(&p, &exact, NULL, p.c.numbers);
    forget(&exact);
    free(before);
    dispose(&p);
}

START_TEST(test_gemm_every_form_and_shape_close)
{
    cb_runtime runtime = start(2);
    for (int form = CB_NN; form <= CB_TN; form++)
        for (int in = FLOAT; in < ARITHMETICS; in++)
            check_close(
                runtime.pool, (cb_gemm_form)form, (arithmetic)in, shapes[_i], 3 * (size_t)(in % 2 == 0));
    cb_runtime_end(&runtime);
}
END_TEST

START_TEST(test_gemm_nothing_to_do_untouched)
{
    float c[4] = {1, 2, 3, 4};
    cb_gemm(NULL,
        &(cb_gemm_job){CB_NN, 0, 2, 2, cb_gemm_real(NULL, 2), cb_gemm_real(NULL, 2), {c, 2, false}, false});
    cb_gemm(NULL,
        &(cb_gemm_job){CB_NN, 2, 0, 2, cb_gemm_real(NULL, 2), cb_gemm_real(NULL, 2), {c, 2, false}, false});
    cb_gemm(NULL,
        &(cb_gemm_job){CB_NN, 2, 2, 0, cb_gemm_real(NULL, 1), cb_gemm_real(NULL, 2), {c, 2, true}, false});
    ck_assert(c[0] == 1 && c[1] == 2 && c[2] == 3 && c[3] == 4);
    cb_gemm(NULL,
        &(cb_gemm_job){CB_NN, 2, 1, 0, cb_gemm_real(NULL, 1), cb_gemm_real(NULL, 2), {c, 2, false}, false});
    ck_assert(c[0] == 0 && c[1] == 2 && c[2] == 0 && c[3] == 4);

    const cb_gemm_operand none = cb_gemm_real(NULL, 2);
    cb_gemm(NULL, &(cb_gemm_job){CB_NN, 0, 2, 2, none, none, {c, 2, false}, true});
    cb_gemm(NULL, &(cb_gemm_job){CB_NN, 2, 2, 0, none, none, {c, 2, true}, true});
    ck_assert(c[0] == 0 && c[1] == 2 && c[2] == 0 && c[3] == 4);
    cb_gemm(NULL, &(cb_gemm_job){CB_NN, 1, 2, 0, none, none, {c, 2, false}, true});
    ck_assert(c[0] == 0 && c[1] == 0 && c[2] == 0 && c[3] == 4);
}
END_TEST

static void check_threads(const cb_runtime *runtimes, size_t count, cb_gemm_form form, arithmetic in, shape s)
{
    problem p = pose(form, in, s, 1);
    size_t bytes = p.size.m * p.c.stride * sizeof(float);
    float *alone = malloc(bytes), *shared = malloc(bytes);
    memcpy(alone, p.c.numbers, bytes);
    solve(NULL, &p, true, alone);
    for (size_t t = 0; t < count; t++) {
        memcpy(shared, p.c.numbers, bytes);
        solve(runtimes[t].pool, &p, true, shared);
        ck_assert_msg(memcmp(alone, shared, bytes) == 0, "form %d, arithmetic %d with %zu threads differs",
            form, in, cb_pool_threads(runtimes[t].pool));
    }
    free(alone);
    free(shared);
    dispose(&p);
}

START_TEST(test_gemm_any_thread_count_same_bits)
{
    cb_runtime runtimes[] = {start(1), start(2), start(3), start(5)};
    for (int form = CB_NN; form <= CB_TN; form++)
        for (int in = FLOAT; in < ARITHMETICS; in++)
            check_threads(runtimes, 4, (cb_gemm_form)form, (arithmetic)in, shapes[_i]);
    for (size_t t = 0; t < 4; t++) cb_runtime_end(&runtimes[t]);
}
END_TEST

/* A product of some rows, or of some columns, is those rows or columns of the whole, to the bit. */
static void check_partition(cb_gemm_form form, arithmetic in, shape s)
{
    problem p = pose(form, in, s, 0);
    size_t bytes = s.m * p.c.stride * sizeof(float), rows = s.m / 3 + 1, columns = s.n / 4 + 1;
    float *c = malloc(bytes);
    solve(NULL, &p, false, p.c.numbers);
    for (size_t i = 0; i < s.m; i += rows)
        solve_part(NULL, &p, (cb_range){i, i + rows < s.m ? i + rows : s.m}, (cb_range){0, s.n}, false, c);
    ck_assert_msg(memcmp(c, p.c.numbers, bytes) == 0, "form %d, arithmetic %d by rows differs", form, in);
    for (size_t i = 0; i < s.n; i += columns)
        solve_part(
            NULL, &p, (cb_range){0, s.m}, (cb_range){i, i + columns < s.n ? i + columns : s.n}, false, c);
    ck_assert_msg(memcmp(c, p.c.numbers, bytes) == 0, "form %d, arithmetic %d by columns differs", form, in);
    free(c);
    dispose(&p);
}

START_TEST(test_gemm_any_partition_same_bits)
{
    for (int form = CB_NN; form <= CB_TN; form++)
        for (int in = FLOAT; in < ARITHMETICS; in++)
            check_partition((cb_gemm_form)form, (arithmetic)in, shapes[_i]);
}
END_TEST

/* An operand that is rounded on the way is the same operand stored. */
START_TEST(test_gemm_rounded_or_stored_same_bits)
{
    for (int form = CB_NN; form <= CB_TN; form++) {
        problem p = pose((cb_gemm_form)form, ROUND_BOTH, shapes[_i], 1);
        size_t bytes = p.size.m * p.c.stride * sizeof(float);
        float *c = malloc(bytes);
        memcpy(c, p.c.numbers, bytes);
        solve(NULL, &p, true, c);
        store(&p.a);
        store(&p.b);
        solve(NULL, &p, true, p.c.numbers);
        ck_assert_msg(memcmp(c, p.c.numbers, bytes) == 0, "form %d differs", form);
        free(c);
        dispose(&p);
    }
}
END_TEST

static float *numbers_of(size_t count)
{
    return aligned_alloc(64, (count * sizeof(float) / 64 + 1) * 64);
}

/* In the tiles for the threads of a pool, or whole. */
static void solve_packed(cb_pool *pool, const problem *p, bool accumulate, float *c)
{
    shape s = p->size;
    float *panels = numbers_of(cb_gemm_packed_size(s.n, s.k));
    cb_row_buffers memory = {NULL, cb_gemm_rows_size(s.m, s.k)};
    memory.numbers = numbers_of(cb_pool_threads(pool) * memory.size);
    cb_gemm_packed b = cb_gemm_pack(pool,
        (cb_gemm_packed){.form = p->form, .n = s.n, .k = s.k, .b = given(&p->b, 0), .bf16 = p->in != FLOAT},
        panels);
    const cb_gemm_rows rows = {s.m, given(&p->a, 0), {c, p->c.stride, accumulate}};
    if (pool)
        cb_gemm_in_tiles(pool, &b, &rows, &memory, NULL);
    else
        cb_gemm_by_packed(&b, cb_gemm_columns(&b), &rows, memory.numbers);
    free(panels);
    free(memory.numbers);
}

/*
 * B that is packed ahead gives what cb_gemm gives: the same bits while k is within its blocks, and in
 * whatever tiles.
 */
static void check_packed(cb_pool *pool, cb_gemm_form form, arithmetic in, shape s, size_t pad)
{
    problem p = pose(form, in, s, pad);
    size_t count = s.m * p.c.stride, bytes = count * sizeof(float);
    float *before = malloc(bytes), *plain = malloc(bytes), *packed = malloc(bytes), *tiled = malloc(bytes);
    solution exact = s.k > 256 ? solve_exactly(&p) : (solution){NULL, NULL};
    memcpy(before, p.c.numbers, bytes);
    for (int accumulate = 0; accumulate < 2; accumulate++) {
        for (size_t i = 0; i < count; i++)
            plain[i] = packed[i] = tiled[i] = accumulate ? before[i] : NAN; /* which must not be read */
        solve(NULL, &p, accumulate, plain);
        solve_packed(NULL, &p, accumulate, packed);
        solve_packed(pool, &p, accumulate, tiled);
        if (s.k > 256)
            assert_solved(&p, &exact, accumulate ? before : NULL, packed);
        else
            ck_assert_msg(memcmp(plain, packed, bytes) == 0,
                "form %d, arithmetic %d, %zu x %zu x %zu, packed ahead, differs", form, in, s.m, s.n, s.k);
        ck_assert_msg(memcmp(packed, tiled, bytes) == 0,
            "form %d, arithmetic %d, %zu x %zu x %zu, in tiles, differs", form, in, s.m, s.n, s.k);
    }
    forget(&exact);
    free(before);
    free(plain);
    free(packed);
    free(tiled);
    dispose(&p);
}

START_TEST(test_gemm_packed_ahead_same_bits)
{
    cb_runtime runtime = start(3);
    for (int form = CB_NN; form <= CB_TN; form++)
        for (int in = FLOAT; in < ARITHMETICS; in++)
            for (size_t pad = 0; pad < 2; pad++)
                check_packed(runtime.pool, (cb_gemm_form)form, (arithmetic)in, shapes[_i], pad);
    cb_runtime_end(&runtime);
}
END_TEST

START_TEST(test_bf16_rounding_to_nearest_even)
{
    const struct {
        uint32_t from;
        uint16_t to;
    } cases[] = {{0x3f800000, 0x3f80}, {0x3f808000, 0x3f80}, {0x3f808001, 0x3f81}, {0x3f818000, 0x3f82},
        {0xbf818000, 0xbf82}, {0x3fffffff, 0x4000}, {0x00000000, 0x0000}, {0x80000000, 0x8000},
        {0x7f7f7fff, 0x7f7f}, {0x7f7f8000, 0x7f80}, {0xff7fffff, 0xff80}, {0x7f800000, 0x7f80},
        {0xff800000, 0xff80}, {0x7f800001, 0x7fc0}, {0xffffffff, 0xffff}, {0x7fc00000, 0x7fc0}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        float x;
        memcpy(&x, &cases[i].from, sizeof x);
        ck_assert_msg(cb_bf16_of(x) == cases[i].to, "%08x becomes %04x, not %04x", (unsigned)cases[i].from,
            (unsigned)cb_bf16_of(x), (unsigned)cases[i].to);
    }
}
END_TEST

/* One number of A at a time is special: its row of C must be, and no other. */
START_TEST(test_gemm_bf16_not_finite_survives)
{
    const uint32_t specials[] = {0x7f800000, 0xff800000, 0x7f800001, 0xff800001, 0x7fffffff, 0x7f7fffff};
    enum { M = 19, N = 35, K = 37 };
    for (int form = CB_NN; form <= CB_TN; form++)
        for (size_t s = 0; s < sizeof specials / sizeof specials[0]; s++) {
            problem p = pose((cb_gemm_form)form, ROUND_BOTH, (shape){M, N, K}, 0);
            for (size_t i = 0; i < N * K; i++) p.b.numbers[i] = 1;
            size_t row = 3 * s, step = 7 * s;
            memcpy(
                p.a.numbers + (form == CB_TN ? step * M + row : row * K + step), &specials[s], sizeof(float));
            solve(NULL, &p, false, p.c.numbers);
            float special;
            memcpy(&special, &specials[s], sizeof special);
            for (size_t i = 0; i < M; i++)
                for (size_t j = 0; j < N; j++) {
                    float got = p.c.numbers[i * N + j];
                    if (i != row)
                        ck_assert(isfinite(got));
                    else if (isnan(special))
                        ck_assert(isnan(got));
                    else /* the largest float rounds to infinity */
                        ck_assert(isinf(got) && (got > 0) == (special > 0));
                }
            dispose(&p);
        }
}
END_TEST

START_TEST(test_gemm_forked_child_same_bits)
{
    cb_runtime runtime = start(3);
    problem p = pose(CB_NT, FLOAT, (shape){300, 200, 100}, 0);
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
    for (int form = CB_NN; form <= CB_TN; form++)
        for (int in = FLOAT; in <= ROUND_BOTH; in++) {
            problem p = pose((cb_gemm_form)form, (arithmetic)in, (shape){1700, 1600, 500}, 0);
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
    tcase_set_timeout(cases, 120);
    tcase_add_loop_test(cases, test_gemm_every_form_and_shape_close, 0, SHAPES);
    tcase_add_test(cases, test_gemm_nothing_to_do_untouched);
    tcase_add_loop_test(cases, test_gemm_any_thread_count_same_bits, 0, SHAPES);
    tcase_add_loop_test(cases, test_gemm_any_partition_same_bits, 0, SHAPES);
    tcase_add_loop_test(cases, test_gemm_rounded_or_stored_same_bits, 0, SHAPES);
    tcase_add_loop_test(cases, test_gemm_packed_ahead_same_bits, 0, SHAPES);
    tcase_add_test(cases, test_bf16_rounding_to_nearest_even);
    tcase_add_test(cases, test_gemm_bf16_not_finite_survives);
    tcase_add_test(cases, test_gemm_forked_child_same_bits);
    tcase_add_test(cases, test_gemm_begun_takes_no_memory);
    tcase_add_test(cases, test_gemm_kernel_named_as_forced);
    suite_add_tcase(suite, cases);
    return run_suite(suite);
}
