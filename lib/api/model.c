/* cribo/model.h: models by themselves, their parameters, their features, their files. */
#include "cribo/model.h"

#include "api/checks.h"
#include "api/handles.h"
#include "base/structs.h"
#include "base/text.h"
#include "io/safetensors.h"
#include "tensor/finite.h"

#include <stdio.h>
#include <string.h>

CB_CONFIG_FUNCTIONS(model, &cb_model_settings)

/* The handle and its parameters, in a runtime that has begun. */
static cribo_status create(const cb_runtime *runtime, cribo_model **out, const cribo_model_config *config)
{
    void *memory;
    CB_TRY(cb_allocate(&runtime->allocator, &memory, 1, sizeof(cribo_model), "model"));
    cribo_model *model = memory;
    model->own = *runtime;
    model->runtime = &model->own;
    cribo_status status = cb_model_create(model->runtime, &model->model, config, false);
    if (status == CRIBO_OK)
        *out = model;
    else
        cb_release(&runtime->allocator, model);
    return status;
}

cribo_status cribo_model_create(
    cribo_model **out, const cribo_model_config *config, const cribo_runtime *hooks)
{
    cribo_model_config full;
    cb_runtime runtime;
    CB_REQUIRE_POINTER(out);
    *out = NULL;
    CB_TRY(cb_config_import(&cb_model_settings, &full, config));
    CB_TRY(cb_runtime_begin(&runtime, hooks));
    cribo_status status = create(&runtime, out, &full);
    if (status != CRIBO_OK) cb_runtime_end(&runtime);
    return status;
}

void cribo_model_free(cribo_model *model)
{
    if (!model) return;
    cb_runtime runtime = model->own;
    cb_features_free(&runtime, &model->features);
    cb_model_free(&runtime, model->model);
    cb_release(&runtime.allocator, model);
    cb_runtime_end(&runtime);
}

cribo_status cribo_model_parameter_count(const cribo_model *model, int64_t *count)
{
    CB_REQUIRE_POINTER(model);
    CB_REQUIRE_POINTER(count);
    *count = (int64_t)model->model->parameters.count;
    return CRIBO_OK;
}

static cribo_status describe(const cb_parameter *from, cribo_parameter *to)
{
    cribo_parameter full = {.name = from->name, .axes = (int64_t)from->axes, .count = (int64_t)from->count};
    for (size_t i = 0; i < 4; i++) full.shape[i] = (int64_t)from->shape[i];
    CB_TRY(cb_check_size("parameter", to->struct_size, CB_SIZE_THROUGH(full, count), sizeof full));
    cb_struct_export(to, &full, sizeof full);
    return CRIBO_OK;
}

static cribo_status find(const cribo_model *model, const char *name, const cb_parameter **found)
{
    CB_REQUIRE_POINTER(model);
    CB_REQUIRE_POINTER(name);
    *found = cb_parameters_find(&model->model->parameters, name);
    CB_REQUIRE(*found, "name = \"%s\", but the model has no such parameter", name);
    return CRIBO_OK;
}

cribo_status cribo_model_parameter(const cribo_model *model, int64_t index, cribo_parameter *parameter)
{
    CB_REQUIRE_POINTER(model);
    CB_REQUIRE_POINTER(parameter);
    const cb_parameters *parameters = &model->model->parameters;
    CB_REQUIRE(index >= 0 && (uint64_t)index < parameters->count, "index = %lld must be in 0 ... %zu",
        (long long)index, parameters->count - 1);
    return describe(&parameters->list[index], parameter);
}

cribo_status cribo_model_find_parameter(
    const cribo_model *model, const char *name, cribo_parameter *parameter)
{
    const cb_parameter *found;
    CB_TRY(find(model, name, &found));
    CB_REQUIRE_POINTER(parameter);
    return describe(found, parameter);
}

/* The parameter whose values `count` floats are. */
static cribo_status find_sized(const cribo_model *model, const char *name, const float *values, int64_t count,
    const cb_parameter **found)
{
    CB_TRY(find(model, name, found));
    CB_REQUIRE_POINTER(values);
    CB_REQUIRE(count >= 0 && (uint64_t)count == (*found)->count, "count = %lld, but %s has %zu elements",
        (long long)count, name, (*found)->count);
    return CRIBO_OK;
}

cribo_status cribo_model_read_parameter(
    const cribo_model *model, const char *name, float *values, int64_t count)
{
    const cb_parameter *parameter;
    CB_TRY(find_sized(model, name, values, count, &parameter));
    memcpy(values, model->model->parameters.values + parameter->offset, parameter->count * sizeof *values);
    return CRIBO_OK;
}

cribo_status cribo_model_write_parameter(
    cribo_model *model, const char *name, const float *values, int64_t count)
{
    const cb_parameter *parameter;
    CB_TRY(find_sized(model, name, values, count, &parameter));
    char argument[CB_NAME_BYTES + 16];
    snprintf(argument, sizeof argument, "%s: values", parameter->name);
    CB_TRY(cb_check_finite(model->runtime->pool, argument, values, parameter->count));
    memcpy(model->model->parameters.values + parameter->offset, values, parameter->count * sizeof *values);
    return CRIBO_OK;
}

static cribo_status check_side(const cb_model *model, const char *name, int64_t side)
{
    int64_t patch = model->config.patch_size;
    CB_REQUIRE(side > 0 && side % patch == 0, "%s = %lld must be a positive multiple of patch_size = %lld",
        name, (long long)side, (long long)patch);
    return CRIBO_OK;
}

/* Checks a batch of images, and wraps it. */
static cribo_status check_images(cb_pool *pool, const cb_model *model, int64_t images, int64_t height,
    int64_t width, const float *pixels, cb_images *out)
{
    size_t count;
    CB_REQUIRE(images > 0, "images = %lld must be positive", (long long)images);
    CB_TRY(check_side(model, "height", height));
    CB_TRY(check_side(model, "width", width));
    CB_REQUIRE_POINTER(pixels);
    bool fits = cb_multiply((size_t)height, (size_t)width, &count) &&
                cb_multiply(count, (size_t)images, &count) && cb_multiply(count, 3 * sizeof *pixels, &count);
    CB_REQUIRE(fits, "images = %lld of height = %lld and width = %lld are more than an address can hold",
        (long long)images, (long long)height, (long long)width);
    count /= sizeof *pixels;
    CB_TRY(cb_check_finite(pool, "pixels", pixels, count));
    *out = (cb_images){
        .count = (size_t)images, .height = (size_t)height, .width = (size_t)width, .pixels = pixels};
    return CRIBO_OK;
}

cribo_status cribo_model_features(cribo_model *model, int64_t images, int64_t height, int64_t width,
    const float *pixels, float *dense, float *cls, float *attention)
{
    cb_images batch;
    CB_REQUIRE_POINTER(model);
    CB_TRY(check_images(model->runtime->pool, model->model, images, height, width, pixels, &batch));
    return cb_features_compute(model->runtime, &model->features, model->model, &batch, dense, cls, attention);
}

/* Parameter number `index` as a tensor of a file; `prefix` goes before its name. */
static cb_tensor_entry entry_of(const cb_parameters *parameters, size_t index, const char *prefix)
{
    const cb_parameter *p = &parameters->list[index];
    cb_tensor_entry entry = {.prefix = prefix,
        .name = p->name,
        .axes = (int64_t)p->axes,
        .values = parameters->values + p->offset};
    for (size_t i = 0; i < p->axes; i++) entry.shape[i] = (int64_t)p->shape[i];
    return entry;
}

/* The parts that are wanted, as tensors of a file; returns how many. */
static size_t list_parts(
    const cb_parameters *parameters, const char *prefix, const cribo_save_parts *parts, cb_tensor_entry *to)
{
    size_t count = 0;
    for (size_t i = 0; i < parameters->count; i++) {
        bool head = cb_starts_with(parameters->list[i].name, CB_HEAD_NAMES);
        if (head ? !parts->heads : !parts->backbone) continue;
        to[count] = entry_of(parameters, i, prefix);
        if (parts->plain_names) to[count].name += strlen(CB_BACKBONE_NAMES);
        count++;
    }
    return count;
}

cribo_status cribo_model_save_partial(
    const cribo_model *model, const char *path, const char *prefix, const cribo_save_parts *parts)
{
    cribo_save_parts chosen = {0};
    cb_tensor_entry *entries;
    CB_REQUIRE_POINTER(model);
    CB_REQUIRE_POINTER(path);
    CB_TRY(CB_IMPORT(chosen, parts, plain_names));
    CB_TRY(cb_check_parts(chosen.backbone, chosen.heads, chosen.plain_names));
    const cb_allocator *allocator = &model->runtime->allocator;
    const cb_parameters *parameters = &model->model->parameters;
    CB_TRY(cb_allocate(allocator, &entries, parameters->count, sizeof *entries, "list of tensors"));
    size_t count = list_parts(parameters, prefix, &chosen, entries);
    cribo_status status = cb_safetensors_write(allocator, path, entries, count, NULL, 0);
    cb_release(allocator, entries);
    return status;
}

cribo_status cribo_model_save(const cribo_model *model, const char *path, const char *prefix)
{
    const cribo_save_parts whole = {.struct_size = sizeof whole, .backbone = 1, .heads = 1};
    return cribo_model_save_partial(model, path, prefix, &whole);
}
