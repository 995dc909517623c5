/* The vision transformer. See vit.h. */
#include "model/vit.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define POS_EMBED CB_BACKBONE_NAMES "pos_embed"

/* --- making one --- */

static void release(const cb_allocator *allocator, void *network)
{
    cb_vit *vit = network;
    if (!vit) return;
    cb_release(allocator, vit->blocks);
    cb_release(allocator, vit);
}

static size_t grid_of_config(const cribo_model_config *c)
{
    return (size_t)(c->position_grid ? c->position_grid : c->image_size / c->patch_size);
}

/* Each layer halves the sides, so that a patch becomes a pixel. */
static size_t stem_layers_of(const cribo_model_config *c)
{
    size_t layers = 0;
    while (c->stem == CRIBO_STEM_CONVOLUTION && (int64_t)1 << layers < c->patch_size) layers++;
    return layers;
}

static cb_vit vit_of(const cribo_model_config *c)
{
    return (cb_vit){
        .patch = (size_t)c->patch_size,
        .width = (size_t)c->width,
        .depth = (size_t)c->depth,
        .heads = (size_t)c->heads,
        .hidden = (size_t)(c->mlp_hidden ? c->mlp_hidden : c->width * c->mlp_ratio),
        .registers = (size_t)c->registers,
        .swiglu = c->mlp == CRIBO_MLP_SWIGLU,
        .layer_scale = c->layer_scale,
        .norm_epsilon = c->norm_epsilon,
        .qkv_bias = c->qkv_bias,
        .learned = c->position_embedding == CRIBO_POSITIONS_LEARNED,
        .grid = {(size_t)c->cls_position, grid_of_config(c), c->position_offset, c->position_antialias != 0},
        .rotary = {c->rope_base, c->rope_min_period, c->rope_max_period, (cb_coordinates)c->rope_coordinates},
        .masks = c->mask_token != 0,
        .stem_layers = stem_layers_of(c),
        .recompute = c->recompute != 0,
    };
}

static cribo_status create(const cb_allocator *allocator, void **network, const cribo_model_config *config,
    const cb_training *training)
{
    cb_vit *vit;
    CB_TRY(CB_ALLOCATE(allocator, &vit, 1, "backbone"));
    *vit = vit_of(config);
    vit->training = *training;
    *network = vit;
    return CB_ALLOCATE(allocator, &vit->blocks, vit->depth, "blocks");
}

/* --- parameters --- */

static const char *in_block(char *name, size_t block, const char *part)
{
    snprintf(name, CB_NAME_BYTES, CB_BACKBONE_NAMES "blocks.%zu.%s", block, part);
    return name;
}

static cb_affine describe_qkv(cb_parameters *parameters, const cb_vit *vit, const char *name)
{
    size_t d = vit->width;
    return vit->qkv_bias == CRIBO_QKV_BIAS_NONE ? cb_describe_product(parameters, name, 3 * d, d)
                                                : cb_describe_linear(parameters, name, 3 * d, d);
}

static cb_tensor describe_scale(cb_parameters *parameters, const cb_vit *vit, const char *name)
{
    if (!(vit->layer_scale > 0)) return (cb_tensor){0};
    return cb_parameters_add(parameters, name,
        (cb_parameter_traits){CB_INITIAL_CONSTANT, .value = vit->layer_scale, .shape = {vit->width}});
}

static cb_block describe_block(cb_parameters *parameters, const cb_vit *vit, size_t i)
{
    char name[CB_NAME_BYTES];
    size_t d = vit->width, h = vit->hidden;
    const char *in = vit->swiglu ? "mlp.w12" : "mlp.fc1", *out = vit->swiglu ? "mlp.w3" : "mlp.fc2";
    cb_block block;
    block.norm1 = cb_describe_norm(parameters, in_block(name, i, "norm1"), d, vit->norm_epsilon);
    block.qkv = describe_qkv(parameters, vit, in_block(name, i, "attn.qkv"));
    block.proj = cb_describe_linear(parameters, in_block(name, i, "attn.proj"), d, d);
    block.scale1 = describe_scale(parameters, vit, in_block(name, i, "ls1.gamma"));
    block.norm2 = cb_describe_norm(parameters, in_block(name, i, "norm2"), d, vit->norm_epsilon);
    block.mlp_in = cb_describe_linear(parameters, in_block(name, i, in), vit->swiglu ? 2 * h : h, d);
    block.mlp_out = cb_describe_linear(parameters, in_block(name, i, out), d, h);
    block.scale2 = describe_scale(parameters, vit, in_block(name, i, "ls2.gamma"));
    return block;
}

/* Tokens or positions, normal at first: [1, rows, D]. */
static cb_tensor describe_tokens(cb_parameters *parameters, const cb_vit *vit, const char *name, size_t rows)
{
    return cb_parameters_add(
        parameters, name, (cb_parameter_traits){CB_INITIAL_NORMAL, .shape = {1, rows, vit->width}});
}

static size_t position_rows(const cb_vit *vit)
{
    return vit->grid.before + vit->grid.grid * vit->grid.grid;
}

/* Layer 0 is the embedding, layer i + 1 block i, layer depth + 1 the norm after the last block. */
static void begin_layer(cb_parameters *parameters, const cb_vit *vit, size_t layer)
{
    parameters->group = (cb_parameter_group){.backbone = true,
        .rate = pow(vit->training.layer_decay, (double)(vit->depth + 1 - layer)),
        .frozen = vit->training.frozen_blocks > 0 && layer <= vit->training.frozen_blocks};
}

/* [out, in, side, side] of a convolution. */
static cb_tensor describe_convolution(
    cb_parameters *parameters, const char *name, size_t out, size_t in, size_t side)
{
    return cb_parameters_add(
        parameters, name, (cb_parameter_traits){CB_INITIAL_NORMAL, .shape = {out, in, side, side}});
}

/* The width doubles from layer to layer, up to D. Returns the stem's output width: pixels have 3 numbers. */
static size_t describe_stem(cb_parameters *parameters, cb_vit *vit)
{
    size_t in = 3;
    for (size_t i = 0; i < vit->stem_layers; i++) {
        char name[CB_NAME_BYTES];
        size_t out = vit->width >> (vit->stem_layers - 1 - i);
        snprintf(name, sizeof name, CB_BACKBONE_NAMES "patch_embed.stem.%zu.conv.weight", i);
        vit->stem[i].conv.weight = describe_convolution(parameters, name, out, in, 3);
        snprintf(name, sizeof name, CB_BACKBONE_NAMES "patch_embed.stem.%zu.norm", i);
        vit->stem[i].norm = cb_describe_norm(parameters, name, out, vit->norm_epsilon);
        in = out;
    }
    return in;
}

static void describe(void *network, cb_parameters *parameters)
{
    cb_vit *vit = network;
    size_t d = vit->width;
    begin_layer(parameters, vit, 0);
    vit->cls_token = describe_tokens(parameters, vit, CB_BACKBONE_NAMES "cls_token", 1);
    if (vit->registers)
        vit->register_tokens =
            describe_tokens(parameters, vit, CB_BACKBONE_NAMES "register_tokens", vit->registers);
    if (vit->learned) vit->pos_embed = describe_tokens(parameters, vit, POS_EMBED, position_rows(vit));
    size_t in = describe_stem(parameters, vit);
    vit->patch_embed.weight = describe_convolution(
        parameters, CB_BACKBONE_NAMES "patch_embed.proj.weight", d, in, vit->stem_layers ? 1 : vit->patch);
    vit->patch_embed.bias = cb_parameters_add(parameters, CB_BACKBONE_NAMES "patch_embed.proj.bias",
        (cb_parameter_traits){CB_INITIAL_ZERO, .shape = {d}});
    if (vit->masks)
        vit->mask_token = cb_parameters_add(parameters, CB_BACKBONE_NAMES "mask_token",
            (cb_parameter_traits){CB_INITIAL_ZERO, .shape = {1, d}});
    for (size_t i = 0; i < vit->depth; i++) {
        begin_layer(parameters, vit, i + 1);
        vit->blocks[i] = describe_block(parameters, vit, i);
    }
    begin_layer(parameters, vit, vit->depth + 1);
    vit->norm = cb_describe_norm(parameters, CB_BACKBONE_NAMES "norm", d, vit->norm_epsilon);
}

/* --- forward --- */

static cb_token_layout layout_of(const void *network, size_t height, size_t width)
{
    const cb_vit *vit = network;
    size_t rows = height / vit->patch, columns = width / vit->patch, before = 1 + vit->registers;
    return (cb_token_layout){.tokens = before + rows * columns,
        .rows = rows,
        .columns = columns,
        .dense = before,
        .global_count = 1};
}

/* Inference gives back the memory taken since the mark; training keeps it for the backward pass. */
static void forget(cb_tape *tape, size_t mark)
{
    if (!tape->training) cb_arena_return(tape->arena, mark);
}

/* The context of a block's pass. */
typedef struct block_pass {
    const cb_vit *vit;
    size_t block, images;
    cb_rotation rotation; /* of rotary positions */
    const cb_real *keep;  /* [2, B] of this block; NULL: all 1 */
    cb_real *shares;      /* attention of [CLS]; NULL: not computed */
} block_pass;

/* Queries, keys and values of the block's tokens, ready for attention. */
static cb_tensor queries_keys_values(
    const block_pass *pass, cb_tape *tape, const cb_block *block, cb_tensor x)
{
    const cb_vit *vit = pass->vit;
    if (vit->qkv_bias == CRIBO_QKV_BIAS_NO_KEY) cb_op_hold(tape, block->qkv.bias, vit->width, vit->width);
    cb_tensor qkv = cb_linear(tape, cb_norm(tape, x, &block->norm1), &block->qkv);
    return vit->learned ? qkv : cb_op_rotate(tape, qkv, pass->images, vit->heads, &pass->rotation);
}

/* x + keep · scale1 · proj(attention(norm1(x))) */
static cb_tensor attention_branch(const block_pass *pass, cb_tape *tape, const cb_block *block, cb_tensor x)
{
    size_t mark = cb_arena_mark(tape->arena), heads = pass->vit->heads;
    cb_tensor qkv = queries_keys_values(pass, tape, block, x);
    if (pass->shares) cb_first_token_attention(tape, qkv, pass->images, heads, pass->shares);
    cb_tensor y = cb_linear(tape, cb_op_attention(tape, qkv, pass->images, heads), &block->proj);
    x = cb_op_residual(tape, x, y, block->scale1, pass->images, pass->keep);
    forget(tape, mark);
    return x;
}

/* x + keep · scale2 · mlp(norm2(x)) */
static cb_tensor mlp_branch(const block_pass *pass, cb_tape *tape, const cb_block *block, cb_tensor x)
{
    size_t mark = cb_arena_mark(tape->arena);
    const cb_real *keep = pass->keep ? pass->keep + pass->images : NULL;
    cb_tensor hidden = cb_linear(tape, cb_norm(tape, x, &block->norm2), &block->mlp_in);
    hidden = pass->vit->swiglu ? cb_op_swiglu(tape, hidden) : cb_op_gelu(tape, hidden);
    cb_tensor y = cb_linear(tape, hidden, &block->mlp_out);
    x = cb_op_residual(tape, x, y, block->scale2, pass->images, keep);
    forget(tape, mark);
    return x;
}

static cb_tensor block_forward(cb_tape *tape, cb_tensor x, const void *context)
{
    const block_pass *pass = context;
    const cb_block *block = &pass->vit->blocks[pass->block];
    return mlp_branch(pass, tape, block, attention_branch(pass, tape, block, x));
}

/* The learned positions of an image; those of another size or shape are resampled. */
static cb_tensor positions_for(const cb_vit *vit, cb_tape *tape, const cb_token_layout *layout)
{
    bool same = layout->rows == vit->grid.grid && layout->columns == vit->grid.grid;
    if (!vit->learned || same) return vit->pos_embed;
    return cb_op_resample_positions(tape, vit->pos_embed, &vit->grid, layout->rows, layout->columns);
}

/* The tables of rotary positions; nothing where positions are learned. */
static cb_rotation rotation_for(const cb_vit *vit, cb_tape *tape, const cb_token_layout *layout)
{
    if (vit->learned) return (cb_rotation){0};
    return cb_rotation_of(
        tape, &vit->rotary, layout->dense, layout->rows, layout->columns, vit->width / vit->heads);
}

/* The rows that patch_embed maps to tokens: patches, or the stem's output for them. */
static cb_tensor patch_rows(const cb_vit *vit, cb_tape *tape, const cb_images *images)
{
    size_t height = images->height, width = images->width;
    cb_tensor x = cb_op_patches(tape, images, vit->stem_layers ? 1 : vit->patch);
    for (size_t i = 0; i < vit->stem_layers; i++, height /= 2, width /= 2) {
        cb_tensor windows = cb_op_windows(tape, x, images->count, height, width);
        x = cb_linear_real(tape, windows, &vit->stem[i].conv);
        x = cb_op_gelu(tape, cb_norm(tape, x, &vit->stem[i].norm));
    }
    return x;
}

/* The tokens that enter the first block; mask as in cb_forward_options. */
static cb_tensor embed(const cb_vit *vit, cb_tape *tape, const cb_images *images,
    const cb_token_layout *layout, const uint8_t *mask)
{
    cb_token_parts parts = {.cls = vit->cls_token,
        .registers = vit->register_tokens,
        .mask_token = vit->mask_token,
        .mask = mask};
    parts.embedded = cb_linear_real(tape, patch_rows(vit, tape, images), &vit->patch_embed);
    parts.positions = positions_for(vit, tape, layout);
    return cb_op_tokens(tape, &parts, images->count);
}

/* Blocks begin ... end - 1; the pass has all but the block. */
static cb_tensor run_blocks(
    block_pass pass, cb_tape *tape, cb_tensor x, size_t begin, size_t end, const cb_forward_options *options)
{
    const cb_real *keep = options->keep;
    for (size_t i = begin; i < end; i++) {
        pass.block = i;
        pass.keep = keep ? keep + 2 * i * pass.images : NULL;
        pass.shares = i + 1 == pass.vit->depth ? options->attention : NULL;
        cb_op_complete(tape, pass.vit->blocks[i].norm1.weight);
        x = pass.vit->recompute ? cb_op_recomputed(tape, x, block_forward, &pass, sizeof pass)
                                : block_forward(tape, x, &pass);
    }
    return x;
}

static cb_tensor trunk(const void *network, cb_tape *tape, const cb_images *images)
{
    const cb_vit *vit = network;
    cb_token_layout layout = layout_of(vit, images->height, images->width);
    block_pass pass = {.vit = vit, .images = images->count, .rotation = rotation_for(vit, tape, &layout)};
    cb_tensor x = embed(vit, tape, images, &layout, NULL);
    return run_blocks(pass, tape, x, 0, vit->training.frozen_blocks, &(cb_forward_options){0});
}

/* The output of the frozen blocks: a copy, which the next blocks may change. */
static cb_tensor after_trunk(
    const cb_vit *vit, cb_tape *tape, const cb_images *images, const cb_tensor *known)
{
    cb_tape frozen = *tape;
    frozen.training = false;
    cb_tensor x = known ? *known : trunk(vit, &frozen, images);
    tape->scratch_bytes = frozen.scratch_bytes;
    cb_tensor stream = cb_tape_tensor(tape, x.rows, x.columns, true);
    if (cb_tape_runs(tape)) memcpy(stream.value, x.value, x.rows * x.columns * sizeof *x.value);
    return stream;
}

cb_tensor cb_vit_forward(
    const cb_vit *vit, cb_tape *tape, const cb_images *images, const cb_forward_options *options)
{
    cb_token_layout layout = layout_of(vit, images->height, images->width);
    block_pass pass = {.vit = vit, .images = images->count, .rotation = rotation_for(vit, tape, &layout)};
    size_t frozen = vit->training.frozen_blocks;
    cb_tensor x = frozen ? after_trunk(vit, tape, images, options->trunk)
                         : embed(vit, tape, images, &layout, options->mask);
    return cb_norm_real(tape, run_blocks(pass, tape, x, frozen, vit->depth, options), &vit->norm);
}

static cb_tensor forward(
    const void *network, cb_tape *tape, const cb_images *images, const cb_forward_options *options)
{
    return cb_vit_forward(network, tape, images, options);
}

/* --- packed weights --- */

typedef struct packing {
    bool bf16;
    cb_pool *pool;
    cb_arena *arena; /* NULL: weights are unpacked */
} packing;

static void pack_affine(cb_affine *affine, const packing *how)
{
    affine->packed =
        how->arena ? cb_affine_packed(affine, how->bf16, how->pool, how->arena) : (cb_gemm_packed){0};
}

static void pack(void *network, bool bf16, cb_pool *pool, cb_arena *arena)
{
    cb_vit *vit = network;
    const packing how = {bf16, pool, arena};
    for (size_t i = 0; i < vit->stem_layers; i++) pack_affine(&vit->stem[i].conv, &how);
    pack_affine(&vit->patch_embed, &how);
    for (size_t i = 0; i < vit->depth; i++) {
        pack_affine(&vit->blocks[i].qkv, &how);
        pack_affine(&vit->blocks[i].proj, &how);
        pack_affine(&vit->blocks[i].mlp_in, &how);
        pack_affine(&vit->blocks[i].mlp_out, &how);
    }
}

/* --- positions of another grid --- */

#define MOST_GRID 16384 /* patches along the largest image's side */

/* The side of the square grid with positions in `length` rows; 0 if there is none. */
static size_t grid_of(const cb_vit *vit, size_t length)
{
    size_t before = vit->grid.before;
    size_t grid = length > before ? (size_t)llround(sqrt((double)(length - before))) : 0;
    return grid <= MOST_GRID && grid * grid + before == length ? grid : 0;
}

static bool resamples(const void *network, const cb_parameter *parameter, size_t length)
{
    return strcmp(parameter->name, POS_EMBED) == 0 && grid_of(network, length) > 0;
}

static cribo_status resample(const cb_runtime *runtime, const void *network, const cb_parameter *parameter,
    cb_real *values, size_t length, cb_real *to)
{
    const cb_vit *vit = network;
    cb_grid_sampling how = vit->grid;
    cb_tensor x = {.value = values, .rows = length, .columns = vit->width};
    cb_arena arena = cb_arena_measure();
    cb_tape tape = cb_tape_begin(&arena, runtime->pool, false, 0);
    how.grid = grid_of(vit, length);
    cb_op_resample_positions(&tape, x, &how, vit->grid.grid, vit->grid.grid);
    CB_TRY(cb_arena_create(&runtime->allocator, &arena, cb_tape_planned_bytes(&tape), "positions"));
    tape = cb_tape_begin(&arena, runtime->pool, false, 0);
    cb_tensor y = cb_op_resample_positions(&tape, x, &how, vit->grid.grid, vit->grid.grid);
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
    .trunk = trunk,
    .pack = pack,
    .resamples = resamples,
    .resample = resample,
};
