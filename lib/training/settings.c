/* The trainer's settings: those of the networks, and the objective's. Defaults: ViT-S/16 of the paper. */
#include "training/settings.h"

#include "model/model.h"
#include "objective/settings.h"

#define T cribo_trainer_config
static const cb_field fields[] = {
    CB_INTEGER(T, image_size, 1, 16384, 224, "side of the square views in pixels; a multiple of patch_size"),
    CB_INTEGER(T, patch_size, 1, 1024, 16, "side of a square patch in pixels"),
    CB_INTEGER(T, width, 1, 65536, 384, "token width: components of a token's vector; a multiple of heads"),
    CB_INTEGER(T, depth, 1, 1024, 12, "number of transformer blocks"),
    CB_INTEGER(T, heads, 1, 1024, 6, "number of attention heads per block"),
    CB_INTEGER(T, mlp_ratio, 1, 64, 4, "hidden width of a block's MLP as a multiple of width"),
    CB_REAL(T, drop_path, 0, 0.99, 0.1,
        "drop rate of the student's last block; it grows linearly from 0 over the blocks"),
    CB_METHOD_SETTINGS(T),
    CB_INTEGER(T, recompute, 0, 1, 0, CB_RECOMPUTE_HELP),
    CB_TRANSFORMER_FIELDS(T),
    CB_GROUP_SETTING(T),
    CB_SHARDS_SETTING(T),
    CB_CENTRING_SETTING(T),
    CB_RATE_SETTING(T),
    CB_INTEGER(T, frozen_blocks, 0, 1024, 0,
        "number of first blocks that are not trained, with the patch embedding; 0: all are trained"),
    CB_REAL(T, layer_decay, 1e-3, 1, 1,
        "factor of the learning rate from each block to the block before it; 1: one rate for all"),
    CB_INTEGER(T, heads_only_steps, 0, 1e15, 0, "number of first steps in which only the heads are trained"),
    CB_INTEGER(T, average_steps, 0, 1e15, 0,
        "number of last steps over which the student's weights are averaged; 0: no average is kept"),
    CB_KOLEO_SETTINGS(T),
    CB_REAL(T, gram_weight, 0, 1e6, 0,
        "weight of Gram anchoring to the patches' similarities in an earlier teacher (DINOv3: 2); 0: off"),
    CB_INTEGER(T, gram_start_steps, 0, 1e15, 0,
        "step from which Gram anchoring is computed; the teacher of that step is the first anchor"),
    CB_INTEGER(T, gram_refresh_steps, 0, 1e15, 0,
        "steps after which the teacher becomes the anchor of Gram anchoring again; 0: never"),
    CB_REAL(T, masked_weight, 0, 1e6, 0,
        "weight of the masked-patch loss (iBOT) in the total; 0: no patch is masked"),
    CB_REAL(T, masked_views, 0, 1, 0.5, "share of the student's views with masked patches"),
    CB_REAL(T, masked_share_min, 0, 1, 0.1, "smallest share of a masked view's patches that are masked"),
    CB_REAL(T, masked_share_max, 0, 1, 0.5, "largest share of a masked view's patches that are masked"),
    CB_INTEGER(T, local_crops, 0, 64, 0,
        "local crops of an image for the [CLS] loss, which only the student sees; 0: none"),
    CB_INTEGER(T, local_size, 1, 16384, 96, "side of local crops in pixels; a multiple of patch_size"),
    CB_REAL(T, local_weight, 0, 1e6, 1, "weight of the [CLS] loss of local crops; 0: not computed"),
    CB_STEM_FIELD(T),
    CB_EXCHANGE_SETTING(T),
};
#undef T

const cb_config_table cb_trainer_settings =
    CB_CONFIG_TABLE_GROWN(cribo_trainer_config, fields, global_weight);

cb_masking cb_masking_of(const cribo_trainer_config *config)
{
    return (cb_masking){.weight = config->masked_weight,
        .views = config->masked_views,
        .share_min = config->masked_share_min,
        .share_max = config->masked_share_max};
}

cribo_objective_config cb_objective_config_of(
    const cribo_trainer_config *config, const cb_token_layout *layout)
{
    cribo_objective_config objective = {.struct_size = sizeof objective};
    cb_config_project(&cb_objective_settings, &objective, &cb_trainer_settings, config);
    objective.tokens = (int64_t)cb_layout_patches(layout);
    return objective;
}
