/* The objective's settings. Defaults: ViT-S/16 of the paper (docs/algorithm.md). */
#include "objective/settings.h"

#define T cribo_objective_config
static const cb_field fields[] = {
    CB_INTEGER(T, width, 1, 65536, 384, "numbers in a token"),
    CB_INTEGER(T, tokens, 1, 16777216, 196, "dense tokens of a view"),
    CB_METHOD_SETTINGS(T),
    CB_GROUP_SETTING(T),
    CB_SHARDS_SETTING(T),
    CB_CENTRING_SETTING(T),
    CB_RATE_SETTING(T),
    CB_KOLEO_SETTINGS(T),
    CB_EXCHANGE_SETTING(T),
};
#undef T

const cb_config_table cb_objective_settings = CB_CONFIG_TABLE(cribo_objective_config, fields);
