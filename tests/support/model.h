/* Models for the tests: parameters from golden data, and whole passes. Every failure here ends the test. */
#ifndef TESTS_MODEL_H
#define TESTS_MODEL_H

#include "model/model.h"
#include "support/golden.h"

/* A runtime with this number of threads; end it with cb_runtime_end. */
cb_runtime runtime_of(int64_t threads);

/* A model that is to be trained. */
cb_model *model_of(const cb_runtime *runtime, const cribo_model_config *config);

/* Copies into each parameter called name_prefix + NAME the golden tensor file_prefix + NAME. */
void golden_parameters(
    const cb_model *model, const char *name_prefix, const golden *file, const char *file_prefix);

/*
 * Asserts that each such parameter's gradient is the golden one, within `tolerance` of the tensor's largest
 * element.
 */
void assert_gradients(const cb_model *model, const char *name_prefix, const golden *file,
    const char *file_prefix, double tolerance);

/*
 * A training pass in a separate arena: planned once for `forward`, run as often as wanted; the tape is
 * left for cb_tape_backward.
 */
typedef cb_tensor pass_function(cb_tape *tape, void *context);
typedef struct pass {
    cb_arena arena;
    cb_tape tape;
    size_t scratch_bytes;
} pass;
pass pass_begin(const cb_runtime *runtime, pass_function *forward, void *context);
cb_tensor pass_run(const cb_runtime *runtime, pass *p, pass_function *forward, void *context);
void pass_end(const cb_runtime *runtime, pass *p);

#endif
