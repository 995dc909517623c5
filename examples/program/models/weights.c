/* See weights.h. */
#include "models/weights.h"

#include <cribo/model.h>

#include <string.h>

/* How a file may name the parameters, the likeliest first. */
static const struct naming {
    const char *prefix;
    int64_t plain;
} namings[] = {{"teacher.", 0}, {"student.", 0}, {"", 0}, {"", 1}};
enum { NAMINGS = sizeof namings / sizeof *namings };

static bool load(cribo_model *model, const char *path, struct naming naming, bool heads)
{
    cribo_load_parts parts = {.struct_size = sizeof parts,
        .backbone = 1,
        .heads = heads,
        .resample_positions = 1,
        .plain_names = naming.plain};
    return cribo_model_load_partial(model, path, naming.prefix, &parts) == CRIBO_OK;
}

/* Of all that did not work, the first that says more than that a name is missing is the reason. */
static void note_reason(struct problem *problem)
{
    static const char missing[] = "there is no tensor";
    bool nothing_yet = !problem->text[0], names_only = strstr(problem->text, missing);
    if (nothing_yet || (names_only && !strstr(cribo_last_error(), missing))) problem_library(problem);
}

bool weights_load(cribo_trainer *trainer, const char *path, bool heads, struct problem *problem)
{
    problem->text[0] = '\0';
    for (int i = 0; i < NAMINGS; i++) {
        if (heads && namings[i].plain) continue;
        if (load(cribo_trainer_teacher(trainer), path, namings[i], heads)) {
            return load(cribo_trainer_student(trainer), path, namings[i], heads) || problem_library(problem);
        }
        note_reason(problem);
    }
    return false;
}
