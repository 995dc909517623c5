/* Parameters: names for slices of flat buffers. See parameters.h. */
#include "model/parameters.h"

#include "base/random.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static bool ends_with(const char *name, const char *end)
{
    size_t n = strlen(name), m = strlen(end);
    return n >= m && strcmp(name + n - m, end) == 0;
}

/* Slices begin on a cache line; sizes beyond the address space saturate, and the allocation fails. */
static size_t place(size_t total, size_t count)
{
    size_t line = CB_ALIGNMENT / sizeof(cb_real);
    if (count > SIZE_MAX / 4 || total > SIZE_MAX / 4) return SIZE_MAX / 2;
    return total + (count + line - 1) / line * line;
}

static cb_parameter describe(
    const char *name, const cb_parameter_traits *traits, const cb_parameter_group *group)
{
    cb_parameter parameter = {.count = 1,
        .group = *group,
        .initial = traits->initial,
        .value = traits->value,
        .fixed = traits->fixed || group->frozen,
        .last_layer = traits->last_layer};
    snprintf(parameter.name, sizeof parameter.name, "%s", name);
    for (size_t i = 0; i < 4; i++) parameter.shape[i] = 1;
    for (; parameter.axes < 4 && traits->shape[parameter.axes]; parameter.axes++) {
        parameter.shape[parameter.axes] = traits->shape[parameter.axes];
        if (!cb_multiply(parameter.count, traits->shape[parameter.axes], &parameter.count))
            parameter.count = SIZE_MAX;
    }
    parameter.decays = parameter.axes >= 2 && !ends_with(parameter.name, ".bias");
    return parameter;
}

cb_tensor cb_parameters_add(cb_parameters *parameters, const char *name, cb_parameter_traits traits)
{
    cb_parameter parameter = describe(name, &traits, &parameters->group);
    const size_t *shape = parameter.shape;
    cb_tensor view = {.rows = parameter.axes == 1 ? 1 : parameter.axes == 3 ? shape[0] * shape[1] : shape[0]};
    view.columns = parameter.count / view.rows;
    parameter.offset = parameters->total;
    if (parameters->list) {
        parameters->list[parameters->count] = parameter;
        view.value = parameters->values + parameter.offset;
        if (parameters->gradients && !parameter.fixed)
            view.gradient = parameters->gradients + parameter.offset;
    }
    parameters->count++;
    parameters->total = place(parameters->total, parameter.count);
    if (parameter.group.frozen) parameters->frozen = parameters->total;
    return view;
}

cribo_status cb_parameters_allocate(const cb_allocator *allocator, cb_parameters *p, bool trained)
{
    size_t total = p->total, count = p->count;
    CB_TRY(CB_ALLOCATE(allocator, &p->values, total, "parameters"));
    if (trained) CB_TRY(CB_ALLOCATE(allocator, &p->gradients, total, "gradients"));
    CB_TRY(CB_ALLOCATE(allocator, &p->list, count, "list of parameters"));
    p->total = p->count = p->frozen = 0;
    return CRIBO_OK;
}

void cb_parameters_release(const cb_allocator *allocator, cb_parameters *p)
{
    cb_release(allocator, p->list);
    cb_release(allocator, p->gradients);
    cb_release(allocator, p->values);
}

const cb_parameter *cb_parameters_find(const cb_parameters *parameters, const char *name)
{
    for (size_t i = 0; i < parameters->count; i++)
        if (strcmp(parameters->list[i].name, name) == 0) return &parameters->list[i];
    return NULL;
}

typedef struct draw_job {
    const cb_parameters *parameters;
    uint64_t seed;
} draw_job;

static cb_real draw_one(cb_random *random, const cb_parameter *parameter)
{
    double value = 0;
    switch (parameter->initial) {
    case CB_INITIAL_ZERO: return 0;
    case CB_INITIAL_ONE: return 1;
    case CB_INITIAL_CONSTANT: return (cb_real)parameter->value;
    case CB_INITIAL_NORMAL:
        do value = 0.02 * cb_random_normal(random);
        while (fabs(value) > 2);
        break;
    case CB_INITIAL_UNIFORM:
        value = (2 * cb_random_uniform(random) - 1) / sqrt((double)(parameter->count / parameter->shape[0]));
        break;
    }
    return (cb_real)value;
}

/*
 * Large parameters are drawn in pieces, each with separate random numbers, so that all workers can draw.
 */
#define PIECE 65536

static size_t pieces_of(const cb_parameter *parameter)
{
    return (parameter->count + PIECE - 1) / PIECE;
}

static void draw_piece(void *context, size_t task, size_t worker)
{
    const draw_job *job = context;
    size_t index = 0, piece = task;
    const cb_parameter *parameter = job->parameters->list;
    (void)worker;
    for (; piece >= pieces_of(parameter); index++, parameter++) piece -= pieces_of(parameter);
    cb_random random = cb_random_begin(job->seed, CB_PURPOSE_PARAMETERS, index, piece);
    cb_real *values = job->parameters->values + parameter->offset;
    size_t end = parameter->count - piece * PIECE < PIECE ? parameter->count : (piece + 1) * PIECE;
    for (size_t i = piece * PIECE; i < end; i++) values[i] = draw_one(&random, parameter);
}

void cb_parameters_draw(const cb_runtime *runtime, const cb_parameters *parameters, uint64_t seed)
{
    draw_job job = {parameters, seed};
    size_t pieces = 0;
    if (cb_is_plan(&runtime->allocator)) return;
    for (size_t i = 0; i < parameters->count; i++) pieces += pieces_of(&parameters->list[i]);
    cb_pool_run(runtime->pool, pieces, draw_piece, &job);
}

void cb_parameters_copy(const cb_runtime *runtime, const cb_parameters *to, const cb_parameters *from)
{
    if (!cb_is_plan(&runtime->allocator)) memcpy(to->values, from->values, to->total * sizeof *to->values);
}
