/*
 * Safetensors files (the format of Hugging Face): named tensors and text metadata.
 *
 * u64 header length n, little-endian; n bytes of JSON, an object, padded with spaces: name ->
 * {dtype, shape, data_offsets}, and "__metadata__" -> {string: string}; then the tensors, row-major,
 * without holes or overlaps, up to the end of the file.
 *
 * The writer stores float32, int64 and bytes. The reader reads these, converts float16, bfloat16 and float64
 * to float32, and lists tensors of every type.
 * What the reader accepts is checked in whole when it opens: sizes and offsets can be trusted afterwards.
 * Memory stays below a small multiple of the header, which cannot be longer than the file can hold.
 *
 * A file may be compressed as a whole by gzip: the reader notices. Such a file is read as a stream: tensors
 * in the order of their bytes take one pass, and only cb_safetensors_finish has seen all of it.
 *
 * Checksums stand in the metadata: "crc32" comes first, the CRC-32 of the header's bytes with its own eight
 * digits as zeros; then "crc32." + name for each tensor. What has them is verified: the header when it is
 * opened, a tensor when it is read.
 */
#ifndef CB_IO_SAFETENSORS_H
#define CB_IO_SAFETENSORS_H

#include "base/file.h"
#include "base/memory.h"
#include "base/pool.h"

#define CB_MOST_AXES 8
#define CB_MOST_HEADER_BYTES 100000000 /* as in the format's own implementation */

typedef struct cb_metadata_pair {
    const char *key;
    const char *value;
} cb_metadata_pair;

/* The types that are read and written, and their names in the format. */
typedef enum cb_dtype { CB_F32, CB_I64, CB_U8 } cb_dtype;

typedef struct cb_dtype_traits {
    const char *name;
    size_t bytes;
} cb_dtype_traits;

extern const cb_dtype_traits cb_dtypes[]; /* by cb_dtype */

/* Bytes that lie together. */
typedef struct cb_stretch {
    const void *bytes;
    size_t count;
} cb_stretch;

/*
 * Values that are fetched piece by piece. fetch puts the `bytes` bytes from `offset` on into `piece`, which
 * has room for piece_bytes.
 */
typedef struct cb_fetched {
    cribo_status (*fetch)(void *context, size_t offset, size_t bytes, void *piece);
    void *context;
    void *piece;
    size_t piece_bytes;
} cb_fetched;

/* A tensor to write, named prefix + name. */
typedef struct cb_tensor_entry {
    const char *prefix; /* NULL: none */
    const char *name;
    int64_t axes;
    int64_t shape[CB_MOST_AXES];
    const void *values; /* borrowed during the call */
    cb_dtype dtype;
    const cb_stretch
        *stretches; /* the values in pieces, when `values` is NULL; as many bytes as the shape has */
    size_t stretch_count;
    const cb_fetched *fetched; /* in a compressed file: where the values come from; NULL: from above */
} cb_tensor_entry;

/*
 * Replaces the file at `place` atomically by one with these tensors in this order and this metadata, streamed
 * without a second copy. Names differ from each other, keys too. Same arguments, same bytes. Errors:
 * CRIBO_IO_ERROR, CRIBO_OUT_OF_MEMORY, CRIBO_INVALID_ARGUMENT (a string is not UTF-8, the header would
 * exceed 100 MB); the old file is then as it was.
 */
cribo_status cb_safetensors_write(const cb_allocator *allocator, cb_place place,
    const cb_tensor_entry *entries, size_t count, const cb_metadata_pair *metadata, size_t pairs);

/* Only makes the fetches of cb_safetensors_write_gzip: for a rank whose part of them another rank writes. */
cribo_status cb_safetensors_fetch_only(const cb_tensor_entry *entries, size_t count);

/*
 * The same compressed by gzip, level 0 to 9, by all workers of the pool, with checksums. Same arguments but
 * for the pool, same bytes.
 */
typedef struct cb_compression {
    cb_pool *pool;
    int level;
} cb_compression;
/* Every fetch is made twice, to the end, also after a failure, unless a fetch fails. */
cribo_status cb_safetensors_write_gzip(const cb_allocator *allocator, const cb_compression *compression,
    cb_place place, const cb_tensor_entry *entries, size_t count, const cb_metadata_pair *metadata,
    size_t pairs);

/* A tensor in a file. */
typedef struct cb_tensor_info {
    const char *name;
    const char *dtype; /* "F32", ... */
    size_t axes;
    uint64_t shape[CB_MOST_AXES]; /* of the first axes, where there are more */
    uint64_t elements;
    uint64_t begin, end; /* bytes after the header */
} cb_tensor_info;

typedef struct cb_safetensors cb_safetensors;

/*
 * Opens a file and reads its header; the file stays open, free with cb_safetensors_close (NULL is fine).
 * `allocator` is copied. Errors: CRIBO_IO_ERROR, CRIBO_OUT_OF_MEMORY, CRIBO_CORRUPT (file, tensor and
 * offset named); *out is then NULL.
 */
cribo_status cb_safetensors_open(const cb_allocator *allocator, cb_safetensors **out, cb_place place);
void cb_safetensors_close(cb_safetensors *file);

/* Tensors and metadata pairs in the order of the file; the pointed-to data live as long as `file`. */
size_t cb_safetensors_count(const cb_safetensors *file);
const cb_tensor_info *cb_safetensors_tensor(const cb_safetensors *file, size_t index);
size_t cb_safetensors_pair_count(const cb_safetensors *file);
const cb_metadata_pair *cb_safetensors_pair(const cb_safetensors *file, size_t index);

/* The tensor named prefix + name (prefix NULL: none), or NULL. */
const cb_tensor_info *cb_safetensors_find(const cb_safetensors *file, const char *prefix, const char *name);

/* The value of a metadata key, or NULL. */
const char *cb_safetensors_metadata(const cb_safetensors *file, const char *key);

/* Has the file checksums of its header and of every tensor? */
bool cb_safetensors_has_checksums(const cb_safetensors *file);

/* Whether cb_safetensors_read can read the tensor. */
bool cb_tensor_is_real(const cb_tensor_info *tensor);

/* Is the tensor of this type? */
bool cb_tensor_is(const cb_tensor_info *tensor, cb_dtype dtype);

/*
 * Reads a whole tensor of `count` elements. Errors: CRIBO_INVALID_ARGUMENT (another type or count),
 * CRIBO_IO_ERROR, CRIBO_CORRUPT (the file has shrunk, is damaged, or the checksum does not fit); values may
 * then be partly written.
 */
cribo_status cb_safetensors_read_as(
    const cb_safetensors *file, const cb_tensor_info *tensor, cb_dtype dtype, void *values, size_t count);

/*
 * The same for float32, piece by piece: `take` gets `count` numbers from number `first` on, in `piece` with
 * room for `most` numbers. All but the last piece have `most` numbers.
 */
typedef void cb_take_piece(void *context, size_t first, const float *piece, size_t count);
cribo_status cb_safetensors_read_pieces(const cb_safetensors *file, const cb_tensor_info *tensor,
    float *piece, size_t most, cb_take_piece *take, void *context);

/*
 * The same for float32; tensors of float16, bfloat16 and float64 are converted (to nearest, ties to even).
 */
cribo_status cb_safetensors_read(
    const cb_safetensors *file, const cb_tensor_info *tensor, float *values, size_t count);

/*
 * Reads a compressed file to its end, if that has not been reached: CRIBO_CORRUPT unless it ends, sound, with
 * the last tensor.
 */
cribo_status cb_safetensors_finish(const cb_safetensors *file);

#endif
