/* The vision transformer. See vit.h. */
#include "model/vit.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static void release(const cb_allocator *allocator, void *network)
{
    cb_vit *vit = network;
    if (!vit) return;
    cb_release(allocator, vit->blocks);
    cb_release(allocator, vit);
}

static cribo_status create(const cb_allocator *allocator, void **network, const cribo_model_config *config)
{
    cb_vit *vit;
    CB_TRY(cb_allocate(allocator, &vit, 1, sizeof *vit, "backbone"));
    *network = vit;
    vit->patch = (size_t)config->patch_size;
    vit->width = (size_t)config->width;
    vit->depth = (size_t)config->depth;
    vit->heads = (size_t)config->heads;
    vit->hidden = (size_t)(config->width * config->mlp_ratio);
    vit->grid = (size_t)(config->image_size / config->patch_size);
    vit->recompute = config->recompute != 0;
    return cb_allocate(allocator, &vit->blocks, vit->depth, sizeof *vit->blocks, "blocks");
}

static const char *in_block(char *name, size_t block, const char *part)
{
    snprintf(name, CB_NAME_BYTES, CB_BACKBONE_NAMES "blocks.%zu.%s", block, part);
    return name;
}

static cb_block describe_block(cb_parameters *parameters, const cb_vit *vit, size_t i)
{
    char name[CB_NAME_BYTES];
    size_t d = vit->width;
    cb_block block;
    block.norm1 = cb_describe_norm(parameters, in_block(name, i, "norm1"), d);
    block.qkv = cb_describe_linear(parameters, in_block(name, i, "attn.qkv"), 3 * d, d);
    block.proj = cb_describe_linear(parameters, in_block(name, i, "attn.proj"), d, d);
    block.norm2 = cb_describe_norm(parameters, in_block(name, i, "norm2"), d);
    block.fc1 = cb_describe_linear(parameters, in_block(name, i, "mlp.fc1"), vit->hidden, d);
    block.fc2 = cb_describe_linear(parameters, in_block(name, i, "mlp.fc2"), d, vit->hidden);
    return block;
}

static void describe(void *network, cb_parameters *parameters)
{
    cb_vit *vit = network;
    size_t d = vit->width, p = vit->patch;
    vit->cls_token = cb_parameters_add(parameters, CB_BACKBONE_NAMES "cls_token",
        (cb_parameter_traits){CB_INITIAL_NORMAL, .shape = {1, 1, d}});
    vit->pos_embed = cb_parameters_add(parameters, CB_BACKBONE_NAMES "pos_embed",
        (cb_parameter_traits){CB_INITIAL_NORMAL, .shape = {1, 1 + vit->grid * vit->grid, d}});
    vit->patch_embed.weight = cb_parameters_add(parameters, CB_BACKBONE_NAMES "patch_embed.proj.weight",
        (cb_parameter_traits){CB_INITIAL_NORMAL, .shape = {d, 3, p, p}});
    vit->patch_embed.bias = cb_parameters_add(parameters, CB_BACKBONE_NAMES "patch_embed.proj.bias",
        (cb_parameter_traits){CB_INITIAL_ZERO, .shape = {d}});
    for (size_t i = 0; i < vit->depth; i++) vit->blocks[i] = describe_block(parameters, vit, i);
    vit->norm = cb_describe_norm(parameters, CB_BACKBONE_NAMES "norm", d);
}

static cb_token_layout layout_of(const void *network, size_t height, size_t width)
{
    const cb_vit *vit = network;
    size_t rows = height / vit->patch, columns = width / vit->patch;
    return (cb_token_layout){
        .tokens = 1 + rows * columns, .rows = rows, .columns = columns, .dense = 1, .global_count = 1};
}

/* What inference took since the mark is given back; training keeps it for the way back. */
static void forget(cb_tape *tape, size_t mark)
{
    if (!tape->training) cb_arena_return(tape->arena, mark);
}

/* x + keep · proj(attention(norm1(x))) */
static cb_tensor attention_branch(const cb_vit *vit, cb_tape *tape, const cb_block *block, cb_tensor x,
    size_t images, const cb_real *keep, cb_real *shares)
{
    size_t mark = cb_arena_mark(tape->arena);
    cb_tensor qkv = cb_linear(tape, cb_norm(tape, x, &block->norm1), &block->qkv);
    if (shares) cb_first_token_attention(tape, qkv, images, vit->heads, shares);
    cb_tensor y = cb_linear(tape, cb_op_attention(tape, qkv, images, vit->heads), &block->proj);
    x = cb_op_residual(tape, x, y, images, keep);
    forget(tape, mark);
    return x;
}

/* x + keep · fc2(gelu(fc1(norm2(x)))) */
static cb_tensor mlp_branch(
    cb_tape *tape, const cb_block *block, cb_tensor x, size_t images, const cb_real *keep)
{
    size_t mark = cb_arena_mark(tape->arena);
    cb_tensor hidden = cb_op_gelu(tape, cb_linear(tape, cb_norm(tape, x, &block->norm2), &block->fc1));
    x = cb_op_residual(tape, x, cb_linear(tape, hidden, &block->fc2), images, keep);
    forget(tape, mark);
    return x;
}

/* What a block wants to know besides its input. */
typedef struct block_pass {
    const cb_vit *vit;
    size_t block, images;
    const cb_real *keep; /* [2, B] of this block; NULL: all 1 */
    cb_real *shares;
} block_pass;

static cb_tensor block_forward(cb_tape *tape, cb_tensor x, const void *context)
{
    const block_pass *pass = context;
    const cb_block *block = &pass->vit->blocks[pass->block];
    const cb_real *keep = pass->keep, *mlp_keep = keep ? keep + pass->images : NULL;
    x = attention_branch(pass->vit, tape, block, x, pass->images, keep, pass->shares);
    return mlp_branch(tape, block, x, pass->images, mlp_keep);
}

/* The positions of an image of another size, or another shape, are resampled. */
static cb_tensor positions_for(const cb_vit *vit, cb_tape *tape, const cb_images *images)
{
    size_t rows = images->height / vit->patch, columns = images->width / vit->patch;
    if (rows == vit->grid && columns == vit->grid) return vit->pos_embed;
    return cb_op_resample_positions(tape, vit->pos_embed, vit->grid, rows, columns);
}

cb_tensor cb_vit_forward(
    const cb_vit *vit, cb_tape *tape, const cb_images *images, const cb_forward_options *options)
{
    const cb_real *keep = options->keep;
    size_t n = images->count;
    cb_tensor embedded = cb_linear_real(tape, cb_op_patches(tape, images, vit->patch), &vit->patch_embed);
    cb_tensor x = cb_op_tokens(tape, embedded, vit->cls_token, positions_for(vit, tape, images), n);
    for (size_t i = 0; i < vit->depth; i++) {
        const block_pass pass = {.vit = vit,
            .block = i,
            .images = n,
            .keep = keep ? keep + 2 * i * n : NULL,
            .shares = i + 1 == vit->depth ? options->attention : NULL};
        x = vit->recompute ? cb_op_recomputed(tape, x, block_forward, &pass, sizeof pass)
                           : block_forward(tape, x, &pass);
    }
    return cb_norm_real(tape, x, &vit->norm);
}

static cb_tensor forward(
    const void *network, cb_tape *tape, const cb_images *images, const cb_forward_options *options)
{
    return cb_vit_forward(network, tape, images, options);
}

#define MOST_GRID 16384 /* patches along the largest image's side */

/* The side of the grid whose positions `length` rows hold besides that of [CLS]; 0 when it is no square. */
static size_t grid_of(size_t length)
{
    size_t grid = length > 1 ? (size_t)llround(sqrt((double)(length - 1))) : 0;
    return grid <= MOST_GRID && grid * grid + 1 == length ? grid : 0;
}

static bool resamples(const void *network, const cb_parameter *parameter, size_t length)
{
    (void)network;
    return strcmp(parameter->name, CB_BACKBONE_NAMES "pos_embed") == 0 && grid_of(length) > 0;
}

static cribo_status resample(const cb_runtime *runtime, const void *network, const cb_parameter *parameter,
    cb_real *values, size_t length, cb_real *to)
{
    const cb_vit *vit = network;
    cb_tensor x = {.value = values, .rows = length, .columns = vit->width};
    cb_arena arena = cb_arena_measure();
    cb_tape tape = cb_tape_begin(&arena, runtime->pool, false, 0);
    cb_op_resample_positions(&tape, x, grid_of(length), vit->grid, vit->grid);
    CB_TRY(cb_arena_create(&runtime->allocator, &arena, cb_tape_planned_bytes(&tape), "positions"));
    tape = cb_tape_begin(&arena, runtime->pool, false, 0);
    cb_tensor y = cb_op_resample_positions(&tape, x, grid_of(length), vit->grid, vit->grid);
    memcpy(to, y.value, parameter->count * sizeof *to);
    cb_arena_destroy(&runtime->allocator, &arena);
    return CRIBO_OK;
}

const cb_backbone_table cb_vit_backbone = {
    .name = "vit",
    .create = create,
    .free = release,
    .describe = describe,
    .layout = layout_of,
    .forward = forward,
    .resamples = resamples,
    .resample = resample,
};
