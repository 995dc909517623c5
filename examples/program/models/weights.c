/* See weights.h. */
#include "models/weights.h"

#include "pictures/folder.h"

#include <cribo/model.h>

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <jansson.h>

static bool is_folder(const char *path)
{
    struct stat status;
    return stat(path, &status) == 0 && S_ISDIR(status.st_mode);
}

char *weights_file(const char *path)
{
    return is_folder(path) ? path_join(path, "weights.safetensors") : strdup(path);
}

/* Runs of earlier versions have no object "augmentation". */
static bool read_config(struct recipe *recipe, const char *folder, struct problem *problem)
{
    struct problem why;
    char *path = path_join(folder, "config.json");
    json_t *root = path ? json_load_file(path, 0, NULL) : NULL;
    bool read = path || problem_no_memory(problem);
    for (size_t i = 0; read && i < RECIPE_SETTINGS; i++) {
        const char *name = recipe_settings[i].name;
        const char *value = json_string_value(json_object_get(json_object_get(root, "augmentation"), name));
        if (value && !recipe_set(recipe, name, value, &why))
            read = problem_set(problem, "%s: %s", path, why.text);
    }
    json_decref(root);
    free(path);
    return read;
}

bool weights_recipe(struct recipe *recipe, const char *path, struct problem *problem)
{
    char text[RECIPE_WHOLE_TEXT];
    struct problem why;
    if (is_folder(path)) return read_config(recipe, path, problem);
    if (cribo_checkpoint_metadata(path, "augmentation", text, sizeof text) != CRIBO_OK) return true;
    return recipe_read(recipe, text, &why) || problem_set(problem, "%s: %s", path, why.text);
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
