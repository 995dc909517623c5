/*
 * The objective through its public functions: a trainer's losses from a trainer's tokens, chunks, strides,
 * groups, threads, files; a failed or discarded step changes nothing.
 */
#include "support/objective.h"
#include "support/golden.h"
#include "support/scratch.h"
#include "support/suite.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { B = 5, N = 9, D = 16, VIEW = (1 + N) * D, IMAGE = 2 * VIEW };

static cribo_report update(cribo_objective *objective)
{
    cribo_report report = {.struct_size = sizeof report};
    OK(cribo_objective_update(objective, &report));
    return report;
}

static void learn_chunks(cribo_objective *objective, const cribo_objective_config *c,
    const token_batch *batch, const int64_t *sizes)
{
    for (int64_t first = 0; first < batch->teacher.images; first += *sizes++) {
        cribo_objective_chunk chunk = token_chunk(c, batch, first, *sizes);
        OK(cribo_objective_learn(objective, &chunk));
    }
}

START_TEST(test_objective_lowers_its_loss_where_tokens_follow_the_gradients)
{
    cribo_objective_config c = objective_config();
    cribo_objective *objective = objective_begin(&c, 2);
    token_batch batch = token_batch_of(&c, B, 1);
    double first = 0, last = 0;
    for (int step = 0; step < 30; step++) {
        OK(cribo_objective_teach(objective, &batch.teacher));
        OK(cribo_objective_learn(objective, &batch.student));
        OK(cribo_objective_losses(objective, &last, NULL, NULL, NULL));
        if (step == 0) first = last;
        OK(cribo_objective_forget(objective));
        for (size_t i = 0; i < B * IMAGE; i++) batch.tokens[B * IMAGE + i] -= batch.gradients[i];
    }
    ck_assert_msg(last < 0.9 * first, "the loss went from %g to %g", first, last);
    token_batch_free(&batch);
    cribo_objective_free(objective);
}
END_TEST

START_TEST(test_objective_chunks_do_not_show)
{
    static const int64_t sizes[3][4] = {{5}, {2, 3}, {2, 2, 1}};
    cribo_objective_config c = objective_config();
    cribo_objective *objectives[3];
    token_batch batches[3];
    for (int i = 0; i < 3; i++) {
        objectives[i] = objective_begin(&c, 1 + i);
        for (uint64_t number = 0; number < 3; number++) {
            if (number) token_batch_free(&batches[i]);
            batches[i] = token_batch_of(&c, B, number);
            OK(cribo_objective_teach(objectives[i], &batches[i].teacher));
            learn_chunks(objectives[i], &c, &batches[i], sizes[i]);
            OK(cribo_objective_update(objectives[i], NULL));
        }
        ck_assert_mem_eq(batches[i].gradients, batches[0].gradients, B * IMAGE * sizeof(float));
        ck_assert(objective_same(objectives[i], objectives[0]));
    }
    for (int i = 0; i < 3; i++) {
        token_batch_free(&batches[i]);
        cribo_objective_free(objectives[i]);
    }
}
END_TEST

START_TEST(test_objective_micro_batches_agree_to_rounding)
{
    cribo_objective_config c = objective_config();
    token_batch all = token_batch_of(&c, B, 1), one = token_batch_of(&c, B, 1);
    const struct {
        int64_t micro;
        token_batch *batch;
    } cases[2] = {{5, &all}, {1, &one}};
    for (int i = 0; i < 2; i++) {
        c.micro_batch = cases[i].micro;
        cribo_objective *objective = objective_begin(&c, 1);
        OK(cribo_objective_teach(objective, &cases[i].batch->teacher));
        OK(cribo_objective_learn(objective, &cases[i].batch->student));
        cribo_objective_free(objective);
    }
    assert_close("gradients", one.gradients, all.gradients, B * IMAGE, 1e-6);
    ck_assert_double_gt(max_magnitude(all.gradients, B * IMAGE), 1e-3);
    token_batch_free(&all);
    token_batch_free(&one);
}
END_TEST

/* The same tokens, contiguous and view by view, with strides. */
START_TEST(test_objective_strides_do_not_show)
{
    cribo_objective_config c = objective_config();
    token_batch batch = token_batch_of(&c, B, 1);
    cribo_objective *a = objective_begin(&c, 1), *b = objective_begin(&c, 1);
    float *dense = calloc(4 * B * N * D, sizeof *dense), *global = calloc(4 * B * D, sizeof *global);
    float *ddense = dense + 2 * B * N * D, *dglobal = global + 2 * B * D;
    OK(cribo_objective_teach(a, &batch.teacher));
    OK(cribo_objective_learn(a, &batch.student));

    cribo_objective_batch teacher = batch.teacher;
    teacher.dense = dense, teacher.global = global;
    teacher.dense_image_stride = teacher.dense_view_stride = 0;
    teacher.global_image_stride = teacher.global_view_stride = 0;
    for (size_t i = 0; i < 2 * B; i++) {
        memcpy(dense + i * N * D, batch.tokens + i * VIEW + D, N * D * sizeof *dense);
        memcpy(global + i * D, batch.tokens + i * VIEW, D * sizeof *global);
    }
    OK(cribo_objective_teach(b, &teacher));

    cribo_objective_chunk student = {.struct_size = sizeof student,
        .images = B,
        .dense = dense,
        .global = global,
        .dense_image_stride = N * D,
        .dense_view_stride = B * N * D,
        .global_image_stride = D,
        .global_view_stride = B * D,
        .dense_gradient = ddense,
        .global_gradient = dglobal};
    for (size_t v = 0; v < 2; v++)
        for (size_t i = 0; i < B; i++) {
            const float *from = batch.tokens + B * IMAGE + (2 * i + v) * VIEW;
            memcpy(dense + (v * B + i) * N * D, from + D, N * D * sizeof *dense);
            memcpy(global + (v * B + i) * D, from, D * sizeof *global);
        }
    OK(cribo_objective_learn(b, &student));
    for (size_t v = 0; v < 2; v++)
        for (size_t i = 0; i < B; i++) {
            const float *want = batch.gradients + (2 * i + v) * VIEW;
            ck_assert_mem_eq(ddense + (v * B + i) * N * D, want + D, N * D * sizeof *dense);
            ck_assert_mem_eq(dglobal + (v * B + i) * D, want, D * sizeof *global);
        }
    OK(cribo_objective_update(a, NULL));
    OK(cribo_objective_update(b, NULL));
    ck_assert(objective_same(a, b));
    free(dense);
    free(global);
    token_batch_free(&batch);
    cribo_objective_free(a);
    cribo_objective_free(b);
}
END_TEST

/* --- a trainer's tokens --- */

static void copy_heads(cribo_trainer *trainer, cribo_objective *objective)
{
    cribo_model *networks[2] = {cribo_trainer_student(trainer), cribo_trainer_teacher(trainer)};
    int64_t count;
    OK(cribo_objective_parameter_count(objective, &count));
    for (int64_t i = 0; i < count; i++) {
        cribo_parameter p = {.struct_size = sizeof p};
        OK(cribo_objective_parameter(objective, i, &p));
        float *x = calloc((size_t)p.count, sizeof *x);
        for (int network = 0; network < 2; network++) {
            OK(cribo_model_read_parameter(networks[network], p.name, x, p.count));
            OK(cribo_objective_write_parameter(objective, network, p.name, x, p.count));
        }
        free(x);
    }
}

/* The tokens that a network makes of both views of a batch, as [B, 2, 1 + N, D]. */
static void tokens_of(cribo_model *model, const training_batch *batch, float *to)
{
    float *dense = calloc(2 * B * N * D, sizeof *dense), *cls = calloc(2 * B * D, sizeof *cls);
    for (size_t v = 0; v < 2; v++)
        OK(cribo_model_features(model, B, 24, 24, v ? batch->batch.view2 : batch->batch.view1,
            dense + v * B * N * D, cls + v * B * D, NULL));
    for (size_t v = 0; v < 2; v++)
        for (size_t i = 0; i < B; i++) {
            float *view = to + (2 * i + v) * VIEW;
            memcpy(view, cls + (v * B + i) * D, D * sizeof *to);
            memcpy(view + D, dense + (v * B + i) * N * D, N * D * sizeof *to);
        }
    free(dense);
    free(cls);
}

static void compare_head_gradients(cribo_trainer *trainer, cribo_objective *objective)
{
    int64_t count;
    OK(cribo_objective_parameter_count(objective, &count));
    for (int64_t i = 0; i < count; i++) {
        cribo_parameter p = {.struct_size = sizeof p};
        OK(cribo_objective_parameter(objective, i, &p));
        size_t n = (size_t)p.count;
        float *x = calloc(2 * n, sizeof *x);
        OK(cribo_trainer_gradient(trainer, p.name, x, p.count));
        OK(cribo_objective_gradient(objective, p.name, x + n, p.count));
        assert_close(p.name, x + n, x, n, 2e-5 * fmax(1, max_magnitude(x, n)));
        free(x);
    }
}

START_TEST(test_objective_of_a_trainers_tokens_gives_the_trainers_losses)
{
    cribo_trainer_config t = training_config();
    cribo_objective_config c = objective_config();
    t.drop_path = 0;
    t.precision = c.precision = _i == 1 ? CRIBO_BF16 : CRIBO_FLOAT32;
    cribo_trainer *trainer = training_begin(&t, 1);
    cribo_objective *objective = objective_begin(&c, 1);
    for (int step = 0; step < 3; step++) {
        training_batch batch = training_batch_of(&t, B, (uint64_t)step);
        token_batch tokens = token_batch_of(&c, B, 0);
        double losses[2][4];
        copy_heads(trainer, objective);
        tokens_of(cribo_trainer_teacher(trainer), &batch, tokens.tokens);
        tokens_of(cribo_trainer_student(trainer), &batch, tokens.tokens + B * IMAGE);
        for (size_t i = 0; i < 2 * B; i++)
            OK(cribo_crop_positions((i % 2 ? batch.batch.crops2 : batch.batch.crops1) + i / 2, 3, 3,
                tokens.positions + i * 2 * N));
        OK(cribo_trainer_teach(trainer, &batch.batch));
        OK(cribo_trainer_learn(trainer, &batch.batch));
        OK(cribo_objective_teach(objective, &tokens.teacher));
        OK(cribo_objective_learn(objective, &tokens.student));
        double *a = losses[0], *b = losses[1];
        OK(cribo_trainer_losses(trainer, &a[0], &a[1], &a[2], &a[3]));
        OK(cribo_objective_losses(objective, &b[0], &b[1], &b[2], &b[3]));
        for (int i = 0; i < 4; i++) ck_assert_double_eq_tol(b[i], a[i], _i == 1 ? 1e-3 : 2e-5);
        if (_i == 0) compare_head_gradients(trainer, objective);
        OK(cribo_trainer_update(trainer, NULL));
        OK(cribo_objective_update(objective, NULL)); /* centres and banks agree; heads are copied anew */
        training_batch_free(&batch);
        token_batch_free(&tokens);
    }
    cribo_objective_free(objective);
    cribo_trainer_free(trainer);
}
END_TEST

/* --- values, schedules, gradients from outside --- */

START_TEST(test_objective_values_of_the_caller_take_the_schedules_place)
{
    cribo_objective_config c = objective_config();
    cribo_objective *objective = objective_begin(&c, 1), *fresh = objective_begin(&c, 1);
    token_batch batch = token_batch_of(&c, B, 1);
    cribo_step_values values = {.struct_size = sizeof values};
    OK(cribo_objective_schedule(objective, -1, &values));
    ck_assert(values.learning_rate > 0 && values.cross_image == 1 && values.last_layer_frozen == 0);
    values.learning_rate = 0;
    values.ema_momentum = 1;
    values.teacher_temperature = 0.2;
    values.cross_image = 0;
    batch.teacher.values = &values;
    for (int i = 0; i < 2; i++) {
        OK(cribo_objective_teach(objective, &batch.teacher));
        OK(cribo_objective_learn(objective, &batch.student));
        cribo_report report = update(objective);
        ck_assert(report.learning_rate == 0 && report.teacher_temperature == 0.2 && report.step == i);
        ck_assert(report.cross_image_on == 0 && report.cross_image_loss == 0);
    }
    cribo_parameter p = {.struct_size = sizeof p};
    OK(cribo_objective_find_parameter(objective, "head.mlp.4.weight", &p));
    float *x = calloc(2 * (size_t)p.count, sizeof *x);
    OK(cribo_objective_read_parameter(objective, CRIBO_STUDENT, p.name, x, p.count));
    OK(cribo_objective_read_parameter(fresh, CRIBO_STUDENT, p.name, x + p.count, p.count));
    ck_assert_mem_eq(x, x + p.count, (size_t)p.count * sizeof *x);
    free(x);
    token_batch_free(&batch);
    cribo_objective_free(objective);
    cribo_objective_free(fresh);
}
END_TEST

START_TEST(test_objective_gradients_added_are_part_of_the_update)
{
    cribo_objective_config c = objective_config();
    token_batch batch = token_batch_of(&c, B, 1);
    cribo_objective *a = objective_begin(&c, 1), *b = objective_begin(&c, 1);
    float bias[20], zero[20] = {0};
    for (int i = 0; i < 2; i++) {
        cribo_objective *objective = i ? b : a;
        OK(cribo_objective_teach(objective, &batch.teacher));
        OK(cribo_objective_learn(objective, &batch.student));
    }
    OK(cribo_objective_gradient(a, "head.mlp.0.bias", bias, 20));
    OK(cribo_objective_set_gradient(b, "head.mlp.0.bias", zero, 20));
    OK(cribo_objective_add_gradient(b, "head.mlp.0.bias", bias, 20));
    OK(cribo_objective_update(a, NULL));
    OK(cribo_objective_update(b, NULL));
    ck_assert(objective_same(a, b));
    token_batch_free(&batch);
    cribo_objective_free(a);
    cribo_objective_free(b);
}
END_TEST

START_TEST(test_objective_gradients_given_back_are_those_of_the_update)
{
    cribo_objective_config c = objective_config();
    cribo_objective *a = objective_begin(&c, 1), *b = objective_begin(&c, 1);
    token_batch batch = token_batch_of(&c, B, 1);
    float bias[20];
    for (int i = 0; i < 2; i++) {
        cribo_objective *objective = i ? b : a;
        OK(cribo_objective_teach(objective, &batch.teacher));
        OK(cribo_objective_learn(objective, &batch.student));
    }
    OK(cribo_objective_gradient(a, "head.mlp.0.bias", bias, 20));
    OK(cribo_objective_set_gradient(b, "head.mlp.0.bias", bias, 20));
    OK(cribo_objective_update(a, NULL));
    for (int j = 0; j < 20; j++) bias[j] += 1;
    OK(cribo_objective_set_gradient(b, "head.mlp.0.bias", bias, 20));
    for (int j = 0; j < 20; j++) bias[j] -= 1;
    OK(cribo_objective_update(b, NULL));
    ck_assert(!objective_same(a, b));
    float moments[2][20];
    OK(cribo_objective_moments(b, "head.mlp.0.bias", moments[0], moments[1], 20, NULL));
    ck_assert_double_ne(moments[0][0], 0);
    token_batch_free(&batch);
    cribo_objective_free(a);
    cribo_objective_free(b);
}
END_TEST

/* --- groups --- */

typedef struct half {
    double losses[4];
    float *gradients;
} half;

/* Teach and learn of images first ... of a batch separately, with the bank and ids of the whole. */
static half run_part(
    const cribo_objective_config *c, const token_batch *whole, int64_t first, int64_t images, int earlier)
{
    static const int64_t ids[4] = {11, 12, 13, 14};
    cribo_objective *objective = objective_begin(c, 1);
    for (int step = 0; step < earlier; step++) objective_step(objective, c, 50 + (uint64_t)step);
    cribo_objective_batch teacher = whole->teacher;
    teacher.images = images;
    teacher.ids = ids + first;
    teacher.dense += first * IMAGE;
    teacher.global += first * IMAGE;
    teacher.positions += first * 2 * N * 2;
    cribo_objective_chunk student = token_chunk(c, whole, first, images);
    half part = {.gradients = calloc((size_t)images * IMAGE, sizeof(float))};
    student.first = 0;
    student.dense_gradient = part.gradients + D;
    student.global_gradient = part.gradients;
    OK(cribo_objective_teach(objective, &teacher));
    OK(cribo_objective_learn(objective, &student));
    OK(cribo_objective_losses(objective, &part.losses[0], &part.losses[1], &part.losses[2], &part.losses[3]));
    cribo_objective_free(objective);
    return part;
}

/* Two groups equal two separate batches, whose losses and gradients are averaged. */
START_TEST(test_objective_groups_are_batches_by_themselves)
{
    cribo_objective_config c = objective_config();
    c.batch_size = 4;
    c.group_images = 2;
    c.authors_normalisation = c.batch_cost = _i == 1;
    token_batch batch = token_batch_of(&c, 4, 3);
    half whole = run_part(&c, &batch, 0, 4, 1);
    half parts[2] = {run_part(&c, &batch, 0, 2, 1), run_part(&c, &batch, 2, 2, 1)};
    for (int i = 0; i < 4; i++)
        ck_assert_double_eq_tol(
            whole.losses[i], (parts[0].losses[i] + parts[1].losses[i]) / 2, 1e-6 * whole.losses[0]);
    ck_assert_double_gt(whole.losses[3], 0);
    for (size_t g = 0; g < 2; g++) {
        for (size_t i = 0; i < 2 * IMAGE; i++) parts[g].gradients[i] /= 2;
        assert_close(
            "gradients of a group", whole.gradients + g * 2 * IMAGE, parts[g].gradients, 2 * IMAGE, 1e-7);
    }
    c.group_images = 0;
    half one = run_part(&c, &batch, 0, 4, 1);
    ck_assert_double_gt(fabs(one.losses[3] - whole.losses[3]), 1e-4);
    free(one.gradients);
    free(parts[0].gradients);
    free(parts[1].gradients);
    free(whole.gradients);
    token_batch_free(&batch);
}
END_TEST

/* A group of the whole batch is no group; a last one that is smaller weighs less. */
START_TEST(test_objective_group_of_all_is_the_batch)
{
    cribo_objective_config c = objective_config();
    token_batch a = token_batch_of(&c, 4, 3), b = token_batch_of(&c, 4, 3);
    half none = run_part(&c, &a, 0, 4, 1);
    c.group_images = 100;
    half all = run_part(&c, &b, 0, 4, 1);
    ck_assert_mem_eq(none.gradients, all.gradients, 4 * IMAGE * sizeof(float));
    ck_assert(memcmp(none.losses, all.losses, sizeof all.losses) == 0);
    c.group_images = 3;
    half uneven = run_part(&c, &b, 0, 4, 1), three = run_part(&c, &a, 0, 3, 1),
         one = run_part(&c, &a, 3, 1, 1);
    ck_assert_double_eq_tol(uneven.losses[0], 0.75 * three.losses[0] + 0.25 * one.losses[0], 1e-5);
    half *const halves[] = {&none, &all, &uneven, &three, &one};
    for (int i = 0; i < 5; i++) free(halves[i]->gradients);
    token_batch_free(&a);
    token_batch_free(&b);
}
END_TEST

/* --- state --- */

START_TEST(test_objective_saved_and_loaded_goes_on_with_the_same_bits)
{
    cribo_objective_config c = objective_config();
    c.learning_rate = 0.0625;
    cribo_objective *a = objective_begin(&c, 2), *b = objective_begin(&c, 1);
    scratch_begin();
    for (uint64_t i = 0; i < 4; i++) objective_step(a, &c, i);
    OK(cribo_objective_save(a, scratch_path("objective"), NULL));
    objective_step(b, &c, 9);
    OK(cribo_objective_load(b, scratch_path("objective"), NULL));
    ck_assert(objective_same(a, b));
    for (uint64_t i = 4; i < 7; i++) ck_assert_double_eq(objective_step(a, &c, i), objective_step(b, &c, i));
    ck_assert(objective_same(a, b));
    c.learning_rate = 0.5;
    cribo_objective *other = objective_begin(&c, 1);
    REFUSED(cribo_objective_load(other, scratch_path("objective"), NULL), CRIBO_INVALID_ARGUMENT,
        "learning_rate = 0.0625 in the file, but 0.5 in the objective");
    OK(cribo_objective_load(other, scratch_path("objective"),
        &(cribo_load_options){sizeof(cribo_load_options), "learning_rate"}));
    cribo_objective_free(other);
    cribo_objective_free(a);
    cribo_objective_free(b);
    scratch_end();
}
END_TEST

START_TEST(test_objective_given_up_steps_leave_no_trace)
{
    cribo_objective_config c = objective_config();
    cribo_objective *a = objective_begin(&c, 1), *b = objective_begin(&c, 1);
    token_batch batch = token_batch_of(&c, B, 8), huge = token_batch_of(&c, B, 8);
    for (uint64_t i = 0; i < 2; i++) {
        objective_step(a, &c, i);
        objective_step(b, &c, i);
    }
    OK(cribo_objective_teach(b, &batch.teacher));
    cribo_objective_chunk chunk = token_chunk(&c, &batch, 0, 2);
    OK(cribo_objective_learn(b, &chunk));
    OK(cribo_objective_forget(b));
    REFUSED(cribo_objective_update(b, NULL), CRIBO_WRONG_STATE, "cribo_objective_learn");
    OK(cribo_objective_teach(b, &batch.teacher));
    for (size_t i = 0; i < B * IMAGE; i++) huge.tokens[B * IMAGE + i] *= 3e38f; /* gradients overflow */
    cribo_status status = cribo_objective_learn(b, &huge.student);
    ck_assert(status == CRIBO_INVALID_ARGUMENT || status == CRIBO_NOT_FINITE || status == CRIBO_OK);
    OK(cribo_objective_forget(b));
    ck_assert(objective_same(a, b));
    ck_assert_double_eq(objective_step(a, &c, 5), objective_step(b, &c, 5));
    ck_assert(objective_same(a, b));
    token_batch_free(&batch);
    token_batch_free(&huge);
    cribo_objective_free(a);
    cribo_objective_free(b);
}
END_TEST

static int stop_at(void *user, const char *phase, double share)
{
    (void)share;
    return strcmp(phase, user) == 0;
}

START_TEST(test_objective_cancelled_phases_can_be_taken_again)
{
    static const char *const phases[] = {"teach", "learn", "update"};
    cribo_objective_config c = objective_config();
    cribo_runtime runtime = training_runtime(1);
    cribo_objective *a, *b = objective_begin(&c, 1);
    char phase[16] = "";
    runtime.progress = stop_at;
    runtime.progress_user = phase;
    OK(cribo_objective_create(&a, &c, &runtime));
    token_batch batch = token_batch_of(&c, B, 0);
    for (int i = 0; i < 3; i++) {
        strcpy(phase, phases[i]);
        cribo_status status = cribo_objective_teach(a, &batch.teacher);
        ck_assert_int_eq(status, i == 0 ? CRIBO_CANCELLED : CRIBO_OK);
        cribo_targets targets = {.struct_size = sizeof targets};
        ck_assert_int_eq(cribo_objective_targets(a, &targets), i == 0 ? CRIBO_WRONG_STATE : CRIBO_OK);
        if (i > 0)
            ck_assert_int_eq(cribo_objective_learn(a, &batch.student), i == 1 ? CRIBO_CANCELLED : CRIBO_OK);
        if (i > 1) ck_assert_int_eq(cribo_objective_update(a, NULL), CRIBO_CANCELLED);
    }
    strcpy(phase, "");
    OK(cribo_objective_update(a, NULL));
    objective_step(b, &c, 0);
    ck_assert(objective_same(a, b));
    token_batch_free(&batch);
    cribo_objective_free(a);
    cribo_objective_free(b);
}
END_TEST

/* --- memory --- */

typedef struct counter {
    int64_t allocations, living, fail_at;
} counter;

static void *count_allocation(void *user, size_t bytes)
{
    counter *c = user;
    if (c->allocations++ == c->fail_at) return NULL;
    c->living++;
    return malloc(bytes);
}

static void count_release(void *user, void *memory)
{
    ((counter *)user)->living -= memory != NULL;
    free(memory);
}

START_TEST(test_objective_out_of_memory_leaks_nothing_and_steps_allocate_nothing)
{
    cribo_objective_config c = objective_config();
    cribo_runtime runtime = training_runtime(1);
    counter counts = {0};
    cribo_objective *objective = NULL;
    c.batch_cost = 1;
    runtime.allocate = count_allocation;
    runtime.release = count_release;
    runtime.allocator_user = &counts;
    cribo_status status = CRIBO_OUT_OF_MEMORY;
    for (counts.fail_at = 0; status != CRIBO_OK; counts.fail_at++) {
        counts.allocations = 0;
        status = cribo_objective_create(&objective, &c, &runtime);
        if (status == CRIBO_OK) break;
        ck_assert_int_eq(status, CRIBO_OUT_OF_MEMORY);
        ck_assert_ptr_null(objective);
        ck_assert_int_eq(counts.living, 0);
    }
    ck_assert_int_gt(counts.fail_at, 40);
    counts.fail_at = -1;
    int64_t made = counts.allocations;
    for (uint64_t i = 0; i < 2; i++) objective_step(objective, &c, i);
    ck_assert_int_eq(counts.allocations, made);
    cribo_objective_free(objective);
    ck_assert_int_eq(counts.living, 0);
}
END_TEST

START_TEST(test_objective_epochs_without_a_length_are_refused)
{
    cribo_objective_config c = objective_config();
    cribo_objective *objective;
    c.steps_per_epoch = 0;
    ck_assert_int_eq(cribo_objective_create(&objective, &c, NULL), CRIBO_INVALID_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(cribo_last_error(), "epochs, teacher_temperature_epochs. Set"));
    c.total_steps = c.teacher_temperature_steps = 2;
    cribo_objective_free(objective_begin(&c, 1));
}
END_TEST

START_TEST(test_objective_presets_set_what_an_objective_has)
{
    cribo_objective_config c;
    OK(cribo_objective_config_init(&c, sizeof c));
    OK(cribo_objective_config_preset(&c, "vits16-coco"));
    ck_assert(c.clusters == 64 && c.position_weight == 2 && c.width == 384);
    OK(cribo_objective_config_preset(&c, "authors"));
    ck_assert(c.batch_cost == 1 && c.authors_normalisation == 1 && c.clusters == 64);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("objective");
    TCase *tests = tcase_create("objective");
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, test_objective_lowers_its_loss_where_tokens_follow_the_gradients);
    tcase_add_test(tests, test_objective_chunks_do_not_show);
    tcase_add_test(tests, test_objective_micro_batches_agree_to_rounding);
    tcase_add_test(tests, test_objective_strides_do_not_show);
    tcase_add_loop_test(tests, test_objective_of_a_trainers_tokens_gives_the_trainers_losses, 0, 2);
    tcase_add_test(tests, test_objective_values_of_the_caller_take_the_schedules_place);
    tcase_add_test(tests, test_objective_gradients_given_back_are_those_of_the_update);
    tcase_add_test(tests, test_objective_gradients_added_are_part_of_the_update);
    tcase_add_loop_test(tests, test_objective_groups_are_batches_by_themselves, 0, 2);
    tcase_add_test(tests, test_objective_group_of_all_is_the_batch);
    tcase_add_test(tests, test_objective_saved_and_loaded_goes_on_with_the_same_bits);
    tcase_add_test(tests, test_objective_given_up_steps_leave_no_trace);
    tcase_add_test(tests, test_objective_cancelled_phases_can_be_taken_again);
    tcase_add_test(tests, test_objective_out_of_memory_leaks_nothing_and_steps_allocate_nothing);
    tcase_add_test(tests, test_objective_epochs_without_a_length_are_refused);
    tcase_add_test(tests, test_objective_presets_set_what_an_objective_has);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
