/* The runtime of a handle. See runtime.h. */
#include "base/runtime.h"

#include "base/structs.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

cribo_status cribo_runtime_init(cribo_runtime *runtime, size_t struct_size)
{
    CB_REQUIRE_POINTER(runtime);
    CB_TRY(cb_check_size("runtime", struct_size, CB_SIZE_THROUGH(*runtime, progress_user), sizeof *runtime));
    memset(runtime, 0, struct_size);
    runtime->struct_size = struct_size;
    return CRIBO_OK;
}

/* The caller's runtime as this library's struct, zero for NULL. */
static cribo_status import(cribo_runtime *hooks, const cribo_runtime *runtime)
{
    *hooks = (cribo_runtime){0};
    if (runtime) CB_TRY(CB_IMPORT(*hooks, runtime, progress_user));
    CB_REQUIRE(hooks->threads >= 0 && hooks->threads <= CB_POOL_MOST_THREADS,
        "runtime.threads = %lld must be in 0 ... %d", (long long)hooks->threads, CB_POOL_MOST_THREADS);
    CB_REQUIRE(!hooks->allocate == !hooks->release,
        "runtime.allocate and runtime.release go together: give both or none");
    return CRIBO_OK;
}

cribo_status cb_runtime_begin(cb_runtime *runtime, const cribo_runtime *hooks)
{
    *runtime = (cb_runtime){0};
    CB_TRY(import(&runtime->hooks, hooks));
    runtime->allocator =
        (cb_allocator){runtime->hooks.allocate, runtime->hooks.release, runtime->hooks.allocator_user};
    return cb_pool_create(&runtime->allocator, &runtime->pool, (size_t)runtime->hooks.threads);
}

cribo_status cb_runtime_plan(cribo_runtime *planned, const cribo_runtime *hooks, cb_memory_plan *plan)
{
    cribo_runtime given;
    CB_TRY(import(&given, hooks));
    const cb_allocator allocator = cb_plan_allocator(plan);
    *planned = (cribo_runtime){.struct_size = sizeof *planned,
        .threads = given.threads,
        .allocate = allocator.allocate,
        .release = allocator.release,
        .allocator_user = allocator.user};
    return CRIBO_OK;
}

void cb_runtime_end(cb_runtime *runtime)
{
    cb_pool_free(runtime->pool);
    runtime->pool = NULL;
}

void cb_log(const cb_runtime *runtime, int level, const char *format, ...)
{
    char message[512];
    va_list arguments;
    if (!runtime->hooks.log) return;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    runtime->hooks.log(runtime->hooks.log_user, level, message);
}

cribo_status cb_progress(const cb_runtime *runtime, const char *phase, double share)
{
    if (runtime->hooks.progress && runtime->hooks.progress(runtime->hooks.progress_user, phase, share) != 0)
        return cb_fail(CRIBO_CANCELLED, "cancelled by the progress callback in %s", phase);
    return CRIBO_OK;
}
