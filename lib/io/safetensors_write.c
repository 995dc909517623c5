/* Writing safetensors files. See safetensors.h. */
#include "io/gzip.h"
#include "io/json.h"
#include "io/safetensors.h"
#include "io/safetensors_checksums.h"

#include <stdio.h>
#include <string.h>
#include <zlib.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "safetensors files are little-endian, and tensors are written as they lie in memory"
#endif

const cb_dtype_traits cb_dtypes[] = {[CB_F32] = {"F32", 4}, [CB_I64] = {"I64", 8}, [CB_U8] = {"U8", 1}};

/* What goes into a file. */
typedef struct content {
    const cb_tensor_entry *entries;
    size_t count;
    const cb_metadata_pair *metadata;
    size_t pairs;
    uint32_t *checksums; /* of the tensors; NULL: the file has none */
} content;

/* Where the bytes go: nowhere after the first failure. */
typedef struct sink {
    cribo_status (*write)(void *to, const void *bytes, size_t count); /* NULL: nowhere */
    void *to;
    cribo_status status;
} sink;

static void put(sink *to, const void *bytes, size_t count)
{
    if (to->write && to->status == CRIBO_OK) to->status = to->write(to->to, bytes, count);
}

/* Bytes of a tensor; false when they are more than an address can hold. */
static bool tensor_bytes(const cb_tensor_entry *entry, size_t *bytes)
{
    *bytes = cb_dtypes[entry->dtype].bytes;
    for (int64_t i = 0; i < entry->axes; i++)
        if (entry->shape[i] < 0 || !cb_multiply(*bytes, (size_t)entry->shape[i], bytes)) return false;
    return true;
}

static cribo_status check_entry(const cb_tensor_entry *entry, size_t *end)
{
    size_t bytes;
    const char *prefix = entry->prefix ? entry->prefix : "";
    CB_REQUIRE(entry->axes >= 0 && entry->axes <= CB_MOST_AXES,
        "tensor \"%.100s%.100s\": axes = %lld must be in 0 ... %d", prefix, entry->name,
        (long long)entry->axes, CB_MOST_AXES);
    CB_REQUIRE(tensor_bytes(entry, &bytes) && !__builtin_add_overflow(*end, bytes, end),
        "tensor \"%.100s%.100s\": its shape is negative or larger than memory", prefix, entry->name);
    return CRIBO_OK;
}

/* The tensor's values as stretches: its own, or `whole`. */
static size_t stretches_of(const cb_tensor_entry *entry, cb_stretch *whole, const cb_stretch **stretches)
{
    *stretches = entry->values ? whole : entry->stretches;
    whole->bytes = entry->values;
    if (!tensor_bytes(entry, &whole->count)) whole->count = 0;
    return entry->values ? 1 : entry->stretch_count;
}

/* Passes on a tensor's values. Fails only if a fetch fails; others fetch along, so all pieces are fetched. */
static cribo_status put_tensor(sink *to, const cb_tensor_entry *entry)
{
    cb_stretch whole;
    const cb_stretch *stretches;
    size_t count = stretches_of(entry, &whole, &stretches);
    const cb_fetched *f = entry->fetched;
    for (size_t i = 0; !f && i < count; i++) put(to, stretches[i].bytes, stretches[i].count);
    for (size_t at = 0; f && at < whole.count; at += f->piece_bytes) {
        size_t bytes = cb_min(f->piece_bytes, whole.count - at);
        CB_TRY(f->fetch(f->context, at, bytes, f->piece));
        put(to, f->piece, bytes);
    }
    return CRIBO_OK;
}

cribo_status cb_safetensors_fetch_only(const cb_tensor_entry *entries, size_t count)
{
    sink nowhere = {0};
    for (int pass = 0; pass < 2; pass++)
        for (size_t i = 0; i < count; i++)
            if (entries[i].fetched) CB_TRY(put_tensor(&nowhere, &entries[i]));
    return CRIBO_OK;
}

/* --- checksums --- */

static void sum_tensor(void *context, size_t task, size_t worker)
{
    const content *c = context;
    cb_stretch whole;
    const cb_stretch *stretches;
    size_t count = stretches_of(&c->entries[task], &whole, &stretches);
    uLong sum = crc32_z(0, NULL, 0);
    (void)worker;
    if (c->entries[task].fetched) return;
    for (size_t i = 0; i < count; i++)
        if (stretches[i].count > 0) sum = crc32_z(sum, stretches[i].bytes, stretches[i].count);
    c->checksums[task] = (uint32_t)sum;
}

static cribo_status add_to_sum(void *to, const void *bytes, size_t count)
{
    uLong *sum = to;
    *sum = crc32_z(*sum, bytes, count);
    return CRIBO_OK;
}

/* Those of fetched tensors, on this thread. c->checksums may be NULL: then there is no memory for them. */
static cribo_status sum_fetched(const content *c)
{
    for (size_t i = 0; i < c->count; i++) {
        uLong sum = crc32_z(0, NULL, 0);
        sink to = {add_to_sum, &sum, CRIBO_OK};
        if (!c->entries[i].fetched) continue;
        CB_TRY(put_tensor(&to, &c->entries[i]));
        if (c->checksums) c->checksums[i] = (uint32_t)sum;
    }
    return CRIBO_OK;
}

/* Puts the header's sum into its place. */
static void sum_header(cb_json_text *header)
{
    char digits[CB_CHECKSUM_DIGITS + 1];
    uLong sum = crc32_z(crc32_z(0, NULL, 0), (const unsigned char *)header->bytes, header->length);
    snprintf(digits, sizeof digits, CB_CHECKSUM_FORMAT, (unsigned long)(uint32_t)sum);
    memcpy(header->bytes + sizeof CB_CHECKSUM_BEGIN - 1, digits, CB_CHECKSUM_DIGITS);
}

/* --- the header --- */

/* "prefix + head + tail": value */
static void put_key(cb_json_text *text, const char *head, const char *tail, const char *value)
{
    cb_json_put_string(text, head, tail);
    cb_json_put(text, ":");
    cb_json_put_string(text, NULL, value);
}

static void put_checksum(cb_json_text *text, const cb_tensor_entry *entry, uint32_t checksum)
{
    char digits[CB_CHECKSUM_DIGITS + 1];
    snprintf(digits, sizeof digits, CB_CHECKSUM_FORMAT, (unsigned long)checksum);
    cb_json_put(text, ",\"" CB_CHECKSUM_PREFIX);
    if (entry->prefix) cb_json_put_escaped(text, entry->prefix);
    cb_json_put_escaped(text, entry->name);
    cb_json_put(text, "\":\"");
    cb_json_put(text, digits);
    cb_json_put(text, "\"");
}

/* {"__metadata__":{...} */
static void put_metadata(cb_json_text *text, const content *c)
{
    if (c->checksums)
        cb_json_put(text, CB_CHECKSUM_BEGIN CB_CHECKSUM_NONE "\"");
    else
        cb_json_put(text, "{\"__metadata__\":{");
    for (size_t i = 0; i < c->pairs; i++) {
        if (i > 0 || c->checksums) cb_json_put(text, ",");
        put_key(text, NULL, c->metadata[i].key, c->metadata[i].value);
    }
    for (size_t i = 0; c->checksums && i < c->count; i++) put_checksum(text, &c->entries[i], c->checksums[i]);
    cb_json_put(text, "}");
}

static void put_entry(cb_json_text *text, const cb_tensor_entry *entry, size_t begin, size_t end)
{
    cb_json_put_string(text, entry->prefix, entry->name);
    cb_json_put(text, ":{\"dtype\":\"");
    cb_json_put(text, cb_dtypes[entry->dtype].name);
    cb_json_put(text, "\",\"shape\":[");
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
static void put_header(cb_json_text *text, const content *c)
{
    bool described = c->pairs > 0 || c->checksums;
    if (described)
        put_metadata(text, c);
    else
        cb_json_put(text, "{");
    for (size_t i = 0, end = 0, bytes; i < c->count; i++, end += bytes) {
        tensor_bytes(&c->entries[i], &bytes);
        if (i > 0 || described) cb_json_put(text, ",");
        put_entry(text, &c->entries[i], end, end + bytes);
    }
    cb_json_put(text, "}");
    while (text->length % 8 != 0) cb_json_put(text, " ");
}

static cribo_status make_header(
    const cb_allocator *allocator, const content *c, const char *path, cb_json_text *header)
{
    cb_json_text measured = {0};
    size_t end = 0;
    *header = measured;
    for (size_t i = 0; i < c->count; i++) CB_TRY(check_entry(&c->entries[i], &end));
    put_header(&measured, c);
    CB_REQUIRE(!measured.invalid, "%s: a tensor's name or a metadata text is not valid UTF-8", path);
    CB_REQUIRE(measured.length <= CB_MOST_HEADER_BYTES,
        "%s: names, shapes and metadata take %zu bytes, more than %d", path, measured.length,
        CB_MOST_HEADER_BYTES);

    CB_TRY(CB_ALLOCATE(allocator, &header->bytes, measured.length, "safetensors header"));
    put_header(header, c);
    if (c->checksums) sum_header(header);
    return CRIBO_OK;
}

/* --- the file --- */

static cribo_status write_content(sink *to, const cb_json_text *header, const content *c)
{
    uint64_t length = header->length;
    put(to, &length, sizeof length);
    put(to, header->bytes, header->length);
    for (size_t i = 0; i < c->count; i++) CB_TRY(put_tensor(to, &c->entries[i]));
    return to->status;
}

static cribo_status write_plain(void *to, const void *bytes, size_t count)
{
    return cb_file_writer_write(to, bytes, count);
}

static cribo_status write_compressed(void *to, const void *bytes, size_t count)
{
    return cb_gzip_writer_write(to, bytes, count);
}

static cribo_status write_file(cb_place place, const cb_json_text *header, const content *c)
{
    cb_file_writer writer;
    CB_TRY(cb_file_writer_begin(&writer, place));
    CB_TRY(write_content(&(sink){write_plain, &writer, CRIBO_OK}, header, c));
    return cb_file_writer_commit(&writer);
}

cribo_status cb_safetensors_write(const cb_allocator *allocator, cb_place place,
    const cb_tensor_entry *entries, size_t count, const cb_metadata_pair *metadata, size_t pairs)
{
    const content c = {entries, count, metadata, pairs, NULL};
    cb_json_text header;
    CB_TRY(make_header(allocator, &c, place.path, &header));
    cribo_status status = write_file(place, &header, &c);
    cb_release(allocator, header.bytes);
    return status;
}

/* `status`: whether the header could be made. */
static cribo_status write_gzip(const cb_allocator *allocator, const cb_compression *compression,
    cb_place place, const cb_json_text *header, const content *c, cribo_status status)
{
    cb_gzip_writer *writer = NULL;
    if (status == CRIBO_OK)
        status = cb_gzip_writer_begin(allocator, compression->pool, &writer, place, compression->level);
    status = write_content(&(sink){write_compressed, writer, status}, header, c);
    if (status == CRIBO_OK) return cb_gzip_writer_commit(writer);
    if (writer) cb_gzip_writer_abandon(writer);
    return status;
}

cribo_status cb_safetensors_write_gzip(const cb_allocator *allocator, const cb_compression *compression,
    cb_place place, const cb_tensor_entry *entries, size_t count, const cb_metadata_pair *metadata,
    size_t pairs)
{
    content c = {entries, count, metadata, pairs, NULL};
    cb_json_text header = {0};
    cribo_status status = CB_ALLOCATE(allocator, &c.checksums, count, "checksums");
    if (status == CRIBO_OK) cb_pool_run(compression->pool, count, sum_tensor, &c);
    cribo_status fetched = sum_fetched(&c);
    if (status == CRIBO_OK) status = make_header(allocator, &c, place.path, &header);
    status = fetched != CRIBO_OK ? fetched : write_gzip(allocator, compression, place, &header, &c, status);
    cb_release(allocator, header.bytes);
    cb_release(allocator, c.checksums);
    return status;
}
