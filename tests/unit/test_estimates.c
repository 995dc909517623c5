/* The memory that handles need, before they are created: what passes through the allocator's hooks. */
#define _DEFAULT_SOURCE /* getrusage */
#include "support/faulty.h"
#include "support/objective.h"
#include "support/suite.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

/* The hooks of the runtime are not called for an estimate. */
static void *refuse(void *user, size_t bytes)
{
    (void)user, (void)bytes;
    ck_abort_msg("an estimate called the allocator");
}

static void never(void *user, void *memory)
{
    (void)user, (void)memory;
}

static void say(void *user, int level, const char *message)
{
    (void)user, (void)level;
    ck_abort_msg("an estimate called the log: %s", message);
}

static cribo_runtime silent(int64_t threads)
{
    cribo_runtime runtime = training_runtime(threads);
    runtime.allocate = refuse;
    runtime.release = never;
    runtime.log = say;
    return runtime;
}

/* Trainers. */

typedef void change(cribo_trainer_config *config);

static void nothing(cribo_trainer_config *config)
{
    (void)config;
}

static void bf16(cribo_trainer_config *config)
{
    config->precision = CRIBO_BF16;
}

static void recompute(cribo_trainer_config *config)
{
    config->recompute = 1;
    config->micro_batch = 5;
}

static void frozen(cribo_trainer_config *config)
{
    config->frozen_blocks = 1;
    config->average_steps = 2;
    config->shards = 1;
}

static void larger(cribo_trainer_config *config)
{
    config->width *= 4;
    config->bank_images = 900;
    config->prototypes = 5000;
    config->group_images = 5;
    config->batch_cost = 1;
}

static void regularised(cribo_trainer_config *config)
{
    config->koleo_weight = 0.1;
    config->object_koleo_weight = 0.1;
    config->gram_weight = 1;
}

static const struct {
    change *change;
    int64_t threads;
} trainers[] = {
    {nothing, 1}, {nothing, 3}, {bf16, 2}, {recompute, 1}, {frozen, 2}, {larger, 2}, {regularised, 2}};

START_TEST(test_estimates_trainer_is_the_peak_of_creation_and_steps)
{
    faulty memory = {0};
    cribo_trainer *trainer;
    cribo_trainer_config config = training_config();
    trainers[_i].change(&config);
    cribo_runtime quiet = silent(trainers[_i].threads),
                  runtime = faulty_runtime(trainers[_i].threads, &memory);
    int64_t bytes = 0;
    OK(cribo_trainer_memory(&config, &quiet, &bytes));
    OK(cribo_trainer_create(&trainer, &config, &runtime));
    ck_assert_int_eq(bytes, (int64_t)memory.peak);
    training_steps(trainer, &config, 2);
    ck_assert_int_eq(bytes, (int64_t)memory.peak);
    cribo_trainer_free(trainer);
}
END_TEST

START_TEST(test_estimates_published_settings_take_no_memory)
{
    struct rusage before, after;
    cribo_trainer_config config;
    int64_t bytes;
    OK(cribo_trainer_config_init(&config, sizeof config));
    OK(cribo_trainer_config_preset(&config, "vitb16-in1k"));
    config.steps_per_epoch = 100;
    getrusage(RUSAGE_SELF, &before);
    OK(cribo_trainer_memory(&config, NULL, &bytes));
    getrusage(RUSAGE_SELF, &after);
    ck_assert_int_gt(bytes, (int64_t)4 << 30);
    ck_assert_int_lt((after.ru_maxrss - before.ru_maxrss) * 1024, bytes / 20);
}
END_TEST

START_TEST(test_estimates_more_than_the_address_space_is_an_error)
{
    cribo_trainer_config config = training_config();
    int64_t bytes = 7;
    config.batch_size = config.micro_batch = 1048576;
    config.image_size = 3 * 4096;
    config.patch_size = 3;
    REFUSED(cribo_trainer_memory(&config, NULL, &bytes), CRIBO_OUT_OF_MEMORY, "");
    ck_assert_int_eq(bytes, 7);
}
END_TEST

/* Other handles. */

START_TEST(test_estimates_objective_is_the_peak_of_creation_and_steps)
{
    faulty memory = {0};
    cribo_objective *objective;
    cribo_objective_config config = objective_config();
    cribo_runtime quiet = silent(1 + _i), runtime = faulty_runtime(1 + _i, &memory);
    int64_t bytes;
    OK(cribo_objective_memory(&config, &quiet, &bytes));
    OK(cribo_objective_create(&objective, &config, &runtime));
    objective_step(objective, &config, 1);
    ck_assert_int_eq(bytes, (int64_t)memory.peak);
    cribo_objective_free(objective);
}
END_TEST

START_TEST(test_estimates_memory_bank_is_the_peak_of_creation)
{
    faulty memory = {0};
    cribo_memory_bank *bank;
    cribo_memory_bank_config config;
    OK(cribo_memory_bank_config_init(&config, sizeof config));
    config.bank_images = _i ? 3000 : 10;
    config.width = 24;
    cribo_runtime quiet = silent(2), runtime = faulty_runtime(2, &memory);
    int64_t bytes;
    OK(cribo_memory_bank_memory(&config, &quiet, &bytes));
    OK(cribo_memory_bank_create(&bank, &config, &runtime));
    ck_assert_int_eq(bytes, (int64_t)memory.peak);
    cribo_memory_bank_free(bank);
}
END_TEST

START_TEST(test_estimates_clusterer_is_the_peak_of_creation)
{
    faulty memory = {0};
    cribo_clusterer *clusterer;
    cribo_clusterer_config config;
    OK(cribo_clusterer_config_init(&config, sizeof config));
    config.clusters = 8;
    cribo_runtime quiet = silent(2), runtime = faulty_runtime(2, &memory);
    int64_t bytes;
    OK(cribo_clusterer_memory(&config, &quiet, 1 + 40 * _i, 196, 33, &bytes));
    OK(cribo_clusterer_create(&clusterer, &config, &runtime, 1 + 40 * _i, 196, 33));
    ck_assert_int_eq(bytes, (int64_t)memory.peak);
    cribo_clusterer_free(clusterer);
}
END_TEST

static cribo_model_config model_config(int64_t precision)
{
    cribo_model_config config;
    OK(cribo_model_config_init(&config, sizeof config));
    config.width = 48;
    config.heads = 3;
    config.depth = 2;
    config.image_size = 64;
    config.prototypes = config.object_prototypes = 0;
    config.precision = precision;
    return config;
}

/* Sides of 0: no features. */
static void assert_model(int64_t precision, int64_t height, int64_t width)
{
    faulty memory = {0};
    cribo_model *model;
    cribo_model_config config = model_config(precision);
    cribo_runtime quiet = silent(2), runtime = faulty_runtime(2, &memory);
    int64_t bytes, images = 2;
    OK(cribo_model_memory(&config, &quiet, height, width, &bytes));
    OK(cribo_model_create(&model, &config, &runtime));
    float *pixels = calloc((size_t)(images * 3 * height * width + 1), sizeof *pixels);
    float *cls = calloc((size_t)(images * config.width), sizeof *cls);
    if (height) OK(cribo_model_features(model, images, height, width, pixels, NULL, cls, NULL));
    ck_assert_int_eq(bytes, (int64_t)memory.peak);
    free(pixels);
    free(cls);
    cribo_model_free(model);
}

START_TEST(test_estimates_model_is_the_peak_of_creation_and_features)
{
    assert_model(_i, 0, 0);
    assert_model(_i, 64, 64);
    assert_model(_i, 160, 48);
}
END_TEST

START_TEST(test_estimates_model_refuses_sides_that_features_refuse)
{
    cribo_model_config config = model_config(CRIBO_FLOAT32);
    int64_t bytes = 7;
    REFUSED(cribo_model_memory(&config, NULL, 0, 64, &bytes), CRIBO_INVALID_ARGUMENT, "height");
    REFUSED(cribo_model_memory(&config, NULL, 64, 65, &bytes), CRIBO_INVALID_ARGUMENT, "width");
    ck_assert_int_eq(bytes, 7);
}
END_TEST

START_TEST(test_estimates_available_memory_is_there)
{
    ck_assert_int_ge(cribo_memory_available(), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("estimates");
    TCase *tests = tcase_create("estimates");
    tcase_set_timeout(tests, 120);
    tcase_add_loop_test(tests, test_estimates_trainer_is_the_peak_of_creation_and_steps, 0,
        (int)(sizeof trainers / sizeof trainers[0]));
    tcase_add_test(tests, test_estimates_published_settings_take_no_memory);
    tcase_add_test(tests, test_estimates_more_than_the_address_space_is_an_error);
    tcase_add_loop_test(tests, test_estimates_objective_is_the_peak_of_creation_and_steps, 0, 2);
    tcase_add_loop_test(tests, test_estimates_memory_bank_is_the_peak_of_creation, 0, 2);
    tcase_add_loop_test(tests, test_estimates_clusterer_is_the_peak_of_creation, 0, 2);
    tcase_add_loop_test(tests, test_estimates_model_is_the_peak_of_creation_and_features, 0, 2);
    tcase_add_test(tests, test_estimates_model_refuses_sides_that_features_refuse);
    tcase_add_test(tests, test_estimates_available_memory_is_there);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
