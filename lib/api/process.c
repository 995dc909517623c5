/* cribo/base.h: what holds for the whole process. */
#include "base/cgroup.h"
#include "base/pool.h"

cribo_status cribo_set_default_threads(int64_t threads)
{
    CB_REQUIRE(threads >= 0 && threads <= CB_POOL_MOST_THREADS, "threads = %lld must be in 0 ... %d",
        (long long)threads, CB_POOL_MOST_THREADS);
    cb_pool_choose_threads((size_t)threads);
    return CRIBO_OK;
}

int64_t cribo_default_threads(void)
{
    return (int64_t)cb_pool_default_threads();
}

int64_t cribo_memory_available(void)
{
    return (int64_t)cb_available_memory("");
}
