/*
 * Safetensors files, compressed or not: what is accepted can be read to the end, and found by name; memory
 * stays below a multiple of what the file can hold.
 */
#include "fuzz/fuzz.h"
#include "support/mend.h"
#include "io/gzip.h"
#include "io/safetensors.h"

#include <stdlib.h>
#include <string.h>

#define MOST_READ ((uint64_t)1 << 24) /* bytes of a tensor; one of a compressed file may claim far more */

size_t fuzz_mend(uint8_t *data, size_t size, size_t room)
{
    (void)room;
    mend_checksums(data, size);
    return size;
}

static cribo_status read_tensor(const cb_safetensors *file, const cb_tensor_info *tensor)
{
    uint64_t bytes = tensor->end - tensor->begin;
    FUZZ_EXPECT(cb_safetensors_find(file, NULL, tensor->name) == tensor, "%s is not found", tensor->name);
    FUZZ_EXPECT(tensor->begin <= tensor->end && tensor->axes <= CB_MOST_AXES, "%s", tensor->name);
    if (bytes > MOST_READ) return CRIBO_OK;
    for (int type = CB_F32; type <= CB_U8; type++) {
        if (!cb_tensor_is(tensor, (cb_dtype)type)) continue;
        void *values = malloc(bytes + 1);
        cribo_status status = cb_safetensors_read_as(
            file, tensor, (cb_dtype)type, values, (size_t)bytes / cb_dtypes[type].bytes);
        free(values);
        return status;
    }
    return CRIBO_OK;
}

static cribo_status read_whole(const char *path)
{
    cb_allocator allocator = fuzz_allocator();
    cb_safetensors *file;
    CB_TRY(cb_safetensors_open(&allocator, &file, cb_at(path)));
    cribo_status status = CRIBO_OK;
    for (size_t i = 0; status == CRIBO_OK && i < cb_safetensors_count(file); i++)
        status = read_tensor(file, cb_safetensors_tensor(file, i));
    for (size_t i = 0; i < cb_safetensors_pair_count(file); i++) {
        const cb_metadata_pair *pair = cb_safetensors_pair(file, i);
        const char *value = cb_safetensors_metadata(file, pair->key);
        FUZZ_EXPECT(value && strcmp(value, pair->value) == 0, "%s is not found", pair->key);
    }
    if (status == CRIBO_OK) status = cb_safetensors_finish(file);
    cb_safetensors_close(file);
    return status;
}

void fuzz_one(const uint8_t *data, size_t size)
{
    const char *path = fuzz_file(data, size);
    bool packed = size > 1 && data[0] == 0x1f && data[1] == 0x8b;
    fuzz_outcome(read_whole(path), path);
    fuzz_memory_end(((size_t)1 << 20) + 16 * size * (packed ? CB_GZIP_MOST_EXPANSION : 1));
}
