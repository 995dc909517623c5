/* cribo clusters: the objects that a model finds in two views of each picture. */
#include "commands/model_command.h"
#include "base/say.h"
#include "drawing/showcase.h"

#include <string.h>

static error_t parse(int key, char *value, struct argp_state *state)
{
    (void)value;
    if (key != ARGP_KEY_INIT) return ARGP_ERR_UNKNOWN;
    state->child_inputs[0] = state->child_inputs[1] = state->input; /* all options are shared ones */
    return 0;
}

static bool run(struct model_command *command, const struct frozen *frozen, const struct pictures *pictures,
    struct problem *problem)
{
    struct showcase showcase = {0};
    struct sheet sheet = {0};
    struct object_finder finder = {0};
    cribo_trainer_config config = frozen->config;
    cribo_runtime runtime;
    config.image_size = frozen->size;
    config.batch_size = command->count; /* the most pictures of a showcase */
    bool drawn = frozen_runtime(&command->model, &runtime, problem) &&
                 object_finder_make(&finder, frozen, &runtime, problem) &&
                 showcase_make(&showcase, pictures, &frozen->recipe, &config, problem) &&
                 showcase_cluster(&showcase, &finder, problem) &&
                 showcase_draw(&showcase, "Objects that the model finds", command->format, &sheet, problem) &&
                 sheet_write(&sheet, command->out, problem);
    sheet_free(&sheet);
    showcase_free(&showcase);
    object_finder_free(&finder);
    if (drawn && strcmp(command->out, "-")) say_note("%s", command->out);
    return drawn;
}

int command_clusters(int count, char **arguments)
{
    static const struct argp_child children[] = {
        {&model_command_argp, 0, NULL, 0}, {&shown_argp, 0, NULL, 0}, {0}};
    static const struct argp argp = {.parser = parse,
        .children = children,
        .args_doc = "MODEL DIR -o FILE.png",
        .doc =
            "Draws two views of up to eight pictures, without and with the objects into which the model's "
            "tokens are clustered. An object has the same colour in both views; regions that were not found "
            "in both are grey."};
    struct model_command command = {.draws = true};
    return model_command_run("cribo clusters", &argp, count, arguments, &command, run);
}
