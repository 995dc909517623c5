/* cribo info: describes a file of weights. */
#include "base/problem.h"
#include "base/say.h"
#include "commands/command.h"
#include "pictures/folder.h"

#include <cribo/cribo.h>

#include <argp.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct inquiry {
    char *path;
    const char *prefix;
};

static const struct argp_option options[] = {
    {"prefix", 'p', "TEXT", 0,
        "Prefix of the names of the model's parameters in the file; default: found, the teacher's where the "
        "file has student and teacher",
        0},
    {0},
};

static error_t parse(int key, char *value, struct argp_state *state)
{
    struct inquiry *inquiry = state->input;
    switch (key) {
    case 'p': inquiry->prefix = value; return 0;
    case ARGP_KEY_ARG:
        if (inquiry->path) argp_error(state, "unexpected argument '%s'", value);
        inquiry->path = value;
        return 0;
    case ARGP_KEY_END:
        if (!inquiry->path) argp_error(state, "name a file of weights, a checkpoint or the folder of a run");
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static void print_file(const char *path, const cribo_weights_info *info)
{
    printf("file        %s\n", path);
    printf("layout      %s: %s\n", info->layout, info->title);
    if (info->kind[0]) printf("kind        %s\n", info->kind);
    printf("prefix      \"%s\"\n", info->prefix);
    printf("type        %s\n", info->dtype);
    printf("tensors     %" PRId64 "\n", info->tensors);
    printf("parameters  %" PRId64 " of the backbone\n", info->parameters);
    printf("heads       %s\n", info->heads ? "projection heads are in the file" : "no projection heads");
    if (info->step >= 0) printf("steps       %" PRId64 "\n", info->step);
}

/* Prints "name = value"; choices by name. */
static void print_setting(const cribo_setting *setting, double value)
{
    const char *choice = setting->integer ? cribo_setting_choice(setting->name, (int64_t)value) : NULL;
    if (choice)
        printf("  %s = %s\n", setting->name, choice);
    else
        printf("  %s = %.10g\n", setting->name, value);
}

/* The fields of a config struct after struct_size are int64_t or double, in the order of their settings. */
static void print_settings(
    const void *config, cribo_status (*describe)(size_t index, cribo_setting *setting), const void *defaults)
{
    cribo_setting setting = {0};
    const char *field = (const char *)config + sizeof(size_t),
               *initial = (const char *)defaults + sizeof(size_t);
    for (size_t i = 0; describe(i, &setting) == CRIBO_OK; i++, field += 8, initial += 8) {
        double value;
        int64_t whole;
        memcpy(&value, field, sizeof value);
        memcpy(&whole, field, sizeof whole);
        if (defaults && memcmp(field, initial, 8) == 0) continue;
        print_setting(&setting, setting.integer ? (double)whole : value);
    }
}

/* The settings of the run that differ from the defaults, where the file has them. */
static void print_run(const char *path)
{
    cribo_trainer_config config, initial;
    if (cribo_trainer_config_init(&config, sizeof config) != CRIBO_OK ||
        cribo_trainer_config_init(&initial, sizeof initial) != CRIBO_OK ||
        cribo_checkpoint_config(path, &config) != CRIBO_OK)
        return;
    printf("trained with, besides the defaults\n");
    print_settings(&config, cribo_trainer_config_setting, &initial);
}

static bool inform(const char *path, const char *prefix, struct problem *problem)
{
    cribo_open_options chosen = {.struct_size = sizeof chosen, .prefix = prefix, .heads = 1};
    cribo_weights_info info = {.struct_size = sizeof info};
    cribo_model_config config;
    if (cribo_model_config_init(&config, sizeof config) != CRIBO_OK ||
        cribo_weights_describe(path, &chosen, &info) != CRIBO_OK ||
        cribo_model_config_from_file(path, &chosen, &config) != CRIBO_OK)
        return problem_library(problem);
    print_file(path, &info);
    printf("settings of the model\n");
    print_settings(&config, cribo_model_config_setting, NULL);
    if (info.assumed[0]) printf("assumed, since the file does not say: %s\n", info.assumed);
    print_run(path);
    return true;
}

/* The weights in a run's folder, or the file itself; to be freed. */
static char *weights_of(const char *path)
{
    struct stat status;
    bool folder = stat(path, &status) == 0 && S_ISDIR(status.st_mode);
    return folder ? path_join(path, "weights.safetensors") : strdup(path);
}

int command_info(int count, char **arguments)
{
    static const struct argp argp = {.options = options,
        .parser = parse,
        .args_doc = "FILE",
        .doc =
            "Describes a file of weights: layout, settings, number of parameters, and the settings of the "
            "run that wrote it. FILE is a safetensors file of any known layout, a checkpoint, or the folder "
            "of a run."};
    struct inquiry inquiry = {0};
    struct problem problem = {0};
    say_name("cribo info");
    if (argp_parse(&argp, count, arguments, 0, NULL, &inquiry)) return 1;
    char *path = weights_of(inquiry.path);
    bool done = path ? inform(path, inquiry.prefix, &problem) : problem_no_memory(&problem);
    free(path);
    if (!done) say_error("%s", problem.text);
    return done ? 0 : 1;
}
