/*
 * Parameters: names for slices of one flat buffer. Values, gradients, moments and the teacher's values are
 * buffers of the same layout, so that clipping, AdamW and EMA are sweeps.
 *
 * A model adds each of its parameters twice, in order: first without memory, to count them; then with memory,
 * to fill the list and get views.
 */
#ifndef CB_MODEL_PARAMETERS_H
#define CB_MODEL_PARAMETERS_H

#include "autograd/tape.h"
#include "base/runtime.h"

#define CB_NAME_BYTES 64

/* The random distribution of a new parameter. */
typedef enum cb_initial {
    CB_INITIAL_ZERO,
    CB_INITIAL_ONE,
    CB_INITIAL_CONSTANT, /* the traits' value */
    CB_INITIAL_NORMAL,   /* deviation 0.02, cut at ±2 as timm does */
    CB_INITIAL_UNIFORM   /* ±1/√(columns), a linear layer's default */
} cb_initial;

/* How the parameters of one part of a model are trained. Default: zero, except rate = 1. */
typedef struct cb_parameter_group {
    double rate;   /* factor of the learning rate */
    bool frozen;   /* never trained, and the same in student and teacher */
    bool backbone; /* not trained while only the heads are trained */
} cb_parameter_group;

typedef struct cb_parameter {
    char name[CB_NAME_BYTES];
    size_t axes, shape[4];
    size_t offset, count; /* in the flat buffers */
    cb_initial initial;
    double value; /* of CB_INITIAL_CONSTANT */
    bool fixed;   /* never trained: a gain that stays 1, or frozen */
    cb_parameter_group group;
    bool decays;     /* weight decay applies: two or more axes and no bias */
    bool last_layer; /* not updated while the last layers are frozen */
} cb_parameter;

typedef struct cb_parameters {
    cb_parameter *list; /* NULL while counting */
    size_t count;
    size_t total;                /* numbers in a flat buffer */
    size_t frozen;               /* of them the first that belong to frozen parameters */
    cb_parameter_group group;    /* of the parameters added next */
    cb_real *values, *gradients; /* flat buffers that views point into; gradients may be NULL */
} cb_parameters;

/* The parameter's traits; the shape ends at the first 0. */
typedef struct cb_parameter_traits {
    cb_initial initial;
    bool fixed, last_layer;
    size_t shape[4];
    double value; /* of CB_INITIAL_CONSTANT */
} cb_parameter_traits;

/*
 * Adds a parameter. The rows of its view are its first axis; those of tokens, which have three axes, are the
 * first two; a vector is one row.
 */
cb_tensor cb_parameters_add(cb_parameters *parameters, const char *name, cb_parameter_traits traits);

/*
 * Memory for the counted parameters: values, gradients when `trained`, the list; then counts from 0 again. On
 * failure, allocated memory stays for cb_parameters_release.
 */
cribo_status cb_parameters_allocate(const cb_allocator *allocator, cb_parameters *parameters, bool trained);
void cb_parameters_release(const cb_allocator *allocator, cb_parameters *parameters);

/* The parameter of that name, or NULL. */
const cb_parameter *cb_parameters_find(const cb_parameters *parameters, const char *name);

/* Draws all values again: a function of the seed alone. Nothing happens where the memory is a plan. */
void cb_parameters_draw(const cb_runtime *runtime, const cb_parameters *parameters, uint64_t seed);

/* Copies all values between parameters of one layout. Nothing happens where the memory is a plan. */
void cb_parameters_copy(const cb_runtime *runtime, const cb_parameters *to, const cb_parameters *from);

#endif
