/* The trainer's report and its signs of collapse, the presets, and saved weights. */
#include "io/safetensors.h"
#include "support/golden.h"
#include "support/scratch.h"
#include "support/suite.h"
#include "support/training.h"
#include "training/report.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static cribo_report report_on(cribo_trainer *trainer, const training_batch *made)
{
    cribo_report report = {.struct_size = sizeof report};
    OK(cribo_trainer_step(trainer, &made->batch, &report));
    return report;
}

static cribo_report report_of(cribo_trainer *trainer, const cribo_trainer_config *c, uint64_t number)
{
    training_batch made = training_batch_of(c, c->batch_size, number);
    cribo_report report = report_on(trainer, &made);
    training_batch_free(&made);
    return report;
}

/* --- relations --- */

static void check_losses(const cribo_trainer_config *c, const cribo_report *r)
{
    ck_assert_double_eq(r->loss, r->global_loss + r->cross_view_loss + r->cross_image_loss);
    ck_assert(r->global_loss > 0 && r->cross_view_loss > 0 && r->cross_image_loss >= 0);
    ck_assert_double_gt(r->gradient_norm, 0);
    ck_assert_double_eq_tol(r->uniform_loss, log((double)c->prototypes), 1e-12);
}

static void check_signs(const cribo_report *r)
{
    ck_assert(r->teacher_entropy > 0 && r->teacher_entropy <= r->uniform_loss * (1 + 1e-6));
    ck_assert(r->mean_teacher_entropy >= r->teacher_entropy - 1e-6); /* entropy is concave */
    ck_assert(r->mean_teacher_entropy <= r->uniform_loss * (1 + 1e-6));
    ck_assert(r->prototypes_used > 0 && r->prototypes_used <= 1);
    ck_assert(r->feature_deviation > 0.05 && r->feature_deviation < 1.5);
}

static void check_times(const cribo_report *r)
{
    ck_assert(r->cluster_ms >= 0 && r->match_ms >= 0 && r->learn_ms > 0 && r->update_ms > 0);
    ck_assert_double_ge(r->teach_ms, r->cluster_ms + r->match_ms);
}

/* Objects and matches as the targets have them. */
static void check_targets(const cribo_trainer *trainer, const cribo_trainer_config *c, const cribo_report *r)
{
    int64_t per_image[5], labels[5 * 2 * 9], index1[25];
    uint8_t valid[25], match1[25], match2[25];
    int64_t objects = 0, matched = 0, valid_count = 0;
    cribo_targets t = {.struct_size = sizeof t,
        .labels = labels,
        .valid = valid,
        .objects_per_image = per_image,
        .index1 = index1,
        .match1 = match1,
        .match2 = match2};
    OK(cribo_trainer_targets(trainer, &t));
    for (int i = 0; i < 5; i++) objects += per_image[i];
    for (int k = 0; k < 25; k++) valid_count += valid[k];
    for (int64_t k = 0; k < objects; k++) matched += match1[k] + match2[k];
    for (int n = 0; n < 5 * 2 * 9; n++) ck_assert(labels[n] >= 0 && labels[n] < c->clusters);
    ck_assert_int_eq(valid_count, objects);
    ck_assert_double_eq_tol(r->objects_per_image, (double)objects / 5, 1e-12);
    ck_assert_double_eq_tol(r->matched_share, (double)matched / (2 * (double)objects), 1e-12);
}

START_TEST(test_report_numbers_belong_together)
{
    const double fills[] = {5 / 7., 1, 1, 1};
    cribo_trainer_config c = training_config();
    c.micro_batch = _i + 1;
    cribo_trainer *trainer = training_begin(&c, 0);
    for (uint64_t i = 0; i < 4; i++) {
        int64_t steps;
        cribo_report r = report_of(trainer, &c, i);
        ck_assert_int_eq(r.step, (int64_t)i);
        ck_assert_int_eq(r.images, 5);
        check_losses(&c, &r);
        check_signs(&r);
        check_times(&r);
        check_targets(trainer, &c, &r);
        ck_assert_double_eq_tol(r.bank_fill, fills[i], 1e-12);
        ck_assert_double_eq(r.cross_image_on, i > 0);
        OK(cribo_trainer_step_count(trainer, &steps));
        ck_assert_int_eq(steps, (int64_t)i + 1);
    }
    cribo_trainer_free(trainer);
}
END_TEST

/*
 * The share of prototypes is relative to the possible number: one row can use only one prototype.
 */
START_TEST(test_report_scarce_rows_use_all_they_can)
{
    cribo_trainer_config c = training_config();
    c.batch_size = c.clusters = 1;
    cribo_trainer *trainer = training_begin(&c, 0);
    cribo_report r = report_of(trainer, &c, 0);
    ck_assert(r.prototypes_used == 0.5 || r.prototypes_used == 1); /* an object in two views */
    cribo_trainer_free(trainer);
}
END_TEST

/* --- collapse --- */

typedef struct messages {
    int count;
    char last[512];
} messages;

static void take_message(void *user, int level, const char *message)
{
    messages *m = user;
    ck_assert_int_eq(level, CRIBO_LOG_WARNING);
    m->count++;
    snprintf(m->last, sizeof m->last, "%s", message);
}

static cribo_trainer *watched(const cribo_trainer_config *c, messages *m)
{
    cribo_trainer *trainer;
    cribo_runtime runtime = training_runtime(0);
    runtime.log = take_message;
    runtime.log_user = m;
    OK(cribo_trainer_create(&trainer, c, &runtime));
    return trainer;
}

START_TEST(test_report_of_a_healthy_run_shows_no_collapse)
{
    cribo_trainer_config c = training_config();
    c.total_steps = 100;
    messages m = {0};
    cribo_trainer *trainer = watched(&c, &m);
    for (uint64_t i = 0; i < CB_COLLAPSE_PATIENCE + 5; i++) {
        cribo_report r = report_of(trainer, &c, i);
        ck_assert_double_gt(r.feature_deviation, 0.02);
        ck_assert_double_lt(r.teacher_entropy, 0.995 * r.uniform_loss);
        ck_assert_double_gt(r.mean_teacher_entropy, 0.1 * r.uniform_loss);
    }
    ck_assert_msg(m.count == 0, "%s", m.last);
    cribo_trainer_free(trainer);
}
END_TEST

/* A warning comes once, when the sign has held for its time, and again only after it was gone. */
static void expect_warning(cribo_trainer *trainer, const training_batch *made, messages *m, const char *words)
{
    for (int i = 1; i <= CB_COLLAPSE_PATIENCE + 5; i++) {
        report_on(trainer, made);
        ck_assert_msg(
            (m->count > 0) == (i >= CB_COLLAPSE_PATIENCE), "%d warnings after %d steps", m->count, i);
    }
    ck_assert_msg(strstr(m->last, words) != NULL, "%s", m->last);
}

START_TEST(test_report_of_beginnings_longer_than_the_run_is_a_warning)
{
    messages m = {0};
    cribo_trainer_config c = training_config();
    c.total_steps = 20;
    c.warmup_steps = 19;
    c.teacher_temperature_steps = c.cross_image_steps = c.freeze_last_layer_steps = 1;
    cribo_trainer_free(watched(&c, &m));
    ck_assert_int_eq(m.count, 0);
    c.warmup_steps = 20;
    c.freeze_last_layer_steps = 33;
    cribo_trainer_free(watched(&c, &m));
    ck_assert_int_eq(m.count, 1);
    ck_assert_str_eq(m.last,
        "the run has 20 steps, but the warm-up of the learning rate takes 20 (warmup_steps), "
        "the freeze of the prototype layers takes 33 (freeze_last_layer_steps)");
}
END_TEST

/* A loss that stays above that of uniform distributions is no healthy one, whatever the teacher's entropy. */
START_TEST(test_report_of_a_loss_above_uniform_is_a_sign)
{
    cribo_objective_config c;
    cribo_report report = {.images = 4,
        .uniform_loss = 4,
        .teacher_entropy = 2,
        .mean_teacher_entropy = 3,
        .feature_deviation = 0.5};
    cb_runtime runtime;
    cb_collapse_watch watch = {{0}};
    messages m = {0};
    cribo_runtime hooks = training_runtime(1);
    hooks.log = take_message;
    hooks.log_user = &m;
    OK(cb_runtime_begin(&runtime, &hooks));
    OK(cribo_objective_config_init(&c, sizeof c));
    c.global_weight = 0.5;
    for (int authors = 0; authors < 2; authors++) {
        c.authors_normalisation = authors;
        double uniform = authors ? 2 : 4;
        for (int64_t step = 0; step < 200; step++) { /* of 5000: a fiftieth are 100 */
            report.step = step;
            report.global_loss = step == 50 ? uniform - 0.01 : uniform + 0.01;
            cb_collapse_look(&watch, &runtime, &c, 5000, &report);
            ck_assert_msg(m.count == authors + (step >= 150), "%d at %d", m.count, (int)step);
        }
        ck_assert_ptr_nonnull(strstr(m.last, "collapse at step 151: ")); /* counted from 1 */
        ck_assert_ptr_nonnull(strstr(m.last, "uniform"));
        report.global_loss = uniform - 0.01;
        cb_collapse_look(&watch, &runtime, &c, 5000, &report);
    }
    c.global_weight = 0;
    report.global_loss = 0;
    for (int step = 0; step < 200; step++) cb_collapse_look(&watch, &runtime, &c, 5000, &report);
    ck_assert_int_eq(m.count, 2);
    ck_assert_int_eq(cb_collapse_patience(60), CB_COLLAPSE_PATIENCE);
    cb_runtime_end(&runtime);
}
END_TEST

/* The last step of the schedules is the last that is scheduled: going on is said once. */
START_TEST(test_report_of_steps_beyond_the_schedules_is_a_warning)
{
    cribo_trainer_config c = training_config();
    messages m = {0};
    c.total_steps = 3;
    c.warmup_steps = c.teacher_temperature_steps = c.cross_image_steps = c.freeze_last_layer_steps = 1;
    cribo_trainer *trainer = watched(&c, &m);
    for (uint64_t i = 0; i < 6; i++) {
        report_of(trainer, &c, i);
        ck_assert_int_eq(m.count, i >= 3);
    }
    ck_assert_msg(strstr(m.last, "beyond the 3 steps of the schedules") != NULL, "%s", m.last);
    cribo_trainer_free(trainer);
}
END_TEST

/* Balanced distributions give every prototype its share: their mean is nearly uniform. */
START_TEST(test_report_of_balanced_distributions_shows_uniform_mean)
{
    cribo_trainer_config c = training_config();
    c.prototypes = 6; /* fewer than the rows of a batch */
    cribo_trainer *plain = training_begin(&c, 1);
    c.sinkhorn_centring = 50;
    cribo_trainer *balanced = training_begin(&c, 2);
    cribo_report before = report_of(plain, &c, 0), after = report_of(balanced, &c, 0);
    float centre[6];
    ck_assert_double_lt(before.mean_teacher_entropy, 0.99 * before.uniform_loss);
    ck_assert_double_gt(after.mean_teacher_entropy, 0.999 * after.uniform_loss);
    OK(cribo_trainer_get_centres(balanced, centre, NULL));
    for (int p = 0; p < 6; p++) ck_assert(centre[p] == 0); /* no moving mean */
    cribo_trainer_free(balanced);
    cribo_trainer_free(plain);
}
END_TEST

START_TEST(test_report_of_equal_images_shows_equal_features)
{
    cribo_trainer_config c = training_config();
    messages m = {0};
    c.total_steps = 100;
    cribo_trainer *trainer = watched(&c, &m);
    training_batch made = training_batch_of(&c, 5, 0);
    for (size_t i = 0; i < 2 * 5 * 3 * 24 * 24; i++) made.pixels[i] = 0.5f;
    cribo_report r = report_on(trainer, &made);
    ck_assert_double_lt(r.feature_deviation, 1e-3);
    ck_assert_double_eq_tol(r.mean_teacher_entropy, r.teacher_entropy, 1e-5);
    cribo_trainer_free(trainer);
    m.count = 0;
    trainer = watched(&c, &m);
    expect_warning(trainer, &made, &m, "features of all images are equal");
    cribo_trainer_free(trainer);
    training_batch_free(&made);
}
END_TEST

START_TEST(test_report_of_a_blunt_teacher_shows_uniformity)
{
    cribo_trainer_config c = training_config();
    messages m = {0};
    c.total_steps = 100;
    c.teacher_temperature = c.teacher_temperature_start = 1e4;
    cribo_trainer *trainer = watched(&c, &m);
    training_batch made = training_batch_of(&c, 5, 0);
    cribo_report r = report_on(trainer, &made);
    ck_assert_double_eq_tol(r.teacher_entropy, r.uniform_loss, 1e-4);
    cribo_trainer_free(trainer);
    m.count = 0;
    trainer = watched(&c, &m);
    expect_warning(trainer, &made, &m, "uniform");
    cribo_trainer_free(trainer);
    training_batch_free(&made);
}
END_TEST

/* A centre that one prototype escapes, and that hardly moves. */
START_TEST(test_report_of_a_single_prototype_shows_it)
{
    cribo_trainer_config c = training_config();
    messages m = {0};
    c.total_steps = 100;
    float centre[30] = {0};
    c.centre_momentum = 1;
    centre[3] = -50;
    cribo_trainer *trainer = watched(&c, &m);
    OK(cribo_trainer_set_centres(trainer, centre, centre));
    training_batch made = training_batch_of(&c, 5, 0);
    expect_warning(trainer, &made, &m, "same prototype");
    cribo_report r = report_on(trainer, &made);
    ck_assert_double_lt(r.teacher_entropy, 1e-4);
    ck_assert_double_lt(r.mean_teacher_entropy, 1e-4);
    ck_assert_double_lt(r.prototypes_used, 0.1);
    cribo_trainer_free(trainer);
    training_batch_free(&made);
}
END_TEST

/* --- presets --- */

static const struct preset {
    const char *preset, *setting;
    double value;
} presets[] = {
    {"tiny", "width", 192},
    {"tiny", "heads", 3},
    {"tiny", "depth", 12},
    {"small", "width", 384},
    {"small", "heads", 6},
    {"small", "depth", 12},
    {"base", "width", 768},
    {"base", "heads", 12},
    {"base", "depth", 12},
    {"vits16-coco", "width", 384},
    {"vits16-coco", "heads", 6},
    {"vits16-coco", "patch_size", 16},
    {"vits16-coco", "clusters", 64},
    {"vits16-coco", "position_weight", 2},
    {"vits16-coco", "epochs", 300},
    {"vits16-coco", "batch_size", 256},
    {"vits16-coco", "learning_rate", 5e-4},
    {"vits16-coco", "bank_images", 25000},
    {"vits16-in1k", "width", 384},
    {"vits16-in1k", "clusters", 32},
    {"vits16-in1k", "position_weight", 1},
    {"vits16-in1k", "epochs", 800},
    {"vits16-in1k", "batch_size", 1024},
    {"vitb16-in1k", "width", 768},
    {"vitb16-in1k", "heads", 12},
    {"vitb16-in1k", "epochs", 400},
    {"vitb16-in1k", "batch_size", 1024},
    {"vitb16-in1k", "learning_rate", 7.5e-4},
    {"vitb16-in1k", "clip_norm", 0.3},
    {"vitb16-in1k", "clip_per_tensor", 1},
    {"vitb16-in1k", "normed_last_layer", 1},
    {"mini", "image_size", 48},
    {"mini", "width", 64},
    {"mini", "normed_last_layer", 1},
    {"mini", "teacher_temperature_start", 0.025},
    {"mini", "teacher_temperature", 0.025},
    {"mini", "object_teacher_temperature", 0.025},
    {"mini", "learning_rate", 4e-3},
    {"mini", "clusters", 4},
    {"mini", "cross_view_weight", 0.3},
    {"mini", "cross_image_weight", 0.3},
    {"authors", "authors_normalisation", 1},
    {"authors", "batch_cost", 1},
    {"authors", "clip_per_tensor", 1},
};

/* The value of a setting, by the order of the table. */
static double setting_of(const cribo_trainer_config *c, const char *name)
{
    cribo_setting s;
    for (size_t i = 0; cribo_trainer_config_setting(i, &s) == CRIBO_OK; i++) {
        if (strcmp(s.name, name) != 0) continue;
        double number;
        int64_t integer;
        memcpy(&number, (const char *)c + 8 + 8 * i, 8);
        memcpy(&integer, (const char *)c + 8 + 8 * i, 8);
        return s.integer ? (double)integer : number;
    }
    ck_abort_msg("no setting %s", name);
    return 0;
}

START_TEST(test_preset_sets_what_it_promises)
{
    cribo_trainer_config c;
    OK(cribo_trainer_config_init(&c, sizeof c));
    OK(cribo_trainer_config_preset(&c, presets[_i].preset));
    ck_assert_msg(setting_of(&c, presets[_i].setting) == presets[_i].value, "%s: %s = %g", presets[_i].preset,
        presets[_i].setting, setting_of(&c, presets[_i].setting));
}
END_TEST

static cribo_trainer_config preset_config(const char *names)
{
    cribo_trainer_config c;
    OK(cribo_trainer_config_init(&c, sizeof c));
    OK(cribo_trainer_config_preset(&c, names));
    return c;
}

START_TEST(test_trainer_presets_stack)
{
    cribo_trainer_config c = preset_config("vits16-in1k,authors"), before = c;
    ck_assert(c.epochs == 800 && c.batch_size == 1024 && c.batch_cost == 1 && c.group_images == 128);
    c = preset_config("authors, vits16-in1k");
    ck_assert(c.epochs == 800 && c.batch_cost == 1 && c.authors_normalisation == 1);
    c = before;
    REFUSED(
        cribo_trainer_config_preset(&c, "mini,none,base"), CRIBO_INVALID_ARGUMENT, "\"none\" is no preset");
    REFUSED(cribo_trainer_config_preset(&c, " , "), CRIBO_INVALID_ARGUMENT, "names no preset");
    ck_assert(memcmp(&c, &before, sizeof c) == 0);
}
END_TEST

/*
 * With any earlier settings, a published preset sets its whole run, except settings that its arguments lack.
 */
START_TEST(test_trainer_published_presets_set_all_of_their_run)
{
    static const char *const runs[] = {"vits16-coco", "vits16-in1k", "vitb16-in1k"};
    cribo_trainer_config fresh = preset_config(runs[_i]), c = preset_config("mini");
    c.seed = 5;
    c.steps_per_epoch = 17;
    c.warmup_steps = 3;
    c.recompute = 1;
    OK(cribo_trainer_config_preset(&c, runs[_i]));
    ck_assert(c.seed == 5 && c.steps_per_epoch == 17 && c.recompute == 1 && c.micro_batch == 32);
    fresh.seed = 5;
    fresh.steps_per_epoch = 17;
    fresh.recompute = 1;
    fresh.micro_batch = 32;
    ck_assert(memcmp(&c, &fresh, sizeof c) == 0);
    const int64_t groups[] = {32, 128, 64};
    ck_assert_int_eq(c.group_images, groups[_i]);
}
END_TEST

/* The gradient that is clipped at 0.3 is that of the authors' losses. */
START_TEST(test_trainer_published_clipping_has_the_losses_that_it_was_found_for)
{
    cribo_trainer_config c = preset_config("vitb16-in1k");
    ck_assert(c.clip_norm == 0.3 && c.clip_per_tensor == 1 && c.authors_normalisation == 1);
    c = preset_config("authors,vitb16-in1k");
    ck_assert(c.clip_norm == 0.3 && c.authors_normalisation == 1);
}
END_TEST

START_TEST(test_preset_leaves_the_rest_alone)
{
    cribo_trainer_config c = training_config(), same = c;
    OK(cribo_trainer_config_preset(&c, "authors"));
    same.authors_normalisation = same.batch_cost = same.clip_per_tensor = 1;
    ck_assert_mem_eq(&c, &same, sizeof c);
    OK(cribo_trainer_config_preset(&c, "tiny"));
    same.width = 192;
    same.heads = 3;
    same.depth = 12;
    ck_assert_mem_eq(&c, &same, sizeof c);
    REFUSED(cribo_trainer_config_preset(&c, "huge"), CRIBO_INVALID_ARGUMENT, "vits16-coco");
    ck_assert_mem_eq(&c, &same, sizeof c);
}
END_TEST

/* --- saved weights --- */

static cribo_trainer *trained(void)
{
    cribo_trainer_config c = training_config();
    cribo_trainer *trainer = training_begin(&c, 0);
    training_steps(trainer, &c, 2);
    return trainer;
}

static void assert_saved(
    const golden *file, cribo_model *model, const char *network, const cribo_parameter *p)
{
    size_t n;
    char name[128];
    snprintf(name, sizeof name, "%s.%s", network, p->name);
    float *values = calloc((size_t)p->count, sizeof *values);
    OK(cribo_model_read_parameter(model, p->name, values, p->count));
    const float *saved = golden_floats(file, &n, "%s", name);
    ck_assert_int_eq((int64_t)n, p->count);
    ck_assert_mem_eq(saved, values, n * sizeof *values);
    for (int64_t axis = 0; axis < p->axes; axis++)
        ck_assert_int_eq((int64_t)golden_axis(file, name, (size_t)axis), p->shape[axis]);
    free(values);
}

/* The file, read by an independent reader. */
START_TEST(test_saved_weights_are_read_by_others)
{
    cribo_trainer *trainer = trained();
    cribo_parameter p;
    cribo_setting s;
    int64_t i = 0;
    OK(cribo_trainer_save_weights(trainer, scratch_path("weights.safetensors")));
    golden file = golden_open_path(scratch_path("weights.safetensors"));
    for (; training_parameter(trainer, i, &p); i++) {
        assert_saved(&file, cribo_trainer_student(trainer), "student", &p);
        assert_saved(&file, cribo_trainer_teacher(trainer), "teacher", &p);
    }
    ck_assert_int_eq((int64_t)json_object_size(file.header), 2 * i + 1);
    cribo_trainer_config c = training_config();
    for (size_t k = 0; cribo_trainer_config_setting(k, &s) == CRIBO_OK; k++)
        ck_assert_double_eq(golden_number(&file, "%s", s.name), setting_of(&c, s.name));
    ck_assert_int_eq(golden_integer(&file, "step"), 2);
    golden_close(&file);
    cribo_trainer_free(trainer);
}
END_TEST

START_TEST(test_saved_weights_are_read_by_ourselves)
{
    const cb_allocator allocator = {0};
    cribo_trainer *trainer = trained();
    cb_safetensors *file;
    OK(cribo_trainer_save_weights(trainer, scratch_path("weights")));
    OK(cb_safetensors_open(&allocator, &file, cb_at(scratch_path("weights"))));
    ck_assert_str_eq(cb_safetensors_metadata(file, "image_size"), "24");
    ck_assert_str_eq(cb_safetensors_metadata(file, "step"), "2");
    const cb_tensor_info *tensor = cb_safetensors_find(file, "teacher.", "backbone.pos_embed");
    ck_assert_ptr_nonnull(tensor);
    ck_assert_uint_eq(tensor->axes, 3);
    ck_assert(tensor->shape[0] == 1 && tensor->shape[1] == 10 && tensor->shape[2] == 16);
    cb_safetensors_close(file);
    cribo_trainer_free(trainer);
}
END_TEST

static cribo_model *loaded(const char *path, const char *prefix)
{
    cribo_trainer_config c = training_config();
    cribo_model_config m;
    cribo_model *model;
    OK(cribo_model_config_init(&m, sizeof m));
    m.image_size = c.image_size;
    m.patch_size = c.patch_size;
    m.width = c.width;
    m.depth = c.depth;
    m.heads = c.heads;
    m.mlp_ratio = c.mlp_ratio;
    m.head_hidden = c.head_hidden;
    m.head_bottleneck = c.head_bottleneck;
    m.prototypes = c.prototypes;
    m.object_prototypes = c.object_prototypes;
    m.seed = 99;
    OK(cribo_model_create(&model, &m, NULL));
    OK(cribo_model_load(model, path, prefix));
    return model;
}

/* Features of the loaded model are, bit for bit, those of the trainer's own. */
START_TEST(test_saved_weights_are_loaded_by_prefix)
{
    cribo_trainer *trainer = trained();
    cribo_trainer_config c = training_config();
    training_batch made = training_batch_of(&c, 2, 5);
    float cls[4][2 * 16];
    OK(cribo_trainer_save_weights(trainer, scratch_path("weights")));
    cribo_model *student = loaded(scratch_path("weights"), "student."),
                *teacher = loaded(scratch_path("weights"), "teacher.");
    cribo_model *const models[4] = {
        student, cribo_trainer_student(trainer), teacher, cribo_trainer_teacher(trainer)};
    for (int i = 0; i < 4; i++)
        OK(cribo_model_features(models[i], 2, 24, 24, made.pixels, NULL, cls[i], NULL));
    ck_assert_mem_eq(cls[0], cls[1], sizeof cls[0]);
    ck_assert_mem_eq(cls[2], cls[3], sizeof cls[0]);
    ck_assert_mem_ne(cls[0], cls[2], sizeof cls[0]);
    cribo_model_free(student);
    cribo_model_free(teacher);
    training_batch_free(&made);
    cribo_trainer_free(trainer);
}
END_TEST

START_TEST(test_saving_where_nothing_can_be_written_leaves_the_old_file)
{
    cribo_trainer *trainer = trained();
    mkdir(scratch_path("folder"), 0777);
    write_bytes(scratch_path("file"), "old", 3);
    REFUSED(cribo_trainer_save_weights(trainer, scratch_path("folder")), CRIBO_IO_ERROR, "folder");
    REFUSED(cribo_trainer_save_weights(trainer, scratch_path("file/under")), CRIBO_IO_ERROR, "file/under");
    REFUSED(cribo_trainer_save_weights(trainer, scratch_path("none/file")), CRIBO_IO_ERROR, "No such file");
    assert_bytes(scratch_path("file"), "old", 3);
    ck_assert_uint_eq(scratch_count(), 2);
    cribo_trainer_free(trainer);
}
END_TEST

static TCase *case_of(Suite *suite, const char *name)
{
    TCase *tests = tcase_create(name);
    tcase_set_timeout(tests, 120);
    tcase_add_checked_fixture(tests, scratch_begin, scratch_end);
    suite_add_tcase(suite, tests);
    return tests;
}

int main(void)
{
    Suite *suite = suite_create("trainer's report");
    TCase *report = case_of(suite, "report"), *preset = case_of(suite, "presets"),
          *saved = case_of(suite, "saved weights");
    tcase_add_loop_test(report, test_report_numbers_belong_together, 0, 3);
    tcase_add_test(report, test_report_scarce_rows_use_all_they_can);
    tcase_add_test(report, test_report_of_a_healthy_run_shows_no_collapse);
    tcase_add_test(report, test_report_of_beginnings_longer_than_the_run_is_a_warning);
    tcase_add_test(report, test_report_of_balanced_distributions_shows_uniform_mean);
    tcase_add_test(report, test_report_of_a_loss_above_uniform_is_a_sign);
    tcase_add_test(report, test_report_of_steps_beyond_the_schedules_is_a_warning);
    tcase_add_test(report, test_report_of_equal_images_shows_equal_features);
    tcase_add_test(report, test_report_of_a_blunt_teacher_shows_uniformity);
    tcase_add_test(report, test_report_of_a_single_prototype_shows_it);
    tcase_add_loop_test(
        preset, test_preset_sets_what_it_promises, 0, (int)(sizeof presets / sizeof presets[0]));
    tcase_add_test(preset, test_preset_leaves_the_rest_alone);
    tcase_add_test(preset, test_trainer_presets_stack);
    tcase_add_loop_test(preset, test_trainer_published_presets_set_all_of_their_run, 0, 3);
    tcase_add_test(preset, test_trainer_published_clipping_has_the_losses_that_it_was_found_for);
    tcase_add_test(saved, test_saved_weights_are_read_by_others);
    tcase_add_test(saved, test_saved_weights_are_read_by_ourselves);
    tcase_add_test(saved, test_saved_weights_are_loaded_by_prefix);
    tcase_add_test(saved, test_saving_where_nothing_can_be_written_leaves_the_old_file);
    return run_suite(suite);
}
