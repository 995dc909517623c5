/* What transformer and heads are made of: a weight with its bias, as a linear map or as a layer norm. */
#ifndef CB_MODEL_LAYERS_H
#define CB_MODEL_LAYERS_H

#include "autograd/operations.h"
#include "model/parameters.h"

typedef struct cb_affine {
    cb_tensor weight, bias;
} cb_affine;

/* Adds name + ".weight" and ".bias". */
cb_affine cb_describe_linear(cb_parameters *parameters, const char *name, size_t out, size_t in);
cb_affine cb_describe_norm(cb_parameters *parameters, const char *name, size_t width);

/* Inside a block: the result is stored in the tape's precision. */
cb_tensor cb_linear(cb_tape *tape, cb_tensor x, const cb_affine *f);
cb_tensor cb_norm(cb_tape *tape, cb_tensor x, const cb_affine *f);

/* At its edge: the result is real. */
cb_tensor cb_linear_real(cb_tape *tape, cb_tensor x, const cb_affine *f);
cb_tensor cb_norm_real(cb_tape *tape, cb_tensor x, const cb_affine *f);

#endif
