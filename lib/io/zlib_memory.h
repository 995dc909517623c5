/* zlib's streams, with their memory from the handle's allocator. */
#ifndef CB_IO_ZLIB_MEMORY_H
#define CB_IO_ZLIB_MEMORY_H

#include "base/memory.h"

#include <zlib.h>

#define CB_ZLIB_GZIP (15 + 16) /* zlib's windowBits for its largest window in a gzip member */

static inline void *cb_zlib_allocate(void *allocator, unsigned count, unsigned size)
{
    void *memory;
    return cb_allocate(allocator, &memory, count, size, "zlib") == CRIBO_OK ? memory : NULL;
}

static inline void cb_zlib_release(void *allocator, void *memory)
{
    cb_release(allocator, memory);
}

/* `allocator` must live as long as the stream, which must stay where it is. */
static inline z_stream cb_zlib_stream(cb_allocator *allocator)
{
    return (z_stream){.zalloc = cb_zlib_allocate, .zfree = cb_zlib_release, .opaque = allocator};
}

#endif
