/* Backbones behind one table, and the layout of their tokens. See backbone.h. */
#include "model/backbone.h"

#include "tensor/rows.h"

#include <string.h>

static void copy_mean(const cb_real *x, size_t rows, size_t width, cb_real *mean)
{
    memcpy(mean, x, width * sizeof *mean);
    if (rows == 1) return;
    for (size_t i = 1; i < rows; i++) cb_rows()->add_scaled(mean, x + i * width, 1, width);
    cb_rows()->scale(mean, mean, (cb_real)(1 / (double)rows), width);
}

void cb_layout_copy_global(
    const cb_token_layout *layout, const cb_real *tokens, size_t images, size_t width, cb_real *global)
{
    const cb_real *first = tokens + layout->global * width;
    for (size_t b = 0; b < images; b++)
        copy_mean(first + b * layout->tokens * width, layout->global_count, width, global + b * width);
}

void cb_layout_pool_global(const cb_token_layout *layout, size_t first, cb_pooling *pooling)
{
    if (pooling->rows == 0) pooling->begin[0] = 0;
    uint32_t end = pooling->begin[pooling->rows];
    for (size_t i = 0; i < layout->global_count; i++, end++) {
        pooling->token[end] = (uint32_t)(first + layout->global + i);
        pooling->weight[end] = (cb_real)(1 / (double)layout->global_count);
    }
    pooling->begin[++pooling->rows] = end;
}

const cb_training cb_train_all = {.frozen_blocks = 0, .layer_decay = 1};

cribo_status cb_backbone_create(const cb_allocator *allocator, cb_backbone *backbone,
    const cb_backbone_table *table, const cribo_model_config *config, const cb_training *training)
{
    *backbone = (cb_backbone){.table = table,
        .width = (size_t)config->width,
        .depth = (size_t)config->depth,
        .heads = (size_t)config->heads};
    return backbone->table->create(allocator, &backbone->network, config, training);
}

void cb_backbone_free(const cb_allocator *allocator, cb_backbone *backbone)
{
    if (backbone->table) backbone->table->free(allocator, backbone->network);
}

void cb_backbone_describe(cb_backbone *backbone, cb_parameters *parameters)
{
    backbone->table->describe(backbone->network, parameters);
}

cb_token_layout cb_backbone_layout(const cb_backbone *backbone, size_t height, size_t width)
{
    return backbone->table->layout(backbone->network, height, width);
}

cb_tensor cb_backbone_forward(
    const cb_backbone *backbone, cb_tape *tape, const cb_images *images, const cb_forward_options *options)
{
    return backbone->table->forward(backbone->network, tape, images, options);
}

cb_tensor cb_backbone_trunk(const cb_backbone *backbone, cb_tape *tape, const cb_images *images)
{
    return backbone->table->trunk(backbone->network, tape, images);
}

void cb_backbone_pack(cb_backbone *backbone, bool bf16, cb_pool *pool, cb_arena *arena)
{
    backbone->table->pack(backbone->network, bf16, pool, arena);
}

bool cb_backbone_resamples(const cb_backbone *backbone, const cb_parameter *parameter, size_t length)
{
    return backbone->table->resamples(backbone->network, parameter, length);
}

cribo_status cb_backbone_resample(const cb_runtime *runtime, const cb_backbone *backbone,
    const cb_parameter *parameter, cb_real *values, size_t length, cb_real *to)
{
    return backbone->table->resample(runtime, backbone->network, parameter, values, length, to);
}
