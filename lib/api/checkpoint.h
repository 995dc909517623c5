/* What trainers and snapshots share to be saved. */
#ifndef CB_API_CHECKPOINT_H
#define CB_API_CHECKPOINT_H

#include "files/checkpoint.h"

/* Checks the options (NULL: the defaults) and writes a checkpoint. */
cribo_status cb_save_checkpoint(
    const cb_subject *subject, const char *path, const cribo_save_options *options);

#endif
