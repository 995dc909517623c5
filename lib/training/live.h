/* Changes of settings while a trainer or an objective lives. */
#ifndef CB_TRAINING_LIVE_H
#define CB_TRAINING_LIVE_H

#include "training/token_trainer.h"
#include "training/trainer.h"

/*
 * Changes one setting between two steps; the next step is computed with it. On failure nothing has changed.
 * Errors: CRIBO_INVALID_ARGUMENT (no such setting, one that cannot change, a value that is out of range or
 * contradicts other settings).
 *
 * Collective: `status` is joined first, and all ranks give the same setting and value.
 */
cribo_status cb_trainer_change(cb_trainer *trainer, cribo_status status, const char *name, double value);
cribo_status cb_token_trainer_change(
    cb_token_trainer *trainer, cribo_status status, const char *name, double value);

#endif
