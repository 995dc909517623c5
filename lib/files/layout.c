/* The layouts of published weights. See layout.h. */
#include "files/layout.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RULE(ours, ...) {ours, {__VA_ARGS__}, 0}

/* A linear map or norm: its weight and its bias. */
#define PAIR(ours, theirs) RULE(ours ".weight", theirs ".weight"), RULE(ours ".bias", theirs ".bias")
#define JOINED(ours, a, b) \
    RULE(ours ".weight", a ".weight", b ".weight"), RULE(ours ".bias", a ".bias", b ".bias")
#define BLOCK "blocks.#."

/* Meta's DINO and DINOv2; iBOT has another name. */
static const cb_layout_rule dino[] = {
    RULE("mask_token", "mask_token"),
    RULE("mask_token", "masked_embed"),
};

/* Meta's repository of DINOv3. */
static const cb_layout_rule dinov3[] = {
    RULE("register_tokens", "storage_tokens"),
    JOINED(BLOCK "mlp.w12", BLOCK "mlp.w1", BLOCK "mlp.w2"),
};

/* timm's VisionTransformer. */
static const cb_layout_rule timm[] = {
    RULE("mask_token", NULL),
    RULE("register_tokens", "reg_token"),
    PAIR(BLOCK "mlp.w12", BLOCK "mlp.fc1"),
    JOINED(BLOCK "mlp.w12", BLOCK "mlp.fc1_g", BLOCK "mlp.fc1_x"),
    PAIR(BLOCK "mlp.w3", BLOCK "mlp.fc2"),
};

/* timm's Eva, which timm uses for DINOv3. */
static const cb_layout_rule timm_eva[] = {
    RULE("mask_token", NULL),
    RULE("register_tokens", "reg_token"),
    RULE(BLOCK "ls1.gamma", BLOCK "gamma_1"),
    RULE(BLOCK "ls2.gamma", BLOCK "gamma_2"),
    RULE(BLOCK "attn.qkv.bias", BLOCK "attn.q_bias", "?" BLOCK "attn.k_bias", BLOCK "attn.v_bias"),
    RULE(BLOCK "attn.qkv.bias", BLOCK "attn.qkv.bias"),
    JOINED(BLOCK "mlp.w12", BLOCK "mlp.fc1_g", BLOCK "mlp.fc1_x"),
    PAIR(BLOCK "mlp.w3", BLOCK "mlp.fc2"),
};

/* The common rules of the modules of Hugging Face's transformers. */
#define EMBEDDINGS \
    RULE("cls_token", "embeddings.cls_token"), RULE("register_tokens", "embeddings.register_tokens"), \
        RULE("pos_embed", "embeddings.position_embeddings"), \
        PAIR("patch_embed.proj", "embeddings.patch_embeddings.projection")
#define LAYER "encoder.layer.#."
#define ATTENTION LAYER "attention.attention."
#define ATTENTION_RULES \
    RULE(BLOCK "attn.qkv.weight", ATTENTION "query.weight", ATTENTION "key.weight", \
        ATTENTION "value.weight"), \
        RULE(BLOCK "attn.qkv.bias", ATTENTION "query.bias", ATTENTION "key.bias", ATTENTION "value.bias"), \
        PAIR(BLOCK "attn.proj", LAYER "attention.output.dense")
#define SCALES(layer) \
    RULE(BLOCK "ls1.gamma", layer "layer_scale1.lambda1"), \
        RULE(BLOCK "ls2.gamma", layer "layer_scale2.lambda1")

/* Dinov2Model and Dinov2WithRegistersModel. */
static const cb_layout_rule hf_dinov2[] = {
    RULE("mask_token", "embeddings.mask_token"),
    EMBEDDINGS,
    ATTENTION_RULES,
    SCALES(LAYER),
    PAIR(BLOCK "norm1", LAYER "norm1"),
    PAIR(BLOCK "norm2", LAYER "norm2"),
    PAIR(BLOCK "mlp.fc1", LAYER "mlp.fc1"),
    PAIR(BLOCK "mlp.fc2", LAYER "mlp.fc2"),
    PAIR(BLOCK "mlp.w12", LAYER "mlp.weights_in"),
    PAIR(BLOCK "mlp.w3", LAYER "mlp.weights_out"),
    PAIR("norm", "layernorm"),
};

/* ViTModel. */
static const cb_layout_rule hf_vit[] = {
    RULE("mask_token", NULL),
    EMBEDDINGS,
    ATTENTION_RULES,
    PAIR(BLOCK "norm1", LAYER "layernorm_before"),
    PAIR(BLOCK "norm2", LAYER "layernorm_after"),
    PAIR(BLOCK "mlp.fc1", LAYER "intermediate.dense"),
    PAIR(BLOCK "mlp.fc2", LAYER "output.dense"),
    PAIR("norm", "layernorm"),
};

/* DINOv3ViTModel. */
#define V3 "layer.#."
#define V3_ATTENTION V3 "attention."
static const cb_layout_rule hf_dinov3[] = {
    {"mask_token", {"embeddings.mask_token"}, 3},
    RULE("cls_token", "embeddings.cls_token"),
    RULE("register_tokens", "embeddings.register_tokens"),
    PAIR("patch_embed.proj", "embeddings.patch_embeddings"),
    RULE(BLOCK "attn.qkv.weight", V3_ATTENTION "q_proj.weight", V3_ATTENTION "k_proj.weight",
        V3_ATTENTION "v_proj.weight"),
    RULE(BLOCK "attn.qkv.bias", V3_ATTENTION "q_proj.bias", "?" V3_ATTENTION "k_proj.bias",
        V3_ATTENTION "v_proj.bias"),
    PAIR(BLOCK "attn.proj", V3_ATTENTION "o_proj"),
    SCALES(V3),
    PAIR(BLOCK "norm1", V3 "norm1"),
    PAIR(BLOCK "norm2", V3 "norm2"),
    PAIR(BLOCK "mlp.fc1", V3 "mlp.up_proj"),
    PAIR(BLOCK "mlp.fc2", V3 "mlp.down_proj"),
    JOINED(BLOCK "mlp.w12", V3 "mlp.gate_proj", V3 "mlp.up_proj"),
    PAIR(BLOCK "mlp.w3", V3 "mlp.down_proj"),
};

#define LAYOUT(name, title, rules, backbone) {name, title, rules, sizeof rules / sizeof rules[0], backbone}
static const cb_layout layouts[] = {
    {"cribo", "names of the authors' code, as this library writes them", NULL, 0, "backbone."},
    LAYOUT("dino", "Meta's DINO, iBOT, DINOv2, or a plain ViT of timm", dino, ""),
    LAYOUT("dinov3", "Meta's DINOv3", dinov3, ""),
    LAYOUT("timm", "timm's VisionTransformer", timm, ""),
    LAYOUT("timm-eva", "timm's Eva", timm_eva, ""),
    LAYOUT("hf-dinov2", "Hugging Face's Dinov2Model or Dinov2WithRegistersModel", hf_dinov2, ""),
    LAYOUT("hf-vit", "Hugging Face's ViTModel", hf_vit, ""),
    LAYOUT("hf-dinov3", "Hugging Face's DINOv3ViTModel", hf_dinov3, ""),
};

const cb_layout *cb_layout_at(size_t index)
{
    return index < sizeof layouts / sizeof layouts[0] ? &layouts[index] : NULL;
}

const cb_layout *cb_layout_find(const char *name)
{
    for (size_t i = 0; cb_layout_at(i); i++)
        if (strcmp(layouts[i].name, name) == 0) return &layouts[i];
    return NULL;
}

/* Whether a name fits a pattern; the number of the block in *block. */
static bool fits(const char *pattern, const char *name, unsigned long *block)
{
    const char *mark = strchr(pattern, '#');
    size_t before = mark ? (size_t)(mark - pattern) : strlen(pattern);
    if (!mark) return strcmp(pattern, name) == 0;
    if (strncmp(pattern, name, before) != 0 || name[before] < '0' || name[before] > '9') return false;
    char *rest;
    *block = strtoul(name + before, &rest, 10);
    return strcmp(mark + 1, rest) == 0;
}

static void fill_in(char *name, const char *pattern, unsigned long block)
{
    const char *mark = strchr(pattern, '#');
    if (mark)
        snprintf(name, CB_TENSOR_NAME_BYTES, "%.*s%lu%s", (int)(mark - pattern), pattern, block, mark + 1);
    else
        snprintf(name, CB_TENSOR_NAME_BYTES, "%s", pattern);
}

static cb_sources by_rule(const cb_layout_rule *rule, unsigned long block)
{
    cb_sources sources = {.axes = rule->axes};
    for (; sources.count < CB_MAX_SOURCES && rule->theirs[sources.count]; sources.count++) {
        const char *pattern = rule->theirs[sources.count];
        sources.optional[sources.count] = *pattern == '?';
        fill_in(sources.name[sources.count], pattern + (*pattern == '?'), block);
    }
    return sources;
}

cb_sources cb_layout_sources(const cb_layout *layout, const char *ours, size_t variant)
{
    size_t found = 0;
    unsigned long block = 0;
    for (size_t i = 0; i < layout->count; i++)
        if (fits(layout->rules[i].ours, ours, &block) && found++ == variant)
            return by_rule(&layout->rules[i], block);
    cb_sources sources = {0};
    if (variant > 0 || found > 0) return sources;
    sources.count = 1;
    snprintf(sources.name[0], CB_TENSOR_NAME_BYTES, "%s", ours);
    return sources;
}
