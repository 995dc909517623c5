/* Presets of the trainer's settings; an objective takes the settings that it has. */
#ifndef CB_TRAINING_PRESETS_H
#define CB_TRAINING_PRESETS_H

#include "base/config.h"

/*
 * Applies a preset to the settings in the first `struct_size` bytes of a caller's config. `full` is
 * scratch for a whole one. The config is unchanged when there is none of that name.
 */
cribo_status cb_preset_apply(
    const cb_config_table *table, void *full, void *config, size_t struct_size, const char *name);

#endif
