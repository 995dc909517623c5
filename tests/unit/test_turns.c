/*
 * Calls in the wrong order: different batches for teach and learn, changes during a step, calls from inside a
 * callback and from two threads, borrowed handles that are freed. All are refused, none crashes, and they do
 * not affect the step.
 */
#include "support/objective.h"
#include "support/suite.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { B = 5 };

static cribo_report finish(cribo_trainer *trainer, const training_batch *batch)
{
    cribo_report report = {.struct_size = sizeof report};
    OK(cribo_trainer_learn(trainer, &batch->batch));
    OK(cribo_trainer_update(trainer, &report));
    return report;
}

/* --- the same batch for teach and learn --- */

START_TEST(test_turns_learn_with_another_batch_is_refused)
{
    cribo_trainer_config c = training_config();
    cribo_trainer *a = training_begin(&c, 2), *b = training_begin(&c, 2);
    training_batch batch = training_batch_of(&c, B, 1), other = training_batch_of(&c, B, 2);
    int64_t ids[B] = {1, 2, 3, 4, 5};
    batch.batch.ids = ids;
    OK(cribo_trainer_teach(a, &batch.batch));
    OK(cribo_trainer_teach(b, &batch.batch));
    other.batch.ids = ids;
    REFUSED(cribo_trainer_learn(a, &other.batch), CRIBO_INVALID_ARGUMENT, "of image 0 are not those");

    float *pixel = batch.pixels + (B + 3) * 3 * 24 * 24 + 7, kept = *pixel;
    *pixel += 1e-6f;
    REFUSED(cribo_trainer_learn(a, &batch.batch), CRIBO_INVALID_ARGUMENT, "image 3");
    *pixel = kept;
    ids[4] = 6;
    REFUSED(cribo_trainer_learn(a, &batch.batch), CRIBO_INVALID_ARGUMENT, "image 4");
    ids[4] = 5;
    batch.crops[1].x += 1;
    REFUSED(cribo_trainer_learn(a, &batch.batch), CRIBO_INVALID_ARGUMENT, "image 1");
    batch.crops[1].x -= 1;
    batch.batch.images = 4;
    REFUSED(cribo_trainer_learn(a, &batch.batch), CRIBO_INVALID_ARGUMENT, "saw 5");
    batch.batch.images = 5;

    ck_assert_double_eq(finish(a, &batch).loss, finish(b, &batch).loss);
    ck_assert(training_same(a, b));
    training_batch_free(&batch);
    training_batch_free(&other);
    cribo_trainer_free(a);
    cribo_trainer_free(b);
}
END_TEST

START_TEST(test_turns_learn_with_other_bytes_is_refused)
{
    cribo_trainer_config c = training_config();
    cribo_trainer *trainer = training_begin(&c, 1);
    training_batch batch = training_batch_of(&c, B, 1);
    uint8_t *bytes = calloc(2 * B * 3, 24 * 24);
    for (size_t i = 0; i < 2 * B * 3 * 24 * 24; i++) bytes[i] = (uint8_t)(i * 7 % 251);
    batch.batch.view1 = batch.batch.view2 = NULL;
    batch.batch.view1_bytes = bytes;
    batch.batch.view2_bytes = bytes + B * 3 * 24 * 24;
    for (int i = 0; i < 3; i++) batch.batch.mean[i] = 0.5, batch.batch.deviation[i] = 0.25;
    OK(cribo_trainer_teach(trainer, &batch.batch));
    bytes[2 * 3 * 24 * 24] ^= 1;
    REFUSED(cribo_trainer_learn(trainer, &batch.batch), CRIBO_INVALID_ARGUMENT, "image 2");
    bytes[2 * 3 * 24 * 24] ^= 1;
    batch.batch.mean[1] = 0.4;
    REFUSED(cribo_trainer_learn(trainer, &batch.batch), CRIBO_INVALID_ARGUMENT, "image 0");
    batch.batch.mean[1] = 0.5;
    OK(cribo_trainer_learn(trainer, &batch.batch));
    free(bytes);
    training_batch_free(&batch);
    cribo_trainer_free(trainer);
}
END_TEST

/* --- changes while a step is under way --- */

START_TEST(test_turns_changes_while_a_step_is_under_way_are_refused)
{
    cribo_trainer_config c = training_config();
    cribo_trainer *a = training_begin(&c, 1), *b = training_begin(&c, 1);
    cribo_memory_bank *bank = cribo_trainer_memory_bank(a);
    training_batch batch = training_batch_of(&c, B, 1);
    float bias[16] = {0}, centre[24] = {0};
    const int64_t one[1] = {1};
    cribo_object_batch objects = {
        .struct_size = sizeof objects, .images = 1, .objects_per_image = one, .view1 = bias, .view2 = bias};
    training_step(a, &c, 0);
    training_step(b, &c, 0);
    for (int phase = 0; phase < 2; phase++) {
        if (phase == 0) OK(cribo_trainer_teach(a, &batch.batch));
        if (phase == 1) OK(cribo_trainer_learn(a, &batch.batch));
        cribo_model *networks[2] = {cribo_trainer_student(a), cribo_trainer_teacher(a)};
        for (int i = 0; i < 2; i++) {
            REFUSED(cribo_model_write_parameter(networks[i], "backbone.norm.bias", bias, 16),
                CRIBO_WRONG_STATE, "parameters are written after its update");
            REFUSED(cribo_model_load(networks[i], "none", NULL), CRIBO_WRONG_STATE, "weights are loaded");
            OK(cribo_model_read_parameter(networks[i], "backbone.norm.bias", bias, 16));
        }
        REFUSED(cribo_memory_bank_import(bank, &objects), CRIBO_WRONG_STATE, "bank is replaced");
        REFUSED(cribo_memory_bank_load(bank, "none", NULL), CRIBO_WRONG_STATE, "bank is replaced");
        REFUSED(cribo_memory_bank_push(bank, &objects), CRIBO_WRONG_STATE, "pushed");
        REFUSED(cribo_trainer_set_centres(a, centre, NULL), CRIBO_WRONG_STATE, "centres are written");
    }
    OK(cribo_trainer_update(a, NULL));
    OK(cribo_trainer_step(b, &batch.batch, NULL));
    ck_assert(training_same(a, b));
    OK(cribo_trainer_set_centres(a, centre, NULL));
    OK(cribo_memory_bank_push(bank, &objects));
    training_batch_free(&batch);
    cribo_trainer_free(a);
    cribo_trainer_free(b);
}
END_TEST

START_TEST(test_turns_a_failed_teach_leaves_no_targets)
{
    cribo_trainer_config c = training_config();
    cribo_trainer *trainer = training_begin(&c, 1);
    training_batch batch = training_batch_of(&c, B, 1);
    cribo_targets targets = {.struct_size = sizeof targets};
    REFUSED(cribo_trainer_targets(trainer, &targets), CRIBO_WRONG_STATE, "cribo_trainer_teach");
    OK(cribo_trainer_teach(trainer, &batch.batch));
    OK(cribo_trainer_targets(trainer, &targets));
    batch.batch.images = 0;
    REFUSED(cribo_trainer_teach(trainer, &batch.batch), CRIBO_INVALID_ARGUMENT, "batch.images");
    REFUSED(cribo_trainer_targets(trainer, &targets), CRIBO_WRONG_STATE, "cribo_trainer_teach");
    batch.batch.images = B;
    REFUSED(cribo_trainer_learn(trainer, &batch.batch), CRIBO_WRONG_STATE, "cribo_trainer_teach");
    training_batch_free(&batch);
    cribo_trainer_free(trainer);
}
END_TEST

/* --- callbacks that call --- */

static struct {
    cribo_trainer *trainer;
    cribo_objective *objective;
    const training_batch *batch;
    int asked;
} inside;

static void refused_inside(cribo_status status)
{
    ck_assert_int_eq(status, CRIBO_WRONG_STATE);
    ck_assert_ptr_nonnull(strstr(cribo_last_error(), "busy"));
}

/* Tries all calls on the handle during its own call. */
static int call_trainer(void *user, const char *phase, double share)
{
    cribo_trainer *t = inside.trainer;
    cribo_report report = {.struct_size = sizeof report};
    cribo_targets targets = {.struct_size = sizeof targets};
    float numbers[24];
    int64_t n;
    (void)user, (void)phase, (void)share;
    inside.asked++;
    refused_inside(cribo_trainer_step(t, &inside.batch->batch, &report));
    refused_inside(cribo_trainer_teach(t, &inside.batch->batch));
    refused_inside(cribo_trainer_learn(t, &inside.batch->batch));
    refused_inside(cribo_trainer_update(t, &report));
    refused_inside(cribo_trainer_forget(t));
    refused_inside(cribo_trainer_losses(t, NULL, NULL, NULL, NULL));
    refused_inside(cribo_trainer_targets(t, &targets));
    refused_inside(cribo_trainer_set_centres(t, numbers, NULL));
    refused_inside(cribo_trainer_step_count(t, &n));
    refused_inside(cribo_trainer_save(t, "nowhere/at/all", NULL));
    refused_inside(cribo_trainer_load(t, "nowhere/at/all", NULL));
    refused_inside(cribo_model_read_parameter(cribo_trainer_student(t), "backbone.norm.bias", numbers, 16));
    refused_inside(
        cribo_model_features(cribo_trainer_teacher(t), 1, 24, 24, inside.batch->pixels, NULL, NULL, NULL));
    refused_inside(cribo_memory_bank_count(cribo_trainer_memory_bank(t), &n, NULL));
    cribo_model_free(cribo_trainer_student(t));
    cribo_memory_bank_free(cribo_trainer_memory_bank(t));
    cribo_trainer_free(t);
    return 0;
}

START_TEST(test_turns_callbacks_cannot_call_their_trainer)
{
    cribo_trainer_config c = training_config();
    cribo_runtime runtime = training_runtime(1);
    cribo_trainer *other = training_begin(&c, 1);
    training_batch batch = training_batch_of(&c, B, 3);
    runtime.progress = call_trainer;
    OK(cribo_trainer_create(&inside.trainer, &c, &runtime));
    inside.batch = &batch;
    inside.asked = 0;
    OK(cribo_trainer_step(inside.trainer, &batch.batch, NULL));
    OK(cribo_trainer_teach(inside.trainer, &batch.batch));
    finish(inside.trainer, &batch);
    ck_assert_int_ge(inside.asked, 14);
    for (int i = 0; i < 2; i++) OK(cribo_trainer_step(other, &batch.batch, NULL));
    ck_assert(training_same(inside.trainer, other));
    training_batch_free(&batch);
    cribo_trainer_free(inside.trainer);
    cribo_trainer_free(other);
}
END_TEST

static int call_objective(void *user, const char *phase, double share)
{
    cribo_objective *o = inside.objective;
    double loss;
    (void)user, (void)phase, (void)share;
    inside.asked++;
    refused_inside(cribo_objective_update(o, NULL));
    refused_inside(cribo_objective_losses(o, &loss, NULL, NULL, NULL));
    refused_inside(cribo_objective_forget(o));
    refused_inside(cribo_memory_bank_count(cribo_objective_memory_bank(o), NULL, NULL));
    cribo_memory_bank_free(cribo_objective_memory_bank(o));
    cribo_objective_free(o);
    return 0;
}

START_TEST(test_turns_callbacks_cannot_call_their_objective)
{
    cribo_objective_config c = objective_config();
    cribo_runtime runtime = training_runtime(1);
    cribo_objective *other = objective_begin(&c, 1);
    runtime.progress = call_objective;
    OK(cribo_objective_create(&inside.objective, &c, &runtime));
    inside.asked = 0;
    ck_assert_double_eq(objective_step(inside.objective, &c, 1), objective_step(other, &c, 1));
    ck_assert_int_ge(inside.asked, 7);
    ck_assert(objective_same(inside.objective, other));
    cribo_objective_free(inside.objective);
    cribo_objective_free(other);
}
END_TEST

/* --- two threads --- */

typedef struct caller {
    pthread_t thread;
    cribo_trainer *trainer;
    const training_batch *batch;
    int done, refused, other;
} caller;

static void *step_often(void *argument)
{
    caller *c = argument;
    for (int i = 0; i < 20; i++) {
        cribo_status status = cribo_trainer_step(c->trainer, &c->batch->batch, NULL);
        c->done += status == CRIBO_OK;
        c->refused += status == CRIBO_WRONG_STATE;
        c->other += status != CRIBO_OK && status != CRIBO_WRONG_STATE;
    }
    return NULL;
}

START_TEST(test_turns_two_threads_on_one_trainer_take_turns_or_are_refused)
{
    cribo_trainer_config c = training_config();
    cribo_trainer *trainer = training_begin(&c, 1), *other = training_begin(&c, 1);
    training_batch batch = training_batch_of(&c, B, 3);
    caller callers[2];
    int64_t steps;
    for (int i = 0; i < 2; i++) {
        callers[i] = (caller){.trainer = trainer, .batch = &batch};
        ck_assert_int_eq(pthread_create(&callers[i].thread, NULL, step_often, &callers[i]), 0);
    }
    for (int i = 0; i < 2; i++) pthread_join(callers[i].thread, NULL);
    ck_assert_int_eq(callers[0].other + callers[1].other, 0);
    OK(cribo_trainer_step_count(trainer, &steps));
    ck_assert_int_eq(steps, callers[0].done + callers[1].done);
    ck_assert_int_gt(steps, 0);
    for (int64_t i = 0; i < steps; i++) OK(cribo_trainer_step(other, &batch.batch, NULL));
    ck_assert(training_same(trainer, other));
    training_batch_free(&batch);
    cribo_trainer_free(trainer);
    cribo_trainer_free(other);
}
END_TEST

/* --- borrowed handles --- */

START_TEST(test_turns_borrowed_handles_are_not_freed)
{
    cribo_trainer_config c = training_config();
    cribo_objective_config o = objective_config();
    cribo_trainer *trainer = training_begin(&c, 1);
    cribo_objective *objective = objective_begin(&o, 1);
    for (int i = 0; i < 2; i++) {
        cribo_model_free(cribo_trainer_student(trainer));
        cribo_model_free(cribo_trainer_teacher(trainer));
        cribo_memory_bank_free(cribo_trainer_memory_bank(trainer));
        cribo_memory_bank_free(cribo_objective_memory_bank(objective));
        training_step(trainer, &c, (uint64_t)i);
        objective_step(objective, &o, (uint64_t)i);
    }
    cribo_trainer_free(trainer);
    cribo_objective_free(objective);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("turns");
    TCase *tests = tcase_create("turns");
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, test_turns_learn_with_another_batch_is_refused);
    tcase_add_test(tests, test_turns_learn_with_other_bytes_is_refused);
    tcase_add_test(tests, test_turns_changes_while_a_step_is_under_way_are_refused);
    tcase_add_test(tests, test_turns_a_failed_teach_leaves_no_targets);
    tcase_add_test(tests, test_turns_callbacks_cannot_call_their_trainer);
    tcase_add_test(tests, test_turns_callbacks_cannot_call_their_objective);
    tcase_add_test(tests, test_turns_two_threads_on_one_trainer_take_turns_or_are_refused);
    tcase_add_test(tests, test_turns_borrowed_handles_are_not_freed);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
