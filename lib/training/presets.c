/* Presets: what each sets. The published runs are from the paper's appendix and the authors' code. */
#include "training/presets.h"

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

    {"vits16-coco", "width", 384},
    {"vits16-coco", "heads", 6},
    {"vits16-coco", "depth", 12},
    {"vits16-coco", "epochs", 300},
    {"vits16-coco", "batch_size", 256},
    {"vits16-coco", "clusters", 64},
    {"vits16-coco", "position_weight", 2},
    {"vits16-coco", "position_weight_final", 2},

    {"vits16-in1k", "width", 384},
    {"vits16-in1k", "heads", 6},
    {"vits16-in1k", "depth", 12},
    {"vits16-in1k", "epochs", 800},
    {"vits16-in1k", "batch_size", 1024},
    {"vits16-in1k", "clusters", 32},
    {"vits16-in1k", "position_weight", 1},
    {"vits16-in1k", "position_weight_final", 1},

    {"vitb16-in1k", "width", 768},
    {"vitb16-in1k", "heads", 12},
    {"vitb16-in1k", "depth", 12},
    {"vitb16-in1k", "epochs", 400},
    {"vitb16-in1k", "batch_size", 1024},
    {"vitb16-in1k", "clusters", 32},
    {"vitb16-in1k", "position_weight", 1},
    {"vitb16-in1k", "position_weight_final", 1},
    {"vitb16-in1k", "learning_rate", 7.5e-4},
    {"vitb16-in1k", "learning_rate_final", 2e-6},
    {"vitb16-in1k", "teacher_temperature_epochs", 50},
    {"vitb16-in1k", "clip_norm", 0.3},
    {"vitb16-in1k", "clip_per_tensor", 1},
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
    {"adapt", "batch_size", 8},
    {"adapt", "micro_batch", 8},
    {"adapt", "learning_rate", 3e-5},
    {"adapt", "learning_rate_batch", 0},
    {"adapt", "learning_rate_final", 1e-6},
    {"adapt", "warmup_steps", 10},
    {"adapt", "freeze_last_layer_steps", 10},
    {"adapt", "total_steps", 240},
    {"adapt", "precision", CRIBO_BF16},

    {"authors", "authors_normalisation", 1},
    {"authors", "batch_cost", 1},
    {"authors", "clip_per_tensor", 1},
};

/* Applies a preset's settings that the table has, as far as the caller's struct goes. */
static bool apply(const cb_config_table *table, void *config, size_t struct_size, const char *name)
{
    bool known = false;
    for (size_t i = 0; i < sizeof presets / sizeof presets[0]; i++) {
        if (strcmp(presets[i].preset, name) != 0) continue;
        known = true;
        const cb_field *field = cb_config_find(table, presets[i].setting);
        if (field && field->offset + 8 <= struct_size) cb_config_put(field, config, presets[i].value);
    }
    return known;
}

cribo_status cb_preset_apply(
    const cb_config_table *table, void *full, void *config, size_t struct_size, const char *name)
{
    CB_REQUIRE_POINTER(config);
    CB_REQUIRE_POINTER(name);
    CB_TRY(cb_config_import(table, full, config));
    CB_REQUIRE(apply(table, config, struct_size, name),
        "name = \"%s\" is no preset: there are vits16-coco, vits16-in1k, vitb16-in1k, tiny, small, base, "
        "mini, adapt, authors",
        name);
    return CRIBO_OK;
}
