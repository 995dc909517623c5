/* Presets: what each sets. The published runs are from the paper's appendix and the authors' code. */
#include "training/presets.h"

#include "base/memory.h"
#include "base/text.h"

#include "cribo/model.h"

#include <stdbool.h>
#include <string.h>

typedef struct preset_value {
    const char *preset, *setting;
    double value;
} preset_value;

static const preset_value presets[] = {
    {"tiny", "width", 192},
    {"tiny", "heads", 3},
    {"tiny", "depth", 12},
    {"small", "width", 384},
    {"small", "heads", 6},
    {"small", "depth", 12},
    {"base", "width", 768},
    {"base", "heads", 12},
    {"base", "depth", 12},

    /* The published runs; what they do not name has its default (see `published`). */
    {"vits16-coco", "clusters", 64},
    {"vits16-coco", "position_weight", 2},
    {"vits16-coco", "position_weight_final", 2},
    {"vits16-coco", "group_images", 32},

    {"vits16-in1k", "epochs", 800},
    {"vits16-in1k", "batch_size", 1024},
    {"vits16-in1k", "group_images", 128},

    /* The published clipping is that of the authors' halved losses. */
    {"vitb16-in1k", "width", 768},
    {"vitb16-in1k", "heads", 12},
    {"vitb16-in1k", "epochs", 400},
    {"vitb16-in1k", "batch_size", 1024},
    {"vitb16-in1k", "group_images", 64},
    {"vitb16-in1k", "learning_rate", 7.5e-4},
    {"vitb16-in1k", "learning_rate_final", 2e-6},
    {"vitb16-in1k", "teacher_temperature_epochs", 50},
    {"vitb16-in1k", "clip_norm", 0.3},
    {"vitb16-in1k", "clip_per_tensor", 1},
    {"vitb16-in1k", "authors_normalisation", 1},
    {"vitb16-in1k", "freeze_last_layer_epochs", 3},
    {"vitb16-in1k", "normed_last_layer", 1},

    /* Minutes on one core; docs/experiment.md has the evidence for the sharp teacher, the gains of 1 and
     * the light, few objects. */
    {"mini", "image_size", 48},
    {"mini", "patch_size", 8},
    {"mini", "width", 64},
    {"mini", "heads", 2},
    {"mini", "depth", 2},
    {"mini", "drop_path", 0},
    {"mini", "head_hidden", 256},
    {"mini", "head_bottleneck", 64},
    {"mini", "prototypes", 512},
    {"mini", "object_prototypes", 512},
    {"mini", "normed_last_layer", 1},
    {"mini", "clusters", 4},
    {"mini", "bank_images", 1000},
    {"mini", "teacher_temperature_start", 0.025},
    {"mini", "teacher_temperature", 0.025},
    {"mini", "object_teacher_temperature_start", 0.025},
    {"mini", "object_teacher_temperature", 0.025},
    {"mini", "batch_size", 32},
    {"mini", "micro_batch", 32},
    {"mini", "learning_rate", 4e-3},
    {"mini", "weight_decay_final", 0.04},
    {"mini", "ema_momentum", 0.99},
    {"mini", "clip_norm", 3},
    {"mini", "cross_view_weight", 0.3},
    {"mini", "cross_image_weight", 0.3},

    /*
     * A published backbone, adapted to photographs in hundreds of steps; its shape is that of its weights.
     * Sharp teacher and gains of 1 as above; few objects suit maps of 12 x 12 to 16 x 16 patches.
     */
    {"adapt", "drop_path", 0},
    {"adapt", "prototypes", 4096},
    {"adapt", "object_prototypes", 4096},
    {"adapt", "normed_last_layer", 1},
    {"adapt", "clusters", 12},
    {"adapt", "cross_image_steps", 20},
    {"adapt", "teacher_temperature_start", 0.025},
    {"adapt", "teacher_temperature", 0.025},
    {"adapt", "object_teacher_temperature_start", 0.025},
    {"adapt", "object_teacher_temperature", 0.025},
    {"adapt", "teacher_temperature_epochs", 0},
    {"adapt", "batch_size", 8},
    {"adapt", "micro_batch", 8},
    {"adapt", "learning_rate", 3e-5},
    {"adapt", "learning_rate_batch", 0},
    {"adapt", "learning_rate_final", 1e-6},
    {"adapt", "warmup_steps", 10},
    {"adapt", "freeze_last_layer_steps", 10},
    {"adapt", "total_steps", 480},
    {"adapt", "precision", CRIBO_BF16},

    {"authors", "authors_normalisation", 1},
    {"authors", "batch_cost", 1},
    {"authors", "clip_per_tensor", 1},
};

/* The presets of published runs: they set every setting but these, which a run's arguments do not have. */
static const char *const published[] = {"vits16-coco", "vits16-in1k", "vitb16-in1k"};
static const char *const kept[] = {"tokens", "seed", "micro_batch", "precision", "recompute", "shards",
    "steps_per_epoch", "authors_normalisation", "batch_cost", "clip_per_tensor"};

static bool contains(const char *const *names, size_t count, const char *name)
{
    size_t i = 0;
    while (i < count && strcmp(names[i], name) != 0) i++;
    return i < count;
}
#define CONTAINS(names, name) contains(names, sizeof(names) / sizeof(names)[0], name)

/* A caller's config, as far as its struct goes. */
typedef struct target {
    const cb_config_table *table;
    void *config;
    size_t struct_size;
} target;

static void put(const target *t, const char *setting, double value)
{
    const cb_field *field = cb_config_find(t->table, setting);
    if (field && field->offset + 8 <= t->struct_size) cb_config_put(field, t->config, value);
}

static void apply(const target *t, const char *name)
{
    for (size_t i = 0; CONTAINS(published, name) && i < t->table->count; i++) {
        const cribo_setting *setting = &t->table->fields[i].setting;
        if (!CONTAINS(kept, setting->name)) put(t, setting->name, setting->initial);
    }
    for (size_t i = 0; i < sizeof presets / sizeof presets[0]; i++)
        if (strcmp(presets[i].preset, name) == 0) put(t, presets[i].setting, presets[i].value);
}

/* The preset of that name, `length` characters of a list; NULL: there is none. */
static const char *find(const char *name, size_t length)
{
    for (size_t i = 0; i < sizeof presets / sizeof presets[0]; i++)
        if (strlen(presets[i].preset) == length && strncmp(presets[i].preset, name, length) == 0)
            return presets[i].preset;
    return NULL;
}

static cribo_status check_names(const char *names)
{
    size_t length, count = 0;
    for (const char *item, *rest = names; (item = cb_next_name(&rest, &length)); count++)
        CB_REQUIRE(find(item, length),
            "name = \"%.200s\": \"%.*s\" is no preset: there are vits16-coco, vits16-in1k, vitb16-in1k, "
            "tiny, small, base, mini, adapt, authors",
            names, (int)cb_min(length, 100), item);
    CB_REQUIRE(count > 0, "name = \"%.200s\" names no preset", names);
    return CRIBO_OK;
}

cribo_status cb_preset_apply(
    const cb_config_table *table, void *full, void *config, size_t struct_size, const char *names)
{
    CB_REQUIRE_POINTER(config);
    CB_REQUIRE(names, "name is NULL");
    CB_TRY(cb_config_import(table, full, config));
    CB_TRY(check_names(names));
    const target t = {table, config, struct_size};
    size_t length;
    for (const char *item; (item = cb_next_name(&names, &length));) apply(&t, find(item, length));
    return CRIBO_OK;
}
