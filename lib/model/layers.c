/* Linear maps and norms with their parameters. See layers.h. */
#include "model/layers.h"

#include <stdio.h>

static cb_affine describe(
    cb_parameters *parameters, const char *name, cb_parameter_traits weight, cb_parameter_traits bias)
{
    char full[CB_NAME_BYTES];
    cb_affine f;
    snprintf(full, sizeof full, "%s.weight", name);
    f.weight = cb_parameters_add(parameters, full, weight);
    snprintf(full, sizeof full, "%s.bias", name);
    f.bias = cb_parameters_add(parameters, full, bias);
    return f;
}

cb_affine cb_describe_linear(cb_parameters *parameters, const char *name, size_t out, size_t in)
{
    return describe(parameters, name, (cb_parameter_traits){CB_INITIAL_NORMAL, .shape = {out, in}},
        (cb_parameter_traits){CB_INITIAL_ZERO, .shape = {out}});
}

cb_affine cb_describe_norm(cb_parameters *parameters, const char *name, size_t width)
{
    return describe(parameters, name, (cb_parameter_traits){CB_INITIAL_ONE, .shape = {width}},
        (cb_parameter_traits){CB_INITIAL_ZERO, .shape = {width}});
}

cb_tensor cb_linear(cb_tape *tape, cb_tensor x, const cb_affine *f)
{
    return cb_op_linear(tape, x, f->weight, f->bias, CB_STORE_IN_PRECISION);
}

cb_tensor cb_linear_real(cb_tape *tape, cb_tensor x, const cb_affine *f)
{
    return cb_op_linear(tape, x, f->weight, f->bias, CB_STORE_REAL);
}

cb_tensor cb_norm(cb_tape *tape, cb_tensor x, const cb_affine *f)
{
    return cb_op_layer_norm(tape, x, f->weight, f->bias, CB_STORE_IN_PRECISION);
}

cb_tensor cb_norm_real(cb_tape *tape, cb_tensor x, const cb_affine *f)
{
    return cb_op_layer_norm(tape, x, f->weight, f->bias, CB_STORE_REAL);
}
