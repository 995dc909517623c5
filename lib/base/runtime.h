/*
 * The runtime of a handle: allocator, thread pool, log and progress callback. A trainer shares its runtime
 * with its parts.
 */
#ifndef CB_BASE_RUNTIME_H
#define CB_BASE_RUNTIME_H

#include "base/pool.h"

typedef struct cb_runtime {
    cb_allocator allocator;
    cb_pool *pool;
    cribo_runtime hooks;
} cb_runtime;

/* Checks `hooks` (NULL: defaults) and starts the pool. */
cribo_status cb_runtime_begin(cb_runtime *runtime, const cribo_runtime *hooks);
void cb_runtime_end(cb_runtime *runtime);

/*
 * Begins a plan: the hooks of a handle that is created only to count its memory, with the threads of `hooks`
 * (NULL: defaults). Such a handle starts no thread and calls no callback.
 */
cribo_status cb_runtime_plan(cribo_runtime *planned, const cribo_runtime *hooks, cb_memory_plan *plan);

/* Calls the log callback. */
#if defined(__GNUC__)
__attribute__((format(printf, 3, 4)))
#endif
void cb_log(const cb_runtime *runtime, int level, const char *format, ...);

/* Calls the progress callback: CRIBO_OK to continue, or CRIBO_CANCELLED. */
cribo_status cb_progress(const cb_runtime *runtime, const char *phase, double share);

#endif
