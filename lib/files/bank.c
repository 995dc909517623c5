/* Memory banks as files. See bank.h. */
#include "files/bank.h"

#include "files/metadata.h"

#include <stdio.h>
#include <string.h>

/* The arrays of a bank's content, in the order in which they are written. */
enum { PER_IMAGE, IDS, VIEW1, VIEW2, ARRAYS };
static const struct array {
    const char *name;
    cb_dtype dtype;
    size_t axes; /* [images] or [objects, D] */
} arrays[ARRAYS] = {
    {"objects_per_image", CB_I64, 1}, {"ids", CB_I64, 1}, {"view1", CB_F32, 2}, {"view2", CB_F32, 2}};

/* --- saving --- */

void cb_bank_list_stretches(
    const cb_memory_bank *bank, cb_tensor_entry *entry, int view, cb_stretch *stretches)
{
    size_t row = cb_memory_bank_width(bank) * sizeof(cb_real), rows;
    entry->stretches = stretches;
    entry->stretch_count = cb_memory_bank_stretches(bank);
    for (size_t i = 0; i < entry->stretch_count; i++) {
        stretches[i].bytes = cb_memory_bank_stretch(bank, view, i, &rows);
        stretches[i].count = rows * row;
    }
}

static cribo_status write_arrays(const cb_allocator *allocator, const cb_memory_bank *bank, cb_place place,
    const char *prefix, int64_t *per_image, cb_stretch *stretches)
{
    const int64_t images = (int64_t)cb_memory_bank_images(bank),
                  objects = (int64_t)cb_memory_bank_count(bank);
    cb_tensor_entry entries[ARRAYS];
    for (int i = 0; i < ARRAYS; i++)
        entries[i] = (cb_tensor_entry){.prefix = prefix,
            .name = arrays[i].name,
            .axes = (int64_t)arrays[i].axes,
            .shape = {arrays[i].axes == 1 ? images : objects, (int64_t)cb_memory_bank_width(bank)},
            .dtype = arrays[i].dtype};
    cb_memory_bank_export(bank, per_image, per_image + images, NULL, NULL);
    entries[PER_IMAGE].values = per_image;
    entries[IDS].values = per_image + images;
    for (int view = 0; view < 2; view++)
        cb_bank_list_stretches(
            bank, &entries[VIEW1 + view], view, stretches + (size_t)view * cb_memory_bank_stretches(bank));
    static const cb_metadata_pair kind[] = {{CB_FORMAT_KEY, CB_FORMAT}, {CB_KIND_KEY, CB_KIND_BANK}};
    return cb_safetensors_write(allocator, place, entries, ARRAYS, kind, 2);
}

cribo_status cb_bank_write(
    const cb_allocator *allocator, const cb_memory_bank *bank, cb_place place, const char *prefix)
{
    int64_t *per_image = NULL;
    cb_stretch *stretches = NULL;
    cribo_status status =
        CB_ALLOCATE(allocator, &per_image, 2 * cb_memory_bank_images(bank), "list of images");
    if (status == CRIBO_OK)
        status = CB_ALLOCATE(allocator, &stretches, 2 * cb_memory_bank_stretches(bank), "list of tensors");
    if (status == CRIBO_OK) status = write_arrays(allocator, bank, place, prefix, per_image, stretches);
    cb_release(allocator, stretches);
    cb_release(allocator, per_image);
    return status;
}

/* --- loading --- */

typedef struct loading {
    const cb_allocator *allocator;
    cb_memory_bank *bank;
    const char *path, *prefix;
    cb_safetensors *file;
    const cb_tensor_info *tensor[ARRAYS];
    void *values[ARRAYS];
} loading;

/* Finds array `index` in the file. */
static cribo_status find(loading *l, int index)
{
    const struct array *array = &arrays[index];
    const cb_tensor_info *tensor = cb_safetensors_find(l->file, l->prefix, array->name);
    CB_REQUIRE(tensor, "%.200s: there is no tensor \"%.100s%s\"", l->path, l->prefix, array->name);
    CB_REQUIRE(cb_tensor_is(tensor, array->dtype) && tensor->axes == array->axes,
        "%.200s: tensor \"%.100s\" has dtype %s and %zu axes, not %s and %zu", l->path, tensor->name,
        tensor->dtype, tensor->axes, cb_dtypes[array->dtype].name, array->axes);
    l->tensor[index] = tensor;
    return CRIBO_OK;
}

static cribo_status check_axis(const loading *l, int index, size_t axis, uint64_t expected)
{
    CB_REQUIRE(l->tensor[index]->shape[axis] == expected,
        "%.200s: tensor \"%.100s\": axis %zu has length %llu, not %llu", l->path, l->tensor[index]->name,
        axis, (unsigned long long)l->tensor[index]->shape[axis], (unsigned long long)expected);
    return CRIBO_OK;
}

static cribo_status check_shapes(loading *l)
{
    for (int i = 0; i < ARRAYS; i++) CB_TRY(find(l, i));
    const uint64_t images = l->tensor[PER_IMAGE]->shape[0], most = cb_memory_bank_capacity(l->bank);
    CB_REQUIRE(images <= most, "%.200s: it has %llu images, but the bank has room for bank_images = %llu",
        l->path, (unsigned long long)images, (unsigned long long)most);
    CB_TRY(check_axis(l, IDS, 0, images));
    CB_TRY(check_axis(l, VIEW2, 0, l->tensor[VIEW1]->shape[0]));
    CB_TRY(check_axis(l, VIEW1, 1, cb_memory_bank_width(l->bank)));
    return check_axis(l, VIEW2, 1, cb_memory_bank_width(l->bank));
}

static size_t count_of(const cb_tensor_info *tensor)
{
    size_t count = 1;
    for (size_t i = 0; i < tensor->axes; i++) count *= (size_t)tensor->shape[i];
    return count;
}

/* In the order of the file, so that one pass over it is enough. */
static cribo_status read_arrays(loading *l)
{
    for (size_t t = 0; t < cb_safetensors_count(l->file); t++)
        for (int i = 0; i < ARRAYS; i++) {
            const cb_tensor_info *tensor = l->tensor[i];
            if (tensor != cb_safetensors_tensor(l->file, t)) continue;
            size_t count = count_of(tensor);
            CB_TRY(cb_allocate(
                l->allocator, &l->values[i], count, cb_dtypes[arrays[i].dtype].bytes, "bank that is read"));
            CB_TRY(cb_safetensors_read_as(l->file, tensor, arrays[i].dtype, l->values[i], count));
        }
    return cb_safetensors_has_checksums(l->file) ? CRIBO_OK : cb_safetensors_finish(l->file);
}

/* Replaces the bank's content by the arrays. */
static cribo_status adopt(const loading *l)
{
    char problem[300];
    const uint64_t images = l->tensor[PER_IMAGE]->shape[0];
    const int64_t *per_image = l->values[PER_IMAGE];
    uint64_t objects = 0;
    for (uint64_t i = 0; i < images; i++) objects += (uint64_t)per_image[i];
    CB_TRY(check_axis(l, VIEW1, 0, objects)); /* the bank refuses negative counts */
    cb_objects content = {(size_t)images, per_image, {l->values[VIEW1], l->values[VIEW2]}, l->values[IDS]};
    cribo_status status = cb_memory_bank_import(l->bank, &content);
    if (status == CRIBO_OK) return status;
    snprintf(problem, sizeof problem, "%s", cribo_last_error());
    return cb_fail(status, "%.200s: %s", l->path, problem);
}

cribo_status cb_bank_read(
    const cb_allocator *allocator, cb_memory_bank *bank, cb_place place, const char *prefix)
{
    loading l = {.allocator = allocator, .bank = bank, .path = place.path, .prefix = prefix};
    CB_TRY(cb_safetensors_open(allocator, &l.file, place));
    cribo_status status = check_shapes(&l);
    if (status == CRIBO_OK) status = read_arrays(&l);
    if (status == CRIBO_OK) status = adopt(&l);
    for (int i = 0; i < ARRAYS; i++) cb_release(allocator, l.values[i]);
    cb_safetensors_close(l.file);
    return status;
}
