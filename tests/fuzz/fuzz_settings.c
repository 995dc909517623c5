/*
 * Settings as text, NAME=VALUE: what is taken is in its range, and comes back from its own text;
 * overrides=LIST goes to a load.
 */
#define _POSIX_C_SOURCE 200809L
#include "base/config.h"
#include "clustering/clusterer.h"
#include "distillation/loss.h"
#include "distillation/memory_bank.h"
#include "fuzz/fuzz.h"
#include "fuzz/small_trainer.h"
#include "model/model.h"
#include "training/settings.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

size_t fuzz_mend(uint8_t *data, size_t size, size_t room)
{
    (void)data;
    (void)room;
    return size;
}

static void set(const cb_config_table *table, const char *name, const char *value)
{
    struct {
        size_t struct_size;
        char fields[4088];
    } config, before;
    char text[CB_NUMBER_BYTES];
    OK(cb_config_init(table, &config, table->size));
    before = config;
    cribo_status status = cb_config_set(table, &config, name, value);
    const cb_field *field = cb_config_find(table, name);
    if (status != CRIBO_OK) {
        fuzz_outcome(status, field ? name : table->type);
        FUZZ_EXPECT(
            memcmp(&config, &before, table->size) == 0, "%s = %s was refused, but changed", name, value);
        return;
    }
    fuzz_taken++;
    double number = cb_config_get(field, &config);
    FUZZ_EXPECT(
        number >= field->setting.minimum && number <= field->setting.maximum, "%s = %g", name, number);
    cb_config_text(field, &config, text);
    OK(cb_config_set(table, &before, name, text));
    FUZZ_EXPECT(memcmp(&config, &before, table->size) == 0, "%s = %s comes back as %s", name, value, text);
}

static char sound[1024];

static void remove_sound(void)
{
    unlink(sound);
}

/* A list of overrides, of a load that would succeed. */
static void override(const char *list)
{
    static cribo_trainer *trainer;
    if (!trainer) {
        cribo_trainer_config c = small_trainer_config();
        snprintf(sound, sizeof sound, "%s.sound", fuzz_file(NULL, 0));
        trainer = training_begin(&c, 1);
        OK(cribo_trainer_save(trainer, sound, NULL));
        atexit(remove_sound);
    }
    cribo_load_options options = {.struct_size = sizeof options, .overrides = list};
    fuzz_outcome(cribo_trainer_load(trainer, sound, &options), "overrides");
}

void fuzz_one(const uint8_t *data, size_t size)
{
    const cb_config_table *const tables[] = {&cb_trainer_settings, &cb_model_settings, &cb_clusterer_settings,
        &cb_loss_settings, &cb_memory_bank_settings};
    char *text = malloc(size + 1);
    memcpy(text, data, size);
    text[size] = '\0';
    char *value = strchr(text, '=');
    if (value) *value++ = '\0';
    for (size_t i = 0; value && i < sizeof tables / sizeof tables[0]; i++) set(tables[i], text, value);
    if (value && strcmp(text, "overrides") == 0) override(value);
    free(text);
}
