/* Writing a model, or parts of it. See files/model.h. */
#include "base/text.h"
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

cribo_status cb_model_write(const cb_allocator *allocator, const cb_model *model, const char *path,
    const char *prefix, const cribo_save_parts *parts)
{
    cb_tensor_entry *entries;
    CB_TRY(cb_allocate(allocator, &entries, model->parameters.count, sizeof *entries, "list of tensors"));
    size_t count = list_parts(&model->parameters, prefix, parts, entries);
    cribo_status status = cb_safetensors_write(allocator, path, entries, count, NULL, 0);
    cb_release(allocator, entries);
    return status;
}
