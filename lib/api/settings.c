/* cribo/base.h: the settings of all config structs. */
#include "base/config.h"
#include "clustering/clusterer.h"
#include "distillation/loss.h"
#include "distillation/memory_bank.h"
#include "evaluation/probe.h"
#include "model/model.h"
#include "training/settings.h"

#include <string.h>

static const cb_config_table *const tables[] = {&cb_clusterer_settings, &cb_loss_settings,
    &cb_memory_bank_settings, &cb_model_settings, &cb_probe_settings, &cb_trainer_settings};

/* The field of a setting that is a choice, from any table: settings of one name have the same choices. */
static const cb_field *find_choice(const char *name)
{
    for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++) {
        const cb_field *field = cb_config_find(tables[i], name);
        if (field && field->choices) return field;
    }
    return NULL;
}

const char *cribo_setting_choice(const char *name, int64_t value)
{
    const cb_field *field = name ? find_choice(name) : NULL;
    bool known = field && value >= 0 && (double)value <= field->setting.maximum;
    return known ? field->choices[value] : NULL;
}
