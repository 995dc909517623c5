/*
 * How every handle is created: cb_handle_begin, then a `build` of the handle's own; after its failure the
 * handle's public free function, which takes unfinished handles, too.
 */
#ifndef CB_API_CREATE_H
#define CB_API_CREATE_H

#include "base/runtime.h"

/*
 * Begins `own`, the runtime that `hooks` (NULL: defaults) describe, and allocates a zeroed handle of `size`
 * bytes in it. `handle` is the address of a pointer of any type; `what` names the handle in the message.
 * After a failure nothing is left to be freed. Otherwise the caller stores `own` in the handle.
 */
cribo_status cb_handle_begin(
    cb_runtime *own, const cribo_runtime *hooks, void *handle, size_t size, const char *what);

/*
 * Defines cribo_NOUN_memory for a handle that a config and a runtime create: the most bytes that creation
 * asks a counting allocator for.
 */
#define CB_MEMORY_ESTIMATE(noun) \
    cribo_status cribo_##noun##_memory( \
        const cribo_##noun##_config *config, const cribo_runtime *runtime, int64_t *bytes) \
    { \
        cribo_##noun *planned; \
        cribo_runtime hooks; \
        cb_memory_plan plan; \
        CB_REQUIRE_POINTER(bytes); \
        CB_TRY(cb_runtime_plan(&hooks, runtime, &plan)); \
        CB_TRY(cribo_##noun##_create(&planned, config, &hooks)); \
        cribo_##noun##_free(planned); \
        *bytes = (int64_t)plan.peak; \
        return CRIBO_OK; \
    }

#endif
