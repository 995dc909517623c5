/* Presets of the trainer's settings; an objective uses the part with its settings. */
#ifndef CB_TRAINING_PRESETS_H
#define CB_TRAINING_PRESETS_H

#include "base/config.h"

/*
 * Applies presets, a list separated by commas, in order on top of what is set in the first `struct_size`
 * bytes of a caller's config. `full` is scratch for a whole one. The config is unchanged when a name is
 * unknown.
 */
cribo_status cb_preset_apply(
    const cb_config_table *table, void *full, void *config, size_t struct_size, const char *names);

#endif
