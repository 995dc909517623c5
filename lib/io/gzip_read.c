/* Reading gzip files. See gzip.h. */
#include "io/gzip.h"

#include "io/zlib_memory.h"

#include <limits.h>
#include <string.h>

#define INPUT_BYTES ((size_t)1 << 16)

struct cb_gzip_reader {
    cb_allocator allocator;
    const cb_file_reader *file;
    z_stream stream;
    bool begun;        /* the stream has memory */
    bool in_member;    /* its end is still to come */
    uint64_t loaded;   /* bytes of the file that have been taken into `input` so far */
    uint64_t position; /* of the next byte of the content */
    unsigned char input[INPUT_BYTES], passed_over[INPUT_BYTES];
};

cribo_status cb_gzip_detect(const cb_file_reader *file, bool *is_gzip)
{
    unsigned char head[9];
    *is_gzip = false;
    if (file->size < sizeof head) return CRIBO_OK;
    CB_TRY(cb_file_reader_read(file, 0, head, sizeof head));
    *is_gzip = head[0] == 0x1f && head[1] == 0x8b && head[2] == Z_DEFLATED && head[8] != '{';
    return CRIBO_OK;
}

static cribo_status no_memory(const cb_gzip_reader *reader)
{
    return cb_fail(CRIBO_OUT_OF_MEMORY, "%.200s: no memory for decompression", reader->file->path);
}

cribo_status cb_gzip_reader_create(
    const cb_allocator *allocator, cb_gzip_reader **out, const cb_file_reader *file)
{
    cb_gzip_reader *reader;
    *out = NULL;
    CB_TRY(CB_ALLOCATE(allocator, &reader, 1, "gzip file"));
    reader->allocator = *allocator;
    reader->file = file;
    reader->stream = cb_zlib_stream(&reader->allocator);
    reader->begun = inflateInit2(&reader->stream, CB_ZLIB_GZIP) == Z_OK;
    if (!reader->begun) {
        cribo_status status = no_memory(reader);
        cb_gzip_reader_free(reader);
        return status;
    }
    *out = reader;
    return CRIBO_OK;
}

void cb_gzip_reader_free(cb_gzip_reader *reader)
{
    if (!reader) return;
    cb_allocator allocator = reader->allocator;
    if (reader->begun) inflateEnd(&reader->stream);
    cb_release(&allocator, reader);
}

static cribo_status damaged(const cb_gzip_reader *reader, const char *problem)
{
    return cb_fail(CRIBO_CORRUPT, "%.200s: damaged at byte %llu of %llu: %s", reader->file->path,
        (unsigned long long)(reader->loaded - reader->stream.avail_in),
        (unsigned long long)reader->file->size, problem);
}

/* Takes in more of the file; none is left when avail_in stays 0. */
static cribo_status load(cb_gzip_reader *reader)
{
    uint64_t left = reader->file->size - reader->loaded;
    size_t count = left < INPUT_BYTES ? (size_t)left : INPUT_BYTES;
    CB_TRY(cb_file_reader_read(reader->file, reader->loaded, reader->input, count));
    reader->loaded += count;
    reader->stream.next_in = reader->input;
    reader->stream.avail_in = (uInt)count;
    return CRIBO_OK;
}

/* One call of inflate, which makes up to `count` bytes. */
static cribo_status inflate_once(cb_gzip_reader *reader, void *bytes, size_t count, size_t *got)
{
    z_stream *stream = &reader->stream;
    if (!reader->in_member) inflateReset(stream);
    reader->in_member = true;
    stream->next_out = bytes;
    stream->avail_out = (uInt)count;
    uInt before = stream->avail_in;
    int result = inflate(stream, Z_NO_FLUSH);
    *got = count - stream->avail_out;
    if (result == Z_STREAM_END) reader->in_member = false;
    if (result == Z_MEM_ERROR) return no_memory(reader); /* the window comes with the first byte */
    bool went_on = *got > 0 || stream->avail_in < before;
    if ((result != Z_OK && result != Z_STREAM_END) || !went_on)
        return damaged(reader, stream->msg ? stream->msg : "this is no gzip data");
    return CRIBO_OK;
}

/* Up to `count` > 0 further bytes of the content; none only at its end. */
static cribo_status inflate_some(cb_gzip_reader *reader, void *bytes, size_t count, size_t *got)
{
    size_t most = count < INT_MAX ? count : INT_MAX; /* zlib counts in unsigned int */
    for (*got = 0; *got == 0;) {
        if (reader->stream.avail_in == 0) CB_TRY(load(reader));
        if (reader->stream.avail_in == 0)
            return reader->in_member ? damaged(reader, "the file ends too early") : CRIBO_OK;
        CB_TRY(inflate_once(reader, bytes, most, got));
    }
    reader->position += *got;
    return CRIBO_OK;
}

static cribo_status inflate_all(cb_gzip_reader *reader, void *bytes, size_t count)
{
    unsigned char *to = bytes;
    for (size_t got; count > 0; to += got, count -= got) {
        CB_TRY(inflate_some(reader, to, count, &got));
        if (got == 0)
            return cb_fail(CRIBO_CORRUPT, "%.200s: its content ends at byte %llu, but %zu more are needed",
                reader->file->path, (unsigned long long)reader->position, count);
    }
    return CRIBO_OK;
}

static void begin_anew(cb_gzip_reader *reader)
{
    reader->loaded = reader->position = 0;
    reader->stream.avail_in = 0;
    reader->in_member = false;
}

cribo_status cb_gzip_reader_read(cb_gzip_reader *reader, uint64_t offset, void *bytes, size_t count)
{
    if (offset < reader->position) begin_anew(reader);
    while (reader->position < offset) {
        uint64_t left = offset - reader->position;
        CB_TRY(inflate_all(reader, reader->passed_over, left < INPUT_BYTES ? (size_t)left : INPUT_BYTES));
    }
    return inflate_all(reader, bytes, count);
}

cribo_status cb_gzip_reader_end(cb_gzip_reader *reader, uint64_t size)
{
    unsigned char more;
    size_t got;
    CB_TRY(cb_gzip_reader_read(reader, size, &more, 0));
    CB_TRY(inflate_some(reader, &more, 1, &got));
    if (got == 0) return CRIBO_OK;
    return cb_fail(CRIBO_CORRUPT, "%.200s: its content goes on after byte %llu, where it should end",
        reader->file->path, (unsigned long long)size);
}
