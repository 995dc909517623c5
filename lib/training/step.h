/* A trainer's step: teach, learn, update. See cribo/trainer.h. */
#ifndef CB_TRAINING_STEP_H
#define CB_TRAINING_STEP_H

#include "training/trainer.h"

/* The batch has been checked (cb_import_batch). */
cribo_status cb_train_teach(cb_trainer *trainer, const cribo_batch *batch);
cribo_status cb_train_learn(cb_trainer *trainer, const cribo_batch *batch);
cribo_status cb_train_update(cb_trainer *trainer, cribo_report *report);
cribo_status cb_train_step(cb_trainer *trainer, const cribo_batch *batch, cribo_report *report);

/*
 * For callers of the single phases: keeps a digest of teach's batch, and refuses another batch in learn with
 * a message that names the image.
 */
void cb_train_note_batch(cb_trainer *trainer, const cribo_batch *batch);
cribo_status cb_train_check_batch(cb_trainer *trainer, const cribo_batch *batch);

#endif
