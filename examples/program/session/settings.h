/*
 * The trainer's settings as a command line gives them: by name, on top of presets or of defaults for a small
 * machine.
 */
#ifndef SETTINGS_H
#define SETTINGS_H

#include "base/problem.h"
#include "pictures/recipe.h"

#include <cribo/trainer.h>

#include <stddef.h>

enum { MAX_SETTINGS = 128, SETTINGS_PRESETS = 128 };

struct settings {
    char presets
        [SETTINGS_PRESETS]; /* names, separated by commas, in their order; "": the small machine's defaults */
    struct {
        const char *name, *value; /* borrowed */
    } given[MAX_SETTINGS];
    size_t count;
    double time;         /* in seconds, for the run's length; 0: not given */
    int64_t time_steps;  /* that fit into it; 0: not known yet */
    const char *weights; /* a file whose transformer the run has; NULL: none. Borrowed */
    struct {
        const char *name, *value; /* borrowed */
    } views[RECIPE_SETTINGS * 4]; /* settings of the views that were given */
    size_t view_count;
    const char *overrides[MAX_SETTINGS]; /* settings that may differ from a checkpoint's; borrowed */
    size_t override_count;
    bool override_folder; /* and so may the pictures */
    bool override_skip;   /* and from where on updates are skipped */
};

/* Adds a preset, or several that are separated by commas, behind those given before. */
bool settings_add_preset(struct settings *settings, const char *names, struct problem *problem);

/*
 * A setting's name has hyphens on the command line and underscores in files and in the library; "steps" is
 * the option's name of total_steps. Both functions write at most SETTINGS_NAME characters and return `name`.
 */
enum { SETTINGS_NAME = 48 };
char *settings_option(char name[SETTINGS_NAME], const char *setting);
char *settings_of_option(char name[SETTINGS_NAME], const char *option);

/* A setting of the trainer or, by its name, of the views (pictures/recipe.h). */
bool settings_give(struct settings *settings, const char *name, const char *value, struct problem *problem);

/*
 * Presets or small defaults first, then the transformer's settings from the file of weights, then what was
 * given, in its order, whatever the order on the command line. Learned positions keep the file's grid.
 * `pictures` decides steps_per_epoch and, without a preset, warm-ups of a share of all steps; with a time it
 * also decides, together with the time, the size of the network.
 */
bool settings_apply(
    const struct settings *settings, size_t pictures, cribo_trainer_config *config, struct problem *problem);

/*
 * Why a run has the network that it has; "" if a preset or weights decide it, or without a time.
 */
void settings_say_choice(const struct settings *settings, size_t pictures, char *text, size_t size);

/*
 * The published recipe of views, with the mean and deviation of the run that the weights come from, and with
 * what was given.
 */
bool settings_recipe(const struct settings *settings, struct recipe *recipe, struct problem *problem);

/* The same for a resumed run: as settings_resume. */
bool settings_resume_recipe(const struct settings *settings, const struct recipe *saved,
    struct recipe *recipe, struct problem *problem);

/*
 * Takes a list of NAME or NAME=VALUE, separated by commas, that --override gives; hyphens in names count as
 * underscores, and a value is given as by settings_give. The list is cut up in place and borrowed.
 */
bool settings_override(struct settings *settings, char *list, struct problem *problem);

/*
 * The settings of a resumed run: those saved, and on top what was given. A given value that differs from the
 * saved one is a problem that names it, unless it is overridden.
 */
bool settings_resume(const struct settings *settings, const cribo_trainer_config *saved, size_t pictures,
    cribo_trainer_config *config, struct problem *problem);

/*
 * Whether a trainer of `needed` bytes is larger than the available memory (0: not known), and which settings
 * reduce it, into found->text.
 */
bool settings_too_large(int64_t needed, int64_t available, struct problem *found);

/* The value that a setting of the trainer or of the views was last given; NULL: none. */
const char *settings_given_value(const struct settings *settings, const char *name);

/* Whether a setting of the trainer was given a value. */
bool settings_was_given(const struct settings *settings, const char *name);

/* A setting's small default as text; NULL where the library's own holds. */
const char *settings_small_default(const char *name);

/* Writes the small defaults for --help. */
void settings_small_help(char *text, size_t size);

#endif
