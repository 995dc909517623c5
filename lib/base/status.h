/*
 * Failure: a status to return, and a message in the calling thread's fixed buffer (never allocates).
 */
#ifndef CB_BASE_STATUS_H
#define CB_BASE_STATUS_H

#include "cribo/base.h"

/* Writes the thread's message and returns `status`, so that callers can `return cb_fail(...)`. */
#if defined(__GNUC__)
__attribute__((format(printf, 2, 3), cold))
#endif
cribo_status
cb_fail(cribo_status status, const char *format, ...);

/* cb_fail for a system call that failed with this errno. */
#if defined(__GNUC__)
__attribute__((format(printf, 3, 4), cold))
#endif
cribo_status
cb_fail_errno(cribo_status status, int error, const char *format, ...);

/* Passes a failure up. */
#define CB_TRY(call) \
    do { \
        cribo_status cb_try_status_ = (call); \
        if (cb_try_status_ != CRIBO_OK) return cb_try_status_; \
    } while (0)

/* Refuses an argument: CB_REQUIRE(k <= n, "clusters = %lld must not exceed ...", ...). */
#define CB_REQUIRE(condition, ...) \
    do { \
        if (!(condition)) return cb_fail(CRIBO_INVALID_ARGUMENT, __VA_ARGS__); \
    } while (0)

/* Refuses a NULL pointer by its name. */
#define CB_REQUIRE_POINTER(pointer) CB_REQUIRE((pointer) != NULL, "%s is NULL", #pointer)

#endif
