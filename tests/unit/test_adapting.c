/*
 * Adapting: frozen blocks whose tokens teacher and student share, steps that train only the heads, rates that
 * decay from layer to layer; and training of the transformer's family.
 */
#include "support/scratch.h"
#include "support/suite.h"
#include "support/training.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static cribo_trainer_config config_with(const char *settings)
{
    cribo_trainer_config config = training_config();
    config.drop_path = 0;
    training_set(&config, settings);
    return config;
}

/* Settings of transformers that differ in everything that a block and an embedding may have. */
static const char *const families[] = {
    "",
    "precision=bf16",
    "layer_scale=0.5 registers=2 position_antialias=1 position_offset=0 position_grid=4",
    "layer_scale=0.5 registers=1 position_embedding=rope qkv_bias=no_key mlp=swiglu mlp_hidden=20",
    "precision=bf16 layer_scale=0.5 position_embedding=rope qkv_bias=no_key mlp=swiglu stem=convolution",
};
#define FAMILIES (sizeof families / sizeof families[0])

typedef enum copied { STUDENT, TEACHER, GRADIENT } copied;

/* A copy of a parameter's values or gradient; the caller frees. */
static float *copy_of(cribo_trainer *trainer, const cribo_parameter *p, copied what)
{
    float *values = calloc((size_t)p->count, sizeof *values);
    if (what == GRADIENT)
        OK(cribo_trainer_gradient(trainer, p->name, values, p->count));
    else
        OK(cribo_model_read_parameter(
            what == STUDENT ? cribo_trainer_student(trainer) : cribo_trainer_teacher(trainer), p->name,
            values, p->count));
    return values;
}

/* The layer of a parameter: 0 the embedding, i + 1 block i, 100 what follows the blocks. */
static int layer_of(const char *name)
{
    int block;
    if (sscanf(name, "backbone.blocks.%d.", &block) == 1) return block + 1;
    return strncmp(name, "backbone.", 9) == 0 && strncmp(name, "backbone.norm", 13) != 0 ? 0 : 100;
}

static bool is_frozen(const cribo_trainer_config *config, const char *name)
{
    return config->frozen_blocks > 0 && layer_of(name) <= config->frozen_blocks;
}

static bool same(const float *a, const float *b, int64_t count)
{
    return memcmp(a, b, (size_t)count * sizeof *a) == 0;
}

static bool all_zero(const float *values, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        if (values[i] != 0) return false;
    return true;
}

/* --- frozen blocks --- */

static void teach_and_learn(cribo_trainer *trainer, const cribo_trainer_config *config)
{
    training_batch made = training_batch_of(config, config->batch_size, 0);
    OK(cribo_trainer_teach(trainer, &made.batch));
    OK(cribo_trainer_learn(trainer, &made.batch));
    training_batch_free(&made);
}

/* The unshared computation trains all blocks. */
START_TEST(test_adapting_gradients_are_those_of_the_unshared_computation)
{
    cribo_trainer_config plain = config_with(families[_i]), frozen = plain;
    cribo_parameter p;
    for (frozen.frozen_blocks = 1; frozen.frozen_blocks <= frozen.depth; frozen.frozen_blocks++) {
        cribo_trainer *expected = training_begin(&plain, 2), *found = training_begin(&frozen, 2);
        teach_and_learn(expected, &plain);
        teach_and_learn(found, &frozen);
        for (int64_t i = 0; training_parameter(found, i, &p); i++) {
            float *a = copy_of(expected, &p, GRADIENT), *b = copy_of(found, &p, GRADIENT);
            if (is_frozen(&frozen, p.name))
                ck_assert_msg(all_zero(b, p.count), "%s has a gradient", p.name);
            else
                ck_assert_msg(same(a, b, p.count), "%s has another gradient", p.name);
            free(a);
            free(b);
        }
        cribo_trainer_free(expected);
        cribo_trainer_free(found);
    }
}
END_TEST

/* The values of all parameters of both networks before some steps. */
static void check_frozen(cribo_trainer *trainer, const cribo_trainer_config *config, float *const before[])
{
    cribo_parameter p;
    for (int64_t i = 0; training_parameter(trainer, i, &p); i++) {
        float *student = copy_of(trainer, &p, STUDENT), *teacher = copy_of(trainer, &p, TEACHER);
        float *first = calloc((size_t)p.count, sizeof *first);
        int64_t updates;
        OK(cribo_trainer_moments(trainer, p.name, first, NULL, p.count, &updates));
        bool frozen = is_frozen(config, p.name);
        ck_assert_msg(same(student, before[i], p.count) == frozen, "the student's %s", p.name);
        ck_assert_msg(same(teacher, before[i], p.count) == frozen, "the teacher's %s", p.name);
        ck_assert_msg(all_zero(first, p.count) == frozen, "the moments of %s", p.name);
        ck_assert_int_eq(updates, frozen ? 0 : 3);
        free(student);
        free(teacher);
        free(first);
    }
}

START_TEST(test_adapting_frozen_parameters_keep_their_bits)
{
    cribo_trainer_config config = config_with("frozen_blocks=2 layer_scale=0.5 registers=1");
    cribo_trainer *trainer = training_begin(&config, 2);
    cribo_parameter p;
    float *before[256];
    int64_t count = 0;
    for (; training_parameter(trainer, count, &p); count++) before[count] = copy_of(trainer, &p, STUDENT);
    training_steps(trainer, &config, 3);
    check_frozen(trainer, &config, before);
    for (int64_t i = 0; i < count; i++) free(before[i]);
    cribo_trainer_free(trainer);
}
END_TEST

START_TEST(test_adapting_more_frozen_blocks_than_there_are_is_refused)
{
    cribo_trainer_config config = config_with("frozen_blocks=4");
    cribo_trainer *trainer;
    REFUSED(cribo_trainer_create(&trainer, &config, NULL), CRIBO_INVALID_ARGUMENT, "frozen_blocks = 4");
    ck_assert_ptr_null(trainer);
}
END_TEST

/* --- the same bits --- */

static const char *const parts[] = {"", "frozen_blocks=2",
    "frozen_blocks=1 heads_only_steps=2 layer_decay=0.5", "frozen_blocks=2 shards=2 batch_size=4"};
#define PARTS (sizeof parts / sizeof parts[0])

static cribo_trainer_config config_of(int number)
{
    cribo_trainer_config config = config_with(families[(size_t)number / PARTS]);
    training_set(&config, parts[(size_t)number % PARTS]);
    config.drop_path = 0.3;
    return config;
}

START_TEST(test_adapting_threads_and_recomputing_keep_the_bits)
{
    cribo_trainer_config config = config_of(_i), sparing = config;
    sparing.recompute = 1;
    cribo_trainer *one = training_begin(&config, 1), *three = training_begin(&config, 3),
                  *other = training_begin(&sparing, 2);
    training_steps(one, &config, 3);
    training_steps(three, &config, 3);
    training_steps(other, &sparing, 3);
    ck_assert(training_same(one, three));
    ck_assert(training_same(one, other));
    cribo_trainer_free(one);
    cribo_trainer_free(three);
    cribo_trainer_free(other);
}
END_TEST

START_TEST(test_adapting_resumed_run_has_the_bits_of_an_uninterrupted_one)
{
    cribo_trainer_config config = config_of(_i);
    cribo_trainer *whole = training_begin(&config, 2), *first = training_begin(&config, 2),
                  *second = training_begin(&config, 2);
    const char *path = scratch_path("adapting.checkpoint");
    training_steps(whole, &config, 4);
    training_steps(first, &config, 1);
    OK(cribo_trainer_save(first, path, NULL));
    OK(cribo_trainer_load(second, path, NULL));
    for (uint64_t i = 1; i < 4; i++) training_step(second, &config, i);
    ck_assert(training_same(whole, second));
    cribo_trainer_free(whole);
    cribo_trainer_free(first);
    cribo_trainer_free(second);
}
END_TEST

/* Micro-batches change the order of sums alone. */
START_TEST(test_adapting_micro_batches_agree)
{
    cribo_trainer_config config = config_with(families[_i]), whole;
    config.frozen_blocks = 1;
    whole = config;
    whole.micro_batch = 5;
    cribo_trainer *a = training_begin(&config, 2), *b = training_begin(&whole, 2);
    teach_and_learn(a, &config);
    teach_and_learn(b, &whole);
    cribo_parameter p;
    double tolerance = config.precision == CRIBO_BF16 ? 0.05 : 1e-4, most = 0, largest = 0;
    for (int64_t i = 0; training_parameter(a, i, &p); i++) {
        float *x = copy_of(a, &p, GRADIENT), *y = copy_of(b, &p, GRADIENT);
        for (int64_t j = 0; j < p.count; j++) {
            most = fmax(most, fabs((double)x[j] - (double)y[j]));
            largest = fmax(largest, fabs((double)x[j]));
        }
        free(x);
        free(y);
    }
    ck_assert_double_le(most, tolerance * largest);
    cribo_trainer_free(a);
    cribo_trainer_free(b);
}
END_TEST

/* --- steps of the heads alone --- */

START_TEST(test_adapting_heads_learn_alone_at_first)
{
    cribo_trainer_config plain = config_with(families[_i]), config = plain;
    config.heads_only_steps = 2;
    cribo_trainer *trainer = training_begin(&config, 2), *ordinary = training_begin(&plain, 2);
    cribo_parameter p;
    teach_and_learn(trainer, &config);
    teach_and_learn(ordinary, &plain);
    for (int64_t i = 0; training_parameter(trainer, i, &p); i++) {
        float *found = copy_of(trainer, &p, GRADIENT), *expected = copy_of(ordinary, &p, GRADIENT);
        bool head = strncmp(p.name, "head.", 5) == 0;
        ck_assert_msg(head ? same(found, expected, p.count) : all_zero(found, p.count), "%s", p.name);
        free(found);
        free(expected);
    }
    OK(cribo_trainer_forget(trainer));
    for (uint64_t step = 0; step < 3; step++) {
        training_step(trainer, &config, step);
        for (int64_t i = 0; training_parameter(trainer, i, &p); i++) {
            bool head = strncmp(p.name, "head.", 5) == 0;
            int64_t updates;
            OK(cribo_trainer_moments(trainer, p.name, NULL, NULL, p.count, &updates));
            ck_assert_int_eq(updates, head ? (int64_t)step + 1 : step < 2 ? 0 : 1);
        }
    }
    cribo_trainer_free(trainer);
    cribo_trainer_free(ordinary);
}
END_TEST

/* --- learning rates --- */

/* The change in the first step of the parameter's first number that changes. */
static double moved(cribo_trainer *trainer, const cribo_parameter *p, const float *before)
{
    float *after = copy_of(trainer, p, STUDENT);
    double most = 0;
    for (int64_t j = 0; j < p->count; j++) most = fmax(most, fabs((double)after[j] - (double)before[j]));
    free(after);
    return most;
}

/* Without decay of the weights AdamW's first step moves a number by its rate. */
START_TEST(test_adapting_rates_decay_from_layer_to_layer)
{
    cribo_trainer_config config =
        config_with("layer_decay=0.5 weight_decay=0 weight_decay_final=0 clip_norm=0");
    cribo_trainer *trainer = training_begin(&config, 2);
    cribo_parameter p;
    float *before[256];
    int64_t count = 0;
    cribo_report report = {.struct_size = sizeof report};
    for (; training_parameter(trainer, count, &p); count++) before[count] = copy_of(trainer, &p, STUDENT);
    training_batch made = training_batch_of(&config, config.batch_size, 0);
    OK(cribo_trainer_step(trainer, &made.batch, &report));
    for (int64_t i = 0; training_parameter(trainer, i, &p); i++) {
        int layer = layer_of(p.name);
        double rate = layer == 100 ? 1 : pow(0.5, (double)(config.depth + 1 - layer));
        double expected = report.learning_rate * rate, found = moved(trainer, &p, before[i]);
        ck_assert_msg(
            fabs(found - expected) < 0.01 * expected, "%s moved by %g, not %g", p.name, found, expected);
        free(before[i]);
    }
    training_batch_free(&made);
    cribo_trainer_free(trainer);
}
END_TEST

START_TEST(test_adapting_learning_rate_may_be_absolute)
{
    cribo_trainer_config config = config_with("learning_rate=0.01 learning_rate_batch=0");
    cribo_trainer *trainer = training_begin(&config, 2);
    training_batch made = training_batch_of(&config, config.batch_size, 0);
    cribo_report report = {.struct_size = sizeof report};
    OK(cribo_trainer_step(trainer, &made.batch, &report));
    ck_assert_double_eq(report.learning_rate, 0.01);
    training_batch_free(&made);
    cribo_trainer_free(trainer);
}
END_TEST

/* --- the average --- */

/* The parameter's values in a model; the caller frees. */
static float *values_of(cribo_model *model, const cribo_parameter *p)
{
    float *values = calloc((size_t)p->count, sizeof *values);
    OK(cribo_model_read_parameter(model, p->name, values, p->count));
    return values;
}

/* Adds the student's values after a step to the sums of all parameters. */
static void add_student(cribo_trainer *trainer, double *const sums[])
{
    cribo_parameter p;
    for (int64_t i = 0; training_parameter(trainer, i, &p); i++) {
        float *values = copy_of(trainer, &p, STUDENT);
        for (int64_t j = 0; j < p.count; j++) sums[i][j] += values[j];
        free(values);
    }
}

static void check_average(cribo_trainer *trainer, double *const sums[], int steps)
{
    cribo_parameter p;
    for (int64_t i = 0; training_parameter(trainer, i, &p); i++) {
        float *found = values_of(cribo_trainer_average(trainer), &p);
        for (int64_t j = 0; j < p.count; j++)
            ck_assert_double_eq_tol(found[j], sums[i][j] / steps, 1e-6 + 1e-6 * fabs(sums[i][j]));
        free(found);
    }
}

/* Eight steps; the last three are averaged. A run that was interrupted has the same bits. */
START_TEST(test_adapting_average_is_the_mean_of_the_last_steps)
{
    cribo_trainer_config config = config_with("average_steps=3 frozen_blocks=1");
    cribo_trainer *trainer = training_begin(&config, 2), *resumed = training_begin(&config, 1);
    const char *path = scratch_path("adapting.checkpoint"), *weights = scratch_path("weights");
    cribo_parameter p;
    double *sums[256];
    int64_t count = 0;
    for (; training_parameter(trainer, count, &p); count++)
        sums[count] = calloc((size_t)p.count, sizeof **sums);
    for (uint64_t step = 0; step < 8; step++) {
        ck_assert_ptr_null(step <= 5 ? cribo_trainer_average(trainer) : NULL);
        training_step(trainer, &config, step);
        if (step == 6) OK(cribo_trainer_save(trainer, path, NULL));
        if (step >= 5) add_student(trainer, sums);
    }
    check_average(trainer, sums, 3);
    OK(cribo_trainer_load(resumed, path, NULL));
    training_step(resumed, &config, 7);
    OK(cribo_trainer_save_weights(resumed, weights));
    cribo_model *other = cribo_trainer_teacher(resumed);
    OK(cribo_model_load(other, weights, "average."));
    for (int64_t i = 0; training_parameter(trainer, i, &p); i++) {
        float *a = values_of(cribo_trainer_average(trainer), &p), *b = values_of(other, &p);
        ck_assert_msg(same(a, b, p.count), "%s", p.name);
        free(a);
        free(b);
        free(sums[i]);
    }
    cribo_trainer_free(trainer);
    cribo_trainer_free(resumed);
}
END_TEST

/* --- the family --- */

START_TEST(test_adapting_key_bias_stays_zero)
{
    cribo_trainer_config config = config_with("qkv_bias=no_key position_embedding=rope");
    cribo_trainer *trainer = training_begin(&config, 2);
    cribo_parameter p = {.struct_size = sizeof p};
    training_steps(trainer, &config, 3);
    OK(cribo_model_find_parameter(cribo_trainer_student(trainer), "backbone.blocks.1.attn.qkv.bias", &p));
    float *bias = copy_of(trainer, &p, STUDENT);
    ck_assert(all_zero(bias + config.width, config.width));
    ck_assert(!all_zero(bias, config.width));
    ck_assert(!all_zero(bias + 2 * config.width, config.width));
    free(bias);
    cribo_trainer_free(trainer);
}
END_TEST

START_TEST(test_adapting_preset_is_for_hundreds_of_steps)
{
    cribo_trainer_config config;
    OK(cribo_trainer_config_init(&config, sizeof config));
    OK(cribo_trainer_config_preset(&config, "adapt"));
    ck_assert_int_eq(config.learning_rate_batch, 0);
    ck_assert_int_eq(config.precision, CRIBO_BF16);
    ck_assert_double_eq(config.drop_path, 0);
    ck_assert_double_eq(config.teacher_temperature_start, config.teacher_temperature);
    ck_assert_int_eq(config.width, 384); /* the shape is that of the weights */
}
END_TEST

static void add_all(TCase *tests)
{
    const int all = (int)FAMILIES, combined = (int)(FAMILIES * PARTS);
    tcase_add_loop_test(tests, test_adapting_gradients_are_those_of_the_unshared_computation, 0, all);
    tcase_add_test(tests, test_adapting_frozen_parameters_keep_their_bits);
    tcase_add_test(tests, test_adapting_more_frozen_blocks_than_there_are_is_refused);
    tcase_add_loop_test(tests, test_adapting_threads_and_recomputing_keep_the_bits, 0, combined);
    tcase_add_loop_test(tests, test_adapting_resumed_run_has_the_bits_of_an_uninterrupted_one, 0, combined);
    tcase_add_loop_test(tests, test_adapting_micro_batches_agree, 0, all);
    tcase_add_loop_test(tests, test_adapting_heads_learn_alone_at_first, 0, all);
    tcase_add_test(tests, test_adapting_rates_decay_from_layer_to_layer);
    tcase_add_test(tests, test_adapting_learning_rate_may_be_absolute);
    tcase_add_test(tests, test_adapting_average_is_the_mean_of_the_last_steps);
    tcase_add_test(tests, test_adapting_key_bias_stays_zero);
    tcase_add_test(tests, test_adapting_preset_is_for_hundreds_of_steps);
}

int main(void)
{
    Suite *suite = suite_create("adapting");
    TCase *tests = tcase_create("adapting");
    tcase_set_timeout(tests, 120);
    tcase_add_checked_fixture(tests, scratch_begin, scratch_end);
    add_all(tests);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
