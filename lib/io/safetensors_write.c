/* Writing safetensors files. See safetensors.h. */
#include "base/file.h"
#include "io/json.h"
#include "io/safetensors.h"

#include <string.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "safetensors files are little-endian, and tensors are written as they lie in memory"
#endif

/* Bytes of a tensor; false when they are more than an address can hold. */
static bool tensor_bytes(const cb_tensor_entry *entry, size_t *bytes) {
    *bytes = sizeof(float);
    for (int64_t i = 0; i < entry->axes; i++)
        if (entry->shape[i] < 0 || !cb_multiply(*bytes, (size_t)entry->shape[i], bytes)) return false;
    return true;
}

static cribo_status check_entry(const cb_tensor_entry *entry, size_t *end) {
    size_t bytes;
    const char *prefix = entry->prefix ? entry->prefix : "";
    CB_REQUIRE(entry->axes >= 0 && entry->axes <= CB_MOST_AXES,
        "tensor \"%.100s%.100s\": axes = %lld must be in 0 ... %d", prefix, entry->name,
        (long long)entry->axes, CB_MOST_AXES);
    CB_REQUIRE(tensor_bytes(entry, &bytes) && !__builtin_add_overflow(*end, bytes, end),
        "tensor \"%.100s%.100s\": its shape is negative or larger than memory", prefix, entry->name);
    return CRIBO_OK;
}

static void put_metadata(cb_json_text *text, const cb_metadata_pair *metadata, size_t pairs) {
    cb_json_put(text, "\"__metadata__\":{");
    for (size_t i = 0; i < pairs; i++) {
        if (i > 0) cb_json_put(text, ",");
        cb_json_put_string(text, NULL, metadata[i].key);
        cb_json_put(text, ":");
        cb_json_put_string(text, NULL, metadata[i].value);
    }
    cb_json_put(text, "}");
}

static void put_entry(cb_json_text *text, const cb_tensor_entry *entry, size_t begin, size_t end) {
    cb_json_put_string(text, entry->prefix, entry->name);
    cb_json_put(text, ":{\"dtype\":\"F32\",\"shape\":[");
    for (int64_t i = 0; i < entry->axes; i++) {
        if (i > 0) cb_json_put(text, ",");
        cb_json_put_integer(text, (uint64_t)entry->shape[i]);
    }
    cb_json_put(text, "],\"data_offsets\":[");
    cb_json_put_integer(text, begin);
    cb_json_put(text, ",");
    cb_json_put_integer(text, end);
    cb_json_put(text, "]}");
}

/* The header behind its length, padded so that the tensors begin at a multiple of 8 bytes. */
static void put_header(cb_json_text *text, const cb_tensor_entry *entries, size_t count,
    const cb_metadata_pair *metadata, size_t pairs) {
    cb_json_put(text, "{");
    if (pairs > 0) put_metadata(text, metadata, pairs);
    for (size_t i = 0, end = 0, bytes; i < count; i++, end += bytes) {
        tensor_bytes(&entries[i], &bytes);
        if (i > 0 || pairs > 0) cb_json_put(text, ",");
        put_entry(text, &entries[i], end, end + bytes);
    }
    cb_json_put(text, "}");
    while (text->length % 8 != 0) cb_json_put(text, " ");
}

static cribo_status write_tensors(cb_file_writer *writer, const cb_tensor_entry *entries, size_t count) {
    for (size_t i = 0, bytes; i < count; i++) {
        tensor_bytes(&entries[i], &bytes);
        CB_TRY(cb_file_writer_write(writer, entries[i].values, bytes));
    }
    return CRIBO_OK;
}

static cribo_status write_file(
    const char *path, const cb_json_text *header, const cb_tensor_entry *entries, size_t count) {
    cb_file_writer writer;
    uint64_t length = header->length;
    CB_TRY(cb_file_writer_begin(&writer, path));
    CB_TRY(cb_file_writer_write(&writer, &length, sizeof length));
    CB_TRY(cb_file_writer_write(&writer, header->bytes, header->length));
    CB_TRY(write_tensors(&writer, entries, count));
    return cb_file_writer_commit(&writer);
}

cribo_status cb_safetensors_write(const cb_allocator *allocator, const char *path,
    const cb_tensor_entry *entries, size_t count, const cb_metadata_pair *metadata, size_t pairs) {
    void *bytes;
    cb_json_text measured = {0}, header = {0};
    size_t end = 0;
    for (size_t i = 0; i < count; i++) CB_TRY(check_entry(&entries[i], &end));
    put_header(&measured, entries, count, metadata, pairs);
    CB_REQUIRE(!measured.invalid, "%s: a tensor's name or a metadata text is not valid UTF-8", path);
    CB_REQUIRE(measured.length <= CB_MOST_HEADER_BYTES,
        "%s: names, shapes and metadata take %zu bytes, more than %d", path, measured.length,
        CB_MOST_HEADER_BYTES);

    CB_TRY(cb_allocate(allocator, &bytes, measured.length, 1, "safetensors header"));
    header.bytes = bytes;
    put_header(&header, entries, count, metadata, pairs);
    cribo_status status = write_file(path, &header, entries, count);
    cb_release(allocator, bytes);
    return status;
}
