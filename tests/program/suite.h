/* The main function of a test program: one suite, run in this process under sanitizers. */
#ifndef SUITE_H
#define SUITE_H

#include "../support/suite.h"

#define RUN_TESTS(name, ...) \
    int main(void) \
    { \
        const TTest *const tests[] = {__VA_ARGS__}; \
        Suite *suite = suite_create(name); \
        TCase *all = tcase_create(name); \
        tcase_set_timeout(all, 120); \
        for (size_t i = 0; i < sizeof tests / sizeof *tests; i++) tcase_add_test(all, tests[i]); \
        suite_add_tcase(suite, all); \
        return run_suite(suite); \
    }

#endif
