/* Writing gzip files. See gzip.h. */
#include "io/gzip.h"

#include "io/zlib_memory.h"

#include <string.h>

/*
 * Floats repeat nothing but zeros: looking for runs only is three times as fast as level 1 is otherwise, and
 * packs them tighter.
 */
#define MOST_RUN_LEVEL 3

/* What one worker compresses at a time. */
typedef struct member {
    z_stream stream;
    unsigned char *input, *output;
    size_t filled, room, compressed; /* bytes of input; room for output, and bytes of it */
    bool begun;                      /* the stream has memory */
} member;

struct cb_gzip_writer {
    cb_allocator allocator;
    cb_pool *pool;
    cb_file_writer file;
    bool any;        /* something was written: no further member is needed */
    size_t count;    /* members that are compressed at once */
    size_t filling;  /* the member that takes the next byte */
    member *members; /* [count] */
};

static cribo_status begin_member(cb_gzip_writer *writer, member *m, int level)
{
    const cb_allocator *allocator = &writer->allocator;
    int strategy = level <= MOST_RUN_LEVEL ? Z_RLE : Z_DEFAULT_STRATEGY;
    m->stream = cb_zlib_stream(&writer->allocator);
    if (deflateInit2(&m->stream, level, Z_DEFLATED, CB_ZLIB_GZIP, 8, strategy) != Z_OK)
        return cb_fail(CRIBO_OUT_OF_MEMORY, "%.200s: no memory for compression", writer->file.path);
    m->begun = true;
    m->room = deflateBound(&m->stream, (uLong)CB_GZIP_MEMBER_BYTES);
    CB_TRY(CB_ALLOCATE(allocator, &m->input, CB_GZIP_MEMBER_BYTES, "compression"));
    return CB_ALLOCATE(allocator, &m->output, m->room, "compression");
}

static void end_member(const cb_allocator *allocator, member *m)
{
    if (m->begun) deflateEnd(&m->stream);
    cb_release(allocator, m->input);
    cb_release(allocator, m->output);
}

static cribo_status begin(cb_gzip_writer *writer, cb_place place, int level)
{
    CB_TRY(CB_ALLOCATE(&writer->allocator, &writer->members, writer->count, "compression"));
    for (size_t i = 0; i < writer->count; i++) CB_TRY(begin_member(writer, &writer->members[i], level));
    return cb_file_writer_begin(&writer->file, place);
}

cribo_status cb_gzip_writer_begin(
    const cb_allocator *allocator, cb_pool *pool, cb_gzip_writer **out, cb_place place, int level)
{
    cb_gzip_writer *writer;
    *out = NULL;
    CB_TRY(CB_ALLOCATE(allocator, &writer, 1, "compression"));
    writer->allocator = *allocator;
    writer->pool = pool;
    writer->file = (cb_file_writer){.path = place.path, .descriptor = -1, .folder = -1};
    writer->count = cb_pool_threads(pool);
    cribo_status status = begin(writer, place, level);
    if (status == CRIBO_OK)
        *out = writer;
    else
        cb_gzip_writer_abandon(writer);
    return status;
}

static void compress_member(void *context, size_t task, size_t worker)
{
    member *m = &((cb_gzip_writer *)context)->members[task];
    (void)worker;
    deflateReset(&m->stream);
    m->stream.next_in = m->input;
    m->stream.avail_in = (uInt)m->filled;
    m->stream.next_out = m->output;
    m->stream.avail_out = (uInt)m->room;
    m->compressed = deflate(&m->stream, Z_FINISH) == Z_STREAM_END ? m->room - m->stream.avail_out : 0;
}

/* Compresses the buffered members in parallel and writes them in order. */
static cribo_status flush(cb_gzip_writer *writer)
{
    size_t members =
        writer->filling + (writer->filling < writer->count && writer->members[writer->filling].filled > 0);
    if (members == 0 && !writer->any) members = 1; /* nothing at all is an empty member */
    cb_pool_run(writer->pool, members, compress_member, writer);
    for (size_t i = 0; i < members; i++) {
        member *m = &writer->members[i];
        if (m->compressed == 0)
            return cb_fail(CRIBO_SYSTEM_ERROR, "%.200s: zlib cannot compress within the bound it gives",
                writer->file.path);
        CB_TRY(cb_file_writer_write(&writer->file, m->output, m->compressed));
        m->filled = 0;
    }
    writer->filling = 0;
    writer->any = true;
    return CRIBO_OK;
}

cribo_status cb_gzip_writer_write(cb_gzip_writer *writer, const void *bytes, size_t count)
{
    const unsigned char *from = bytes;
    while (count > 0) {
        member *m = &writer->members[writer->filling];
        size_t room = CB_GZIP_MEMBER_BYTES - m->filled, n = count < room ? count : room;
        memcpy(m->input + m->filled, from, n);
        m->filled += n;
        from += n;
        count -= n;
        if (m->filled == CB_GZIP_MEMBER_BYTES && ++writer->filling == writer->count) CB_TRY(flush(writer));
    }
    return CRIBO_OK;
}

cribo_status cb_gzip_writer_commit(cb_gzip_writer *writer)
{
    cribo_status status = flush(writer);
    if (status == CRIBO_OK) status = cb_file_writer_commit(&writer->file);
    cb_gzip_writer_abandon(writer);
    return status;
}

void cb_gzip_writer_abandon(cb_gzip_writer *writer)
{
    if (!writer) return;
    cb_allocator allocator = writer->allocator;
    cb_file_writer_abandon(&writer->file);
    for (size_t i = 0; writer->members && i < writer->count; i++) end_member(&allocator, &writer->members[i]);
    cb_release(&allocator, writer->members);
    cb_release(&allocator, writer);
}
