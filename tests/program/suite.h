/* The main function of a test program: one suite, run in this process under sanitizers. */
#ifndef SUITE_H
#define SUITE_H

#include <check.h>
#include <stdlib.h>

#define RUN_TESTS(name, ...) \
    int main(void) \
    { \
        const TTest *const tests[] = {__VA_ARGS__}; \
        Suite *suite = suite_create(name); \
        TCase *all = tcase_create(name); \
        tcase_set_timeout(all, 120); \
        for (size_t i = 0; i < sizeof tests / sizeof *tests; i++) tcase_add_test(all, tests[i]); \
        suite_add_tcase(suite, all); \
        SRunner *runner = srunner_create(suite); \
        srunner_run_all(runner, CK_ENV); \
        int failed = srunner_ntests_failed(runner); \
        srunner_free(runner); \
        return failed ? EXIT_FAILURE : EXIT_SUCCESS; \
    }

#endif
