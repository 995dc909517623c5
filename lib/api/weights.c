/* cribo/model.h: models from files of weights in any layout. */
#include "files/weights.h"

#include "api/model.h"
#include "api/streams.h"
#include "base/structs.h"
#include "cribo/model.h"
#include "files/metadata.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const cb_allocator plain = {0};

static cribo_status import_options(cribo_open_options *chosen, const cribo_open_options *options)
{
    *chosen = (cribo_open_options){0};
    if (options) CB_TRY(CB_IMPORT(*chosen, options, heads));
    CB_REQUIRE(chosen->heads == 0 || chosen->heads == 1, "options.heads = %lld must be 0 or 1",
        (long long)chosen->heads);
    return CRIBO_OK;
}

/* Opens a file with the caller's options; its settings are then those of the model. */
static cribo_status open_weights(
    const cb_allocator *allocator, cb_weights *weights, cb_place place, const cribo_open_options *options)
{
    CB_TRY(cb_weights_open(allocator, weights, place, options->prefix));
    weights->has_heads &= options->heads != 0;
    if (!weights->has_heads) weights->config.prototypes = weights->config.object_prototypes = 0;
    cribo_status status = cb_weights_override(weights, options->settings);
    if (status != CRIBO_OK) cb_weights_close(weights);
    return status;
}

static cribo_status make(cribo_model **out, const cb_weights *weights, const cribo_runtime *runtime)
{
    CB_TRY(cribo_model_create(out, &weights->config, runtime));
    cribo_status status = cb_weights_read(weights, (*out)->runtime, (*out)->model, weights->has_heads);
    if (status != CRIBO_OK) {
        cribo_model_free(*out);
        *out = NULL;
    }
    return status;
}

static cribo_status open_model(
    cribo_model **out, cb_place place, const cribo_open_options *options, const cribo_runtime *runtime)
{
    cribo_open_options chosen;
    cb_weights weights;
    CB_TRY(import_options(&chosen, options));
    CB_TRY(open_weights(&plain, &weights, place, &chosen));
    cribo_status status = make(out, &weights, runtime);
    cb_weights_close(&weights);
    return status;
}

cribo_status cribo_model_open(
    cribo_model **out, const char *path, const cribo_open_options *options, const cribo_runtime *runtime)
{
    CB_REQUIRE_POINTER(out);
    *out = NULL;
    CB_REQUIRE_POINTER(path);
    return open_model(out, cb_at(path), options, runtime);
}

cribo_status cribo_model_open_from(cribo_model **out, const cribo_reader *reader,
    const cribo_open_options *options, const cribo_runtime *runtime)
{
    cb_stream from;
    CB_REQUIRE_POINTER(out);
    *out = NULL;
    CB_TRY(cb_import_reader(&from, reader));
    return open_model(out, from.place, options, runtime);
}

static cribo_status config_in(cb_place place, const cribo_open_options *options, cribo_model_config *config)
{
    cribo_open_options chosen;
    cb_weights weights;
    CB_REQUIRE_POINTER(config);
    CB_TRY(import_options(&chosen, options));
    CB_TRY(cb_check_size("config", config->struct_size, cb_model_settings.first_size, sizeof weights.config));
    CB_TRY(open_weights(&plain, &weights, place, &chosen));
    cb_struct_export(config, &weights.config, sizeof weights.config);
    cb_weights_close(&weights);
    return CRIBO_OK;
}

cribo_status cribo_model_config_from_file(
    const char *path, const cribo_open_options *options, cribo_model_config *config)
{
    CB_REQUIRE_POINTER(path);
    return config_in(cb_at(path), options, config);
}

cribo_status cribo_model_config_from_reader(
    const cribo_reader *reader, const cribo_open_options *options, cribo_model_config *config)
{
    cb_stream from;
    CB_TRY(cb_import_reader(&from, reader));
    return config_in(from.place, options, config);
}

static cribo_status adopt(cribo_model *model, cb_place place, const cribo_open_options *options)
{
    cribo_open_options chosen;
    cb_weights weights;
    CB_TRY(import_options(&chosen, options));
    CB_TRY(cb_check_writable(model, "weights are loaded"));
    CB_TRY(cb_weights_open(&model->runtime->allocator, &weights, place, chosen.prefix));
    int64_t heads = weights.config.heads, own = model->model->config.heads;
    cribo_status status = CRIBO_OK;
    if (weights.known && heads != own)
        status = cb_fail(CRIBO_INVALID_ARGUMENT, "%.200s: heads = %lld in the file, but %lld in the model",
            place.path, (long long)heads, (long long)own);
    if (status == CRIBO_OK)
        status = cb_weights_read(&weights, model->runtime, model->model, chosen.heads != 0);
    if (status == CRIBO_OK) cb_model_unpack(model->model);
    cb_weights_close(&weights);
    return status;
}

cribo_status cribo_model_adopt(cribo_model *model, const char *path, const cribo_open_options *options)
{
    CB_ENTER(model);
    CB_REQUIRE_POINTER(path);
    return adopt(model, cb_at(path), options);
}

cribo_status cribo_model_adopt_from(
    cribo_model *model, const cribo_reader *reader, const cribo_open_options *options)
{
    cb_stream from;
    CB_ENTER(model);
    CB_TRY(cb_import_reader(&from, reader));
    return adopt(model, from.place, options);
}

static cribo_status export_to(
    const cribo_model *model, cb_place place, const char *layout, const char *prefix)
{
    CB_REQUIRE_POINTER(layout);
    const cb_layout *chosen = cb_layout_find(layout);
    CB_REQUIRE(chosen, "layout = \"%.50s\" is not one of cribo_weights_layout", layout);
    return cb_weights_write(model->runtime, model->model, place, chosen, prefix);
}

cribo_status cribo_model_export(
    const cribo_model *model, const char *path, const char *layout, const char *prefix)
{
    CB_ENTER(model);
    CB_REQUIRE_POINTER(path);
    return export_to(model, cb_at(path), layout, prefix);
}

cribo_status cribo_model_export_to(
    const cribo_model *model, const cribo_writer *writer, const char *layout, const char *prefix)
{
    cb_stream to;
    CB_ENTER(model);
    CB_TRY(cb_import_writer(&to, writer));
    return export_to(model, to.place, layout, prefix);
}

const char *cribo_weights_layout(size_t index)
{
    const cb_layout *layout = cb_layout_at(index);
    return layout ? layout->name : NULL;
}

/* Numbers of the backbone's tensors. */
static int64_t count_numbers(const cb_weights *weights)
{
    int64_t count = 0;
    for (size_t i = 0; i < cb_safetensors_count(weights->file); i++) {
        const cb_tensor_info *tensor = cb_safetensors_tensor(weights->file, i);
        size_t length = strlen(weights->prefix);
        if (strncmp(tensor->name, weights->prefix, length) == 0 &&
            !cb_weights_is_harmless(tensor->name + length))
            count += (int64_t)tensor->elements;
    }
    return count;
}

static void put(char *to, size_t size, const char *text)
{
    snprintf(to, size, "%s", text ? text : "");
}

static cribo_weights_info describe_weights(const cb_weights *w)
{
    cribo_weights_info info = {.tensors = (int64_t)cb_safetensors_count(w->file),
        .parameters = count_numbers(w),
        .heads = w->has_heads,
        .step = -1};
    cb_sources patch = cb_weights_sources(w, "patch_embed.proj.weight");
    const char *step = cb_safetensors_metadata(w->file, CB_CHECKPOINT_STEP_KEY);
    put(info.layout, sizeof info.layout, w->layout->name);
    put(info.title, sizeof info.title, w->layout->title);
    put(info.prefix, sizeof info.prefix, w->prefix);
    put(info.dtype, sizeof info.dtype, cb_weights_tensor(w, patch.name[0])->dtype);
    put(info.kind, sizeof info.kind, cb_safetensors_metadata(w->file, CB_KIND_KEY));
    put(info.assumed, sizeof info.assumed, w->assumed);
    if (step) info.step = (int64_t)strtoll(step, NULL, 10);
    return info;
}

static cribo_status describe(cb_place place, const cribo_open_options *options, cribo_weights_info *info)
{
    cribo_open_options chosen;
    cb_weights weights;
    CB_REQUIRE_POINTER(info);
    CB_TRY(import_options(&chosen, options));
    CB_TRY(cb_check_size("info", info->struct_size, sizeof *info, sizeof *info));
    CB_TRY(cb_weights_open(&plain, &weights, place, chosen.prefix));
    cribo_weights_info found = describe_weights(&weights);
    cb_struct_export(info, &found, sizeof found);
    cb_weights_close(&weights);
    return CRIBO_OK;
}

cribo_status cribo_weights_describe(
    const char *path, const cribo_open_options *options, cribo_weights_info *info)
{
    CB_REQUIRE_POINTER(path);
    return describe(cb_at(path), options, info);
}

cribo_status cribo_weights_describe_from(
    const cribo_reader *reader, const cribo_open_options *options, cribo_weights_info *info)
{
    cb_stream from;
    CB_TRY(cb_import_reader(&from, reader));
    return describe(from.place, options, info);
}
