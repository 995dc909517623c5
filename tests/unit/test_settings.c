/*
 * Settings of handles that live: all can be read back; a changed one gives what a handle made with the new
 * value gives, bit for bit, and goes into checkpoints; what cannot change is refused with the reason.
 */
#include "support/objective.h"
#include "support/scratch.h"
#include "support/suite.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* --- one interface for all handles --- */

typedef struct handle_kind {
    const char *noun;
    cribo_status (*setting)(size_t index, cribo_setting *setting);
    cribo_status (*get)(const void *handle, const char *name, double *value);
    cribo_status (*set)(void *handle, const char *name, double value); /* NULL: nothing can change */
} handle_kind;

#define GET(noun) \
    static cribo_status noun##_get(const void *handle, const char *name, double *value) \
    { \
        return cribo_##noun##_get_setting(handle, name, value); \
    }
#define GET_AND_SET(noun) \
    GET(noun) \
    static cribo_status noun##_set(void *handle, const char *name, double value) \
    { \
        return cribo_##noun##_set_setting(handle, name, value); \
    }
GET_AND_SET(trainer)
GET_AND_SET(objective)
GET_AND_SET(clusterer)
GET_AND_SET(loss)
GET_AND_SET(probe)
GET(model)
GET(memory_bank)

#define KIND(noun, set) {#noun, cribo_##noun##_config_setting, noun##_get, set}
static const handle_kind kinds[] = {KIND(trainer, trainer_set), KIND(objective, objective_set),
    KIND(clusterer, clusterer_set), KIND(loss, loss_set), KIND(probe, probe_set), KIND(model, NULL),
    KIND(memory_bank, NULL)};
enum { TRAINER, OBJECTIVE, CLUSTERER, LOSS, PROBE, MODEL, BANK, KINDS };

static struct {
    cribo_trainer_config config;
    cribo_trainer *trainer;
    cribo_objective *objective;
    cribo_clusterer *clusterer;
    cribo_loss *loss;
    cribo_probe *probe;
    void *handle[KINDS];
} things;

static void begin(void)
{
    cribo_clusterer_config clusterer;
    cribo_loss_config loss;
    cribo_probe_config probe;
    cribo_objective_config objective = objective_config();
    scratch_begin();
    things.config = training_config();
    things.trainer = training_begin(&things.config, 2);
    things.objective = objective_begin(&objective, 1);
    OK(cribo_clusterer_config_init(&clusterer, sizeof clusterer));
    clusterer.clusters = 3;
    OK(cribo_clusterer_create(&things.clusterer, &clusterer, NULL, 2, 9, 16));
    OK(cribo_loss_config_init(&loss, sizeof loss));
    loss.prototypes = loss.object_prototypes = 4;
    OK(cribo_loss_create(&things.loss, &loss, NULL));
    OK(cribo_probe_config_init(&probe, sizeof probe));
    OK(cribo_probe_create(&things.probe, &probe, NULL));
    void *const handles[KINDS] = {things.trainer, things.objective, things.clusterer, things.loss,
        things.probe, cribo_trainer_teacher(things.trainer), cribo_trainer_memory_bank(things.trainer)};
    memcpy(things.handle, handles, sizeof handles);
}

static void end(void)
{
    cribo_probe_free(things.probe);
    cribo_loss_free(things.loss);
    cribo_clusterer_free(things.clusterer);
    cribo_objective_free(things.objective);
    cribo_trainer_free(things.trainer);
    scratch_end();
}

static double value_of(int kind, const char *name)
{
    double value = NAN;
    OK(kinds[kind].get(things.handle[kind], name, &value));
    return value;
}

/* Another value of the setting in its range. */
static double other_value(const cribo_setting *s, double value)
{
    double half = s->integer ? floor(value / 2) : value / 2;
    if (half != value && half >= s->minimum && half > 0) return half;
    return value + 1 <= s->maximum ? value + 1 : s->minimum;
}

/* --- reading --- */

START_TEST(test_settings_are_read_back_by_name_and_all_together)
{
    cribo_trainer_config config = {.struct_size = sizeof config};
    cribo_setting s;
    OK(cribo_trainer_get_config(things.trainer, &config));
    ck_assert_mem_eq(&config, &things.config, sizeof config);
    for (size_t i = 0; cribo_trainer_config_setting(i, &s) == CRIBO_OK; i++) {
        double field;
        int64_t integer;
        memcpy(&field, (char *)&config + 8 + 8 * i, 8);
        memcpy(&integer, &field, 8);
        ck_assert(value_of(TRAINER, s.name) == (s.integer ? (double)integer : field));
    }
}
END_TEST

START_TEST(test_settings_of_every_handle_are_read)
{
    cribo_setting s;
    size_t i = 0;
    for (; kinds[_i].setting(i, &s) == CRIBO_OK; i++) {
        double value = value_of(_i, s.name);
        ck_assert_msg(value >= s.minimum && value <= s.maximum, "%s: %s", kinds[_i].noun, s.name);
    }
    ck_assert_uint_gt(i, 3);
    double kept = 5;
    REFUSED(kinds[_i].get(things.handle[_i], "nonsense", &kept), CRIBO_INVALID_ARGUMENT, "nonsense");
    ck_assert(kept == 5);
}
END_TEST

START_TEST(test_settings_of_lent_handles_are_those_of_the_lender)
{
    ck_assert(value_of(MODEL, "width") == 16);
    ck_assert(value_of(MODEL, "drop_path") == 0.3);
    ck_assert(value_of(BANK, "bank_images") == 7);
    ck_assert(value_of(BANK, "objects_per_image") == 5);
    ck_assert(value_of(BANK, "max_objects") == 25);
    OK(cribo_trainer_set_setting(things.trainer, "drop_path", 0.5));
    ck_assert(value_of(MODEL, "drop_path") == 0.5);
}
END_TEST

START_TEST(test_settings_are_those_in_force)
{
    cribo_trainer_config c = training_config();
    c.epochs = c.teacher_temperature_epochs = 0;
    c.total_steps = 8;
    c.steps_per_epoch = 0;
    cribo_trainer *trainer = training_begin(&c, 1);
    double steps;
    OK(cribo_trainer_get_setting(trainer, "steps_per_epoch", &steps));
    ck_assert(steps == 1);
    cribo_trainer_free(trainer);
}
END_TEST

/* --- what can change, and what cannot --- */

/* Sets each setting to its own value and to impossible ones; the number of settings that can change. */
static size_t try_all(int kind)
{
    cribo_setting s;
    size_t changed = 0;
    for (size_t i = 0; kinds[kind].setting(i, &s) == CRIBO_OK; i++) {
        double before = value_of(kind, s.name);
        cribo_status status = kinds[kind].set(things.handle[kind], s.name, before);
        if (status == CRIBO_OK) {
            const double bad[] = {NAN, INFINITY, -INFINITY, s.maximum * 2 + 1, s.minimum - 1};
            for (size_t b = 0; b < sizeof bad / sizeof bad[0]; b++)
                REFUSED(kinds[kind].set(things.handle[kind], s.name, bad[b]), CRIBO_INVALID_ARGUMENT, s.name);
            if (s.integer)
                REFUSED(kinds[kind].set(things.handle[kind], s.name, s.minimum + 0.5), CRIBO_INVALID_ARGUMENT,
                    s.name);
            changed++;
        } else {
            REFUSED(status, CRIBO_INVALID_ARGUMENT, s.name);
            ck_assert_ptr_nonnull(strstr(cribo_last_error(), "cannot change while the handle lives: "));
        }
        ck_assert_msg(value_of(kind, s.name) == before, "%s: %s", kinds[kind].noun, s.name);
    }
    REFUSED(kinds[kind].set(things.handle[kind], "nonsense", 1), CRIBO_INVALID_ARGUMENT, "nonsense");
    REFUSED(kinds[kind].set(things.handle[kind], NULL, 1), CRIBO_INVALID_ARGUMENT, "name");
    return changed;
}

START_TEST(test_settings_that_cannot_change_are_refused_with_the_reason)
{
    const size_t expected[] = {[TRAINER] = 44, [OBJECTIVE] = 40, [CLUSTERER] = 6, [LOSS] = 4, [PROBE] = 3};
    ck_assert_uint_eq(try_all(_i), expected[_i]);
}
END_TEST

START_TEST(test_settings_cannot_change_in_a_step)
{
    training_batch made = training_batch_of(&things.config, 5, 0);
    OK(cribo_trainer_teach(things.trainer, &made.batch));
    REFUSED(cribo_trainer_set_setting(things.trainer, "learning_rate", 1), CRIBO_WRONG_STATE,
        "settings are changed");
    OK(cribo_trainer_learn(things.trainer, &made.batch));
    REFUSED(cribo_trainer_set_setting(things.trainer, "learning_rate", 1), CRIBO_WRONG_STATE, "step");
    ck_assert(value_of(TRAINER, "learning_rate") == things.config.learning_rate);
    OK(cribo_trainer_update(things.trainer, NULL));
    OK(cribo_trainer_set_setting(things.trainer, "learning_rate", 1));
    training_batch_free(&made);
}
END_TEST

START_TEST(test_settings_that_contradict_others_are_refused)
{
    OK(cribo_trainer_set_setting(things.trainer, "total_steps", 8));
    REFUSED(cribo_trainer_set_setting(things.trainer, "steps_per_epoch", 0), CRIBO_INVALID_ARGUMENT,
        "steps_per_epoch is 0");
    ck_assert(value_of(TRAINER, "steps_per_epoch") == 4);
    REFUSED(cribo_trainer_set_setting(things.trainer, "koleo_weight", 0.1), CRIBO_INVALID_ARGUMENT,
        "koleo_weight cannot change while the handle lives: it was 0");
    REFUSED(cribo_trainer_set_setting(things.trainer, "gram_weight", 0.1), CRIBO_INVALID_ARGUMENT,
        "gram_weight cannot change while the handle lives: it was 0");
    REFUSED(cribo_objective_set_setting(things.objective, "object_koleo_weight", 0.1), CRIBO_INVALID_ARGUMENT,
        "object_koleo_weight cannot change while the handle lives: it was 0");
}
END_TEST

/* --- a changed setting has its effect --- */

/*
 * A trainer whose setting changes after one step, and one that gets the same state in another way: it is made
 * with the new value and loads the first one's checkpoint, with the setting as override.
 */
static void compare_trainers(const cribo_setting *s)
{
    cribo_trainer_config c = training_config();
    char text[40];
    double before;
    c.cross_image_weight = c.cross_view_weight = 0.5;
    c.koleo_weight = c.object_koleo_weight = c.gram_weight = 0.25;
    cribo_trainer *changed = training_begin(&c, 1);
    OK(cribo_trainer_get_setting(changed, s->name, &before));
    double value = other_value(s, before);
    training_step(changed, &c, 0);
    OK(cribo_trainer_save(changed, scratch_path("before"), NULL));
    if (cribo_trainer_set_setting(changed, s->name, value) != CRIBO_OK) {
        cribo_trainer_free(changed);
        return;
    }
    snprintf(text, sizeof text, "%.17g", value);
    OK(cribo_trainer_config_set(&c, s->name, text));
    cribo_trainer *made = training_begin(&c, 1);
    const cribo_load_options options = {.struct_size = sizeof options, .overrides = s->name};
    OK(cribo_trainer_load(made, scratch_path("before"), &options));
    for (uint64_t step = 1; step < 3; step++) {
        double first = training_step(changed, &c, step), second = training_step(made, &c, step);
        ck_assert_msg(first == second, "%s = %s: %.17g, %.17g", s->name, text, first, second);
    }
    ck_assert_msg(training_same(changed, made), "%s = %s", s->name, text);
    OK(cribo_trainer_save(changed, scratch_path("a"), NULL));
    OK(cribo_trainer_save(made, scratch_path("b"), NULL));
    assert_same_files("a", "b");
    cribo_trainer_free(made);
    cribo_trainer_free(changed);
}

START_TEST(test_settings_changed_in_a_trainer_give_the_bits_of_one_made_so)
{
    cribo_setting s;
    for (size_t i = 0; cribo_trainer_config_setting(i, &s) == CRIBO_OK; i++) compare_trainers(&s);
}
END_TEST

static void compare_objectives(const cribo_setting *s)
{
    cribo_objective_config c = objective_config();
    char text[40];
    double before;
    c.koleo_weight = c.object_koleo_weight = 0.25;
    cribo_objective *changed = objective_begin(&c, 1);
    OK(cribo_objective_get_setting(changed, s->name, &before));
    double value = other_value(s, before);
    if (cribo_objective_set_setting(changed, s->name, value) == CRIBO_OK) {
        snprintf(text, sizeof text, "%.17g", value);
        OK(cribo_objective_config_set(&c, s->name, text));
        cribo_objective *made = objective_begin(&c, 1);
        for (uint64_t step = 0; step < 3; step++)
            ck_assert_msg(objective_step(changed, &c, step) == objective_step(made, &c, step), "%s = %s",
                s->name, text);
        ck_assert_msg(objective_same(changed, made), "%s = %s", s->name, text);
        cribo_objective_free(made);
    }
    cribo_objective_free(changed);
}

START_TEST(test_settings_changed_in_an_objective_give_the_bits_of_one_made_so)
{
    cribo_setting s;
    for (size_t i = 0; cribo_objective_config_setting(i, &s) == CRIBO_OK; i++) compare_objectives(&s);
}
END_TEST

/* The report of a step with these settings changed. */
static cribo_report report_with(const char *name, double value)
{
    cribo_trainer *trainer = training_begin(&things.config, 1);
    training_batch made = training_batch_of(&things.config, 5, 0);
    cribo_report report = {.struct_size = sizeof report};
    if (name) OK(cribo_trainer_set_setting(trainer, name, value));
    OK(cribo_trainer_step(trainer, &made.batch, &report));
    training_batch_free(&made);
    cribo_trainer_free(trainer);
    return report;
}

START_TEST(test_settings_changed_are_seen_in_the_report)
{
    const cribo_report plain = report_with(NULL, 0);
    const double rate = things.config.learning_rate;
    ck_assert_double_eq_tol(
        report_with("learning_rate", 2 * rate).learning_rate, 2 * plain.learning_rate, 1e-15);
    ck_assert(report_with("weight_decay", 0.2).weight_decay == 0.2);
    ck_assert(report_with("ema_momentum", 0.5).ema_momentum == 0.5);
    ck_assert(report_with("teacher_temperature_start", 0.06).teacher_temperature == 0.06);
    ck_assert(report_with("position_weight", 3).position_weight == 3);
    ck_assert_double_eq_tol(
        report_with("global_weight", 2).global_loss, 2 * plain.global_loss, 1e-12 * plain.global_loss);
    ck_assert(report_with("cross_view_weight", 0).cross_view_loss == 0);
    ck_assert(report_with("student_temperature", 0.2).global_loss != plain.global_loss);
    ck_assert(report_with("sinkhorn_lambda", 2).cross_view_loss != plain.cross_view_loss);
    ck_assert(report_with("drop_path", 0).loss != plain.loss);
}
END_TEST

/* Losses that were off can be turned on: their memory is there. */
START_TEST(test_settings_turn_losses_on)
{
    cribo_trainer_config c = training_config();
    c.cross_view_weight = c.cross_image_weight = 0;
    cribo_trainer *changed = training_begin(&c, 1);
    OK(cribo_trainer_set_setting(changed, "cross_view_weight", 1));
    OK(cribo_trainer_set_setting(changed, "cross_image_weight", 1));
    training_steps(changed, &c, 3);
    training_steps(things.trainer, &things.config, 3);
    ck_assert(training_same(changed, things.trainer));
    cribo_trainer_free(changed);
}
END_TEST

/* --- checkpoints --- */

START_TEST(test_settings_changed_are_resumed_bit_for_bit)
{
    cribo_trainer_config saved = {.struct_size = sizeof saved};
    training_steps(things.trainer, &things.config, 2);
    OK(cribo_trainer_set_setting(things.trainer, "learning_rate", 0.01));
    OK(cribo_trainer_set_setting(things.trainer, "total_steps", 20));
    training_step(things.trainer, &things.config, 2);
    OK(cribo_trainer_save(things.trainer, scratch_path("run"), NULL));
    for (uint64_t step = 3; step < 6; step++) training_step(things.trainer, &things.config, step);

    OK(cribo_checkpoint_config(scratch_path("run"), &saved));
    ck_assert(saved.learning_rate == 0.01 && saved.total_steps == 20);
    cribo_trainer *resumed = training_begin(&saved, 1);
    OK(cribo_trainer_load(resumed, scratch_path("run"), NULL));
    for (uint64_t step = 3; step < 6; step++) training_step(resumed, &saved, step);
    ck_assert(training_same(resumed, things.trainer));
    cribo_trainer_free(resumed);

    cribo_trainer *earlier = training_begin(&things.config, 1);
    REFUSED(cribo_trainer_load(earlier, scratch_path("run"), NULL), CRIBO_INVALID_ARGUMENT,
        "learning_rate = 0.01 in the file, but 0.05");
    OK(cribo_trainer_set_setting(earlier, "learning_rate", 0.01));
    OK(cribo_trainer_set_setting(earlier, "total_steps", 20));
    OK(cribo_trainer_load(earlier, scratch_path("run"), NULL));
    cribo_trainer_free(earlier);
}
END_TEST

/* The mean over the last steps follows the end of the training. */
START_TEST(test_settings_of_the_length_move_the_average)
{
    cribo_trainer_config c = training_config();
    c.average_steps = 2;
    cribo_trainer *trainer = training_begin(&c, 1);
    OK(cribo_trainer_set_setting(trainer, "total_steps", 4));
    training_steps(trainer, &c, 2);
    ck_assert_ptr_null(cribo_trainer_average(trainer));
    training_step(trainer, &c, 2);
    ck_assert_ptr_nonnull(cribo_trainer_average(trainer));
    cribo_trainer_free(trainer);
}
END_TEST

/* --- the parts alone --- */

static void cluster(float *assignment)
{
    float tokens[2 * 9 * 16], positions[2 * 9 * 2];
    double random[2 * 9 * 16];
    OK(cribo_random_uniform(1, 2, 3, 2 * 9 * 16, random));
    for (size_t i = 0; i < 2 * 9 * 16; i++) tokens[i] = (float)random[i] - 0.5F;
    for (size_t i = 0; i < 2 * 9 * 2; i++) positions[i] = (float)(i % 6);
    const cribo_cluster_input input = {
        .struct_size = sizeof input, .images = 1, .tokens = tokens, .positions = positions};
    const cribo_cluster_output output = {.struct_size = sizeof output, .assignment = assignment};
    OK(cribo_clusterer_run(things.clusterer, &input, &output));
}

START_TEST(test_settings_changed_in_a_clusterer_give_the_bits_of_one_made_so)
{
    enum { COUNT = 2 * 9 * 3 };
    float plain[COUNT], changed[COUNT], made[COUNT];
    cribo_clusterer_config c = {.struct_size = sizeof c};
    cluster(plain);
    OK(cribo_clusterer_set_setting(things.clusterer, "position_weight", 0));
    OK(cribo_clusterer_set_setting(things.clusterer, "sinkhorn_lambda", 3));
    OK(cribo_clusterer_set_setting(things.clusterer, "cluster_iterations", 1));
    OK(cribo_clusterer_set_setting(things.clusterer, "seed", 9));
    cluster(changed);
    OK(cribo_clusterer_get_config(things.clusterer, &c));
    ck_assert(c.position_weight == 0 && c.sinkhorn_lambda == 3 && c.cluster_iterations == 1 && c.seed == 9);
    cribo_clusterer_free(things.clusterer);
    OK(cribo_clusterer_create(&things.clusterer, &c, NULL, 2, 9, 16));
    cluster(made);
    ck_assert_mem_eq(changed, made, sizeof made);
    ck_assert_mem_ne(changed, plain, sizeof plain);
}
END_TEST

START_TEST(test_settings_changed_in_a_loss_take_effect)
{
    const float student[8] = {1, 2, 3, 4, 4, 3, 2, 1}, teacher[8] = {1, 0, 0, 0, 0, 1, 0, 0};
    const cribo_loss_input input = {.struct_size = sizeof input,
        .images = 1,
        .student_cls = student,
        .teacher_cls = teacher,
        .teacher_temperature = 0.1,
        .object_teacher_temperature = 0.1};
    cribo_loss_output before = {.struct_size = sizeof before}, after = before;
    float centre[4];
    OK(cribo_loss_compute(things.loss, &input, &before));
    OK(cribo_loss_set_setting(things.loss, "student_temperature", 1));
    OK(cribo_loss_compute(things.loss, &input, &after));
    ck_assert_double_lt(after.global, before.global / 2);
    OK(cribo_loss_set_setting(things.loss, "centre_momentum", 0.5));
    OK(cribo_loss_update_centres(things.loss, &input));
    OK(cribo_loss_get_centres(things.loss, centre, NULL));
    ck_assert(centre[0] == 0.25F && centre[1] == 0.25F && centre[2] == 0);
}
END_TEST

static Suite *suite_of(void)
{
    Suite *suite = suite_create("settings");
    TCase *read = tcase_create("read"), *change = tcase_create("change"), *effect = tcase_create("effect");
    TCase *const cases[] = {read, change, effect};
    tcase_add_test(read, test_settings_are_read_back_by_name_and_all_together);
    tcase_add_loop_test(read, test_settings_of_every_handle_are_read, 0, KINDS);
    tcase_add_test(read, test_settings_of_lent_handles_are_those_of_the_lender);
    tcase_add_test(read, test_settings_are_those_in_force);
    tcase_add_loop_test(change, test_settings_that_cannot_change_are_refused_with_the_reason, 0, MODEL);
    tcase_add_test(change, test_settings_cannot_change_in_a_step);
    tcase_add_test(change, test_settings_that_contradict_others_are_refused);
    tcase_add_test(effect, test_settings_changed_in_a_trainer_give_the_bits_of_one_made_so);
    tcase_add_test(effect, test_settings_changed_in_an_objective_give_the_bits_of_one_made_so);
    tcase_add_test(effect, test_settings_changed_are_seen_in_the_report);
    tcase_add_test(effect, test_settings_turn_losses_on);
    tcase_add_test(effect, test_settings_changed_are_resumed_bit_for_bit);
    tcase_add_test(effect, test_settings_of_the_length_move_the_average);
    tcase_add_test(effect, test_settings_changed_in_a_clusterer_give_the_bits_of_one_made_so);
    tcase_add_test(effect, test_settings_changed_in_a_loss_take_effect);
    for (int i = 0; i < 3; i++) {
        tcase_add_checked_fixture(cases[i], begin, end);
        tcase_set_timeout(cases[i], 240);
        suite_add_tcase(suite, cases[i]);
    }
    return suite;
}

int main(void)
{
    return run_suite(suite_of());
}
