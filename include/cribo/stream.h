/*
 * cribo/stream.h: saving and loading through memory, or through functions of the caller.
 *
 * Every function that saves to a path has a twin ..._save_to with a writer, and every function that loads
 * from a path one ..._load_from with a reader. The bytes are those of the file.
 *
 *   cribo_buffer *buffer;
 *   cribo_writer writer = {.struct_size = sizeof writer};
 *   cribo_buffer_create(&buffer, NULL);
 *   cribo_buffer_writer(buffer, &writer);
 *   cribo_trainer_save_to(trainer, &writer, NULL);
 *
 * A path is replaced as a whole or not at all. A writer has received a part of the bytes when a call fails:
 * keep its target only after CRIBO_OK. A loading function verifies everything before it changes its handle,
 * whether it reads a path or a reader.
 */
#ifndef CRIBO_STREAM_H
#define CRIBO_STREAM_H

#include "cribo/base.h"

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Receives bytes, in order.
 *
 * write  takes `count` > 0 bytes and returns 0; or returns an errno, such as ENOSPC, which ends the call with
 *        CRIBO_IO_ERROR (ENOMEM: CRIBO_OUT_OF_MEMORY) and is that of cribo_last_errno
 * user   is passed to `write`
 *
 * The function runs on the thread of the call, and must not call the library on the handle that is saved.
 */
typedef struct cribo_writer {
    size_t struct_size; /* sizeof(cribo_writer) */
    int (*write)(void *user, const void *bytes, size_t count);
    void *user;
} cribo_writer;

/*
 * Gives bytes from any place.
 *
 * read  copies the bytes offset ... offset + count - 1, count > 0, and returns 0; or returns an errno, as
 *       above. It is never asked for bytes beyond `size`, and may be asked for the same bytes again
 * size  the number of all bytes
 * user  is passed to `read`
 */
typedef struct cribo_reader {
    size_t struct_size; /* sizeof(cribo_reader) */
    int (*read)(void *user, uint64_t offset, void *bytes, size_t count);
    uint64_t size;
    void *user;
} cribo_reader;

/* Memory that grows as a writer fills it. */
typedef struct cribo_buffer cribo_buffer;

/*
 * Makes an empty buffer. Of `runtime` (NULL: malloc) only the allocator is used.
 * Ownership: free with cribo_buffer_free.
 * Errors: CRIBO_INVALID_ARGUMENT, CRIBO_OUT_OF_MEMORY.
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_buffer_create(cribo_buffer **out, const cribo_runtime *runtime);

/* Frees a buffer and its bytes; NULL is fine. */
CRIBO_API void cribo_buffer_free(cribo_buffer *buffer);

/*
 * A writer that appends to the buffer. writer->struct_size is set by the caller.
 * Ownership: the writer borrows the buffer.
 * Errors: CRIBO_INVALID_ARGUMENT (NULL, struct_size not set).
 * Cost: writing doubles the memory when it is full, and copies the bytes so far.
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_buffer_writer(cribo_buffer *buffer, cribo_writer *writer);

/*
 * The bytes so far, and their number.
 * Ownership: *bytes is borrowed: it belongs to the buffer, until it is written to, cleared or freed.
 * Errors: CRIBO_INVALID_ARGUMENT (NULL).
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_buffer_bytes(
    const cribo_buffer *buffer, const void **bytes, size_t *count);

/*
 * Empties the buffer, for example after a save that failed; its memory stays.
 * Errors: CRIBO_INVALID_ARGUMENT (NULL).
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_buffer_clear(cribo_buffer *buffer);

/*
 * A reader of `count` bytes in memory. reader->struct_size is set by the caller.
 * Ownership: the reader borrows the bytes.
 * Errors: CRIBO_INVALID_ARGUMENT (NULL; bytes NULL and count not 0; struct_size not set).
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_memory_reader(
    const void *bytes, size_t count, cribo_reader *reader);

#ifdef __cplusplus
}
#endif

#endif
