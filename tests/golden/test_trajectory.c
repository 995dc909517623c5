/*
 * Whole training runs against the authors' code: six steps of teach, learn and update, from stored weights,
 * bank, views, positions and seeds. Discrete decisions (labels, validity, neighbours, cycle tests) are
 * compared at every step, so the test names the first step that differs.
 */
#include "cribo/cribo.h"
#include "support/golden.h"
#include "support/suite.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OK(call) ck_assert_msg((call) == CRIBO_OK, "%s: %s", #call, cribo_last_error())

static const struct run {
    const char *file, *mode;
} runs[] = {
    {"trajectory_small", "official"},
    {"trajectory_small", "official_clipped"},
    {"trajectory_small", "paper"},
    {"trajectory_main", "official"},
};

static double pos_alpha(const golden *file, int which)
{
    double pair[2];
    ck_assert_int_eq(sscanf(golden_text(file, "pos_alpha"), "[%lf, %lf]", &pair[0], &pair[1]), 2);
    return pair[which];
}

static cribo_trainer_config config_of(const golden *file, const char *mode)
{
    cribo_trainer_config c;
    bool paper = strcmp(mode, "paper") == 0;
    OK(cribo_trainer_config_init(&c, sizeof c));
    c.image_size = golden_integer(file, "image");
    c.patch_size = golden_integer(file, "patch");
    c.width = golden_integer(file, "embed");
    c.depth = golden_integer(file, "depth");
    c.heads = golden_integer(file, "heads");
    c.drop_path = 0;
    c.head_hidden = golden_integer(file, "hidden");
    c.head_bottleneck = golden_integer(file, "bottleneck");
    c.prototypes = golden_integer(file, "out");
    c.object_prototypes = golden_integer(file, "out_c");
    c.normed_last_layer = golden_truth(file, "norm_last_layer");
    c.clusters = golden_integer(file, "clusters");
    c.position_weight = pos_alpha(file, 1); /* the authors' pair runs backwards */
    c.position_weight_final = pos_alpha(file, 0);
    c.batch_cost = !paper;
    c.bank_images = golden_integer(file, "queue");
    c.object_student_temperature = golden_number(file, "student_temp_c");
    c.teacher_temperature_start = golden_number(file, "warmup_teacher_temp");
    c.teacher_temperature = golden_number(file, "teacher_temp");
    c.object_teacher_temperature_start = golden_number(file, "warmup_teacher_temp_c");
    c.object_teacher_temperature = golden_number(file, "teacher_temp_c");
    c.teacher_temperature_epochs = golden_number(file, "warmup_teacher_temp_epochs");
    c.authors_normalisation = !paper;
    c.batch_size = golden_integer(file, "batch");
    c.micro_batch = 2;
    c.learning_rate = golden_number(file, "lr");
    c.learning_rate_final = golden_number(file, "min_lr");
    c.warmup_epochs = golden_number(file, "warmup_epochs");
    c.weight_decay = golden_number(file, "weight_decay");
    c.weight_decay_final = golden_number(file, "weight_decay_end");
    c.ema_momentum = golden_number(file, "momentum_teacher");
    c.clip_norm = golden_number(file, "%s.clip_grad", mode);
    c.clip_per_tensor = 1;
    c.freeze_last_layer_epochs = golden_number(file, "freeze_last_layer");
    c.epochs = golden_number(file, "total_epochs");
    c.steps_per_epoch = golden_integer(file, "per_epoch");
    return c;
}

static void write_model(const golden *file, cribo_model *model, const char *network)
{
    int64_t count;
    OK(cribo_model_parameter_count(model, &count));
    for (int64_t i = 0; i < count; i++) {
        cribo_parameter p = {.struct_size = sizeof p};
        size_t n;
        OK(cribo_model_parameter(model, i, &p));
        const float *values = golden_floats(file, &n, "initial.%s.%s", network, p.name);
        OK(cribo_model_write_parameter(model, p.name, values, (int64_t)n));
    }
}

/* The bank starts full of random vectors without images. */
static void write_bank(const golden *file, const cribo_trainer_config *c, cribo_trainer *trainer)
{
    size_t numbers, images;
    const float *vectors = golden_floats(file, &numbers, "initial.centroids_queue");
    const int64_t *counts = golden_integers(file, &images, "initial.cpv_queue");
    cribo_object_batch objects = {.struct_size = sizeof objects,
        .images = c->bank_images,
        .objects_per_image = counts,
        .view1 = vectors,
        .view2 = vectors + numbers / 2};
    OK(cribo_memory_bank_import(cribo_trainer_memory_bank(trainer), &objects));
}

static cribo_trainer *begin(const golden *file, const cribo_trainer_config *c)
{
    cribo_trainer *trainer;
    OK(cribo_trainer_create(&trainer, c, NULL));
    write_model(file, cribo_trainer_student(trainer), "student");
    write_model(
        file, cribo_trainer_teacher(trainer), golden_truth(file, "teacher_differs") ? "teacher" : "student");
    write_bank(file, c, trainer);
    return trainer;
}

static cribo_batch batch_of(const golden *file, const cribo_trainer_config *c, int64_t step)
{
    size_t images = (size_t)c->batch_size, side = (size_t)c->image_size, grid = side / (size_t)c->patch_size;
    size_t view = images * 3 * side * side, s = (size_t)step;
    const float *pixels = golden_floats(file, NULL, "images");
    return (cribo_batch){
        .struct_size = sizeof(cribo_batch),
        .images = c->batch_size,
        .view1 = pixels + 2 * s * view,
        .view2 = pixels + (2 * s + 1) * view,
        .positions = golden_floats(file, NULL, "positions") + s * images * 2 * grid * grid * 2,
        .seed_tokens = golden_integers(file, NULL, "init_index") + s * images * (size_t)c->clusters,
    };
}

static void compare_integers(
    const char *what, int64_t step, const int64_t *got, const int64_t *expected, size_t n)
{
    for (size_t i = 0; i < n; i++)
        ck_assert_msg(got[i] == expected[i], "step %lld: %s[%zu] is %lld, not %lld", (long long)step, what, i,
            (long long)got[i], (long long)expected[i]);
}

static void compare_targets(const golden *file, const char *mode, const cribo_trainer_config *c,
    const cribo_trainer *trainer, int64_t step)
{
    size_t images = (size_t)c->batch_size, k = (size_t)c->clusters, s = (size_t)step, n;
    size_t grid = (size_t)(c->image_size / c->patch_size), tokens = images * 2 * grid * grid;
    cribo_targets t = {.struct_size = sizeof t,
        .labels = calloc(tokens, sizeof(int64_t)),
        .valid = calloc(images, k),
        .objects_per_image = calloc(images, sizeof(int64_t)),
        .index1 = calloc(images * k, sizeof(int64_t)),
        .index2 = calloc(images * k, sizeof(int64_t)),
        .match1 = calloc(images, k),
        .match2 = calloc(images, k)};
    OK(cribo_trainer_targets(trainer, &t));
    compare_integers(
        "labels", step, t.labels, golden_integers(file, NULL, "%s.labels", mode) + s * tokens, tokens);
    ck_assert_mem_eq(t.valid, golden_bytes(file, NULL, "%s.valid", mode) + s * images * k, images * k);
    compare_integers("objects", step, t.objects_per_image,
        golden_integers(file, NULL, "%s.centroids_per_view", mode) + s * images, images);
    const int64_t *index1 = golden_integers(file, &n, "%s.step%zu.index1", mode, s);
    compare_integers("index1", step, t.index1, index1, n);
    compare_integers("index2", step, t.index2, golden_integers(file, NULL, "%s.step%zu.index2", mode, s), n);
    ck_assert_mem_eq(t.match1, golden_bytes(file, NULL, "%s.step%zu.mask1", mode, s), n);
    ck_assert_mem_eq(t.match2, golden_bytes(file, NULL, "%s.step%zu.mask2", mode, s), n);
    free(t.labels);
    free(t.valid);
    free(t.objects_per_image);
    free(t.index1);
    free(t.index2);
    free(t.match1);
    free(t.match2);
}

/* Name number `index` of a comma-separated list. */
static bool name_at(const char *list, size_t index, char name[128])
{
    for (; index > 0 && list; index--) list = strchr(list, ',') ? strchr(list, ',') + 1 : NULL;
    if (!list) return false;
    snprintf(name, 128, "%.*s", (int)strcspn(list, ","), list);
    return true;
}

static double norm_of(const float *x, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += (double)x[i] * x[i];
    return sqrt(sum);
}

/* Norms before clipping; a frozen last layer has no gradient. */
static void compare_gradient_norms(
    const golden *file, const char *mode, const cribo_trainer_config *c, cribo_trainer *trainer, int64_t step)
{
    size_t total;
    const float *expected = golden_floats(file, &total, "%s.grad_norms", mode);
    size_t parameters = total / (size_t)golden_integer(file, "steps");
    bool frozen = step < c->steps_per_epoch * (int64_t)c->freeze_last_layer_epochs;
    char name[128];
    for (size_t p = 0; name_at(golden_text(file, "parameters"), p, name); p++) {
        cribo_parameter parameter = {.struct_size = sizeof parameter};
        OK(cribo_model_find_parameter(cribo_trainer_student(trainer), name, &parameter));
        float *gradient = calloc((size_t)parameter.count, sizeof *gradient);
        OK(cribo_trainer_gradient(trainer, name, gradient, parameter.count));
        double norm = norm_of(gradient, (size_t)parameter.count);
        double want = frozen && strstr(name, "last_layer") ? 0 : expected[(size_t)step * parameters + p];
        ck_assert_msg(fabs(norm - want) <= 3e-5 * want + 1e-8,
            "step %lld: gradient of %s has norm %.9g, not %.9g", (long long)step, name, norm, want);
        free(gradient);
    }
}

static void compare_number(const char *what, int64_t step, double got, double expected, double relative)
{
    ck_assert_msg(fabs(got - expected) <= relative * fmax(1, fabs(expected)),
        "step %lld: %s is %.9g, not %.9g", (long long)step, what, got, expected);
}

static void compare_report(const golden *file, const char *mode, const cribo_report *report)
{
    size_t s = (size_t)report->step;
    const struct {
        const char *name;
        double got, tolerance;
    } numbers[] = {
        {"d_loss", report->global_loss, 1e-5},
        {"s_loss", report->cross_view_loss, 1e-5},
        {"nn_loss", report->cross_image_loss, 1e-5},
        {"lr", report->learning_rate, 1e-7},
        {"weight_decay", report->weight_decay, 1e-7},
        {"momentum", report->ema_momentum, 1e-7},
        {"teacher_temp", report->teacher_temperature, 1e-7},
        {"teacher_temp_c", report->object_teacher_temperature, 1e-7},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        compare_number(numbers[i].name, report->step, numbers[i].got,
            golden_floats(file, NULL, "%s.%s", mode, numbers[i].name)[s], numbers[i].tolerance);
}

static void compare_centres(const golden *file, const char *mode, const cribo_trainer *trainer, int64_t step)
{
    size_t l = (size_t)golden_integer(file, "out"), lc = (size_t)golden_integer(file, "out_c"),
           s = (size_t)step;
    float *centre = calloc(l + lc, sizeof *centre);
    OK(cribo_trainer_get_centres(trainer, centre, centre + l));
    assert_close("centre", centre, golden_floats(file, NULL, "%s.center", mode) + s * l, l, 1e-5);
    assert_close(
        "object centre", centre + l, golden_floats(file, NULL, "%s.center_c", mode) + s * lc, lc, 1e-5);
    free(centre);
}

/*
 * Key biases have a gradient of zero but for rounding, which AdamW turns into steps: they are left out
 * (reference 6.15).
 */
static void compare_weights(const golden *file, const char *mode, cribo_model *model, const char *network)
{
    int64_t count;
    OK(cribo_model_parameter_count(model, &count));
    for (int64_t i = 0; i < count; i++) {
        cribo_parameter p = {.struct_size = sizeof p};
        OK(cribo_model_parameter(model, i, &p));
        size_t n = (size_t)p.count, from = 0, to = 0;
        float *got = calloc(n, sizeof *got);
        const float *expected = golden_floats(file, NULL, "%s.final.%s.%s", mode, network, p.name);
        OK(cribo_model_read_parameter(model, p.name, got, p.count));
        if (strstr(p.name, "attn.qkv.bias")) from = n / 3, to = 2 * n / 3;
        assert_close(p.name, got, expected, from ? from : n, 1e-5);
        if (to) assert_close(p.name, got + to, expected + to, n - to, 1e-5);
        free(got);
    }
}

static void compare_bank(
    const golden *file, const char *mode, const cribo_trainer_config *c, cribo_trainer *trainer)
{
    cribo_memory_bank *bank = cribo_trainer_memory_bank(trainer);
    int64_t images, objects;
    OK(cribo_memory_bank_count(bank, &images, &objects));
    ck_assert_int_eq(images, c->bank_images);
    size_t n = (size_t)objects * (size_t)c->width, numbers;
    int64_t *counts = calloc((size_t)images, sizeof *counts);
    float *view1 = calloc(2 * n, sizeof *view1), *view2 = view1 + n;
    OK(cribo_memory_bank_export(bank, counts, NULL, view1, view2));
    compare_integers("bank's objects", -1, counts, golden_integers(file, NULL, "%s.final.cpv_queue", mode),
        (size_t)images);
    const float *expected = golden_floats(file, &numbers, "%s.final.centroids_queue", mode);
    assert_close("bank of view 1", view1, expected, n, 1e-5);
    assert_close("bank of view 2", view2, expected + numbers / 2, n, 1e-5);
    free(counts);
    free(view1);
}

static void compare_moments(const golden *file, const char *mode, cribo_trainer *trainer)
{
    char name[128];
    for (size_t p = 0; name_at(golden_text(file, "parameters"), p, name); p++) {
        size_t n;
        int64_t updates;
        if (!golden_has(file, "%s.final.exp_avg.%s", mode, name)) continue;
        const float *first = golden_floats(file, &n, "%s.final.exp_avg.%s", mode, name);
        float *got = calloc(2 * n, sizeof *got);
        OK(cribo_trainer_moments(trainer, name, got, got + n, (int64_t)n, &updates));
        ck_assert_int_eq(updates, strstr(name, "last_layer") ? 3 : 6);
        assert_close(name, got, first, n, 5e-6);
        assert_close(name, got + n, golden_floats(file, NULL, "%s.final.exp_avg_sq.%s", mode, name), n, 1e-6);
        free(got);
    }
}

START_TEST(test_trajectory_of_six_steps_equals_reference)
{
    const char *mode = runs[_i].mode;
    golden file = golden_open(runs[_i].file);
    cribo_trainer_config c = config_of(&file, mode);
    cribo_trainer *trainer = begin(&file, &c);
    for (int64_t step = 0; step < golden_integer(&file, "steps"); step++) {
        cribo_batch batch = batch_of(&file, &c, step);
        cribo_report report = {.struct_size = sizeof report};
        OK(cribo_trainer_teach(trainer, &batch));
        compare_targets(&file, mode, &c, trainer, step);
        OK(cribo_trainer_learn(trainer, &batch));
        compare_gradient_norms(&file, mode, &c, trainer, step);
        OK(cribo_trainer_update(trainer, &report));
        compare_report(&file, mode, &report);
        compare_centres(&file, mode, trainer, step);
    }
    compare_weights(&file, mode, cribo_trainer_student(trainer), "student");
    compare_weights(&file, mode, cribo_trainer_teacher(trainer), "teacher");
    compare_bank(&file, mode, &c, trainer);
    compare_moments(&file, mode, trainer);
    cribo_trainer_free(trainer);
    golden_close(&file);
}
END_TEST

static void compare_first_gradients(const golden *file, const char *mode, const cribo_trainer *trainer)
{
    char name[128];
    size_t compared = 0;
    for (size_t p = 0; name_at(golden_text(file, "parameters"), p, name); p++) {
        size_t n;
        if (!golden_has(file, "%s.step0.grad.%s", mode, name)) continue;
        const float *expected = golden_floats(file, &n, "%s.step0.grad.%s", mode, name);
        float *got = calloc(n, sizeof *got);
        OK(cribo_trainer_gradient(trainer, name, got, (int64_t)n));
        assert_close(name, got, expected, n, 1e-5 * fmax(1, max_magnitude(expected, n)));
        free(got);
        compared++;
    }
    ck_assert_uint_gt(compared, 20);
}

/* Without frozen layers the first step has every gradient, also those of the last layers. */
START_TEST(test_trajectory_first_gradients_equal_reference)
{
    const char *mode = runs[_i].mode;
    golden file = golden_open(runs[_i].file);
    cribo_trainer_config c = config_of(&file, mode);
    c.freeze_last_layer_epochs = 0;
    cribo_trainer *trainer = begin(&file, &c);
    cribo_batch batch = batch_of(&file, &c, 0);
    OK(cribo_trainer_teach(trainer, &batch));
    OK(cribo_trainer_learn(trainer, &batch));
    compare_first_gradients(&file, mode, trainer);
    cribo_trainer_free(trainer);
    golden_close(&file);
}
END_TEST

/* --- groups --- */

/* Two copies of an array, to be freed. */
static void *twice(const void *values, size_t bytes)
{
    char *both = malloc(2 * bytes);
    ck_assert_ptr_nonnull(both);
    memcpy(both, values, bytes);
    memcpy(both + bytes, values, bytes);
    return both;
}

/* The first batch of the reference, twice in one batch. */
static cribo_batch batch_twice(const golden *file, const cribo_trainer_config *c)
{
    cribo_batch batch = batch_of(file, c, 0);
    size_t images = (size_t)c->batch_size, side = (size_t)c->image_size, grid = side / (size_t)c->patch_size;
    size_t view = images * 3 * side * side * sizeof(float);
    batch.images *= 2;
    batch.view1 = twice(batch.view1, view);
    batch.view2 = twice(batch.view2, view);
    batch.positions = twice(batch.positions, images * 4 * grid * grid * sizeof(float));
    batch.seed_tokens = twice(batch.seed_tokens, images * (size_t)c->clusters * sizeof(int64_t));
    return batch;
}

static void free_twice(cribo_batch *batch)
{
    free((void *)batch->view1);
    free((void *)batch->view2);
    free((void *)batch->positions);
    free((void *)batch->seed_tokens);
}

/* The cycle tests of both copies against the reference's: how many differ. */
static size_t wrong_matches(const golden *file, const char *mode, const cribo_trainer *trainer, size_t most)
{
    size_t n, wrong = 0;
    cribo_targets t = {.struct_size = sizeof t, .match1 = calloc(most, 1), .match2 = calloc(most, 1)};
    golden_integers(file, &n, "%s.step0.index1", mode);
    const uint8_t *mask1 = golden_bytes(file, NULL, "%s.step0.mask1", mode);
    const uint8_t *mask2 = golden_bytes(file, NULL, "%s.step0.mask2", mode);
    OK(cribo_trainer_targets(trainer, &t));
    for (size_t i = 0; i < 2 * n; i++) wrong += (t.match1[i] != mask1[i % n]) + (t.match2[i] != mask2[i % n]);
    free(t.match1);
    free(t.match2);
    return wrong;
}

/*
 * Two groups, each the reference's first batch: cycle tests, losses and gradients equal the reference's, as
 * the mean over two equal processes of the authors' code does. In one batch without groups the copies compete
 * in the cycle test.
 */
START_TEST(test_trajectory_two_groups_equal_reference)
{
    const char *mode = runs[_i].mode;
    golden file = golden_open(runs[_i].file);
    cribo_trainer_config c = config_of(&file, mode), grouped = c;
    size_t most = 2 * (size_t)(c.batch_size * c.clusters);
    double global, cross_view, cross_image;
    grouped.batch_size *= 2;
    grouped.group_images = c.batch_size;
    grouped.freeze_last_layer_epochs = 0;
    cribo_batch batch = batch_twice(&file, &c);
    cribo_trainer *trainer = begin(&file, &grouped);
    OK(cribo_trainer_teach(trainer, &batch));
    ck_assert_uint_eq(wrong_matches(&file, mode, trainer, most), 0);
    OK(cribo_trainer_learn(trainer, &batch));
    OK(cribo_trainer_losses(trainer, NULL, &global, &cross_view, &cross_image));
    compare_number("d_loss", 0, global, golden_floats(&file, NULL, "%s.d_loss", mode)[0], 1e-5);
    compare_number("s_loss", 0, cross_view, golden_floats(&file, NULL, "%s.s_loss", mode)[0], 1e-5);
    compare_number("nn_loss", 0, cross_image, golden_floats(&file, NULL, "%s.nn_loss", mode)[0], 1e-5);
    if (_i % 2 == 0) compare_first_gradients(&file, mode, trainer); /* only these have them */
    cribo_trainer_free(trainer);

    grouped.group_images = 0;
    trainer = begin(&file, &grouped);
    OK(cribo_trainer_teach(trainer, &batch));
    ck_assert_uint_gt(wrong_matches(&file, mode, trainer, most), 0);
    cribo_trainer_free(trainer);
    free_twice(&batch);
    golden_close(&file);
}
END_TEST

static double loss_of(const cribo_report *report)
{
    return report->global_loss + report->cross_view_loss + report->cross_image_loss;
}

/* Whether teach found the reference's labels in this step. */
static bool labels_agree(const golden *file, const char *mode, const cribo_trainer_config *c,
    const cribo_trainer *trainer, int64_t step)
{
    size_t grid = (size_t)(c->image_size / c->patch_size), tokens = (size_t)c->batch_size * 2 * grid * grid;
    int64_t *labels = calloc(tokens, sizeof *labels);
    cribo_targets t = {.struct_size = sizeof t, .labels = labels};
    OK(cribo_trainer_targets(trainer, &t));
    const int64_t *expected = golden_integers(file, NULL, "%s.labels", mode) + (size_t)step * tokens;
    bool agree = memcmp(labels, expected, tokens * sizeof *labels) == 0;
    free(labels);
    return agree;
}

/*
 * In bfloat16 a rounded token may change its cluster, and with it objects, neighbours and losses. So labels
 * are compared first, and losses as long as all labels agree. The tolerance is the one that docs/algorithm.md
 * states.
 */
START_TEST(test_trajectory_in_bf16_keeps_reference_losses)
{
    const char *mode = runs[_i].mode;
    golden file = golden_open(runs[_i].file);
    cribo_trainer_config c = config_of(&file, mode);
    OK(cribo_trainer_config_set(&c, "precision", "bf16"));
    cribo_trainer *trainer = begin(&file, &c);
    double furthest = 0;
    bool agree = true;
    int64_t compared = 0;
    for (int64_t step = 0; step < golden_integer(&file, "steps"); step++) {
        cribo_batch batch = batch_of(&file, &c, step);
        cribo_report report = {.struct_size = sizeof report};
        OK(cribo_trainer_teach(trainer, &batch));
        agree = agree && labels_agree(&file, mode, &c, trainer, step);
        OK(cribo_trainer_learn(trainer, &batch));
        OK(cribo_trainer_update(trainer, &report));
        if (!agree) break;
        const char *const names[] = {"d_loss", "s_loss", "nn_loss"};
        double expected = 0, got = loss_of(&report);
        for (int i = 0; i < 3; i++)
            expected += golden_floats(&file, NULL, "%s.%s", mode, names[i])[report.step];
        double distance = fabs(got - expected) / expected;
        ck_assert_msg(
            distance < 0.02, "step %lld: the loss is %.9g, not %.9g", (long long)step, got, expected);
        furthest = fmax(furthest, distance);
        compared++;
    }
    ck_assert_int_ge(compared, 1);
    ck_assert_msg(furthest > 1e-6, "that was not bfloat16: the losses are within %g", furthest);
    cribo_trainer_free(trainer);
    golden_close(&file);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("golden trajectories");
    TCase *test = tcase_create("trajectory");
    tcase_set_timeout(test, 240);
    tcase_add_loop_test(test, test_trajectory_of_six_steps_equals_reference, 0, 4);
    tcase_add_loop_test(test, test_trajectory_first_gradients_equal_reference, 0, 1);
    tcase_add_loop_test(test, test_trajectory_two_groups_equal_reference, 0, 4);
    tcase_add_loop_test(test, test_trajectory_first_gradients_equal_reference, 2, 3);
    tcase_add_loop_test(test, test_trajectory_in_bf16_keeps_reference_losses, 0, 4);
    suite_add_tcase(suite, test);
    return run_suite(suite);
}
