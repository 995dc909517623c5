/* The sweep that looks for numbers that are not finite. */
#include "tensor/finite.h"

#include <check.h>
#include <float.h>
#include <math.h>

enum { N = 10000 }; /* more than one stretch of the sweep */

START_TEST(test_finite_numbers_of_any_size_pass)
{
    static cb_real x[N];
    for (size_t i = 0; i < N; i++) x[i] = (cb_real)i - 5000;
    x[3] = FLT_MAX;
    x[4] = -FLT_MAX;
    x[5] = FLT_TRUE_MIN;
    x[6] = (cb_real)-0.0;
    ck_assert_uint_eq(cb_first_not_finite(x, N), N);
    ck_assert_uint_eq(cb_first_not_finite(x, 0), 0);
    ck_assert_uint_eq(cb_first_not_finite(NULL, 0), 0);
}
END_TEST

START_TEST(test_finite_first_strange_number_is_found)
{
    static cb_real x[N];
    static const size_t places[] = {0, 1, 15, 4095, 4096, 8191, 8192, N - 1};
    const cb_real strange[] = {(cb_real)NAN, (cb_real)INFINITY, (cb_real)-INFINITY};
    for (size_t p = 0; p < sizeof places / sizeof places[0]; p++)
        for (int kind = 0; kind < 3; kind++) {
            size_t place = places[p];
            x[place] = strange[kind];
            x[N - 1] = strange[(kind + 1) % 3]; /* a later one does not hide it */
            ck_assert_uint_eq(cb_first_not_finite(x, N), place);
            ck_assert_uint_eq(cb_first_not_finite(x, place), place); /* it is past the end */
            x[place] = x[N - 1] = 0;
        }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("finite");
    TCase *group = tcase_create("finite");
    tcase_add_test(group, test_finite_numbers_of_any_size_pass);
    tcase_add_test(group, test_finite_first_strange_number_is_found);
    suite_add_tcase(suite, group);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
