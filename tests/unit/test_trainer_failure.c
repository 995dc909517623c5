/*
 * Steps that fail: numbers that are not finite, cancelling, no memory. After each failure the trainer is
 * unchanged, and continues like a trainer without the failure.
 */
#include "api/handles.h"
#include "support/faulty.h"
#include "support/scratch.h"
#include "support/suite.h"
#include "support/training.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A parameter's numbers, where only the library writes. */
static float *inside(cribo_model *model, const char *name)
{
    const cb_parameters *parameters = &model->model->parameters;
    return parameters->values + cb_parameters_find(parameters, name)->offset;
}

static cribo_model *network(cribo_trainer *trainer, bool teacher)
{
    return teacher ? cribo_trainer_teacher(trainer) : cribo_trainer_student(trainer);
}

/* --- numbers that are not finite --- */

static const char *expected_part(const char *name, bool teacher)
{
    if (teacher && strncmp(name, "backbone.", 9) == 0) return "the teacher's tokens";
    return strstr(name, "last_layer_c") ? "the object cross-view loss" : "the global loss";
}

static void step_fails(cribo_trainer *trainer, const cribo_batch *batch, const char *part, const char *where)
{
    cribo_report report = {.struct_size = sizeof report, .step = 1234};
    training_state before = training_state_of(trainer);
    cribo_status status = cribo_trainer_step(trainer, batch, &report);
    ck_assert_msg(status == CRIBO_NOT_FINITE, "%s: %s", where, cribo_status_name(status));
    ck_assert_msg(strstr(cribo_last_error(), part), "%s: %s", where, cribo_last_error());
    ck_assert_int_eq(report.step, 1234);
    training_state after = training_state_of(trainer);
    ck_assert_msg(training_state_equal(&before, &after), "%s: something has changed", where);
    training_state_free(&before);
    training_state_free(&after);
}

/* Every parameter of student (0) or teacher (1) in turn. */
START_TEST(test_trainer_not_finite_weight_changes_nothing)
{
    const float strange[3] = {NAN, INFINITY, -INFINITY};
    cribo_trainer_config c = training_config();
    cribo_trainer *trainer = training_begin(&c, 0), *twin = training_begin(&c, 0);
    training_batch made = training_batch_of(&c, 5, 99);
    cribo_parameter p;
    training_steps(trainer, &c, 1);
    training_steps(twin, &c, 1);
    for (int64_t i = 0; training_parameter(trainer, i, &p); i++) {
        float *at = inside(network(trainer, _i), p.name) + p.count / 2, kept = *at;
        *at = strange[i % 3];
        step_fails(trainer, &made.batch, expected_part(p.name, _i), p.name);
        *at = kept;
        training_step(trainer, &c, (uint64_t)i);
        training_step(twin, &c, (uint64_t)i);
        ck_assert_msg(training_same(trainer, twin), "after %s training does not go on as before", p.name);
    }
    training_batch_free(&made);
    cribo_trainer_free(trainer);
    cribo_trainer_free(twin);
}
END_TEST

/*
 * The test makes each parameter's gradient not finite in turn: update names the parameter, and another learn
 * corrects it.
 */
START_TEST(test_trainer_not_finite_gradient_changes_nothing)
{
    const float strange[3] = {NAN, INFINITY, -INFINITY};
    cribo_trainer_config c = training_config();
    cribo_trainer *trainer = training_begin(&c, 2), *twin = training_begin(&c, 1);
    const cb_parameters *parameters = &cribo_trainer_student(trainer)->model->parameters;
    training_batch made = training_batch_of(&c, 5, 99);
    training_state before = training_state_of(trainer);
    OK(cribo_trainer_teach(trainer, &made.batch));
    for (size_t p = 0; p < parameters->count; p++) {
        const cb_parameter *parameter = &parameters->list[p];
        if (parameter->fixed) continue; /* it has none */
        OK(cribo_trainer_learn(trainer, &made.batch));
        parameters->gradients[parameter->offset + parameter->count - 1] = strange[p % 3];
        REFUSED(cribo_trainer_update(trainer, NULL), CRIBO_NOT_FINITE, parameter->name);
        training_state after = training_state_of(trainer);
        ck_assert_msg(training_state_equal(&before, &after), "%s: something has changed", parameter->name);
        training_state_free(&after);
    }
    OK(cribo_trainer_learn(trainer, &made.batch));
    OK(cribo_trainer_update(trainer, NULL));
    OK(cribo_trainer_step(twin, &made.batch, NULL));
    ck_assert(training_same(trainer, twin));
    training_state_free(&before);
    training_batch_free(&made);
    cribo_trainer_free(trainer);
    cribo_trainer_free(twin);
}
END_TEST

/* All numbers from the first of a report on. */
static void assert_finite_report(const cribo_report *report, const char *where)
{
    const double *numbers = &report->loss;
    for (size_t i = 0; (const void *)(numbers + i) < (const void *)(report + 1); i++)
        ck_assert_msg(isfinite(numbers[i]), "%s: number %zu of the report is %g", where, i, numbers[i]);
}

static void assert_finite_weights(cribo_trainer *trainer, const char *where)
{
    cribo_parameter p;
    for (int64_t i = 0; training_parameter(trainer, i, &p); i++)
        for (int teacher = 0; teacher < 2; teacher++) {
            const float *values = inside(network(trainer, teacher), p.name);
            for (int64_t k = 0; k < p.count; k++)
                ck_assert_msg(isfinite(values[k]), "%s: %s[%lld] is %g", where, p.name, (long long)k,
                    (double)values[k]);
        }
}

/* Goes through or fails, but never half. */
static void survives(cribo_trainer *trainer, const cribo_batch *batch, const char *where)
{
    cribo_report report = {.struct_size = sizeof report};
    training_state before = training_state_of(trainer);
    cribo_status status = cribo_trainer_step(trainer, batch, &report);
    training_state after = training_state_of(trainer);
    if (status == CRIBO_OK) {
        assert_finite_report(&report, where);
        assert_finite_weights(trainer, where);
    } else {
        ck_assert_msg(status == CRIBO_NOT_FINITE, "%s: %s", where, cribo_last_error());
        ck_assert_msg(training_state_equal(&before, &after), "%s: something has changed", where);
    }
    training_state_free(&before);
    training_state_free(&after);
}

/* Finite, but squares and products overflow; and all zeros. */
START_TEST(test_trainer_extreme_weights_move_all_or_nothing)
{
    const float extremes[5] = {3e38f, 1e20f, 1e10f, 1e-38f, 0};
    cribo_trainer_config c = training_config();
    training_batch made = training_batch_of(&c, 5, 99);
    cribo_trainer *source = training_begin(&c, 1);
    training_steps(source, &c, 1);
    cribo_parameter p;
    char where[128];
    for (int64_t i = 0; training_parameter(source, i, &p); i++) {
        cribo_trainer *trainer = training_begin(&c, 1);
        training_copy_bank(source, trainer);
        float *values = inside(network(trainer, _i % 2), p.name);
        for (int64_t k = 0; k < (i % 3 ? p.count : 1); k++) values[k] = extremes[_i / 2];
        snprintf(where, sizeof where, "%s of %g", p.name, (double)extremes[_i / 2]);
        survives(trainer, &made.batch, where);
        cribo_trainer_free(trainer);
    }
    cribo_trainer_free(source);
    training_batch_free(&made);
}
END_TEST

START_TEST(test_trainer_extreme_centres_move_all_or_nothing)
{
    const float extremes[4] = {3e38f, -3e38f, 1e20f, -1e20f};
    cribo_trainer_config c = training_config();
    training_batch made = training_batch_of(&c, 5, 99);
    float centres[30];
    for (int objects = 0; objects < 2; objects++)
        for (int all = 0; all < 2; all++) {
            cribo_trainer *trainer = training_begin(&c, 1);
            for (int k = 0; k < 30; k++) centres[k] = all || k == 3 ? extremes[_i] : 0;
            OK(cribo_trainer_set_centres(trainer, objects ? NULL : centres, objects ? centres : NULL));
            survives(trainer, &made.batch, objects ? "object centre" : "centre");
            cribo_trainer_free(trainer);
        }
    training_batch_free(&made);
}
END_TEST

/* Finite pixels and positions of any size. */
START_TEST(test_trainer_extreme_batches_move_all_or_nothing)
{
    const float extremes[4] = {3e38f, 1e19f, 0, 1e-40f};
    cribo_trainer_config c = training_config();
    training_batch made = training_batch_of(&c, 5, 99);
    float positions[5 * 2 * 9 * 2];
    cribo_trainer *trainer = training_begin(&c, 1);
    for (size_t i = 0; i < 3 * 24 * 24; i++) made.pixels[i] = extremes[_i];
    survives(trainer, &made.batch, "pixels of one view");
    for (size_t i = 0; i < 2 * 5 * 3 * 24 * 24; i++) made.pixels[i] = extremes[_i];
    survives(trainer, &made.batch, "pixels");
    for (size_t i = 0; i < 5 * 2 * 9 * 2; i++) positions[i] = i % 3 ? extremes[_i] : -extremes[_i];
    made.batch.crops1 = made.batch.crops2 = NULL;
    made.batch.positions = positions;
    survives(trainer, &made.batch, "positions");
    training_batch_free(&made);
    cribo_trainer_free(trainer);
}
END_TEST

/* --- cancelling --- */

typedef struct patience {
    int calls, cancel_at;
    char phase[32];
} patience;

static int ask(void *user, const char *phase, double share)
{
    patience *p = user;
    ck_assert(share >= 0 && share <= 1);
    snprintf(p->phase, sizeof p->phase, "%s", phase);
    return ++p->calls == p->cancel_at;
}

START_TEST(test_trainer_cancelled_step_changes_nothing)
{
    cribo_trainer_config c = training_config();
    patience user = {0};
    cribo_runtime runtime = training_runtime(0);
    runtime.progress = ask;
    runtime.progress_user = &user;
    c.batch_cost = _i;
    cribo_trainer *trainer, *twin = training_begin(&c, 0);
    OK(cribo_trainer_create(&trainer, &c, &runtime));
    training_steps(trainer, &c, 2);
    training_steps(twin, &c, 2);
    training_batch made = training_batch_of(&c, 5, 99);
    training_state before = training_state_of(trainer);
    int teach = 0, learn = 0, update = 0;
    scratch_begin();
    for (int at = 1; at < 100; at++) {
        user.calls = 0;
        user.cancel_at = at;
        cribo_status status = cribo_trainer_step(trainer, &made.batch, NULL);
        if (status == CRIBO_OK) break;
        ck_assert_int_eq(status, CRIBO_CANCELLED);
        ck_assert_msg(strstr(cribo_last_error(), user.phase) != NULL, "%s", cribo_last_error());
        teach += strcmp(user.phase, "teach") == 0;
        learn += strcmp(user.phase, "learn") == 0;
        update += strcmp(user.phase, "update") == 0;
        training_state after = training_state_of(trainer);
        ck_assert(training_state_equal(&before, &after));
        training_state_free(&after);
        OK(cribo_trainer_save(trainer, scratch_path("cancelled"), NULL)); /* no step is under way */
    }
    ck_assert_int_eq(teach, 3); /* once a micro-batch */
    ck_assert_int_eq(learn, 3);
    ck_assert_int_eq(update, 1);
    OK(cribo_trainer_step(twin, &made.batch, NULL));
    ck_assert(training_same(trainer, twin));
    scratch_end();
    training_state_free(&before);
    training_batch_free(&made);
    cribo_trainer_free(trainer);
    cribo_trainer_free(twin);
}
END_TEST

/* After a failed teach there are no targets for learn or for reading. */
START_TEST(test_trainer_cancelled_teach_leaves_no_targets)
{
    cribo_trainer_config c = training_config();
    patience user = {0};
    cribo_runtime runtime = training_runtime(0);
    runtime.progress = ask;
    runtime.progress_user = &user;
    cribo_trainer *trainer;
    OK(cribo_trainer_create(&trainer, &c, &runtime));
    training_batch made = training_batch_of(&c, 5, 99);
    cribo_targets targets = {.struct_size = sizeof targets};
    OK(cribo_trainer_teach(trainer, &made.batch));
    OK(cribo_trainer_targets(trainer, &targets));
    user.cancel_at = user.calls + 2;
    ck_assert_int_eq(cribo_trainer_teach(trainer, &made.batch), CRIBO_CANCELLED);
    REFUSED(cribo_trainer_targets(trainer, &targets), CRIBO_WRONG_STATE, "cribo_trainer_teach");
    REFUSED(cribo_trainer_learn(trainer, &made.batch), CRIBO_WRONG_STATE, "cribo_trainer_teach");
    training_batch_free(&made);
    cribo_trainer_free(trainer);
}
END_TEST

/* --- no memory --- */

START_TEST(test_trainer_create_without_memory_leaves_nothing)
{
    cribo_trainer_config c = training_config();
    faulty whole = {0};
    cribo_runtime runtime = faulty_runtime(2, &whole);
    cribo_trainer *trainer;
    OK(cribo_trainer_create(&trainer, &c, &runtime));
    cribo_trainer_free(trainer);
    ck_assert_uint_gt(whole.calls, 20);
    ck_assert_uint_eq(whole.held, 0);
    for (size_t at = 1; at <= whole.calls; at++) {
        faulty memory = {.fail_at = at, .for_ever = _i};
        runtime = faulty_runtime(2, &memory);
        trainer = (cribo_trainer *)&c;
        REFUSED(cribo_trainer_create(&trainer, &c, &runtime), CRIBO_OUT_OF_MEMORY, "no memory");
        ck_assert_ptr_null(trainer);
        ck_assert_msg(memory.held == 0, "when call %zu fails, %zu blocks are lost", at, memory.held);
    }
}
END_TEST

START_TEST(test_trainer_save_without_memory_leaves_the_old_file)
{
    cribo_trainer_config c = training_config();
    faulty memory = {0};
    cribo_runtime runtime = faulty_runtime(2, &memory);
    cribo_trainer *trainer;
    scratch_begin();
    const char *path = scratch_path("weights");
    OK(cribo_trainer_create(&trainer, &c, &runtime));
    size_t before = memory.calls, held = memory.held;
    OK(cribo_trainer_save_weights(trainer, path));
    size_t wanted = memory.calls - before;
    ck_assert_uint_gt(wanted, 0);
    ck_assert_uint_eq(memory.held, held);
    write_bytes(path, "old", 3);
    for (size_t at = 1; at <= wanted; at++) {
        memory.fail_at = memory.calls + at;
        memory.for_ever = _i;
        REFUSED(cribo_trainer_save_weights(trainer, path), CRIBO_OUT_OF_MEMORY, "no memory");
        ck_assert_uint_eq(memory.held, held);
        assert_bytes(path, "old", 3);
        ck_assert_uint_eq(scratch_count(), 1);
    }
    cribo_trainer_free(trainer);
    scratch_end();
}
END_TEST

START_TEST(test_trainer_too_large_is_refused)
{
    static const struct {
        const char *name;
        double value;
    } large[] = {{"batch_size", 1048576}, {"bank_images", 2147483648.}, {"prototypes", 16777216},
        {"width", 65536}, {"image_size", 16384}, {"head_hidden", 65536}, {"head_bottleneck", 65536},
        {"depth", 1024}};
    cribo_trainer_config c = training_config();
    faulty memory = {.fail_at = 400, .for_ever = true};
    cribo_runtime runtime = faulty_runtime(2, &memory);
    cribo_trainer *trainer;
    char text[32];
    for (size_t i = 0; i < sizeof large / sizeof large[0]; i++) {
        snprintf(text, sizeof text, "%.0f", large[i].value);
        OK(cribo_trainer_config_set(&c, large[i].name, text));
    }
    memory.fail_at = 3; /* the handle and its pool are allocated, large arrays are not */
    REFUSED(cribo_trainer_create(&trainer, &c, &runtime), CRIBO_OUT_OF_MEMORY, "memory");
    ck_assert_uint_eq(memory.held, 0);
}
END_TEST

static void add_all(TCase *tests)
{
    tcase_add_loop_test(tests, test_trainer_not_finite_weight_changes_nothing, 0, 2);
    tcase_add_test(tests, test_trainer_not_finite_gradient_changes_nothing);
    tcase_add_loop_test(tests, test_trainer_extreme_weights_move_all_or_nothing, 0, 10);
    tcase_add_loop_test(tests, test_trainer_extreme_centres_move_all_or_nothing, 0, 4);
    tcase_add_loop_test(tests, test_trainer_extreme_batches_move_all_or_nothing, 0, 4);
    tcase_add_loop_test(tests, test_trainer_cancelled_step_changes_nothing, 0, 2);
    tcase_add_test(tests, test_trainer_cancelled_teach_leaves_no_targets);
    tcase_add_loop_test(tests, test_trainer_create_without_memory_leaves_nothing, 0, 2);
    tcase_add_loop_test(tests, test_trainer_save_without_memory_leaves_the_old_file, 0, 2);
    tcase_add_test(tests, test_trainer_too_large_is_refused);
}

int main(void)
{
    Suite *suite = suite_create("trainer's failures");
    TCase *tests = tcase_create("failures");
    tcase_set_timeout(tests, 120);
    add_all(tests);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
