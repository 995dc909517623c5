/* cribo clusters: the objects that a model finds in two views of each picture. */
#include "commands/model_command.h"
#include "base/say.h"
#include "drawing/showcase.h"

#include <stdlib.h>
#include <string.h>

static error_t parse(int key, char *value, struct argp_state *state)
{
    (void)value;
    if (key != ARGP_KEY_INIT) return ARGP_ERR_UNKNOWN;
    state->child_inputs[0] = state->child_inputs[1] = state->input; /* all options are shared ones */
    return 0;
}

static bool find_objects(struct showcase *showcase, const struct frozen *frozen, const cribo_runtime *runtime,
    struct problem *problem)
{
    struct object_finder finder = {0};
    bool found =
        object_finder_make(&finder, frozen, runtime, problem) && showcase_cluster(showcase, &finder, problem);
    object_finder_free(&finder);
    return found;
}

static bool draw_both(const struct model_command *command, const struct showcase *showcase,
    struct sheet *sheet, struct problem *problem)
{
    char *before = model_command_name(command, true, problem),
         *after = before ? model_command_name(command, false, problem) : NULL;
    const char *const names[] = {before, after};
    bool drawn = after && showcase_draw_both(showcase, "Objects that the two models find", names,
                              command->format, sheet, problem);
    free(before);
    free(after);
    return drawn;
}

/* The objects of the second model, if there is one, give the colours. */
static bool draw(const struct model_command *command, const struct frozen *frozen, struct showcase *showcase,
    struct sheet *sheet, struct problem *problem)
{
    cribo_runtime runtime;
    if (!frozen_runtime(&command->model, &runtime, problem)) return false;
    if (!command->before)
        return find_objects(showcase, frozen, &runtime, problem) &&
               showcase_draw(showcase, "Objects that the model finds", command->format, sheet, problem);
    return find_objects(showcase, &command->other, &runtime, problem) && showcase_refer(showcase, problem) &&
           find_objects(showcase, frozen, &runtime, problem) && draw_both(command, showcase, sheet, problem);
}

static bool run(struct model_command *command, const struct frozen *frozen, const struct pictures *pictures,
    struct problem *problem)
{
    struct showcase showcase = {0};
    struct sheet sheet = {0};
    cribo_trainer_config config = frozen->config;
    config.image_size = frozen->size;
    config.batch_size = command->count; /* the most pictures of a showcase */
    bool drawn = showcase_make(&showcase, pictures, &frozen->recipe, &config, problem) &&
                 draw(command, frozen, &showcase, &sheet, problem) &&
                 sheet_write(&sheet, command->out, problem);
    sheet_free(&sheet);
    showcase_free(&showcase);
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
            "in both are grey. With --before, the objects of that model are drawn beside them, and an object "
            "has the colour of that model's object at its place."};
    struct model_command command = {.draws = true};
    return model_command_run("cribo clusters", &argp, count, arguments, &command, run);
}
