/* Settings from a command line: what wins over what. */
#include "files.h"
#include "session/settings.h"
#include "suite.h"

#include <cribo/model.h>

#include <stdio.h>
#include <string.h>

static cribo_trainer_config apply(const struct settings *settings, size_t pictures)
{
    cribo_trainer_config config;
    struct problem problem;
    ck_assert_msg(settings_apply(settings, pictures, &config, &problem), "%s", problem.text);
    return config;
}

static void give(struct settings *settings, const char *name, const char *value)
{
    struct problem problem;
    ck_assert(settings_give(settings, name, value, &problem));
}

START_TEST(test_settings_without_preset_suit_a_small_machine)
{
    struct settings settings = {0};
    cribo_trainer_config config = apply(&settings, 330);
    ck_assert_int_eq(config.width, 128);
    ck_assert_int_le(config.prototypes, 4096);
    ck_assert_int_eq(config.steps_per_epoch, 330 / config.batch_size);
    int64_t total = (int64_t)(config.epochs * (double)config.steps_per_epoch);
    ck_assert_int_gt(config.warmup_steps, 0);
    ck_assert_int_lt(config.warmup_steps, total / 4);
    ck_assert_int_gt(config.cross_image_steps, 0);
}
END_TEST

START_TEST(test_settings_time_decides_length_and_network)
{
    struct settings settings = {.time = 3600, .time_steps = 777};
    struct problem problem;
    char text[256];
    cribo_trainer_config config = apply(&settings, 300), larger;
    ck_assert_int_eq(config.total_steps, 777);
    ck_assert_int_eq(config.warmup_steps, 77);
    settings.time = 10 * 3600;
    ck_assert_int_eq(apply(&settings, 300).width, config.width); /* too few pictures for a larger network */
    settings_say_choice(&settings, 300, text, sizeof text);
    ck_assert_ptr_nonnull(strstr(text, "300 pictures"));
    larger = apply(&settings, 9000);
    ck_assert(larger.width > config.width && larger.depth > config.depth);
    give(&settings, "width", "64");
    ck_assert_int_eq(apply(&settings, 9000).width, 64);
    snprintf(settings.presets, sizeof settings.presets, "mini"); /* a preset decides about the network */
    settings_say_choice(&settings, 9000, text, sizeof text);
    ck_assert_str_eq(text, "");
    config = apply(&settings, 9000);
    ck_assert(config.depth == 2 && config.total_steps == 777);
    give(&settings, "epochs", "3");
    ck_assert(!settings_apply(&settings, 300, &config, &problem));
    ck_assert_ptr_nonnull(strstr(problem.text, "--time and --epochs"));
}
END_TEST

START_TEST(test_settings_given_win_over_presets_and_small_defaults)
{
    struct settings settings = {.presets = "tiny"};
    give(&settings, "clusters", "9");
    give(&settings, "warmup_epochs", "2");
    cribo_trainer_config config = apply(&settings, 5000);
    ck_assert_int_eq(config.width, 192);
    ck_assert_int_eq(config.depth, 12);
    ck_assert_int_eq(config.prototypes, 65536);
    ck_assert_int_eq(config.clusters, 9);
    ck_assert_int_eq(config.batch_size, 256);
    ck_assert_int_eq(config.warmup_steps, 0);
    settings.presets[0] = 0;
    config = apply(&settings, 5000);
    ck_assert_int_eq(config.clusters, 9);
    ck_assert_double_eq(config.warmup_epochs, 2);
    ck_assert_int_eq(config.warmup_steps, 0);
    ck_assert_int_gt(config.teacher_temperature_steps, 0);
}
END_TEST

/* A model of another shape than all presets, in a file. */
static void write_weights(const char *path)
{
    cribo_model_config config;
    cribo_model *model;
    ck_assert_int_eq(cribo_model_config_init(&config, sizeof config), CRIBO_OK);
    config.image_size = 28;
    config.patch_size = 7;
    config.width = 128;
    config.heads = 2;
    config.depth = 2;
    config.registers = 3;
    config.layer_scale = 0.5;
    config.prototypes = config.object_prototypes = 0;
    ck_assert_int_eq(cribo_model_create(&model, &config, NULL), CRIBO_OK);
    ck_assert_int_eq(cribo_model_save(model, path, NULL), CRIBO_OK);
    cribo_model_free(model);
}

START_TEST(test_settings_of_weights_win_over_presets_and_given_ones_over_both)
{
    char *folder = files_make_folder();
    const char *path = files_path(folder, "weights.safetensors");
    write_weights(path);
    struct settings settings = {.presets = "adapt", .weights = path};
    give(&settings, "image_size", "56");
    give(&settings, "position_offset", "0");
    cribo_trainer_config config = apply(&settings, 5000);
    ck_assert_int_eq(config.patch_size, 7);
    ck_assert_int_eq(config.width, 128);
    ck_assert_int_eq(config.registers, 3);
    ck_assert_double_gt(config.layer_scale, 0);
    ck_assert_int_eq(config.position_grid, 4); /* the file's, for any size of the views */
    ck_assert_int_eq(config.image_size, 56);
    ck_assert_double_eq(config.position_offset, 0);
    ck_assert_int_eq(config.prototypes, 4096);
    ck_assert_int_eq(config.learning_rate_batch, 0);
    struct problem problem;
    settings.weights = "nowhere.safetensors";
    ck_assert(!settings_apply(&settings, 10, &config, &problem));
    ck_assert_ptr_nonnull(strstr(problem.text, "nowhere.safetensors"));
    files_remove(folder);
}
END_TEST

START_TEST(test_settings_batch_is_no_larger_than_the_folder)
{
    struct settings settings = {0};
    give(&settings, "batch_size", "64");
    cribo_trainer_config config = apply(&settings, 3);
    ck_assert_int_eq(config.batch_size, 3);
    ck_assert_int_le(config.micro_batch, 3);
    ck_assert_int_eq(config.steps_per_epoch, 1);
}
END_TEST

START_TEST(test_settings_steps_per_epoch_of_0_are_those_of_the_folder)
{
    struct settings settings = {0};
    give(&settings, "batch_size", "8");
    give(&settings, "steps_per_epoch", "0");
    cribo_trainer_config config = apply(&settings, 83);
    ck_assert_int_eq(config.steps_per_epoch, 10);
}
END_TEST

START_TEST(test_settings_wrong_ones_are_named)
{
    struct settings settings = {0};
    cribo_trainer_config config;
    struct problem problem;
    give(&settings, "no_such_setting", "1");
    ck_assert(!settings_apply(&settings, 10, &config, &problem));
    ck_assert_ptr_nonnull(strstr(problem.text, "no_such_setting"));
    settings = (struct settings){0};
    for (int i = 0; i < MAX_SETTINGS; i++) give(&settings, "seed", "1");
    ck_assert(!settings_give(&settings, "seed", "1", &problem));
}
END_TEST

START_TEST(test_settings_of_a_resumed_run_are_those_saved)
{
    struct settings settings = {0};
    struct problem problem;
    cribo_trainer_config config;
    give(&settings, "batch_size", "64");
    give(&settings, "learning_rate", "3e-3");
    cribo_trainer_config saved = apply(&settings, 12);
    /* The same command line again, then one with nothing, then one that differs. */
    ck_assert_msg(settings_resume(&settings, &saved, 12, &config, &problem), "%s", problem.text);
    ck_assert_mem_eq(&config, &saved, sizeof saved);
    settings = (struct settings){0};
    ck_assert(settings_resume(&settings, &saved, 12, &config, &problem));
    ck_assert_mem_eq(&config, &saved, sizeof saved);
    give(&settings, "learning_rate", "4e-3");
    ck_assert(!settings_resume(&settings, &saved, 12, &config, &problem));
    ck_assert_ptr_nonnull(strstr(problem.text, "--learning-rate is 0.003 in the checkpoint, not 0.004"));
}
END_TEST

START_TEST(test_settings_overridden_ones_may_differ)
{
    struct settings settings = {0}, none = {0};
    struct problem problem;
    char list[] = "learning-rate,folder,epochs", wrong[] = "epochs,rate";
    cribo_trainer_config config, saved = apply(&settings, 100);
    give(&settings, "learning_rate", "0.1");
    give(&settings, "epochs", "7");
    ck_assert(!settings.override_folder);
    ck_assert(settings_override(&settings, list, &problem));
    ck_assert(settings.override_folder);
    ck_assert_uint_eq(settings.override_count, 2);
    ck_assert_msg(settings_resume(&settings, &saved, 100, &config, &problem), "%s", problem.text);
    ck_assert_double_eq(config.learning_rate, 0.1);
    ck_assert_double_eq(config.epochs, 7);
    ck_assert_int_eq(config.warmup_steps, saved.warmup_steps);
    give(&settings, "clusters", "7");
    ck_assert(!settings_resume(&settings, &saved, 100, &config, &problem));
    ck_assert_ptr_nonnull(strstr(problem.text, "--clusters is 8"));
    ck_assert(!settings_override(&none, wrong, &problem));
    ck_assert_ptr_nonnull(strstr(problem.text, "--override rate: there is no such setting"));
}
END_TEST

/* Several presets, given at once or one by one, each on top of the one before. */
START_TEST(test_settings_presets_stack)
{
    struct settings settings = {0}, listed = {0}, authors = {0};
    struct problem problem;
    ck_assert(settings_add_preset(&settings, "tiny", &problem));
    ck_assert(settings_add_preset(&settings, "authors", &problem));
    ck_assert(settings_add_preset(&listed, "tiny,authors", &problem));
    ck_assert_str_eq(settings.presets, listed.presets);
    ck_assert(settings_add_preset(&authors, "authors", &problem));
    cribo_trainer_config both = apply(&settings, 500), one = apply(&authors, 500);
    ck_assert_int_eq(both.width, 192);
    ck_assert_int_ne(one.width, 192);
    ck_assert_int_eq(both.authors_normalisation, 1);
    ck_assert(!settings_add_preset(&settings, "tinny", &problem));
    ck_assert_ptr_nonnull(strstr(problem.text, "--preset=tinny: no such preset; there are vits16-coco"));
    ck_assert(!settings_add_preset(&settings, "tiny,", &problem));
    ck_assert_str_eq(settings.presets, "tiny,authors");
    for (int i = 0; i < 100; i++)
        if (!settings_add_preset(&settings, "tiny", &problem)) break;
    ck_assert_ptr_nonnull(strstr(problem.text, "too many presets"));
}
END_TEST

START_TEST(test_settings_names_are_the_options)
{
    char name[SETTINGS_NAME], list[] = "steps=7,total-steps,learning_rate", epochs[] = "epochs";
    struct settings settings = {0}, other = {0};
    struct problem problem;
    cribo_trainer_config config, saved;
    ck_assert_str_eq(settings_option(name, "warmup_steps"), "warmup-steps");
    ck_assert_str_eq(settings_option(name, "total_steps"), "steps");
    ck_assert_str_eq(settings_of_option(name, "steps"), "total_steps");
    ck_assert_msg(settings_override(&settings, list, &problem), "%s", problem.text);
    ck_assert_uint_eq(settings.override_count, 2);
    config = apply(&settings, 100);
    ck_assert_int_eq(config.total_steps, 7);
    /* A run whose length is given in steps refuses epochs with a message. */
    saved = config;
    ck_assert(settings_override(&other, epochs, &problem));
    give(&other, "epochs", "9");
    ck_assert(!settings_resume(&other, &saved, 100, &config, &problem));
    ck_assert_ptr_nonnull(strstr(problem.text, "counted in steps, of which it has 7; override steps"));
    give(&other, "total_steps", "20");
    ck_assert(!settings_apply(&other, 100, &config, &problem));
    ck_assert_ptr_nonnull(strstr(problem.text, "--epochs and --steps"));
}
END_TEST

START_TEST(test_settings_more_memory_than_available_is_named)
{
    struct problem found;
    const int64_t gib = 1 << 30;
    ck_assert(!settings_too_large(3 * gib, 3 * gib, &found));
    ck_assert(!settings_too_large(3 * gib, 0, &found));
    ck_assert(settings_too_large(3 * gib, 3 * gib / 2, &found));
    ck_assert_ptr_nonnull(strstr(found.text, "needs 3.0 GiB of memory, but 1.5 GiB are available"));
    ck_assert_ptr_nonnull(strstr(found.text, "--bank-images"));
}
END_TEST

RUN_TESTS("settings", test_settings_without_preset_suit_a_small_machine,
    test_settings_time_decides_length_and_network, test_settings_given_win_over_presets_and_small_defaults,
    test_settings_of_weights_win_over_presets_and_given_ones_over_both,
    test_settings_batch_is_no_larger_than_the_folder,
    test_settings_steps_per_epoch_of_0_are_those_of_the_folder, test_settings_wrong_ones_are_named,
    test_settings_of_a_resumed_run_are_those_saved, test_settings_overridden_ones_may_differ,
    test_settings_presets_stack, test_settings_names_are_the_options,
    test_settings_more_memory_than_available_is_named)
