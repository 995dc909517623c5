/* What trainers, snapshots and objectives share to be saved and loaded. */
#ifndef CB_API_CHECKPOINT_H
#define CB_API_CHECKPOINT_H

#include "files/checkpoint.h"

/* Checks the options (NULL: the defaults) and writes a checkpoint. */
cribo_status cb_save_checkpoint(const cb_subject *subject, cb_place place, const cribo_save_options *options);

/* The same for a file of weights, which has the options' metadata; their level is not used. */
cribo_status cb_save_weights(const cb_subject *subject, cb_place place, const cribo_save_options *options);

/*
 * Checks the options (NULL: the defaults) and reads a checkpoint into a learner with these settings. `call`
 * is the public function, which the ranks begin together.
 */
cribo_status cb_load_checkpoint(const cb_run_kind *kind, cb_learner *learner, const void *config,
    const char *call, cb_place place, const cribo_load_options *options);

#endif
