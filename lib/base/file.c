/* Atomic replacement of files, and exact reads. See file.h. */
#ifndef _POSIX_C_SOURCE
#define _POSIX_C_SOURCE 200809L /* pread, fsync; strerror_r as POSIX has it */
#endif
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MOST_BYTES_PER_CALL \
    ((size_t)1 << 30)         /* read and write of more than SSIZE_MAX are undefined, Linux stops at 2 GiB */
#define MOST_TEMPORARIES 1000 /* left by killed processes with the same id */

static cribo_status fail_as(cribo_status status, const char *path, const char *what, int error)
{
    char reason[128];
    if (strerror_r(error, reason, sizeof reason) != 0) snprintf(reason, sizeof reason, "error %d", error);
    return cb_fail_errno(status, error, "%s: cannot %s: %s", path, what, reason);
}

static cribo_status fail(const char *path, const char *what, int error)
{
    return fail_as(CRIBO_IO_ERROR, path, what, error);
}

/* The outcome of a caller's function, which returned `error`. */
static cribo_status stream_status(const char *name, const char *what, int error)
{
    if (error == 0) return CRIBO_OK;
    return fail_as(error == ENOMEM ? CRIBO_OUT_OF_MEMORY : CRIBO_IO_ERROR, name, what, error);
}

/* Repeats a call that a signal interrupted. */
#define RETRY(result, call) \
    do { \
        (result) = (call); \
    } while ((result) < 0 && errno == EINTR)

static void close_descriptor(int *descriptor)
{
    if (*descriptor >= 0) close(*descriptor);
    *descriptor = -1;
}

void cb_file_writer_abandon(cb_file_writer *writer)
{
    close_descriptor(&writer->folder);
    close_descriptor(&writer->descriptor);
    if (writer->temporary[0]) unlink(writer->temporary);
    writer->temporary[0] = 0;
}

/* Finishes the writer after a failed system call. */
static cribo_status give_up(cb_file_writer *writer, const char *what)
{
    int error = errno;
    cb_file_writer_abandon(writer);
    return fail(writer->path, what, error);
}

/* The folder stays open from the start, so that after the rename only the flush itself can fail. */
static int open_folder(const char *path)
{
    char folder[CB_PATH_BYTES];
    const char *slash = strrchr(path, '/');
    size_t length = slash ? (size_t)(slash - path) + 1 : 0;
    int descriptor;
    memcpy(folder, path, length);
    folder[length] = 0;
    RETRY(descriptor, open(length ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    return descriptor;
}

/* A new file in the target's folder, with a name that no other writer uses. */
static int open_temporary(cb_file_writer *writer, mode_t mode)
{
    int descriptor = -1;
    for (int i = 0; i < MOST_TEMPORARIES && descriptor < 0; i++) {
        snprintf(
            writer->temporary, sizeof writer->temporary, "%s.%ld-%d.tmp", writer->path, (long)getpid(), i);
        RETRY(descriptor, open(writer->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode));
        if (descriptor < 0 && errno != EEXIST) break;
    }
    if (descriptor < 0) writer->temporary[0] = 0; /* another writer's file: do not remove it */
    return descriptor;
}

cribo_status cb_file_writer_begin(cb_file_writer *writer, cb_place place)
{
    struct stat old;
    const char *path = place.path;
    writer->path = path;
    writer->stream = place.writer;
    writer->temporary[0] = 0;
    writer->descriptor = writer->folder = -1;
    if (writer->stream) return CRIBO_OK;
    if (strlen(path) + sizeof ".-9223372036854775808-999.tmp" > CB_PATH_BYTES)
        return fail(path, "write", ENAMETOOLONG);

    bool replaces = stat(path, &old) == 0;
    if (!replaces && errno != ENOENT) return fail(path, "write", errno);
    if (replaces && !S_ISREG(old.st_mode))
        return cb_fail(CRIBO_IO_ERROR, "%s: cannot write: it is there and is not a regular file", path);

    writer->folder = open_folder(path);
    if (writer->folder < 0 && errno != EACCES) return give_up(writer, "open the folder");
    writer->descriptor = open_temporary(writer, replaces ? 0600 : 0666);
    if (writer->descriptor < 0) return give_up(writer, "create a temporary file beside it");
    if (replaces && fchmod(writer->descriptor, old.st_mode & 0777) != 0)
        return give_up(writer, "set the permissions");
    return CRIBO_OK;
}

cribo_status cb_file_writer_write(cb_file_writer *writer, const void *bytes, size_t count)
{
    const char *from = bytes;
    if (writer->stream && count > 0)
        return stream_status(
            writer->path, "write", writer->stream->write(writer->stream->user, bytes, count));
    while (count > 0) {
        ssize_t written;
        RETRY(written,
            write(writer->descriptor, from, count < MOST_BYTES_PER_CALL ? count : MOST_BYTES_PER_CALL));
        if (written == 0) errno = EIO; /* no progress and no reason */
        if (written <= 0) return give_up(writer, "write");
        from += written;
        count -= (size_t)written;
    }
    return CRIBO_OK;
}

/* Some file systems cannot flush a folder; the file is not affected. */
static bool flush_folder(int folder)
{
    int result;
    if (folder < 0) return true;
    RETRY(result, fsync(folder));
    return result == 0 || errno == EINVAL || errno == ENOTSUP;
}

cribo_status cb_file_writer_commit(cb_file_writer *writer)
{
    int result, descriptor = writer->descriptor;
    if (writer->stream) return CRIBO_OK;
    RETRY(result, fsync(descriptor));
    if (result != 0) return give_up(writer, "flush");
    writer->descriptor = -1;
    if (close(descriptor) != 0 && errno != EINTR) return give_up(writer, "close");
    if (rename(writer->temporary, writer->path) != 0)
        return give_up(writer, "rename the temporary file to it");

    writer->temporary[0] = 0;
    if (!flush_folder(writer->folder)) return give_up(writer, "flush the folder (the new file stands)");
    cb_file_writer_abandon(writer);
    return CRIBO_OK;
}

cribo_status cb_file_reader_open(cb_file_reader *reader, cb_place place)
{
    struct stat status;
    const char *path = place.path;
    *reader = (cb_file_reader){.path = path, .stream = place.reader, .descriptor = -1};
    if (place.reader) {
        reader->size = place.reader->size;
        return CRIBO_OK;
    }
    /* Without O_NONBLOCK, opening a pipe would wait for its writer. */
    RETRY(reader->descriptor, open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC));
    if (reader->descriptor < 0) return fail(path, "open", errno);
    if (fstat(reader->descriptor, &status) != 0) {
        int error = errno;
        cb_file_reader_close(reader);
        return fail(path, "find the size", error);
    }
    if (!S_ISREG(status.st_mode)) {
        cb_file_reader_close(reader);
        return cb_fail(CRIBO_IO_ERROR, "%s: cannot read: it is not a regular file", path);
    }
    reader->size = (uint64_t)status.st_size;
    return CRIBO_OK;
}

cribo_status cb_file_reader_read(const cb_file_reader *reader, uint64_t offset, void *bytes, size_t count)
{
    char *to = bytes;
    if (offset > reader->size || count > reader->size - offset)
        return cb_fail(CRIBO_CORRUPT, "%s: ends at byte %llu, but bytes %llu ... %llu are needed",
            reader->path, (unsigned long long)reader->size, (unsigned long long)offset,
            (unsigned long long)(offset + count));
    if (reader->stream && count > 0)
        return stream_status(
            reader->path, "read", reader->stream->read(reader->stream->user, offset, bytes, count));
    while (count > 0) {
        ssize_t got;
        RETRY(got, pread(reader->descriptor, to, count < MOST_BYTES_PER_CALL ? count : MOST_BYTES_PER_CALL,
                       (off_t)offset));
        if (got < 0) return fail(reader->path, "read", errno);
        if (got == 0)
            return cb_fail(CRIBO_CORRUPT, "%s: ends at byte %llu, shorter than when it was opened",
                reader->path, (unsigned long long)offset);
        to += got;
        offset += (uint64_t)got;
        count -= (size_t)got;
    }
    return CRIBO_OK;
}

void cb_file_reader_close(cb_file_reader *reader)
{
    close_descriptor(&reader->descriptor);
}
