/* Status names, and messages that belong to their thread. */
#include "base/status.h"
#include "support/suite.h"

#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>

START_TEST(test_status_names_are_those_of_the_header)
{
    static const char *const names[] = {"CRIBO_OK", "CRIBO_INVALID_ARGUMENT", "CRIBO_OUT_OF_MEMORY",
        "CRIBO_IO_ERROR", "CRIBO_CORRUPT", "CRIBO_NOT_FINITE", "CRIBO_CANCELLED", "CRIBO_WRONG_STATE",
        "CRIBO_SYSTEM_ERROR", "CRIBO_TIMED_OUT"};
    for (int status = 0; status < 10; status++)
        ck_assert_str_eq(cribo_status_name((cribo_status)status), names[status]);
    ck_assert_str_eq(cribo_status_name((cribo_status)10), "unknown status");
    ck_assert_str_eq(cribo_status_name((cribo_status)-1), "unknown status");
}
END_TEST

START_TEST(test_status_message_is_empty_then_the_latest_failure)
{
    ck_assert_str_eq(cribo_last_error(), "");
    ck_assert_int_eq(cb_fail(CRIBO_CORRUPT, "tensor %s at %d", "norm.weight", 7), CRIBO_CORRUPT);
    ck_assert_str_eq(cribo_last_error(), "tensor norm.weight at 7");
    ck_assert_int_eq(cb_fail(CRIBO_IO_ERROR, "short"), CRIBO_IO_ERROR);
    ck_assert_str_eq(cribo_last_error(), "short");

    double value;
    ck_assert_int_eq(cribo_random_uniform(0, 0, 0, 1, &value), CRIBO_OK);
    ck_assert_str_eq(cribo_last_error(), "short"); /* a success leaves it as it is */
}
END_TEST

START_TEST(test_status_long_message_is_cut_and_ends)
{
    char text[2000];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = 0;
    ck_assert_int_eq(cb_fail(CRIBO_IO_ERROR, "%s", text), CRIBO_IO_ERROR);
    ck_assert_uint_gt(strlen(cribo_last_error()), 100);
    ck_assert_uint_lt(strlen(cribo_last_error()), sizeof text - 1);
    ck_assert_int_eq(cribo_last_error()[0], 'x');
}
END_TEST

static void *fail_elsewhere(void *seen)
{
    const char **message = seen;
    *message = *cribo_last_error() == 0 ? "empty" : "not empty";
    if (cb_fail(CRIBO_OUT_OF_MEMORY, "elsewhere") != CRIBO_OUT_OF_MEMORY) *message = "wrong status";
    return NULL;
}

START_TEST(test_status_errno_is_that_of_the_latest_failure)
{
    ck_assert_int_eq(cb_fail_errno(CRIBO_IO_ERROR, ENOENT, "missing"), CRIBO_IO_ERROR);
    ck_assert_int_eq(cribo_last_errno(), ENOENT);
    ck_assert_str_eq(cribo_last_error(), "missing");
    ck_assert_int_eq(cb_fail(CRIBO_CORRUPT, "broken"), CRIBO_CORRUPT);
    ck_assert_int_eq(cribo_last_errno(), 0);
}
END_TEST

START_TEST(test_status_message_of_another_thread_is_not_seen)
{
    pthread_t thread;
    const char *seen = NULL;
    ck_assert_int_eq(cb_fail(CRIBO_IO_ERROR, "here"), CRIBO_IO_ERROR);
    ck_assert_int_eq(pthread_create(&thread, NULL, fail_elsewhere, (void *)&seen), 0);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    ck_assert_str_eq(seen, "empty");
    ck_assert_str_eq(cribo_last_error(), "here");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("status");
    TCase *group = tcase_create("status");
    tcase_add_test(group, test_status_names_are_those_of_the_header);
    tcase_add_test(group, test_status_message_is_empty_then_the_latest_failure);
    tcase_add_test(group, test_status_long_message_is_cut_and_ends);
    tcase_add_test(group, test_status_errno_is_that_of_the_latest_failure);
    tcase_add_test(group, test_status_message_of_another_thread_is_not_seen);
    suite_add_tcase(suite, group);
    return run_suite(suite);
}
