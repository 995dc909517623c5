/* Beginning a run from existing weights: of another run, of the authors, timm, Meta or Hugging Face. */
#ifndef WEIGHTS_H
#define WEIGHTS_H

#include "base/problem.h"

#include <cribo/trainer.h>

/* The file of weights in a run's folder; any other path is the file itself. To be freed; NULL: no memory. */
char *weights_file(const char *path);

/*
 * Loads the backbone, and with `heads` the projection heads, from a file of weights in any layout that the
 * library knows (cribo_model_open) into student and teacher alike: the file's teacher where it has one. A
 * run's folder stands for the weights in it.
 * Positions of another image size are resampled. On failure the trainer is not to be used.
 */
bool weights_load(cribo_trainer *trainer, const char *path, bool heads, struct problem *problem);

#endif
