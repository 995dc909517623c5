/* See settings.h. */
#include "session/settings.h"

#include "models/weights.h"

#include <cribo/model.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * Settings for a folder of some hundred to some thousand pictures on a few CPU cores, compared with others on
 * photographs (docs/experiment.md, "Without a preset"). Fewer prototypes and clusters than the published
 * runs, since a small batch has fewer objects. The targets of [CLS] stay sharp and balanced: by a low
 * temperature that does not rise and by Sinkhorn-Knopp centring, because they became uniform with the
 * published ones; the gains of the last layers stay 1, because the student can match uniform targets by
 * smaller gains. Objects weigh less than [CLS]: their losses fall by place and brightness first.
 */
static const struct {
    const char *name, *value;
} small[] = {
    {"width", "128"},
    {"heads", "2"},
    {"depth", "4"},
    {"image_size", "96"},
    {"patch_size", "8"},
    {"drop_path", "0"},
    {"head_hidden", "512"},
    {"head_bottleneck", "128"},
    {"prototypes", "1024"},
    {"object_prototypes", "1024"},
    {"normed_last_layer", "1"},
    {"clusters", "8"},
    {"bank_images", "2000"},
    {"teacher_temperature_start", "0.025"},
    {"teacher_temperature", "0.025"},
    {"object_teacher_temperature_start", "0.025"},
    {"object_teacher_temperature", "0.025"},
    {"sinkhorn_centring", "3"},
    {"cross_view_weight", "0.3"},
    {"cross_image_weight", "0.3"},
    {"ema_momentum", "0.99"},
    {"batch_size", "16"},
    {"micro_batch", "4"},
    {"learning_rate", "0.016"},
    {"weight_decay_final", "0.04"},
    {"clip_norm", "3"},
    {"epochs", "100"},
};

/*
 * Larger networks for longer runs on more pictures. The first was compared on small sets of photographs
 * (docs/experiment.md); the others keep its other settings.
 */
static const struct network {
    double hours;    /* of --time, from which it is chosen */
    size_t pictures; /* and from how many pictures on */
    const char *width, *depth, *heads, *batch_size;
} networks[] = {
    {0, 0, "128", "4", "2", "16"},
    {3, 1000, "192", "6", "3", "32"},
    {8, 5000, "256", "8", "4", "32"},
};

static const struct network *choose_network(const struct settings *settings, size_t pictures)
{
    const struct network *chosen = networks;
    if (settings->presets[0] || settings->weights || settings->time <= 0) return NULL;
    for (size_t i = 1; i < sizeof networks / sizeof *networks; i++)
        if (settings->time >= 3600 * networks[i].hours && pictures >= networks[i].pictures)
            chosen = &networks[i];
    return chosen;
}

void settings_say_choice(const struct settings *settings, size_t pictures, char *text, size_t size)
{
    const struct network *chosen = choose_network(settings, pictures), *next = chosen ? chosen + 1 : NULL;
    text[0] = '\0';
    if (!chosen) return;
    int length = snprintf(text, size, "chosen for %zu pictures and this time", pictures);
    if (next < networks + sizeof networks / sizeof *networks && (size_t)length < size)
        snprintf(text + length, size - (size_t)length,
            "; a larger network from %.0f hours and %zu pictures on", next->hours, next->pictures);
}

void settings_small_help(char *text, size_t size)
{
    int length =
        snprintf(text, size, "Without --preset, the settings suit a small machine and a small folder:");
    for (size_t i = 0; i < sizeof small / sizeof *small && (size_t)length < size; i++) {
        char name[SETTINGS_NAME];
        length += snprintf(text + length, size - (size_t)length, "%s %s %s", i ? "," : "",
            settings_option(name, small[i].name), small[i].value);
    }
    if ((size_t)length < size)
        snprintf(text + length, size - (size_t)length, "; warm-ups are shares of the run.");
}

/* The one setting whose option has another name. */
static const char steps_option[] = "steps", steps_setting[] = "total_steps";

static char *translate(char name[SETTINGS_NAME], const char *text, char from, char to)
{
    snprintf(name, SETTINGS_NAME, "%s", text);
    for (char *c = name; *c; c++)
        if (*c == from) *c = to;
    return name;
}

char *settings_option(char name[SETTINGS_NAME], const char *setting)
{
    return translate(name, strcmp(setting, steps_setting) ? setting : steps_option, '_', '-');
}

char *settings_of_option(char name[SETTINGS_NAME], const char *option)
{
    return translate(name, strcmp(option, steps_option) ? option : steps_setting, '-', '_');
}

static bool add_preset(struct settings *settings, const char *name, size_t length, struct problem *problem)
{
    char preset[SETTINGS_NAME];
    cribo_trainer_config config;
    size_t used = strlen(settings->presets);
    snprintf(preset, sizeof preset, "%.*s", (int)length, name);
    if (used + length + 2 > sizeof settings->presets)
        return problem_set(problem, "--preset: too many presets");
    if (cribo_trainer_config_init(&config, sizeof config) != CRIBO_OK) return problem_library(problem);
    if (length >= sizeof preset || cribo_trainer_config_preset(&config, preset) != CRIBO_OK) {
        const char *known = strstr(cribo_last_error(), "there are ");
        return problem_set(
            problem, "--preset=%s: no such preset%s%s", preset, known ? "; " : "", known ? known : "");
    }
    snprintf(settings->presets + used, sizeof settings->presets - used, "%s%s", used ? "," : "", preset);
    return true;
}

bool settings_add_preset(struct settings *settings, const char *names, struct problem *problem)
{
    struct settings before = *settings;
    for (;; names++) {
        size_t length = strcspn(names, ",");
        if (!add_preset(settings, names, length, problem)) {
            *settings = before;
            return false;
        }
        names += length;
        if (!*names) return true;
    }
}

static bool apply_presets(
    const struct settings *settings, cribo_trainer_config *config, struct problem *problem)
{
    char names[SETTINGS_PRESETS], *rest;
    memcpy(names, settings->presets, sizeof names);
    for (char *name = strtok_r(names, ",", &rest); name; name = strtok_r(NULL, ",", &rest))
        if (cribo_trainer_config_preset(config, name) != CRIBO_OK) return problem_library(problem);
    return true;
}

const char *settings_small_default(const char *name)
{
    for (size_t i = 0; i < sizeof small / sizeof *small; i++)
        if (!strcmp(small[i].name, name)) return small[i].value;
    return NULL;
}

/* The library's message begins with the setting's name, in place of which the option's stands. */
static bool set(cribo_trainer_config *config, const char *name, const char *value, struct problem *problem)
{
    char option[SETTINGS_NAME];
    if (cribo_trainer_config_set(config, name, value) == CRIBO_OK) return true;
    const char *message = cribo_last_error();
    size_t length = strlen(name);
    if (strncmp(message, name, length)) return problem_set(problem, "%s", message);
    return problem_set(problem, "--%s%s", settings_option(option, name), message + length);
}

/* Settings of a model that a run chooses, whatever weights it begins with. */
static bool belongs_to_run(const char *name)
{
    static const char *const names[] = {"image_size", "drop_path", "head_hidden", "head_bottleneck",
        "prototypes", "object_prototypes", "normed_last_layer", "seed", "precision", "recompute",
        "mask_token"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(names[i], name)) return true;
    return false;
}

/* The transformer's settings in a file of weights, or in a run's folder. */
static bool read_model(const char *path, cribo_model_config *model, struct problem *problem)
{
    char *file = weights_file(path);
    if (!file) return problem_no_memory(problem);
    bool read = cribo_model_config_init(model, sizeof *model) == CRIBO_OK &&
                cribo_model_config_from_file(file, NULL, model) == CRIBO_OK;
    free(file);
    return read || problem_library(problem);
}

/* Takes the transformer's settings from weights; fields follow struct_size in the table's order. */
static bool apply_weights(const char *path, cribo_trainer_config *config, struct problem *problem)
{
    cribo_model_config model;
    cribo_setting setting;
    if (!read_model(path, &model, problem)) return false;
    if (!model.position_grid) model.position_grid = model.image_size / model.patch_size;
    const char *at = (const char *)&model + sizeof model.struct_size;
    for (size_t i = 0; cribo_model_config_setting(i, &setting) == CRIBO_OK; i++, at += sizeof(int64_t)) {
        char text[SETTINGS_NAME];
        if (belongs_to_run(setting.name)) continue;
        if (setting.integer)
            snprintf(text, sizeof text, "%lld", (long long)*(const int64_t *)at);
        else
            snprintf(text, sizeof text, "%.17g", *(const double *)at);
        if (!set(config, setting.name, text, problem)) return false;
    }
    return true;
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
    if (settings->count == MAX_SETTINGS) return problem_set(problem, "more than %d settings", MAX_SETTINGS);
    settings->given[settings->count].name = name;
    settings->given[settings->count++].value = value;
    return true;
}

const char *settings_given_value(const struct settings *settings, const char *name)
{
    for (size_t i = settings->count; i > 0; i--)
        if (!strcmp(settings->given[i - 1].name, name)) return settings->given[i - 1].value;
    for (size_t i = settings->view_count; i > 0; i--)
        if (!strcmp(settings->views[i - 1].name, name)) return settings->views[i - 1].value;
    return NULL;
}

bool settings_was_given(const struct settings *settings, const char *name)
{
    return settings_given_value(settings, name);
}

/* Shares of the run in place of the published epochs, which would be longer than a short run. */
static void shorten_warmups(const struct settings *settings, cribo_trainer_config *config)
{
    int64_t total = config->total_steps ? config->total_steps
                                        : (int64_t)(config->epochs * (double)config->steps_per_epoch);
    int64_t tenth = total >= 10 ? total / 10 : 1, quarter = total >= 4 ? total / 4 : 1,
            twentieth = total >= 20 ? total / 20 : 1; /* 0 would mean that the epochs count */
    int64_t epoch = config->steps_per_epoch < twentieth ? config->steps_per_epoch : twentieth;
    if (!settings_was_given(settings, "warmup_epochs") && !settings_was_given(settings, "warmup_steps"))
        config->warmup_steps = tenth;
    if (!settings_was_given(settings, "teacher_temperature_epochs") &&
        !settings_was_given(settings, "teacher_temperature_steps"))
        config->teacher_temperature_steps = quarter;
    if (!settings_was_given(settings, "cross_image_epochs") &&
        !settings_was_given(settings, "cross_image_steps"))
        config->cross_image_steps = epoch;
    if (!settings_was_given(settings, "freeze_last_layer_epochs") &&
        !settings_was_given(settings, "freeze_last_layer_steps"))
        config->freeze_last_layer_steps = epoch;
}

static void fit_folder(size_t pictures, cribo_trainer_config *config)
{
    if (pictures > 0 && (int64_t)pictures < config->batch_size) config->batch_size = (int64_t)pictures;
    if (config->micro_batch > config->batch_size) config->micro_batch = config->batch_size;
}

static bool apply_network(
    const struct network *network, cribo_trainer_config *config, struct problem *problem)
{
    return !network ||
           (set(config, "width", network->width, problem) && set(config, "depth", network->depth, problem) &&
               set(config, "heads", network->heads, problem) &&
               set(config, "batch_size", network->batch_size, problem));
}

/* The length until it is known, for a trainer whose steps are timed. */
enum { PROVISIONAL_STEPS = 1000 };

static bool apply_time(const struct settings *settings, cribo_trainer_config *config, struct problem *problem)
{
    if (settings->time <= 0) return true;
    config->total_steps = settings->time_steps ? settings->time_steps : PROVISIONAL_STEPS;
    if (!settings_was_given(settings, "epochs") && !settings_was_given(settings, "total_steps")) return true;
    return problem_set(problem, "--time and --%s both give the length of the run; give one of them",
        settings_was_given(settings, "epochs") ? "epochs" : "steps");
}

bool settings_apply(
    const struct settings *settings, size_t pictures, cribo_trainer_config *config, struct problem *problem)
{
    if (cribo_trainer_config_init(config, sizeof *config) != CRIBO_OK) return problem_library(problem);
    if (!apply_presets(settings, config, problem)) return false;
    for (size_t i = 0; !settings->presets[0] && i < sizeof small / sizeof *small; i++)
        if (!set(config, small[i].name, small[i].value, problem)) return false;
    if (!apply_network(choose_network(settings, pictures), config, problem)) return false;
    if (settings->weights && !apply_weights(settings->weights, config, problem)) return false;
    for (size_t i = 0; i < settings->count; i++)
        if (!set(config, settings->given[i].name, settings->given[i].value, problem)) return false;
    if (settings_was_given(settings, "epochs") && settings_was_given(settings, "total_steps") &&
        config->total_steps > 0)
        return problem_set(problem, "--epochs and --steps both give the length of the run; give one of them");
    if (!apply_time(settings, config, problem)) return false;
    fit_folder(pictures, config);
    if (config->steps_per_epoch == 0) /* not given */
        config->steps_per_epoch = pictures > 0 ? (int64_t)pictures / config->batch_size : 1;
    if (!settings->presets[0]) shorten_warmups(settings, config);
    return true;
}

static bool is_overridden(const struct settings *settings, const char *name)
{
    for (size_t i = 0; i < settings->override_count; i++)
        if (!strcmp(settings->overrides[i], name)) return true;
    return false;
}

/* The setting that an option's name stands for, as the library's table has it; NULL: none. */
static const char *find_setting(const char *option)
{
    cribo_setting setting;
    char name[SETTINGS_NAME];
    settings_of_option(name, option);
    for (size_t i = 0; cribo_trainer_config_setting(i, &setting) == CRIBO_OK; i++)
        if (!strcmp(setting.name, name)) return setting.name;
    return recipe_find(name) ? recipe_find(name)->name : NULL;
}

bool settings_override(struct settings *settings, char *list, struct problem *problem)
{
    char *rest;
    for (char *option = strtok_r(list, ",", &rest); option; option = strtok_r(NULL, ",", &rest)) {
        char *equals = strchr(option, '=');
        if (equals) *equals = '\0';
        bool folder = !strcmp(option, "folder"),
             skip = !strcmp(option, "skip-spikes") || !strcmp(option, "skip_spikes");
        settings->override_folder |= folder && !equals;
        settings->override_skip |= skip && !equals;
        if ((folder || skip) && !equals) continue;
        const char *name = find_setting(option);
        if (!name)
            return problem_set(
                problem, "--override %s: there is no such setting; names are those of the options", option);
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

/* A given setting has another value in the checkpoint. */
static bool differs(const char *setting, const char *before, const char *now, struct problem *problem)
{
    char name[SETTINGS_NAME];
    settings_option(name, setting);
    return problem_set(problem,
        "--%s is %s in the checkpoint, not %s; leave it out, or change it by --override %s", name, before,
        now, name);
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
        return differs(setting.name, before, now, problem);
    }
    return true;
}

bool settings_resume(const struct settings *settings, const cribo_trainer_config *saved, size_t pictures,
    cribo_trainer_config *config, struct problem *problem)
{
    *config = *saved;
    for (size_t i = 0; i < settings->count; i++)
        if (!set(config, settings->given[i].name, settings->given[i].value, problem)) return false;
    if (config->steps_per_epoch == 0) config->steps_per_epoch = saved->steps_per_epoch; /* not given */
    /* As at the run's beginning, so that its command line with --resume means the same again. */
    if (settings_was_given(settings, "batch_size") || settings_was_given(settings, "micro_batch"))
        fit_folder(pictures, config);
    if (config->total_steps > 0 && is_overridden(settings, "epochs"))
        return problem_set(problem,
            "--override epochs: the run's length is counted in steps, of which it has %lld; override steps",
            (long long)config->total_steps);
    return compare(settings, saved, config, problem);
}

static bool give_views(const struct settings *settings, struct recipe *recipe, struct problem *problem)
{
    for (size_t i = 0; i < settings->view_count; i++)
        if (!recipe_set(recipe, settings->views[i].name, settings->views[i].value, problem)) return false;
    return recipe_check(recipe, problem);
}

/* Weights expect pixels that are normalised as in their training; crops and colours are the run's choice. */
static bool adopt_normalisation(const char *weights, struct recipe *recipe, struct problem *problem)
{
    struct recipe theirs = *recipe;
    if (!weights_recipe(&theirs, weights, problem)) return false;
    memcpy(recipe->mean, theirs.mean, sizeof recipe->mean);
    memcpy(recipe->deviation, theirs.deviation, sizeof recipe->deviation);
    return true;
}

bool settings_recipe(const struct settings *settings, struct recipe *recipe, struct problem *problem)
{
    *recipe = recipe_published();
    if (settings->weights && !adopt_normalisation(settings->weights, recipe, problem)) return false;
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
        if (strcmp(before, now) && !is_overridden(settings, name)) return differs(name, before, now, problem);
    }
    return true;
}

bool settings_too_large(int64_t needed, int64_t available, struct problem *found)
{
    const double gib = 1 << 30;
    if (available == 0 || needed <= available) return false;
    snprintf(found->text, sizeof found->text,
        "the trainer needs %.1f GiB of memory, but %.1f GiB are available: the system may end the run; "
        "smaller --micro-batch, --bank-images, --prototypes, --object-prototypes or --width, or "
        "--recompute=1, need less",
        (double)needed / gib, (double)available / gib);
    return true;
}
