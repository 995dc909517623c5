/* The parts of transformer and heads: linear maps and layer norms, each a weight with its bias. */
#ifndef CB_MODEL_LAYERS_H
#define CB_MODEL_LAYERS_H

#include "autograd/operations.h"
#include "model/parameters.h"

typedef struct cb_layer_norm {
    cb_tensor weight, bias;
    double epsilon;
} cb_layer_norm;

/* Adds name + ".weight" and ".bias". */
cb_affine cb_describe_linear(cb_parameters *parameters, const char *name, size_t out, size_t in);
cb_layer_norm cb_describe_norm(cb_parameters *parameters, const char *name, size_t width, double epsilon);

/* Adds name + ".weight" alone. */
cb_affine cb_describe_product(cb_parameters *parameters, const char *name, size_t out, size_t in);

/* Inside a block: the result is stored in the tape's precision. */
cb_tensor cb_linear(cb_tape *tape, cb_tensor x, const cb_affine *f);
cb_tensor cb_norm(cb_tape *tape, cb_tensor x, const cb_layer_norm *f);

/* At the end of a block: the result is stored as cb_real. */
cb_tensor cb_linear_real(cb_tape *tape, cb_tensor x, const cb_affine *f);
cb_tensor cb_norm_real(cb_tape *tape, cb_tensor x, const cb_layer_norm *f);

#endif
