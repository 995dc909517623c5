/* A run's view retrieval: whether it rose. */
#include "session/history.h"
#include "suite.h"

static bool rose(size_t count, const double *percents)
{
    struct history history = {0};
    struct problem problem;
    for (size_t i = 0; i < count; i++)
        ck_assert(history_add_retrieval(&history, 25 * (double)i, percents[i], &problem));
    bool result = history_retrieval_rose(&history);
    history_free(&history);
    return result;
}

START_TEST(test_history_retrieval_rose_by_the_newest_or_the_last_three)
{
    ck_assert(!rose(2, (const double[]){4.7, 4.7}));
    ck_assert(rose(2, (const double[]){4.7, 4.8}));
    ck_assert(!rose(5, (const double[]){4.7, 9.9, 4.7, 4.6, 4.5})); /* an older one does not count */
    ck_assert(rose(5, (const double[]){4.7, 4.4, 4.9, 5.2, 4.5}));  /* one low value among higher ones */
    ck_assert(rose(5, (const double[]){4.7, 3.9, 4.0, 4.2, 4.8}));  /* first falls, then rises */
    ck_assert(!rose(5, (const double[]){4.7, 3.9, 4.0, 4.2, 4.4}));
}
END_TEST

START_TEST(test_history_retrieval_that_was_not_measured_is_no_reason_to_warn)
{
    struct history history = {0};
    struct problem problem;
    ck_assert(history_retrieval_rose(&history));
    ck_assert(history_add_retrieval(&history, 500, 3, &problem)); /* a continued run without its start */
    ck_assert(history_retrieval_rose(&history));
    ck_assert(history_add_retrieval(&history, 525, 2, &problem));
    ck_assert(history_retrieval_rose(&history));
    ck_assert_double_nan(history_retrieval_start(&history));
    history_free(&history);
}
END_TEST

RUN_TESTS("history", test_history_retrieval_rose_by_the_newest_or_the_last_three,
    test_history_retrieval_that_was_not_measured_is_no_reason_to_warn)
