/* The exchange between ranks, with threads of this process. */
#define _GNU_SOURCE
#include "base/clock.h"
#include "communication/ranks.h"
#include "cribo/communicator.h"
#include "support/suite.h"

#include <check.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MOST_RANKS = 8 };

typedef struct rank_test {
    cribo_thread_group *ranks;
    int64_t rank;
    double deadline;
    void (*run)(struct rank_test *test, cb_ranks *ranks);
    cribo_status status; /* what run has met */
    char message[512];
    double ms;
} rank_test;

static void *run_rank(void *context)
{
    rank_test *test = context;
    cribo_communicator communicator = {.struct_size = sizeof communicator};
    const cb_runtime runtime = {0};
    cb_ranks *ranks = NULL;
    if (cribo_thread_group_communicator(test->ranks, test->rank, &communicator) != CRIBO_OK) return test;
    communicator.deadline = test->deadline;
    if (cb_ranks_create(&runtime, &ranks, &communicator) != CRIBO_OK) return test;
    double begin = cb_clock_ms();
    test->run(test, ranks);
    test->ms = cb_clock_ms() - begin;
    snprintf(test->message, sizeof test->message, "%s", cribo_last_error());
    cb_ranks_free(&runtime, ranks);
    return NULL;
}

/* Runs all ranks, each on a thread. */
static void run_ranks(
    rank_test *tests, size_t size, double deadline, void (*run)(rank_test *test, cb_ranks *ranks))
{
    pthread_t threads[MOST_RANKS];
    cribo_thread_group *ranks;
    ck_assert_int_eq(cribo_thread_group_create(&ranks, (int64_t)size), CRIBO_OK);
    for (size_t r = 0; r < size; r++) {
        tests[r] = (rank_test){.ranks = ranks, .rank = (int64_t)r, .deadline = deadline, .run = run};
        ck_assert_int_eq(pthread_create(&threads[r], NULL, run_rank, &tests[r]), 0);
    }
    for (size_t r = 0; r < size; r++) {
        void *failed;
        ck_assert_int_eq(pthread_join(threads[r], &failed), 0);
        ck_assert_ptr_null(failed);
    }
    cribo_thread_group_free(ranks);
}

static void gather_numbers(rank_test *test, cb_ranks *ranks)
{
    int64_t all[MOST_RANKS][3], mine[3] = {test->rank, test->rank * test->rank, -1};
    test->status = cb_ranks_gather(ranks, "numbers", mine, sizeof mine, all);
    for (int64_t r = 0; r < (int64_t)cb_ranks_size(ranks); r++) {
        ck_assert_int_eq(all[r][0], r);
        ck_assert_int_eq(all[r][1], r * r);
        ck_assert_int_eq(all[r][2], -1);
    }
}

START_TEST(test_gather_gives_every_rank_all_parts_in_order)
{
    rank_test tests[MOST_RANKS];
    size_t size = (size_t)1 << _i;
    run_ranks(tests, size, 60, gather_numbers);
    for (size_t r = 0; r < size; r++) ck_assert_int_eq(tests[r].status, CRIBO_OK);
}
END_TEST

/* Parts of different lengths, one of them empty. */
static void share_letters(rank_test *test, cb_ranks *ranks)
{
    static const size_t offsets[5] = {0, 3, 3, 8, 10};
    const char expected[] = "aaacccccdd";
    char all[11] = "..........";
    size_t rank = (size_t)test->rank;
    memcpy(all + offsets[rank], expected + offsets[rank], offsets[rank + 1] - offsets[rank]);
    test->status = cb_ranks_share(ranks, "letters", all, offsets);
    ck_assert_str_eq(all, expected);
}

START_TEST(test_share_takes_parts_of_different_lengths)
{
    rank_test tests[MOST_RANKS];
    run_ranks(tests, 4, 60, share_letters);
    for (size_t r = 0; r < 4; r++) ck_assert_int_eq(tests[r].status, CRIBO_OK);
}
END_TEST

/* --- sums --- */

enum { NUMBERS = 700001 }; /* more than two chunks on the way, and no multiple of anything */

/* A number whose sums depend on their order. */
static cb_real number_of(size_t leaf, size_t i)
{
    uint32_t x = (uint32_t)(i * 2654435761u + leaf * 40503u + 12345u);
    x ^= x >> 13;
    x *= 2246822519u;
    return (cb_real)((double)(x % 20000u) / 7.0 - 1000.0);
}

/* The sum over leaves first ... first + count - 1 by the binary tree. */
static cb_real tree_sum(size_t first, size_t count, size_t i)
{
    if (count == 1) return number_of(first, i);
    return tree_sum(first, count / 2, i) + tree_sum(first + count / 2, count / 2, i);
}

static void sum_numbers(rank_test *test, cb_ranks *ranks)
{
    size_t size = cb_ranks_size(ranks), leaves = MOST_RANKS / size, offsets[MOST_RANKS + 1];
    cb_real *values = malloc(NUMBERS * sizeof *values);
    ck_assert_ptr_nonnull(values);
    for (size_t i = 0; i < NUMBERS; i++) values[i] = tree_sum((size_t)test->rank * leaves, leaves, i);
    for (size_t p = 0; p <= size; p++) offsets[p] = p * NUMBERS / size;
    test->status = cb_ranks_sum(ranks, "numbers", values, offsets, false);
    if (test->status == CRIBO_OK)
        test->status = cb_ranks_spread(ranks, "numbers", values, sizeof *values, offsets);
    size_t wrong = 0;
    for (size_t i = 0; i < NUMBERS; i++) wrong += values[i] != tree_sum(0, MOST_RANKS, i);
    ck_assert_uint_eq(wrong, 0);
    free(values);
}

START_TEST(test_sums_have_the_same_bits_for_every_number_of_ranks)
{
    rank_test tests[MOST_RANKS];
    size_t size = (size_t)1 << _i;
    run_ranks(tests, size, 60, sum_numbers);
    for (size_t r = 0; r < size; r++) ck_assert_int_eq(tests[r].status, CRIBO_OK);
}
END_TEST

/* --- sums in the background --- */

enum { BUCKETS = 3 };

/* Bucket b are the numbers from b NUMBERS / BUCKETS on. */
static size_t bucket_begin(size_t bucket)
{
    return bucket * NUMBERS / BUCKETS;
}

/* Whether this rank's part of a bucket has the sums of all ranks. */
static bool bucket_is_summed(
    const cb_ranks *ranks, const cb_real *values, const size_t *offsets, size_t bucket)
{
    const size_t *part = offsets + bucket * (cb_ranks_size(ranks) + 1) + cb_ranks_part(ranks);
    for (size_t i = part[0]; i < part[1]; i++)
        if (values[i] != tree_sum(0, MOST_RANKS, i)) return false;
    return true;
}

/* Bucket after bucket gets its values; each but the last is summed without a call that waits. */
static void sum_in_background(rank_test *test, cb_ranks *ranks)
{
    size_t size = cb_ranks_size(ranks), leaves = MOST_RANKS / size, offsets[BUCKETS * (MOST_RANKS + 1)];
    cb_real *values = calloc(NUMBERS, sizeof *values);
    ck_assert_ptr_nonnull(values);
    for (size_t b = 0; b < BUCKETS; b++)
        for (size_t p = 0; p <= size; p++)
            offsets[b * (size + 1) + p] =
                bucket_begin(b) + p * (bucket_begin(b + 1) - bucket_begin(b)) / size;
    cb_ranks_begin_sums(ranks, &(cb_bucket_sums){"numbers", values, offsets, BUCKETS, false});
    for (size_t complete = 1; complete <= BUCKETS; complete++) {
        size_t bucket = BUCKETS - complete;
        for (size_t i = bucket_begin(bucket); i < bucket_begin(bucket + 1); i++)
            values[i] = tree_sum((size_t)test->rank * leaves, leaves, i);
        while (complete < BUCKETS && !bucket_is_summed(ranks, values, offsets, bucket))
            cb_ranks_advance_sums(ranks, complete);
    }
    test->status = cb_ranks_end_sums(ranks);
    for (size_t b = 0; b < BUCKETS; b++) ck_assert(bucket_is_summed(ranks, values, offsets, b));
    free(values);
}

START_TEST(test_sums_in_the_background_need_no_wait)
{
    rank_test tests[MOST_RANKS];
    size_t size = (size_t)1 << _i;
    run_ranks(tests, size, 60, sum_in_background);
    for (size_t r = 0; r < size; r++) ck_assert_int_eq(tests[r].status, CRIBO_OK);
}
END_TEST

/* Rank 1 has failed before its sums begin. */
static void fail_before_sums(rank_test *test, cb_ranks *ranks)
{
    const size_t offsets[5] = {0, 1, 2, 3, 4};
    cb_real values[4] = {1, 2, 3, 4};
    if (test->rank == 1) {
        test->status = cb_ranks_agree(ranks, cb_fail(CRIBO_NOT_FINITE, "a reason"));
    } else {
        cb_ranks_begin_sums(ranks, &(cb_bucket_sums){"numbers", values, offsets, 1, false});
        cb_ranks_advance_sums(ranks, 1);
        test->status = cb_ranks_end_sums(ranks);
        for (size_t i = 0; i < 4; i++) ck_assert(values[i] == (cb_real)(i + 1));
    }
    int64_t all[MOST_RANKS]; /* the ranks are still together */
    ck_assert_int_eq(cb_ranks_gather(ranks, "numbers", &test->rank, sizeof test->rank, all), CRIBO_OK);
    if (test->status != CRIBO_OK) snprintf(test->message, sizeof test->message, "%s", cribo_last_error());
}

START_TEST(test_no_sum_begins_after_a_failure)
{
    rank_test tests[MOST_RANKS];
    run_ranks(tests, 4, 60, fail_before_sums);
    for (size_t r = 0; r < 4; r++) {
        ck_assert_int_eq(tests[r].status, CRIBO_NOT_FINITE);
        ck_assert_msg(strstr(tests[r].message, "a reason") != NULL, "%s", tests[r].message);
    }
}
END_TEST

/* Rank 2 leaves when its first bucket is complete. */
static void leave_during_sums(rank_test *test, cb_ranks *ranks)
{
    size_t offsets[2 * 5];
    cb_real *values = calloc(NUMBERS, sizeof *values);
    ck_assert_ptr_nonnull(values);
    for (size_t i = 0; i < 10; i++) offsets[i] = (i / 5 * 4 + i % 5) * (NUMBERS / 8);
    cb_ranks_begin_sums(ranks, &(cb_bucket_sums){"numbers", values, offsets, 2, false});
    double begin = cb_clock_ms();
    while (cb_clock_ms() - begin < 200) cb_ranks_advance_sums(ranks, 1);
    test->status = test->rank == 2 ? CRIBO_OK : cb_ranks_end_sums(ranks);
    if (test->status != CRIBO_OK) ck_assert_int_eq(cb_ranks_agree(ranks, CRIBO_OK), CRIBO_TIMED_OUT);
    if (test->rank == 2) nanosleep(&(struct timespec){.tv_sec = 4}, NULL); /* alive, but silent */
    free(values);
}

START_TEST(test_a_rank_that_leaves_during_sums_is_named)
{
    rank_test tests[MOST_RANKS];
    run_ranks(tests, 4, 0.5, leave_during_sums);
    for (size_t r = 0; r < 4; r++) {
        if (r == 2) continue;
        ck_assert_int_eq(tests[r].status, CRIBO_TIMED_OUT);
        ck_assert_msg(strstr(tests[r].message, "rank 2 did not answer") != NULL, "%s", tests[r].message);
    }
}
END_TEST

START_TEST(test_order_of_sums_matters)
{
    cb_real in_order = 0;
    size_t differences = 0;
    for (size_t i = 0; i < 1000; i++) {
        in_order = 0;
        for (size_t leaf = 0; leaf < MOST_RANKS; leaf++) in_order += number_of(leaf, i);
        differences += in_order != tree_sum(0, MOST_RANKS, i);
    }
    ck_assert_uint_gt(differences, 10); /* so the test above can fail */
}
END_TEST

/* --- failure --- */

static void fail_on_two(rank_test *test, cb_ranks *ranks)
{
    cribo_status own = CRIBO_OK;
    if (test->rank == 1) own = cb_fail(CRIBO_NOT_FINITE, "first reason");
    if (test->rank == 3) own = cb_fail(CRIBO_OUT_OF_MEMORY, "second reason");
    test->status = cb_ranks_agree(ranks, own);
    ck_assert_int_eq(cb_ranks_check(ranks), CRIBO_OK);
}

START_TEST(test_agreement_gives_all_ranks_the_failure_of_the_lowest)
{
    rank_test tests[MOST_RANKS];
    run_ranks(tests, 4, 60, fail_on_two);
    for (size_t r = 0; r < 4; r++) {
        ck_assert_int_eq(tests[r].status, CRIBO_NOT_FINITE);
        ck_assert_str_eq(tests[r].message, r == 1 ? "first reason" : "rank 1: first reason");
    }
}
END_TEST

static void leave_two_alone(rank_test *test, cb_ranks *ranks)
{
    int64_t all[MOST_RANKS];
    if (test->rank == 2) return;
    test->status = cb_ranks_gather(ranks, "numbers", &test->rank, sizeof test->rank, all);
    cribo_status later = cb_ranks_agree(ranks, CRIBO_OK);
    ck_assert_int_eq(later, test->status);
}

START_TEST(test_a_rank_that_is_gone_ends_the_wait_of_all_others)
{
    rank_test tests[MOST_RANKS];
    run_ranks(tests, 4, 0.2, leave_two_alone);
    for (size_t r = 0; r < 4; r++) {
        if (r == 2) continue;
        ck_assert_int_eq(tests[r].status, CRIBO_TIMED_OUT);
        ck_assert_ptr_nonnull(strstr(tests[r].message, "did not answer within 0.2 seconds"));
    }
    ck_assert_ptr_nonnull(strstr(tests[3].message, "rank 2 did not answer"));
}
END_TEST

static void disagree_on_sizes(rank_test *test, cb_ranks *ranks)
{
    char all[64] = {0};
    test->status = cb_ranks_gather(ranks, "numbers", all, test->rank ? 8 : 16, all);
}

START_TEST(test_ranks_that_exchange_different_sizes_fail)
{
    rank_test tests[MOST_RANKS];
    run_ranks(tests, 2, 0.2, disagree_on_sizes);
    for (size_t r = 0; r < 2; r++) ck_assert_int_ne(tests[r].status, CRIBO_OK);
}
END_TEST

/* Another library's rank: its first message has another version. */
static cribo_communicator real;

static int send_version(void *context, int64_t peer, const void *data, size_t bytes, int64_t *request)
{
    static char version[64] = "0.0.1";
    return real.send(context, peer, bytes == sizeof version ? version : data, bytes, request);
}

static void *create_rank(void *context)
{
    rank_test *test = context;
    cribo_communicator communicator = {.struct_size = sizeof communicator};
    const cb_runtime runtime = {0};
    cb_ranks *ranks = NULL;
    test->status = cribo_thread_group_communicator(test->ranks, test->rank, &communicator);
    if (test->rank == 1) {
        real = communicator;
        communicator.send = send_version;
    }
    if (test->status == CRIBO_OK) test->status = cb_ranks_create(&runtime, &ranks, &communicator);
    snprintf(test->message, sizeof test->message, "%s", cribo_last_error());
    cb_ranks_free(&runtime, ranks);
    return NULL;
}

START_TEST(test_ranks_with_other_versions_are_refused)
{
    pthread_t threads[2];
    rank_test tests[2];
    cribo_thread_group *group;
    ck_assert_int_eq(cribo_thread_group_create(&group, 2), CRIBO_OK);
    for (int r = 0; r < 2; r++) {
        tests[r] = (rank_test){.ranks = group, .rank = r};
        ck_assert_int_eq(pthread_create(&threads[r], NULL, create_rank, &tests[r]), 0);
    }
    for (int r = 0; r < 2; r++) ck_assert_int_eq(pthread_join(threads[r], NULL), 0);
    ck_assert_int_eq(tests[0].status, CRIBO_INVALID_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(tests[0].message, "but rank 1 has 0.0.1"));
    cribo_thread_group_free(group);
}
END_TEST

/* --- lists --- */

static void compare_lists(rank_test *test, cb_ranks *ranks)
{
    uint64_t own[5] = {1, 2, 3, 4, 5}, first[5];
    cb_difference found;
    test->status = cb_ranks_compare(ranks, "lists", own, first, 5, &found);
    ck_assert_uint_eq(found.index, 5);
    if (test->rank == 1) own[4] = 50;
    if (test->rank >= 2) own[3] = 10 * (uint64_t)test->rank;
    if (test->status == CRIBO_OK) test->status = cb_ranks_compare(ranks, "lists", own, first, 5, &found);
    ck_assert_uint_eq(found.index, 3);
    ck_assert_uint_eq(found.rank, 2);
    ck_assert_uint_eq(found.value, 20);
    ck_assert_uint_eq(first[3], 4);
}

START_TEST(test_the_first_difference_of_lists_is_found_on_all_ranks)
{
    rank_test tests[MOST_RANKS];
    run_ranks(tests, 4, 60, compare_lists);
    for (size_t r = 0; r < 4; r++) ck_assert_int_eq(tests[r].status, CRIBO_OK);
}
END_TEST

/* --- work of rank 0 --- */

static void sleep_ms(long ms)
{
    nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000}, NULL);
}

static cribo_status long_work(void *argument)
{
    sleep_ms(3000);
    *(bool *)argument = true;
    return cb_fail(CRIBO_IO_ERROR, "the disk is full");
}

/* A piece from each rank, short work, long work, and its failure on all. */
static void wait_for_work(rank_test *test, cb_ranks *ranks)
{
    int64_t number = 10 * test->rank, got[4] = {0};
    bool worked = false;
    cb_ranks_lead(ranks);
    for (int piece = 0; piece < 3; piece++)
        for (size_t r = 0; r < 4; r++) {
            test->status = cb_ranks_collect(ranks, "pieces", r, &number, sizeof number, &got[r]);
            ck_assert_int_eq(test->status, CRIBO_OK);
            if (test->rank != 0) continue;
            sleep_ms(150);
            ck_assert_int_eq(cb_ranks_sign(ranks), CRIBO_OK);
        }
    cribo_status status = test->rank == 0 ? cb_ranks_aside(ranks, long_work, &worked) : CRIBO_OK;
    test->status = cb_ranks_release(ranks, status);
    ck_assert_int_eq(worked, test->rank == 0);
    for (int64_t r = 0; test->rank == 0 && r < 4; r++) ck_assert_int_eq(got[r], 10 * r);
    ck_assert_int_eq(cb_ranks_agree(ranks, CRIBO_OK), CRIBO_OK); /* the connection is whole */
}

/* The deadline is a small part of the time that rank 0 takes. */
START_TEST(test_work_of_rank_0_may_take_longer_than_the_deadline)
{
    rank_test tests[MOST_RANKS];
    run_ranks(tests, 4, 1, wait_for_work);
    for (size_t r = 0; r < 4; r++) {
        ck_assert_int_eq(tests[r].status, CRIBO_IO_ERROR);
        ck_assert_str_eq(tests[r].message, r == 0 ? "the disk is full" : "rank 0: the disk is full");
    }
}
END_TEST

static void wait_for_rank_0(rank_test *test, cb_ranks *ranks)
{
    cb_ranks_lead(ranks);
    if (test->rank == 0) sleep_ms(300);
    if (test->rank == 0) test->status = cb_ranks_sign(ranks);
    if (test->rank != 0) test->status = cb_ranks_release(ranks, CRIBO_OK);
}

START_TEST(test_a_rank_0_that_is_gone_ends_the_wait_for_its_work)
{
    rank_test tests[MOST_RANKS];
    run_ranks(tests, 4, 1, wait_for_rank_0);
    ck_assert_int_eq(tests[0].status, CRIBO_OK);
    for (size_t r = 1; r < 4; r++) {
        ck_assert_int_eq(tests[r].status, CRIBO_TIMED_OUT);
        ck_assert_ptr_nonnull(strstr(tests[r].message, "rank 0 did not answer"));
    }
}
END_TEST

static void lead_without_rank_2(rank_test *test, cb_ranks *ranks)
{
    bool worked = false;
    cb_ranks_lead(ranks);
    if (test->rank == 2) return;
    cribo_status status = test->rank == 0 ? cb_ranks_aside(ranks, long_work, &worked) : CRIBO_OK;
    if (test->rank == 0) ck_assert(worked);
    test->status = cb_ranks_release(ranks, status == CRIBO_IO_ERROR ? CRIBO_OK : status);
}

START_TEST(test_a_rank_that_is_gone_is_named_during_work_of_rank_0)
{
    rank_test tests[MOST_RANKS];
    run_ranks(tests, 4, 1, lead_without_rank_2);
    for (size_t r = 0; r < 4; r++) {
        if (r == 2) continue;
        ck_assert_int_eq(tests[r].status, CRIBO_TIMED_OUT);
        ck_assert_msg(strstr(tests[r].message, "did not answer") != NULL, "%s", tests[r].message);
    }
    ck_assert_ptr_nonnull(strstr(tests[0].message, "rank 2 did not answer"));
}
END_TEST

static double cpu_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec * 1e-6;
}

static void wait_for_nobody(rank_test *test, cb_ranks *ranks)
{
    int64_t all[2];
    if (test->rank == 1) return;
    double begin = cpu_ms();
    test->status = cb_ranks_gather(ranks, "numbers", &test->rank, sizeof test->rank, all);
    test->deadline = cpu_ms() - begin;
}

START_TEST(test_waiting_sleeps)
{
    rank_test tests[2];
    run_ranks(tests, 2, 1, wait_for_nobody);
    ck_assert_int_eq(tests[0].status, CRIBO_TIMED_OUT);
    ck_assert_double_lt(
        tests[0].deadline, 500); /* of CPU time in a second; a loop without sleep takes 1000 */
}
END_TEST

START_TEST(test_groups_refuse_what_is_no_communicator)
{
    const cb_runtime runtime = {0};
    cribo_thread_group *group;
    cb_ranks *ranks;
    cribo_communicator c = {.struct_size = sizeof c};
    ck_assert_int_eq(cribo_thread_group_create(NULL, 2), CRIBO_INVALID_ARGUMENT);
    ck_assert_int_eq(cribo_thread_group_create(&group, 3), CRIBO_INVALID_ARGUMENT);
    ck_assert_ptr_null(group);
    ck_assert_int_eq(cribo_thread_group_create(&group, 2), CRIBO_OK);
    ck_assert_int_eq(cribo_thread_group_communicator(group, 2, &c), CRIBO_INVALID_ARGUMENT);
    ck_assert_int_eq(cribo_thread_group_communicator(group, 1, &c), CRIBO_OK);
    for (int i = 0; i < 6; i++) {
        cribo_communicator wrong = c;
        if (i == 0) wrong.rank = 2;
        if (i == 1) wrong.size = 6;
        if (i == 2) wrong.deadline = -1;
        if (i == 3) wrong.test = NULL;
        if (i == 4) wrong.struct_size = 8;
        if (i == 5) wrong.size = 0;
        ck_assert_int_eq(cb_ranks_create(&runtime, &ranks, &wrong), CRIBO_INVALID_ARGUMENT);
        ck_assert_ptr_null(ranks);
    }
    ck_assert_int_eq(cb_ranks_create(&runtime, &ranks, NULL), CRIBO_OK);
    ck_assert_ptr_null(ranks);
    cribo_thread_group_free(group);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("communication");
    TCase *exchanges = tcase_create("exchanges"), *failures = tcase_create("failures");
    tcase_set_timeout(exchanges, 60);
    tcase_add_loop_test(exchanges, test_gather_gives_every_rank_all_parts_in_order, 0, 4);
    tcase_add_test(exchanges, test_share_takes_parts_of_different_lengths);
    tcase_add_loop_test(exchanges, test_sums_have_the_same_bits_for_every_number_of_ranks, 0, 4);
    tcase_add_test(exchanges, test_order_of_sums_matters);
    tcase_add_test(exchanges, test_the_first_difference_of_lists_is_found_on_all_ranks);
    tcase_add_loop_test(exchanges, test_sums_in_the_background_need_no_wait, 0, 4);
    tcase_set_timeout(failures, 60);
    tcase_add_test(failures, test_ranks_with_other_versions_are_refused);
    tcase_add_test(failures, test_agreement_gives_all_ranks_the_failure_of_the_lowest);
    tcase_add_test(failures, test_a_rank_that_is_gone_ends_the_wait_of_all_others);
    tcase_add_test(failures, test_ranks_that_exchange_different_sizes_fail);
    tcase_add_test(exchanges, test_work_of_rank_0_may_take_longer_than_the_deadline);
    tcase_add_test(failures, test_a_rank_0_that_is_gone_ends_the_wait_for_its_work);
    tcase_add_test(failures, test_a_rank_that_is_gone_is_named_during_work_of_rank_0);
    tcase_add_test(failures, test_no_sum_begins_after_a_failure);
    tcase_add_test(failures, test_a_rank_that_leaves_during_sums_is_named);
    tcase_add_test(failures, test_waiting_sleeps);
    tcase_add_test(failures, test_groups_refuse_what_is_no_communicator);
    suite_add_tcase(suite, exchanges);
    suite_add_tcase(suite, failures);
    return run_suite(suite);
}
