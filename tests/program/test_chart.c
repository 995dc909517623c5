/* The curves' arithmetic, and that a chart can be drawn of any history. */
#include "drawing/chart.h"
#include "files.h"
#include "pictures/image.h"
#include "session/history.h"
#include "suite.h"

#include <math.h>

static void add(struct history *history, double global, double view, double image, int on)
{
    struct problem problem;
    cribo_report report = {.struct_size = sizeof report,
        .loss = global + view + image,
        .global_loss = global,
        .cross_view_loss = view,
        .cross_image_loss = image,
        .cross_image_on = on};
    ck_assert(history_add(history, &report, &problem));
}

START_TEST(test_history_means_leave_out_what_took_no_part)
{
    struct history history = {0};
    add(&history, 4, 2, 0, 0);
    add(&history, 3, 1, 5, 1);
    ck_assert_double_eq(history_mean(&history, 0, 0, 1), 3);
    ck_assert_double_eq(history_mean(&history, 0, 1, 2), 3);
    ck_assert_double_eq(history_mean(&history, 1, 0, 2), 3.5);
    ck_assert_double_eq(history_mean(&history, 3, 0, 2), 5);
    ck_assert(isnan(history_mean(&history, 3, 0, 1)));
    ck_assert(isnan(history_mean(&history, 0, 2, 9)));
    history_free(&history);
}
END_TEST

START_TEST(test_chart_draws_any_history)
{
    char *folder = files_make_folder();
    const char *path = files_path(folder, "loss.png");
    struct problem problem;
    struct image image;
    struct history history = {0};
    ck_assert(!history_draw(&history, path, &problem));
    add(&history, 4, 2, 0, 0);
    ck_assert(!history_draw(&history, path, &problem));
    add(&history, 4, 2, 0, 0);
    ck_assert(history_draw(&history, path, &problem));
    add(&history, NAN, INFINITY, 1, 1);
    ck_assert(history_draw(&history, path, &problem));
    for (int i = 0; i < 3000; i++) add(&history, 4 - i * 1e-3, 2, -1, i > 100);
    ck_assert(history_draw(&history, path, &problem));
    ck_assert(image_load(&image, path, 3, 0, &problem));
    ck_assert_int_ge(image.width, 600);
    image_free(&image);
    history_free(&history);
    files_remove(folder);
}
END_TEST

/* A straight line stays itself up to its ends, and the spread of noise there does not grow without bound. */
START_TEST(test_chart_smooths_as_much_at_the_ends)
{
    enum { COUNT = 200, REACH = 10 };
    double line[COUNT], noise[COUNT], smoothed[COUNT];
    uint32_t state = 1;
    for (int i = 0; i < COUNT; i++) {
        line[i] = 5 - 0.02 * i;
        state = state * 1664525u + 1013904223u;
        noise[i] = state / 4294967296.0 - 0.5;
    }
    chart_smooth(line, COUNT, REACH, smoothed);
    for (int i = 0; i < COUNT; i++) ck_assert_double_eq_tol(smoothed[i], line[i], 1e-12);
    chart_smooth(noise, COUNT, REACH, smoothed);
    for (int i = REACH; i < COUNT - REACH; i++) {
        double mean = 0;
        for (int j = i - REACH; j <= i + REACH; j++) mean += noise[j] / (2 * REACH + 1);
        ck_assert_double_eq_tol(smoothed[i], mean, 1e-12);
    }
    ck_assert_double_lt(fabs(smoothed[COUNT - 1]), 0.35); /* 4 of 2 * REACH + 1 values' weight at most */
    noise[COUNT - 1] += 1;
    double before = smoothed[COUNT - 1];
    chart_smooth(noise, COUNT, REACH, smoothed);
    ck_assert_double_lt(
        smoothed[COUNT - 1] - before, 0.2); /* one value out of 21 decides no more than that */
}
END_TEST

START_TEST(test_chart_smooths_across_what_is_missing)
{
    double values[] = {NAN, 1, NAN, 2, 3, INFINITY, 4}, smoothed[7];
    chart_smooth(values, 7, 1, smoothed);
    ck_assert(isnan(smoothed[0]) && isnan(smoothed[2]) && isnan(smoothed[5]));
    ck_assert_double_eq_tol(smoothed[1], 1, 1e-12);
    ck_assert_double_eq_tol(smoothed[3], 2, 1e-12);
    ck_assert_double_eq_tol(smoothed[6], 4, 1e-12);
    chart_smooth(values, 1, 3, smoothed);
    ck_assert(isnan(smoothed[0]));
}
END_TEST

RUN_TESTS("chart", test_history_means_leave_out_what_took_no_part, test_chart_draws_any_history,
    test_chart_smooths_as_much_at_the_ends, test_chart_smooths_across_what_is_missing)
