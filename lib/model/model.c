/* Making models. See model.h. */
#include "model/model.h"

#include "model/vit.h"
#include "tensor/gemm.h"

#include <string.h>

const char *const cb_precisions[2] = {"float32", "bf16"};
const char *const cb_stems[2] = {"patch", "convolution"};
const char *const cb_mlps[2] = {"gelu", "swiglu"};
const char *const cb_position_embeddings[2] = {"learned", "rope"};
const char *const cb_rope_coordinates[3] = {"separate", "min", "max"};
const char *const cb_qkv_biases[3] = {"all", "no_key", "none"};

#define M cribo_model_config
static const cb_field fields[] = {
    CB_INTEGER(M, image_size, 1, 16384, 224,
        "side of the square training images in pixels; a multiple of patch_size"),
    CB_INTEGER(M, patch_size, 1, 1024, 16, "side of a square patch in pixels"),
    CB_INTEGER(M, width, 1, 65536, 384, "token width: components of a token's vector; a multiple of heads"),
    CB_INTEGER(M, depth, 1, 1024, 12, "number of transformer blocks"),
    CB_INTEGER(M, heads, 1, 1024, 6, "number of attention heads per block"),
    CB_INTEGER(M, mlp_ratio, 1, 64, 4, "hidden width of a block's MLP as a multiple of width"),
    CB_REAL(M, drop_path, 0, 0.99, 0.1,
        "drop rate of the last block's residual branches; it grows linearly from 0 over the blocks"),
    CB_INTEGER(M, head_hidden, 1, 65536, 2048, "hidden width of the projection heads' MLPs"),
    CB_INTEGER(M, head_bottleneck, 1, 65536, 256,
        "output width of the projection heads' MLPs, before the prototypes"),
    CB_INTEGER(M, prototypes, 0, 16777216, 65536, "prototypes of the [CLS] head; 0: a model without heads"),
    CB_INTEGER(
        M, object_prototypes, 0, 16777216, 65536, "prototypes of the object head; 0: a model without heads"),
    CB_INTEGER(
        M, normed_last_layer, 0, 1, 0, "1: keep the gains of the prototype layers at 1; 0: train them"),
    CB_INTEGER(M, seed, 0, 9007199254740992, 0, "seed of the initial parameters"),
    CB_CHOICE(M, precision, cb_precisions, CRIBO_FLOAT32, CB_PRECISION_HELP),
    CB_INTEGER(M, recompute, 0, 1, 0, CB_RECOMPUTE_HELP),
    CB_TRANSFORMER_FIELDS(M),
    CB_INTEGER(M, mask_token, 0, 1, 0, "1: the model has the token that replaces masked patches"),
    CB_STEM_FIELD(M),
};
#undef M

const cb_config_table cb_model_settings = CB_CONFIG_TABLE_GROWN(cribo_model_config, fields, precision);

static cribo_status check_rotary(const cribo_model_config *c)
{
    CB_REQUIRE(
        (c->rope_min_period > 0) == (c->rope_max_period > 0) && c->rope_min_period <= c->rope_max_period,
        "rope_min_period = %g and rope_max_period = %g: both are 0, or the first is the smaller",
        c->rope_min_period, c->rope_max_period);
    CB_REQUIRE(c->width / c->heads % 4 == 0,
        "width / heads = %lld must be a multiple of 4 with position_embedding = rope",
        (long long)(c->width / c->heads));
    return CRIBO_OK;
}

static cribo_status check_stem(const cribo_model_config *c)
{
    int64_t p = c->patch_size;
    CB_REQUIRE(p >= 2 && (p & (p - 1)) == 0,
        "patch_size = %lld must be a power of two, at least 2, with stem = convolution", (long long)p);
    CB_REQUIRE(c->width % (p / 2) == 0,
        "width = %lld must be a multiple of patch_size / 2 = %lld with stem = convolution",
        (long long)c->width, (long long)(p / 2));
    return CRIBO_OK;
}

static cribo_status check_combination(const cribo_model_config *c)
{
    CB_REQUIRE(c->image_size % c->patch_size == 0,
        "image_size = %lld must be a multiple of patch_size = %lld", (long long)c->image_size,
        (long long)c->patch_size);
    CB_REQUIRE(c->width % c->heads == 0, "heads = %lld must divide width = %lld", (long long)c->heads,
        (long long)c->width);
    if (c->position_embedding == CRIBO_POSITIONS_ROPE) CB_TRY(check_rotary(c));
    if (c->stem == CRIBO_STEM_CONVOLUTION) CB_TRY(check_stem(c));
    CB_REQUIRE((c->prototypes == 0) == (c->object_prototypes == 0),
        "prototypes = %lld and object_prototypes = %lld: both are 0 (no heads) or neither is",
        (long long)c->prototypes, (long long)c->object_prototypes);
    return CRIBO_OK;
}

/* Counts the parameters if there is no memory for them, and binds them otherwise. */
static void describe(cb_model *model)
{
    const cribo_model_config *c = &model->config;
    model->heads.input = (size_t)c->width;
    model->heads.hidden = (size_t)c->head_hidden;
    model->heads.bottleneck = (size_t)c->head_bottleneck;
    model->heads.prototypes = (size_t)c->prototypes;
    model->heads.object_prototypes = (size_t)c->object_prototypes;
    model->heads.fixed_gain = c->normed_last_layer != 0;

    model->parameters.count = model->parameters.total = model->parameters.frozen = 0;
    cb_backbone_describe(&model->backbone, &model->parameters);
    if (c->prototypes) cb_heads_describe(&model->heads, &model->parameters);
}

static cribo_status allocate(const cb_allocator *allocator, cb_model *model, bool gradients)
{
    cb_parameters *p = &model->parameters;
    CB_TRY(
        cb_backbone_create(allocator, &model->backbone, &cb_vit_backbone, &model->config, &model->training));
    describe(model);
    CB_TRY(cb_parameters_allocate(allocator, p, gradients));
    describe(model);
    return CRIBO_OK;
}

/* A model whose parameters are all zero. */
static cribo_status create(const cb_runtime *runtime, cb_model **out, const cribo_model_config *config,
    const cb_training *training, bool gradients)
{
    cb_model *model;
    *out = NULL;
    CB_TRY(CB_ALLOCATE(&runtime->allocator, &model, 1, "model"));
    model->allocator = runtime->allocator;
    atomic_init(&model->holders, 1);
    model->config = *config;
    model->training = *training;
    cribo_status status = allocate(&runtime->allocator, model, gradients);
    if (status == CRIBO_OK) status = cb_gemm_begin(runtime);
    if (status != CRIBO_OK) {
        cb_model_free(model);
        return status;
    }
    *out = model;
    return CRIBO_OK;
}

cribo_status cb_model_create(
    const cb_runtime *runtime, cb_model **out, const cribo_model_config *config, const cb_training *training)
{
    *out = NULL;
    CB_TRY(check_combination(config));
    CB_TRY(create(runtime, out, config, training ? training : &cb_train_all, training != NULL));
    cb_parameters_draw(runtime, &(*out)->parameters, (uint64_t)config->seed);
    return CRIBO_OK;
}

static cribo_status copy(const cb_runtime *runtime, cb_model **out, const cb_model *source, bool heads)
{
    cribo_model_config config = source->config;
    if (!heads) config.prototypes = config.object_prototypes = 0;
    CB_TRY(create(runtime, out, &config, &source->training, false));
    cb_parameters_copy(runtime, &(*out)->parameters, &source->parameters);
    return CRIBO_OK;
}

cribo_status cb_model_copy(const cb_runtime *runtime, cb_model **out, const cb_model *source)
{
    return copy(runtime, out, source, true);
}

cribo_status cb_model_copy_backbone(const cb_runtime *runtime, cb_model **out, const cb_model *source)
{
    return copy(runtime, out, source, false);
}

cb_model *cb_model_hold(cb_model *model)
{
    atomic_fetch_add(&model->holders, 1);
    return model;
}

void cb_model_free(cb_model *model)
{
    if (!model || atomic_fetch_sub(&model->holders, 1) > 1) return;
    const cb_allocator allocator = model->allocator;
    cb_arena_destroy(&allocator, &model->packed);
    cb_parameters_release(&allocator, &model->parameters);
    cb_backbone_free(&allocator, &model->backbone);
    cb_release(&allocator, model);
}

cribo_status cb_model_pack(const cb_runtime *runtime, cb_model *model)
{
    bool bf16 = model->config.precision == CRIBO_BF16;
    cb_arena measured = cb_arena_measure();
    if (model->packed.base) return CRIBO_OK;
    cb_backbone_pack(&model->backbone, bf16, runtime->pool, &measured);
    CB_TRY(cb_arena_create(&model->allocator, &model->packed, measured.peak, "packed weights"));
    cb_backbone_pack(&model->backbone, bf16, runtime->pool, &model->packed);
    return CRIBO_OK;
}

void cb_model_unpack(cb_model *model)
{
    if (!model->packed.base) return;
    cb_backbone_pack(&model->backbone, false, NULL, NULL);
    cb_arena_destroy(&model->allocator, &model->packed);
}
