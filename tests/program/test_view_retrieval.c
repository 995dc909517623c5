/* View retrieval of a run: when it is measured. */
#include "session/view_retrieval.h"
#include "suite.h"

START_TEST(test_view_retrieval_is_due_at_intervals_and_at_the_end)
{
    const int64_t totals[] = {1, 9, 100, 600, 7777, 1000000};
    for (size_t i = 0; i < sizeof totals / sizeof *totals; i++) {
        int64_t total = totals[i], due = 0, telling = 0;
        for (int64_t step = 1; step <= total; step++) {
            bool tells = view_retrieval_is_conclusive(step, total);
            ck_assert(!tells || (view_retrieval_is_due(step, total) && 3 * step >= total - 2));
            due += view_retrieval_is_due(step, total);
            telling += tells;
        }
        ck_assert(view_retrieval_is_due(0, total) && view_retrieval_is_due(total, total));
        ck_assert_int_ge(due, total < 100000 ? 1 : 1000);
        ck_assert_int_le(due, total < 100000 ? 32 : 2001);
        ck_assert_int_eq(telling, total > 25);
    }
}
END_TEST

RUN_TESTS("view_retrieval", test_view_retrieval_is_due_at_intervals_and_at_the_end)
