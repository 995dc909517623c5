/* The curves' arithmetic and that a plot can be drawn of any history. */
#include "files.h"
#include "drawing/plot.h"
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

START_TEST(test_plot_draws_any_history)
{
    char *folder = files_make_folder();
    const char *path = files_path(folder, "loss.png");
    struct problem problem;
    struct image image;
    struct history history = {0};
    ck_assert(!plot_losses(&history, path, &problem));
    add(&history, 4, 2, 0, 0);
    ck_assert(!plot_losses(&history, path, &problem));
    add(&history, 4, 2, 0, 0);
    ck_assert(plot_losses(&history, path, &problem));
    add(&history, NAN, INFINITY, 1, 1);
    ck_assert(plot_losses(&history, path, &problem));
    for (int i = 0; i < 3000; i++) add(&history, 4 - i * 1e-3, 2, -1, i > 100);
    ck_assert(plot_losses(&history, path, &problem));
    ck_assert(image_load(&image, path, 3, 0, &problem));
    ck_assert_int_ge(image.width, 600);
    image_free(&image);
    history_free(&history);
    files_remove(folder);
}
END_TEST

RUN_TESTS("plot", test_history_means_leave_out_what_took_no_part, test_plot_draws_any_history)
