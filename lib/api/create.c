/* How every handle is created. See create.h. */
#include "api/create.h"

cribo_status cb_handle_begin(
    cb_runtime *own, const cribo_runtime *hooks, void *handle, size_t size, const char *what)
{
    CB_TRY(cb_runtime_begin(own, hooks));
    cribo_status status = cb_allocate(&own->allocator, handle, 1, size, what);
    if (status != CRIBO_OK) cb_runtime_end(own);
    return status;
}
