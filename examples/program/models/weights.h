/* Beginning a run from weights that are there: of another run, of the authors' code, of timm. */
#ifndef WEIGHTS_H
#define WEIGHTS_H

#include "base/problem.h"

#include <cribo/trainer.h>

/*
 * Loads the backbone, and the heads too where `heads`, from a safetensors file (checkpoints included) into
 * student and teacher alike: the file's teacher where it has one, its student, or names without either, or,
 * for the backbone alone, timm's names. Positions of another image size are resampled. On failure the trainer
 * is not to be used.
 */
bool weights_load(cribo_trainer *trainer, const char *path, bool heads, struct problem *problem);

#endif
