/* See size.h. */
#include "models/size.h"

#include <math.h>
#include <stdlib.h>

/* The largest magnitude in one parameter. */
static bool largest_of(
    const cribo_model *model, const cribo_parameter *parameter, double *largest, struct problem *problem)
{
    float *values = malloc((size_t)parameter->count * sizeof *values);
    if (!values) return problem_no_memory(problem);
    bool read = cribo_model_read_parameter(model, parameter->name, values, parameter->count) == CRIBO_OK ||
                problem_library(problem);
    *largest = 0;
    for (int64_t i = 0; read && i < parameter->count; i++) *largest = fmax(*largest, fabs((double)values[i]));
    free(values);
    return read;
}

bool model_largest(const cribo_model *model, double *largest, const char **name, struct problem *problem)
{
    int64_t count;
    *largest = 0;
    *name = "";
    if (cribo_model_parameter_count(model, &count) != CRIBO_OK) return problem_library(problem);
    for (int64_t i = 0; i < count; i++) {
        cribo_parameter parameter = {.struct_size = sizeof parameter};
        double here = 0;
        if (cribo_model_parameter(model, i, &parameter) != CRIBO_OK) return problem_library(problem);
        if (!largest_of(model, &parameter, &here, problem)) return false;
        if (here <= *largest) continue;
        *largest = here;
        *name = parameter.name;
    }
    return true;
}
