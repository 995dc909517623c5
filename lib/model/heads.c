/* The projection heads. See heads.h. */
#include "model/heads.h"

#include <stdio.h>

static cb_last_layer describe_last_layer(
    cb_parameters *parameters, const cb_heads *heads, const char *name, size_t prototypes)
{
    char full[CB_NAME_BYTES];
    cb_last_layer layer;
    snprintf(full, sizeof full, "%s.weight_g", name);
    layer.gain = cb_parameters_add(parameters, full,
        (cb_parameter_traits){.initial = CB_INITIAL_ONE,
            .fixed = heads->fixed_gain,
            .last_layer = true,
            .shape = {prototypes, 1}});
    snprintf(full, sizeof full, "%s.weight_v", name);
    layer.direction = cb_parameters_add(parameters, full,
        (cb_parameter_traits){
            .initial = CB_INITIAL_UNIFORM, .last_layer = true, .shape = {prototypes, heads->bottleneck}});
    return layer;
}

void cb_heads_describe(cb_heads *heads, cb_parameters *parameters)
{
    parameters->group = (cb_parameter_group){.rate = 1};
    heads->mlp0 = cb_describe_linear(parameters, "head.mlp.0", heads->hidden, heads->input);
    heads->mlp2 = cb_describe_linear(parameters, "head.mlp.2", heads->hidden, heads->hidden);
    heads->mlp4 = cb_describe_linear(parameters, "head.mlp.4", heads->bottleneck, heads->hidden);
    heads->cls = describe_last_layer(parameters, heads, "head.last_layer", heads->prototypes);
    heads->objects = describe_last_layer(parameters, heads, "head.last_layer_c", heads->object_prototypes);
}

cb_tensor cb_heads_forward(const cb_heads *heads, cb_tape *tape, cb_tensor x)
{
    cb_op_complete(tape, heads->mlp0.weight);
    x = cb_op_gelu(tape, cb_linear(tape, x, &heads->mlp0));
    x = cb_op_gelu(tape, cb_linear(tape, x, &heads->mlp2));
    return cb_op_normalise(tape, cb_linear_real(tape, x, &heads->mlp4));
}
