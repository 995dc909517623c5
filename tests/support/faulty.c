/* An allocator that counts and fails. See faulty.h. */
#include "support/faulty.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#define HEAD_BYTES 16 /* before a block stands its size; keeps malloc's alignment */

void *faulty_allocate(void *user, size_t bytes)
{
    faulty *state = user;
    state->calls++;
    if (state->fail_at &&
        (state->calls == state->fail_at || (state->for_ever && state->calls > state->fail_at)))
        return NULL;
    if (state->largest && bytes > state->largest) return NULL;
    if (state->most && (bytes > state->most || state->bytes > state->most - bytes)) return NULL;
    char *block = malloc(bytes + HEAD_BYTES);
    if (!block) return NULL;
    *(size_t *)(void *)block = bytes;
    memset(block + HEAD_BYTES, 0xff, bytes);
    state->held++;
    state->bytes += bytes;
    if (state->bytes > state->peak) state->peak = state->bytes;
    return block + HEAD_BYTES;
}

void faulty_release(void *user, void *memory)
{
    faulty *state = user;
    char *block = (char *)memory - HEAD_BYTES;
    state->held--;
    state->bytes -= *(size_t *)(void *)block;
    free(block);
}

cribo_runtime faulty_runtime(int64_t threads, faulty *memory)
{
    cribo_runtime runtime;
    ck_assert_int_eq(cribo_runtime_init(&runtime, sizeof runtime), CRIBO_OK);
    runtime.threads = threads;
    if (memory) {
        runtime.allocate = faulty_allocate;
        runtime.release = faulty_release;
        runtime.allocator_user = memory;
    }
    return runtime;
}
