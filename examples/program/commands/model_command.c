/* See model_command.h. */
#include "commands/model_command.h"

#include "pictures/kind.h"
#include "base/say.h"
#include "drawing/sheet.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { KEY_KEYS = 768, KEY_BEFORE };

static const struct argp_option options[] = {
    {"output", 'o', "FILE", 0, "File to write the result to (required)", 5},
    {"keys", KEY_KEYS, "ENDING[,...]", 0,
        "Members of tar archives to take, by all that follows the first dot of their names, such as "
        "jpg,rgb.png; default: all pictures, but x.seg.png where the archive has x.jpg",
        5},
    {0},
};
static const struct argp_option shown[] = {
    {"count", 'n', "N", 0, "Number of pictures to show, spread over the folder; default 8, neighbours: 4", 5},
    {"before", KEY_BEFORE, "MODEL", 0,
        "Draw the same pictures also by this model, a run or a file of weights, beside those of MODEL: "
        "before and after. Its patches must have the same size; options that choose weights or settings of "
        "the model apply to MODEL only",
        5},
    {0},
};

/* Pictures are PNG or SVG; on standard output, which is not a terminal, PNG. */
static void check_out(struct argp_state *state, struct model_command *command)
{
    bool standard = !strcmp(command->out, "-");
    if (command->draws && !sheet_format_of(command->out, &command->format))
        argp_error(state, "--output=%s: the name of a picture must end in .png or .svg", command->out);
    if (!command->draws && standard)
        argp_error(state, "--output=-: name a file, whose ending tells the format");
    if (standard && isatty(STDOUT_FILENO))
        argp_error(state, "--output=-: standard output is a terminal; send it to a file or a program");
}

static error_t parse(int key, char *value, struct argp_state *state)
{
    struct model_command *command = state->input;
    switch (key) {
    case 'o': command->out = value; return 0;
    case KEY_KEYS: command->keys = value; return 0;
    case ARGP_KEY_INIT: state->child_inputs[0] = &command->model; return 0;
    case ARGP_KEY_ARG:
        if (command->pictures) argp_error(state, "unexpected argument '%s'", value);
        if (command->model.path)
            command->pictures = value;
        else
            command->model.path = value;
        return 0;
    case ARGP_KEY_END:
        if (!command->pictures) argp_error(state, "name a model and a folder of pictures");
        if (!command->out) argp_error(state, "no file for the result; name one with -o FILE");
        check_out(state, command);
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static error_t parse_shown(int key, char *value, struct argp_state *state)
{
    struct model_command *command = state->input;
    switch (key) {
    case 'n': command->count = (int)command_integer(state, "count", value, 1, 64); return 0;
    case KEY_BEFORE: command->before = value; return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

const struct argp shown_argp = {.options = shown, .parser = parse_shown};

static const struct argp_child children[] = {{&frozen_argp, 0, "The model:", 9}, {0}};
const struct argp model_command_argp = {.options = options, .parser = parse, .children = children};

/* The index of the list is a temporary file, which is removed after reading. */
static bool list_pictures(struct pictures *pictures, char *source, const char *keys, struct problem *problem)
{
    const struct pictures_options how = {.keys = keys};
    const char *folder = getenv("TMPDIR");
    char *index;
    *pictures = (struct pictures){0};
    if (asprintf(&index, "%s/cribo-XXXXXX", folder ? folder : "/tmp") < 0) return problem_no_memory(problem);
    int file = mkstemp(index);
    bool listed = file >= 0 || problem_set(problem, "cannot write %s: %s", index, strerror(errno));
    listed = listed && pictures_open(pictures, index, &source, 1, &how, problem);
    if (file >= 0) close(file);
    if (file >= 0) unlink(index);
    free(index);
    return listed && (pictures->count || problem_set(problem, "%s: no %s files in it", source, kind_formats));
}

/*
 * Opens the second model for the same pictures. Its clusters are made with the settings of the first, so that
 * drawings differ by the networks only.
 */
static bool open_other(struct model_command *command, const struct frozen *first, struct problem *problem)
{
    const struct frozen_options *given = &command->model;
    struct frozen_options chosen = {.path = command->before,
        .mean = given->mean,
        .deviation = given->deviation,
        .size = first->size,
        .threads = given->threads};
    struct frozen *other = &command->other;
    if (!command->before) return true;
    if (!frozen_open(other, &chosen, problem)) return false;
    if (other->patch != first->patch)
        return problem_set(problem,
            "%s: its patches have %d pixels, those of %s have %d; choose two models "
            "with patches of the same size",
            command->before, other->patch, given->path, first->patch);
    other->config = first->config; /* the sizes of the network are in `other` itself */
    return true;
}

char *model_command_name(const struct model_command *command, bool before, struct problem *problem)
{
    const struct frozen_options *model = &command->model;
    bool student = !before && model->prefix && !strcmp(model->prefix, "student.");
    char *name;
    if (asprintf(&name, "%s: %s%s%s", before ? "before" : "after", before ? command->before : model->path,
            student ? ", student" : "", !before && model->best ? ", best weights" : "") >= 0)
        return name;
    problem_no_memory(problem);
    return NULL;
}

int model_command_run(const char *name, const struct argp *own, int count, char **arguments,
    struct model_command *base,
    bool (*run)(struct model_command *base, const struct frozen *frozen, const struct pictures *pictures,
        struct problem *problem))
{
    struct problem problem;
    struct frozen frozen = {0};
    struct pictures pictures = {0};
    say_name(name);
    if (!base->count) base->count = 8;
    if (argp_parse(own, count, arguments, 0, NULL, base)) return 1;
    bool done = list_pictures(&pictures, base->pictures, base->keys, &problem) &&
                frozen_open(&frozen, &base->model, &problem) && open_other(base, &frozen, &problem) &&
                run(base, &frozen, &pictures, &problem);
    if (!done) say_error("%s", problem.text);
    frozen_free(&frozen);
    frozen_free(&base->other);
    pictures_close(&pictures);
    return done ? 0 : 1;
}

size_t model_command_spread(const struct pictures *pictures, int count, int index)
{
    return (size_t)index * pictures->count / (size_t)count;
}
