/*
 * The trainer at its edges: no objects, one of everything, batches that shrink, frozen layers, clipping,
 * the end of the schedules.
 */
#include "support/suite.h"
#include "support/training.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static cribo_report step_on(cribo_trainer *trainer, const cribo_batch *batch)
{
    cribo_report report = {.struct_size = sizeof report};
    OK(cribo_trainer_step(trainer, batch, &report));
    ck_assert(isfinite(report.loss) && isfinite(report.gradient_norm));
    return report;
}

static float *parameter_of(cribo_trainer *trainer, const char *name, int64_t *count)
{
    cribo_parameter p = {.struct_size = sizeof p};
    OK(cribo_model_find_parameter(cribo_trainer_student(trainer), name, &p));
    float *values = calloc((size_t)p.count, sizeof *values);
    OK(cribo_model_read_parameter(cribo_trainer_student(trainer), name, values, p.count));
    *count = p.count;
    return values;
}

static double gradient_norm_of(cribo_trainer *trainer, const char *name)
{
    int64_t count;
    double sum = 0;
    float *values = parameter_of(trainer, name, &count);
    OK(cribo_trainer_gradient(trainer, name, values, count));
    for (int64_t i = 0; i < count; i++) sum += (double)values[i] * (double)values[i];
    free(values);
    return sqrt(sum);
}

/* --- objects --- */

/*
 * Two clusters, each with its seed in another view, and the views far from each other: no object is in both
 * views.
 */
static cribo_trainer_config lonely_config(void)
{
    cribo_trainer_config c = training_config();
    c.clusters = 2;
    c.position_weight = c.position_weight_final = 1000;
    return c;
}

static void part_views(training_batch *made, int64_t image)
{
    made->crops[image] = (cribo_crop){0, 0, 24, 24, 0};
    made->crops[made->batch.images + image] = (cribo_crop){1e5, 1e5, 24, 24, 0};
}

START_TEST(test_trainer_batch_without_objects_learns_from_cls_alone)
{
    cribo_trainer_config c = lonely_config();
    const int64_t seeds[10] = {0, 9, 1, 10, 2, 11, 3, 12, 4, 13};
    cribo_trainer *trainer = training_begin(&c, 0);
    training_step(trainer, &c, 0);
    training_batch made = training_batch_of(&c, 5, 1);
    made.batch.seed_tokens = seeds;
    for (int64_t i = 0; i < 5; i++) part_views(&made, i);
    float before[30], after[30];
    OK(cribo_trainer_get_centres(trainer, NULL, before));
    cribo_report report = step_on(trainer, &made.batch);
    OK(cribo_trainer_get_centres(trainer, NULL, after));
    ck_assert_double_eq(report.objects_per_image, 0);
    ck_assert_double_eq(report.matched_share, 0);
    ck_assert_double_eq(report.prototypes_used, 0);
    ck_assert(report.cross_view_loss == 0 && report.cross_image_loss == 0);
    ck_assert_double_gt(report.global_loss, 0);
    ck_assert_mem_eq(before, after, sizeof before);
    ck_assert(gradient_norm_of(trainer, "head.last_layer_c.weight_v") == 0);
    ck_assert(gradient_norm_of(trainer, "head.last_layer.weight_v") > 0);
    training_step(trainer, &c, 2);
    training_batch_free(&made);
    cribo_trainer_free(trainer);
}
END_TEST

START_TEST(test_trainer_image_without_objects_among_others)
{
    cribo_trainer_config c = lonely_config();
    const int64_t seeds[10] = {0, 9, 1, 10, 2, 11, 3, 12, 4, 13};
    int64_t objects[5], images, pushed;
    cribo_trainer *trainer = training_begin(&c, 0);
    training_step(trainer, &c, 0);
    training_batch made = training_batch_of(&c, 5, 1);
    made.batch.seed_tokens = seeds;
    part_views(&made, 0);
    part_views(&made, 3);
    cribo_report report = step_on(trainer, &made.batch);
    cribo_targets targets = {.struct_size = sizeof targets, .objects_per_image = objects};
    OK(cribo_trainer_targets(trainer, &targets));
    ck_assert(objects[0] == 0 && objects[3] == 0);
    ck_assert_int_gt(objects[1] + objects[2] + objects[4], 0);
    ck_assert_double_eq_tol(
        report.objects_per_image, (double)(objects[1] + objects[2] + objects[4]) / 5, 1e-12);
    OK(cribo_memory_bank_count(cribo_trainer_memory_bank(trainer), &images, &pushed));
    ck_assert_int_eq(images, c.bank_images);
    training_batch_free(&made);
    cribo_trainer_free(trainer);
}
END_TEST

/* Every token begins a cluster. */
START_TEST(test_trainer_as_many_clusters_as_tokens)
{
    cribo_trainer_config c = training_config();
    c.clusters = 18;
    c.hard_assignment = _i;
    cribo_trainer *trainer = training_begin(&c, 0);
    for (uint64_t i = 0; i < 3; i++) ck_assert(isfinite(training_step(trainer, &c, i)));
    cribo_trainer_free(trainer);
}
END_TEST

/* --- one of everything --- */

static const struct single {
    const char *name;
    int64_t value;
} singles[] = {{"batch_size", 1}, {"bank_images", 1}, {"clusters", 1}, {"prototypes", 1},
    {"object_prototypes", 1}, {"depth", 1}, {"heads", 1}, {"patch_size", 24}, {"head_bottleneck", 1},
    {"head_hidden", 1}, {"mlp_ratio", 1}, {"micro_batch", 1000}, {"sinkhorn_iterations", 1},
    {"cluster_iterations", 1}, {"normed_last_layer", 1}};

START_TEST(test_trainer_one_of_something_trains)
{
    cribo_trainer_config c = training_config();
    char text[32];
    snprintf(text, sizeof text, "%lld", (long long)singles[_i].value);
    OK(cribo_trainer_config_set(&c, singles[_i].name, text));
    if (c.patch_size == c.image_size) c.clusters = 2;
    cribo_trainer *trainer = training_begin(&c, 0);
    for (uint64_t i = 0; i < 4; i++) ck_assert(isfinite(training_step(trainer, &c, i)));
    cribo_trainer_free(trainer);
}
END_TEST

START_TEST(test_trainer_one_of_everything_trains)
{
    cribo_trainer_config c = training_config();
    c.image_size = c.patch_size = c.width = c.heads = c.depth = 1;
    c.head_hidden = c.head_bottleneck = c.prototypes = c.object_prototypes = 1;
    c.clusters = c.bank_images = c.batch_size = c.micro_batch = 1;
    cribo_trainer *trainer = training_begin(&c, 0);
    for (uint64_t i = 0; i < 4; i++)
        ck_assert(training_step(trainer, &c, i) == 0); /* one prototype has all probability */
    cribo_trainer_free(trainer);
}
END_TEST

START_TEST(test_trainer_batches_may_shrink_and_grow)
{
    const int64_t sizes[] = {5, 1, 3, 5, 2, 4};
    cribo_trainer_config c = training_config();
    c.batch_cost = _i;
    cribo_trainer *trainer = training_begin(&c, 0);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        training_batch made = training_batch_of(&c, sizes[i], i);
        cribo_report report = step_on(trainer, &made.batch);
        ck_assert_int_eq(report.images, sizes[i]);
        ck_assert_int_eq(report.step, (int64_t)i);
        training_batch_free(&made);
    }
    cribo_trainer_free(trainer);
}
END_TEST

/* --- the bank --- */

/* Continues from the first step that finds this number of objects. */
START_TEST(test_trainer_cross_image_loss_waits_for_objects)
{
    cribo_trainer_config c = training_config();
    c.cross_image_objects = 30;
    cribo_trainer *trainer = training_begin(&c, 0);
    int switched = 0;
    for (uint64_t i = 0; i < 4; i++) {
        int64_t objects;
        OK(cribo_memory_bank_count(cribo_trainer_memory_bank(trainer), NULL, &objects));
        training_batch made = training_batch_of(&c, 5, i);
        cribo_report report = step_on(trainer, &made.batch);
        ck_assert_double_eq(report.cross_image_on, objects >= c.cross_image_objects);
        ck_assert(
            (report.cross_image_loss > 0) == (objects >= c.cross_image_objects && report.matched_share > 0));
        switched += objects >= c.cross_image_objects;
        training_batch_free(&made);
    }
    ck_assert(switched > 0 && switched < 4);
    cribo_trainer_free(trainer);
}
END_TEST

START_TEST(test_trainer_cross_image_loss_waits_for_its_step)
{
    cribo_trainer_config c = training_config();
    if (_i)
        c.cross_image_steps = 3;
    else
        c.cross_image_epochs = 0.75; /* of 4 steps */
    cribo_trainer *trainer = training_begin(&c, 0);
    for (uint64_t i = 0; i < 5; i++) {
        training_batch made = training_batch_of(&c, 5, i);
        ck_assert_double_eq(step_on(trainer, &made.batch).cross_image_on, i >= 3);
        training_batch_free(&made);
    }
    cribo_trainer_free(trainer);
}
END_TEST

/* An image is never matched with its own entries in the bank; with those of other ids it is. */
START_TEST(test_trainer_equal_ids_never_match)
{
    cribo_trainer_config c = training_config();
    int64_t ids[5] = {4, 4, 4, 4, 4}, index1[25], index2[25];
    cribo_trainer *trainer = training_begin(&c, 0);
    training_batch made = training_batch_of(&c, 5, 0);
    made.batch.ids = ids;
    for (int i = 0; i < 2; i++) {
        cribo_report report = step_on(trainer, &made.batch);
        cribo_targets targets = {.struct_size = sizeof targets, .index1 = index1, .index2 = index2};
        OK(cribo_trainer_targets(trainer, &targets));
        ck_assert_double_gt(report.objects_per_image, 0);
        for (int r = 0; r < (int)(5 * report.objects_per_image); r++)
            ck_assert(index1[r] == -1 && index2[r] == -1);
        ck_assert_double_eq(report.matched_share, 0);
        ck_assert_double_eq(report.cross_image_loss, 0);
    }
    for (int i = 0; i < 5; i++) ids[i] = 50 + i;
    ck_assert_double_gt(step_on(trainer, &made.batch).matched_share, 0);
    training_batch_free(&made);
    cribo_trainer_free(trainer);
}
END_TEST

/* --- frozen parameters --- */

static void assert_moved(
    cribo_trainer *trainer, const char *name, const float *before, int64_t count, bool moved)
{
    int64_t n;
    float *after = parameter_of(trainer, name, &n);
    ck_assert_int_eq(n, count);
    ck_assert_msg((memcmp(before, after, (size_t)n * sizeof *after) != 0) == moved, "%s has %smoved", name,
        moved ? "not " : "");
    free(after);
}

/*
 * Over one step every parameter moves, except frozen last layers, and their gains where those
 * stay 1.
 */
static void check_moves(
    cribo_trainer *trainer, const cribo_trainer_config *c, uint64_t number, bool frozen, int64_t updates)
{
    cribo_parameter p;
    float *before[256];
    for (int64_t i = 0; training_parameter(trainer, i, &p); i++)
        before[i] = parameter_of(trainer, p.name, &p.count);
    training_step(trainer, c, number);
    for (int64_t i = 0; training_parameter(trainer, i, &p); i++) {
        bool last = strstr(p.name, "last_layer") != NULL, gain = strstr(p.name, "weight_g") != NULL;
        bool unchanged = last && (frozen || (gain && c->normed_last_layer));
        int64_t counted;
        OK(cribo_trainer_moments(trainer, p.name, NULL, NULL, p.count, &counted));
        assert_moved(trainer, p.name, before[i], p.count, !unchanged);
        ck_assert_int_eq(counted, unchanged ? 0 : last ? updates : (int64_t)number + 1);
        free(before[i]);
    }
}

START_TEST(test_trainer_frozen_last_layers_rest)
{
    cribo_trainer_config c = training_config();
    c.normed_last_layer = _i;
    c.freeze_last_layer_steps = 2;
    c.drop_path = 0; /* a branch dropped everywhere would not be updated either */
    cribo_trainer *trainer = training_begin(&c, 0);
    for (uint64_t i = 0; i < 4; i++) check_moves(trainer, &c, i, i < 2, (int64_t)i - 1);
    cribo_trainer_free(trainer);
}
END_TEST

/* --- clipping --- */

/* After the first update the first moments are a tenth of the clipped gradient. */
static double clipped_norm(cribo_trainer *trainer, const char *only)
{
    cribo_parameter p;
    double sum = 0;
    for (int64_t i = 0; training_parameter(trainer, i, &p); i++) {
        if (only && strcmp(p.name, only) != 0) continue;
        float *first = calloc((size_t)p.count, sizeof *first);
        OK(cribo_trainer_moments(trainer, p.name, first, NULL, p.count, NULL));
        for (int64_t k = 0; k < p.count; k++) sum += 100. * (double)first[k] * (double)first[k];
        free(first);
    }
    return sqrt(sum);
}

static cribo_trainer *after_one_step(const cribo_trainer_config *c, cribo_report *report)
{
    cribo_trainer *trainer = training_begin(c, 0);
    training_batch made = training_batch_of(c, 5, 0);
    *report = step_on(trainer, &made.batch);
    training_batch_free(&made);
    return trainer;
}

START_TEST(test_trainer_clips_the_global_norm)
{
    const double bounds[] = {0, 1e-3, 0.1, 1e6};
    cribo_trainer_config c = training_config();
    cribo_report report;
    c.clip_norm = bounds[_i];
    cribo_trainer *trainer = after_one_step(&c, &report);
    double expected = c.clip_norm > 0 ? fmin(c.clip_norm, report.gradient_norm) : report.gradient_norm;
    ck_assert_double_gt(report.gradient_norm, 0.1);
    ck_assert_double_eq_tol(clipped_norm(trainer, NULL), expected, 2e-3 * expected);
    cribo_trainer_free(trainer);
}
END_TEST

START_TEST(test_trainer_clips_each_tensor_by_its_own_norm)
{
    cribo_trainer_config c = training_config();
    cribo_report report;
    cribo_parameter p;
    int clipped = 0, whole = 0;
    c.clip_per_tensor = 1;
    c.clip_norm = 0.05;
    cribo_trainer *trainer = after_one_step(&c, &report);
    for (int64_t i = 0; training_parameter(trainer, i, &p); i++) {
        double norm = gradient_norm_of(trainer, p.name), expected = fmin(norm, c.clip_norm);
        ck_assert_double_eq_tol(clipped_norm(trainer, p.name), expected, 1e-3 * expected);
        clipped += norm > c.clip_norm;
        whole += norm < c.clip_norm;
    }
    ck_assert(clipped > 0 && whole > 0);
    cribo_trainer_free(trainer);
}
END_TEST

/* --- epochs without a length --- */

/* All lengths in steps. */
static cribo_trainer_config config_in_steps(void)
{
    cribo_trainer_config c = training_config();
    c.steps_per_epoch = 0;
    c.total_steps = 8;
    c.teacher_temperature_epochs = 0;
    c.position_weight_final = 3;
    return c;
}

static void check_refused(const cribo_trainer_config *c, const char *names)
{
    cribo_trainer *trainer;
    ck_assert_int_eq(cribo_trainer_create(&trainer, c, NULL), CRIBO_INVALID_ARGUMENT);
    ck_assert_ptr_null(trainer);
    ck_assert_ptr_nonnull(strstr(cribo_last_error(), "steps_per_epoch"));
    ck_assert_msg(strstr(cribo_last_error(), names) != NULL, "%s", cribo_last_error());
}

START_TEST(test_trainer_epochs_without_a_length_are_refused_by_name)
{
    cribo_trainer_config c;
    OK(cribo_trainer_config_init(&c, sizeof c));
    check_refused(&c, "in epochs: epochs, warmup_epochs, teacher_temperature_epochs, cross_image_epochs, "
                      "freeze_last_layer_epochs. Set");
    c = config_in_steps();
    c.total_steps = 0;
    check_refused(&c, "in epochs: epochs. Set");
    check_refused(&c, "or set total_steps");
    c = config_in_steps();
    c.cross_image_epochs = 1;
    check_refused(&c, "in epochs: cross_image_epochs. Set");
    c.freeze_last_layer_epochs = 0.5;
    check_refused(&c, "or set cross_image_steps, freeze_last_layer_steps");
    c.cross_image_steps = c.freeze_last_layer_steps = 1;
    cribo_trainer_free(training_begin(&c, 1));
}
END_TEST

START_TEST(test_trainer_schedules_in_steps_need_no_epochs)
{
    cribo_trainer_config c = config_in_steps(), whole = c;
    whole.steps_per_epoch = 1;
    cribo_trainer *ours = training_begin(&c, 1), *theirs = training_begin(&whole, 1);
    for (uint64_t i = 0; i < 3; i++) {
        training_batch made = training_batch_of(&c, 4, i);
        cribo_report report = step_on(ours, &made.batch), same = step_on(theirs, &made.batch);
        ck_assert(report.loss == same.loss && report.position_weight == same.position_weight);
        ck_assert_int_eq(report.epoch, (int64_t)i);
        training_batch_free(&made);
    }
    cribo_trainer_free(ours);
    cribo_trainer_free(theirs);
}
END_TEST

/* --- the end --- */

START_TEST(test_trainer_steps_beyond_the_end_keep_the_last_settings)
{
    cribo_trainer_config c = training_config();
    if (_i)
        c.total_steps = 1;
    else
        c.epochs = c.steps_per_epoch = 1;
    c.position_weight_final = 3;
    c.warmup_epochs = 1; /* longer than the training, or as long */
    cribo_trainer *trainer = training_begin(&c, 0);
    cribo_report last = {0};
    for (uint64_t i = 0; i < 4; i++) {
        training_batch made = training_batch_of(&c, 5, i);
        cribo_report report = step_on(trainer, &made.batch);
        if (i > 0) {
            ck_assert(report.learning_rate == last.learning_rate && report.weight_decay == last.weight_decay);
            ck_assert(
                report.ema_momentum == last.ema_momentum && report.position_weight == last.position_weight);
            ck_assert(report.teacher_temperature == last.teacher_temperature);
        }
        ck_assert_int_eq(report.epoch, (int64_t)i / c.steps_per_epoch);
        last = report;
        training_batch_free(&made);
    }
    cribo_trainer_free(trainer);
}
END_TEST

START_TEST(test_trainer_no_learning_rate_moves_no_student)
{
    cribo_trainer_config c = training_config();
    c.learning_rate = c.learning_rate_final = 0;
    cribo_trainer *trainer = training_begin(&c, 0);
    int64_t count;
    float *before = parameter_of(trainer, "backbone.patch_embed.proj.weight", &count);
    training_steps(trainer, &c, 3);
    assert_moved(trainer, "backbone.patch_embed.proj.weight", before, count, false);
    free(before);
    cribo_trainer_free(trainer);
}
END_TEST

/* --- recomputed blocks --- */

START_TEST(test_trainer_edges_recomputing_blocks_keeps_the_bits)
{
    cribo_trainer_config config = training_config(), sparing;
    OK(cribo_trainer_config_set(&config, "precision", _i ? "bf16" : "float32"));
    config.drop_path = 0.5;
    sparing = config;
    sparing.recompute = 1;
    cribo_trainer *plain = training_begin(&config, 2), *other = training_begin(&sparing, 2);
    training_steps(plain, &config, 3);
    training_steps(other, &sparing, 3);
    ck_assert(training_same(plain, other));
    cribo_trainer_free(plain);
    cribo_trainer_free(other);
}
END_TEST

static void add_all(TCase *tests)
{
    tcase_add_loop_test(tests, test_trainer_edges_recomputing_blocks_keeps_the_bits, 0, 2);
    tcase_add_test(tests, test_trainer_batch_without_objects_learns_from_cls_alone);
    tcase_add_test(tests, test_trainer_image_without_objects_among_others);
    tcase_add_loop_test(tests, test_trainer_as_many_clusters_as_tokens, 0, 2);
    tcase_add_loop_test(
        tests, test_trainer_one_of_something_trains, 0, (int)(sizeof singles / sizeof singles[0]));
    tcase_add_test(tests, test_trainer_one_of_everything_trains);
    tcase_add_loop_test(tests, test_trainer_batches_may_shrink_and_grow, 0, 2);
    tcase_add_test(tests, test_trainer_cross_image_loss_waits_for_objects);
    tcase_add_loop_test(tests, test_trainer_cross_image_loss_waits_for_its_step, 0, 2);
    tcase_add_test(tests, test_trainer_equal_ids_never_match);
    tcase_add_loop_test(tests, test_trainer_frozen_last_layers_rest, 0, 2);
    tcase_add_loop_test(tests, test_trainer_clips_the_global_norm, 0, 4);
    tcase_add_test(tests, test_trainer_clips_each_tensor_by_its_own_norm);
    tcase_add_test(tests, test_trainer_epochs_without_a_length_are_refused_by_name);
    tcase_add_test(tests, test_trainer_schedules_in_steps_need_no_epochs);
    tcase_add_loop_test(tests, test_trainer_steps_beyond_the_end_keep_the_last_settings, 0, 2);
    tcase_add_test(tests, test_trainer_no_learning_rate_moves_no_student);
}

int main(void)
{
    Suite *suite = suite_create("trainer's edges");
    TCase *tests = tcase_create("edges");
    tcase_set_timeout(tests, 120);
    add_all(tests);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
