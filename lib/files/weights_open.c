/* Recognising weights and deriving the settings of their model. See weights.h. */
#include "base/file.h"
#include "base/text.h"
#include "files/metadata.h"
#include "files/weights.h"
#include "model/vit.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- tensors by name --- */

const cb_tensor_info *cb_weights_tensor(const cb_weights *w, const char *name)
{
    return cb_safetensors_find(w->file, w->prefix, name);
}

static bool has_all(const cb_weights *w, const cb_sources *sources)
{
    for (size_t i = 0; i < sources->count; i++)
        if (!sources->optional[i] && !cb_weights_tensor(w, sources->name[i])) return false;
    return true;
}

cb_sources cb_weights_sources(const cb_weights *w, const char *ours)
{
    for (size_t variant = 0;; variant++) {
        cb_sources sources = cb_layout_sources(w->layout, ours, variant);
        if (sources.count == 0 || has_all(w, &sources)) return sources;
    }
}

/* The first tensor of a parameter, or NULL. */
static const cb_tensor_info *first_of(const cb_weights *w, const char *ours)
{
    cb_sources sources = cb_weights_sources(w, ours);
    return sources.count ? cb_weights_tensor(w, sources.name[0]) : NULL;
}

/* Rows of a parameter in the file, of all its tensors. */
static uint64_t rows_of(const cb_weights *w, const char *ours)
{
    cb_sources sources = cb_weights_sources(w, ours);
    uint64_t rows = 0;
    for (size_t i = 0; i < sources.count; i++) {
        const cb_tensor_info *tensor = cb_weights_tensor(w, sources.name[i]);
        if (tensor && tensor->axes > 0) rows += tensor->shape[0];
    }
    return rows;
}

/* Adds to the list of settings that were assumed. */
static void note(cb_weights *w, const char *format, ...)
{
    size_t length = strlen(w->assumed);
    va_list arguments;
    if (length) length += (size_t)snprintf(w->assumed + length, CB_NOTE_BYTES - length, "; ");
    if (length >= CB_NOTE_BYTES) return;
    va_start(arguments, format);
    vsnprintf(w->assumed + length, CB_NOTE_BYTES - length, format, arguments);
    va_end(arguments);
}

/* --- prefix and layout --- */

#define TOKEN "cls_token"
#define HF_TOKEN "embeddings.cls_token"

/* Whether a name ends with `end` at its beginning or after a dot; the length of the part before it. */
static bool ends_with(const char *name, const char *end, size_t *before)
{
    size_t length = strlen(name), tail = strlen(end);
    if (length < tail || strcmp(name + length - tail, end) != 0) return false;
    *before = length - tail;
    return *before == 0 || name[*before - 1] == '.';
}

/* The prefix of a tensor that is a [CLS] token. */
static bool prefix_of(const char *name, size_t *length)
{
    return ends_with(name, HF_TOKEN, length) || ends_with(name, TOKEN, length);
}

static bool is_chosen(const char *name, size_t length, const char *prefix)
{
    size_t chosen = strlen(prefix);
    if (length == chosen) return strncmp(name, prefix, chosen) == 0;
    return length == chosen + strlen(CB_BACKBONE_NAMES) && strncmp(name, prefix, chosen) == 0 &&
           strncmp(name + chosen, CB_BACKBONE_NAMES, strlen(CB_BACKBONE_NAMES)) == 0;
}

/* Finds the [CLS] token that the caller chose, or the teacher's, or the first. */
static cribo_status find_prefix(cb_weights *w, const char *prefix)
{
    const char *found = NULL;
    size_t found_length = 0, length;
    for (size_t i = 0; i < cb_safetensors_count(w->file); i++) {
        const char *name = cb_safetensors_tensor(w->file, i)->name;
        if (!prefix_of(name, &length) || (prefix && !is_chosen(name, length, prefix))) continue;
        if (found && !cb_starts_with(name, "teacher")) continue;
        found = name;
        found_length = length;
    }
    CB_REQUIRE(found,
        "%.200s: there is no tensor \"%.90s" TOKEN "\": this is no vision transformer "
        "in a known layout",
        w->path, prefix ? prefix : "");
    CB_REQUIRE(found_length < CB_PREFIX_BYTES, "%.200s: the tensor \"%.100s\" has too long a prefix", w->path,
        found);
    snprintf(w->prefix, sizeof w->prefix, "%.*s", (int)found_length, found);
    return CRIBO_OK;
}

static bool has(const cb_weights *w, const char *name)
{
    return cb_weights_tensor(w, name) != NULL;
}

/* Whether the first layer of block 0's MLP computes both halves of a gated MLP, as in timm. */
static bool is_packed(const cb_weights *w)
{
    const cb_tensor_info *in = cb_weights_tensor(w, "blocks.0.mlp.fc1.weight");
    const cb_tensor_info *out = cb_weights_tensor(w, "blocks.0.mlp.fc2.weight");
    return in && out && in->axes == 2 && out->axes == 2 && in->shape[0] == 2 * out->shape[1];
}

static const char *layout_name(const cb_weights *w)
{
    if (has(w, HF_TOKEN)) {
        if (has(w, "layer.0.attention.q_proj.weight")) return "hf-dinov3";
        return has(w, "encoder.layer.0.layernorm_before.weight") ? "hf-vit" : "hf-dinov2";
    }
    if (has(w, "storage_tokens") || has(w, "blocks.0.mlp.w1.weight")) return "dinov3";
    if (has(w, "blocks.0.gamma_1")) return "timm-eva";
    if (has(w, "reg_token") || has(w, "head.weight") || has(w, "blocks.0.mlp.fc1_g.weight") || is_packed(w))
        return "timm";
    size_t before;
    return ends_with(w->prefix, CB_BACKBONE_NAMES, &before) ? "cribo" : "dino";
}

/* The projection heads have the same prefix as "backbone.". */
static void find_heads(cb_weights *w)
{
    size_t length = strlen(w->prefix), backbone = strlen(CB_BACKBONE_NAMES), before = length;
    if (length >= backbone && strcmp(w->prefix + length - backbone, CB_BACKBONE_NAMES) == 0)
        before = length - backbone;
    snprintf(w->heads_prefix, sizeof w->heads_prefix, "%.*s", (int)before, w->prefix);
    w->has_heads = cb_safetensors_find(w->file, w->heads_prefix, "head.mlp.4.weight") &&
                   cb_safetensors_find(w->file, w->heads_prefix, "head.last_layer.weight_v") &&
                   cb_safetensors_find(w->file, w->heads_prefix, "head.last_layer_c.weight_v");
}

/* --- settings from shapes --- */

static cribo_status missing(const cb_weights *w, const char *ours)
{
    cb_sources sources = cb_layout_sources(w->layout, ours, 0);
    return cb_fail(CRIBO_INVALID_ARGUMENT,
        "%.200s: there is no tensor \"%.90s%.100s\", which the layout \"%s\" has", w->path, w->prefix,
        sources.name[0], w->layout->name);
}

/* The layers of a convolutional stem; 0: there is none. */
static int64_t count_stem_layers(const cb_weights *w)
{
    for (int64_t layers = 0;; layers++) {
        char name[64];
        snprintf(name, sizeof name, "patch_embed.stem.%lld.conv.weight", (long long)layers);
        if (layers == CB_MAX_STEM_LAYERS || !has(w, name)) return layers;
    }
}

static cribo_status read_stem(cb_weights *w, const cb_tensor_info *last)
{
    CB_REQUIRE(last->axes == 4 && last->shape[2] == 1 && last->shape[3] == 1 && last->shape[0] >= 1 &&
                   last->shape[0] <= 65536,
        "%.200s: tensor \"%.100s\" has another shape than [width, width, 1, 1], which follows a stem",
        w->path, last->name);
    w->config.stem = CRIBO_STEM_CONVOLUTION;
    w->config.width = (int64_t)last->shape[0];
    w->config.patch_size = (int64_t)1 << count_stem_layers(w);
    return CRIBO_OK;
}

static cribo_status read_patches(cb_weights *w)
{
    const cb_tensor_info *patch = first_of(w, "patch_embed.proj.weight");
    if (!patch) return missing(w, "patch_embed.proj.weight");
    if (count_stem_layers(w) > 0) return read_stem(w, patch);
    CB_REQUIRE(patch->axes == 4 && patch->shape[1] == 3 && patch->shape[2] == patch->shape[3],
        "%.200s: tensor \"%.100s\" has another shape than [width, 3, p, p]: no square patches of colour",
        w->path, patch->name);
    CB_REQUIRE(
        patch->shape[0] >= 1 && patch->shape[0] <= 65536 && patch->shape[2] >= 1 && patch->shape[2] <= 1024,
        "%.200s: tensor \"%.100s\": a width of %llu or patches of %llu pixels are out of range", w->path,
        patch->name, (unsigned long long)patch->shape[0], (unsigned long long)patch->shape[2]);
    w->config.width = (int64_t)patch->shape[0];
    w->config.patch_size = (int64_t)patch->shape[2];
    return CRIBO_OK;
}

static cribo_status read_depth(cb_weights *w)
{
    char name[64];
    int64_t depth = 0;
    for (;; depth++) {
        snprintf(name, sizeof name, "blocks.%lld.norm1.weight", (long long)depth);
        if (!first_of(w, name)) break;
    }
    if (depth == 0) return missing(w, "blocks.0.norm1.weight");
    w->config.depth = depth;
    return CRIBO_OK;
}

static cribo_status read_mlp(cb_weights *w)
{
    bool gated =
        is_packed(w) || (first_of(w, "blocks.0.mlp.w12.weight") && first_of(w, "blocks.0.mlp.w3.weight") &&
                            !first_of(w, "blocks.0.mlp.fc1.weight"));
    gated |= w->layout->rules && has(w, "layer.0.mlp.gate_proj.weight");
    const char *in = gated ? "blocks.0.mlp.w12.weight" : "blocks.0.mlp.fc1.weight";
    uint64_t hidden = rows_of(w, in) / (gated ? 2 : 1), width = (uint64_t)w->config.width;
    if (hidden == 0) return missing(w, in);
    w->config.mlp = gated ? CRIBO_MLP_SWIGLU : CRIBO_MLP_GELU;
    if (hidden % width == 0 && hidden / width <= 64)
        w->config.mlp_ratio = (int64_t)(hidden / width);
    else
        w->config.mlp_hidden = (int64_t)hidden;
    return CRIBO_OK;
}

/* The side of a square; 0: it is none. */
static int64_t root_of(uint64_t square)
{
    uint64_t side = 0;
    while (side * side < square && side < 20000) side++;
    return side > 0 && side * side == square ? (int64_t)side : 0;
}

static cribo_status read_positions(cb_weights *w)
{
    const cb_tensor_info *positions = first_of(w, "pos_embed");
    if (!positions) {
        w->config.position_embedding = CRIBO_POSITIONS_ROPE;
        int64_t patch = w->config.patch_size;
        w->config.image_size = 224 / patch > 0 ? 224 / patch * patch : patch;
        note(w, "image_size = %lld", (long long)w->config.image_size);
        return CRIBO_OK;
    }
    uint64_t rows = positions->axes == 3 ? positions->shape[1] : 0;
    int64_t grid = root_of(rows);
    w->config.cls_position = grid == 0;
    if (grid == 0 && rows > 1) grid = root_of(rows - 1);
    CB_REQUIRE(grid > 0,
        "%.200s: tensor \"%.100s\" has %llu positions, which are no square grid with or without one of [CLS]",
        w->path, positions->name, (unsigned long long)rows);
    w->config.image_size = grid * w->config.patch_size;
    return CRIBO_OK;
}

static void read_biases(cb_weights *w)
{
    cb_sources sources = cb_weights_sources(w, "blocks.0.attn.qkv.bias");
    if (sources.count == 0)
        w->config.qkv_bias = CRIBO_QKV_BIAS_NONE;
    else if (has(w, "blocks.0.attn.qkv.bias_mask") || (sources.count == 3 && !has(w, sources.name[1])))
        w->config.qkv_bias = CRIBO_QKV_BIAS_NO_KEY;
}

/* Heads have 64 components, except in these published models. */
static int64_t assumed_heads(const cb_weights *w)
{
    static const struct {
        int64_t width, heads;
    } published[] = {{1152, 16}, {1280, 16}, {1408, 16}, {1664, 16}, {4096, 32}};
    bool modern = w->config.position_embedding == CRIBO_POSITIONS_ROPE;
    for (size_t i = 0; i < sizeof published / sizeof published[0]; i++)
        if (published[i].width == w->config.width && !(modern && w->config.width == 1280))
            return published[i].heads;
    return w->config.width % 64 == 0 ? w->config.width / 64 : 1;
}

/* The settings of resampling and norms differ by layout and are not in the file. */
static void assume_rest(cb_weights *w)
{
    cribo_model_config *c = &w->config;
    bool hugging_face = has(w, HF_TOKEN), timm = cb_starts_with(w->layout->name, "timm");
    c->heads = assumed_heads(w);
    if (c->position_embedding == CRIBO_POSITIONS_ROPE) c->norm_epsilon = 1e-5;
    if (strcmp(w->layout->name, "hf-vit") == 0) c->norm_epsilon = 1e-12;
    if (hugging_face || timm || c->registers) c->position_offset = 0;
    if (timm || (c->registers && !hugging_face)) c->position_antialias = 1;
    if (strcmp(w->layout->name, "hf-dinov2") == 0 && c->registers) c->position_antialias = 1;
}

static cribo_status read_heads(cb_weights *w)
{
    const cb_tensor_info *hidden = cb_safetensors_find(w->file, w->heads_prefix, "head.mlp.0.weight");
    const cb_tensor_info *cls = cb_safetensors_find(w->file, w->heads_prefix, "head.last_layer.weight_v");
    const cb_tensor_info *objects =
        cb_safetensors_find(w->file, w->heads_prefix, "head.last_layer_c.weight_v");
    w->config.prototypes = w->config.object_prototypes = 0;
    if (!w->has_heads) return CRIBO_OK;
    CB_REQUIRE(hidden && hidden->axes == 2 && cls->axes == 2 && objects->axes == 2,
        "%.200s: the projection heads under \"%.90shead.\" have another shape", w->path, w->heads_prefix);
    w->config.head_hidden = (int64_t)hidden->shape[0];
    w->config.head_bottleneck = (int64_t)cls->shape[1];
    w->config.prototypes = (int64_t)cls->shape[0];
    w->config.object_prototypes = (int64_t)objects->shape[0];
    return CRIBO_OK;
}

/* --- settings from metadata --- */

/* Settings of a training run, or settings that are derived from the shapes. */
static bool is_skipped(const char *key)
{
    return cb_list_has(
        "precision,recompute,seed,prototypes,object_prototypes,head_hidden,head_bottleneck", key);
}

/* Files of the library have every setting by name. Returns whether there were any. */
static cribo_status read_own_settings(cb_weights *w, bool *own)
{
    *own = cb_safetensors_metadata(w->file, "patch_size") && cb_safetensors_metadata(w->file, "heads");
    for (size_t i = 0; *own && i < cb_safetensors_pair_count(w->file); i++) {
        const cb_metadata_pair *pair = cb_safetensors_pair(w->file, i);
        if (!cb_config_find(&cb_model_settings, pair->key) || is_skipped(pair->key)) continue;
        CB_TRY(cb_config_set(&cb_model_settings, &w->config, pair->key, pair->value));
    }
    return CRIBO_OK;
}

#define MAX_CONFIG_BYTES (1 << 20)

/* The number after "key": in the text of a flat JSON object; false: there is none. */
static bool number_in(const char *text, const char *key, char number[32])
{
    char quoted[64];
    snprintf(quoted, sizeof quoted, "\"%s\"", key);
    const char *at = strstr(text, quoted);
    if (!at) return false;
    at += strlen(quoted);
    at += strspn(at, " \t\r\n");
    if (*at++ != ':') return false;
    at += strspn(at, " \t\r\n");
    size_t length = strspn(at, "0123456789.eE+-");
    if (length == 0 || length >= 32) return false;
    memcpy(number, at, length);
    number[length] = 0;
    return true;
}

/* Settings of Hugging Face's config.json that the tensors do not determine. */
static void read_config_text(cb_weights *w, const char *text)
{
    static const struct {
        const char *theirs, *ours;
    } settings[] = {
        {"num_attention_heads", "heads"}, {"layer_norm_eps", "norm_epsilon"}, {"rope_theta", "rope_base"}};
    char number[32];
    for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++)
        if (number_in(text, settings[i].theirs, number))
            (void)!cb_config_set(&cb_model_settings, &w->config, settings[i].ours, number);
}

/* Reads config.json beside the file. Returns whether it is there. */
static cribo_status read_config_file(const cb_allocator *allocator, cb_weights *w, bool *found)
{
    char path[1024], *text;
    cb_file_reader reader;
    const char *slash = strrchr(w->path, '/');
    int length =
        snprintf(path, sizeof path, "%.*sconfig.json", slash ? (int)(slash - w->path + 1) : 0, w->path);
    *found = false;
    if (length < 0 || (size_t)length >= sizeof path || cb_file_reader_open(&reader, cb_at(path)) != CRIBO_OK)
        return CRIBO_OK;
    size_t size = reader.size < MAX_CONFIG_BYTES ? (size_t)reader.size : 0;
    cribo_status status = CB_ALLOCATE(allocator, &text, size + 1, "config.json");
    if (status == CRIBO_OK && cb_file_reader_read(&reader, 0, text, size) == CRIBO_OK) {
        char number[32];
        text[size] = 0;
        *found = number_in(text, "num_attention_heads", number);
        if (*found) read_config_text(w, text);
    }
    if (status == CRIBO_OK) cb_release(allocator, text);
    cb_file_reader_close(&reader);
    return status;
}

/* --- all of it --- */

static cribo_status derive(const cb_allocator *allocator, cb_weights *w)
{
    CB_TRY(cb_config_init(&cb_model_settings, &w->config, sizeof w->config));
    CB_TRY(read_patches(w));
    CB_TRY(read_depth(w));
    CB_TRY(read_mlp(w));
    const cb_tensor_info *registers = first_of(w, "register_tokens");
    if (registers && registers->axes == 3) w->config.registers = (int64_t)registers->shape[1];
    if (first_of(w, "blocks.0.ls1.gamma")) w->config.layer_scale = 1e-5;
    read_biases(w);
    CB_TRY(read_positions(w));
    assume_rest(w);
    CB_TRY(read_heads(w));
    CB_TRY(read_own_settings(w, &w->known));
    if (!w->known && !w->alone && has(w, HF_TOKEN)) CB_TRY(read_config_file(allocator, w, &w->known));
    if (w->known) {
        w->assumed[0] = 0;
        return CRIBO_OK;
    }
    note(w, "heads = %lld", (long long)w->config.heads);
    note(w, "norm_epsilon = %g", w->config.norm_epsilon);
    if (w->config.position_embedding == CRIBO_POSITIONS_LEARNED)
        note(w, "position_offset = %g, position_antialias = %lld", w->config.position_offset,
            (long long)w->config.position_antialias);
    else
        note(w, "rope_base = %g", w->config.rope_base);
    return CRIBO_OK;
}

cribo_status cb_weights_override(cb_weights *w, const char *settings)
{
    char item[160], *value;
    size_t length;
    for (const char *list = settings, *next; list && (next = cb_next_name(&list, &length));) {
        snprintf(item, sizeof item, "%.*s", (int)(length < sizeof item ? length : sizeof item - 1), next);
        value = strchr(item, '=');
        CB_REQUIRE(length < sizeof item && value, "options.settings: \"%s\" is not name=value", item);
        *value++ = 0;
        CB_TRY(cb_config_set(&cb_model_settings, &w->config, item, value));
    }
    return CRIBO_OK;
}

static cribo_status recognise(const cb_allocator *allocator, cb_weights *w, const char *prefix)
{
    CB_TRY(find_prefix(w, prefix));
    w->layout = cb_layout_find(layout_name(w));
    find_heads(w);
    return derive(allocator, w);
}

cribo_status cb_weights_open(
    const cb_allocator *allocator, cb_weights *weights, cb_place place, const char *prefix)
{
    *weights = (cb_weights){.path = place.path, .alone = place.reader != NULL};
    CB_TRY(cb_safetensors_open(allocator, &weights->file, place));
    cribo_status status = recognise(allocator, weights, prefix);
    if (status != CRIBO_OK) cb_weights_close(weights);
    return status;
}

void cb_weights_close(cb_weights *weights)
{
    cb_safetensors_close(weights->file);
    weights->file = NULL;
}
