/*
 * gzip files (RFC 1952) on zlib: written atomically in members that a pool compresses in parallel, read as
 * one stream.
 *
 * The writer cuts its input into members of CB_GZIP_MEMBER_BYTES, so the file's bytes depend on content and
 * level, never on the number of threads. The reader follows any number of members and verifies each one's
 * CRC-32 and length; its memory does not grow with the file. Only the calling thread uses the allocator.
 */
#ifndef CB_IO_GZIP_H
#define CB_IO_GZIP_H

#include "base/file.h"
#include "base/pool.h"

#define CB_GZIP_MEMBER_BYTES \
    ((size_t)1 \
        << 20) /* large enough that a new window costs nothing, small enough for every worker to have one */
#define CB_GZIP_MOST_EXPANSION 1032 /* of deflate: maximum ratio of content to file size */

typedef struct cb_gzip_writer cb_gzip_writer;

/*
 * Begins to replace the file at `place`, which is borrowed until the writer is finished, with level 0
 * (stored), 1 to 3 (runs only: fast) or up to 9. Writer calls fail as those of cb_file_writer, or with
 * CRIBO_OUT_OF_MEMORY; the old file is then as it was. commit and abandon always free the writer; *out is
 * NULL after a failure, and abandon accepts NULL.
 */
cribo_status cb_gzip_writer_begin(
    const cb_allocator *allocator, cb_pool *pool, cb_gzip_writer **out, cb_place place, int level);
cribo_status cb_gzip_writer_write(cb_gzip_writer *writer, const void *bytes, size_t count);
cribo_status cb_gzip_writer_commit(cb_gzip_writer *writer);
void cb_gzip_writer_abandon(cb_gzip_writer *writer);

typedef struct cb_gzip_reader cb_gzip_reader;

/*
 * True if the file starts as a gzip file, and not as a safetensors file whose header length looks like one.
 */
cribo_status cb_gzip_detect(const cb_file_reader *file, bool *is_gzip);

/* Reads `file`, which stays the caller's and open. */
cribo_status cb_gzip_reader_create(
    const cb_allocator *allocator, cb_gzip_reader **out, const cb_file_reader *file);
void cb_gzip_reader_free(cb_gzip_reader *reader);

/*
 * The bytes offset ... offset + count - 1 of the content. Skipping forward inflates the skipped content;
 * going back starts from the beginning. CRIBO_CORRUPT, with file and offset, when the content is damaged or
 * ends before them; else CRIBO_IO_ERROR.
 */
cribo_status cb_gzip_reader_read(cb_gzip_reader *reader, uint64_t offset, void *bytes, size_t count);

/* CRIBO_CORRUPT unless the content ends, sound to the last bit, `size` bytes after its beginning. */
cribo_status cb_gzip_reader_end(cb_gzip_reader *reader, uint64_t size);

#endif
