/* A run's length as a time: its text, and the steps that fit into it. */
#include "session/time_budget.h"
#include "suite.h"

#include <string.h>

START_TEST(test_time_parse_takes_units_in_falling_order)
{
    const struct {
        const char *text;
        double seconds;
    } good[] = {{"20m", 1200}, {"1h", 3600}, {"90s", 90}, {"1h30m", 5400}, {"2d", 172800},
        {"1d1h1m1s", 90061}, {"0.5h", 1800}, {"0h20m", 1200}};
    const char *const bad[] = {"", "20", "h", "20 m", "m20", "-5m", "1m1h", "1h1h", "1h30", "0m", "nanh",
        "infh", "1w", "1hm", "999d", " 1h", "1h ", "1e400h"};
    double seconds;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        ck_assert_msg(time_parse(good[i].text, &seconds), "%s", good[i].text);
        ck_assert_double_eq(seconds, good[i].seconds);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        ck_assert_msg(!time_parse(bad[i], &seconds), "%s was taken", bad[i]);
}
END_TEST

START_TEST(test_time_print_is_parsed_back)
{
    const double times[] = {1, 59, 60, 3600, 5400, 86400, 90061, TIME_BUDGET_MOST};
    char text[TIME_TEXT];
    double seconds;
    for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
        time_print(text, times[i]);
        ck_assert(time_parse(text, &seconds) && seconds == times[i]);
    }
    time_print(text, 5400);
    ck_assert_str_eq(text, "1h30m");
}
END_TEST

START_TEST(test_time_plan_steps_fit_into_the_budget)
{
    struct time_plan plan = {.budget = 1000, .seconds_per_step = 0.5, .measured = 9};
    time_plan_steps(&plan, 50);
    ck_assert_int_gt(plan.steps, 1600);
    ck_assert_double_le(50 + 0.5 * (double)plan.steps, 1000);
    time_plan_steps(&plan, 2000);
    ck_assert_int_eq(plan.steps, 1);
    plan.seconds_per_step = 1e-300;
    time_plan_steps(&plan, 0);
    ck_assert_int_gt(plan.steps, 1000000);
}
END_TEST

START_TEST(test_time_plan_text_is_read_back_exactly)
{
    struct time_plan plan = {.budget = 3600.1, .seconds_per_step = 1.0 / 3, .measured = 7, .steps = 10000},
                     again;
    char text[TIME_TEXT];
    time_plan_print(&plan, text);
    ck_assert(time_plan_read(&again, text) && !memcmp(&again, &plan, sizeof plan));
    ck_assert(time_plan_read(&again, "") && again.budget == 0 && again.steps == 0);
    const char *const bad[] = {"x", "1 1 1", "1 1 1 0", "1 1 1 1 1", "-1 1 1 1", "nan 1 1 1"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) ck_assert(!time_plan_read(&again, bad[i]));
    time_plan_print(&(struct time_plan){0}, text);
    ck_assert_str_eq(text, "");
}
END_TEST

RUN_TESTS("time_budget", test_time_parse_takes_units_in_falling_order, test_time_print_is_parsed_back,
    test_time_plan_steps_fit_into_the_budget, test_time_plan_text_is_read_back_exactly)
