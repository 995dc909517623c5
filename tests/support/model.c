/* Models for the tests. See model.h. */
#include "support/model.h"

#include <check.h>
#include <string.h>

cb_runtime runtime_of(int64_t threads)
{
    cribo_runtime hooks;
    cb_runtime runtime;
    ck_assert_int_eq(cribo_runtime_init(&hooks, sizeof hooks), CRIBO_OK);
    hooks.threads = threads;
    ck_assert_int_eq(cb_runtime_begin(&runtime, &hooks), CRIBO_OK);
    return runtime;
}

cb_model *model_of(const cb_runtime *runtime, const cribo_model_config *config)
{
    cb_model *model;
    ck_assert_msg(
        cb_model_create(runtime, &model, config, &cb_train_all) == CRIBO_OK, "%s", cribo_last_error());
    return model;
}

/*
 * The golden tensor file_prefix + NAME for a parameter called name_prefix + NAME; NULL: it has another
 * prefix.
 */
static const float *counterpart(
    const cb_parameter *parameter, const char *name_prefix, const golden *file, const char *file_prefix)
{
    size_t count, n = strlen(name_prefix);
    if (strncmp(parameter->name, name_prefix, n) != 0) return NULL;
    const float *values = golden_floats(file, &count, "%s%s", file_prefix, parameter->name + n);
    ck_assert_uint_eq(count, parameter->count);
    return values;
}

void golden_parameters(
    const cb_model *model, const char *name_prefix, const golden *file, const char *file_prefix)
{
    const cb_parameters *parameters = &model->parameters;
    for (size_t i = 0; i < parameters->count; i++) {
        const cb_parameter *p = &parameters->list[i];
        const float *values = counterpart(p, name_prefix, file, file_prefix);
        if (values) memcpy(parameters->values + p->offset, values, p->count * sizeof *values);
    }
}

void assert_gradients(const cb_model *model, const char *name_prefix, const golden *file,
    const char *file_prefix, double tolerance)
{
    const cb_parameters *parameters = &model->parameters;
    for (size_t i = 0; i < parameters->count; i++) {
        const cb_parameter *p = &parameters->list[i];
        const float *expected = counterpart(p, name_prefix, file, file_prefix);
        if (expected)
            assert_close(p->name, parameters->gradients + p->offset, expected, p->count,
                tolerance * max_magnitude(expected, p->count));
    }
}

pass pass_begin(const cb_runtime *runtime, pass_function *forward, void *context)
{
    pass p;
    cb_arena measured = cb_arena_measure();
    p.tape = cb_tape_begin(&measured, runtime->pool, true, 0);
    forward(&p.tape, context);
    p.scratch_bytes = p.tape.scratch_bytes;
    ck_assert_int_eq(
        cb_arena_create(&runtime->allocator, &p.arena, cb_tape_planned_bytes(&p.tape), "pass"), CRIBO_OK);
    return p;
}

cb_tensor pass_run(const cb_runtime *runtime, pass *p, pass_function *forward, void *context)
{
    cb_arena_return(&p->arena, 0);
    p->tape = cb_tape_begin(&p->arena, runtime->pool, true, p->scratch_bytes);
    return forward(&p->tape, context);
}

void pass_end(const cb_runtime *runtime, pass *p)
{
    cb_arena_destroy(&runtime->allocator, &p->arena);
}
