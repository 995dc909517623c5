/* See settings.h. */
#include "session/settings.h"

#include <stdio.h>
#include <string.h>

/*
 * Settings for a folder of some hundred to some thousand pictures on a few CPU cores. Fewer prototypes and
 * clusters than the published runs, since a small batch has fewer objects; a higher rate per 256 pictures,
 * since there are fewer steps; and a teacher that stays as sharp as it begins, since the published rise of
 * its temperature within a short run ends with a uniform [CLS] distribution.
 */
static const struct {
    const char *name, *value;
} small[] = {
    {"width", "192"},
    {"heads", "3"},
    {"depth", "6"},
    {"image_size", "96"},
    {"patch_size", "8"},
    {"drop_path", "0"},
    {"head_hidden", "512"},
    {"head_bottleneck", "128"},
    {"prototypes", "1024"},
    {"object_prototypes", "1024"},
    {"clusters", "12"},
    {"bank_images", "2000"},
    {"teacher_temperature", "0.04"},
    {"object_teacher_temperature", "0.04"},
    {"batch_size", "16"},
    {"micro_batch", "2"},
    {"learning_rate", "0.002"},
    {"weight_decay_final", "0.04"},
    {"clip_norm", "3"},
    {"epochs", "100"},
};

const char settings_small_help[] = "Without --preset, settings for a small machine and a small folder: a "
                                   "vision transformer of width 192, depth 6 and 3 heads on "
                                   "images of 96 x 96 in patches of 8, 1024 prototypes, 12 clusters, batches "
                                   "of 16, 100 epochs, warm-ups in proportion.";

const char *settings_small_default(const char *name)
{
    for (size_t i = 0; i < sizeof small / sizeof *small; i++)
        if (!strcmp(small[i].name, name)) return small[i].value;
    return NULL;
}

static bool set(cribo_trainer_config *config, const char *name, const char *value, struct problem *problem)
{
    return cribo_trainer_config_set(config, name, value) == CRIBO_OK || problem_library(problem);
}

static bool give_view(struct settings *settings, const char *name, const char *value, struct problem *problem)
{
    if (settings->view_count == sizeof settings->views / sizeof *settings->views)
        return problem_set(problem, "too many settings of views");
    settings->views[settings->view_count].name = name;
    settings->views[settings->view_count++].value = value;
    return true;
}

bool settings_give(struct settings *settings, const char *name, const char *value, struct problem *problem)
{
    if (recipe_find(name)) return give_view(settings, name, value, problem);
    if (settings->count == MOST_SETTINGS) return problem_set(problem, "more than %d settings", MOST_SETTINGS);
    settings->given[settings->count].name = name;
    settings->given[settings->count++].value = value;
    return true;
}

static bool was_given(const struct settings *settings, const char *name)
{
    for (size_t i = 0; i < settings->count; i++)
        if (!strcmp(settings->given[i].name, name)) return true;
    return false;
}

/* Shares of the run in place of the published epochs, which would be longer than a short run. */
static void shorten_warmups(const struct settings *settings, cribo_trainer_config *config)
{
    int64_t total = config->total_steps ? config->total_steps
                                        : (int64_t)(config->epochs * (double)config->steps_per_epoch);
    int64_t epoch = config->steps_per_epoch < total / 20 ? config->steps_per_epoch : total / 20;
    if (!was_given(settings, "warmup_epochs") && !was_given(settings, "warmup_steps"))
        config->warmup_steps = total / 10;
    if (!was_given(settings, "teacher_temperature_epochs") &&
        !was_given(settings, "teacher_temperature_steps"))
        config->teacher_temperature_steps = total / 4;
    if (!was_given(settings, "cross_image_epochs") && !was_given(settings, "cross_image_steps"))
        config->cross_image_steps = epoch;
    if (!was_given(settings, "freeze_last_layer_epochs") && !was_given(settings, "freeze_last_layer_steps"))
        config->freeze_last_layer_steps = epoch;
}

static void fit_folder(size_t pictures, cribo_trainer_config *config)
{
    if (pictures > 0 && (int64_t)pictures < config->batch_size) config->batch_size = (int64_t)pictures;
    if (config->micro_batch > config->batch_size) config->micro_batch = config->batch_size;
}

bool settings_apply(
    const struct settings *settings, size_t pictures, cribo_trainer_config *config, struct problem *problem)
{
    if (cribo_trainer_config_init(config, sizeof *config) != CRIBO_OK) return problem_library(problem);
    if (settings->preset && cribo_trainer_config_preset(config, settings->preset) != CRIBO_OK)
        return problem_library(problem);
    for (size_t i = 0; !settings->preset && i < sizeof small / sizeof *small; i++)
        if (!set(config, small[i].name, small[i].value, problem)) return false;
    for (size_t i = 0; i < settings->count; i++)
        if (!set(config, settings->given[i].name, settings->given[i].value, problem)) return false;
    fit_folder(pictures, config);
    if (!was_given(settings, "steps_per_epoch") && pictures > 0)
        config->steps_per_epoch = (int64_t)pictures / config->batch_size;
    if (!settings->preset) shorten_warmups(settings, config);
    return true;
}

static bool is_overridden(const struct settings *settings, const char *name)
{
    for (size_t i = 0; i < settings->override_count; i++)
        if (!strcmp(settings->overrides[i], name)) return true;
    return false;
}

static bool is_setting(const char *name)
{
    if (recipe_find(name)) return true;
    cribo_setting setting;
    for (size_t i = 0; cribo_trainer_config_setting(i, &setting) == CRIBO_OK; i++)
        if (!strcmp(setting.name, name)) return true;
    return false;
}

bool settings_override(struct settings *settings, char *list, struct problem *problem)
{
    char *rest;
    for (char *name = strtok_r(list, ",", &rest); name; name = strtok_r(NULL, ",", &rest)) {
        char *equals = strchr(name, '=');
        if (equals) *equals = '\0';
        for (char *c = name; *c; c++)
            if (*c == '-') *c = '_';
        bool folder = !strcmp(name, "folder"), skip = !strcmp(name, "skip_spikes");
        settings->override_folder |= folder && !equals;
        settings->override_skip |= skip && !equals;
        if ((folder || skip) && !equals) continue;
        if (!is_setting(name)) return problem_set(problem, "--override: %s is no setting", name);
        if (equals && !settings_give(settings, name, equals + 1, problem)) return false;
        if (is_overridden(settings, name)) continue;
        settings->overrides[settings->override_count++] = name;
    }
    return true;
}

/* Setting `index`, an int64_t or a double in the order of the table. */
static const char *setting_at(const cribo_trainer_config *config, size_t index)
{
    return (const char *)config + sizeof config->struct_size + index * sizeof(int64_t);
}

static void print_setting(char *text, size_t size, const char *at, const cribo_setting *setting)
{
    int64_t whole;
    double real;
    memcpy(&whole, at, sizeof whole);
    memcpy(&real, at, sizeof real);
    const char *choice = setting->integer ? cribo_setting_choice(setting->name, whole) : NULL;
    if (choice)
        snprintf(text, size, "%s", choice);
    else if (setting->integer)
        snprintf(text, size, "%lld", (long long)whole);
    else
        snprintf(text, size, "%.15g", real);
}

static bool compare(const struct settings *settings, const cribo_trainer_config *saved,
    const cribo_trainer_config *config, struct problem *problem)
{
    cribo_setting setting;
    for (size_t i = 0; cribo_trainer_config_setting(i, &setting) == CRIBO_OK; i++) {
        const char *old = setting_at(saved, i), *new = setting_at(config, i);
        char before[32], now[32];
        if (!memcmp(old, new, sizeof(int64_t)) || is_overridden(settings, setting.name)) continue;
        print_setting(before, sizeof before, old, &setting);
        print_setting(now, sizeof now, new, &setting);
        return problem_set(problem,
            "%s is %s in the checkpoint, not %s; leave it out, or change it by --override %s", setting.name,
            before, now, setting.name);
    }
    return true;
}

bool settings_resume(const struct settings *settings, const cribo_trainer_config *saved, size_t pictures,
    cribo_trainer_config *config, struct problem *problem)
{
    *config = *saved;
    for (size_t i = 0; i < settings->count; i++)
        if (!set(config, settings->given[i].name, settings->given[i].value, problem)) return false;
    /* As at the run's beginning, so that its command line with --resume means the same again. */
    if (was_given(settings, "batch_size") || was_given(settings, "micro_batch")) fit_folder(pictures, config);
    return compare(settings, saved, config, problem);
}

static bool give_views(const struct settings *settings, struct recipe *recipe, struct problem *problem)
{
    for (size_t i = 0; i < settings->view_count; i++)
        if (!recipe_set(recipe, settings->views[i].name, settings->views[i].value, problem)) return false;
    return recipe_check(recipe, problem);
}

bool settings_recipe(const struct settings *settings, struct recipe *recipe, struct problem *problem)
{
    *recipe = recipe_published();
    return give_views(settings, recipe, problem);
}

bool settings_resume_recipe(const struct settings *settings, const struct recipe *saved,
    struct recipe *recipe, struct problem *problem)
{
    *recipe = *saved;
    if (!give_views(settings, recipe, problem)) return false;
    for (size_t i = 0; i < RECIPE_SETTINGS; i++) {
        char before[RECIPE_TEXT], now[RECIPE_TEXT];
        const char *name = recipe_settings[i].name;
        recipe_print(saved, &recipe_settings[i], before);
        recipe_print(recipe, &recipe_settings[i], now);
        if (strcmp(before, now) && !is_overridden(settings, name))
            return problem_set(problem,
                "%s is %s in the checkpoint, not %s; leave it out, or change it by --override %s", name,
                before, now, name);
    }
    return true;
}
