/* cribo/stream.h: writers and readers as places of files, and memory as both. */
#include "api/streams.h"

#include "base/memory.h"
#include "base/structs.h"

#include <errno.h>
#include <string.h>

#define FIRST_BYTES ((size_t)1 << 16) /* of a buffer that grows */

cribo_status cb_import_writer(cb_stream *stream, const cribo_writer *writer)
{
    *stream = (cb_stream){.place = {.path = "writer", .writer = &stream->writer}};
    CB_TRY(CB_IMPORT(stream->writer, writer, user));
    CB_REQUIRE(stream->writer.write, "writer.write is NULL");
    return CRIBO_OK;
}

cribo_status cb_import_reader(cb_stream *stream, const cribo_reader *reader)
{
    *stream = (cb_stream){.place = {.path = "reader", .reader = &stream->reader}};
    CB_TRY(CB_IMPORT(stream->reader, reader, user));
    CB_REQUIRE(stream->reader.read, "reader.read is NULL");
    return CRIBO_OK;
}

/* --- memory --- */

struct cribo_buffer {
    cb_allocator allocator;
    unsigned char *bytes; /* NULL: nothing was written yet */
    size_t count, capacity;
};

/* The allocator of a runtime; no threads are started. */
static cribo_status import_allocator(cb_allocator *allocator, const cribo_runtime *runtime)
{
    cribo_runtime given = {0};
    *allocator = (cb_allocator){0};
    if (!runtime) return CRIBO_OK;
    CB_TRY(CB_IMPORT(given, runtime, progress_user));
    CB_REQUIRE(!given.allocate == !given.release,
        "runtime.allocate and runtime.release go together: give both or none");
    *allocator = (cb_allocator){given.allocate, given.release, given.allocator_user};
    return CRIBO_OK;
}

cribo_status cribo_buffer_create(cribo_buffer **out, const cribo_runtime *runtime)
{
    cb_allocator allocator;
    cribo_buffer *buffer;
    CB_REQUIRE_POINTER(out);
    *out = NULL;
    CB_TRY(import_allocator(&allocator, runtime));
    CB_TRY(CB_ALLOCATE(&allocator, &buffer, 1, "buffer"));
    buffer->allocator = allocator;
    *out = buffer;
    return CRIBO_OK;
}

void cribo_buffer_free(cribo_buffer *buffer)
{
    if (!buffer) return;
    cb_allocator allocator = buffer->allocator;
    cb_release(&allocator, buffer->bytes);
    cb_release(&allocator, buffer);
}

static bool grow(cribo_buffer *buffer, size_t needed)
{
    unsigned char *bytes;
    size_t capacity = buffer->capacity ? buffer->capacity : FIRST_BYTES;
    while (capacity < needed)
        if (!cb_multiply(capacity, 2, &capacity)) capacity = needed;
    if (CB_ALLOCATE_UNCLEARED(&buffer->allocator, &bytes, capacity, "buffer") != CRIBO_OK) return false;
    if (buffer->count > 0) memcpy(bytes, buffer->bytes, buffer->count);
    cb_release(&buffer->allocator, buffer->bytes);
    buffer->bytes = bytes;
    buffer->capacity = capacity;
    return true;
}

static int append(void *user, const void *bytes, size_t count)
{
    cribo_buffer *buffer = user;
    if (count > SIZE_MAX - buffer->count) return ENOMEM;
    size_t needed = buffer->count + count;
    if (needed > buffer->capacity && !grow(buffer, needed)) return ENOMEM;
    memcpy(buffer->bytes + buffer->count, bytes, count);
    buffer->count = needed;
    return 0;
}

cribo_status cribo_buffer_writer(cribo_buffer *buffer, cribo_writer *writer)
{
    CB_REQUIRE_POINTER(buffer);
    CB_REQUIRE_POINTER(writer);
    CB_TRY(cb_check_size("writer", writer->struct_size, CB_SIZE_THROUGH(*writer, user), sizeof *writer));
    cb_struct_export(writer, &(cribo_writer){.write = append, .user = buffer}, sizeof *writer);
    return CRIBO_OK;
}

cribo_status cribo_buffer_bytes(const cribo_buffer *buffer, const void **bytes, size_t *count)
{
    CB_REQUIRE_POINTER(buffer);
    CB_REQUIRE_POINTER(bytes);
    CB_REQUIRE_POINTER(count);
    *bytes = buffer->bytes;
    *count = buffer->count;
    return CRIBO_OK;
}

cribo_status cribo_buffer_clear(cribo_buffer *buffer)
{
    CB_REQUIRE_POINTER(buffer);
    buffer->count = 0;
    return CRIBO_OK;
}

static int copy_range(void *user, uint64_t offset, void *bytes, size_t count)
{
    memcpy(bytes, (const char *)user + offset, count);
    return 0;
}

cribo_status cribo_memory_reader(const void *bytes, size_t count, cribo_reader *reader)
{
    CB_REQUIRE(bytes || count == 0, "bytes is NULL, but count = %zu", count);
    CB_REQUIRE_POINTER(reader);
    CB_TRY(cb_check_size("reader", reader->struct_size, CB_SIZE_THROUGH(*reader, user), sizeof *reader));
    const cribo_reader made = {.read = copy_range, .size = count, .user = (void *)(uintptr_t)bytes};
    cb_struct_export(reader, &made, sizeof made);
    return CRIBO_OK;
}
