/*
 * Files: a writer that replaces a file atomically, and a reader of exact ranges.
 *
 * The writer fills a temporary file in the target's folder, flushes it to the disk and renames it over the
 * target: at any moment, even after a kill or a power loss, the target is the old file or the new one.
 * Regular files only: a folder, a device or a pipe of that name is refused. A symbolic link is replaced, not
 * followed. No allocation, no stdio, no signals.
 *
 * In place of a file, both use a caller's functions: a writer passes its bytes on as they come.
 */
#ifndef CB_BASE_FILE_H
#define CB_BASE_FILE_H

#include "base/status.h"
#include "cribo/stream.h"

#define CB_PATH_BYTES 4096 /* of a path with its terminating zero */

/* A path; or a caller's writer or reader, which `path` then names in messages. All are borrowed. */
typedef struct cb_place {
    const char *path;
    const cribo_writer *writer;
    const cribo_reader *reader;
} cb_place;

static inline cb_place cb_at(const char *path)
{
    return (cb_place){.path = path};
}

typedef struct cb_file_writer {
    const char *path;              /* the target, borrowed until commit or abandon */
    const cribo_writer *stream;    /* receives the bytes; NULL: the temporary does */
    char temporary[CB_PATH_BYTES]; /* target + ".PID-N.tmp" */
    int descriptor;                /* of the temporary; -1: none is open */
    int folder;                    /* of the folder, to flush the rename; -1: it may not be read */
} cb_file_writer;

/*
 * Starts to replace the file at `place`. A new file has the usual permissions (0666 less the umask), a
 * replaced one keeps the old one's. The three calls fail with CRIBO_IO_ERROR, path and the system's reason
 * (of a stream: its function's); the old file is then unchanged, the temporary file is removed and the writer
 * is finished. One exception: if the folder cannot be flushed after the rename, the new file stays, and the
 * message states this.
 */
cribo_status cb_file_writer_begin(cb_file_writer *writer, cb_place place);
cribo_status cb_file_writer_write(cb_file_writer *writer, const void *bytes, size_t count);
cribo_status cb_file_writer_commit(cb_file_writer *writer);

/* Abandons the new file; the target is unchanged. No effect on a finished writer. */
void cb_file_writer_abandon(cb_file_writer *writer);

typedef struct cb_file_reader {
    const char *path;           /* borrowed until close */
    const cribo_reader *stream; /* gives the bytes; NULL: the descriptor does */
    int descriptor;
    uint64_t size; /* when it was opened */
} cb_file_reader;

/* Opens a regular file. CRIBO_IO_ERROR with path and reason; the reader is then closed. */
cribo_status cb_file_reader_open(cb_file_reader *reader, cb_place place);

/*
 * The bytes offset ... offset + count - 1. CRIBO_CORRUPT if the file is shorter, otherwise
 * CRIBO_IO_ERROR.
 */
cribo_status cb_file_reader_read(const cb_file_reader *reader, uint64_t offset, void *bytes, size_t count);

/* Closing a closed reader has no effect. */
void cb_file_reader_close(cb_file_reader *reader);

#endif
