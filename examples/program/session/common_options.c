/* See common_options.h. */
#include "session/common_options.h"

#include <stdio.h>
#include <stdlib.h>

static void put_text(FILE *lines, const char *name, const char *value)
{
    if (value && *value)
        fprintf(lines, "--%s=%s\n", name, value);
    else
        fprintf(lines, "no --%s\n", name);
}

static void put_flag(FILE *lines, const char *name, bool given)
{
    fprintf(lines, "%s--%s\n", given ? "" : "no ", name);
}

static void put_number(FILE *lines, const char *name, double value)
{
    fprintf(lines, "--%s=%.17g\n", name, value);
}

/* A setting of the trainer or of the views: the last value that was given. */
static void put_settings(FILE *lines, const struct settings *settings)
{
    cribo_setting setting;
    char option[SETTINGS_NAME];
    for (size_t i = 0; cribo_trainer_config_setting(i, &setting) == CRIBO_OK; i++)
        put_text(lines, settings_option(option, setting.name), settings_given_value(settings, setting.name));
    for (int i = 0; i < RECIPE_SETTINGS; i++)
        put_text(lines, settings_option(option, recipe_settings[i].name),
            settings_given_value(settings, recipe_settings[i].name));
    for (size_t i = 0; i < settings->override_count; i++) put_text(lines, "override", settings->overrides[i]);
    put_flag(lines, "override folder", settings->override_folder);
    put_flag(lines, "override skip-spikes", settings->override_skip);
}

static void put_options(FILE *lines, const struct pretrain_options *options)
{
    const struct look_options *look = &options->look;
    put_flag(lines, "resume", options->resume);
    put_flag(lines, "overwrite", options->overwrite);
    put_text(lines, "preset", options->settings.presets);
    put_number(lines, "time", options->settings.time);
    put_text(lines, "keys", options->keys);
    put_flag(lines, "weights", options->weights);
    put_flag(lines, "weights-heads", options->weights_heads);
    put_settings(lines, &options->settings);
    put_number(lines, "stop-after", (double)options->stop_after);
    put_number(lines, "save-every", (double)options->save_every);
    put_number(lines, "save-minutes", (double)options->save_minutes);
    put_flag(lines, "save-in-background", options->save_in_background);
    put_number(lines, "keep", options->keeping.keep);
    put_number(lines, "level", (double)options->keeping.level);
    put_number(lines, "skip-spikes", options->skip_from);
    put_flag(lines, "evaluate", look->data.train);
    put_flag(lines, "evaluate-test", look->data.test);
    put_number(lines, "evaluate-epochs", (double)look->epochs);
    put_number(lines, "evaluate-steps", (double)look->steps);
    put_number(lines, "patience", (double)look->patience);
}

bool common_options_compare(
    struct ranks *ranks, const struct pretrain_options *options, struct problem *problem)
{
    char *text = NULL;
    size_t bytes;
    if (ranks->size == 1) return true;
    FILE *lines = open_memstream(&text, &bytes);
    if (lines) put_options(lines, options);
    bool written = lines && fclose(lines) == 0;
    bool same = ranks_agree(ranks, written || problem_no_memory(problem), problem) &&
                ranks_same(ranks, text, problem);
    free(text);
    return same;
}
