/* Spikes and stalls. */
#include "suite.h"
#include "session/watch.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Losses that go up and down between 1 and 3: mean 2, deviation about 1. */
static void fill(struct watch *watch, int steps)
{
    for (int i = 0; i < steps; i++) watch_note(watch, i % 2 ? 1 : 3, 2, false);
}

START_TEST(test_watch_scores_are_deviations_above_the_mean)
{
    struct watch watch = {0};
    fill(&watch, WATCH_MIN - 1);
    ck_assert_double_nan(watch_score(&watch, 100, 2)); /* too few to judge by */
    fill(&watch, 2 * WATCH_WINDOW + 1);
    double deviation = sqrt(WATCH_WINDOW / (WATCH_WINDOW - 1.0));
    ck_assert_double_eq_tol(watch_score(&watch, 9, 2), 7 / deviation, 1e-12);
    ck_assert_double_eq_tol(watch_score(&watch, -5, 2), -7 / deviation, 1e-12);
    ck_assert_double_nan(watch_score(&watch, 100, 3)); /* another loss has joined */
    watch_note(&watch, 5, 3, false);
    ck_assert_double_nan(watch_score(&watch, 100, 3));
}
END_TEST

START_TEST(test_watch_constant_losses_allow_a_hundredth_of_them)
{
    struct watch watch = {0};
    for (int i = 0; i < WATCH_MIN; i++) watch_note(&watch, 2, 2, false);
    ck_assert_double_eq_tol(watch_score(&watch, 2.1, 2), 5, 1e-9);
    for (int i = 0; i < WATCH_WINDOW; i++) watch_note(&watch, 0, 2, false);
    ck_assert_double_nan(watch_score(&watch, 1, 2));
}
END_TEST

START_TEST(test_watch_skips_a_few_in_a_row_and_then_gives_in)
{
    struct watch watch = {.skip_from = 5}, before;
    fill(&watch, WATCH_WINDOW);
    ck_assert(!watch_skips(&watch, 4.9));
    before = watch;
    for (int i = 0; i < WATCH_MAX_SKIPS; i++) {
        ck_assert(watch_skips(&watch, 5));
        watch_note(&watch, 100, 2, true);
    }
    ck_assert(!watch_skips(&watch, 5));
    ck_assert(!memcmp(watch.losses, before.losses, sizeof watch.losses));
    watch_note(&watch, 100, 2, false);
    ck_assert_double_gt(watch_score(&watch, 100, 2), 5);
    ck_assert(watch_skips(&watch, 5));
    watch.skip_from = 0;
    ck_assert(!watch_skips(&watch, 1000));
    ck_assert(watch_warns(&watch, WATCH_SPIKE) && !watch_warns(&watch, 5.9));
}
END_TEST

START_TEST(test_watch_survives_as_text_bit_by_bit)
{
    struct watch watch = {.skip_from = 0.1}, read;
    char text[WATCH_TEXT], again[WATCH_TEXT];
    for (int i = 0; i < 200; i++) {
        watch_print(&watch, text);
        ck_assert_uint_lt(strlen(text), WATCH_TEXT - 1);
        ck_assert(watch_parse(&read, text));
        size_t held = watch.count < WATCH_WINDOW ? (size_t)watch.count : WATCH_WINDOW;
        ck_assert(!memcmp(read.losses, watch.losses, held * sizeof watch.losses[0]));
        ck_assert(read.count == watch.count && read.parts == watch.parts && read.skips == watch.skips);
        ck_assert(read.skip_from == watch.skip_from && read.unused == watch.unused);
        watch_print(&read, again);
        ck_assert_str_eq(again, text);
        watch.unused += i;
        watch_note(&watch, -1e300 / (i + 0.7), i < 20 ? 2 : 3, i % 5 == 4);
    }
    ck_assert(!watch_parse(&read, "0 0 0 1 2 3"));
    ck_assert(!watch_parse(&read, ""));
    ck_assert(!watch_parse(&read, "0 0 0 1 2 3 inf"));
    text[strlen(text) - 30] = '\0';
    ck_assert(!watch_parse(&read, text));
}
END_TEST

START_TEST(test_watch_finds_a_collapse_of_the_objects_that_lasts)
{
    struct watch watch = {0};
    cribo_report healthy = {.prototypes_used = 0.2}, dead = {.prototypes_used = 0.01};
    int found = 0;
    for (int i = 0; i < 1000; i++) {
        ck_assert(!watch_objects_collapse(&watch, &healthy));
        for (int k = 1; k < WATCH_PATIENCE && i % 100 == 0; k++)
            ck_assert(!watch_objects_collapse(&watch, &dead));
    }
    for (int i = 0; i < 3 * WATCH_PATIENCE; i++) {
        bool now = watch_objects_collapse(&watch, &dead);
        ck_assert(!now || i == WATCH_PATIENCE - 1);
        found += now;
    }
    ck_assert_int_eq(found, 1);
}
END_TEST

START_TEST(test_stall_is_said_once_until_it_is_over)
{
    struct stall stall = {0};
    double share;
    int said = 0;
    for (int i = 0; i < 500; i++) said += stall_note(&stall, 0.2, 1, &share);
    ck_assert_int_eq(said, 0);
    for (int i = 0; i < 500; i++) said += stall_note(&stall, 0.5, 1, &share);
    ck_assert_int_eq(said, 1);
    ck_assert_double_eq_tol(share, 0.5, 0.1);
    for (int i = 0; i < 500; i++) said += stall_note(&stall, 0, 1, &share);
    for (int i = 0; i < 500; i++) said += stall_note(&stall, 1, 1, &share);
    ck_assert_int_eq(said, 2);
}
END_TEST

RUN_TESTS("watch", test_watch_scores_are_deviations_above_the_mean,
    test_watch_constant_losses_allow_a_hundredth_of_them, test_watch_skips_a_few_in_a_row_and_then_gives_in,
    test_watch_survives_as_text_bit_by_bit, test_watch_finds_a_collapse_of_the_objects_that_lasts,
    test_stall_is_said_once_until_it_is_over)
