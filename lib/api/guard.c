/* One call at a time per handle. See guard.h. */
#include "api/guard.h"

#include "api/learner.h"

cribo_status cb_enter(cb_guard *guard)
{
    if (!atomic_exchange_explicit(&guard->busy, true, memory_order_acquire)) return CRIBO_OK;
    return cb_fail(CRIBO_WRONG_STATE,
        "the handle is busy: another call on it is under way, in another thread or around this callback");
}

void cb_leave(cb_guard **entered)
{
    atomic_store_explicit(&(*entered)->busy, false, memory_order_release);
}

cribo_status cb_check_between_steps(const cb_guard *guard, const char *what)
{
    return guard->learner ? cb_check_idle(guard->learner, what) : CRIBO_OK;
}

cribo_status cb_begin_writing(cb_guard *guard, const char *what)
{
    CB_TRY(cb_check_between_steps(guard, what));
    if (guard->learner) guard->learner->compared = false;
    return CRIBO_OK;
}
