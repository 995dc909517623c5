/*
 * One call at a time per handle: a call on a handle that is at work (from a callback, or from another thread)
 * is refused. The handles that a trainer or an objective lends share its guard.
 */
#ifndef CB_API_GUARD_H
#define CB_API_GUARD_H

#include "training/learner.h"

#include <stdatomic.h>

typedef struct cb_guard {
    atomic_bool busy;
    cb_learner *learner; /* whose current step needs this data unchanged; NULL: none */
} cb_guard;

/* CRIBO_WRONG_STATE where a call is under way; else one is, until cb_leave. */
cribo_status cb_enter(cb_guard *guard);
void cb_leave(cb_guard **entered);

/* Begins a public function on a handle: refuses NULL, and enters until the function returns. */
#define CB_ENTER(handle) \
    CB_REQUIRE_POINTER(handle); \
    CB_TRY(cb_enter((handle)->guard)); \
    cb_guard *cb_entered_ __attribute__((cleanup(cb_leave), unused)) = (handle)->guard

/* Whether a handle may be freed: it is not NULL and not at work. It then counts as entered. */
#define CB_MAY_FREE(handle) ((handle) && cb_enter((handle)->guard) == CRIBO_OK)

/*
 * CRIBO_WRONG_STATE while a step of the lender is under way; the message says that `what` ("parameters are
 * written") comes after it.
 */
cribo_status cb_check_between_steps(const cb_guard *guard, const char *what);

/* The same before the lender's state is written; its ranks then compare their states before the next step. */
cribo_status cb_begin_writing(cb_guard *guard, const char *what);

#endif
