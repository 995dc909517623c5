/* See weights.h. */
#include "models/weights.h"

#include <cribo/model.h>

bool weights_load(cribo_trainer *trainer, const char *path, bool heads, struct problem *problem)
{
    const cribo_open_options options = {.struct_size = sizeof options, .heads = heads};
    return (cribo_model_adopt(cribo_trainer_teacher(trainer), path, &options) == CRIBO_OK &&
               cribo_model_adopt(cribo_trainer_student(trainer), path, &options) == CRIBO_OK) ||
           problem_library(problem);
}
