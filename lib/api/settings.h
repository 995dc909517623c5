/* The settings of handles: what all handles share. */
#ifndef CB_API_SETTINGS_H
#define CB_API_SETTINGS_H

#include "api/guard.h"
#include "base/config.h"

/*
 * Defines cribo_NOUN_get_config and cribo_NOUN_get_setting; `full` is the place of the config of a handle
 * that is called by the noun.
 */
#define CB_SETTING_GETTERS(noun, table, full) \
    cribo_status cribo_##noun##_get_config(const cribo_##noun *noun, cribo_##noun##_config *config) \
    { \
        CB_ENTER(noun); \
        return cb_config_export(table, full, config); \
    } \
    cribo_status cribo_##noun##_get_setting(const cribo_##noun *noun, const char *name, double *value) \
    { \
        CB_ENTER(noun); \
        return cb_config_read(table, full, name, value); \
    }

#endif
