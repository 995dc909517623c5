/* The sweep for numbers that are not finite, alone and shared out. */
#include "tensor/finite.h"
#include "support/suite.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>

enum { COUNT = 200001 }; /* some tasks and a bit */

static cb_real *make_values(void)
{
    cb_real *x = malloc(COUNT * sizeof *x);
    for (size_t i = 0; i < COUNT; i++)
        x[i] = i % 2 ? (cb_real)3.4e38 : (cb_real)-1e-40; /* the ends of the range */
    return x;
}

static cb_pool *make_pool(size_t threads)
{
    const cb_allocator allocator = {0};
    cb_pool *pool;
    ck_assert_int_eq(cb_pool_create(&allocator, &pool, threads), CRIBO_OK);
    return pool;
}

START_TEST(test_finite_all_numbers_give_the_length)
{
    cb_real *x = make_values();
    cb_pool *pool = make_pool(3);
    for (size_t n = 0; n < 10; n++) ck_assert_uint_eq(cb_first_not_finite(x, n), n);
    ck_assert_uint_eq(cb_first_not_finite(x, COUNT), COUNT);
    ck_assert_uint_eq(cb_pool_first_not_finite(pool, x, COUNT), COUNT);
    ck_assert_uint_eq(cb_pool_first_not_finite(pool, x, 0), 0);
    cb_pool_free(pool);
    free(x);
}
END_TEST

START_TEST(test_finite_first_of_several_is_found)
{
    static const size_t places[] = {0, 1, 4095, 4096, 65535, 65536, 131072, COUNT - 1};
    const cb_real strange[] = {NAN, INFINITY, -INFINITY};
    cb_pool *pool = make_pool((size_t)_i);
    for (size_t p = 0; p < sizeof places / sizeof places[0]; p++) {
        cb_real *x = make_values();
        for (size_t i = places[p]; i < COUNT; i += 977) x[i] = strange[p % 3];
        ck_assert_uint_eq(cb_first_not_finite(x, COUNT), places[p]);
        ck_assert_uint_eq(cb_pool_first_not_finite(pool, x, COUNT), places[p]);
        ck_assert_uint_eq(cb_pool_first_not_finite(NULL, x, COUNT), places[p]);
        free(x);
    }
    cb_pool_free(pool);
}
END_TEST

int main(void)
{
    TCase *tests = tcase_create("finite");
    tcase_add_test(tests, test_finite_all_numbers_give_the_length);
    tcase_add_loop_test(tests, test_finite_first_of_several_is_found, 1, 4);
    Suite *suite = suite_create("finite");
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
