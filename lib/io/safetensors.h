/*
 * Safetensors files (the format of Hugging Face): named tensors and text metadata.
 *
 * u64 header length n, little-endian; n bytes of JSON that begin with '{', padded with spaces: name ->
 * {dtype, shape, data_offsets}, and "__metadata__" -> {string: string}; then the tensors, row-major,
 * without holes or overlaps, up to the end of the file.
 *
 * The writer stores float32, the reader lists tensors of every type and reads float32. What the reader
 * accepts is checked in whole when it opens: sizes and offsets can be trusted afterwards. Memory stays
 * below a small multiple of the header, which cannot be longer than the file.
 */
#ifndef CB_IO_SAFETENSORS_H
#define CB_IO_SAFETENSORS_H

#include "base/memory.h"

#define CB_MOST_AXES 8
#define CB_MOST_HEADER_BYTES 100000000 /* as in the format's own implementation */

typedef struct cb_metadata_pair {
    const char *key;
    const char *value;
} cb_metadata_pair;

/* A tensor to write, named prefix + name. */
typedef struct cb_tensor_entry {
    const char *prefix; /* NULL: none */
    const char *name;
    int64_t axes;
    int64_t shape[CB_MOST_AXES];
    const float *values; /* borrowed during the call */
} cb_tensor_entry;

/*
 * Replaces `path` atomically by a file with these tensors in this order and this metadata, streamed without
 * a second copy. Names differ from each other, keys too. Same arguments, same bytes. Errors:
 * CRIBO_IO_ERROR, CRIBO_OUT_OF_MEMORY, CRIBO_INVALID_ARGUMENT (a string is not UTF-8, the header would
 * exceed 100 MB); the old file is then as it was.
 */
cribo_status cb_safetensors_write(const cb_allocator *allocator, const char *path,
    const cb_tensor_entry *entries, size_t count, const cb_metadata_pair *metadata, size_t pairs);

/* A tensor in a file. */
typedef struct cb_tensor_info {
    const char *name;
    const char *dtype; /* "F32", ... */
    size_t axes;
    uint64_t shape[CB_MOST_AXES];
    uint64_t begin, end; /* bytes after the header */
} cb_tensor_info;

typedef struct cb_safetensors cb_safetensors;

/*
 * Opens a file and reads its header; the file stays open, free with cb_safetensors_close (NULL is fine).
 * `allocator` is copied. Errors: CRIBO_IO_ERROR, CRIBO_OUT_OF_MEMORY, CRIBO_CORRUPT (file, tensor and
 * offset named); *out is then NULL.
 */
cribo_status cb_safetensors_open(const cb_allocator *allocator, cb_safetensors **out, const char *path);
void cb_safetensors_close(cb_safetensors *file);

/* Tensors and metadata pairs in the order of the file; what is pointed to lives as long as `file`. */
size_t cb_safetensors_count(const cb_safetensors *file);
const cb_tensor_info *cb_safetensors_tensor(const cb_safetensors *file, size_t index);
size_t cb_safetensors_pair_count(const cb_safetensors *file);
const cb_metadata_pair *cb_safetensors_pair(const cb_safetensors *file, size_t index);

/* The tensor named prefix + name (prefix NULL: none), or NULL. */
const cb_tensor_info *cb_safetensors_find(const cb_safetensors *file, const char *prefix, const char *name);

/* The value of a metadata key, or NULL. */
const char *cb_safetensors_metadata(const cb_safetensors *file, const char *key);

/*
 * Reads a whole float32 tensor of `count` elements. Errors: CRIBO_INVALID_ARGUMENT (another type or count),
 * CRIBO_IO_ERROR, CRIBO_CORRUPT (the file has shrunk); values may then be partly written.
 */
cribo_status cb_safetensors_read(
    const cb_safetensors *file, const cb_tensor_info *tensor, float *values, size_t count);

#endif
