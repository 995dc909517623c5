/* The trainer's settings. */
#ifndef CB_TRAINING_SETTINGS_H
#define CB_TRAINING_SETTINGS_H

#include "base/config.h"
#include "cribo/trainer.h"
#include "model/backbone.h"
#include "objective/masks.h"

extern const cb_config_table cb_trainer_settings;

cb_masking cb_masking_of(const cribo_trainer_config *config);

/* The part of a trainer's settings that its objective has, for tokens of this layout. */
cribo_objective_config cb_objective_config_of(
    const cribo_trainer_config *config, const cb_token_layout *layout);

#endif
