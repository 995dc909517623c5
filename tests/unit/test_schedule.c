/*
 * The edges of the schedules: spans of one, in steps and in epochs, before the first change and beyond the
 * end.
 */
#include "training/schedule.h"
#include "support/suite.h"

#include <check.h>

static const double tolerance = 1e-15;

/* 6 epochs of 5 steps. */
static cribo_objective_config small_config(void)
{
    cribo_objective_config config = {.batch_size = 512,
        .learning_rate_batch = 256,
        .learning_rate = 1e-3,
        .learning_rate_final = 1e-5,
        .warmup_epochs = 2,
        .weight_decay = 0.04,
        .weight_decay_final = 0.4,
        .ema_momentum = 0.996,
        .ema_momentum_final = 1,
        .teacher_temperature_start = 0.04,
        .teacher_temperature = 0.07,
        .object_teacher_temperature_start = 0.05,
        .object_teacher_temperature = 0.09,
        .teacher_temperature_epochs = 4,
        .position_weight = 2,
        .position_weight_final = 1,
        .freeze_last_layer_epochs = 1,
        .cross_image_epochs = 2,
        .epochs = 6,
        .steps_per_epoch = 5};
    return config;
}

static cribo_step_values at(const cribo_objective_config *config, int64_t step)
{
    cribo_step_values values;
    cb_schedule_at(config, step, &values);
    return values;
}

START_TEST(test_schedule_first_step_has_start_values)
{
    cribo_objective_config config = small_config();
    cribo_step_values first = at(&config, 0);
    ck_assert_double_eq(first.learning_rate, 0);
    ck_assert_double_eq_tol(first.weight_decay, 0.04, tolerance);
    ck_assert_double_eq_tol(first.ema_momentum, 0.996, tolerance);
    ck_assert_double_eq(first.teacher_temperature, 0.04);
    ck_assert_double_eq(first.object_teacher_temperature, 0.05);
    ck_assert_double_eq(first.position_weight, 2);
    ck_assert(first.last_layer_frozen);
    ck_assert(!first.cross_image);
    ck_assert_int_eq(first.epoch, 0);
}
END_TEST

START_TEST(test_schedule_learning_rate_peaks_twice_after_warmup)
{
    cribo_objective_config config = small_config();
    ck_assert_double_eq_tol(at(&config, 9).learning_rate, 2e-3, tolerance); /* 512 images: twice the base */
    ck_assert_double_eq_tol(at(&config, 10).learning_rate, 2e-3, tolerance);
    ck_assert_double_lt(at(&config, 8).learning_rate, 1.9e-3);
    ck_assert_double_lt(at(&config, 11).learning_rate, 2e-3);
}
END_TEST

START_TEST(test_schedule_epochs_change_between_steps)
{
    cribo_objective_config config = small_config();
    ck_assert(at(&config, 4).last_layer_frozen);
    ck_assert(!at(&config, 5).last_layer_frozen);
    ck_assert(!at(&config, 9).cross_image);
    ck_assert(at(&config, 10).cross_image);
    ck_assert_double_eq(at(&config, 4).teacher_temperature, 0.04);
    ck_assert_double_eq_tol(at(&config, 5).teacher_temperature, 0.05, tolerance);
    ck_assert_double_eq_tol(at(&config, 19).object_teacher_temperature, 0.09, tolerance);
    ck_assert_double_eq(at(&config, 4).position_weight, 2);
    ck_assert_double_eq_tol(at(&config, 5).position_weight, 1.8, tolerance);
    ck_assert_double_eq_tol(at(&config, 25).position_weight, 1, tolerance);
    ck_assert_int_eq(at(&config, 14).epoch, 2);
}
END_TEST

START_TEST(test_schedule_beyond_the_end_holds_last_values)
{
    cribo_objective_config config = small_config();
    cribo_step_values last = at(&config, 29), beyond = at(&config, 1000000007);
    ck_assert_double_eq(beyond.learning_rate, last.learning_rate);
    ck_assert_double_eq(beyond.weight_decay, last.weight_decay);
    ck_assert_double_eq(beyond.ema_momentum, last.ema_momentum);
    ck_assert_double_eq(beyond.teacher_temperature, 0.07);
    ck_assert_double_eq(beyond.position_weight, 1);
    ck_assert_double_gt(last.learning_rate, 1e-5);
    ck_assert_double_lt(last.ema_momentum, 1);
    ck_assert_int_eq(beyond.epoch, 200000001);
    ck_assert_double_eq(cb_schedule_cosine(0, 1, 0.5, 2, 10, 25), cb_schedule_cosine(0, 1, 0.5, 2, 10, 9));

    config.teacher_temperature_epochs = 11; /* longer than the training */
    ck_assert_double_eq_tol(at(&config, 1000).teacher_temperature, 0.055, tolerance);
}
END_TEST

START_TEST(test_schedule_steps_take_the_place_of_epochs)
{
    cribo_objective_config config = small_config();
    config.warmup_steps = 3;
    config.teacher_temperature_steps = 4;
    config.freeze_last_layer_steps = 2;
    config.cross_image_steps = 7;
    config.total_steps = 11;
    ck_assert_int_eq(cb_schedule_total_steps(&config), 11);
    ck_assert_double_eq_tol(at(&config, 1).learning_rate, 1e-3, tolerance);
    ck_assert_double_eq_tol(at(&config, 3).learning_rate, 2e-3, tolerance);
    ck_assert_double_eq_tol(at(&config, 1).teacher_temperature, 0.05, tolerance);
    ck_assert_double_eq_tol(at(&config, 4).teacher_temperature, 0.07, tolerance);
    ck_assert(at(&config, 1).last_layer_frozen && !at(&config, 2).last_layer_frozen);
    ck_assert(!at(&config, 6).cross_image && at(&config, 7).cross_image);
    ck_assert_double_eq_tol(
        at(&config, 5).position_weight, 1.5, tolerance); /* 3 epochs: the last one is cut short */
    ck_assert_double_eq(at(&config, 10).learning_rate, at(&config, 11).learning_rate);
}
END_TEST

START_TEST(test_schedule_one_epoch_has_first_values)
{
    cribo_objective_config config = small_config();
    config.epochs = 1;
    config.teacher_temperature_epochs = 1;
    ck_assert_double_eq(at(&config, 4).position_weight, 2);
    ck_assert_double_eq(at(&config, 4).teacher_temperature, 0.04);
    ck_assert_double_eq(at(&config, 400).position_weight, 2);
    ck_assert_double_lt(at(&config, 4).learning_rate, 2e-3); /* warm-up that outlasts the training */
}
END_TEST

START_TEST(test_schedule_one_step_is_whole_training)
{
    cribo_objective_config config = small_config();
    config.total_steps = 1;
    config.warmup_epochs = 0;
    ck_assert_double_eq_tol(at(&config, 0).learning_rate, 2e-3, tolerance);
    ck_assert_double_eq_tol(at(&config, 5).weight_decay, 0.04, tolerance);
}
END_TEST

START_TEST(test_schedule_warmup_of_one_step_starts_at_zero)
{
    ck_assert_double_eq(cb_schedule_cosine(0.25, 1, 0, 1, 5, 0), 0.25);
    ck_assert_double_eq(cb_schedule_cosine(0.25, 1, 0, 1, 5, 1), 1);
    ck_assert_double_eq_tol(cb_schedule_cosine(0.25, 1, 0, 1, 5, 3), 0.5, tolerance);
}
END_TEST

START_TEST(test_schedule_no_spans_are_over_at_once)
{
    cribo_objective_config config = small_config();
    config.warmup_epochs = config.teacher_temperature_epochs = 0;
    config.freeze_last_layer_epochs = config.cross_image_epochs = 0;
    cribo_step_values first = at(&config, 0);
    ck_assert_double_eq_tol(first.learning_rate, 2e-3, tolerance);
    ck_assert_double_eq(first.teacher_temperature, 0.07);
    ck_assert(!first.last_layer_frozen && first.cross_image);
}
END_TEST

START_TEST(test_schedule_parts_of_epochs_round_to_steps)
{
    cribo_objective_config config = small_config();
    config.freeze_last_layer_epochs = 0.5; /* 2.5 steps */
    config.epochs = 2.3;                   /* 11.5 steps */
    ck_assert(at(&config, 2).last_layer_frozen && !at(&config, 3).last_layer_frozen);
    ck_assert_int_eq(cb_schedule_total_steps(&config), 12);
    config.epochs = 0;
    ck_assert_int_eq(cb_schedule_total_steps(&config), 1);
}
END_TEST

/* More steps than the largest integer. */
START_TEST(test_schedule_enormous_epochs_are_endless)
{
    cribo_objective_config config = small_config();
    config.epochs = config.warmup_epochs = config.freeze_last_layer_epochs = config.cross_image_epochs = 1e9;
    config.steps_per_epoch = 1000000000000;
    ck_assert_int_gt(cb_schedule_total_steps(&config), 1000000000000000);
    cribo_step_values values = at(&config, 5);
    ck_assert_double_gt(values.learning_rate, 0);
    ck_assert_double_lt(values.learning_rate, 1e-12);
    ck_assert_double_eq_tol(values.weight_decay, 0.04, 1e-12);
    ck_assert(values.last_layer_frozen);
    ck_assert(!values.cross_image);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("schedule");
    TCase *cases = tcase_create("schedule");
    tcase_add_test(cases, test_schedule_first_step_has_start_values);
    tcase_add_test(cases, test_schedule_learning_rate_peaks_twice_after_warmup);
    tcase_add_test(cases, test_schedule_epochs_change_between_steps);
    tcase_add_test(cases, test_schedule_beyond_the_end_holds_last_values);
    tcase_add_test(cases, test_schedule_steps_take_the_place_of_epochs);
    tcase_add_test(cases, test_schedule_one_epoch_has_first_values);
    tcase_add_test(cases, test_schedule_one_step_is_whole_training);
    tcase_add_test(cases, test_schedule_warmup_of_one_step_starts_at_zero);
    tcase_add_test(cases, test_schedule_no_spans_are_over_at_once);
    tcase_add_test(cases, test_schedule_parts_of_epochs_round_to_steps);
    tcase_add_test(cases, test_schedule_enormous_epochs_are_endless);
    suite_add_tcase(suite, cases);
    return run_suite(suite);
}
