/* Writing a model, or parts of it. See files/model.h. */
#include "base/text.h"
#include "files/metadata.h"
#include "files/model.h"
#include "io/safetensors.h"

#include <string.h>

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

/* The selected parts as tensors of a file; returns their number. */
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

/* The metadata of a model: every setting by name, kind and format. */
typedef struct description {
    cb_metadata_pair *pairs;
    char (*text)[CB_NUMBER_BYTES];
    size_t count;
} description;

static cribo_status describe_model(const cb_allocator *allocator, const cb_model *model, description *d)
{
    size_t settings = cb_model_settings.count;
    CB_TRY(CB_ALLOCATE(allocator, &d->pairs, settings + 2, "metadata"));
    CB_TRY(CB_ALLOCATE(allocator, &d->text, settings, "metadata"));
    for (size_t i = 0; i < settings; i++) {
        const cb_field *field = &cb_model_settings.fields[i];
        cb_config_text(field, &model->config, d->text[i]);
        d->pairs[d->count++] = (cb_metadata_pair){field->setting.name, d->text[i]};
    }
    d->pairs[d->count++] = (cb_metadata_pair){CB_FORMAT_KEY, CB_FORMAT};
    d->pairs[d->count++] = (cb_metadata_pair){CB_KIND_KEY, CB_KIND_MODEL};
    return CRIBO_OK;
}

cribo_status cb_model_write(const cb_allocator *allocator, const cb_model *model, cb_place place,
    const char *prefix, const cribo_save_parts *parts)
{
    cb_tensor_entry *entries = NULL;
    description d = {0};
    size_t most = model->parameters.count;
    cribo_status status = describe_model(allocator, model, &d);
    if (status == CRIBO_OK) status = CB_ALLOCATE(allocator, &entries, most, "list of tensors");
    if (status == CRIBO_OK)
        status = cb_safetensors_write(allocator, place, entries,
            list_parts(&model->parameters, prefix, parts, entries), d.pairs, d.count);
    cb_release(allocator, entries);
    cb_release(allocator, d.text);
    cb_release(allocator, d.pairs);
    return status;
}
