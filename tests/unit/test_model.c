/* Models through their public functions: settings, parameters, features, files, and errors. */
#include "io/safetensors.h"
#include "model/model.h"
#include "support/faulty.h"
#include "support/golden.h"
#include "support/scratch.h"
#include "support/suite.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OK(call) ck_assert_msg((call) == CRIBO_OK, "%s", cribo_last_error())

static void assert_refused(cribo_status status, cribo_status expected, const char *part)
{
    ck_assert_msg(
        status == expected, "%s, expected %s", cribo_status_name(status), cribo_status_name(expected));
    ck_assert_msg(
        strstr(cribo_last_error(), part) != NULL, "\"%s\" is not in \"%s\"", part, cribo_last_error());
}

/* Width 12, heads 3, patch 3: nothing is a power of two, or a vector long. */
static cribo_model_config small_config(void)
{
    cribo_model_config c;
    OK(cribo_model_config_init(&c, sizeof c));
    c.image_size = 9;
    c.patch_size = 3;
    c.width = 12;
    c.depth = 1;
    c.heads = 3;
    c.mlp_ratio = 2;
    c.head_hidden = 8;
    c.head_bottleneck = 4;
    c.prototypes = 6;
    c.object_prototypes = 5;
    c.seed = 7;
    return c;
}

static cribo_model *model_with(const cribo_model_config *config, int64_t threads)
{
    cribo_model *model;
    cribo_runtime runtime = faulty_runtime(threads, NULL);
    OK(cribo_model_create(&model, config, &runtime));
    return model;
}

static cribo_model *small_model(void)
{
    cribo_model_config config = small_config();
    return model_with(&config, 2);
}

static int64_t parameters_of(const cribo_model *model)
{
    int64_t count;
    OK(cribo_model_parameter_count(model, &count));
    return count;
}

static cribo_parameter parameter_at(const cribo_model *model, int64_t index)
{
    cribo_parameter p = {.struct_size = sizeof p};
    OK(cribo_model_parameter(model, index, &p));
    return p;
}

/* All values of a model, in order. The caller frees. */
static float *values_of(const cribo_model *model, size_t *count)
{
    float *values = NULL;
    *count = 0;
    for (int64_t i = 0; i < parameters_of(model); i++) {
        cribo_parameter p = parameter_at(model, i);
        values = realloc(values, (*count + (size_t)p.count) * sizeof *values);
        OK(cribo_model_read_parameter(model, p.name, values + *count, p.count));
        *count += (size_t)p.count;
    }
    return values;
}

static bool same_values(const cribo_model *a, const cribo_model *b)
{
    size_t n, m;
    float *x = values_of(a, &n), *y = values_of(b, &m);
    bool same = n == m && memcmp(x, y, n * sizeof *x) == 0;
    free(x);
    free(y);
    return same;
}

/* Settings. */

static const struct {
    size_t offset;
    int64_t value;
    const char *name;
} bad_integers[] = {
#define BAD(field, value) {offsetof(cribo_model_config, field), value, #field}
    BAD(image_size, 0),
    BAD(image_size, -9),
    BAD(image_size, 16385),
    BAD(image_size, 10),
    BAD(patch_size, 0),
    BAD(patch_size, 1025),
    BAD(patch_size, 2),
    BAD(width, 0),
    BAD(width, 65537),
    BAD(width, 13),
    BAD(depth, 0),
    BAD(depth, 1025),
    BAD(heads, 0),
    BAD(heads, 1025),
    BAD(heads, 5),
    BAD(mlp_ratio, 0),
    BAD(mlp_ratio, 65),
    BAD(head_hidden, 0),
    BAD(head_hidden, 65537),
    BAD(head_bottleneck, 0),
    BAD(head_bottleneck, 65537),
    BAD(prototypes, -1),
    BAD(prototypes, 16777217),
    BAD(prototypes, 0),
    BAD(object_prototypes, -1),
    BAD(object_prototypes, 16777217),
    BAD(object_prototypes, 0),
    BAD(normed_last_layer, 2),
    BAD(normed_last_layer, -1),
    BAD(seed, -1),
    BAD(seed, INT64_C(9007199254740993) + 1),
#undef BAD
};

START_TEST(test_model_bad_setting_is_named)
{
    cribo_model_config config = small_config();
    cribo_model *model = (cribo_model *)&config;
    memcpy((char *)&config + bad_integers[_i].offset, &bad_integers[_i].value, sizeof(int64_t));
    assert_refused(cribo_model_create(&model, &config, NULL), CRIBO_INVALID_ARGUMENT, bad_integers[_i].name);
    ck_assert_ptr_null(model);
}
END_TEST

START_TEST(test_model_bad_drop_path_is_named)
{
    const double bad[] = {-0.01, 1, (double)NAN, (double)INFINITY};
    for (size_t i = 0; i < 4; i++) {
        cribo_model_config config = small_config();
        cribo_model *model;
        config.drop_path = bad[i];
        assert_refused(cribo_model_create(&model, &config, NULL), CRIBO_INVALID_ARGUMENT, "drop_path");
    }
}
END_TEST

START_TEST(test_model_settings_are_listed_and_set_by_name)
{
    cribo_model_config config, initial;
    cribo_setting setting;
    size_t count = 0;
    OK(cribo_model_config_init(&config, sizeof config));
    initial = config;
    for (; cribo_model_config_setting(count, &setting) == CRIBO_OK; count++) {
        char text[32];
        snprintf(text, sizeof text, "%.17g", setting.maximum);
        OK(cribo_model_config_set(&config, setting.name, text));
        snprintf(text, sizeof text, "%.17g", setting.initial);
        OK(cribo_model_config_set(&config, setting.name, text));
    }
    ck_assert_uint_eq(count, (sizeof config - sizeof config.struct_size) / 8);
    ck_assert_mem_eq(&config, &initial, sizeof config);
    ck_assert_int_eq(config.width, 384);
    assert_refused(cribo_model_config_set(&config, "wdth", "8"), CRIBO_INVALID_ARGUMENT, "wdth");
    assert_refused(cribo_model_config_set(&config, "width", "0"), CRIBO_INVALID_ARGUMENT, "width");
}
END_TEST

START_TEST(test_model_config_of_another_size_is_refused)
{
    cribo_model_config config = small_config();
    cribo_model *model;
    config.struct_size = 8;
    assert_refused(cribo_model_create(&model, &config, NULL), CRIBO_INVALID_ARGUMENT, "struct_size");
    config.struct_size = 0;
    assert_refused(cribo_model_create(&model, &config, NULL), CRIBO_INVALID_ARGUMENT, "struct_size");
}
END_TEST

/* All settings at their maximum ask for more than an address can hold. */
START_TEST(test_model_too_large_is_out_of_memory)
{
    cribo_model_config config;
    faulty memory = {.largest = (size_t)1 << 30};
    cribo_runtime runtime = faulty_runtime(1, &memory);
    cribo_model *model;
    OK(cribo_model_config_init(&config, sizeof config));
    config.image_size = 16384;
    config.patch_size = 1;
    config.width = config.head_hidden = config.head_bottleneck = 65536;
    config.heads = config.depth = 1024;
    config.mlp_ratio = 64;
    config.prototypes = config.object_prototypes = 16777216;
    assert_refused(cribo_model_create(&model, &config, &runtime), CRIBO_OUT_OF_MEMORY, "parameters");
    ck_assert_ptr_null(model);
}
END_TEST

/* Parameters. */

static const struct {
    const char *name;
    int64_t axes, shape[4];
} expected_parameters[] = {
    {"backbone.cls_token", 3, {1, 1, 12, 1}},
    {"backbone.pos_embed", 3, {1, 10, 12, 1}},
    {"backbone.patch_embed.proj.weight", 4, {12, 3, 3, 3}},
    {"backbone.patch_embed.proj.bias", 1, {12, 1, 1, 1}},
    {"backbone.blocks.0.norm1.weight", 1, {12, 1, 1, 1}},
    {"backbone.blocks.0.norm1.bias", 1, {12, 1, 1, 1}},
    {"backbone.blocks.0.attn.qkv.weight", 2, {36, 12, 1, 1}},
    {"backbone.blocks.0.attn.qkv.bias", 1, {36, 1, 1, 1}},
    {"backbone.blocks.0.attn.proj.weight", 2, {12, 12, 1, 1}},
    {"backbone.blocks.0.attn.proj.bias", 1, {12, 1, 1, 1}},
    {"backbone.blocks.0.norm2.weight", 1, {12, 1, 1, 1}},
    {"backbone.blocks.0.norm2.bias", 1, {12, 1, 1, 1}},
    {"backbone.blocks.0.mlp.fc1.weight", 2, {24, 12, 1, 1}},
    {"backbone.blocks.0.mlp.fc1.bias", 1, {24, 1, 1, 1}},
    {"backbone.blocks.0.mlp.fc2.weight", 2, {12, 24, 1, 1}},
    {"backbone.blocks.0.mlp.fc2.bias", 1, {12, 1, 1, 1}},
    {"backbone.norm.weight", 1, {12, 1, 1, 1}},
    {"backbone.norm.bias", 1, {12, 1, 1, 1}},
    {"head.mlp.0.weight", 2, {8, 12, 1, 1}},
    {"head.mlp.0.bias", 1, {8, 1, 1, 1}},
    {"head.mlp.2.weight", 2, {8, 8, 1, 1}},
    {"head.mlp.2.bias", 1, {8, 1, 1, 1}},
    {"head.mlp.4.weight", 2, {4, 8, 1, 1}},
    {"head.mlp.4.bias", 1, {4, 1, 1, 1}},
    {"head.last_layer.weight_g", 2, {6, 1, 1, 1}},
    {"head.last_layer.weight_v", 2, {6, 4, 1, 1}},
    {"head.last_layer_c.weight_g", 2, {5, 1, 1, 1}},
    {"head.last_layer_c.weight_v", 2, {5, 4, 1, 1}},
};
#define EXPECTED_PARAMETERS ((int64_t)(sizeof expected_parameters / sizeof expected_parameters[0]))
#define BACKBONE_PARAMETERS 18

START_TEST(test_model_parameters_are_those_of_the_authors)
{
    cribo_model *model = small_model();
    ck_assert_int_eq(parameters_of(model), EXPECTED_PARAMETERS);
    for (int64_t i = 0; i < EXPECTED_PARAMETERS; i++) {
        cribo_parameter p = parameter_at(model, i), found = {.struct_size = sizeof found};
        const int64_t *shape = expected_parameters[i].shape;
        ck_assert_str_eq(p.name, expected_parameters[i].name);
        ck_assert_int_eq(p.axes, expected_parameters[i].axes);
        ck_assert_mem_eq(p.shape, shape, sizeof p.shape);
        ck_assert_int_eq(p.count, shape[0] * shape[1] * shape[2] * shape[3]);
        OK(cribo_model_find_parameter(model, expected_parameters[i].name, &found));
        ck_assert_mem_eq(&found, &p, sizeof p);
    }
    cribo_model_free(model);
}
END_TEST

START_TEST(test_model_without_prototypes_has_no_heads)
{
    cribo_model_config config = small_config();
    config.prototypes = config.object_prototypes = 0;
    cribo_model *model = model_with(&config, 1);
    cribo_parameter p = {.struct_size = sizeof p};
    ck_assert_int_eq(parameters_of(model), BACKBONE_PARAMETERS);
    assert_refused(cribo_model_find_parameter(model, "head.mlp.0.weight", &p), CRIBO_INVALID_ARGUMENT,
        "head.mlp.0.weight");
    cribo_model_free(model);
}
END_TEST

START_TEST(test_model_written_parameters_are_read_back)
{
    cribo_model *model = small_model();
    float next = 0, values[512], got[512];
    for (int64_t i = 0; i < EXPECTED_PARAMETERS; i++) {
        cribo_parameter p = parameter_at(model, i);
        for (int64_t j = 0; j < p.count; j++) values[j] = next++;
        OK(cribo_model_write_parameter(model, p.name, values, p.count));
    }
    next = 0;
    for (int64_t i = 0; i < EXPECTED_PARAMETERS; i++) {
        cribo_parameter p = parameter_at(model, i);
        OK(cribo_model_read_parameter(model, p.name, got, p.count));
        for (int64_t j = 0; j < p.count; j++) ck_assert_float_eq(got[j], next++);
    }
    cribo_model_free(model);
}
END_TEST

START_TEST(test_model_bad_parameter_calls_are_refused)
{
    cribo_model *model = small_model(), *untouched = small_model();
    const char *name = "backbone.norm.bias";
    float values[12] = {0};
    cribo_parameter p = {.struct_size = sizeof p};
    assert_refused(cribo_model_parameter(model, -1, &p), CRIBO_INVALID_ARGUMENT, "index");
    assert_refused(cribo_model_parameter(model, EXPECTED_PARAMETERS, &p), CRIBO_INVALID_ARGUMENT, "index");
    assert_refused(
        cribo_model_find_parameter(model, "backbone.norm", &p), CRIBO_INVALID_ARGUMENT, "backbone.norm");
    assert_refused(cribo_model_read_parameter(model, name, values, 11), CRIBO_INVALID_ARGUMENT, "11");
    assert_refused(cribo_model_read_parameter(model, name, values, -12), CRIBO_INVALID_ARGUMENT, "-12");
    assert_refused(cribo_model_write_parameter(model, name, values, 13), CRIBO_INVALID_ARGUMENT, "13");
    assert_refused(
        cribo_model_write_parameter(model, "nobody", values, 12), CRIBO_INVALID_ARGUMENT, "nobody");
    values[0] = 1;
    values[7] = NAN;
    assert_refused(cribo_model_write_parameter(model, name, values, 12), CRIBO_INVALID_ARGUMENT, name);
    assert_refused(cribo_model_write_parameter(model, name, values, 12), CRIBO_INVALID_ARGUMENT, "values[7]");
    values[7] = -INFINITY;
    assert_refused(cribo_model_write_parameter(model, name, values, 12), CRIBO_INVALID_ARGUMENT, "values[7]");
    p.struct_size = 8;
    assert_refused(cribo_model_parameter(model, 0, &p), CRIBO_INVALID_ARGUMENT, "struct_size");
    ck_assert(same_values(model, untouched));
    cribo_model_free(model);
    cribo_model_free(untouched);
}
END_TEST

/* Fresh parameters. */

static double mean_of(const float *x, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += x[i];
    return sum / (double)n;
}

static double deviation_of(const float *x, size_t n)
{
    double mean = mean_of(x, n), sum = 0;
    for (size_t i = 0; i < n; i++) sum += (x[i] - mean) * (x[i] - mean);
    return sqrt(sum / (double)n);
}

static void assert_all(const char *name, const float *x, size_t n, float expected)
{
    for (size_t i = 0; i < n; i++) ck_assert_msg(x[i] == expected, "%s[%zu] = %g", name, i, x[i]);
}

/* Bounds of five standard errors of n draws: σ/√n of a mean, σ/√(2n) of a deviation. */
static void assert_statistics(const char *name, const float *x, size_t n, double deviation)
{
    double mean = mean_of(x, n), got = deviation_of(x, n), error = deviation / sqrt((double)n);
    ck_assert_msg(fabs(mean) < 5 * error, "%s: mean %g", name, mean);
    ck_assert_msg(fabs(got - deviation) < 5 * error / sqrt(2), "%s: deviation %g", name, got);
}

static void check_fresh(const cribo_parameter *p, const float *x)
{
    size_t n = (size_t)p->count;
    if (strstr(p->name, ".bias"))
        assert_all(p->name, x, n, 0);
    else if (strstr(p->name, "norm") || strstr(p->name, "weight_g"))
        assert_all(p->name, x, n, 1);
    else if (strstr(p->name, "weight_v")) {
        double bound = 1 / sqrt((double)p->shape[1]);
        assert_statistics(p->name, x, n, bound / sqrt(3));
        ck_assert_double_le(max_magnitude(x, n), bound * (1 + 1e-6));
        ck_assert_double_gt(max_magnitude(x, n), 0.95 * bound);
    } else
        assert_statistics(p->name, x, n, 0.02);
}

START_TEST(test_model_fresh_parameters_have_the_promised_distribution)
{
    cribo_model_config config = small_config();
    config.width = 48;
    config.depth = 2;
    config.prototypes = 300;
    cribo_model *model = model_with(&config, 2);
    for (int64_t i = 0; i < parameters_of(model); i++) {
        cribo_parameter p = parameter_at(model, i);
        float *values = malloc((size_t)p.count * sizeof *values);
        OK(cribo_model_read_parameter(model, p.name, values, p.count));
        check_fresh(&p, values);
        free(values);
    }
    cribo_model_free(model);
}
END_TEST

START_TEST(test_model_fresh_parameters_depend_on_the_seed_alone)
{
    cribo_model_config config = small_config();
    cribo_model *one = model_with(&config, 1), *three = model_with(&config, 3);
    config.seed = 8;
    cribo_model *other = model_with(&config, 1);
    ck_assert(same_values(one, three));
    ck_assert(!same_values(one, other));
    cribo_model_free(one);
    cribo_model_free(three);
    cribo_model_free(other);
}
END_TEST

/* Features. */

static float *some_pixels(size_t count)
{
    float *pixels = malloc(count * sizeof *pixels);
    for (size_t i = 0; i < count; i++) pixels[i] = (float)((i * 7919 + 13) % 1009) / 500 - 1;
    return pixels;
}

/* Room for the features of some images, and as much again that must stay as it is. */
typedef struct outputs {
    size_t dense_count, cls_count, attention_count;
    float *dense, *cls, *attention;
} outputs;

#define UNTOUCHED 12345.0f

static float *room(size_t count)
{
    float *values = malloc(2 * count * sizeof *values);
    for (size_t i = 0; i < 2 * count; i++) values[i] = UNTOUCHED;
    return values;
}

static outputs outputs_for(const cribo_model_config *c, size_t images, int64_t height, int64_t width)
{
    size_t patches = (size_t)(height / c->patch_size * (width / c->patch_size));
    outputs o = {images * patches * (size_t)c->width, images * (size_t)c->width,
        images * (size_t)c->heads * patches, NULL, NULL, NULL};
    o.dense = room(o.dense_count);
    o.cls = room(o.cls_count);
    o.attention = room(o.attention_count);
    return o;
}

static void free_outputs(outputs *o)
{
    free(o->dense);
    free(o->cls);
    free(o->attention);
}

/* All of the first half was written, nothing of the second. */
static void assert_filled(const float *values, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        ck_assert(isfinite(values[i]) && values[i] != UNTOUCHED);
        ck_assert_float_eq(values[count + i], UNTOUCHED);
    }
}

static const struct {
    int64_t image_size, patch, width, heads, depth, height, view_width;
} odd_shapes[] = {
    {9, 3, 12, 3, 1, 9, 9},
    {9, 3, 12, 3, 1, 6, 15},
    {9, 3, 12, 3, 2, 3, 3},
    {1, 1, 1, 1, 1, 1, 1},
    {4, 1, 1, 1, 2, 3, 5},
    {7, 7, 5, 5, 1, 14, 7},
    {10, 5, 33, 11, 1, 5, 40},
    {32, 2, 6, 2, 1, 32, 32},
};
#define SHAPES ((int)(sizeof odd_shapes / sizeof odd_shapes[0]))

static cribo_model_config odd_config(int i)
{
    cribo_model_config config = small_config();
    config.image_size = odd_shapes[i].image_size;
    config.patch_size = odd_shapes[i].patch;
    config.width = odd_shapes[i].width;
    config.heads = odd_shapes[i].heads;
    config.depth = odd_shapes[i].depth;
    return config;
}

START_TEST(test_model_features_fill_exactly_what_is_promised)
{
    cribo_model_config config = odd_config(_i);
    int64_t height = odd_shapes[_i].height, width = odd_shapes[_i].view_width;
    cribo_model *model = model_with(&config, 3);
    float *pixels = some_pixels((size_t)(2 * 3 * height * width));
    outputs o = outputs_for(&config, 2, height, width);
    OK(cribo_model_features(model, 2, height, width, pixels, o.dense, o.cls, o.attention));
    assert_filled(o.dense, o.dense_count);
    assert_filled(o.cls, o.cls_count);
    assert_filled(o.attention, o.attention_count);
    size_t patches = o.dense_count / o.cls_count, rows = o.attention_count / patches;
    for (size_t r = 0; r < rows; r++) {
        double sum = 0; /* the rest is [CLS]'s own share */
        for (size_t n = 0; n < patches; n++) sum += o.attention[r * patches + n];
        ck_assert(sum > 0 && sum < 1);
    }
    free_outputs(&o);
    free(pixels);
    cribo_model_free(model);
}
END_TEST

START_TEST(test_model_features_of_a_batch_are_those_of_its_images)
{
    cribo_model_config config = odd_config(_i);
    int64_t height = odd_shapes[_i].height, width = odd_shapes[_i].view_width;
    cribo_model *model = model_with(&config, 3), *alone = model_with(&config, 1);
    size_t size = (size_t)(3 * height * width);
    float *pixels = some_pixels(3 * size);
    outputs batch = outputs_for(&config, 3, height, width), single = outputs_for(&config, 1, height, width);
    OK(cribo_model_features(model, 3, height, width, pixels, batch.dense, batch.cls, batch.attention));
    for (size_t b = 0; b < 3; b++) {
        OK(cribo_model_features(
            alone, 1, height, width, pixels + b * size, single.dense, single.cls, single.attention));
        ck_assert_mem_eq(
            single.dense, batch.dense + b * single.dense_count, single.dense_count * sizeof(float));
        ck_assert_mem_eq(single.cls, batch.cls + b * single.cls_count, single.cls_count * sizeof(float));
        ck_assert_mem_eq(single.attention, batch.attention + b * single.attention_count,
            single.attention_count * sizeof(float));
    }
    free_outputs(&batch);
    free_outputs(&single);
    free(pixels);
    cribo_model_free(model);
    cribo_model_free(alone);
}
END_TEST

START_TEST(test_model_features_not_wanted_change_nothing_else)
{
    cribo_model_config config = small_config();
    cribo_model *model = model_with(&config, 2);
    float *pixels = some_pixels(243);
    outputs all = outputs_for(&config, 1, 9, 9), some = outputs_for(&config, 1, 9, 9);
    OK(cribo_model_features(model, 1, 9, 9, pixels, all.dense, all.cls, all.attention));
    OK(cribo_model_features(model, 1, 9, 9, pixels, some.dense, NULL, NULL));
    OK(cribo_model_features(model, 1, 9, 9, pixels, NULL, some.cls, NULL));
    OK(cribo_model_features(model, 1, 9, 9, pixels, NULL, NULL, some.attention));
    OK(cribo_model_features(model, 1, 9, 9, pixels, NULL, NULL, NULL));
    ck_assert_mem_eq(some.dense, all.dense, all.dense_count * sizeof(float));
    ck_assert_mem_eq(some.cls, all.cls, all.cls_count * sizeof(float));
    ck_assert_mem_eq(some.attention, all.attention, all.attention_count * sizeof(float));
    free_outputs(&all);
    free_outputs(&some);
    free(pixels);
    cribo_model_free(model);
}
END_TEST

/* The authors' transformer through the public functions. */
static cribo_model *golden_model(const golden *file, cribo_model_config *config)
{
    OK(cribo_model_config_init(config, sizeof *config));
    config->image_size = golden_integer(file, "image_size");
    config->patch_size = golden_integer(file, "patch_size");
    config->width = golden_integer(file, "embed_dim");
    config->depth = golden_integer(file, "depth");
    config->heads = golden_integer(file, "num_heads");
    config->prototypes = config->object_prototypes = 0;
    cribo_model *model = model_with(config, 2);
    for (int64_t i = 0; i < parameters_of(model); i++) {
        cribo_parameter p = parameter_at(model, i);
        const float *values = golden_floats(file, NULL, "param.%s", p.name + strlen("backbone."));
        OK(cribo_model_write_parameter(model, p.name, values, p.count));
    }
    return model;
}

START_TEST(test_model_features_match_the_authors_tokens)
{
    golden file = golden_open("vit_e48_d2_h3_p8");
    cribo_model_config config;
    cribo_model *model = golden_model(&file, &config);
    size_t count, images = golden_axis(&file, "images", 0), d = (size_t)config.width, n;
    const float *out = golden_floats(&file, &count, "out");
    int64_t side = config.image_size;
    outputs o = outputs_for(&config, images, side, side);
    OK(cribo_model_features(
        model, (int64_t)images, side, side, golden_floats(&file, NULL, "images"), o.dense, o.cls, NULL));
    n = o.dense_count / o.cls_count;
    double tolerance = 5e-6 * max_magnitude(out, count);
    for (size_t b = 0; b < images; b++) {
        assert_close("cls", o.cls + b * d, out + b * (1 + n) * d, d, tolerance);
        assert_close("dense", o.dense + b * n * d, out + (b * (1 + n) + 1) * d, n * d, tolerance);
    }
    free_outputs(&o);
    cribo_model_free(model);
    golden_close(&file);
}
END_TEST

/*
 * One vector of q, k or v of the last block, in double precision, from the authors' tokens before that block.
 */
static void project(
    const golden *file, size_t block, size_t d, const float *token, size_t first, size_t n, double *y)
{
    const float *gain = golden_floats(file, NULL, "param.blocks.%zu.norm1.weight", block);
    const float *shift = golden_floats(file, NULL, "param.blocks.%zu.norm1.bias", block);
    const float *weight = golden_floats(file, NULL, "param.blocks.%zu.attn.qkv.weight", block);
    const float *bias = golden_floats(file, NULL, "param.blocks.%zu.attn.qkv.bias", block);
    double mean = mean_of(token, d), deviation = deviation_of(token, d);
    double inverse = 1 / sqrt(deviation * deviation + 1e-6);
    for (size_t o = 0; o < n; o++) {
        y[o] = bias[first + o];
        for (size_t i = 0; i < d; i++)
            y[o] += weight[(first + o) * d + i] * ((token[i] - mean) * inverse * gain[i] + shift[i]);
    }
}

START_TEST(test_model_attention_is_the_softmax_of_cls_in_the_last_block)
{
    golden file = golden_open("vit_e48_d2_h3_p8");
    cribo_model_config config;
    cribo_model *model = golden_model(&file, &config);
    size_t d = (size_t)config.width, heads = (size_t)config.heads, width = d / heads,
           last = (size_t)config.depth - 1;
    size_t images = golden_axis(&file, "images", 0), tokens = golden_axis(&file, "out", 1),
           patches = tokens - 1;
    const float *stream = golden_floats(&file, NULL, "inter.block%zu", last - 1);
    outputs o = outputs_for(&config, images, config.image_size, config.image_size);
    OK(cribo_model_features(model, (int64_t)images, config.image_size, config.image_size,
        golden_floats(&file, NULL, "images"), NULL, NULL, o.attention));
    for (size_t b = 0; b < images; b++)
        for (size_t h = 0; h < heads; h++) {
            double q[64], k[64], share[64], sum = 0;
            project(&file, last, d, stream + b * tokens * d, h * width, width, q);
            for (size_t t = 0; t < tokens; t++) {
                double score = 0;
                project(&file, last, d, stream + (b * tokens + t) * d, d + h * width, width, k);
                for (size_t i = 0; i < width; i++) score += q[i] * k[i];
                sum += share[t] = exp(score / sqrt((double)width));
            }
            for (size_t t = 1; t < tokens; t++)
                ck_assert_double_eq_tol(o.attention[(b * heads + h) * patches + t - 1], share[t] / sum, 1e-5);
        }
    free_outputs(&o);
    cribo_model_free(model);
    golden_close(&file);
}
END_TEST

START_TEST(test_model_features_keep_their_workspace)
{
    faulty memory = {0};
    cribo_model_config config = small_config();
    cribo_runtime runtime = faulty_runtime(2, &memory);
    cribo_model *model;
    OK(cribo_model_create(&model, &config, &runtime));
    float *pixels = some_pixels(4 * 3 * 18 * 18);
    outputs o = outputs_for(&config, 4, 18, 18);
    OK(cribo_model_features(model, 1, 9, 9, pixels, o.dense, o.cls, o.attention));
    size_t calls = memory.calls, held = memory.held;
    OK(cribo_model_features(model, 4, 9, 9, pixels, o.dense, o.cls, o.attention));
    OK(cribo_model_features(model, 1, 3, 6, pixels, o.dense, o.cls, o.attention));
    OK(cribo_model_features(model, 1, 9, 9, pixels, o.dense, o.cls, o.attention));
    ck_assert_uint_eq(memory.calls, calls);
    OK(cribo_model_features(model, 1, 18, 18, pixels, o.dense, o.cls, o.attention));
    ck_assert_uint_eq(memory.calls, calls + 1);
    ck_assert_uint_eq(memory.held, held);
    OK(cribo_model_features(model, 4, 9, 9, pixels, o.dense, o.cls, o.attention));
    ck_assert_uint_eq(memory.calls, calls + 1);
    cribo_model_free(model);
    ck_assert_uint_eq(memory.held, 0);
    free_outputs(&o);
    free(pixels);
}
END_TEST

START_TEST(test_model_bad_images_are_refused_before_anything_is_written)
{
    cribo_model *model = small_model();
    cribo_model_config config = small_config();
    float *pixels = some_pixels(486);
    outputs o = outputs_for(&config, 2, 9, 9);
    const struct {
        int64_t images, height, width;
        const char *part;
    } bad[] = {{0, 9, 9, "images"}, {-1, 9, 9, "images"}, {1, 0, 9, "height"}, {1, -9, 9, "height"},
        {1, 10, 9, "height"}, {1, 9, 0, "width"}, {1, 9, 8, "width"}, {1, 9, -3, "width"},
        {INT64_MAX, 9, 9, "images"}, {1, INT64_MAX / 3 * 3, 9, "height"},
        {1, INT64_C(3) << 31, INT64_C(3) << 31, "width"}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_refused(cribo_model_features(model, bad[i].images, bad[i].height, bad[i].width, pixels,
                           o.dense, o.cls, o.attention),
            CRIBO_INVALID_ARGUMENT, bad[i].part);
    pixels[485] = NAN;
    assert_refused(cribo_model_features(model, 2, 9, 9, pixels, o.dense, o.cls, o.attention),
        CRIBO_INVALID_ARGUMENT, "pixels[485]");
    pixels[485] = 0;
    pixels[3] = INFINITY;
    assert_refused(cribo_model_features(model, 2, 9, 9, pixels, o.dense, o.cls, o.attention),
        CRIBO_INVALID_ARGUMENT, "pixels[3]");
    assert_all("dense", o.dense, 2 * o.dense_count, UNTOUCHED);
    assert_all("cls", o.cls, 2 * o.cls_count, UNTOUCHED);
    assert_all("attention", o.attention, 2 * o.attention_count, UNTOUCHED);
    free_outputs(&o);
    free(pixels);
    cribo_model_free(model);
}
END_TEST

/* Files. */

static cribo_model *other_model(void)
{
    cribo_model_config config = small_config();
    config.seed = 8;
    return model_with(&config, 1);
}

START_TEST(test_model_saved_is_loaded_with_the_same_bits)
{
    const char *const prefixes[] = {NULL, "", "teacher."};
    scratch_begin();
    for (size_t i = 0; i < 3; i++) {
        cribo_model *saved = small_model(), *loaded = other_model();
        const char *path = scratch_path("model.safetensors");
        OK(cribo_model_save(saved, path, prefixes[i]));
        OK(cribo_model_load(loaded, path, prefixes[i]));
        ck_assert(same_values(saved, loaded));
        ck_assert_uint_eq(scratch_count(), 1);
        cribo_model_free(saved);
        cribo_model_free(loaded);
    }
    scratch_end();
}
END_TEST

START_TEST(test_model_load_passes_over_other_tensors)
{
    cribo_model_config config = small_config();
    scratch_begin();
    cribo_model *whole = small_model();
    config.prototypes = config.object_prototypes = 0;
    config.seed = 9;
    cribo_model *backbone = model_with(&config, 1);
    const char *path = scratch_path("model.safetensors");
    OK(cribo_model_save(whole, path, NULL));
    OK(cribo_model_load(backbone, path, NULL));
    for (int64_t i = 0; i < BACKBONE_PARAMETERS; i++) {
        cribo_parameter p = parameter_at(backbone, i);
        float a[512], b[512];
        OK(cribo_model_read_parameter(whole, p.name, a, p.count));
        OK(cribo_model_read_parameter(backbone, p.name, b, p.count));
        ck_assert_mem_eq(a, b, (size_t)p.count * sizeof *a);
    }
    OK(cribo_model_save(backbone, path, NULL));
    assert_refused(cribo_model_load(whole, path, NULL), CRIBO_INVALID_ARGUMENT, "head.mlp.0.weight");
    cribo_model_free(whole);
    cribo_model_free(backbone);
    scratch_end();
}
END_TEST

/* Whether the parameters with names that begin with `start` are equal. */
static bool same_part(const cribo_model *a, const cribo_model *b, const char *start)
{
    int64_t count;
    OK(cribo_model_parameter_count(a, &count));
    for (int64_t i = 0; i < count; i++) {
        cribo_parameter p = parameter_at(a, i);
        float x[512], y[512];
        if (strncmp(p.name, start, strlen(start)) != 0) continue;
        OK(cribo_model_read_parameter(a, p.name, x, p.count));
        OK(cribo_model_read_parameter(b, p.name, y, p.count));
        if (memcmp(x, y, (size_t)p.count * sizeof *x) != 0) return false;
    }
    return true;
}

START_TEST(test_model_parts_loaded_leave_the_rest)
{
    scratch_begin();
    const char *path = scratch_path("model.safetensors");
    cribo_model *saved = other_model(), *fresh = small_model(), *loaded = small_model();
    cribo_load_parts parts = {.struct_size = sizeof parts, .backbone = _i == 0, .heads = _i == 1};
    OK(cribo_model_save(saved, path, "teacher."));
    OK(cribo_model_load_partial(loaded, path, "teacher.", &parts));
    ck_assert(!same_values(saved, fresh));
    ck_assert(same_part(loaded, parts.backbone ? saved : fresh, "backbone."));
    ck_assert(same_part(loaded, parts.heads ? saved : fresh, "head."));
    cribo_model_free(saved);
    cribo_model_free(fresh);
    cribo_model_free(loaded);
    scratch_end();
}
END_TEST

/* The names in a file, counted by their beginning. */
static size_t count_names(const char *path, const char *beginning)
{
    cb_allocator plain = {0};
    cb_safetensors *file;
    size_t found = 0;
    OK(cb_safetensors_open(&plain, &file, cb_at(path)));
    for (size_t i = 0; i < cb_safetensors_count(file); i++)
        if (strncmp(cb_safetensors_tensor(file, i)->name, beginning, strlen(beginning)) == 0) found++;
    cb_safetensors_close(file);
    return found;
}

START_TEST(test_model_save_partial_writes_that_part_alone)
{
    const bool heads = _i == 1, plain = _i == 2;
    scratch_begin();
    const char *path = scratch_path("part");
    cribo_model *saved = other_model(), *fresh = small_model(), *loaded = small_model();
    cribo_save_parts save = {
        .struct_size = sizeof save, .backbone = !heads, .heads = heads, .plain_names = plain};
    cribo_load_parts load = {
        .struct_size = sizeof load, .backbone = !heads, .heads = heads, .plain_names = plain};
    OK(cribo_model_save_partial(saved, path, "x.", &save));
    ck_assert_uint_eq(count_names(path, ""), count_names(path, heads   ? "x.head."
                                                               : plain ? "x."
                                                                       : "x.backbone."));
    ck_assert_uint_eq(count_names(path, "x.cls_token"), plain);
    OK(cribo_model_load_partial(loaded, path, "x.", &load));
    ck_assert(same_part(loaded, heads ? fresh : saved, "backbone."));
    ck_assert(same_part(loaded, heads ? saved : fresh, "head."));

    load.plain_names = !plain;
    if (!heads)
        assert_refused(
            cribo_model_load_partial(loaded, path, "x.", &load), CRIBO_INVALID_ARGUMENT, "cls_token");
    cribo_model_free(saved);
    cribo_model_free(fresh);
    cribo_model_free(loaded);
    scratch_end();
}
END_TEST

/*
 * A model of grid 3 into one of grid 5 and back: its features at its own size are the other's at that size.
 */
START_TEST(test_model_positions_loaded_are_resampled_as_for_features)
{
    const int64_t sides[2] = {_i == 0 ? 9 : 15, _i == 0 ? 15 : 9};
    cribo_model *models[2];
    float *pixels = calloc(3 * 15 * 15, sizeof *pixels), dense[2][25 * 12] = {{0}}, cls[2][12];
    scratch_begin();
    const char *path = scratch_path("model.safetensors");
    for (int i = 0; i < 2; i++) {
        cribo_model_config config = small_config();
        config.image_size = sides[i];
        config.seed = i;
        models[i] = model_with(&config, 1);
    }
    cribo_load_parts parts = {.struct_size = sizeof parts, .backbone = 1, .heads = 1};
    OK(cribo_model_save(models[0], path, NULL));
    assert_refused(cribo_model_load_partial(models[1], path, NULL, &parts), CRIBO_INVALID_ARGUMENT,
        "backbone.pos_embed");
    assert_refused(cribo_model_load(models[1], path, NULL), CRIBO_INVALID_ARGUMENT, "backbone.pos_embed");
    parts.resample_positions = 1;
    OK(cribo_model_load_partial(models[1], path, NULL, &parts));
    for (int i = 0; i < 3 * 15 * 15; i++) pixels[i] = (float)(i % 7) - 3;
    for (int i = 0; i < 2; i++)
        OK(cribo_model_features(models[i], 1, sides[1], sides[1], pixels, dense[i], cls[i], NULL));
    ck_assert_mem_eq(dense[0], dense[1], sizeof dense[0]);
    ck_assert_mem_eq(cls[0], cls[1], sizeof cls[0]);
    free(pixels);
    cribo_model_free(models[0]);
    cribo_model_free(models[1]);
    scratch_end();
}
END_TEST

START_TEST(test_model_load_of_another_model_names_file_and_tensor)
{
    cribo_model_config config = small_config();
    scratch_begin();
    const char *path = scratch_path("other.safetensors");
    config.object_prototypes = 4;
    cribo_model *model = small_model(), *untouched = small_model(), *other = model_with(&config, 1);
    OK(cribo_model_save(other, path, "student."));
    assert_refused(cribo_model_load(model, path, "student."), CRIBO_INVALID_ARGUMENT,
        "student.head.last_layer_c.weight_g");
    assert_refused(cribo_model_load(model, path, "student."), CRIBO_INVALID_ARGUMENT, "other.safetensors");
    assert_refused(
        cribo_model_load(model, path, "teacher."), CRIBO_INVALID_ARGUMENT, "teacher.backbone.cls_token");
    assert_refused(cribo_model_load(model, path, NULL), CRIBO_INVALID_ARGUMENT, "backbone.cls_token");
    ck_assert(same_values(model, untouched));
    cribo_model_free(model);
    cribo_model_free(untouched);
    cribo_model_free(other);
    scratch_end();
}
END_TEST

/* Cuts a saved file everywhere near its ends and now and then between. */
START_TEST(test_model_load_of_a_truncated_file_leaves_the_model_unchanged)
{
    scratch_begin();
    const char *path = scratch_path("model.safetensors");
    cribo_model *model = small_model(), *untouched = small_model(), *saved = other_model();
    size_t count;
    OK(cribo_model_save(saved, path, NULL));
    char *bytes = read_bytes(path, &count);
    for (size_t length = 0; length < count; length += length < 16 || length + 16 > count ? 1 : 97) {
        write_bytes(path, bytes, length);
        ck_assert_int_eq(cribo_model_load(model, path, NULL), CRIBO_CORRUPT);
    }
    ck_assert(same_values(model, untouched));
    write_bytes(path, bytes, count);
    OK(cribo_model_load(model, path, NULL));
    ck_assert(same_values(model, saved));
    free(bytes);
    cribo_model_free(model);
    cribo_model_free(untouched);
    cribo_model_free(saved);
    scratch_end();
}
END_TEST

START_TEST(test_model_load_refuses_numbers_that_are_not_finite)
{
    scratch_begin();
    const char *path = scratch_path("model.safetensors");
    const float nan_value = NAN;
    cribo_model *model = small_model(), *untouched = small_model(), *saved = other_model();
    size_t count;
    OK(cribo_model_save(saved, path, NULL));
    char *bytes = read_bytes(path, &count);
    memcpy(bytes + count - sizeof nan_value, &nan_value, sizeof nan_value);
    write_bytes(path, bytes, count);
    assert_refused(cribo_model_load(model, path, NULL), CRIBO_INVALID_ARGUMENT, "head.last_layer_c.weight_v");
    ck_assert(same_values(model, untouched));
    free(bytes);
    cribo_model_free(model);
    cribo_model_free(untouched);
    cribo_model_free(saved);
    scratch_end();
}
END_TEST

START_TEST(test_model_missing_files_are_io_errors)
{
    scratch_begin();
    cribo_model *model = small_model();
    assert_refused(cribo_model_load(model, scratch_path("nothing"), NULL), CRIBO_IO_ERROR, "nothing");
    assert_refused(cribo_model_save(model, scratch_path("no/where"), NULL), CRIBO_IO_ERROR, "where");
    assert_refused(cribo_model_save(model, scratch_path("model"), "\xff"), CRIBO_INVALID_ARGUMENT, "UTF-8");
    ck_assert_uint_eq(scratch_count(), 0);
    cribo_model_free(model);
    scratch_end();
}
END_TEST

/* Failure. */

static cribo_status create_in(faulty *memory, cribo_model **model)
{
    cribo_model_config config = small_config();
    cribo_runtime runtime = faulty_runtime(2, memory);
    return cribo_model_create(model, &config, &runtime);
}

START_TEST(test_model_create_without_memory_leaves_nothing)
{
    faulty memory = {0};
    cribo_model *model = NULL;
    cribo_status status = CRIBO_OUT_OF_MEMORY;
    for (size_t fail_at = 1; status != CRIBO_OK; fail_at++) {
        memory = (faulty){.fail_at = fail_at};
        model = (cribo_model *)&memory;
        status = create_in(&memory, &model);
        if (status == CRIBO_OK) break;
        ck_assert_int_eq(status, CRIBO_OUT_OF_MEMORY);
        ck_assert_ptr_null(model);
        ck_assert_uint_eq(memory.held, 0);
        ck_assert_uint_lt(fail_at, 100);
    }
    ck_assert_uint_ge(memory.calls, 3);
    cribo_model_free(model);
    ck_assert_uint_eq(memory.held, 0);
}
END_TEST

static cribo_status features_of(cribo_model *model, outputs *o)
{
    static float pixels[243];
    return cribo_model_features(model, 1, 9, 9, pixels, o->dense, o->cls, o->attention);
}

/*
 * Runs `call` with each of its allocations failing once: it reports the failure, leaks nothing, and then
 * works.
 */
#define SWEEP(memory, call) \
    do { \
        size_t before_ = (memory).held, fail_at_ = 0; \
        cribo_status status_ = CRIBO_OUT_OF_MEMORY; \
        while (status_ != CRIBO_OK) { \
            (memory).fail_at = (memory).calls + ++fail_at_; \
            status_ = call; \
            if (status_ == CRIBO_OK) break; \
            ck_assert_int_eq(status_, CRIBO_OUT_OF_MEMORY); \
            ck_assert_uint_eq((memory).held, before_); \
            ck_assert(same_values(model, untouched)); \
            ck_assert_uint_lt(fail_at_, 200); \
        } \
        (memory).fail_at = 0; \
        ck_assert_uint_gt(fail_at_, 1); \
    } while (0)

START_TEST(test_model_calls_without_memory_leave_the_model_unchanged)
{
    faulty memory = {0};
    cribo_model *model, *untouched = small_model(), *saved = other_model();
    cribo_model_config config = small_config();
    outputs o = outputs_for(&config, 1, 9, 9);
    scratch_begin();
    const char *path = scratch_path("model.safetensors");
    OK(create_in(&memory, &model));
    SWEEP(memory, features_of(model, &o));
    OK(features_of(model, &o));
    SWEEP(memory, cribo_model_save(model, path, "p."));
    OK(cribo_model_save(saved, path, NULL));
    SWEEP(memory, cribo_model_load(model, path, NULL));
    ck_assert(same_values(model, saved));
    cribo_model_free(model);
    ck_assert_uint_eq(memory.held, 0);
    cribo_model_free(untouched);
    cribo_model_free(saved);
    free_outputs(&o);
    scratch_end();
}
END_TEST

START_TEST(test_model_null_arguments_are_named)
{
    cribo_model *model = small_model(), *out;
    cribo_model_config config = small_config();
    cribo_parameter p = {.struct_size = sizeof p};
    cribo_setting setting;
    float values[12];
    int64_t count;
    const char *name = "backbone.norm.bias";
#define REFUSED(call, part) assert_refused(call, CRIBO_INVALID_ARGUMENT, part)
    REFUSED(cribo_model_config_init(NULL, sizeof config), "config");
    REFUSED(cribo_model_config_set(NULL, "width", "8"), "config");
    REFUSED(cribo_model_config_set(&config, NULL, "8"), "name");
    REFUSED(cribo_model_config_set(&config, "width", NULL), "value");
    REFUSED(cribo_model_config_setting(0, NULL), "setting");
    REFUSED(cribo_model_config_setting(1000, &setting), "index");
    REFUSED(cribo_model_create(NULL, &config, NULL), "out");
    REFUSED(cribo_model_create(&out, NULL, NULL), "config");
    REFUSED(cribo_model_parameter_count(NULL, &count), "model");
    REFUSED(cribo_model_parameter_count(model, NULL), "count");
    REFUSED(cribo_model_parameter(NULL, 0, &p), "model");
    REFUSED(cribo_model_parameter(model, 0, NULL), "parameter");
    REFUSED(cribo_model_find_parameter(NULL, name, &p), "model");
    REFUSED(cribo_model_find_parameter(model, NULL, &p), "name");
    REFUSED(cribo_model_find_parameter(model, name, NULL), "parameter");
    REFUSED(cribo_model_read_parameter(NULL, name, values, 12), "model");
    REFUSED(cribo_model_read_parameter(model, NULL, values, 12), "name");
    REFUSED(cribo_model_read_parameter(model, name, NULL, 12), "values");
    REFUSED(cribo_model_write_parameter(NULL, name, values, 12), "model");
    REFUSED(cribo_model_write_parameter(model, NULL, values, 12), "name");
    REFUSED(cribo_model_write_parameter(model, name, NULL, 12), "values");
    REFUSED(cribo_model_features(NULL, 1, 9, 9, values, values, NULL, NULL), "model");
    REFUSED(cribo_model_features(model, 1, 9, 9, NULL, values, NULL, NULL), "pixels");
    REFUSED(cribo_model_save(NULL, "path", NULL), "model");
    REFUSED(cribo_model_save(model, NULL, NULL), "path");
    REFUSED(cribo_model_load(NULL, "path", NULL), "model");
    REFUSED(cribo_model_load(model, NULL, NULL), "path");
#undef REFUSED
    cribo_model_free(NULL);
    cribo_model_free(model);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("model");
    TCase *settings = tcase_create("settings"), *parameters = tcase_create("parameters");
    TCase *features = tcase_create("features"), *files = tcase_create("files"),
          *failure = tcase_create("failure");
    tcase_add_loop_test(
        settings, test_model_bad_setting_is_named, 0, (int)(sizeof bad_integers / sizeof bad_integers[0]));
    tcase_add_test(settings, test_model_bad_drop_path_is_named);
    tcase_add_test(settings, test_model_settings_are_listed_and_set_by_name);
    tcase_add_test(settings, test_model_config_of_another_size_is_refused);
    tcase_add_test(settings, test_model_too_large_is_out_of_memory);
    tcase_add_test(parameters, test_model_parameters_are_those_of_the_authors);
    tcase_add_test(parameters, test_model_without_prototypes_has_no_heads);
    tcase_add_test(parameters, test_model_written_parameters_are_read_back);
    tcase_add_test(parameters, test_model_bad_parameter_calls_are_refused);
    tcase_add_test(parameters, test_model_fresh_parameters_have_the_promised_distribution);
    tcase_add_test(parameters, test_model_fresh_parameters_depend_on_the_seed_alone);
    tcase_add_loop_test(features, test_model_features_fill_exactly_what_is_promised, 0, SHAPES);
    tcase_add_loop_test(features, test_model_features_of_a_batch_are_those_of_its_images, 0, SHAPES);
    tcase_add_test(features, test_model_features_not_wanted_change_nothing_else);
    tcase_add_test(features, test_model_features_match_the_authors_tokens);
    tcase_add_test(features, test_model_attention_is_the_softmax_of_cls_in_the_last_block);
    tcase_add_test(features, test_model_features_keep_their_workspace);
    tcase_add_test(features, test_model_bad_images_are_refused_before_anything_is_written);
    tcase_add_test(files, test_model_saved_is_loaded_with_the_same_bits);
    tcase_add_test(files, test_model_load_passes_over_other_tensors);
    tcase_add_loop_test(files, test_model_parts_loaded_leave_the_rest, 0, 2);
    tcase_add_loop_test(files, test_model_save_partial_writes_that_part_alone, 0, 3);
    tcase_add_loop_test(files, test_model_positions_loaded_are_resampled_as_for_features, 0, 2);
    tcase_add_test(files, test_model_load_of_another_model_names_file_and_tensor);
    tcase_add_test(files, test_model_load_of_a_truncated_file_leaves_the_model_unchanged);
    tcase_add_test(files, test_model_load_refuses_numbers_that_are_not_finite);
    tcase_add_test(files, test_model_missing_files_are_io_errors);
    tcase_add_test(failure, test_model_create_without_memory_leaves_nothing);
    tcase_add_test(failure, test_model_calls_without_memory_leave_the_model_unchanged);
    tcase_add_test(failure, test_model_null_arguments_are_named);
    TCase *const cases[] = {settings, parameters, features, files, failure};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        tcase_set_timeout(cases[i], 60);
        suite_add_tcase(suite, cases[i]);
    }
    return run_suite(suite);
}
