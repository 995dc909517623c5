/*
 * cribo/model.h: the vision transformer with its projection heads: making one, reading and writing its
 * parameters, and using it frozen for features.
 */
#ifndef CRIBO_MODEL_H
#define CRIBO_MODEL_H

#include "cribo/base.h"
#include "cribo/stream.h"

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Arithmetic of the networks. CRIBO_BF16: linear maps, attention and last layers multiply operands rounded to
 * bfloat16, and activations inside a block are stored in it. Parameters, their gradients, sums, the residual
 * stream, norms, softmax and losses are float32 in both. CPUs without bfloat16 instructions compute the same
 * up to rounding, but slower. Features and losses differ from float32's by about 1 %.
 */
#define CRIBO_FLOAT32 0
#define CRIBO_BF16 1

/* The MLP of a block, with hidden width h: fc2(gelu(fc1 x)), or w3(silu(a) b) with [a; b] = w12 x. */
#define CRIBO_MLP_GELU 0
#define CRIBO_MLP_SWIGLU 1

/*
 * The embedding of the pixels. PATCH: a linear map of each patch. CONVOLUTION (Xiao et al. 2021): log2 p
 * convolutions of 3 x 3 with stride 2, each with a layer norm over its channels and GELU, of widths
 * D / (p / 2), ..., D / 2, D, then one of 1 x 1. The patch size p is then a power of two, and p / 2
 * divides D.
 */
#define CRIBO_STEM_PATCH 0
#define CRIBO_STEM_CONVOLUTION 1

/*
 * Positions. Learned ones are added to the tokens, and resampled (bicubic) for images of another size. Rotary
 * ones rotate queries and keys of the patches: number i of a head's d with number i + d/2, by 2 pi y /
 * period_i for i < d/4 and by 2 pi x / period_(i - d/4) for the others, where a patch's centre (y, x) is
 * scaled to -1 ... 1 as CRIBO_ROPE_... says.
 */
#define CRIBO_POSITIONS_LEARNED 0
#define CRIBO_POSITIONS_ROPE 1

/* Rows are divided by the grid's rows and columns by its columns, or both by the smaller or the larger. */
#define CRIBO_ROPE_SEPARATE 0
#define CRIBO_ROPE_MIN 1
#define CRIBO_ROPE_MAX 2

/*
 * Biases of queries, keys and values. NO_KEY: the keys' third of qkv.bias is 0 at first and not trained.
 * NONE: there is no qkv.bias.
 */
#define CRIBO_QKV_BIAS_ALL 0
#define CRIBO_QKV_BIAS_NO_KEY 1
#define CRIBO_QKV_BIAS_NONE 2

/* A transformer with its heads (or without): parameters, and a workspace for features. */
typedef struct cribo_model cribo_model;

/*
 * Settings; cribo_model_config_init sets those of ViT-S/16 with the published heads; docs/backbones.md has
 * those of other published transformers. Fields are only ever
 * appended. tiny: width 192, heads 3; small: 384, 6; base: 768, 12; any other combination is fine while heads
 * divides width.
 */
typedef struct cribo_model_config {
    size_t struct_size; /* sizeof(cribo_model_config), set by _init */
    int64_t image_size; /* side of the training images, a multiple of patch_size; 224. 1 ... 16 384 */
    int64_t patch_size; /* p; 16. 1 ... 1024 */
    int64_t width;      /* D; 384. 1 ... 65 536 */
    int64_t depth;      /* L, blocks; 12. 1 ... 1024 */
    int64_t heads;      /* H, divides width; 6. 1 ... 1024 */
    int64_t mlp_ratio;  /* hidden width of a block's MLP over D; 4. 1 ... 64 */
    double
        drop_path; /* stochastic depth, from 0 in the first block to this; training only; 0.1. 0 ... 0.99 */
    int64_t head_hidden;       /* hidden width of the heads' shared MLP; 2048. 1 ... 65 536 */
    int64_t head_bottleneck;   /* its output width; 256. 1 ... 65 536 */
    int64_t prototypes;        /* P of the [CLS] head; 65 536. 0 (no heads at all) ... 2^24 */
    int64_t object_prototypes; /* P of the object head; 65 536. 0 ... 2^24, 0 where prototypes is 0 */
    int64_t normed_last_layer; /* 1: the last layers' gains stay 1; 0: they are trained. 0 */
    int64_t seed;              /* of the initial parameters; 0. 0 ... 2^53 */
    int64_t precision;         /* CRIBO_FLOAT32 or CRIBO_BF16, as text "float32" or "bf16"; float32 */
    int64_t recompute;  /* 1: training stores only a block's input and recomputes the block in the backward
                                     pass: bit-identical, with less memory and more time; 0 */
    int64_t registers;  /* register tokens between [CLS] and the patches; 0. 0 ... 1024 */
    double layer_scale; /* first value of LayerScale's gains; 0: no LayerScale; 0. 0 ... 1000 */
    int64_t mlp;        /* CRIBO_MLP_..., as text "gelu" or "swiglu"; gelu */
    int64_t mlp_hidden; /* hidden width of a block's MLP; 0: mlp_ratio width; 0. 0 ... 2^22 */
    int64_t position_embedding; /* CRIBO_POSITIONS_..., as text "learned" or "rope"; learned */
    int64_t position_grid;  /* side of the learned grid in patches; 0: that of image_size; 0. 0 ... 16 384 */
    int64_t cls_position;   /* 1: [CLS] has a learned position, the first row; 1 */
    double position_offset; /* of resampling, in patches: 0.1 as DINO, 0 as timm; 0.1. 0 ... 1 */
    int64_t position_antialias; /* 1: resampling of learned positions is antialiased; 0 */
    double rope_base;           /* base of the periods, base^(4 i / d) for i < d/4; 100. 1e-6 ... 1e12 */
    double rope_min_period;     /* both positive: periods of a geometric series between them, instead of */
    double rope_max_period;     /* rope_base; 0 and 0. 0 ... 1e12 */
    int64_t rope_coordinates;   /* CRIBO_ROPE_..., as text "separate", "min" or "max"; separate */
    double norm_epsilon;        /* of the layer norms; 1e-6. 1e-12 ... 1 */
    int64_t qkv_bias;           /* CRIBO_QKV_BIAS_..., as text "all", "no_key" or "none"; all */
    int64_t mask_token; /* 1: there is "backbone.mask_token" [1, D], which replaces masked patches in training
                                     and is not used by features; 0 */
    int64_t stem;       /* CRIBO_STEM_..., as text "patch" or "convolution"; patch */
} cribo_model_config;

/*
 * _init sets the defaults; `struct_size` is sizeof(cribo_model_config) as the caller knows it. _set assigns a
 * setting by its name from text, with a decimal point in every locale. _setting describes setting `index`,
 * starting at 0; its strings are static.
 * Errors: CRIBO_INVALID_ARGUMENT (NULL, a size this library never had, no such setting, text that is no
 * number, a value out of range, an index past the last).
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_model_config_init(
    cribo_model_config *config, size_t struct_size);
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_model_config_set(
    cribo_model_config *config, const char *name, const char *value);
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_model_config_setting(size_t index, cribo_setting *setting);

/*
 * Makes a model with fresh parameters: normal with deviation 0.02 for weights, [CLS] token and positions, 0
 * for biases, 1 for the gains of norms and last layers, uniform in +-1/sqrt(head_bottleneck) for the last
 * layers' directions (docs/algorithm.md, "Initial parameters").
 * Ownership: free with cribo_model_free.
 * Errors: CRIBO_INVALID_ARGUMENT, CRIBO_OUT_OF_MEMORY, CRIBO_SYSTEM_ERROR (no threads).
 * Cost: memory for the parameters, 4 bytes each, which are drawn one by one. The first call for features
 * allocates the workspace.
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_model_create(
    cribo_model **out, const cribo_model_config *config, const cribo_runtime *runtime);

/* Frees a model that cribo_model_create made (not a trainer's); NULL is fine. */
CRIBO_API void cribo_model_free(cribo_model *model);

/*
 * The settings with which the model was made; they cannot change. _get_config: all of them, into a config
 * whose struct_size is set (_config_init does). _get_setting: one by its name; of a choice its number.
 * Errors: CRIBO_INVALID_ARGUMENT (NULL, no such setting, a size this library never had).
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_model_get_config(
    const cribo_model *model, cribo_model_config *config);
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_model_get_setting(
    const cribo_model *model, const char *name, double *value);

/*
 * The sizes of the model (cribo_sizes): tokens, width, attention_heads, prototypes, parameters.
 * Errors: CRIBO_INVALID_ARGUMENT (NULL, struct_size not set).
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_model_sizes(const cribo_model *model, cribo_sizes *sizes);

/*
 * Makes a model that shares the weights of `source`, with a runtime and a workspace of its own: several
 * threads, each with its model, compute features at the same time from one set of weights. The features have
 * the same bits as those of `source`.
 * Ownership: free with cribo_model_free. The weights live until the last of the models that share them is
 * freed, in any order. They are memory of the first one's allocator, which frees them in that call.
 * Errors: CRIBO_INVALID_ARGUMENT (NULL, a model of a trainer, whose steps change its weights),
 * CRIBO_OUT_OF_MEMORY, CRIBO_SYSTEM_ERROR (no threads), CRIBO_WRONG_STATE (a call on `source` is under way).
 * Functions that change a model (write_parameter, load, load_partial, adopt, pack) give CRIBO_WRONG_STATE
 * while its weights are shared.
 * Threads: a call on `source` and on each model that shares its weights may run at the same time.
 * Cost: no copy of the weights; the threads of the runtime.
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_model_share(
    cribo_model **out, const cribo_model *source, const cribo_runtime *runtime);

/*
 * Packs the weights of the backbone in the model's precision, once for all later calls for features, which
 * otherwise pack them in every call. The features keep their bits. A change of the parameters discards the
 * packed weights; call this function again after it. Call it before cribo_model_share.
 * Errors: CRIBO_INVALID_ARGUMENT (NULL, a model of a trainer), CRIBO_OUT_OF_MEMORY, CRIBO_WRONG_STATE (the
 * weights are shared); the model is then unchanged.
 * Cost: memory as large as the weights of the backbone, or half as large for bf16 on a CPU with instructions
 * for it; none where BLIS multiplies with its own kernels (cribo_build_info). A second call does nothing.
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_model_pack(cribo_model *model);

/*
 * One parameter. Names are those of the authors' code: "backbone." + the names that timm and DINO use
 * ("cls_token", "blocks.0.attn.qkv.weight", ...), "head.mlp.{0,2,4}.{weight,bias}",
 * "head.last_layer.weight_g" and "weight_v" ([CLS]), "head.last_layer_c.weight_g" and "weight_v" (objects).
 * docs/backbones.md lists all of the backbone's.
 */
typedef struct cribo_parameter {
    size_t struct_size; /* sizeof(cribo_parameter), set by the caller */
    const char *name;   /* lives as long as the model */
    int64_t axes;       /* 1 ... 4 */
    int64_t shape[4];   /* as in the authors' code; 1 beyond `axes` */
    int64_t count;      /* elements */
} cribo_parameter;

/*
 * The number of parameters (tensors) of the model.
 * Errors: CRIBO_INVALID_ARGUMENT (NULL).
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_model_parameter_count(const cribo_model *model, int64_t *count);

/*
 * Describes parameter `index` (0 ... count - 1), or the parameter with the name `name`.
 * Ownership: the name belongs to the model.
 * Errors: CRIBO_INVALID_ARGUMENT (NULL, no such index or name, struct_size not set).
 * Cost: _find_parameter looks at every name; no allocation.
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_model_parameter(
    const cribo_model *model, int64_t index, cribo_parameter *parameter);
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_model_find_parameter(
    const cribo_model *model, const char *name, cribo_parameter *parameter);

/*
 * Copies a parameter out of or into the model: `count` floats, which must be the parameter's count, finite
 * when written.
 * Errors: CRIBO_INVALID_ARGUMENT (NULL, no such name, another count, not finite).
 * Cost: that of the copy; writing sweeps the values first.
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_model_read_parameter(
    const cribo_model *model, const char *name, float *values, int64_t count);
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_model_write_parameter(
    cribo_model *model, const char *name, const float *values, int64_t count);

/*
 * Features of images, from the frozen model.
 *
 * images         B
 * height, width  of the images, multiples of patch_size; other than image_size: positions are interpolated
 * pixels         [B, 3, height, width] float32, normalised as in training; finite
 * dense          [B, N, D] tokens after the final norm, N = (height / p) (width / p), row by row; NULL:
 *                not computed
 * cls            [B, D] the [CLS] token after the final norm; NULL: not computed
 * attention      [B, H, N] attention of the last block from [CLS] to each patch (the share of [CLS] itself is
 *                left out); NULL: not computed
 *
 * Errors: CRIBO_INVALID_ARGUMENT, CRIBO_OUT_OF_MEMORY.
 * Cost: one forward pass; the workspace is kept and grows for larger images.
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_model_features(cribo_model *model, int64_t images,
    int64_t height, int64_t width, const float *pixels, float *dense, float *cls, float *attention);

/*
 * Arrays for features, in the shapes of cribo_model_features.
 *
 * dense, cls, attention  the features; NULL: not computed
 * dense_capacity, cls_capacity, attention_capacity  numbers for which each array has room
 */
typedef struct cribo_feature_arrays {
    size_t struct_size; /* sizeof(cribo_feature_arrays) */
    float *dense;
    int64_t dense_capacity;
    float *cls;
    int64_t cls_capacity;
    float *attention;
    int64_t attention_capacity;
} cribo_feature_arrays;

/*
 * cribo_model_features into arrays of known sizes.
 * Errors: as cribo_model_features, and CRIBO_INVALID_ARGUMENT for a capacity that is too small, with the
 * number that is needed; nothing is then written.
 * Cost: as cribo_model_features.
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_model_features_within(cribo_model *model, int64_t images,
    int64_t height, int64_t width, const float *pixels, const cribo_feature_arrays *arrays);

/*
 * The most bytes at once that cribo_model_create and cribo_model_features of images of this size take from
 * the allocator, for any number of images; height and width 0: without features. Not included: the arrays of
 * the caller, reading a file, and cribo_model_pack. See cribo_trainer_memory.
 * Errors: as cribo_model_create and cribo_model_features; CRIBO_OUT_OF_MEMORY only where the address space
 * is too small.
 * Cost: as cribo_trainer_memory.
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_model_memory(const cribo_model_config *config,
    const cribo_runtime *runtime, int64_t height, int64_t width, int64_t *bytes);

/*
 * Writes the parameters to a safetensors file, each named prefix + name (prefix NULL: none), through a
 * temporary file that is renamed: at any moment the old file or the new one exists.
 * Errors: CRIBO_IO_ERROR with the system's reason, CRIBO_OUT_OF_MEMORY, CRIBO_INVALID_ARGUMENT (NULL, a
 * prefix that is not UTF-8); an old file is then unchanged.
 * Cost: no copy of the parameters.
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_model_save(
    const cribo_model *model, const char *path, const char *prefix);

/*
 * Reads all parameters from a safetensors file in which they are named prefix + name ("teacher." for the
 * teacher of a training run), a checkpoint included. Other tensors in the file are passed over.
 * Errors: CRIBO_IO_ERROR, CRIBO_CORRUPT, CRIBO_OUT_OF_MEMORY, CRIBO_INVALID_ARGUMENT (a parameter is missing,
 * is not float32, has another shape or is not finite); the model is then unchanged.
 * Cost: a second copy of the parameters while they are read.
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_model_load(
    cribo_model *model, const char *path, const char *prefix);

/*
 * Which parts of a model are read from a file; each is 0 or 1. What is not read stays as it is: fresh, in a
 * fresh model. At least one of backbone and heads is 1.
 *
 * backbone            the transformer
 * heads               the projection heads
 * resample_positions  1: positions of another image_size are resampled to the model's (bicubic, as
 *                     cribo_model_features does for other image sizes); 0: they are refused
 * plain_names         1: the file has the backbone's names as timm and DINO write them ("cls_token", ...),
 *                     without "backbone."; not together with heads, whose names begin like a classifier's
 */
typedef struct cribo_load_parts {
    size_t struct_size; /* sizeof(cribo_load_parts) */
    int64_t backbone;
    int64_t heads;
    int64_t resample_positions;
    int64_t plain_names;
} cribo_load_parts;

/*
 * As cribo_model_load, for parts of a model: for example only the backbone, with other heads.
 * Errors: as cribo_model_load, and CRIBO_INVALID_ARGUMENT for parts; the model is then unchanged.
 * Cost: as cribo_model_load.
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_model_load_partial(
    cribo_model *model, const char *path, const char *prefix, const cribo_load_parts *parts);

/*
 * As cribo_model_load_partial, from a reader; `parts` NULL: backbone and heads, as cribo_model_load.
 * Errors: as cribo_model_load_partial; the model is then unchanged.
 * Cost: as cribo_model_load.
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_model_load_from(
    cribo_model *model, const cribo_reader *reader, const char *prefix, const cribo_load_parts *parts);

/*
 * How a file of weights is opened.
 *
 * prefix    precedes the names of the model's tensors, "backbone." included or not; NULL: it is found, and is
 *           the teacher's where the file has student and teacher
 * settings  "name=value,name=value": settings of cribo_model_config that replace those found, such as
 *           "heads=12,precision=bf16"; NULL: none
 * heads     1: the projection heads are read too, where the file has them; 0: the model has none
 */
typedef struct cribo_open_options {
    size_t struct_size; /* sizeof(cribo_open_options) */
    const char *prefix;
    const char *settings;
    int64_t heads;
} cribo_open_options;

/*
 * Makes a model from a file of weights alone. The layout is recognised by the names of the tensors, and
 * the settings are derived from names and shapes: files of this library (models, weights of a run,
 * checkpoints), of the authors, of timm, of Meta's DINO, iBOT, DINOv2 and DINOv3, and of Hugging Face's
 * Dinov2Model, Dinov2WithRegistersModel, DINOv3ViTModel and ViTModel (docs/backbones.md). Settings that
 * tensors do not determine come from the file's metadata or from config.json beside it, else they are
 * assumed (cribo_weights_info says which). Tensors of F32, F16, BF16 and F64 are read. `options` NULL: the
 * defaults.
 * Ownership: free with cribo_model_free; strings are read during the call only.
 * Errors: CRIBO_IO_ERROR, CRIBO_CORRUPT, CRIBO_OUT_OF_MEMORY, CRIBO_INVALID_ARGUMENT (no vision
 * transformer; a tensor that is missing, has another shape, is not finite, or is unknown and would change
 * the features); *out is then NULL.
 * Cost: a second copy of the parameters while they are read.
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_model_open(
    cribo_model **out, const char *path, const cribo_open_options *options, const cribo_runtime *runtime);
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_model_open_from(cribo_model **out, const cribo_reader *reader,
    const cribo_open_options *options, const cribo_runtime *runtime);

/*
 * The settings with which cribo_model_open makes the model. `config` has been initialised.
 * Ownership: strings are read during the call only.
 * Errors: as cribo_model_open; *config is then unchanged.
 * Cost: the header is read.
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_model_config_from_file(
    const char *path, const cribo_open_options *options, cribo_model_config *config);
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_model_config_from_reader(
    const cribo_reader *reader, const cribo_open_options *options, cribo_model_config *config);

/*
 * Reads weights of any layout into a model that exists, such as a trainer's student: its backbone, and
 * with options.heads = 1 its projection heads. Positions of another image size are resampled.
 * options.settings is not used.
 * Ownership: strings are read during the call only.
 * Errors: as cribo_model_open, and CRIBO_INVALID_ARGUMENT where the file's model has other settings; the
 * model is then unchanged.
 * Cost: as cribo_model_load.
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_model_adopt(
    cribo_model *model, const char *path, const cribo_open_options *options);
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_model_adopt_from(
    cribo_model *model, const cribo_reader *reader, const cribo_open_options *options);

/*
 * Writes the backbone in a layout of cribo_weights_layout, so that other code loads it. `prefix` precedes
 * the names; NULL: that of the layout. Tables that other code computes (rotary periods) are not written.
 * Ownership: strings are read during the call only.
 * Errors: CRIBO_IO_ERROR, CRIBO_OUT_OF_MEMORY, CRIBO_INVALID_ARGUMENT (no such layout); an old file is
 * then unchanged.
 * Cost: no copy of the parameters.
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_model_export(
    const cribo_model *model, const char *path, const char *layout, const char *prefix);
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_model_export_to(
    const cribo_model *model, const cribo_writer *writer, const char *layout, const char *prefix);

/*
 * The name of layout `index`, from 0 on: "cribo", "dino", "dinov3", "timm", "timm-eva", "hf-dinov2",
 * "hf-vit", "hf-dinov3"; NULL past the last.
 * Ownership: a static string.
 */
CRIBO_API const char *cribo_weights_layout(size_t index);

/*
 * A file of weights.
 *
 * layout      its layout (cribo_weights_layout)
 * title       the layout in words, for output to people
 * prefix      precedes the names of the backbone's tensors
 * dtype       of the patch embedding: "F32", "F16", "BF16" or "F64"
 * kind        of a file of this library: "model 1", "weights 1", "checkpoint 1"; "" for others
 * assumed     settings that the file does not determine, as "name = value; ..."; "": none
 * tensors     in the file
 * parameters  numbers of the backbone
 * heads       1: the projection heads are there
 * step        steps of the run; -1: not in the file
 */
typedef struct cribo_weights_info {
    size_t struct_size; /* sizeof(cribo_weights_info) */
    char layout[32];
    char title[96];
    char prefix[96];
    char dtype[16];
    char kind[32];
    char assumed[400];
    int64_t tensors;
    int64_t parameters;
    int64_t heads;
    int64_t step;
} cribo_weights_info;

/*
 * Describes a file of weights, as cribo_model_open understands it.
 * Ownership: the struct is the caller's; strings are read during the call only.
 * Errors: as cribo_model_open, and CRIBO_INVALID_ARGUMENT for a struct_size that is not set; *info is then
 * unchanged.
 * Cost: the header is read.
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_weights_describe(
    const char *path, const cribo_open_options *options, cribo_weights_info *info);
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_weights_describe_from(
    const cribo_reader *reader, const cribo_open_options *options, cribo_weights_info *info);

/*
 * Which parts of a model are written to a file; each is 0 or 1. At least one of backbone and heads is 1.
 *
 * backbone     the transformer
 * heads        the projection heads
 * plain_names  1: the backbone's names as timm and DINO write them, without "backbone."; not together with
 *              heads. timm's load_state_dict takes such a file of cribo_model_save_partial without prefix
 */
typedef struct cribo_save_parts {
    size_t struct_size; /* sizeof(cribo_save_parts) */
    int64_t backbone;
    int64_t heads;
    int64_t plain_names;
} cribo_save_parts;

/*
 * As cribo_model_save, for parts of a model.
 * Errors: as cribo_model_save, and CRIBO_INVALID_ARGUMENT for parts; an old file is then unchanged.
 * Cost: as cribo_model_save.
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_model_save_partial(
    const cribo_model *model, const char *path, const char *prefix, const cribo_save_parts *parts);

/*
 * As cribo_model_save_partial, to a writer; `parts` NULL: backbone and heads, as cribo_model_save.
 * Errors: as cribo_model_save_partial; the writer has then received a part of the bytes.
 * Cost: as cribo_model_save.
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_model_save_to(
    const cribo_model *model, const cribo_writer *writer, const char *prefix, const cribo_save_parts *parts);

#ifdef __cplusplus
}
#endif

#endif
