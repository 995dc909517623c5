/* Status names, and the message of this thread's latest failure. */
#include "base/status.h"

#include <stdarg.h>
#include <stdio.h>

/* Not initial-exec, which fails with dlopen; a message is never on a hot path. */
static _Thread_local char last_error[512];
static _Thread_local int last_errno;

static void write_message(int error, const char *format, va_list arguments)
{
    vsnprintf(last_error, sizeof last_error, format, arguments);
    last_errno = error;
}

cribo_status cb_fail(cribo_status status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    write_message(0, format, arguments);
    va_end(arguments);
    return status;
}

cribo_status cb_fail_errno(cribo_status status, int error, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    write_message(error, format, arguments);
    va_end(arguments);
    return status;
}

const char *cribo_last_error(void)
{
    return last_error;
}

int cribo_last_errno(void)
{
    return last_errno;
}

const char *cribo_status_name(cribo_status status)
{
    switch (status) {
    case CRIBO_OK: return "CRIBO_OK";
    case CRIBO_INVALID_ARGUMENT: return "CRIBO_INVALID_ARGUMENT";
    case CRIBO_OUT_OF_MEMORY: return "CRIBO_OUT_OF_MEMORY";
    case CRIBO_IO_ERROR: return "CRIBO_IO_ERROR";
    case CRIBO_CORRUPT: return "CRIBO_CORRUPT";
    case CRIBO_NOT_FINITE: return "CRIBO_NOT_FINITE";
    case CRIBO_CANCELLED: return "CRIBO_CANCELLED";
    case CRIBO_WRONG_STATE: return "CRIBO_WRONG_STATE";
    case CRIBO_SYSTEM_ERROR: return "CRIBO_SYSTEM_ERROR";
    case CRIBO_TIMED_OUT: return "CRIBO_TIMED_OUT";
    }
    return "unknown status";
}
