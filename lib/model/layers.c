/* Linear maps and norms with their parameters. See layers.h. */
#include "model/layers.h"

#include <stdio.h>

/* Adds name + part, a weight or a bias. */
static cb_tensor add(
    cb_parameters *parameters, const char *name, const char *part, cb_initial initial, size_t out, size_t in)
{
    char full[CB_NAME_BYTES];
    snprintf(full, sizeof full, "%s.%s", name, part);
    return cb_parameters_add(parameters, full, (cb_parameter_traits){.initial = initial, .shape = {out, in}});
}

cb_affine cb_describe_product(cb_parameters *parameters, const char *name, size_t out, size_t in)
{
    return (cb_affine){.weight = add(parameters, name, "weight", CB_INITIAL_NORMAL, out, in)};
}

cb_affine cb_describe_linear(cb_parameters *parameters, const char *name, size_t out, size_t in)
{
    cb_affine f = cb_describe_product(parameters, name, out, in);
    f.bias = add(parameters, name, "bias", CB_INITIAL_ZERO, out, 0);
    return f;
}

cb_layer_norm cb_describe_norm(cb_parameters *parameters, const char *name, size_t width, double epsilon)
{
    cb_layer_norm f = {.epsilon = epsilon};
    f.weight = add(parameters, name, "weight", CB_INITIAL_ONE, width, 0);
    f.bias = add(parameters, name, "bias", CB_INITIAL_ZERO, width, 0);
    return f;
}

cb_tensor cb_linear(cb_tape *tape, cb_tensor x, const cb_affine *f)
{
    return cb_op_linear(tape, x, f, CB_STORE_IN_PRECISION);
}

cb_tensor cb_linear_real(cb_tape *tape, cb_tensor x, const cb_affine *f)
{
    return cb_op_linear(tape, x, f, CB_STORE_REAL);
}

cb_tensor cb_norm(cb_tape *tape, cb_tensor x, const cb_layer_norm *f)
{
    return cb_op_layer_norm(tape, x, f->weight, f->bias, f->epsilon, CB_STORE_IN_PRECISION);
}

cb_tensor cb_norm_real(cb_tape *tape, cb_tensor x, const cb_layer_norm *f)
{
    return cb_op_layer_norm(tape, x, f->weight, f->bias, f->epsilon, CB_STORE_REAL);
}
