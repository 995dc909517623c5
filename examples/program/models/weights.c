/* See weights.h. */
#include "models/weights.h"

#include "pictures/folder.h"

#include <cribo/model.h>

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

char *weights_file(const char *path)
{
    struct stat status;
    bool folder = stat(path, &status) == 0 && S_ISDIR(status.st_mode);
    return folder ? path_join(path, "weights.safetensors") : strdup(path);
}

static bool load(cribo_trainer *trainer, const char *path, bool heads, struct problem *problem)
{
    const cribo_open_options options = {.struct_size = sizeof options, .heads = heads};
    return (cribo_model_adopt(cribo_trainer_teacher(trainer), path, &options) == CRIBO_OK &&
               cribo_model_adopt(cribo_trainer_student(trainer), path, &options) == CRIBO_OK) ||
           problem_library(problem);
}

bool weights_load(cribo_trainer *trainer, const char *path, bool heads, struct problem *problem)
{
    char *file = weights_file(path);
    bool loaded = file ? load(trainer, file, heads, problem) : problem_no_memory(problem);
    free(file);
    return loaded;
}
