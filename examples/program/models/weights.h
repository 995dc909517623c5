/* Beginning a run from existing weights: of another run, of the authors, timm, Meta or Hugging Face. */
#ifndef WEIGHTS_H
#define WEIGHTS_H

#include "base/problem.h"
#include "pictures/recipe.h"

#include <cribo/trainer.h>

/* The file of weights in a run's folder; any other path is the file itself. To be freed; NULL: no memory. */
char *weights_file(const char *path);

/*
 * The settings of the views with which the weights were trained: from config.json of a run's folder, or the
 * metadata of a file of a run. Where there are none, *recipe is unchanged.
 */
bool weights_recipe(struct recipe *recipe, const char *path, struct problem *problem);

/*
 * Loads the backbone, and with `heads` the projection heads, from a file of weights in any layout that the
 * library supports (cribo_model_open) into both student and teacher: the file's teacher if it has one. A
 * run's folder means the weights in it. Positions of another image size are resampled. After a failure the
 * trainer must not be used.
 */
bool weights_load(cribo_trainer *trainer, const char *path, bool heads, struct problem *problem);

#endif
