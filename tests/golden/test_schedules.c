/* The schedules against the authors' values. */
#include "support/golden.h"
#include "support/suite.h"
#include "training/schedule.h"

#include <check.h>
#include <math.h>
#include <string.h>

static json_t *file;

static double number(const json_t *object, const char *key)
{
    json_t *value = json_object_get(object, key);
    ck_assert_msg(json_is_number(value), "%s is missing", key);
    return json_number_value(value);
}

static double element(const json_t *object, const char *key, size_t index)
{
    return json_number_value(json_array_get(json_object_get(object, key), index));
}

static void assert_same(const char *kind, double index, double got, double expected)
{
    ck_assert_msg(fabs(got - expected) <= 1e-12 * fabs(expected), "%s at %g: %.17g, expected %.17g", kind,
        index, got, expected);
}

/* Calls `check` on every schedule of the kind; there must be some. */
static void over_kind(const char *kind, void (*check)(const json_t *schedule, size_t values))
{
    size_t index, found = 0;
    json_t *schedule;
    json_array_foreach(json_object_get(file, "schedules"), index, schedule)
    {
        if (strcmp(json_string_value(json_object_get(schedule, "kind")), kind) != 0) continue;
        size_t values = json_array_size(json_object_get(schedule, "value"));
        ck_assert_uint_gt(values, 0);
        check(schedule, values);
        found++;
    }
    ck_assert_uint_gt(found, 0);
}

static void check_cosine(const json_t *schedule, size_t values)
{
    int64_t per_epoch = (int64_t)number(schedule, "iterations_per_epoch");
    int64_t warmup = (int64_t)number(schedule, "warmup_epochs") * per_epoch;
    int64_t total = (int64_t)number(schedule, "epochs") * per_epoch;
    for (size_t i = 0; i < values; i++) {
        double step = element(schedule, "iteration", i);
        double got = cb_schedule_cosine(number(schedule, "start_warmup_value"),
            number(schedule, "base_value"), number(schedule, "final_value"), warmup, total, (int64_t)step);
        assert_same("cosine", step, got, element(schedule, "value", i));
    }
}

static void check_temperature(const json_t *schedule, size_t values)
{
    for (size_t e = 0; e < values; e++) {
        double got = cb_schedule_linear(number(schedule, "warmup_teacher_temp"),
            number(schedule, "teacher_temp"), (int64_t)number(schedule, "warmup_epochs"), (int64_t)e);
        assert_same("temperature", (double)e, got, element(schedule, "value", e));
    }
}

/* The authors' pair has the last epoch's value first. */
static void check_position_weight(const json_t *schedule, size_t values)
{
    for (size_t e = 0; e < values; e++) {
        double got = cb_schedule_position_weight(element(schedule, "pos_alpha", 1),
            element(schedule, "pos_alpha", 0), (int64_t)number(schedule, "epochs"), (int64_t)e);
        assert_same("position weight", (double)e, got, element(schedule, "value", e));
    }
}

START_TEST(test_schedule_cosine_matches_golden)
{
    over_kind("cosine", check_cosine);
}
END_TEST

START_TEST(test_schedule_teacher_temperature_matches_golden)
{
    over_kind("teacher_temperature", check_temperature);
}
END_TEST

START_TEST(test_schedule_position_weight_matches_golden)
{
    over_kind("pos_alpha", check_position_weight);
}
END_TEST

/* The whole config gives the same as its parts: the 400-epoch run of 1251 steps. */
static void check_config(const json_t *schedule, size_t values)
{
    if (number(schedule, "warmup_epochs") == 0 || number(schedule, "epochs") < 100) return;
    cribo_objective_config config = {
        .batch_size = 1024, .learning_rate_batch = 256, .weight_decay = 0.04, .ema_momentum = 0.996};
    config.learning_rate = number(schedule, "base_value") / 4;
    config.learning_rate_final = number(schedule, "final_value");
    config.warmup_epochs = number(schedule, "warmup_epochs");
    config.epochs = number(schedule, "epochs");
    config.steps_per_epoch = (int64_t)number(schedule, "iterations_per_epoch");
    for (size_t i = 0; i < values; i++) {
        cribo_step_values got;
        double step = element(schedule, "iteration", i);
        cb_schedule_at(&config, (int64_t)step, &got);
        assert_same("learning rate", step, got.learning_rate, element(schedule, "value", i));
    }
}

START_TEST(test_schedule_learning_rate_of_config_matches_golden)
{
    over_kind("cosine", check_config);
}
END_TEST

static void open_file(void)
{
    file = golden_json("schedules.json");
}

static void close_file(void)
{
    json_decref(file);
}

int main(void)
{
    Suite *suite = suite_create("golden schedules");
    TCase *cases = tcase_create("golden schedules");
    tcase_add_checked_fixture(cases, open_file, close_file);
    tcase_add_test(cases, test_schedule_cosine_matches_golden);
    tcase_add_test(cases, test_schedule_teacher_temperature_matches_golden);
    tcase_add_test(cases, test_schedule_position_weight_matches_golden);
    tcase_add_test(cases, test_schedule_learning_rate_of_config_matches_golden);
    suite_add_tcase(suite, cases);
    return run_suite(suite);
}
