/* The trainer's settings and the presets. */
#ifndef CB_TRAINING_SETTINGS_H
#define CB_TRAINING_SETTINGS_H

#include "base/config.h"
#include "cribo/trainer.h"

extern const cb_config_table cb_trainer_settings;

/* Applies a preset on top of what is set; the config is unchanged when there is none of that name. */
cribo_status cb_trainer_preset(cribo_trainer_config *config, const char *name);

#endif
