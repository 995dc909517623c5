/* cribo pretrain: see pretrain.h. Its options are those below and one for each of the trainer's settings. */
#include "commands/command.h"
#include "session/pretrain.h"
#include "base/say.h"

#include <ctype.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    KEY_PRESET = 256,
    KEY_STEPS,
    KEY_TIME,
    KEY_STOP_AFTER,
    KEY_THREADS,
    KEY_WORKERS,
    KEY_LOG_EVERY,
    KEY_SAVE_EVERY,
    KEY_SAVE_MINUTES,
    KEY_KEEP,
    KEY_LEVEL,
    KEY_BACKGROUND,
    KEY_SKIP_SPIKES,
    KEY_RESUME,
    KEY_WEIGHTS,
    KEY_WEIGHTS_HEADS,
    KEY_OVERRIDE,
    KEY_KEYS,
    KEY_OVERWRITE,
    KEY_EVALUATE,
    KEY_EVALUATE_TEST,
    KEY_EVALUATE_EPOCHS,
    KEY_COMMUNICATOR,
    KEY_DEADLINE,
    KEY_EVALUATE_STEPS,
    KEY_PATIENCE,
    KEY_SETTINGS = 1024,
    KEY_VIEWS = 2048
};
enum { GROUP_OWN = 1, GROUP_VIEWS = 2, GROUP_SETTINGS = 3 };

static const struct argp_option own[] = {
    {"output", 'o', "RUN", 0, "Folder for the results (required); created if missing", GROUP_OWN},
    {"preset", KEY_PRESET, "NAME[,...]", 0,
        "Settings of a published run (vits16-coco, vits16-in1k, vitb16-in1k), of a model size (tiny, small, "
        "base), of a small experiment (mini), for adapting published weights (adapt), or the formulas of the "
        "authors' code (authors). Several, separated by commas or given one by one, are applied in their "
        "order",
        GROUP_OWN},
    {"total-steps", KEY_STEPS, "N", OPTION_HIDDEN, "", GROUP_OWN}, /* the library's name of --steps */
    {"time", KEY_TIME, "BUDGET", 0,
        "Length of the run as a time: 20m, 1h, 1h30m, 8h. Some steps are timed first, and the run gets as "
        "many steps as fit, so that its schedules end with the time. Without a preset, the network's size "
        "follows from the time and the number of pictures. A continued run keeps its number of steps",
        GROUP_OWN},
    {"stop-after", KEY_STOP_AFTER, "N", 0,
        "Save and exit after step N of the run, as Ctrl-C does; the run can be continued later", GROUP_OWN},
    {"threads", KEY_THREADS, "N", 0,
        "Number of compute threads of a process; default: its share of the CPUs. Results do not depend on it",
        GROUP_OWN},
    {"workers", KEY_WORKERS, "N", 0,
        "Number of threads of a process that load pictures; default: its share of the CPUs. Results do not "
        "depend on it",
        GROUP_OWN},
    {"log-every", KEY_LOG_EVERY, "N", 0,
        "Steps between progress lines if standard error is not a terminal; default 0: every ten seconds",
        GROUP_OWN},
    {"save-every", KEY_SAVE_EVERY, "N", 0,
        "Save weights and a checkpoint every N steps and after each epoch longer than that; 0: only by time",
        GROUP_OWN},
    {"save-minutes", KEY_SAVE_MINUTES, "M", 0,
        "Save weights and a checkpoint every M minutes; default 10 unless --save-every is given; 0: only by "
        "steps",
        GROUP_OWN},
    {"keep", KEY_KEEP, "N", 0, "Keep the N newest checkpoints; default 2", GROUP_OWN},
    {"level", KEY_LEVEL, "N", 0,
        "Compression level of checkpoints, 0 (none, fast) to 9 (smallest); default 1", GROUP_OWN},
    {"save-in-background", KEY_BACKGROUND, NULL, 0,
        "Copy the state and write the checkpoint while training continues; needs memory for the copy",
        GROUP_OWN},
    {"skip-spikes", KEY_SKIP_SPIKES, "Z", OPTION_ARG_OPTIONAL,
        "Skip the update of a step whose loss is not finite or exceeds the mean of the last 64 steps by Z "
        "standard deviations (default 6); at most five steps in a row",
        GROUP_OWN},
    {"weights", KEY_WEIGHTS, "FILE", 0,
        "Initialise the backbone of student and teacher from a safetensors file of any layout (cribo info "
        "FILE); the transformer's settings are those of the file, the heads are new. Ignored when a run is "
        "continued",
        GROUP_OWN},
    {"weights-heads", KEY_WEIGHTS_HEADS, NULL, 0, "Initialise the heads from the --weights file as well",
        GROUP_OWN},
    {"keys", KEY_KEYS, "ENDING[,...]", 0,
        "Read only the members of tar archives with one of these endings, the part of the name after the "
        "first dot: jpg,rgb.png. Default: all pictures, except x.seg.png if the archive also has x.jpg",
        GROUP_OWN},
    {"resume", KEY_RESUME, NULL, 0,
        "Continue from the newest checkpoint in RUN; without a checkpoint, fail. Without --resume, a new run "
        "starts if RUN holds no checkpoint",
        GROUP_OWN},
    {"override", KEY_OVERRIDE, "NAME[=VALUE][,...]", 0,
        "Settings that may differ from the checkpoint's when a run is continued; folder: the pictures may "
        "differ",
        GROUP_OWN},
    {"evaluate", KEY_EVALUATE, "DIR", 0,
        "Folder of labelled pictures (see cribo evaluate): segment some of them before, during and after the "
        "run, write the mIoU to RUN/evaluation.jsonl, and keep the weights with the best one in "
        "RUN/best.safetensors",
        GROUP_OWN},
    {"evaluate-test", KEY_EVALUATE_TEST, "DIR", 0,
        "Folder of labelled pictures to segment; default: half of the --evaluate folder", GROUP_OWN},
    {"evaluate-epochs", KEY_EVALUATE_EPOCHS, "N", 0,
        "Evaluate and draw RUN/clusters-STEP.png every N epochs and at the end; default: 10 with --evaluate, "
        "otherwise never",
        GROUP_OWN},
    {"communicator", KEY_COMMUNICATOR, "openmpi|mpich|none", 0,
        "MPI that connects the processes that a launcher such as mpirun started; none: each trains alone. "
        "Default: CRIBO_COMMUNICATOR in the environment, otherwise that of the launcher",
        GROUP_OWN},
    {"deadline", KEY_DEADLINE, "SECONDS", 0,
        "Time after which a process that does not answer the others is lost, and they end; default 300",
        GROUP_OWN},
    {"evaluate-steps", KEY_EVALUATE_STEPS, "N", 0,
        "Evaluate and draw RUN/clusters-STEP.png every N steps and at the end, in place of --evaluate-epochs",
        GROUP_OWN},
    {"patience", KEY_PATIENCE, "N", 0,
        "End the run when N evaluations in a row have not exceeded the best mIoU; default: never", GROUP_OWN},
    {"overwrite", KEY_OVERWRITE, NULL, 0, "Replace the run in RUN instead of continuing it", GROUP_OWN},
    {"quiet", 'q', NULL, 0, "Print warnings and errors only", GROUP_OWN},
    {NULL, 0, NULL, 0,
        "Settings of the trainer (in brackets: the default without --preset):", GROUP_SETTINGS},
};
enum { OWN = sizeof own / sizeof *own };

static const char description[] =
    "Pretrains a vision transformer on JPEG, PNG and WebP files and writes the results to RUN. A SOURCE is a "
    "folder (searched recursively, with the tar archives in it), an uncompressed tar archive (such as a "
    "WebDataset shard), a picture, or a text file that lists paths of pictures and archives, one per line. "
    "RUN then holds weights.safetensors (student and teacher), checkpoint-STEP.safetensors.gz (the complete "
    "state), log.jsonl (one line per step), events.out.tfevents.cribo (the log for TensorBoard), "
    "config.json, loss.png (a plot of the losses), clusters-start.png, clusters.png and "
    "clusters-before-after.png (the teacher's clusters of some pictures before and after the training).\v"
    "Pictures that cannot be read are replaced by others; the first five are named in warnings, later "
    "ones are counted by reason. One line lists the files that are left out. Pictures that do not fill a "
    "batch at the end of an epoch are not used in that epoch. Ctrl-C or SIGTERM finishes the step, "
    "saves and exits "
    "with status 130 or 143; a second signal exits at once.\n\n"
    "If RUN holds a checkpoint, the run continues from it with the checkpoint's settings. A setting on the "
    "command line must have the same value unless --override names it. The results are bit-identical to an "
    "uninterrupted run, for any --threads and --workers.\n\n"
    "Example: cribo pretrain ~/Pictures -o run --epochs 20\n\n";

/* The options in the form of argp, with the generated texts of the settings. */
struct option_table {
    struct argp_option options[OWN + 1 + RECIPE_SETTINGS + MAX_SETTINGS + 1];
    char names[MAX_SETTINGS][SETTINGS_NAME], values[MAX_SETTINGS][64], helps[MAX_SETTINGS][256];
    char view_names[RECIPE_SETTINGS][SETTINGS_NAME], view_helps[RECIPE_SETTINGS][256];
    char *doc;
};

struct parsing {
    struct pretrain_options options;
    char **sources; /* at most the number of arguments */
    struct problem problem;
};

static void fill_views(struct option_table *table)
{
    static const char *const arguments[] = {"", "X", "P[,P2]", "R,G,B"};
    struct recipe published = recipe_published();
    table->options[OWN] = (struct argp_option){
        .doc = "How the two views of a picture are made (in brackets: the default, which is "
               "that of the published runs):",
        .group = GROUP_VIEWS};
    for (int i = 0; i < RECIPE_SETTINGS; i++) {
        const struct recipe_setting *setting = &recipe_settings[i];
        char value[RECIPE_TEXT];
        recipe_print(&published, setting, value);
        if (setting->count == 1 && !setting->words)
            snprintf(value, sizeof value, "%.4g", setting->initial[0]);
        settings_option(table->view_names[i], setting->name);
        snprintf(table->view_helps[i], sizeof table->view_helps[i], "%s [%s]", setting->help, value);
        table->options[OWN + 1 + i] = (struct argp_option){.name = table->view_names[i],
            .key = KEY_VIEWS + i,
            .arg = setting->words ? "NAME" : arguments[setting->count],
            .doc = table->view_helps[i],
            .group = GROUP_VIEWS};
    }
}

/* Names of choices, "float32|bf16", or the kind of number. */
static void name_values(char *text, size_t size, const cribo_setting *setting)
{
    const char *choice = cribo_setting_choice(setting->name, 0);
    snprintf(text, size, "%s", choice ? choice : setting->integer ? "N" : "X");
    for (int64_t i = 1; (choice = cribo_setting_choice(setting->name, i)); i++) {
        size_t length = strlen(text);
        snprintf(text + length, size - length, "|%s", choice);
    }
}

static void describe_setting(char *text, size_t size, const cribo_setting *setting)
{
    char published[32];
    const char *choice = cribo_setting_choice(setting->name, (int64_t)setting->initial);
    const char *ours = settings_small_default(setting->name);
    if (choice)
        snprintf(published, sizeof published, "%s", choice);
    else
        snprintf(published, sizeof published, "%.15g", setting->initial);
    if (ours)
        snprintf(text, size, "%s [%s; published %s]", setting->help, ours, published);
    else
        snprintf(text, size, "%s [%s]", setting->help, published);
}

static void fill_setting(struct option_table *table, int index, const cribo_setting *setting)
{
    char *name = settings_option(table->names[index], setting->name);
    name_values(table->values[index], sizeof table->values[0], setting);
    describe_setting(table->helps[index], sizeof table->helps[0], setting);
    table->options[OWN + 1 + RECIPE_SETTINGS + index] = (struct argp_option){.name = name,
        .key = KEY_SETTINGS + index,
        .arg = table->values[index],
        .doc = table->helps[index],
        .group = GROUP_SETTINGS};
}

static bool fill_table(struct option_table *table)
{
    cribo_setting setting;
    memcpy(table->options, own, sizeof own);
    fill_views(table);
    for (int i = 0; i < MAX_SETTINGS && cribo_trainer_config_setting((size_t)i, &setting) == CRIBO_OK; i++)
        fill_setting(table, i, &setting);
    const char *after = strchr(description, '\v') + 1;
    size_t before = (size_t)(after - description);
    char small[1024];
    settings_small_help(small, sizeof small);
    return asprintf(&table->doc, "%.*s%s\n\n%s", (int)before, description, small, after) >= 0;
}

static void give(struct argp_state *state, const char *name, const char *value)
{
    struct parsing *parsing = state->input;
    if (!settings_give(&parsing->options.settings, name, value, &parsing->problem))
        argp_error(state, "%s", parsing->problem.text);
}

static void give_by_key(struct argp_state *state, int key, const char *value)
{
    if (key >= KEY_VIEWS) {
        give(state, recipe_settings[key - KEY_VIEWS].name, value);
        return;
    }
    cribo_setting setting;
    if (cribo_trainer_config_setting((size_t)(key - KEY_SETTINGS), &setting) == CRIBO_OK)
        give(state, setting.name, value);
}

/* Everything that can be checked before a file is touched. */
static void check(struct argp_state *state, struct parsing *parsing)
{
    cribo_trainer_config config;
    struct pretrain_options *options = &parsing->options;
    if (options->save_minutes < 0) options->save_minutes = options->save_every ? 0 : 10;
    if (options->look.data.test && !options->look.data.train)
        argp_error(state, "--evaluate-test needs --evaluate, the pictures that are remembered");
    if (options->look.patience && !options->look.data.train)
        argp_error(state, "--patience needs --evaluate, the pictures that are scored");
    if (options->look.steps && options->look.epochs)
        argp_error(state, "--evaluate-epochs and --evaluate-steps both give the interval; give one of them");
    if (options->look.data.train && !options->look.epochs && !options->look.steps) options->look.epochs = 10;
    if (!options->source_count) argp_error(state, "no folder of pictures; name one");
    if (!parsing->options.out) argp_error(state, "no output folder; name one with -o RUN");
    if (parsing->options.resume && parsing->options.overwrite)
        argp_error(state, "--resume goes on with a run, --overwrite replaces it; give one of them");
    if (options->weights_heads && !options->weights)
        argp_error(state, "--weights-heads applies only to --weights; give --weights, too");
    struct recipe recipe;
    if (!settings_apply(&parsing->options.settings, 0, &config, &parsing->problem) ||
        !settings_recipe(&parsing->options.settings, &recipe, &parsing->problem))
        argp_error(state, "%s", parsing->problem.text);
}

static double parse_deviations(struct argp_state *state, const char *text)
{
    char *end;
    double value = text ? strtod(text, &end) : WATCH_SPIKE;
    if (text && (end == text || *end || !(value >= 0 && value < 1e6)))
        argp_error(state, "--skip-spikes=%s: expected a number of deviations, or 0 for none", text);
    return value;
}

static error_t parse(int key, char *value, struct argp_state *state)
{
    struct parsing *parsing = state->input;
    struct pretrain_options *options = &parsing->options;
    switch (key) {
    case 'o': options->out = value; return 0;
    case 'q': say_quiet(true); return 0;
    case KEY_PRESET:
        if (!settings_add_preset(&options->settings, value, &parsing->problem))
            argp_error(state, "%s", parsing->problem.text);
        return 0;
    case KEY_STEPS: give(state, "total_steps", value); return 0;
    case KEY_TIME:
        if (!time_parse(value, &options->settings.time))
            argp_error(state, "--time=%s: expected a time such as 20m, 1h, 1h30m or 8h", value);
        return 0;
    case KEY_STOP_AFTER:
        options->stop_after = command_integer(state, "stop-after", value, 1, INT64_MAX);
        return 0;
    case KEY_THREADS: options->threads = (int)command_integer(state, "threads", value, 1, 256); return 0;
    case KEY_WORKERS: options->workers = (int)command_integer(state, "workers", value, 1, 256); return 0;
    case KEY_LOG_EVERY:
        options->log_every = command_integer(state, "log-every", value, 0, INT64_MAX);
        return 0;
    case KEY_SAVE_EVERY:
        options->save_every = command_integer(state, "save-every", value, 0, INT64_MAX);
        return 0;
    case KEY_EVALUATE: options->look.data.train = value; return 0;
    case KEY_EVALUATE_TEST: options->look.data.test = value; return 0;
    case KEY_EVALUATE_EPOCHS:
        options->look.epochs = command_integer(state, "evaluate-epochs", value, 1, 1000000);
        return 0;
    case KEY_COMMUNICATOR: options->ranks.communicator = value; return 0;
    case KEY_DEADLINE: options->ranks.deadline = command_positive(state, "deadline", value); return 0;
    case KEY_EVALUATE_STEPS:
        options->look.steps = command_integer(state, "evaluate-steps", value, 1, INT64_MAX);
        return 0;
    case KEY_PATIENCE:
        options->look.patience = command_integer(state, "patience", value, 1, INT64_MAX);
        return 0;
    case KEY_OVERWRITE: options->overwrite = true; return 0;
    case KEY_SAVE_MINUTES:
        options->save_minutes = command_integer(state, "save-minutes", value, 0, 1000000);
        return 0;
    case KEY_KEEP: options->keeping.keep = (int)command_integer(state, "keep", value, 1, 1000000); return 0;
    case KEY_LEVEL: options->keeping.level = command_integer(state, "level", value, 0, 9); return 0;
    case KEY_BACKGROUND: options->save_in_background = true; return 0;
    case KEY_SKIP_SPIKES: options->skip_from = parse_deviations(state, value); return 0;
    case KEY_WEIGHTS: options->weights = value; return 0;
    case KEY_WEIGHTS_HEADS: options->weights_heads = true; return 0;
    case KEY_KEYS: options->keys = value; return 0;
    case KEY_RESUME: options->resume = true; return 0;
    case KEY_OVERRIDE:
        if (!settings_override(&options->settings, value, &parsing->problem))
            argp_error(state, "%s", parsing->problem.text);
        return 0;
    case ARGP_KEY_ARG: parsing->sources[options->source_count++] = value; return 0;
    case ARGP_KEY_END: check(state, parsing); return 0;
    default:
        if (key < KEY_SETTINGS || key >= KEY_VIEWS + RECIPE_SETTINGS ||
            (key >= KEY_SETTINGS + MAX_SETTINGS && key < KEY_VIEWS))
            return ARGP_ERR_UNKNOWN;
        give_by_key(state, key, value);
        return 0;
    }
}

/* --learning_rate is --learning-rate. */
static void hyphenate(int count, char **arguments)
{
    for (int i = 1; i < count && strcmp(arguments[i], "--"); i++) {
        if (strncmp(arguments[i], "--", 2)) continue;
        for (char *c = arguments[i]; *c && *c != '='; c++)
            if (*c == '_') *c = '-';
    }
}

/* argp writes its messages itself: of the processes of a launcher only the first writes them. */
static error_t parse_line(const struct argp *argp, int count, char **arguments, struct parsing *parsing)
{
    const bool silent = launcher_find().rank > 0;
    int null = silent ? open("/dev/null", O_WRONLY | O_CLOEXEC) : -1, saved[3];
    for (int stream = STDOUT_FILENO; null >= 0 && stream <= STDERR_FILENO; stream++) {
        saved[stream] = dup(stream);
        dup2(null, stream);
    }
    error_t parsed = argp_parse(argp, count, arguments, 0, NULL, parsing);
    for (int stream = STDOUT_FILENO; null >= 0 && stream <= STDERR_FILENO; stream++) {
        dup2(saved[stream], stream);
        close(saved[stream]);
    }
    if (null >= 0) close(null);
    return parsed;
}

int command_pretrain(int count, char **arguments)
{
    struct parsing parsing = {.options = {.save_minutes = -1, .skip_from = -1, .keeping = {2, 1}}};
    struct option_table *table = calloc(1, sizeof *table);
    say_name("cribo pretrain");
    parsing.options.sources = parsing.sources = calloc((size_t)count, sizeof *parsing.sources);
    if (!table || !parsing.sources || !fill_table(table)) {
        free(parsing.sources);
        free(table);
        say_error("not enough memory");
        return 1;
    }
    struct argp argp = {
        .options = table->options, .parser = parse, .args_doc = "SOURCE... -o RUN", .doc = table->doc};
    hyphenate(count, arguments);
    int status = parse_line(&argp, count, arguments, &parsing) ? 1 : pretrain(&parsing.options);
    free(table->doc);
    free(table);
    free(parsing.sources);
    return status;
}
