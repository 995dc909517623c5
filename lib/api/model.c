/* cribo/model.h: models by themselves, their parameters, their features, their files. */
#include "cribo/model.h"

#include "api/checks.h"
#include "api/create.h"
#include "api/handles.h"
#include "api/model.h"
#include "api/parameters.h"
#include "api/settings.h"
#include "api/streams.h"
#include "base/structs.h"
#include "files/model.h"
#include "tensor/gemm.h"
#include "tensor/finite.h"

#include <stdio.h>
#include <string.h>

CB_CONFIG_FUNCTIONS(model, &cb_model_settings)
CB_SETTING_GETTERS(model, &cb_model_settings, &model->model->config)

/* A handle with its own runtime, without a model. */
static cribo_status begin(cribo_model **out, const cribo_runtime *runtime)
{
    cribo_model *model;
    cb_runtime own;
    CB_TRY(cb_handle_begin(&own, runtime, &model, sizeof *model, "model"));
    model->guard = &model->own_guard;
    model->own = own;
    model->runtime = &model->own;
    *out = model;
    return CRIBO_OK;
}

cribo_status cribo_model_create(
    cribo_model **out, const cribo_model_config *config, const cribo_runtime *runtime)
{
    cribo_model_config full;
    cribo_model *model;
    CB_REQUIRE_POINTER(out);
    *out = NULL;
    CB_TRY(cb_config_import(&cb_model_settings, &full, config));
    CB_TRY(begin(&model, runtime));
    cribo_status status = cb_model_create(model->runtime, &model->model, &full, NULL);
    if (status == CRIBO_OK)
        *out = model;
    else
        cribo_model_free(model);
    return status;
}

void cribo_model_free(cribo_model *model)
{
    if (!model || model->guard != &model->own_guard) return; /* a lent one ends with its lender */
    if (!CB_MAY_FREE(model)) return;
    cb_runtime runtime = model->own;
    cb_features_free(&runtime, &model->features);
    cb_model_free(model->model);
    cb_release(&runtime.allocator, model);
    cb_runtime_end(&runtime);
}

/* A model whose weights never change without a call on it: not one of a trainer, which steps change. */
static cribo_status check_own(const cribo_model *model, const char *name)
{
    CB_REQUIRE(model->guard == &model->own_guard,
        "%s belongs to a trainer, whose steps change its weights: save it and open the file", name);
    return CRIBO_OK;
}

cribo_status cribo_model_share(cribo_model **out, const cribo_model *source, const cribo_runtime *runtime)
{
    cribo_model *model;
    CB_REQUIRE_POINTER(out);
    *out = NULL;
    CB_ENTER(source);
    CB_TRY(check_own(source, "source"));
    CB_TRY(begin(&model, runtime));
    cribo_status status = cb_gemm_begin(model->runtime);
    if (status == CRIBO_OK) {
        model->model = cb_model_hold(source->model);
        *out = model;
    } else
        cribo_model_free(model);
    return status;
}

static cribo_status check_unshared(const cribo_model *model, const char *what)
{
    size_t holders = atomic_load(&model->model->holders);
    if (holders == 1) return CRIBO_OK;
    return cb_fail(CRIBO_WRONG_STATE,
        "%zu models share these weights: %s only after cribo_model_free of all but one", holders, what);
}

cribo_status cb_check_writable(const cribo_model *model, const char *what)
{
    CB_TRY(check_unshared(model, what));
    return cb_begin_writing(model->guard, what);
}

cribo_status cribo_model_pack(cribo_model *model)
{
    CB_ENTER(model);
    CB_TRY(check_own(model, "model"));
    CB_TRY(check_unshared(model, "weights are packed"));
    return cb_model_pack(model->runtime, model->model);
}

cribo_status cribo_model_parameter_count(const cribo_model *model, int64_t *count)
{
    CB_ENTER(model);
    CB_REQUIRE_POINTER(count);
    *count = (int64_t)model->model->parameters.count;
    return CRIBO_OK;
}

cribo_status cribo_model_parameter(const cribo_model *model, int64_t index, cribo_parameter *parameter)
{
    CB_ENTER(model);
    return cb_export_parameter_at(&model->model->parameters, index, parameter);
}

cribo_status cribo_model_find_parameter(
    const cribo_model *model, const char *name, cribo_parameter *parameter)
{
    const cb_parameter *found;
    CB_ENTER(model);
    CB_TRY(cb_find_parameter(&model->model->parameters, "the model", name, &found));
    return cb_export_parameter(found, parameter);
}

/* The parameter whose values `count` floats are. */
static cribo_status find_sized(const cribo_model *model, const char *name, const float *values, int64_t count,
    const cb_parameter **found)
{
    CB_REQUIRE_POINTER(model);
    CB_REQUIRE_POINTER(values);
    return cb_find_counted(&model->model->parameters, "the model", name, count, found);
}

cribo_status cribo_model_read_parameter(
    const cribo_model *model, const char *name, float *values, int64_t count)
{
    const cb_parameter *parameter;
    CB_ENTER(model);
    CB_TRY(find_sized(model, name, values, count, &parameter));
    memcpy(values, model->model->parameters.values + parameter->offset, parameter->count * sizeof *values);
    return CRIBO_OK;
}

cribo_status cribo_model_write_parameter(
    cribo_model *model, const char *name, const float *values, int64_t count)
{
    const cb_parameter *parameter;
    CB_ENTER(model);
    CB_TRY(find_sized(model, name, values, count, &parameter));
    CB_TRY(cb_check_writable(model, "parameters are written"));
    char argument[CB_NAME_BYTES + 16];
    snprintf(argument, sizeof argument, "%s: values", parameter->name);
    CB_TRY(cb_check_finite(model->runtime->pool, argument, values, parameter->count));
    memcpy(model->model->parameters.values + parameter->offset, values, parameter->count * sizeof *values);
    cb_model_unpack(model->model);
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
    CB_ENTER(model);
    CB_TRY(check_images(model->runtime->pool, model->model, images, height, width, pixels, &batch));
    return cb_features_compute(model->runtime, &model->features, model->model, &batch, dense, cls, attention);
}

/* What features of such an image need in addition; sides of 0: there is none. */
static cribo_status reserve(cribo_model *model, int64_t height, int64_t width)
{
    if (height == 0 && width == 0) return CRIBO_OK;
    CB_TRY(check_side(model->model, "height", height));
    CB_TRY(check_side(model->model, "width", width));
    return cb_features_reserve(model->runtime, &model->features, model->model, (size_t)height, (size_t)width);
}

cribo_status cribo_model_memory(const cribo_model_config *config, const cribo_runtime *runtime,
    int64_t height, int64_t width, int64_t *bytes)
{
    cribo_model *planned;
    cribo_runtime hooks;
    cb_memory_plan plan;
    CB_REQUIRE_POINTER(bytes);
    CB_TRY(cb_runtime_plan(&hooks, runtime, &plan));
    CB_TRY(cribo_model_create(&planned, config, &hooks));
    cribo_status status = reserve(planned, height, width);
    cribo_model_free(planned);
    CB_TRY(status);
    *bytes = (int64_t)plan.peak;
    return CRIBO_OK;
}

cribo_status cribo_model_features_within(cribo_model *model, int64_t images, int64_t height, int64_t width,
    const float *pixels, const cribo_feature_arrays *arrays)
{
    cb_images batch;
    cribo_feature_arrays to = {0};
    CB_ENTER(model);
    CB_TRY(CB_IMPORT(to, arrays, attention_capacity));
    CB_TRY(check_images(model->runtime->pool, model->model, images, height, width, pixels, &batch));
    const cribo_model_config *c = &model->model->config;
    size_t patch = (size_t)c->patch_size, patches = (batch.height / patch) * (batch.width / patch);
    if (to.dense)
        CB_TRY(cb_check_capacity(
            "arrays.dense_capacity", to.dense_capacity, batch.count * patches * (size_t)c->width));
    if (to.cls)
        CB_TRY(cb_check_capacity("arrays.cls_capacity", to.cls_capacity, batch.count * (size_t)c->width));
    if (to.attention)
        CB_TRY(cb_check_capacity(
            "arrays.attention_capacity", to.attention_capacity, batch.count * (size_t)c->heads * patches));
    return cb_features_compute(
        model->runtime, &model->features, model->model, &batch, to.dense, to.cls, to.attention);
}

cribo_status cribo_model_sizes(const cribo_model *model, cribo_sizes *sizes)
{
    CB_ENTER(model);
    const cribo_model_config *c = &model->model->config;
    int64_t side = c->image_size / c->patch_size;
    cribo_sizes full = {.tokens = side * side,
        .width = c->width,
        .attention_heads = c->heads,
        .prototypes = c->prototypes,
        .object_prototypes = c->object_prototypes};
    cb_size_parameters(&full, &model->model->parameters);
    return cb_export_sizes(&full, sizes);
}

static cribo_status check_switch(const char *name, int64_t value)
{
    CB_REQUIRE(value == 0 || value == 1, "parts.%s = %lld must be 0 or 1", name, (long long)value);
    return CRIBO_OK;
}

/* Whether such a choice of parts of a model makes sense. */
static cribo_status check_parts(int64_t backbone, int64_t heads, int64_t plain_names)
{
    CB_TRY(check_switch("backbone", backbone));
    CB_TRY(check_switch("heads", heads));
    CB_TRY(check_switch("plain_names", plain_names));
    CB_REQUIRE(backbone || heads, "parts.backbone and parts.heads are 0: nothing is left");
    CB_REQUIRE(
        !heads || !plain_names, "parts.plain_names = 1 is for the backbone alone, without parts.heads");
    return CRIBO_OK;
}

/* The parts of a model that are saved and loaded unless the caller chooses others. */
static const cribo_save_parts save_all = {.struct_size = sizeof save_all, .backbone = 1, .heads = 1};
static const cribo_load_parts load_all = {.struct_size = sizeof load_all, .backbone = 1, .heads = 1};

static cribo_status save(
    const cribo_model *model, cb_place place, const char *prefix, const cribo_save_parts *parts)
{
    cribo_save_parts chosen = {0};
    CB_TRY(CB_IMPORT(chosen, parts, plain_names));
    CB_TRY(check_parts(chosen.backbone, chosen.heads, chosen.plain_names));
    return cb_model_write(&model->runtime->allocator, model->model, place, prefix, &chosen);
}

cribo_status cribo_model_save_partial(
    const cribo_model *model, const char *path, const char *prefix, const cribo_save_parts *parts)
{
    CB_ENTER(model);
    CB_REQUIRE_POINTER(path);
    return save(model, cb_at(path), prefix, parts);
}

cribo_status cribo_model_save(const cribo_model *model, const char *path, const char *prefix)
{
    return cribo_model_save_partial(model, path, prefix, &save_all);
}

cribo_status cribo_model_save_to(
    const cribo_model *model, const cribo_writer *writer, const char *prefix, const cribo_save_parts *parts)
{
    cb_stream to;
    CB_ENTER(model);
    CB_TRY(cb_import_writer(&to, writer));
    return save(model, to.place, prefix, parts ? parts : &save_all);
}

static cribo_status load(
    cribo_model *model, cb_place place, const char *prefix, const cribo_load_parts *parts)
{
    cribo_load_parts chosen = {0};
    CB_TRY(CB_IMPORT(chosen, parts, resample_positions));
    CB_TRY(check_parts(chosen.backbone, chosen.heads, chosen.plain_names));
    CB_TRY(check_switch("resample_positions", chosen.resample_positions));
    CB_TRY(cb_check_writable(model, "weights are loaded"));
    CB_TRY(cb_model_read(model->runtime, model->model, place, prefix ? prefix : "", &chosen));
    cb_model_unpack(model->model);
    return CRIBO_OK;
}

cribo_status cribo_model_load_partial(
    cribo_model *model, const char *path, const char *prefix, const cribo_load_parts *parts)
{
    CB_ENTER(model);
    CB_REQUIRE_POINTER(path);
    return load(model, cb_at(path), prefix, parts);
}

cribo_status cribo_model_load(cribo_model *model, const char *path, const char *prefix)
{
    return cribo_model_load_partial(model, path, prefix, &load_all);
}

cribo_status cribo_model_load_from(
    cribo_model *model, const cribo_reader *reader, const char *prefix, const cribo_load_parts *parts)
{
    cb_stream from;
    CB_ENTER(model);
    CB_TRY(cb_import_reader(&from, reader));
    return load(model, from.place, prefix, parts ? parts : &load_all);
}
