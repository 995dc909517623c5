/* Reading a model, or parts of it: everything is read into separate memory first. See files/model.h. */
#include "base/text.h"
#include "files/model.h"
#include "files/weights.h"
#include "io/safetensors.h"
#include "tensor/finite.h"

#include <stdio.h>
#include <string.h>

typedef struct loading {
    const cb_runtime *runtime;
    cb_model *model;
    const cribo_load_parts *parts;
    cb_safetensors *file;
    cb_place place;
    const char *path, *prefix; /* path is the place's */
    float *values;             /* laid out as the model's parameters */
} loading;

static bool is_wanted(const loading *l, const cb_parameter *parameter)
{
    return cb_starts_with(parameter->name, CB_HEAD_NAMES) ? l->parts->heads : l->parts->backbone;
}

/* The name of a parameter in the file, after the prefix. */
static const char *file_name(const loading *l, const cb_parameter *parameter)
{
    return parameter->name + (l->parts->plain_names ? strlen(CB_BACKBONE_NAMES) : 0);
}

/* The parameter with the name `name` in the file, after the prefix; NULL if the model has none. */
static const cb_parameter *parameter_of(const loading *l, const char *name)
{
    char whole[CB_NAME_BYTES];
    int length = snprintf(whole, sizeof whole, "%s%s", l->parts->plain_names ? CB_BACKBONE_NAMES : "", name);
    bool fits = length > 0 && (size_t)length < sizeof whole;
    return fits ? cb_parameters_find(&l->model->parameters, whole) : NULL;
}

/* --- checks --- */

/* Whether a tensor has positions that are resampled. */
static bool is_resampled(const loading *l, const cb_parameter *parameter, const cb_tensor_info *tensor)
{
    return l->parts->resample_positions && tensor->axes == 3 && tensor->shape[1] != parameter->shape[1] &&
           cb_backbone_resamples(&l->model->backbone, parameter, (size_t)tensor->shape[1]);
}

static cribo_status check_shape(const loading *l, const cb_parameter *parameter, const cb_tensor_info *tensor)
{
    CB_REQUIRE(tensor->axes == parameter->axes, "%.200s: tensor \"%.100s\" has %zu axes, not %zu", l->path,
        tensor->name, tensor->axes, parameter->axes);
    for (size_t i = 0; i < parameter->axes; i++)
        CB_REQUIRE(tensor->shape[i] == parameter->shape[i] || (i == 1 && is_resampled(l, parameter, tensor)),
            "%.200s: tensor \"%.100s\": axis %zu has length %llu, not %zu", l->path, tensor->name, i,
            (unsigned long long)tensor->shape[i], parameter->shape[i]);
    return CRIBO_OK;
}

/* Checks that all selected parts exist. */
static cribo_status check_tensors(const loading *l)
{
    const cb_parameters *parameters = &l->model->parameters;
    for (size_t i = 0; i < parameters->count; i++) {
        const cb_parameter *parameter = &parameters->list[i];
        if (!is_wanted(l, parameter)) continue;
        const cb_tensor_info *tensor = cb_safetensors_find(l->file, l->prefix, file_name(l, parameter));
        if (!tensor && cb_weights_may_lack(parameter)) continue;
        CB_REQUIRE(
            tensor, "%.200s: there is no tensor \"%.100s%s\"", l->path, l->prefix, file_name(l, parameter));
        CB_TRY(check_shape(l, parameter, tensor));
    }
    return CRIBO_OK;
}

/*
 * Refuses tensors under the prefix that are not parameters of the model: the file's model would give other
 * features.
 */
static cribo_status check_unknown(const loading *l)
{
    for (size_t i = 0; l->parts->backbone && i < cb_safetensors_count(l->file); i++) {
        const char *name = cb_safetensors_tensor(l->file, i)->name, *rest = name + strlen(l->prefix);
        if (!cb_starts_with(name, l->prefix) || parameter_of(l, rest) || cb_weights_is_harmless(rest))
            continue;
        return cb_fail(CRIBO_INVALID_ARGUMENT,
            "%.200s: tensor \"%.100s\" is no parameter of this model: the file's model has other settings",
            l->path, name);
    }
    return CRIBO_OK;
}

/* --- reading --- */

static cribo_status read_finite(const loading *l, const cb_tensor_info *tensor, float *values, size_t count)
{
    CB_TRY(cb_safetensors_read(l->file, tensor, values, count));
    size_t bad = cb_first_not_finite(values, count);
    CB_REQUIRE(
        bad == count, "%.200s: tensor \"%.100s\": element %zu is not finite", l->path, tensor->name, bad);
    return CRIBO_OK;
}

static cribo_status read_positions(
    const loading *l, const cb_parameter *parameter, const cb_tensor_info *tensor, float *to)
{
    const cb_backbone *backbone = &l->model->backbone;
    const cb_allocator *allocator = &l->runtime->allocator;
    size_t length = (size_t)tensor->shape[1], count = length * backbone->width;
    float *positions;
    CB_TRY(CB_ALLOCATE(allocator, &positions, count, "positions"));
    cribo_status status = read_finite(l, tensor, positions, count);
    if (status == CRIBO_OK)
        status = cb_backbone_resample(l->runtime, backbone, parameter, positions, length, to);
    cb_release(allocator, positions);
    return status;
}

static cribo_status read_tensor(const loading *l, const cb_tensor_info *tensor)
{
    if (!cb_starts_with(tensor->name, l->prefix)) return CRIBO_OK;
    const cb_parameter *parameter = parameter_of(l, tensor->name + strlen(l->prefix));
    if (!parameter || !is_wanted(l, parameter)) return CRIBO_OK;
    float *to = l->values + parameter->offset;
    return is_resampled(l, parameter, tensor) ? read_positions(l, parameter, tensor, to)
                                              : read_finite(l, tensor, to, parameter->count);
}

/* In the order of the file, so that one pass over it is enough. */
static cribo_status read_tensors(const loading *l)
{
    CB_TRY(check_tensors(l));
    CB_TRY(check_unknown(l));
    for (size_t i = 0; i < cb_safetensors_count(l->file); i++)
        CB_TRY(read_tensor(l, cb_safetensors_tensor(l->file, i)));
    return cb_safetensors_has_checksums(l->file) ? CRIBO_OK : cb_safetensors_finish(l->file);
}

static cribo_status load(loading *l)
{
    const cb_allocator *allocator = &l->runtime->allocator;
    const cb_parameters *parameters = &l->model->parameters;
    CB_TRY(cb_safetensors_open(allocator, &l->file, l->place));
    cribo_status status = CB_ALLOCATE(allocator, &l->values, parameters->total, "parameters that are read");
    if (status == CRIBO_OK) {
        memcpy(l->values, parameters->values, parameters->total * sizeof *l->values);
        status = read_tensors(l);
    }
    if (status == CRIBO_OK) memcpy(parameters->values, l->values, parameters->total * sizeof *l->values);
    cb_release(allocator, l->values);
    cb_safetensors_close(l->file);
    return status;
}

cribo_status cb_model_read(const cb_runtime *runtime, cb_model *model, cb_place place, const char *prefix,
    const cribo_load_parts *parts)
{
    loading l = {.runtime = runtime,
        .model = model,
        .parts = parts,
        .path = place.path,
        .place = place,
        .prefix = prefix};
    return load(&l);
}
