/* Reading weights of any layout into a model, and writing them. See weights.h. */
#include "base/text.h"
#include "files/metadata.h"
#include "files/weights.h"
#include "tensor/finite.h"

#include <stdio.h>
#include <string.h>

/* The destination of the numbers of a tensor of the file. */
typedef struct placement {
    const cb_parameter *parameter; /* NULL: the tensor is not read */
    size_t offset;                 /* of its first number in the flat buffer */
    size_t count;
} placement;

typedef struct loading {
    const cb_weights *weights;
    const cb_runtime *runtime;
    cb_model *model;
    placement *placements; /* of each tensor of the file */
    float *values;         /* laid out as the model's parameters */
} loading;

static const char *name_of(const cb_parameter *parameter)
{
    return parameter->name + strlen(CB_BACKBONE_NAMES);
}

/* --- checks --- */

bool cb_weights_is_harmless(const char *name)
{
    static const char *const beginnings[] = {"head.", "head_dist.", "heads.", "head_drop", "fc_norm.",
        "mask_token", "masked_embed", "backbone.mask_token", "embeddings.mask_token", "decoder", "pooler.",
        "classifier.", "rope_embed.", "rope_embeddings.", "rope.", "dino_head.", "ibot_head.",
        "projection_head.", "student.", "teacher.", "optimiser.", "bank.", "collapse."};
    for (size_t i = 0; i < sizeof beginnings / sizeof beginnings[0]; i++)
        if (cb_starts_with(name, beginnings[i])) return true;
    return strstr(name, ".bias_mask") != NULL;
}

bool cb_weights_may_lack(const cb_parameter *parameter)
{
    return strcmp(parameter->name, CB_BACKBONE_NAMES "mask_token") == 0;
}

static size_t index_of(const cb_weights *w, const cb_tensor_info *tensor)
{
    return (size_t)(tensor - cb_safetensors_tensor(w->file, 0));
}

/* Whether positions of the file are resampled to the model's. */
static bool is_resampled(const loading *l, const cb_parameter *parameter, const cb_tensor_info *tensor)
{
    return tensor->axes == 3 && parameter->axes == 3 && tensor->shape[1] != parameter->shape[1] &&
           tensor->shape[2] == parameter->shape[2] &&
           cb_backbone_resamples(&l->model->backbone, parameter, (size_t)tensor->shape[1]);
}

/*
 * A tensor must have the parameter's numbers, or some of its rows. Axes of length 1 may be missing or
 * additional: a linear layer is a convolution of one pixel.
 */
static cribo_status place(
    loading *l, const cb_parameter *parameter, const cb_tensor_info *tensor, size_t *row)
{
    size_t columns = parameter->count / parameter->shape[0], parts = parameter->shape[0];
    uint64_t count = tensor->elements;
    bool resampled = is_resampled(l, parameter, tensor);
    CB_REQUIRE(cb_tensor_is_real(tensor),
        "%.200s: tensor \"%.100s\" has dtype %s, but F32, F16, BF16 or F64 is expected", l->weights->path,
        tensor->name, tensor->dtype);
    CB_REQUIRE(
        resampled || (count % columns == 0 && *row + count / columns <= parts &&
                         (tensor->axes < 2 || parameter->axes < 2 ||
                             tensor->shape[tensor->axes - 1] == parameter->shape[parameter->axes - 1])),
        "%.200s: tensor \"%.100s\" has %llu numbers in %zu axes, which do not fit \"%s\" with %zu numbers",
        l->weights->path, tensor->name, (unsigned long long)count, tensor->axes, parameter->name,
        parameter->count);
    l->placements[index_of(l->weights, tensor)] =
        (placement){parameter, parameter->offset + *row * columns, resampled ? 0 : (size_t)count};
    *row += resampled ? parts : (size_t)count / columns;
    return CRIBO_OK;
}

/* Places all tensors of a parameter of the backbone. */
static cribo_status place_parameter(loading *l, const cb_parameter *parameter)
{
    const cb_weights *w = l->weights;
    cb_sources sources = cb_weights_sources(w, name_of(parameter));
    size_t row = 0, third = parameter->shape[0] / CB_MAX_SOURCES;
    if (sources.count == 0 && cb_weights_may_lack(parameter)) return CRIBO_OK;
    if (sources.count == 0) {
        cb_sources expected = cb_layout_sources(w->layout, name_of(parameter), 0);
        return cb_fail(CRIBO_INVALID_ARGUMENT, "%.200s: there is no tensor \"%.90s%.100s\"", w->path,
            w->prefix, expected.name[0]);
    }
    for (size_t i = 0; i < sources.count; i++) {
        const cb_tensor_info *tensor = cb_weights_tensor(w, sources.name[i]);
        if (tensor)
            CB_TRY(place(l, parameter, tensor, &row));
        else
            row += third;
    }
    CB_REQUIRE(row == parameter->shape[0],
        "%.200s: the tensors of \"%s\" have %zu rows, but %zu are expected", w->path, parameter->name, row,
        parameter->shape[0]);
    if (sources.count == CB_MAX_SOURCES)
        memset(l->values + parameter->offset, 0, parameter->count * sizeof(float));
    return CRIBO_OK;
}

static cribo_status place_head(loading *l, const cb_parameter *parameter)
{
    const cb_weights *w = l->weights;
    const cb_tensor_info *tensor = cb_safetensors_find(w->file, w->heads_prefix, parameter->name);
    size_t row = 0;
    CB_REQUIRE(tensor, "%.200s: there is no tensor \"%.90s%s\"", w->path, w->heads_prefix, parameter->name);
    CB_TRY(place(l, parameter, tensor, &row));
    CB_REQUIRE(row == parameter->shape[0], "%.200s: tensor \"%.100s\" has %zu rows, but %zu are expected",
        w->path, tensor->name, row, parameter->shape[0]);
    return CRIBO_OK;
}

/* Refuses tensors of the model that are not read but would change the result. */
static cribo_status check_unknown(const loading *l)
{
    const cb_weights *w = l->weights;
    for (size_t i = 0; i < cb_safetensors_count(w->file); i++) {
        const char *name = cb_safetensors_tensor(w->file, i)->name;
        bool empty = cb_safetensors_tensor(w->file, i)->elements == 0;
        if (empty || l->placements[i].parameter || !cb_starts_with(name, w->prefix)) continue;
        if (cb_weights_is_harmless(name + strlen(w->prefix))) continue;
        return cb_fail(CRIBO_INVALID_ARGUMENT,
            "%.200s: tensor \"%.100s\" is no part of a model that this library computes; loading the others "
            "would give other features than those of the file's model",
            w->path, name);
    }
    return CRIBO_OK;
}

static cribo_status place_all(loading *l, bool heads)
{
    const cb_parameters *parameters = &l->model->parameters;
    for (size_t i = 0; i < parameters->count; i++) {
        const cb_parameter *parameter = &parameters->list[i];
        if (cb_starts_with(parameter->name, CB_HEAD_NAMES)) {
            if (heads) CB_TRY(place_head(l, parameter));
        } else {
            CB_TRY(place_parameter(l, parameter));
        }
    }
    return check_unknown(l);
}

/* --- reading --- */

static cribo_status read_finite(const loading *l, const cb_tensor_info *tensor, float *values, size_t count)
{
    CB_TRY(cb_safetensors_read(l->weights->file, tensor, values, count));
    size_t bad = cb_first_not_finite(values, count);
    CB_REQUIRE(bad == count, "%.200s: tensor \"%.100s\": element %zu is not finite", l->weights->path,
        tensor->name, bad);
    return CRIBO_OK;
}

static cribo_status read_resampled(const loading *l, const cb_tensor_info *tensor, const placement *to)
{
    const cb_allocator *allocator = &l->runtime->allocator;
    size_t count = (size_t)tensor->elements;
    float *positions;
    CB_TRY(CB_ALLOCATE(allocator, &positions, count, "positions"));
    cribo_status status = read_finite(l, tensor, positions, count);
    if (status == CRIBO_OK)
        status = cb_backbone_resample(l->runtime, &l->model->backbone, to->parameter, positions,
            (size_t)tensor->shape[1], l->values + to->offset);
    cb_release(allocator, positions);
    return status;
}

/* In the order of the file, so that one pass over it is enough. */
static cribo_status read_all(const loading *l)
{
    cb_safetensors *file = l->weights->file;
    for (size_t i = 0; i < cb_safetensors_count(file); i++) {
        const placement *to = &l->placements[i];
        const cb_tensor_info *tensor = cb_safetensors_tensor(file, i);
        if (!to->parameter) continue;
        if (to->count == 0 && tensor->elements > 0)
            CB_TRY(read_resampled(l, tensor, to));
        else
            CB_TRY(read_finite(l, tensor, l->values + to->offset, to->count));
    }
    return cb_safetensors_has_checksums(file) ? CRIBO_OK : cb_safetensors_finish(file);
}

/* Masked biases of keys are set to 0; their values in the file are ignored. */
static void clear_key_biases(const loading *l)
{
    const cb_parameters *parameters = &l->model->parameters;
    if (l->model->config.qkv_bias != CRIBO_QKV_BIAS_NO_KEY) return;
    for (size_t i = 0; i < parameters->count; i++) {
        const cb_parameter *p = &parameters->list[i];
        if (strstr(p->name, "attn.qkv.bias"))
            memset(l->values + p->offset + p->count / 3, 0, p->count / 3 * sizeof(float));
    }
}

static cribo_status load(loading *l, bool heads)
{
    const cb_allocator *allocator = &l->runtime->allocator;
    const cb_parameters *parameters = &l->model->parameters;
    size_t tensors = cb_safetensors_count(l->weights->file), bytes = parameters->total * sizeof *l->values;
    CB_TRY(CB_ALLOCATE(allocator, &l->placements, tensors, "list of tensors"));
    CB_TRY(cb_allocate(allocator, &l->values, bytes, 1, "parameters that are read"));
    memset(l->placements, 0, tensors * sizeof *l->placements);
    memcpy(l->values, parameters->values, bytes);
    CB_TRY(place_all(l, heads));
    CB_TRY(read_all(l));
    clear_key_biases(l);
    memcpy(parameters->values, l->values, bytes);
    return CRIBO_OK;
}

cribo_status cb_weights_read(
    const cb_weights *weights, const cb_runtime *runtime, cb_model *model, bool heads)
{
    loading l = {.weights = weights, .runtime = runtime, .model = model};
    cribo_status status = load(&l, heads);
    cb_release(&runtime->allocator, l.values);
    cb_release(&runtime->allocator, l.placements);
    return status;
}

/* --- writing --- */

/* The tensors of a file that is written, with their names. */
typedef struct document {
    cb_tensor_entry *entries;
    char (*names)[CB_TENSOR_NAME_BYTES];
    size_t count;
} document;

/* Adds `rows` rows of a parameter from row `from` on as one tensor. */
static void add_rows(document *d, const cb_parameters *parameters, const cb_parameter *p, const char *prefix,
    const cb_sources *sources, size_t source, size_t rows)
{
    size_t axes = sources->axes ? sources->axes : p->axes, more = axes - p->axes;
    cb_tensor_entry *entry = &d->entries[d->count];
    snprintf(d->names[d->count], CB_TENSOR_NAME_BYTES, "%s", sources->name[source]);
    *entry = (cb_tensor_entry){.prefix = prefix,
        .name = d->names[d->count],
        .axes = (int64_t)axes,
        .values = parameters->values + p->offset + source * rows * (p->count / p->shape[0])};
    for (size_t i = 0; i < more; i++) entry->shape[i] = 1;
    for (size_t i = 0; i < p->axes; i++) entry->shape[more + i] = (int64_t)p->shape[i];
    entry->shape[more] = (int64_t)rows;
    d->count++;
}

static void add_parameter(
    document *d, const cb_model *model, const cb_parameter *p, const cb_layout *layout, const char *prefix)
{
    cb_sources sources = cb_layout_sources(layout, name_of(p), 0);
    size_t rows = sources.count ? p->shape[0] / sources.count : 0;
    bool no_key = model->config.qkv_bias == CRIBO_QKV_BIAS_NO_KEY;
    for (size_t i = 0; i < sources.count; i++)
        if (!(sources.optional[i] && no_key)) add_rows(d, &model->parameters, p, prefix, &sources, i, rows);
}

static cribo_status write_document(document *d, const cb_runtime *runtime, const cb_model *model,
    cb_place place, const cb_layout *layout, const char *prefix)
{
    static const cb_metadata_pair format[] = {{CB_FORMAT_KEY, CB_FORMAT}};
    const cb_allocator *allocator = &runtime->allocator;
    const cb_parameters *parameters = &model->parameters;
    size_t most = CB_MAX_SOURCES * parameters->count;
    CB_TRY(CB_ALLOCATE(allocator, &d->entries, most, "list of tensors"));
    CB_TRY(CB_ALLOCATE(allocator, &d->names, most, "list of tensors"));
    for (size_t i = 0; i < parameters->count; i++)
        if (!cb_starts_with(parameters->list[i].name, CB_HEAD_NAMES))
            add_parameter(d, model, &parameters->list[i], layout, prefix);
    return cb_safetensors_write(allocator, place, d->entries, d->count, format, 1);
}

cribo_status cb_weights_write(const cb_runtime *runtime, const cb_model *model, cb_place place,
    const cb_layout *layout, const char *prefix)
{
    document d = {0};
    CB_REQUIRE(model->config.stem == CRIBO_STEM_PATCH || strcmp(layout->name, "cribo") == 0,
        "layout = \"%s\" has no convolutional stem: only \"cribo\" has one", layout->name);
    cribo_status status =
        write_document(&d, runtime, model, place, layout, prefix ? prefix : layout->backbone);
    cb_release(&runtime->allocator, d.names);
    cb_release(&runtime->allocator, d.entries);
    return status;
}
