/* cribo scenes: see scenes.h. */
#include "commands/command.h"
#include "base/say.h"
#include "scenes/scenes.h"

#include <string.h>

enum { KEY_SIZE = 256, KEY_SEED, KEY_SPLIT, KEY_STAMPS, KEY_BACKGROUNDS, KEY_WORKERS }; /* long names only */

static const struct argp_option table[] = {
    {"output", 'o', "OUT", 0, "Folder for the scenes (required): OUT/images, OUT/labels, OUT/classes.txt", 0},
    {"count", 'n', "N", 0, "Number of scenes; default 300", 0},
    {"size", KEY_SIZE, "PIXELS", 0, "Side of a scene in pixels; default 256", 0},
    {"seed", KEY_SEED, "NUMBER", 0, "Seed of the random composition; default 0", 0},
    {"split", KEY_SPLIT, "HALF", 0,
        "Half of the objects and backgrounds to use: train, val or all; default train. They share no file",
        0},
    {"stamps", KEY_STAMPS, "DIR", 0,
        "Folder of cut-out objects (PNG with alpha); default " POOLS_STAMPS
        " (package tuxpaint-stamps-default), or " POOLS_FASHION
        " (package dataset-fashion-mnist). In any other folder, each subfolder is a class",
        0},
    {"backgrounds", KEY_BACKGROUNDS, "DIR", 0,
        "Folder of photographs to put objects on; default: the photographs of the packages mate-backgrounds, "
        "lomiri-wallpapers-16.04, lxqt-themes and plasma-workspace-wallpapers",
        0},
    {"workers", KEY_WORKERS, "N", 0, "Number of threads; default: the CPUs", 0},
    {"quiet", 'q', NULL, 0, "Print warnings and errors only", 0},
    {0},
};

static enum split parse_split(struct argp_state *state, const char *text)
{
    if (!strcmp(text, "train")) return SPLIT_TRAIN;
    if (!strcmp(text, "all")) return SPLIT_ALL;
    if (strcmp(text, "val")) argp_error(state, "--split=%s: expected train, val or all", text);
    return SPLIT_VALIDATION;
}

static error_t parse(int key, char *value, struct argp_state *state)
{
    struct scenes_options *options = state->input;
    switch (key) {
    case 'o': options->out = value; return 0;
    case 'n': options->count = (int)command_integer(state, "count", value, 1, 1000000); return 0;
    case KEY_SIZE: options->size = (int)command_integer(state, "size", value, 16, 4096); return 0;
    case KEY_SEED:
        options->seed = (uint64_t)command_integer(state, "seed", value, 0, INT64_C(1) << 53);
        return 0;
    case KEY_SPLIT: options->split = parse_split(state, value); return 0;
    case KEY_STAMPS: options->stamps = value; return 0;
    case KEY_BACKGROUNDS: options->backgrounds = value; return 0;
    case KEY_WORKERS: options->workers = (int)command_integer(state, "workers", value, 1, 64); return 0;
    case 'q': say_quiet(true); return 0;
    case ARGP_KEY_ARG: argp_error(state, "unexpected argument '%s'", value); return 0;
    case ARGP_KEY_END:
        if (!options->out) argp_error(state, "no output folder; name one with -o OUT");
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

int command_scenes(int count, char **arguments)
{
    static const struct argp argp = {.options = table,
        .parser = parse,
        .args_doc = "-o OUT",
        .doc = "Composes scenes: two to five cut-out objects on a photograph, each scene with a label map (0 "
               "background, 255 ignored). The same options and files give the same scenes."};
    struct scenes_options options = {
        .stamps = POOLS_STAMPS, .count = 300, .size = 256, .workers = command_cpus()};
    struct problem problem;
    say_name("cribo scenes");
    if (argp_parse(&argp, count, arguments, 0, NULL, &options)) return 1;
    if (options.workers > 64) options.workers = 64;
    if (!scenes_write(&options, &problem)) {
        say_error("%s", problem.text);
        return 1;
    }
    say_note("%d scenes of %d x %d pixels in %s", options.count, options.size, options.size, options.out);
    return 0;
}
