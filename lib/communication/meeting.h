/*
 * The beginning of a public call of a handle that is divided over ranks: all ranks make the same call, and
 * work with the same settings.
 */
#ifndef CB_COMMUNICATION_MEETING_H
#define CB_COMMUNICATION_MEETING_H

#include "base/config.h"
#include "communication/ranks.h"

typedef struct cb_meeting {
    const char *call; /* "cribo_trainer_step"; a constant */
    const cb_config_table *settings;
    const void *config;
} cb_meeting;

/*
 * cb_ranks_begin with the outcome of the call's checks, and the comparison of all settings:
 * CRIBO_INVALID_ARGUMENT, on all ranks, names the first that differs, with both values and their ranks. The
 * config is not read after a failure of the checks.
 */
cribo_status cb_ranks_meet(cb_ranks *ranks, const cb_meeting *meeting, cribo_status status);

#endif
