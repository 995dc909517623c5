/*
 * The magnitude of a model's parameters: in a diverging model it grows before the losses become NaN.
 */
#ifndef MODEL_SIZE_H
#define MODEL_SIZE_H

#include "base/problem.h"

#include <cribo/model.h>

/* Far above the parameters of a normal model: weights are of the order of 0.1, gains of 1 to 100. */
#define MODEL_LARGEST 1e4

/* The largest magnitude among the parameters, and the name of the one that has it, which the model owns. */
bool model_largest(const cribo_model *model, double *largest, const char **name, struct problem *problem);

#endif
