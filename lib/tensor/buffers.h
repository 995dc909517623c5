/* A buffer of real numbers for each worker of a pool. */
#ifndef CB_TENSOR_BUFFERS_H
#define CB_TENSOR_BUFFERS_H

#include "base/memory.h"
#include "tensor/real.h"

typedef struct cb_row_buffers {
    cb_real *numbers;
    size_t size; /* numbers from one worker's buffer to the next */
} cb_row_buffers;

/* `count` buffers of at least `columns` numbers, in whole cache lines. */
static inline cb_row_buffers cb_row_buffers_in(cb_arena *arena, size_t count, size_t columns)
{
    const size_t line = CB_ALIGNMENT / sizeof(cb_real);
    size_t size = (columns + line - 1) / line * line;
    return (cb_row_buffers){cb_arena_take(arena, count, size * sizeof(cb_real)), size};
}

static inline cb_real *cb_row_buffer(const cb_row_buffers *buffers, size_t worker)
{
    return buffers->numbers + worker * buffers->size;
}

#endif
