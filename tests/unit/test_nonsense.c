/*
 * Invalid arguments to every public function: NULL for each pointer, impossible sizes of structs, counts
 * below 0 and beyond memory, NaN. Each call must be refused with a message that names the wrong argument;
 * none may crash. The last test reads the headers, and finds every function in the table.
 */
#include "base/status.h"
#include "support/objective.h"
#include "support/scratch.h"
#include "support/suite.h"
#include "support/training.h"

#include <ctype.h>
#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void refused(cribo_status status, const char *call, const char *word)
{
    ck_assert_msg(status > CRIBO_OK && status <= CRIBO_TIMED_OUT, "%s: status %d", call, (int)status);
    ck_assert_msg(strstr(cribo_last_error(), word) != NULL, "%s: \"%s\" does not name %s", call,
        cribo_last_error(), word);
}

/* The call fails, and its message contains `word`; a message left from before would show. */
#define BAD(call, word) ((void)cb_fail(CRIBO_OK, "-"), refused(call, #call, word))

/* --- settings --- */

static const size_t bad_sizes[] = {0, 1, 7, 8, 15, 4097, 4104, SIZE_MAX / 2, SIZE_MAX};
static const char *const bad_numbers[] = {
    "", " ", "x", "nan", "-nan", "inf", "-inf", "1e400", "-1e400", "1 2", "1x", "0,5", "-1e300"};
#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static double beyond(const cribo_setting *s, int how)
{
    switch (how) {
    case 0: return s->minimum > 0 ? s->minimum / 2 - (double)s->integer : s->minimum - 1;
    case 1: return 2 * s->maximum + 1;
    case 2: return s->integer ? -0x1p63 : (double)NAN;
    case 3: return s->integer ? 0x1p62 : (double)INFINITY;
    default: return s->integer ? -1 - 0x1p40 : -(double)INFINITY;
    }
}

/* Sets a setting to a number beyond its range; the fields are in the order of the table. */
static void spoil(void *config, size_t index, const cribo_setting *s, int how)
{
    double value = beyond(s, how);
    int64_t integer = s->integer ? (int64_t)value : 0;
    memcpy((char *)config + 8 + 8 * index, s->integer ? (void *)&integer : (void *)&value, 8);
}

#define CONFIG(noun, some_setting) \
    static void noun##_config_init(void) \
    { \
        cribo_##noun##_config c; \
        BAD(cribo_##noun##_config_init(NULL, sizeof c), "config"); \
        for (size_t i = 0; i < COUNT(bad_sizes); i++) \
            BAD(cribo_##noun##_config_init(&c, bad_sizes[i]), "struct_size"); \
    } \
    static void noun##_config_set(void) \
    { \
        cribo_##noun##_config c; \
        OK(cribo_##noun##_config_init(&c, sizeof c)); \
        BAD(cribo_##noun##_config_set(NULL, some_setting, "1"), "config"); \
        BAD(cribo_##noun##_config_set(&c, NULL, "1"), "name"); \
        BAD(cribo_##noun##_config_set(&c, some_setting, NULL), "value"); \
        BAD(cribo_##noun##_config_set(&c, "nonsense", "1"), "nonsense"); \
        BAD(cribo_##noun##_config_set(&c, "", "1"), "setting"); \
        for (size_t i = 0; i < COUNT(bad_numbers); i++) \
            BAD(cribo_##noun##_config_set(&c, some_setting, bad_numbers[i]), some_setting); \
        for (size_t i = 0; i < COUNT(bad_sizes); i++) { \
            c.struct_size = bad_sizes[i]; \
            BAD(cribo_##noun##_config_set(&c, some_setting, "1"), "struct_size"); \
        } \
    } \
    static void noun##_config_setting(void) \
    { \
        cribo_setting s; \
        BAD(cribo_##noun##_config_setting(0, NULL), "setting"); \
        BAD(cribo_##noun##_config_setting(1000, &s), "index"); \
        BAD(cribo_##noun##_config_setting(SIZE_MAX, &s), "index"); \
    }

CONFIG(clusterer, "clusters")
CONFIG(loss, "prototypes")
CONFIG(memory_bank, "bank_images")
CONFIG(model, "depth")
CONFIG(objective, "tokens")
CONFIG(probe, "neighbours")
CONFIG(trainer, "batch_size")

/* The refusals of every _create; `...` are its arguments after the runtime, each with a comma before it. */
/* The estimate of a handle's memory. */
#define BAD_MEMORY(noun, config, ...) \
    do { \
        int64_t bytes = 7; \
        cribo_runtime runtime = training_runtime(1); \
        BAD(cribo_##noun##_memory(NULL, NULL __VA_ARGS__, &bytes), "config"); \
        BAD(cribo_##noun##_memory(&config, NULL __VA_ARGS__, NULL), "bytes"); \
        for (size_t i = 0; i < COUNT(bad_sizes); i++) { \
            config.struct_size = bad_sizes[i]; \
            BAD(cribo_##noun##_memory(&config, NULL __VA_ARGS__, &bytes), "struct_size"); \
            config.struct_size = sizeof config; \
            runtime.struct_size = bad_sizes[i]; \
            BAD(cribo_##noun##_memory(&config, &runtime __VA_ARGS__, &bytes), "runtime.struct_size"); \
            runtime.struct_size = sizeof runtime; \
        } \
        runtime.threads = -1; \
        BAD(cribo_##noun##_memory(&config, &runtime __VA_ARGS__, &bytes), "runtime.threads"); \
        ck_assert_int_eq(bytes, 7); \
    } while (0)

#define BAD_CREATE(noun, config, ...) \
    do { \
        cribo_##noun *none = (cribo_##noun *)&none; \
        cribo_runtime runtime = training_runtime(1); \
        cribo_setting s; \
        BAD(cribo_##noun##_create(NULL, &config, NULL __VA_ARGS__), "out"); \
        BAD(cribo_##noun##_create(&none, NULL, NULL __VA_ARGS__), "config"); \
        ck_assert_ptr_null(none); \
        for (size_t i = 0; i < COUNT(bad_sizes); i++) { \
            config.struct_size = bad_sizes[i]; \
            BAD(cribo_##noun##_create(&none, &config, NULL __VA_ARGS__), "struct_size"); \
            config.struct_size = sizeof config; \
            runtime.struct_size = bad_sizes[i]; \
            BAD(cribo_##noun##_create(&none, &config, &runtime __VA_ARGS__), "runtime.struct_size"); \
            runtime.struct_size = sizeof runtime; \
        } \
        for (size_t i = 0; cribo_##noun##_config_setting(i, &s) == CRIBO_OK; i++) \
            for (int how = 0; how < 5; how++) { \
                cribo_##noun##_config spoilt = config; \
                spoil(&spoilt, i, &s, how); \
                BAD(cribo_##noun##_create(&none, &spoilt, NULL __VA_ARGS__), s.name); \
            } \
        runtime.threads = -1; \
        BAD(cribo_##noun##_create(&none, &config, &runtime __VA_ARGS__), "runtime.threads"); \
        runtime.threads = 257; \
        BAD(cribo_##noun##_create(&none, &config, &runtime __VA_ARGS__), "runtime.threads"); \
        runtime.threads = INT64_MAX; \
        BAD(cribo_##noun##_create(&none, &config, &runtime __VA_ARGS__), "runtime.threads"); \
        runtime.threads = 1; \
        runtime.allocate = refuse_memory; \
        BAD(cribo_##noun##_create(&none, &config, &runtime __VA_ARGS__), "runtime.allocate"); \
        runtime.release = never_called; \
        BAD(cribo_##noun##_create(&none, &config, &runtime __VA_ARGS__), "memory"); \
        ck_assert_ptr_null(none); \
    } while (0)

static void *refuse_memory(void *user, size_t bytes)
{
    (void)user, (void)bytes;
    return NULL;
}

static void never_called(void *user, void *memory)
{
    (void)user, (void)memory;
    ck_abort_msg("memory is given back that was never given");
}

/* --- base --- */

static void version_number(void)
{
    ck_assert_int_gt(cribo_version_number(), 0);
}

static void version(void)
{
    ck_assert_str_ne(cribo_version(), "");
}

static void build_info(void)
{
    ck_assert_str_ne(cribo_build_info(), "");
}

static void last_errno(void)
{
    if (cribo_probe_create(NULL, NULL, NULL) == CRIBO_OK) ck_abort();
    ck_assert_int_eq(cribo_last_errno(), 0);
}

static void last_error(void)
{
    ck_assert_ptr_nonnull(cribo_last_error());
}

static void status_name(void)
{
    const int numbers[] = {-1, 10, 1000, INT32_MIN, INT32_MAX};
    for (size_t i = 0; i < COUNT(numbers); i++)
        ck_assert_str_eq(cribo_status_name((cribo_status)numbers[i]), "unknown status");
}

static void runtime_init(void)
{
    cribo_runtime runtime;
    BAD(cribo_runtime_init(NULL, sizeof runtime), "runtime");
    for (size_t i = 0; i < COUNT(bad_sizes); i++)
        BAD(cribo_runtime_init(&runtime, bad_sizes[i]), "struct_size");
}

static void default_threads(void)
{
    ck_assert_int_ge(cribo_default_threads(), 1);
}

static void memory_available(void)
{
    ck_assert_int_ge(cribo_memory_available(), 0);
}

static void set_default_threads(void)
{
    const int64_t numbers[] = {-1, 257, INT64_MIN, INT64_MAX};
    for (size_t i = 0; i < COUNT(numbers); i++) BAD(cribo_set_default_threads(numbers[i]), "threads");
}

static void setting_choice(void)
{
    ck_assert_str_eq(cribo_setting_choice("precision", 1), "bf16");
    ck_assert_ptr_null(cribo_setting_choice(NULL, 0));
    ck_assert_ptr_null(cribo_setting_choice("", 0));
    ck_assert_ptr_null(cribo_setting_choice("no such setting", 0));
    ck_assert_ptr_null(cribo_setting_choice("clusters", 0));
    const int64_t strange[] = {-1, 2, 1000, INT64_MIN, INT64_MAX};
    for (size_t i = 0; i < COUNT(strange); i++)
        ck_assert_ptr_null(cribo_setting_choice("precision", strange[i]));
}

static void random_uniform(void)
{
    BAD(cribo_random_uniform(0, 0, 0, 1, NULL), "values");
    BAD(cribo_random_uniform(0, 0, 0, SIZE_MAX, NULL), "values");
    OK(cribo_random_uniform(0, 0, 0, 0, NULL));
}

/* --- clusterer --- */

enum { TOKENS = 6, WIDTH = 4, CLUSTERS = 3, IMAGES = 2 };

static cribo_clusterer_config clusterer_config(void)
{
    cribo_clusterer_config c;
    OK(cribo_clusterer_config_init(&c, sizeof c));
    c.clusters = CLUSTERS;
    return c;
}

static void clusterer_create(void)
{
    cribo_clusterer_config c = clusterer_config();
    cribo_clusterer *made;
    BAD_CREATE(clusterer, c, , IMAGES, TOKENS, WIDTH);
    const int64_t sizes[] = {0, -1, INT64_MIN, INT64_MAX, (int64_t)1 << 40};
    for (size_t i = 0; i < COUNT(sizes); i++) {
        BAD(cribo_clusterer_create(&made, &c, NULL, sizes[i], TOKENS, WIDTH), i < 4 ? "max_images" : "");
        BAD(cribo_clusterer_create(&made, &c, NULL, IMAGES, sizes[i], WIDTH), "tokens_per_view");
        BAD(cribo_clusterer_create(&made, &c, NULL, IMAGES, TOKENS, sizes[i]), "width");
    }
    c.clusters = 2 * TOKENS + 1;
    BAD(cribo_clusterer_create(&made, &c, NULL, IMAGES, TOKENS, WIDTH), "clusters");
}

static void clusterer_memory(void)
{
    cribo_clusterer_config c = clusterer_config();
    BAD_MEMORY(clusterer, c, , IMAGES, TOKENS, WIDTH);
}

static void clusterer_free(void)
{
    cribo_clusterer_free(NULL);
}

static void clusterer_run(void)
{
    cribo_clusterer_config c = clusterer_config();
    cribo_clusterer *clusterer;
    float tokens[IMAGES * 2 * TOKENS * WIDTH], positions[IMAGES * 2 * TOKENS * 2];
    int64_t seeds[IMAGES * CLUSTERS] = {0, 1, 2, 0, 1, 2};
    for (size_t i = 0; i < COUNT(tokens); i++) tokens[i] = (float)(i % 7);
    for (size_t i = 0; i < COUNT(positions); i++) positions[i] = (float)(i % 5);
    const cribo_cluster_input sound = {.struct_size = sizeof sound,
        .images = IMAGES,
        .tokens = tokens,
        .positions = positions,
        .seed_tokens = seeds};
    cribo_cluster_input in = sound;
    cribo_cluster_output out = {.struct_size = sizeof out};
    OK(cribo_clusterer_create(&clusterer, &c, NULL, IMAGES, TOKENS, WIDTH));
    OK(cribo_clusterer_run(clusterer, &in, &out));
    BAD(cribo_clusterer_run(NULL, &in, &out), "clusterer");
    BAD(cribo_clusterer_run(clusterer, NULL, &out), "input");
    BAD(cribo_clusterer_run(clusterer, &in, NULL), "output");
    for (size_t i = 0; i < COUNT(bad_sizes); i++) {
        in.struct_size = bad_sizes[i];
        BAD(cribo_clusterer_run(clusterer, &in, &out), "input.struct_size");
        in = sound;
        out.struct_size = bad_sizes[i];
        BAD(cribo_clusterer_run(clusterer, &in, &out), "output.struct_size");
        out.struct_size = sizeof out;
    }
    const int64_t images[] = {0, -1, IMAGES + 1, INT64_MIN, INT64_MAX};
    for (size_t i = 0; i < COUNT(images); i++) {
        in.images = images[i];
        BAD(cribo_clusterer_run(clusterer, &in, &out), "images");
    }
    in = sound;
    in.tokens = NULL;
    BAD(cribo_clusterer_run(clusterer, &in, &out), "tokens");
    in = sound;
    in.positions = NULL;
    BAD(cribo_clusterer_run(clusterer, &in, &out), "positions");
    in = sound;
    const int64_t strange[] = {-1, 2 * TOKENS, INT64_MIN, INT64_MAX, 1};
    for (size_t i = 0; i < COUNT(strange); i++) {
        seeds[5] = strange[i];
        BAD(cribo_clusterer_run(clusterer, &in, &out), "seed_tokens");
    }
    seeds[5] = 2;
    tokens[COUNT(tokens) - 1] = (float)NAN;
    BAD(cribo_clusterer_run(clusterer, &in, &out), "tokens");
    tokens[COUNT(tokens) - 1] = 0;
    positions[3] = -(float)INFINITY;
    BAD(cribo_clusterer_run(clusterer, &in, &out), "positions");
    cribo_clusterer_free(clusterer);
}

/* --- evaluation --- */

enum { PATCH_IMAGES = 2, PATCH_ROWS = 2, PATCH_COLUMNS = 3, PATCH_HEIGHT = 4, PATCH_WIDTH = 6, CLASSES = 3 };
static float patch_features[PATCH_IMAGES * PATCH_ROWS * PATCH_COLUMNS * WIDTH];
static int32_t patch_labels[PATCH_IMAGES * PATCH_HEIGHT * PATCH_WIDTH];
static const int64_t wild_counts[] = {-1, INT64_MIN, INT64_MAX, (int64_t)1 << 62};

static cribo_probe_config probe_config(void)
{
    cribo_probe_config c;
    OK(cribo_probe_config_init(&c, sizeof c));
    c.width = WIDTH;
    c.classes = CLASSES;
    return c;
}

static cribo_probe *empty_probe(void)
{
    cribo_probe_config c = probe_config();
    cribo_probe *probe;
    OK(cribo_probe_create(&probe, &c, NULL));
    return probe;
}

static cribo_patch_maps patch_maps(void)
{
    for (size_t i = 0; i < COUNT(patch_features); i++) patch_features[i] = (float)(i % 7) - 2;
    for (size_t i = 0; i < COUNT(patch_labels); i++) patch_labels[i] = (int32_t)(i % CLASSES);
    return (cribo_patch_maps){sizeof(cribo_patch_maps), PATCH_IMAGES, PATCH_ROWS, PATCH_COLUMNS,
        patch_features, PATCH_HEIGHT, PATCH_WIDTH};
}

typedef cribo_status maps_call(cribo_probe *probe, const cribo_patch_maps *maps);

static cribo_status add_maps(cribo_probe *probe, const cribo_patch_maps *maps)
{
    return cribo_probe_add(probe, maps, patch_labels);
}

static cribo_status predict_maps(cribo_probe *probe, const cribo_patch_maps *maps)
{
    static float shares[PATCH_IMAGES * PATCH_ROWS * PATCH_COLUMNS * CLASSES];
    return cribo_probe_predict(probe, CRIBO_PROBE_NEAREST, maps, shares, NULL);
}

/* The refusals of both calls with maps. */
static void bad_maps(maps_call *call)
{
    cribo_probe *probe = empty_probe();
    const cribo_patch_maps sound = patch_maps();
    cribo_patch_maps maps = sound;
    OK(add_maps(probe, &maps));
    OK(call(probe, &maps));
    BAD(call(NULL, &maps), "probe");
    BAD(call(probe, NULL), "maps");
    for (size_t i = 0; i < COUNT(bad_sizes); i++) {
        maps.struct_size = bad_sizes[i];
        BAD(call(probe, &maps), "maps.struct_size");
    }
    maps = sound;
    for (size_t i = 0; i < COUNT(wild_counts); i++) {
        maps.images = wild_counts[i];
        BAD(call(probe, &maps), "maps.images");
        maps = sound;
        maps.rows = wild_counts[i];
        BAD(call(probe, &maps), "maps.rows");
        maps = sound;
        maps.height = wild_counts[i];
        BAD(call(probe, &maps), "maps.");
        maps = sound;
        maps.width = wild_counts[i];
        BAD(call(probe, &maps), "maps.");
        maps = sound;
    }
    maps.columns = 4; /* 6 pixels have no 4 columns */
    BAD(call(probe, &maps), "maps.columns = 4");
    maps = sound;
    maps.height = maps.rows * 256;
    maps.width = maps.columns * 256;
    BAD(call(probe, &maps), "maps.height");
    maps = sound;
    maps.features = NULL;
    BAD(call(probe, &maps), "maps.features");
    maps = sound;
    patch_features[5] = (float)NAN;
    BAD(call(probe, &maps), "maps.features[5]");
    cribo_probe_free(probe);
}

static void probe_create(void)
{
    cribo_probe_config c = probe_config();
    BAD_CREATE(probe, c, );
}

static void probe_free(void)
{
    cribo_probe_free(NULL);
}

static void probe_add(void)
{
    cribo_probe *probe = empty_probe();
    bad_maps(add_maps);
    cribo_patch_maps maps = patch_maps();
    BAD(cribo_probe_add(probe, &maps, NULL), "labels");
    const int32_t strange[] = {-1, CLASSES, 254, 256, INT32_MIN, INT32_MAX};
    for (size_t i = 0; i < COUNT(strange); i++) {
        patch_labels[27] = strange[i];
        BAD(cribo_probe_add(probe, &maps, patch_labels), "labels[1, 0, 3]");
    }
    cribo_probe_free(probe);
}

static cribo_status add_chosen_maps(cribo_probe *probe, const cribo_patch_maps *maps)
{
    static const int64_t index[2 * PATCH_IMAGES];
    return cribo_probe_add_chosen(probe, maps, patch_labels, 2, index);
}

static void probe_add_chosen(void)
{
    cribo_probe *probe = empty_probe();
    int64_t index[2 * PATCH_IMAGES] = {0};
    bad_maps(add_chosen_maps);
    cribo_patch_maps maps = patch_maps();
    BAD(cribo_probe_add_chosen(probe, &maps, NULL, 2, index), "labels");
    BAD(cribo_probe_add_chosen(probe, &maps, patch_labels, 2, NULL), "index");
    const int64_t counts[] = {0, -1, PATCH_ROWS * PATCH_COLUMNS + 1, INT64_MIN, INT64_MAX};
    for (size_t i = 0; i < COUNT(counts); i++)
        BAD(cribo_probe_add_chosen(probe, &maps, patch_labels, counts[i], index), "count");
    const int64_t places[] = {-1, PATCH_ROWS * PATCH_COLUMNS, INT64_MIN, INT64_MAX};
    for (size_t i = 0; i < COUNT(places); i++) {
        index[3] = places[i];
        BAD(cribo_probe_add_chosen(probe, &maps, patch_labels, 2, index), "index[1, 1]");
    }
    cribo_probe_free(probe);
}

static void rare_patches(void)
{
    float draws[PATCH_IMAGES * PATCH_ROWS * PATCH_COLUMNS] = {0};
    int64_t index[PATCH_IMAGES * PATCH_ROWS * PATCH_COLUMNS];
    cribo_patch_maps maps = patch_maps();
    maps.features = NULL;
    OK(cribo_rare_patches(&maps, CLASSES, 255, patch_labels, draws, 1, index, NULL));
    BAD(cribo_rare_patches(NULL, CLASSES, 255, patch_labels, draws, 1, index, NULL), "maps");
    for (size_t i = 0; i < COUNT(wild_counts); i++) {
        maps.rows = wild_counts[i];
        BAD(cribo_rare_patches(&maps, CLASSES, 255, patch_labels, draws, 1, index, NULL), "maps.rows");
        maps = patch_maps();
        maps.images = wild_counts[i];
        BAD(cribo_rare_patches(&maps, CLASSES, 255, patch_labels, draws, 1, index, NULL), "maps.images");
        maps = patch_maps();
        BAD(cribo_rare_patches(&maps, wild_counts[i], 255, patch_labels, draws, 1, index, NULL), "classes");
        BAD(cribo_rare_patches(&maps, CLASSES, 255, patch_labels, draws, wild_counts[i], index, NULL),
            "count");
    }
    BAD(cribo_rare_patches(&maps, CLASSES, 255, NULL, draws, 1, index, NULL), "labels");
    BAD(cribo_rare_patches(&maps, CLASSES, 255, patch_labels, NULL, 1, index, NULL), "draws");
    BAD(cribo_rare_patches(&maps, CLASSES, 255, patch_labels, draws, 1, NULL, NULL), "index");
    BAD(cribo_rare_patches(&maps, 1, 255, patch_labels, draws, 1, index, NULL), "labels[0, 0, 1]");
    const float strange[] = {-0.1F, 1, (float)NAN, (float)INFINITY};
    for (size_t i = 0; i < COUNT(strange); i++) {
        draws[1] = strange[i];
        BAD(cribo_rare_patches(&maps, CLASSES, 255, patch_labels, draws, 1, index, NULL), "draws[0, 1]");
    }
}

static void probe_count(void)
{
    cribo_probe *probe = empty_probe();
    int64_t n;
    BAD(cribo_probe_count(NULL, &n), "probe");
    BAD(cribo_probe_count(probe, NULL), "entries");
    cribo_probe_free(probe);
}

static void probe_search(void)
{
    cribo_probe *probe = empty_probe();
    int64_t index[30];
    (void)patch_maps();
    BAD(cribo_probe_search(NULL, 1, patch_features, index, NULL), "probe");
    BAD(cribo_probe_search(probe, 1, NULL, index, NULL), "features");
    for (size_t i = 0; i < COUNT(wild_counts); i++)
        BAD(cribo_probe_search(probe, wild_counts[i], patch_features, index, NULL), "count");
    patch_features[0] = (float)INFINITY;
    BAD(cribo_probe_search(probe, 1, patch_features, index, NULL), "features[0]");
    OK(cribo_probe_search(probe, 1, patch_features + 1, index, NULL)); /* no entries: no neighbours */
    ck_assert_int_eq(index[0], -1);
    OK(cribo_probe_search(probe, 0, NULL, NULL, NULL));
    cribo_probe_free(probe);
}

static void probe_fit(void)
{
    cribo_probe *probe = empty_probe();
    BAD(cribo_probe_fit(NULL, NULL), "probe");
    BAD(cribo_probe_fit(probe, NULL), "empty");
    cribo_probe_free(probe);
}

static void probe_fit_report(void)
{
    cribo_probe *probe = empty_probe();
    cribo_fit_report report = {.struct_size = sizeof report};
    BAD(cribo_probe_fit_report(NULL, &report), "probe");
    BAD(cribo_probe_fit_report(probe, NULL), "report");
    for (size_t i = 0; i < COUNT(bad_sizes); i++) {
        report.struct_size = bad_sizes[i];
        BAD(cribo_probe_fit_report(probe, &report), "report.struct_size");
    }
    report.struct_size = sizeof report;
    BAD(cribo_probe_fit_report(probe, &report), "cribo_probe_fit");
    cribo_probe_free(probe);
}

static void probe_predict(void)
{
    static const int64_t readers[] = {-1, 2, INT64_MIN, INT64_MAX};
    cribo_probe *probe = empty_probe();
    bad_maps(predict_maps);
    cribo_patch_maps maps = patch_maps();
    BAD(cribo_probe_predict(probe, CRIBO_PROBE_NEAREST, &maps, NULL, patch_labels), "empty");
    OK(cribo_probe_add(probe, &maps, patch_labels));
    BAD(cribo_probe_predict(probe, CRIBO_PROBE_LINEAR, &maps, NULL, patch_labels), "cribo_probe_fit");
    for (size_t i = 0; i < COUNT(readers); i++)
        BAD(cribo_probe_predict(probe, readers[i], &maps, NULL, patch_labels), "reader");
    cribo_probe_free(probe);
}

static void confusion_add(void)
{
    int32_t labels[3] = {0, 1, 2}, strange[3] = {0, 1, 3};
    int64_t confusion[9] = {0};
    const int64_t classes[] = {0, -1, 65537, INT64_MIN, INT64_MAX};
    for (size_t i = 0; i < COUNT(classes); i++)
        BAD(cribo_confusion_add(classes[i], 255, 3, labels, labels, confusion), "classes");
    BAD(cribo_confusion_add(3, 255, -1, labels, labels, confusion), "count");
    BAD(cribo_confusion_add(3, 255, 3, NULL, labels, confusion), "truth");
    BAD(cribo_confusion_add(3, 255, 3, labels, NULL, confusion), "predicted");
    BAD(cribo_confusion_add(3, 255, 3, labels, labels, NULL), "confusion");
    BAD(cribo_confusion_add(3, 255, 3, strange, labels, confusion), "truth[2] = 3");
    BAD(cribo_confusion_add(3, 255, 3, labels, strange, confusion), "predicted[2] = 3");
    for (size_t i = 0; i < 9; i++) ck_assert_int_eq(confusion[i], 0);
}

static void confusion_scores(void)
{
    int64_t confusion[4] = {0};
    cribo_scores scores = {.struct_size = sizeof scores};
    BAD(cribo_confusion_scores(0, confusion, NULL, &scores), "classes");
    BAD(cribo_confusion_scores(2, NULL, NULL, &scores), "confusion");
    BAD(cribo_confusion_scores(2, confusion, NULL, NULL), "scores");
    for (size_t i = 0; i < COUNT(bad_sizes); i++) {
        scores.struct_size = bad_sizes[i];
        BAD(cribo_confusion_scores(2, confusion, NULL, &scores), "scores.struct_size");
    }
    scores.struct_size = sizeof scores;
    confusion[2] = -1;
    BAD(cribo_confusion_scores(2, confusion, NULL, &scores), "confusion[1, 0]");
}

static float layer_weights[CLASSES * (WIDTH + 1)], layer_velocity[CLASSES * (WIDTH + 1)];

static cribo_linear_layer linear_layer(void)
{
    return (cribo_linear_layer){sizeof(cribo_linear_layer), probe_config().width, CLASSES, 255, 0.1, 0.9, 0,
        layer_weights, layer_velocity};
}

static void linear_layer_step(void)
{
    cribo_linear_layer layer = linear_layer();
    cribo_patch_maps maps = patch_maps();
    BAD(cribo_linear_layer_step(NULL, &maps, patch_labels, NULL, NULL), "layer");
    BAD(cribo_linear_layer_step(&layer, NULL, patch_labels, NULL, NULL), "maps");
    BAD(cribo_linear_layer_step(&layer, &maps, NULL, NULL, NULL), "labels");
    for (size_t i = 0; i < COUNT(wild_counts); i++) {
        layer.width = wild_counts[i];
        BAD(cribo_linear_layer_step(&layer, &maps, patch_labels, NULL, NULL), "layer.width");
        layer = linear_layer();
        layer.classes = wild_counts[i];
        BAD(cribo_linear_layer_step(&layer, &maps, patch_labels, NULL, NULL), "layer.classes");
        layer = linear_layer();
        maps.rows = wild_counts[i];
        BAD(cribo_linear_layer_step(&layer, &maps, patch_labels, NULL, NULL), "maps.rows");
        maps = patch_maps();
    }
    const double strange[] = {-1, NAN, INFINITY, 1e7};
    for (size_t i = 0; i < COUNT(strange); i++) {
        layer.rate = strange[i];
        BAD(cribo_linear_layer_step(&layer, &maps, patch_labels, NULL, NULL), "layer.rate");
        layer = linear_layer();
        layer.momentum = strange[i];
        BAD(cribo_linear_layer_step(&layer, &maps, patch_labels, NULL, NULL), "layer.momentum");
        layer = linear_layer();
        layer.decay = strange[i];
        BAD(cribo_linear_layer_step(&layer, &maps, patch_labels, NULL, NULL), "layer.decay");
        layer = linear_layer();
    }
    layer.weights = NULL;
    BAD(cribo_linear_layer_step(&layer, &maps, patch_labels, NULL, NULL), "layer.weights");
    layer = linear_layer();
    layer.velocity = NULL;
    BAD(cribo_linear_layer_step(&layer, &maps, patch_labels, NULL, NULL), "layer.velocity");
    layer = linear_layer();
    patch_labels[3] = CLASSES;
    BAD(cribo_linear_layer_step(&layer, &maps, patch_labels, NULL, NULL), "labels[0, 0, 3]");
    maps = patch_maps();
    patch_features[1] = (float)NAN;
    BAD(cribo_linear_layer_step(&layer, &maps, patch_labels, NULL, NULL), "maps.features[1]");
    maps = patch_maps();
    layer_weights[2] = (float)INFINITY;
    BAD(cribo_linear_layer_step(&layer, &maps, patch_labels, NULL, NULL), "layer.weights[2]");
    layer_weights[2] = 0;
}

static void linear_layer_predict(void)
{
    cribo_linear_layer layer = linear_layer();
    cribo_patch_maps maps = patch_maps();
    BAD(cribo_linear_layer_predict(NULL, &maps, patch_labels, NULL), "layer");
    BAD(cribo_linear_layer_predict(&layer, NULL, patch_labels, NULL), "maps");
    BAD(cribo_linear_layer_predict(&layer, &maps, NULL, NULL), "labels");
    maps.features = NULL;
    BAD(cribo_linear_layer_predict(&layer, &maps, patch_labels, NULL), "maps.features");
    layer.struct_size = 3;
    BAD(cribo_linear_layer_predict(&layer, &maps, patch_labels, NULL), "layer.struct_size");
}

static void assign(void)
{
    double score[4] = {0};
    int64_t column[2];
    const int64_t counts[] = {0, -1, 65537, INT64_MIN, INT64_MAX};
    for (size_t i = 0; i < COUNT(counts); i++) {
        BAD(cribo_assign(counts[i], 2, score, column, NULL), "rows");
        BAD(cribo_assign(2, counts[i], score, column, NULL), "columns");
    }
    BAD(cribo_assign(2, 2, NULL, column, NULL), "score");
    BAD(cribo_assign(2, 2, score, NULL, NULL), "column");
    score[3] = NAN;
    BAD(cribo_assign(2, 2, score, column, NULL), "score[1, 1]");
}

static void confusion_match(void)
{
    int64_t confusion[6] = {0}, class_of[3], matched[4];
    const int64_t counts[] = {0, -1, 65537, INT64_MIN, INT64_MAX}, others[] = {-1, 2, INT64_MIN, INT64_MAX};
    for (size_t i = 0; i < COUNT(counts); i++) {
        BAD(cribo_confusion_match(counts[i], 3, confusion, 0, 0, class_of, matched, NULL), "classes");
        BAD(cribo_confusion_match(2, counts[i], confusion, 0, 0, class_of, matched, NULL), "predictions");
    }
    for (size_t i = 0; i < COUNT(others); i++) {
        BAD(cribo_confusion_match(2, 3, confusion, others[i], 0, class_of, matched, NULL), "method");
        BAD(cribo_confusion_match(2, 3, confusion, 0, others[i], class_of, matched, NULL), "rest");
    }
    BAD(cribo_confusion_match(2, 3, NULL, 0, 0, class_of, matched, NULL), "confusion");
    OK(cribo_confusion_match(2, 3, confusion, 1, 1, NULL, NULL, NULL));
    confusion[4] = -1;
    BAD(cribo_confusion_match(2, 3, confusion, 0, 0, class_of, matched, NULL), "confusion[1, 1]");
}

static void k_means(void)
{
    float x[6] = {0}, centres[4];
    int32_t labels[3];
    const int64_t counts[] = {0, -1, INT64_MIN, INT64_MAX}, negative[] = {-1, INT64_MIN, INT64_MAX};
    for (size_t i = 0; i < COUNT(counts); i++) {
        BAD(cribo_k_means(counts[i], 2, x, 2, 0, 5, centres, labels, NULL, NULL), "rows");
        BAD(cribo_k_means(3, counts[i], x, 2, 0, 5, centres, labels, NULL, NULL), "width");
        BAD(cribo_k_means(3, 2, x, counts[i], 0, 5, centres, labels, NULL, NULL), "clusters");
    }
    for (size_t i = 0; i < COUNT(negative); i++) {
        BAD(cribo_k_means(3, 2, x, 2, negative[i], 5, centres, labels, NULL, NULL), "seed");
        BAD(cribo_k_means(3, 2, x, 2, 0, negative[i], centres, labels, NULL, NULL), "iterations");
    }
    BAD(cribo_k_means(3, 2, x, 4, 0, 5, centres, labels, NULL, NULL), "clusters = 4");
    BAD(cribo_k_means(3, 2, NULL, 2, 0, 5, centres, labels, NULL, NULL), "features");
    BAD(cribo_k_means(3, 2, x, 2, 0, 5, NULL, labels, NULL, NULL), "centres");
    BAD(cribo_k_means(3, 2, x, 2, 0, 5, centres, NULL, NULL, NULL), "labels");
    x[2] = (float)NAN;
    BAD(cribo_k_means(3, 2, x, 2, 0, 5, centres, labels, NULL, NULL), "features[2]");
}

static void nearest_centres(void)
{
    float x[6] = {0}, centres[4] = {0};
    int32_t labels[3];
    const int64_t counts[] = {0, -1, INT64_MIN, INT64_MAX};
    for (size_t i = 0; i < COUNT(counts); i++) {
        BAD(cribo_nearest_centres(counts[i], 2, x, 2, centres, labels, NULL, NULL), "rows");
        BAD(cribo_nearest_centres(3, counts[i], x, 2, centres, labels, NULL, NULL), "width");
        BAD(cribo_nearest_centres(3, 2, x, counts[i], centres, labels, NULL, NULL), "clusters");
    }
    BAD(cribo_nearest_centres(3, 2, NULL, 2, centres, labels, NULL, NULL), "features");
    BAD(cribo_nearest_centres(3, 2, x, 2, NULL, labels, NULL, NULL), "centres");
    BAD(cribo_nearest_centres(3, 2, x, 2, centres, NULL, NULL, NULL), "labels");
    centres[1] = (float)INFINITY;
    BAD(cribo_nearest_centres(3, 2, x, 2, centres, labels, NULL, NULL), "centres[1]");
}

static void view_retrieval(void)
{
    float x[6] = {0}, bad[6] = {0};
    int64_t asked = 5, found = 6;
    cribo_crop crops[] = {{0, 0, 8, 8, 0}, {0, 0, 8, 8, 1}}, flat[] = {{0, 0, 8, 8, 0}, {0, 0, 8, 0, 0}};
    const int64_t counts[] = {0, -1, INT64_MIN, INT64_MAX}, negative[] = {-1, 4097, INT64_MIN, INT64_MAX};
    const int64_t most = INT64_C(1) << 31;
#define VIEWS(b, r, c, d) b, r, c, d, x, x, crops, crops, 0, &asked, &found, NULL
    for (size_t i = 0; i < COUNT(counts); i++) {
        BAD(cribo_view_retrieval(VIEWS(counts[i], 1, 1, 2)), "images");
        BAD(cribo_view_retrieval(VIEWS(2, counts[i], 1, 2)), "rows");
        BAD(cribo_view_retrieval(VIEWS(2, 1, counts[i], 2)), "columns");
        BAD(cribo_view_retrieval(VIEWS(2, 1, 1, counts[i])), "width");
    }
    BAD(cribo_view_retrieval(VIEWS(most, 1, 2, 2)), "images");
#undef VIEWS
    for (size_t i = 0; i < COUNT(negative); i++)
        BAD(cribo_view_retrieval(2, 1, 1, 2, x, x, crops, crops, negative[i], &asked, &found, NULL), "reach");
    BAD(cribo_view_retrieval(2, 1, 1, 2, NULL, x, crops, crops, 0, &asked, &found, NULL), "view1");
    BAD(cribo_view_retrieval(2, 1, 1, 2, x, NULL, crops, crops, 0, &asked, &found, NULL), "view2");
    BAD(cribo_view_retrieval(2, 1, 1, 2, x, x, NULL, crops, 0, &asked, &found, NULL), "crops1");
    BAD(cribo_view_retrieval(2, 1, 1, 2, x, x, crops, NULL, 0, &asked, &found, NULL), "crops2");
    BAD(cribo_view_retrieval(2, 1, 1, 2, x, x, crops, flat, 0, &asked, &found, NULL), "crops2[1]");
    BAD(cribo_view_retrieval(2, 1, 1, 2, x, x, crops, crops, 0, NULL, &found, NULL), "asked");
    BAD(cribo_view_retrieval(2, 1, 1, 2, x, x, crops, crops, 0, &asked, NULL, NULL), "found");
    bad[3] = (float)NAN;
    BAD(cribo_view_retrieval(2, 1, 1, 2, bad, x, crops, crops, 0, &asked, &found, NULL), "view1[3]");
    BAD(cribo_view_retrieval(2, 1, 1, 2, x, bad, crops, crops, 0, &asked, &found, NULL), "view2[3]");
    ck_assert(asked == 5 && found == 6);
}

static void principal_components(void)
{
    float x[6] = {0};
    cribo_runtime runtime = training_runtime(1);
    const int64_t counts[] = {0, -1, 1, INT64_MIN, INT64_MAX};
    for (size_t i = 0; i < COUNT(counts); i++)
        BAD(cribo_principal_components(counts[i], 2, x, 1, NULL, NULL, NULL, NULL), "rows");
    for (size_t i = 0; i < COUNT(counts); i++)
        if (counts[i] != 1)
            BAD(cribo_principal_components(3, counts[i], x, 1, NULL, NULL, NULL, NULL), "width");
    for (size_t i = 0; i < COUNT(counts); i++)
        if (counts[i] != 1)
            BAD(cribo_principal_components(3, 2, x, counts[i], NULL, NULL, NULL, NULL), "components");
    BAD(cribo_principal_components(3, 2, x, 3, NULL, NULL, NULL, NULL), "components");
    BAD(cribo_principal_components(3, 2, NULL, 1, NULL, NULL, NULL, NULL), "features");
    runtime.threads = -1;
    BAD(cribo_principal_components(3, 2, x, 1, NULL, NULL, NULL, &runtime), "runtime.threads");
    x[3] = (float)NAN;
    BAD(cribo_principal_components(3, 2, x, 1, NULL, NULL, NULL, NULL), "features[3]");
}

/* --- losses --- */

static cribo_loss *loss_of(void)
{
    cribo_loss_config c;
    cribo_loss *loss;
    OK(cribo_loss_config_init(&c, sizeof c));
    c.prototypes = 4;
    c.object_prototypes = 3;
    OK(cribo_loss_create(&loss, &c, NULL));
    return loss;
}

static void loss_create(void)
{
    cribo_loss_config c;
    OK(cribo_loss_config_init(&c, sizeof c));
    c.prototypes = c.object_prototypes = 4;
    BAD_CREATE(loss, c, );
}

static void loss_free(void)
{
    cribo_loss_free(NULL);
}

static float logits[64];
static const uint8_t matches[4] = {1, 1, 1, 1};

static cribo_loss_input loss_input(void)
{
    return (cribo_loss_input){.struct_size = sizeof(cribo_loss_input),
        .images = 2,
        .objects = 3,
        .student_cls = logits,
        .teacher_cls = logits,
        .student_objects = logits,
        .teacher_objects = logits,
        .neighbours1 = logits,
        .neighbours2 = logits,
        .match1 = matches,
        .match2 = matches,
        .teacher_temperature = 0.1,
        .object_teacher_temperature = 0.1};
}

typedef cribo_status loss_call(cribo_loss *loss, const cribo_loss_input *input);

static cribo_status compute(cribo_loss *loss, const cribo_loss_input *input)
{
    cribo_loss_output output = {.struct_size = sizeof output};
    return cribo_loss_compute(loss, input, &output);
}

/* The refusals of both calls with logits. */
static void bad_loss_inputs(cribo_loss *loss, loss_call *call)
{
    static const int64_t counts[] = {-1, INT64_MIN, INT64_MAX, ((int64_t)1 << 31) + 1};
    cribo_loss_input in = loss_input();
    OK(call(loss, &in));
    BAD(call(NULL, &in), "loss");
    BAD(call(loss, NULL), "input");
    for (size_t i = 0; i < COUNT(bad_sizes); i++) {
        in.struct_size = bad_sizes[i];
        BAD(call(loss, &in), "input.struct_size");
    }
    for (size_t i = 0; i < COUNT(counts); i++) {
        in = loss_input();
        in.images = counts[i];
        BAD(call(loss, &in), "images");
        in = loss_input();
        in.objects = counts[i];
        BAD(call(loss, &in), "objects");
    }
    in = loss_input();
    in.images = 0;
    BAD(call(loss, &in), "images");
    in = loss_input();
    in.teacher_cls = NULL;
    BAD(call(loss, &in), "teacher_cls");
    in = loss_input();
    in.teacher_objects = NULL;
    BAD(call(loss, &in), "teacher_objects");
}

static void bad_temperatures(cribo_loss *loss)
{
    const double temperatures[] = {0, -1, 1e-300, 1e300, (double)NAN, (double)INFINITY};
    for (size_t i = 0; i < COUNT(temperatures); i++) {
        cribo_loss_input in = loss_input();
        in.teacher_temperature = temperatures[i];
        BAD(compute(loss, &in), "input.teacher_temperature");
        in = loss_input();
        in.object_teacher_temperature = temperatures[i];
        BAD(compute(loss, &in), "object_teacher_temperature");
    }
}

static void bad_pointers(cribo_loss *loss)
{
    const struct {
        size_t place;
        const char *name;
    } pointers[] = {{offsetof(cribo_loss_input, student_cls), "student_cls"},
        {offsetof(cribo_loss_input, student_objects), "student_objects"},
        {offsetof(cribo_loss_input, neighbours1), "neighbours1"},
        {offsetof(cribo_loss_input, neighbours2), "neighbours2"},
        {offsetof(cribo_loss_input, match1), "match1"}, {offsetof(cribo_loss_input, match2), "match2"}};
    for (size_t i = 0; i < COUNT(pointers); i++) {
        cribo_loss_input in = loss_input();
        memset((char *)&in + pointers[i].place, 0, sizeof(void *));
        BAD(compute(loss, &in), pointers[i].name);
    }
}

static void loss_compute(void)
{
    cribo_loss *loss = loss_of();
    cribo_loss_input in = loss_input();
    cribo_loss_output out = {.struct_size = sizeof out};
    float strange[64] = {0, 0, (float)NAN};
    bad_loss_inputs(loss, compute);
    bad_temperatures(loss);
    bad_pointers(loss);
    BAD(cribo_loss_compute(loss, &in, NULL), "output");
    for (size_t i = 0; i < COUNT(bad_sizes); i++) {
        out.struct_size = bad_sizes[i];
        BAD(cribo_loss_compute(loss, &in, &out), "output.struct_size");
    }
    in.student_cls = strange;
    BAD(compute(loss, &in), "student_cls");
    in = loss_input();
    in.teacher_objects = strange;
    BAD(compute(loss, &in), "teacher_objects");
    in = loss_input();
    in.neighbours2 = strange;
    BAD(compute(loss, &in), "neighbours2");
    cribo_loss_free(loss);
}

static void loss_update_centres(void)
{
    cribo_loss *loss = loss_of();
    bad_loss_inputs(loss, cribo_loss_update_centres);
    cribo_loss_free(loss);
}

static void loss_get_centres(void)
{
    cribo_loss *loss = loss_of();
    float centre[4];
    BAD(cribo_loss_get_centres(NULL, centre, centre), "loss");
    OK(cribo_loss_get_centres(loss, NULL, NULL));
    cribo_loss_free(loss);
}

static void loss_set_centres(void)
{
    cribo_loss *loss = loss_of();
    const float strange[4] = {0, 0, (float)NAN, 0};
    BAD(cribo_loss_set_centres(NULL, logits, logits), "loss");
    BAD(cribo_loss_set_centres(loss, strange, logits), "centre[2]");
    BAD(cribo_loss_set_centres(loss, logits, strange), "object_centre[2]");
    OK(cribo_loss_set_centres(loss, NULL, NULL));
    cribo_loss_free(loss);
}

/* --- memory bank --- */

static cribo_memory_bank_config bank_config(void)
{
    cribo_memory_bank_config c;
    OK(cribo_memory_bank_config_init(&c, sizeof c));
    c.bank_images = 3;
    c.objects_per_image = 2;
    c.width = WIDTH;
    c.max_objects = 6;
    return c;
}

static cribo_memory_bank *bank_of(void)
{
    cribo_memory_bank_config c = bank_config();
    cribo_memory_bank *bank;
    OK(cribo_memory_bank_create(&bank, &c, NULL));
    return bank;
}

/* --- communicator --- */

static void thread_group_create(void)
{
    cribo_thread_group *group = (cribo_thread_group *)&group;
    BAD(cribo_thread_group_create(NULL, 2), "out");
    BAD(cribo_thread_group_create(&group, 0), "size");
    ck_assert_ptr_null(group);
    BAD(cribo_thread_group_create(&group, -2), "size");
    BAD(cribo_thread_group_create(&group, 3), "size");
    BAD(cribo_thread_group_create(&group, INT64_MAX), "size");
    BAD(cribo_thread_group_create(&group, (int64_t)1 << 40), "size");
}

static void thread_group_communicator(void)
{
    cribo_thread_group *group;
    cribo_communicator c = {.struct_size = sizeof c};
    OK(cribo_thread_group_create(&group, 2));
    BAD(cribo_thread_group_communicator(NULL, 0, &c), "group");
    BAD(cribo_thread_group_communicator(group, 0, NULL), "communicator");
    BAD(cribo_thread_group_communicator(group, 2, &c), "rank");
    BAD(cribo_thread_group_communicator(group, -1, &c), "rank");
    for (size_t i = 0; i < COUNT(bad_sizes); i++) {
        c.struct_size = bad_sizes[i];
        BAD(cribo_thread_group_communicator(group, 0, &c), "struct_size");
    }
    cribo_thread_group_free(group);
    cribo_thread_group_free(NULL);
}

static void memory_bank_create(void)
{
    cribo_memory_bank_config c = bank_config();
    BAD_CREATE(memory_bank, c, );
}

static void memory_bank_memory(void)
{
    cribo_memory_bank_config c = bank_config();
    BAD_MEMORY(memory_bank, c, );
}

static void memory_bank_free(void)
{
    cribo_memory_bank_free(NULL);
}

static const float vectors[6 * WIDTH] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
static const int64_t per_image[] = {2, 1, 2};

static cribo_object_batch objects_of(void)
{
    return (cribo_object_batch){.struct_size = sizeof(cribo_object_batch),
        .images = 3,
        .objects_per_image = per_image,
        .view1 = vectors,
        .view2 = vectors};
}

typedef cribo_status bank_call(cribo_memory_bank *bank, const cribo_object_batch *objects);

static cribo_status query(cribo_memory_bank *bank, const cribo_object_batch *objects)
{
    cribo_match match = {.struct_size = sizeof match};
    return cribo_memory_bank_query(bank, objects, &match);
}

/* The refusals of all calls with objects. */
static void bad_objects(bank_call *call)
{
    static const int64_t strange_counts[][3] = {
        {2, -1, 2}, {3, 0, 0}, {INT64_MAX, INT64_MAX, 2}, {INT64_MIN, 0, 0}};
    static const float strange[6 * WIDTH] = {0, 0, (float)INFINITY};
    cribo_memory_bank *bank = bank_of();
    cribo_object_batch in = objects_of();
    OK(call(bank, &in));
    BAD(call(NULL, &in), "bank");
    BAD(call(bank, NULL), "objects");
    for (size_t i = 0; i < COUNT(bad_sizes); i++) {
        in.struct_size = bad_sizes[i];
        BAD(call(bank, &in), "objects.struct_size");
    }
    in = objects_of();
    in.images = -1;
    BAD(call(bank, &in), "images");
    in.images = INT64_MIN;
    BAD(call(bank, &in), "images");
    in = objects_of();
    in.objects_per_image = NULL;
    BAD(call(bank, &in), "objects_per_image");
    for (size_t i = 0; i < COUNT(strange_counts); i++) {
        in.objects_per_image = strange_counts[i];
        BAD(call(bank, &in), "objects_per_image");
    }
    in = objects_of();
    in.view1 = NULL;
    BAD(call(bank, &in), "view1");
    in.view1 = strange;
    BAD(call(bank, &in), "view1");
    in = objects_of();
    in.view2 = NULL;
    BAD(call(bank, &in), "view2");
    in.view2 = strange;
    BAD(call(bank, &in), "view2");
    cribo_memory_bank_free(bank);
}

static void memory_bank_query(void)
{
    cribo_memory_bank *bank = bank_of();
    cribo_object_batch in = objects_of();
    cribo_match match = {.struct_size = sizeof match};
    bad_objects(query);
    BAD(cribo_memory_bank_query(bank, &in, NULL), "match");
    for (size_t i = 0; i < COUNT(bad_sizes); i++) {
        match.struct_size = bad_sizes[i];
        BAD(cribo_memory_bank_query(bank, &in, &match), "match.struct_size");
    }
    cribo_memory_bank_free(bank);
}

static void memory_bank_push(void)
{
    bad_objects(cribo_memory_bank_push);
}

static void memory_bank_import(void)
{
    static const int64_t many[4] = {1, 1, 1, 1};
    cribo_memory_bank *bank = bank_of();
    cribo_object_batch in = objects_of();
    bad_objects(cribo_memory_bank_import);
    in.images = 4;
    in.objects_per_image = many;
    BAD(cribo_memory_bank_import(bank, &in), "images");
    in.images = INT64_MAX;
    BAD(cribo_memory_bank_import(bank, &in), "images");
    cribo_memory_bank_free(bank);
}

static void memory_bank_save(void)
{
    cribo_memory_bank *bank = bank_of();
    BAD(cribo_memory_bank_save(NULL, scratch_path("file"), NULL), "bank");
    BAD(cribo_memory_bank_save(bank, NULL, NULL), "path");
    BAD(cribo_memory_bank_save(bank, "", NULL), "");
    BAD(cribo_memory_bank_save(bank, scratch_path("none/file"), NULL), "none/file");
    BAD(cribo_memory_bank_save(bank, scratch_folder(), NULL), scratch_folder());
    BAD(cribo_memory_bank_save(bank, scratch_path("file"), "\xff"), "UTF-8");
    ck_assert_uint_eq(scratch_count(), 0);
    cribo_memory_bank_free(bank);
}

static void memory_bank_load(void)
{
    cribo_memory_bank *bank = bank_of();
    OK(cribo_memory_bank_save(bank, scratch_path("sound"), NULL));
    write_bytes(scratch_path("nonsense"), "nonsense nonsense", 17);
    BAD(cribo_memory_bank_load(NULL, scratch_path("sound"), NULL), "bank");
    BAD(cribo_memory_bank_load(bank, NULL, NULL), "path");
    BAD(cribo_memory_bank_load(bank, "", NULL), "");
    BAD(cribo_memory_bank_load(bank, scratch_path("none"), NULL), "none");
    BAD(cribo_memory_bank_load(bank, scratch_folder(), NULL), scratch_folder());
    BAD(cribo_memory_bank_load(bank, scratch_path("nonsense"), NULL), "nonsense");
    BAD(cribo_memory_bank_load(bank, scratch_path("sound"), "bank."), "bank.objects_per_image");
    cribo_memory_bank_free(bank);
}

static void memory_bank_count(void)
{
    cribo_memory_bank *bank = bank_of();
    int64_t n;
    BAD(cribo_memory_bank_count(NULL, &n, &n), "bank");
    OK(cribo_memory_bank_count(bank, NULL, NULL));
    cribo_memory_bank_free(bank);
}

static void memory_bank_export(void)
{
    cribo_memory_bank *bank = bank_of();
    BAD(cribo_memory_bank_export(NULL, NULL, NULL, NULL, NULL), "bank");
    OK(cribo_memory_bank_export(bank, NULL, NULL, NULL, NULL));
    cribo_memory_bank_free(bank);
}

/* --- model --- */

static cribo_model_config model_config(void)
{
    cribo_model_config c;
    OK(cribo_model_config_init(&c, sizeof c));
    c.image_size = 16;
    c.patch_size = 8;
    c.width = 8;
    c.depth = 1;
    c.heads = 2;
    c.head_hidden = c.head_bottleneck = 4;
    c.prototypes = c.object_prototypes = 5;
    return c;
}

static cribo_model *model_of(void)
{
    cribo_model_config c = model_config();
    cribo_model *model;
    OK(cribo_model_create(&model, &c, NULL));
    return model;
}

static void model_create(void)
{
    cribo_model_config c = model_config();
    cribo_model *made;
    BAD_CREATE(model, c, );
    c.heads = 3;
    BAD(cribo_model_create(&made, &c, NULL), "heads");
    c = model_config();
    c.image_size = 17;
    BAD(cribo_model_create(&made, &c, NULL), "image_size");
    c = model_config();
    c.object_prototypes = 0;
    BAD(cribo_model_create(&made, &c, NULL), "prototypes");
}

static void model_free(void)
{
    cribo_model_free(NULL);
}

static void model_memory(void)
{
    cribo_model_config c = model_config();
    BAD_MEMORY(model, c, , 0, 0);
}

static void model_share(void)
{
    cribo_model *model = model_of(), *made = model;
    cribo_runtime runtime;
    BAD(cribo_model_share(NULL, model, NULL), "out");
    BAD(cribo_model_share(&made, NULL, NULL), "source");
    ck_assert_ptr_null(made);
    OK(cribo_runtime_init(&runtime, sizeof runtime));
    runtime.threads = -1;
    BAD(cribo_model_share(&made, model, &runtime), "runtime.threads");
    cribo_model_free(model);
}

static void model_pack(void)
{
    BAD(cribo_model_pack(NULL), "model");
}

static void model_parameter_count(void)
{
    cribo_model *model = model_of();
    int64_t count;
    BAD(cribo_model_parameter_count(NULL, &count), "model");
    BAD(cribo_model_parameter_count(model, NULL), "count");
    cribo_model_free(model);
}

static void model_parameter(void)
{
    cribo_model *model = model_of();
    cribo_parameter p = {.struct_size = sizeof p};
    const int64_t places[] = {-1, 1000, INT64_MIN, INT64_MAX};
    BAD(cribo_model_parameter(NULL, 0, &p), "model");
    BAD(cribo_model_parameter(model, 0, NULL), "parameter");
    for (size_t i = 0; i < COUNT(places); i++) BAD(cribo_model_parameter(model, places[i], &p), "index");
    for (size_t i = 0; i < COUNT(bad_sizes); i++) {
        p.struct_size = bad_sizes[i];
        BAD(cribo_model_parameter(model, 0, &p), "parameter.struct_size");
    }
    cribo_model_free(model);
}

static void model_find_parameter(void)
{
    cribo_model *model = model_of();
    cribo_parameter p = {.struct_size = sizeof p};
    BAD(cribo_model_find_parameter(NULL, "backbone.cls_token", &p), "model");
    BAD(cribo_model_find_parameter(model, NULL, &p), "name");
    BAD(cribo_model_find_parameter(model, "", &p), "name");
    BAD(cribo_model_find_parameter(model, "nonsense", &p), "nonsense");
    BAD(cribo_model_find_parameter(model, "backbone.cls_token", NULL), "parameter");
    for (size_t i = 0; i < COUNT(bad_sizes); i++) {
        p.struct_size = bad_sizes[i];
        BAD(cribo_model_find_parameter(model, "backbone.cls_token", &p), "parameter.struct_size");
    }
    cribo_model_free(model);
}

static const int64_t bad_counts[] = {0, -1, 7, 9, INT64_MIN, INT64_MAX};

static void model_read_parameter(void)
{
    cribo_model *model = model_of();
    float values[8];
    BAD(cribo_model_read_parameter(NULL, "backbone.cls_token", values, 8), "model");
    BAD(cribo_model_read_parameter(model, NULL, values, 8), "name");
    BAD(cribo_model_read_parameter(model, "nonsense", values, 8), "nonsense");
    BAD(cribo_model_read_parameter(model, "backbone.cls_token", NULL, 8), "values");
    for (size_t i = 0; i < COUNT(bad_counts); i++)
        BAD(cribo_model_read_parameter(model, "backbone.cls_token", values, bad_counts[i]), "count");
    cribo_model_free(model);
}

static void model_write_parameter(void)
{
    cribo_model *model = model_of();
    float values[8] = {0};
    BAD(cribo_model_write_parameter(NULL, "backbone.cls_token", values, 8), "model");
    BAD(cribo_model_write_parameter(model, NULL, values, 8), "name");
    BAD(cribo_model_write_parameter(model, "nonsense", values, 8), "nonsense");
    BAD(cribo_model_write_parameter(model, "backbone.cls_token", NULL, 8), "values");
    for (size_t i = 0; i < COUNT(bad_counts); i++)
        BAD(cribo_model_write_parameter(model, "backbone.cls_token", values, bad_counts[i]), "count");
    values[7] = (float)INFINITY;
    BAD(cribo_model_write_parameter(model, "backbone.cls_token", values, 8), "values[7]");
    cribo_model_free(model);
}

static void model_features(void)
{
    cribo_model *model = model_of();
    static float pixels[3 * 16 * 16], cls[8];
    const int64_t counts[] = {0, -1, INT64_MIN}, sides[] = {0, -8, 7, 12, INT64_MIN};
    const int64_t huge = (int64_t)1 << 60;
    BAD(cribo_model_features(NULL, 1, 16, 16, pixels, NULL, cls, NULL), "model");
    BAD(cribo_model_features(model, 1, 16, 16, NULL, NULL, cls, NULL), "pixels");
    for (size_t i = 0; i < COUNT(counts); i++)
        BAD(cribo_model_features(model, counts[i], 16, 16, pixels, NULL, cls, NULL), "images");
    for (size_t i = 0; i < COUNT(sides); i++) {
        BAD(cribo_model_features(model, 1, sides[i], 16, pixels, NULL, cls, NULL), "height");
        BAD(cribo_model_features(model, 1, 16, sides[i], pixels, NULL, cls, NULL), "width");
    }
    BAD(cribo_model_features(model, INT64_MAX, 16, 16, pixels, NULL, cls, NULL), "images");
    BAD(cribo_model_features(model, 1, huge, huge, pixels, NULL, cls, NULL), "height");
    pixels[99] = (float)NAN;
    BAD(cribo_model_features(model, 1, 16, 16, pixels, NULL, cls, NULL), "pixels[99]");
    pixels[99] = 0;
    OK(cribo_model_features(model, 1, 16, 16, pixels, NULL, NULL, NULL));
    cribo_model_free(model);
}

static void model_save(void)
{
    cribo_model *model = model_of();
    BAD(cribo_model_save(NULL, scratch_path("file"), NULL), "model");
    BAD(cribo_model_save(model, NULL, NULL), "path");
    BAD(cribo_model_save(model, "", NULL), "");
    BAD(cribo_model_save(model, scratch_path("none/file"), NULL), "none/file");
    BAD(cribo_model_save(model, scratch_folder(), NULL), scratch_folder());
    BAD(cribo_model_save(model, scratch_path("file"), "\xff"), "UTF-8");
    cribo_model_free(model);
}

static void model_load(void)
{
    cribo_model *model = model_of();
    write_bytes(scratch_path("nonsense"), "nonsense nonsense", 17);
    BAD(cribo_model_load(NULL, scratch_path("nonsense"), NULL), "model");
    BAD(cribo_model_load(model, NULL, NULL), "path");
    BAD(cribo_model_load(model, "", NULL), "");
    BAD(cribo_model_load(model, scratch_path("none"), NULL), "none");
    BAD(cribo_model_load(model, scratch_folder(), NULL), scratch_folder());
    BAD(cribo_model_load(model, scratch_path("nonsense"), NULL), "nonsense");
    OK(cribo_model_save(model, scratch_path("sound"), NULL));
    BAD(cribo_model_load(model, scratch_path("sound"), "student."), "student.");
    cribo_model_free(model);
}

/* The refusals of both choices of parts; `parts` are int64_t, and `plain` is only valid with the backbone. */
#define BAD_PARTS(call, parts) \
    do { \
        const int64_t no_switch[] = {-1, 2, INT64_MIN, INT64_MAX}; \
        for (size_t i = 0; i < COUNT(no_switch); i++) { \
            parts.backbone = no_switch[i]; \
            BAD(call, "parts.backbone"); \
            parts.backbone = 1, parts.heads = no_switch[i]; \
            BAD(call, "parts.heads"); \
            parts.heads = 0, parts.plain_names = no_switch[i]; \
            BAD(call, "parts.plain_names"); \
            parts.plain_names = 0; \
        } \
        parts.heads = parts.plain_names = 1; \
        BAD(call, "parts.plain_names"); \
        parts.backbone = parts.heads = parts.plain_names = 0; \
        BAD(call, "parts"); \
        parts.backbone = 1; \
    } while (0)

static void model_save_partial(void)
{
    cribo_model *model = model_of();
    cribo_save_parts parts = {.struct_size = sizeof parts, .backbone = 1};
    BAD(cribo_model_save_partial(NULL, scratch_path("file"), NULL, &parts), "model");
    BAD(cribo_model_save_partial(model, NULL, NULL, &parts), "path");
    BAD(cribo_model_save_partial(model, scratch_path("file"), NULL, NULL), "parts");
    BAD(cribo_model_save_partial(model, scratch_path("none/file"), NULL, &parts), "none/file");
    BAD(cribo_model_save_partial(model, scratch_path("file"), "\xff", &parts), "UTF-8");
    for (size_t i = 0; i < COUNT(bad_sizes); i++) {
        parts.struct_size = bad_sizes[i];
        BAD(cribo_model_save_partial(model, scratch_path("file"), NULL, &parts), "struct_size");
    }
    parts.struct_size = sizeof parts;
    BAD_PARTS(cribo_model_save_partial(model, scratch_path("file"), NULL, &parts), parts);
    ck_assert_uint_eq(scratch_count(), 0);
    cribo_model_free(model);
}

/* A call of a function whose options are wrong in every way. */
#define BAD_OPEN_OPTIONS(call, options) \
    do { \
        for (size_t i_ = 0; i_ < COUNT(bad_sizes); i_++) { \
            (options).struct_size = bad_sizes[i_]; \
            BAD(call, "struct_size"); \
        } \
        (options).struct_size = sizeof(options); \
        for (int64_t heads_ = -1; heads_ <= 2; heads_ += 3) { \
            (options).heads = heads_; \
            BAD(call, "options.heads"); \
        } \
        (options).heads = 0; \
        (options).prefix = "nobody."; \
        BAD(call, "nobody."); \
        (options).prefix = NULL; \
    } while (0)

static void model_open(void)
{
    cribo_model *model = model_of(), *opened = model;
    cribo_open_options options = {.struct_size = sizeof options};
    OK(cribo_model_save(model, scratch_path("sound"), NULL));
    BAD(cribo_model_open(NULL, scratch_path("sound"), &options, NULL), "out");
    BAD(cribo_model_open(&opened, NULL, &options, NULL), "path");
    ck_assert_ptr_null(opened);
    BAD_OPEN_OPTIONS(cribo_model_open(&opened, scratch_path("sound"), &options, NULL), options);
    options.settings = "no_such=1";
    BAD(cribo_model_open(&opened, scratch_path("sound"), &options, NULL), "no_such");
    options.settings = "heads";
    BAD(cribo_model_open(&opened, scratch_path("sound"), &options, NULL), "name=value");
    options.settings = "heads=7";
    BAD(cribo_model_open(&opened, scratch_path("sound"), &options, NULL), "heads = 7");
    ck_assert_ptr_null(opened);
    cribo_model_free(model);
}

static void model_config_from_file(void)
{
    cribo_model *model = model_of();
    cribo_open_options options = {.struct_size = sizeof options};
    cribo_model_config config = {.struct_size = sizeof config};
    OK(cribo_model_save(model, scratch_path("sound"), NULL));
    BAD(cribo_model_config_from_file(NULL, &options, &config), "path");
    BAD(cribo_model_config_from_file(scratch_path("sound"), &options, NULL), "config");
    BAD_OPEN_OPTIONS(cribo_model_config_from_file(scratch_path("sound"), &options, &config), options);
    for (size_t i = 0; i < COUNT(bad_sizes); i++) {
        config.struct_size = bad_sizes[i];
        BAD(cribo_model_config_from_file(scratch_path("sound"), &options, &config), "struct_size");
    }
    cribo_model_free(model);
}

static void model_adopt(void)
{
    cribo_model *model = model_of();
    cribo_open_options options = {.struct_size = sizeof options};
    OK(cribo_model_save(model, scratch_path("sound"), NULL));
    BAD(cribo_model_adopt(NULL, scratch_path("sound"), &options), "model");
    BAD(cribo_model_adopt(model, NULL, &options), "path");
    BAD_OPEN_OPTIONS(cribo_model_adopt(model, scratch_path("sound"), &options), options);
    cribo_model_free(model);
}

static void model_export(void)
{
    cribo_model *model = model_of();
    BAD(cribo_model_export(NULL, scratch_path("file"), "timm", NULL), "model");
    BAD(cribo_model_export(model, NULL, "timm", NULL), "path");
    BAD(cribo_model_export(model, scratch_path("file"), NULL, NULL), "layout");
    BAD(cribo_model_export(model, scratch_path("file"), "tim", NULL), "layout = \"tim\"");
    ck_assert_uint_eq(scratch_count(), 0);
    cribo_model_free(model);
}

static void weights_layout(void)
{
    ck_assert_ptr_null(cribo_weights_layout(SIZE_MAX));
    ck_assert_ptr_null(cribo_weights_layout(8));
    ck_assert_str_eq(cribo_weights_layout(0), "cribo");
}

static void weights_describe(void)
{
    cribo_model *model = model_of();
    cribo_open_options options = {.struct_size = sizeof options};
    cribo_weights_info info = {.struct_size = sizeof info};
    OK(cribo_model_save(model, scratch_path("sound"), NULL));
    BAD(cribo_weights_describe(NULL, &options, &info), "path");
    BAD(cribo_weights_describe(scratch_path("sound"), &options, NULL), "info");
    BAD_OPEN_OPTIONS(cribo_weights_describe(scratch_path("sound"), &options, &info), options);
    for (size_t i = 0; i < COUNT(bad_sizes); i++) {
        info.struct_size = bad_sizes[i];
        BAD(cribo_weights_describe(scratch_path("sound"), &options, &info), "struct_size");
    }
    cribo_model_free(model);
}

static void model_load_partial(void)
{
    cribo_model *model = model_of();
    cribo_load_parts parts = {.struct_size = sizeof parts, .backbone = 1};
    OK(cribo_model_save(model, scratch_path("sound"), NULL));
    BAD(cribo_model_load_partial(NULL, scratch_path("sound"), NULL, &parts), "model");
    BAD(cribo_model_load_partial(model, NULL, NULL, &parts), "path");
    BAD(cribo_model_load_partial(model, scratch_path("sound"), NULL, NULL), "parts");
    BAD(cribo_model_load_partial(model, scratch_path("sound"), "student.", &parts), "student.");
    for (size_t i = 0; i < COUNT(bad_sizes); i++) {
        parts.struct_size = bad_sizes[i];
        BAD(cribo_model_load_partial(model, scratch_path("sound"), NULL, &parts), "struct_size");
    }
    parts.struct_size = sizeof parts;
    const int64_t bad[] = {-1, 2, INT64_MIN, INT64_MAX};
    for (int i = 0; i < 4; i++) {
        parts.resample_positions = bad[i];
        BAD(cribo_model_load_partial(model, scratch_path("sound"), NULL, &parts), "parts.resample_positions");
        parts.resample_positions = 0;
    }
    BAD_PARTS(cribo_model_load_partial(model, scratch_path("sound"), NULL, &parts), parts);
    cribo_model_free(model);
}

/* --- trainer --- */

static cribo_trainer *trainer_of(void)
{
    cribo_trainer_config c = training_config();
    return training_begin(&c, 1);
}

static void trainer_config_preset(void)
{
    cribo_trainer_config c = training_config();
    BAD(cribo_trainer_config_preset(NULL, "tiny"), "config");
    BAD(cribo_trainer_config_preset(&c, NULL), "name");
    BAD(cribo_trainer_config_preset(&c, "nonsense"), "nonsense");
    BAD(cribo_trainer_config_preset(&c, ""), "preset");
    for (size_t i = 0; i < COUNT(bad_sizes); i++) {
        c.struct_size = bad_sizes[i];
        BAD(cribo_trainer_config_preset(&c, "tiny"), "struct_size");
    }
}

static void trainer_create(void)
{
    cribo_trainer_config c = training_config();
    cribo_trainer *made;
    BAD_CREATE(trainer, c, );
    c.heads = 3;
    BAD(cribo_trainer_create(&made, &c, NULL), "heads");
    c = training_config();
    c.image_size = 25;
    BAD(cribo_trainer_create(&made, &c, NULL), "image_size");
    c = training_config();
    c.clusters = 19;
    BAD(cribo_trainer_create(&made, &c, NULL), "clusters");
}

static void trainer_memory(void)
{
    cribo_trainer_config c = training_config();
    BAD_MEMORY(trainer, c, );
}

static void trainer_create_distributed(void)
{
    cribo_trainer *trainer = (cribo_trainer *)&trainer;
    cribo_trainer_config config = training_config();
    cribo_communicator c = {.struct_size = sizeof c, .size = 2};
    BAD(cribo_trainer_create_distributed(NULL, &config, NULL, NULL), "out");
    BAD(cribo_trainer_create_distributed(&trainer, NULL, NULL, NULL), "config");
    ck_assert_ptr_null(trainer);
    BAD(cribo_trainer_create_distributed(&trainer, &config, NULL, &c), "communicator");
    for (size_t i = 0; i < COUNT(bad_sizes); i++) {
        c.struct_size = bad_sizes[i];
        BAD(cribo_trainer_create_distributed(&trainer, &config, NULL, &c), "communicator");
    }
    config.shards = 3;
    BAD(cribo_trainer_create_distributed(&trainer, &config, NULL, NULL), "shards");
}

static void trainer_free(void)
{
    cribo_trainer_free(NULL);
}

typedef cribo_status batch_call(cribo_trainer *trainer, const cribo_batch *batch);

static cribo_status step(cribo_trainer *trainer, const cribo_batch *batch)
{
    return cribo_trainer_step(trainer, batch, NULL);
}

static void bad_views(batch_call *call, cribo_trainer *trainer, const cribo_batch *sound)
{
    const double deviations[] = {0, -1, (double)NAN, (double)INFINITY};
    static const uint8_t bytes[5 * 3 * 24 * 24];
    cribo_batch in = *sound;
    in.view1 = NULL;
    BAD(call(trainer, &in), "view1");
    in.view2 = NULL;
    BAD(call(trainer, &in), "view1");
    in = *sound;
    in.view2 = NULL;
    BAD(call(trainer, &in), "view2");
    in = *sound;
    in.view1_bytes = bytes;
    BAD(call(trainer, &in), "view1_bytes");
    in.view1 = in.view2 = NULL;
    BAD(call(trainer, &in), "view2_bytes");
    in.view2_bytes = bytes;
    for (size_t i = 0; i < COUNT(deviations); i++) {
        for (int k = 0; k < 3; k++) in.deviation[k] = k == 1 ? deviations[i] : 1;
        BAD(call(trainer, &in), "deviation[1]");
    }
    in.deviation[1] = 1;
    in.mean[2] = (double)NAN;
    BAD(call(trainer, &in), "mean[2]");
}

static void bad_places(batch_call *call, cribo_trainer *trainer, const cribo_batch *sound)
{
    const cribo_crop crops[] = {{(double)NAN, 0, 1, 1, 0}, {0, (double)INFINITY, 1, 1, 0},
        {1e300, 0, 1, 1, 0}, {0, 0, 0, 1, 0}, {0, 0, 1, -1, 0}, {0, 0, (double)NAN, 1, 0},
        {0, 0, 1, (double)INFINITY, 0}, {0, 0, 1, 1, 2}, {0, 0, 1, 1, -1}};
    cribo_batch in = *sound;
    in.images = 1;
    for (size_t i = 0; i < COUNT(crops); i++) {
        in.crops2 = &crops[i];
        BAD(call(trainer, &in), "crops2[0]");
    }
    in.crops2 = NULL;
    BAD(call(trainer, &in), "crops2");
    in.crops1 = NULL;
    BAD(call(trainer, &in), "crops1");
    float positions[2 * 9 * 2] = {0, 0, (float)NAN};
    in.positions = positions;
    BAD(call(trainer, &in), "positions[2]");
    positions[2] = 0;
    in.crops1 = sound->crops1;
    BAD(call(trainer, &in), "positions");
}

static void bad_seeds(batch_call *call, cribo_trainer *trainer, const cribo_batch *sound)
{
    const int64_t strange[] = {-1, 18, INT64_MIN, INT64_MAX, 3};
    int64_t seeds[5] = {3, 4, 5, 6, 7};
    cribo_batch in = *sound;
    in.images = 1;
    in.seed_tokens = seeds;
    for (size_t i = 0; i < COUNT(strange); i++) {
        seeds[4] = strange[i];
        BAD(call(trainer, &in), "seed_tokens[0, 4]");
    }
}

/* The refusals of all calls with a batch. */
static void bad_batches(batch_call *call, cribo_trainer *trainer)
{
    const int64_t images[] = {0, -1, 6, INT64_MIN, INT64_MAX};
    cribo_trainer_config c = training_config();
    training_batch made = training_batch_of(&c, 5, 0);
    cribo_batch in = made.batch;
    BAD(call(NULL, &in), "trainer");
    BAD(call(trainer, NULL), "batch");
    for (size_t i = 0; i < COUNT(bad_sizes); i++) {
        in.struct_size = bad_sizes[i];
        BAD(call(trainer, &in), "batch.struct_size");
    }
    in = made.batch;
    for (size_t i = 0; i < COUNT(images); i++) {
        in.images = images[i];
        BAD(call(trainer, &in), "batch.images");
    }
    bad_views(call, trainer, &made.batch);
    bad_places(call, trainer, &made.batch);
    bad_seeds(call, trainer, &made.batch);
    made.pixels[5 * 3 * 24 * 24 + 1] = -(float)INFINITY;
    BAD(call(trainer, &made.batch), "view2[1]");
    training_batch_free(&made);
}

static void bad_reports(cribo_trainer *trainer, const cribo_batch *batch)
{
    cribo_report report;
    for (size_t i = 0; i < COUNT(bad_sizes); i++) {
        report.struct_size = bad_sizes[i];
        if (batch)
            BAD(cribo_trainer_step(trainer, batch, &report), "report.struct_size");
        else
            BAD(cribo_trainer_update(trainer, &report), "report.struct_size");
    }
}

static void trainer_step(void)
{
    cribo_trainer *trainer = trainer_of();
    cribo_trainer_config c = training_config();
    training_batch made = training_batch_of(&c, 5, 0);
    bad_batches(step, trainer);
    bad_reports(trainer, &made.batch);
    training_batch_free(&made);
    cribo_trainer_free(trainer);
}

static void trainer_teach(void)
{
    cribo_trainer *trainer = trainer_of();
    bad_batches(cribo_trainer_teach, trainer);
    cribo_trainer_free(trainer);
}

static void trainer_learn(void)
{
    cribo_trainer *trainer = trainer_of();
    cribo_trainer_config c = training_config();
    training_batch made = training_batch_of(&c, 5, 0);
    BAD(cribo_trainer_learn(trainer, &made.batch), "teach");
    OK(cribo_trainer_teach(trainer, &made.batch));
    bad_batches(cribo_trainer_learn, trainer);
    training_batch_free(&made);
    cribo_trainer_free(trainer);
}

static void trainer_update(void)
{
    cribo_trainer *trainer = trainer_of();
    cribo_trainer_config c = training_config();
    training_batch made = training_batch_of(&c, 5, 0);
    BAD(cribo_trainer_update(NULL, NULL), "trainer");
    BAD(cribo_trainer_update(trainer, NULL), "learn");
    OK(cribo_trainer_teach(trainer, &made.batch));
    OK(cribo_trainer_learn(trainer, &made.batch));
    bad_reports(trainer, NULL);
    training_batch_free(&made);
    cribo_trainer_free(trainer);
}

static void trainer_losses(void)
{
    cribo_trainer *trainer = trainer_of();
    cribo_trainer_config c = training_config();
    training_batch made = training_batch_of(&c, 5, 0);
    double loss;
    BAD(cribo_trainer_losses(NULL, &loss, NULL, NULL, NULL), "trainer");
    BAD(cribo_trainer_losses(trainer, &loss, NULL, NULL, NULL), "learn");
    OK(cribo_trainer_teach(trainer, &made.batch));
    BAD(cribo_trainer_losses(trainer, &loss, NULL, NULL, NULL), "learn");
    OK(cribo_trainer_learn(trainer, &made.batch));
    OK(cribo_trainer_losses(trainer, NULL, NULL, NULL, NULL));
    training_batch_free(&made);
    cribo_trainer_free(trainer);
}

static void trainer_forget(void)
{
    BAD(cribo_trainer_forget(NULL), "trainer");
}

static void trainer_targets(void)
{
    cribo_trainer *trainer = trainer_of();
    cribo_targets targets = {.struct_size = sizeof targets};
    BAD(cribo_trainer_targets(NULL, &targets), "trainer");
    BAD(cribo_trainer_targets(trainer, NULL), "targets");
    BAD(cribo_trainer_targets(trainer, &targets), "targets");
    for (size_t i = 0; i < COUNT(bad_sizes); i++) {
        targets.struct_size = bad_sizes[i];
        BAD(cribo_trainer_targets(trainer, &targets), "targets.struct_size");
    }
    cribo_trainer_free(trainer);
}

typedef cribo_status gradient_call(
    cribo_trainer *trainer, const char *name, const float *values, int64_t count);

static void bad_gradient_writes(gradient_call *call)
{
    const int64_t counts[] = {0, -1, 15, INT64_MIN, INT64_MAX};
    cribo_trainer *trainer = trainer_of();
    cribo_trainer_config c = training_config();
    training_batch made = training_batch_of(&c, 5, 0);
    const char *name = "backbone.norm.weight";
    float values[16] = {0};
    BAD(call(NULL, name, values, 16), "trainer");
    BAD(call(trainer, name, values, 16), "cribo_trainer_learn");
    OK(cribo_trainer_teach(trainer, &made.batch));
    BAD(call(trainer, name, values, 16), "cribo_trainer_learn");
    OK(cribo_trainer_learn(trainer, &made.batch));
    OK(call(trainer, name, values, 16));
    BAD(call(trainer, NULL, values, 16), "name");
    BAD(call(trainer, "nonsense", values, 16), "nonsense");
    BAD(call(trainer, name, NULL, 16), "values");
    for (size_t i = 0; i < COUNT(counts); i++) BAD(call(trainer, name, values, counts[i]), "count");
    values[15] = (float)INFINITY;
    BAD(call(trainer, name, values, 16), "values[15]");
    OK(cribo_trainer_update(trainer, NULL));
    values[15] = 0;
    BAD(call(trainer, name, values, 16), "cribo_trainer_learn");
    training_batch_free(&made);
    cribo_trainer_free(trainer);
}

static void trainer_set_gradient(void)
{
    bad_gradient_writes(cribo_trainer_set_gradient);
}

static void trainer_add_gradient(void)
{
    bad_gradient_writes(cribo_trainer_add_gradient);
}

static void trainer_gradient(void)
{
    const int64_t counts[] = {0, -1, 15, INT64_MIN, INT64_MAX};
    cribo_trainer *trainer = trainer_of();
    float values[16];
    BAD(cribo_trainer_gradient(NULL, "backbone.norm.weight", values, 16), "trainer");
    BAD(cribo_trainer_gradient(trainer, NULL, values, 16), "name");
    BAD(cribo_trainer_gradient(trainer, "nonsense", values, 16), "nonsense");
    BAD(cribo_trainer_gradient(trainer, "backbone.norm.weight", NULL, 16), "values");
    for (size_t i = 0; i < COUNT(counts); i++)
        BAD(cribo_trainer_gradient(trainer, "backbone.norm.weight", values, counts[i]), "count");
    cribo_trainer_free(trainer);
}

static void trainer_moments(void)
{
    const int64_t counts[] = {0, -1, 15, INT64_MIN, INT64_MAX};
    cribo_trainer *trainer = trainer_of();
    float values[16];
    int64_t updates;
    BAD(cribo_trainer_moments(NULL, "backbone.norm.weight", values, values, 16, &updates), "trainer");
    BAD(cribo_trainer_moments(trainer, NULL, values, values, 16, &updates), "name");
    BAD(cribo_trainer_moments(trainer, "nonsense", values, values, 16, &updates), "nonsense");
    for (size_t i = 0; i < COUNT(counts); i++)
        BAD(cribo_trainer_moments(trainer, "backbone.norm.weight", values, values, counts[i], &updates),
            "count");
    OK(cribo_trainer_moments(trainer, "backbone.norm.weight", NULL, NULL, 16, NULL));
    cribo_trainer_free(trainer);
}

static void trainer_student(void)
{
    ck_assert_ptr_null(cribo_trainer_student(NULL));
}

static void trainer_teacher(void)
{
    ck_assert_ptr_null(cribo_trainer_teacher(NULL));
}

static void trainer_average(void)
{
    cribo_trainer *trainer = trainer_of();
    ck_assert_ptr_null(cribo_trainer_average(NULL));
    ck_assert_ptr_null(cribo_trainer_average(trainer)); /* its settings keep none */
    cribo_trainer_free(trainer);
}

static void trainer_memory_bank(void)
{
    ck_assert_ptr_null(cribo_trainer_memory_bank(NULL));
}

static void trainer_step_count(void)
{
    cribo_trainer *trainer = trainer_of();
    int64_t steps;
    BAD(cribo_trainer_step_count(NULL, &steps), "trainer");
    BAD(cribo_trainer_step_count(trainer, NULL), "steps");
    cribo_trainer_free(trainer);
}

static void trainer_get_centres(void)
{
    cribo_trainer *trainer = trainer_of();
    float centre[30];
    BAD(cribo_trainer_get_centres(NULL, centre, centre), "trainer");
    OK(cribo_trainer_get_centres(trainer, NULL, NULL));
    cribo_trainer_free(trainer);
}

static void trainer_set_centres(void)
{
    cribo_trainer *trainer = trainer_of();
    const float sound[30] = {0}, strange[30] = {0, 0, -(float)INFINITY};
    BAD(cribo_trainer_set_centres(NULL, sound, sound), "trainer");
    BAD(cribo_trainer_set_centres(trainer, strange, sound), "centre[2]");
    BAD(cribo_trainer_set_centres(trainer, sound, strange), "object_centre[2]");
    OK(cribo_trainer_set_centres(trainer, NULL, NULL));
    cribo_trainer_free(trainer);
}

static void trainer_save_weights(void)
{
    cribo_trainer *trainer = trainer_of();
    BAD(cribo_trainer_save_weights(NULL, scratch_path("file")), "trainer");
    BAD(cribo_trainer_save_weights(trainer, NULL), "path");
    BAD(cribo_trainer_save_weights(trainer, ""), "");
    BAD(cribo_trainer_save_weights(trainer, scratch_path("none/file")), "none/file");
    BAD(cribo_trainer_save_weights(trainer, scratch_folder()), scratch_folder());
    cribo_trainer_free(trainer);
}

static void trainer_save_weights_with(void)
{
    cribo_trainer *trainer = trainer_of();
    const char *keys[1] = {""}, *values[1] = {"1"};
    cribo_save_options o = {.struct_size = sizeof o, .metadata_keys = keys, .metadata_values = values};
    BAD(cribo_trainer_save_weights_with(NULL, scratch_path("file"), NULL), "trainer");
    BAD(cribo_trainer_save_weights_with(trainer, NULL, NULL), "path");
    BAD(cribo_trainer_save_weights_with(trainer, scratch_path("none/file"), NULL), "none/file");
    o.level = -1;
    BAD(cribo_trainer_save_weights_with(trainer, scratch_path("file"), &o), "options.level");
    o.level = 1, o.metadata_count = 1;
    BAD(cribo_trainer_save_weights_with(trainer, scratch_path("file"), &o), "options.metadata_keys[0]");
    o.struct_size = 0;
    BAD(cribo_trainer_save_weights_with(trainer, scratch_path("file"), &o), "struct_size");
    ck_assert_uint_eq(scratch_count(), 0);
    cribo_trainer_free(trainer);
}

/* --- checkpoints --- */

static void trainer_save(void)
{
    cribo_trainer *trainer = trainer_of();
    const char *keys[2] = {"a", "a"}, *values[2] = {"1", "2"};
    cribo_save_options o = {.struct_size = sizeof o, .metadata_keys = keys, .metadata_values = values};
    BAD(cribo_trainer_save(NULL, scratch_path("file"), NULL), "trainer");
    BAD(cribo_trainer_save(trainer, NULL, NULL), "path");
    BAD(cribo_trainer_save(trainer, "", NULL), "");
    BAD(cribo_trainer_save(trainer, scratch_path("none/file"), NULL), "none/file");
    BAD(cribo_trainer_save(trainer, scratch_folder(), NULL), scratch_folder());
    for (size_t i = 0; i < COUNT(bad_sizes); i++) {
        o.struct_size = bad_sizes[i];
        BAD(cribo_trainer_save(trainer, scratch_path("file"), &o), "struct_size");
    }
    o.struct_size = sizeof o;
    const int64_t levels[] = {-1, 10, INT64_MIN, INT64_MAX}, counts[] = {-1, 10001, INT64_MIN, INT64_MAX};
    for (int i = 0; i < 4; i++) {
        o.level = levels[i];
        BAD(cribo_trainer_save(trainer, scratch_path("file"), &o), "options.level");
        o.level = 1;
        o.metadata_count = counts[i];
        BAD(cribo_trainer_save(trainer, scratch_path("file"), &o), "options.metadata_count");
    }
    o.metadata_count = 2;
    BAD(cribo_trainer_save(trainer, scratch_path("file"), &o), "twice");
    keys[1] = "";
    BAD(cribo_trainer_save(trainer, scratch_path("file"), &o), "options.metadata_keys[1]");
    keys[1] = NULL;
    BAD(cribo_trainer_save(trainer, scratch_path("file"), &o), "options.metadata_keys[1]");
    keys[1] = "\xff";
    BAD(cribo_trainer_save(trainer, scratch_path("file"), &o), "UTF-8");
    keys[1] = "b", values[1] = NULL;
    BAD(cribo_trainer_save(trainer, scratch_path("file"), &o), "options.metadata_values[1]");
    values[1] = "\xc3";
    BAD(cribo_trainer_save(trainer, scratch_path("file"), &o), "UTF-8");
    o.metadata_values = NULL;
    BAD(cribo_trainer_save(trainer, scratch_path("file"), &o), "options.metadata_values");
    o.metadata_keys = NULL;
    BAD(cribo_trainer_save(trainer, scratch_path("file"), &o), "options.metadata_keys");
    ck_assert_uint_eq(scratch_count(), 0);
    cribo_trainer_free(trainer);
}

static cribo_snapshot *snapshot_of(void)
{
    cribo_trainer *trainer = trainer_of();
    cribo_runtime runtime = training_runtime(1);
    cribo_snapshot *snapshot;
    OK(cribo_snapshot_create(&snapshot, trainer, &runtime));
    cribo_trainer_free(trainer);
    return snapshot;
}

static void snapshot_create(void)
{
    cribo_trainer *trainer = trainer_of();
    cribo_runtime runtime = training_runtime(1);
    cribo_snapshot *snapshot = (cribo_snapshot *)trainer;
    BAD(cribo_snapshot_create(NULL, trainer, NULL), "out");
    BAD(cribo_snapshot_create(&snapshot, NULL, NULL), "trainer");
    ck_assert_ptr_null(snapshot);
    for (size_t i = 0; i < COUNT(bad_sizes); i++) {
        runtime.struct_size = bad_sizes[i];
        BAD(cribo_snapshot_create(&snapshot, trainer, &runtime), "runtime.struct_size");
    }
    runtime = training_runtime(257);
    BAD(cribo_snapshot_create(&snapshot, trainer, &runtime), "runtime.threads");
    ck_assert_ptr_null(snapshot);
    cribo_trainer_free(trainer);
}

static void snapshot_free(void)
{
    cribo_snapshot_free(NULL);
}

static void snapshot_save(void)
{
    cribo_snapshot *snapshot = snapshot_of();
    cribo_save_options o = {.struct_size = sizeof o, .level = 10};
    BAD(cribo_snapshot_save(NULL, scratch_path("file"), NULL), "snapshot");
    BAD(cribo_snapshot_save(snapshot, NULL, NULL), "path");
    BAD(cribo_snapshot_save(snapshot, scratch_path("none/file"), NULL), "none/file");
    BAD(cribo_snapshot_save(snapshot, scratch_path("file"), &o), "options.level");
    o.struct_size = 0;
    BAD(cribo_snapshot_save(snapshot, scratch_path("file"), &o), "struct_size");
    ck_assert_uint_eq(scratch_count(), 0);
    cribo_snapshot_free(snapshot);
}

static void snapshot_save_weights(void)
{
    cribo_snapshot *snapshot = snapshot_of();
    BAD(cribo_snapshot_save_weights(NULL, scratch_path("file")), "snapshot");
    BAD(cribo_snapshot_save_weights(snapshot, NULL), "path");
    BAD(cribo_snapshot_save_weights(snapshot, scratch_path("none/file")), "none/file");
    cribo_snapshot_free(snapshot);
}

static void snapshot_save_weights_with(void)
{
    cribo_snapshot *snapshot = snapshot_of();
    cribo_save_options o = {.struct_size = sizeof o, .level = 10};
    BAD(cribo_snapshot_save_weights_with(NULL, scratch_path("file"), NULL), "snapshot");
    BAD(cribo_snapshot_save_weights_with(snapshot, NULL, NULL), "path");
    BAD(cribo_snapshot_save_weights_with(snapshot, scratch_path("file"), &o), "options.level");
    cribo_snapshot_free(snapshot);
}

static void trainer_load(void)
{
    cribo_trainer *trainer = trainer_of();
    cribo_load_options o = {.struct_size = sizeof o};
    OK(cribo_trainer_save(trainer, scratch_path("sound"), NULL));
    write_bytes(scratch_path("nonsense"), "nonsense nonsense", 17);
    BAD(cribo_trainer_load(NULL, scratch_path("sound"), NULL), "trainer");
    BAD(cribo_trainer_load(trainer, NULL, NULL), "path");
    BAD(cribo_trainer_load(trainer, "", NULL), "");
    BAD(cribo_trainer_load(trainer, scratch_path("none"), NULL), "none");
    BAD(cribo_trainer_load(trainer, scratch_folder(), NULL), scratch_folder());
    BAD(cribo_trainer_load(trainer, scratch_path("nonsense"), NULL), "nonsense");
    for (size_t i = 0; i < COUNT(bad_sizes); i++) {
        o.struct_size = bad_sizes[i];
        BAD(cribo_trainer_load(trainer, scratch_path("sound"), &o), "struct_size");
    }
    o.struct_size = sizeof o;
    const char *const overrides[] = {
        "x", "learning_rate;epochs", "learning_rate=1", "\xff", "EPOCHS", "epochs,,x"};
    for (size_t i = 0; i < COUNT(overrides); i++) {
        o.overrides = overrides[i];
        BAD(cribo_trainer_load(trainer, scratch_path("sound"), &o), "options.overrides");
    }
    char *enormous = calloc(1, 100001);
    memset(enormous, 'x', 100000);
    o.overrides = enormous;
    BAD(cribo_trainer_load(trainer, scratch_path("sound"), &o), "options.overrides");
    free(enormous);
    cribo_trainer_free(trainer);
}

static void checkpoint_config(void)
{
    cribo_trainer *trainer = trainer_of();
    cribo_trainer_config c = training_config();
    OK(cribo_trainer_save(trainer, scratch_path("sound"), NULL));
    write_bytes(scratch_path("nonsense"), "nonsense nonsense", 17);
    BAD(cribo_checkpoint_config(NULL, &c), "path");
    BAD(cribo_checkpoint_config(scratch_path("sound"), NULL), "out");
    BAD(cribo_checkpoint_config("", &c), "");
    BAD(cribo_checkpoint_config(scratch_path("none"), &c), "none");
    BAD(cribo_checkpoint_config(scratch_folder(), &c), scratch_folder());
    BAD(cribo_checkpoint_config(scratch_path("nonsense"), &c), "nonsense");
    for (size_t i = 0; i < COUNT(bad_sizes); i++) {
        c.struct_size = bad_sizes[i];
        BAD(cribo_checkpoint_config(scratch_path("sound"), &c), "struct_size");
    }
    cribo_trainer_free(trainer);
}

static void checkpoint_metadata(void)
{
    cribo_trainer *trainer = trainer_of();
    const char *key = "key", *value = "value";
    cribo_save_options o = {
        .struct_size = sizeof o, .metadata_count = 1, .metadata_keys = &key, .metadata_values = &value};
    char buffer[8];
    OK(cribo_trainer_save(trainer, scratch_path("sound"), &o));
    write_bytes(scratch_path("nonsense"), "nonsense nonsense", 17);
    BAD(cribo_checkpoint_metadata(NULL, "key", buffer, 8), "path");
    BAD(cribo_checkpoint_metadata(scratch_path("sound"), NULL, buffer, 8), "key");
    BAD(cribo_checkpoint_metadata(scratch_path("sound"), "key", NULL, 8), "buffer");
    BAD(cribo_checkpoint_metadata(scratch_path("sound"), "key", buffer, 5), "size = 5");
    BAD(cribo_checkpoint_metadata(scratch_path("sound"), "key", buffer, 0), "size = 0");
    BAD(cribo_checkpoint_metadata(scratch_path("sound"), "ke", buffer, 8), "\"ke\"");
    BAD(cribo_checkpoint_metadata(scratch_path("sound"), "", buffer, 8), "key");
    BAD(cribo_checkpoint_metadata("", "key", buffer, 8), "");
    BAD(cribo_checkpoint_metadata(scratch_path("none"), "key", buffer, 8), "none");
    BAD(cribo_checkpoint_metadata(scratch_folder(), "key", buffer, 8), scratch_folder());
    BAD(cribo_checkpoint_metadata(scratch_path("nonsense"), "key", buffer, 8), "nonsense");
    cribo_trainer_free(trainer);
}

/* --- objective --- */

static cribo_objective *taught_objective(token_batch *batch)
{
    cribo_objective_config c = objective_config();
    cribo_objective *objective = objective_begin(&c, 1);
    *batch = token_batch_of(&c, 5, 1);
    OK(cribo_objective_teach(objective, &batch->teacher));
    return objective;
}

static void end_objective(cribo_objective *objective, token_batch *batch)
{
    cribo_objective_free(objective);
    token_batch_free(batch);
}

static void objective_config_preset(void)
{
    cribo_objective_config c = objective_config();
    BAD(cribo_objective_config_preset(NULL, "authors"), "config");
    BAD(cribo_objective_config_preset(&c, NULL), "name");
    BAD(cribo_objective_config_preset(&c, ""), "preset");
    BAD(cribo_objective_config_preset(&c, "nonsense"), "nonsense");
    for (size_t i = 0; i < COUNT(bad_sizes); i++) {
        c.struct_size = bad_sizes[i];
        BAD(cribo_objective_config_preset(&c, "authors"), "struct_size");
    }
}

static void objective_create(void)
{
    cribo_objective_config c = objective_config();
    cribo_objective *made;
    BAD_CREATE(objective, c, );
    c.clusters = 2 * c.tokens + 1;
    BAD(cribo_objective_create(&made, &c, NULL), "clusters");
}

static void objective_memory(void)
{
    cribo_objective_config c = objective_config();
    BAD_MEMORY(objective, c, );
}

static void objective_create_distributed(void)
{
    cribo_objective *objective = (cribo_objective *)&objective;
    cribo_objective_config config = objective_config();
    cribo_communicator c = {.struct_size = sizeof c, .size = 2};
    BAD(cribo_objective_create_distributed(NULL, &config, NULL, NULL), "out");
    BAD(cribo_objective_create_distributed(&objective, NULL, NULL, NULL), "config");
    ck_assert_ptr_null(objective);
    BAD(cribo_objective_create_distributed(&objective, &config, NULL, &c), "communicator");
    for (size_t i = 0; i < COUNT(bad_sizes); i++) {
        c.struct_size = bad_sizes[i];
        BAD(cribo_objective_create_distributed(&objective, &config, NULL, &c), "communicator");
    }
    config.shards = 3;
    BAD(cribo_objective_create_distributed(&objective, &config, NULL, NULL), "shards");
}

static void objective_free(void)
{
    cribo_objective_free(NULL);
}

static void crop_positions(void)
{
    cribo_crop crop = {1, 2, 30, 40, 0};
    float positions[8];
    OK(cribo_crop_positions(&crop, 2, 2, positions));
    BAD(cribo_crop_positions(NULL, 2, 2, positions), "crop");
    BAD(cribo_crop_positions(&crop, 2, 2, NULL), "positions");
    const int64_t strange[] = {0, -1, 4097, INT64_MIN, INT64_MAX};
    for (size_t i = 0; i < COUNT(strange); i++) {
        BAD(cribo_crop_positions(&crop, strange[i], 2, positions), "rows");
        BAD(cribo_crop_positions(&crop, 2, strange[i], positions), "columns");
    }
    crop.flipped = 2;
    BAD(cribo_crop_positions(&crop, 2, 2, positions), "crop.flipped");
    crop.flipped = 0, crop.width = 0;
    BAD(cribo_crop_positions(&crop, 2, 2, positions), "crop is 0 x 40");
    crop.width = 30, crop.y = NAN;
    BAD(cribo_crop_positions(&crop, 2, 2, positions), "crop begins");
}

static void objective_schedule(void)
{
    token_batch batch;
    cribo_objective *objective = taught_objective(&batch);
    cribo_step_values values = {.struct_size = sizeof values};
    BAD(cribo_objective_schedule(NULL, 0, &values), "objective");
    BAD(cribo_objective_schedule(objective, 0, NULL), "values");
    BAD(cribo_objective_schedule(objective, -2, &values), "step = -2");
    BAD(cribo_objective_schedule(objective, INT64_MIN, &values), "step");
    OK(cribo_objective_schedule(objective, INT64_MAX, &values));
    for (size_t i = 0; i < COUNT(bad_sizes); i++) {
        values.struct_size = bad_sizes[i];
        BAD(cribo_objective_schedule(objective, 0, &values), "struct_size");
    }
    end_objective(objective, &batch);
}

/* Values that are given in place of the schedules'. */
static void strange_values(cribo_objective *objective, cribo_objective_batch batch)
{
    cribo_step_values sound = {.struct_size = sizeof sound};
    OK(cribo_objective_schedule(objective, -1, &sound));
    const struct {
        const char *name;
        size_t offset;
    } reals[] = {{"learning_rate", offsetof(cribo_step_values, learning_rate)},
        {"weight_decay", offsetof(cribo_step_values, weight_decay)},
        {"ema_momentum", offsetof(cribo_step_values, ema_momentum)},
        {"teacher_temperature", offsetof(cribo_step_values, teacher_temperature)},
        {"object_teacher_temperature", offsetof(cribo_step_values, object_teacher_temperature)},
        {"position_weight", offsetof(cribo_step_values, position_weight)}};
    const double strange[] = {-1, 1e7, NAN, INFINITY};
    for (size_t i = 0; i < COUNT(reals); i++)
        for (size_t j = 0; j < COUNT(strange); j++) {
            cribo_step_values values = sound;
            memcpy((char *)&values + reals[i].offset, &strange[j], sizeof strange[j]);
            batch.values = &values;
            BAD(cribo_objective_teach(objective, &batch), reals[i].name);
        }
    cribo_step_values values = sound;
    batch.values = &values;
    values.last_layer_frozen = 2;
    BAD(cribo_objective_teach(objective, &batch), "last_layer_frozen");
    values = sound, values.cross_image = -1;
    BAD(cribo_objective_teach(objective, &batch), "cross_image");
    values = sound, values.epoch = -1;
    BAD(cribo_objective_teach(objective, &batch), "epoch");
    values = sound, values.struct_size = 8;
    BAD(cribo_objective_teach(objective, &batch), "values.struct_size");
    values = sound;
    OK(cribo_objective_teach(objective, &batch));
}

static void objective_teach(void)
{
    token_batch batch;
    cribo_objective *objective = taught_objective(&batch);
    cribo_objective_batch sound = batch.teacher, b = sound;
    int64_t seeds[25];
    for (size_t i = 0; i < COUNT(seeds); i++) seeds[i] = (int64_t)i % 5;
    BAD(cribo_objective_teach(NULL, &b), "objective");
    BAD(cribo_objective_teach(objective, NULL), "batch");
    for (size_t i = 0; i < COUNT(bad_sizes); i++) {
        b.struct_size = bad_sizes[i];
        BAD(cribo_objective_teach(objective, &b), "batch.struct_size");
    }
    const int64_t images[] = {0, -1, 6, INT64_MIN, INT64_MAX}, strides[] = {-1, 1, 15, INT64_MIN, INT64_MAX};
    for (size_t i = 0; i < COUNT(images); i++) {
        b = sound, b.images = images[i];
        BAD(cribo_objective_teach(objective, &b), "batch.images");
        b = sound, b.dense_image_stride = strides[i];
        BAD(cribo_objective_teach(objective, &b), "batch.dense");
        b = sound, b.dense_view_stride = strides[i];
        BAD(cribo_objective_teach(objective, &b), "batch.dense");
        b = sound, b.global_image_stride = strides[i];
        BAD(cribo_objective_teach(objective, &b), "batch.global");
        b = sound, b.global_view_stride = strides[i];
        BAD(cribo_objective_teach(objective, &b), "batch.global");
    }
    b = sound, b.dense = NULL;
    BAD(cribo_objective_teach(objective, &b), "batch.dense is NULL");
    b = sound, b.global = NULL;
    BAD(cribo_objective_teach(objective, &b), "batch.global is NULL");
    b = sound, b.positions = NULL;
    BAD(cribo_objective_teach(objective, &b), "batch.positions is NULL");
    b = sound, b.seed_tokens = seeds, seeds[7] = 18;
    BAD(cribo_objective_teach(objective, &b), "batch.seed_tokens[1, 2]");
    batch.positions[4] = (float)NAN;
    BAD(cribo_objective_teach(objective, &sound), "batch.positions[4]");
    batch.positions[4] = 0;
    batch.tokens[160 + 16 + 3] = (float)INFINITY; /* view 2 of image 0 */
    BAD(cribo_objective_teach(objective, &sound), "batch.dense: number 3 of view 2 of image 0");
    batch.tokens[160 + 16 + 3] = 0, batch.tokens[3] = (float)NAN;
    BAD(cribo_objective_teach(objective, &sound), "batch.global");
    batch.tokens[3] = 0;
    strange_values(objective, sound);
    end_objective(objective, &batch);
}

static void objective_learn(void)
{
    token_batch batch;
    cribo_objective_config c = objective_config();
    cribo_objective *objective = taught_objective(&batch);
    cribo_objective_chunk sound = token_chunk(&c, &batch, 0, 2), k = sound;
    BAD(cribo_objective_learn(NULL, &k), "objective");
    BAD(cribo_objective_learn(objective, NULL), "chunk");
    for (size_t i = 0; i < COUNT(bad_sizes); i++) {
        k.struct_size = bad_sizes[i];
        BAD(cribo_objective_learn(objective, &k), "chunk.struct_size");
    }
    const int64_t images[] = {0, -1, 6, 1, 3}, firsts[] = {-1, 1, 2, INT64_MIN, INT64_MAX};
    for (size_t i = 0; i < COUNT(images); i++) {
        k = sound, k.images = images[i];
        BAD(cribo_objective_learn(objective, &k), "chunk.images");
        k = sound, k.first = firsts[i];
        BAD(cribo_objective_learn(objective, &k), "chunk.first");
    }
    k = sound, k.dense = NULL;
    BAD(cribo_objective_learn(objective, &k), "chunk.dense is NULL");
    k = sound, k.global = NULL;
    BAD(cribo_objective_learn(objective, &k), "chunk.global is NULL");
    k = sound, k.dense_view_stride = -5;
    BAD(cribo_objective_learn(objective, &k), "chunk.dense");
    BAD(cribo_objective_update(objective, NULL), "cribo_objective_learn");
    OK(cribo_objective_learn(objective, &sound));
    BAD(cribo_objective_update(objective, NULL), "cribo_objective_learn"); /* three images are missing */
    k = token_chunk(&c, &batch, 4, 1);
    BAD(cribo_objective_learn(objective, &k), "chunk.first = 4 must be 2");
    k = token_chunk(&c, &batch, 2, 3);
    OK(cribo_objective_learn(objective, &k));
    OK(cribo_objective_update(objective, NULL));
    BAD(cribo_objective_learn(objective, &sound), "cribo_objective_teach");
    end_objective(objective, &batch);
}

static void objective_update(void)
{
    token_batch batch;
    cribo_objective *objective = taught_objective(&batch);
    cribo_report report = {.struct_size = sizeof report};
    BAD(cribo_objective_update(NULL, &report), "objective");
    for (size_t i = 0; i < COUNT(bad_sizes); i++) {
        report.struct_size = bad_sizes[i];
        BAD(cribo_objective_update(objective, &report), "report.struct_size");
    }
    end_objective(objective, &batch);
}

static void objective_losses(void)
{
    token_batch batch;
    cribo_objective *objective = taught_objective(&batch);
    BAD(cribo_objective_losses(NULL, NULL, NULL, NULL, NULL), "objective");
    BAD(cribo_objective_losses(objective, NULL, NULL, NULL, NULL), "cribo_objective_learn");
    OK(cribo_objective_learn(objective, &batch.student));
    OK(cribo_objective_losses(objective, NULL, NULL, NULL, NULL));
    end_objective(objective, &batch);
}

static void objective_forget(void)
{
    BAD(cribo_objective_forget(NULL), "objective");
}

static void objective_targets(void)
{
    token_batch batch;
    cribo_objective *objective = taught_objective(&batch);
    cribo_targets targets = {.struct_size = sizeof targets};
    BAD(cribo_objective_targets(NULL, &targets), "objective");
    BAD(cribo_objective_targets(objective, NULL), "targets");
    OK(cribo_objective_targets(objective, &targets));
    for (size_t i = 0; i < COUNT(bad_sizes); i++) {
        targets.struct_size = bad_sizes[i];
        BAD(cribo_objective_targets(objective, &targets), "targets.struct_size");
    }
    targets.struct_size = sizeof targets;
    batch.teacher.images = 0;
    BAD(cribo_objective_teach(objective, &batch.teacher), "batch.images");
    BAD(cribo_objective_targets(objective, &targets), "cribo_objective_teach");
    end_objective(objective, &batch);
}

static void objective_parameter_count(void)
{
    token_batch batch;
    cribo_objective *objective = taught_objective(&batch);
    int64_t count;
    BAD(cribo_objective_parameter_count(NULL, &count), "objective");
    BAD(cribo_objective_parameter_count(objective, NULL), "count");
    end_objective(objective, &batch);
}

static void objective_parameter(void)
{
    token_batch batch;
    cribo_objective *objective = taught_objective(&batch);
    cribo_parameter p = {.struct_size = sizeof p};
    BAD(cribo_objective_parameter(NULL, 0, &p), "objective");
    BAD(cribo_objective_parameter(objective, 0, NULL), "parameter");
    BAD(cribo_objective_parameter(objective, -1, &p), "index");
    BAD(cribo_objective_parameter(objective, INT64_MAX, &p), "index");
    p.struct_size = 3;
    BAD(cribo_objective_parameter(objective, 0, &p), "parameter.struct_size");
    end_objective(objective, &batch);
}

static void objective_find_parameter(void)
{
    token_batch batch;
    cribo_objective *objective = taught_objective(&batch);
    cribo_parameter p = {.struct_size = sizeof p};
    BAD(cribo_objective_find_parameter(NULL, "head.mlp.0.bias", &p), "objective");
    BAD(cribo_objective_find_parameter(objective, NULL, &p), "name");
    BAD(cribo_objective_find_parameter(objective, "head.mlp.0.bias", NULL), "parameter");
    BAD(cribo_objective_find_parameter(objective, "backbone.norm.bias", &p), "backbone.norm.bias");
    end_objective(objective, &batch);
}

/* The calls that take a parameter's name and numbers. */
static cribo_objective *some_objective;

static cribo_status read_it(int64_t network, const char *name, float *values, int64_t count)
{
    return cribo_objective_read_parameter(some_objective, network, name, values, count);
}

static cribo_status write_it(int64_t network, const char *name, float *values, int64_t count)
{
    return cribo_objective_write_parameter(some_objective, network, name, values, count);
}

static cribo_status gradient_of_it(int64_t network, const char *name, float *values, int64_t count)
{
    (void)network;
    return cribo_objective_gradient(some_objective, name, values, count);
}

static cribo_status set_gradient_of_it(int64_t network, const char *name, float *values, int64_t count)
{
    (void)network;
    return cribo_objective_set_gradient(some_objective, name, values, count);
}

static void bad_parameter_calls(
    cribo_status (*call)(int64_t network, const char *name, float *values, int64_t count), bool networks)
{
    token_batch batch;
    cribo_objective_config c = objective_config();
    float values[20] = {0};
    some_objective = NULL;
    BAD(call(CRIBO_STUDENT, "head.mlp.0.bias", values, 20), "objective");
    some_objective = objective_begin(&c, 1);
    batch = token_batch_of(&c, 5, 1);
    if (!networks) { /* gradients exist after learn */
        OK(cribo_objective_teach(some_objective, &batch.teacher));
        OK(cribo_objective_learn(some_objective, &batch.student));
    }
    OK(call(CRIBO_STUDENT, "head.mlp.0.bias", values, 20));
    BAD(call(CRIBO_STUDENT, NULL, values, 20), "name");
    BAD(call(CRIBO_STUDENT, "nonsense", values, 20), "nonsense");
    BAD(call(CRIBO_STUDENT, "head.mlp.0.bias", NULL, 20), "values");
    const int64_t counts[] = {0, -1, 19, 21, INT64_MIN, INT64_MAX}, strange[] = {-1, 2, INT64_MIN, INT64_MAX};
    for (size_t i = 0; i < COUNT(counts); i++)
        BAD(call(CRIBO_STUDENT, "head.mlp.0.bias", values, counts[i]), "count");
    for (size_t i = 0; i < COUNT(strange) && networks; i++)
        BAD(call(strange[i], "head.mlp.0.bias", values, 20), "network");
    end_objective(some_objective, &batch);
}

static void objective_read_parameter(void)
{
    bad_parameter_calls(read_it, true);
}

static void objective_write_parameter(void)
{
    token_batch batch;
    float values[20] = {0};
    bad_parameter_calls(write_it, true);
    some_objective = taught_objective(&batch);
    BAD(write_it(CRIBO_TEACHER, "head.mlp.0.bias", values, 20), "under way");
    OK(cribo_objective_forget(some_objective));
    values[4] = (float)NAN;
    BAD(write_it(CRIBO_TEACHER, "head.mlp.0.bias", values, 20), "values[4]");
    end_objective(some_objective, &batch);
}

static void objective_gradient(void)
{
    bad_parameter_calls(gradient_of_it, false);
}

static cribo_status add_gradient_to_it(int64_t network, const char *name, float *values, int64_t count)
{
    (void)network;
    return cribo_objective_add_gradient(some_objective, name, values, count);
}

static void bad_head_gradients(
    cribo_status (*call)(int64_t network, const char *name, float *values, int64_t count))
{
    token_batch batch;
    float values[20] = {0};
    bad_parameter_calls(call, false);
    some_objective = taught_objective(&batch);
    BAD(call(CRIBO_STUDENT, "head.mlp.0.bias", values, 20), "cribo_objective_learn");
    OK(cribo_objective_learn(some_objective, &batch.student));
    values[4] = (float)NAN;
    BAD(call(CRIBO_STUDENT, "head.mlp.0.bias", values, 20), "values[4]");
    end_objective(some_objective, &batch);
}

static void objective_set_gradient(void)
{
    bad_head_gradients(set_gradient_of_it);
}

static void objective_add_gradient(void)
{
    bad_head_gradients(add_gradient_to_it);
}

static void objective_moments(void)
{
    token_batch batch;
    cribo_objective *objective = taught_objective(&batch);
    float x[20];
    BAD(cribo_objective_moments(NULL, "head.mlp.0.bias", x, x, 20, NULL), "objective");
    BAD(cribo_objective_moments(objective, NULL, x, x, 20, NULL), "name");
    BAD(cribo_objective_moments(objective, "nonsense", x, x, 20, NULL), "nonsense");
    BAD(cribo_objective_moments(objective, "head.mlp.0.bias", x, x, 19, NULL), "count");
    BAD(cribo_objective_moments(objective, "head.mlp.0.bias", x, x, -1, NULL), "count");
    OK(cribo_objective_moments(objective, "head.mlp.0.bias", NULL, NULL, 20, NULL));
    end_objective(objective, &batch);
}

static void objective_get_centres(void)
{
    BAD(cribo_objective_get_centres(NULL, NULL, NULL), "objective");
}

static void objective_set_centres(void)
{
    token_batch batch;
    cribo_objective *objective = taught_objective(&batch);
    const float sound[30] = {0}, strange[30] = {0, 0, -(float)INFINITY};
    BAD(cribo_objective_set_centres(objective, sound, sound), "under way");
    OK(cribo_objective_forget(objective));
    BAD(cribo_objective_set_centres(NULL, sound, sound), "objective");
    BAD(cribo_objective_set_centres(objective, strange, sound), "centre[2]");
    BAD(cribo_objective_set_centres(objective, sound, strange), "object_centre[2]");
    OK(cribo_objective_set_centres(objective, NULL, NULL));
    end_objective(objective, &batch);
}

static void objective_memory_bank(void)
{
    ck_assert_ptr_null(cribo_objective_memory_bank(NULL));
}

static void objective_step_count(void)
{
    token_batch batch;
    cribo_objective *objective = taught_objective(&batch);
    int64_t n;
    BAD(cribo_objective_step_count(NULL, &n), "objective");
    BAD(cribo_objective_step_count(objective, NULL), "steps");
    end_objective(objective, &batch);
}

static void objective_save(void)
{
    token_batch batch;
    cribo_objective *objective = taught_objective(&batch);
    cribo_save_options o = {.struct_size = sizeof o, .level = 10};
    BAD(cribo_objective_save(objective, scratch_path("file"), NULL), "under way");
    OK(cribo_objective_forget(objective));
    BAD(cribo_objective_save(NULL, scratch_path("file"), NULL), "objective");
    BAD(cribo_objective_save(objective, NULL, NULL), "path");
    BAD(cribo_objective_save(objective, scratch_path("none/file"), NULL), "none/file");
    BAD(cribo_objective_save(objective, scratch_path("file"), &o), "options.level");
    ck_assert_uint_eq(scratch_count(), 0);
    end_objective(objective, &batch);
}

static void objective_load(void)
{
    token_batch batch;
    cribo_objective *objective = taught_objective(&batch);
    cribo_trainer *trainer = trainer_of();
    cribo_load_options o = {.struct_size = sizeof o, .overrides = "depth"};
    OK(cribo_objective_forget(objective));
    OK(cribo_objective_save(objective, scratch_path("sound"), NULL));
    OK(cribo_trainer_save(trainer, scratch_path("trainer"), NULL));
    write_bytes(scratch_path("nonsense"), "nonsense nonsense", 17);
    BAD(cribo_objective_load(NULL, scratch_path("sound"), NULL), "objective");
    BAD(cribo_objective_load(objective, NULL, NULL), "path");
    BAD(cribo_objective_load(objective, scratch_path("none"), NULL), "none");
    BAD(cribo_objective_load(objective, scratch_path("nonsense"), NULL), "nonsense");
    BAD(cribo_objective_load(objective, scratch_path("trainer"), NULL), "checkpoint 1");
    BAD(cribo_trainer_load(trainer, scratch_path("sound"), NULL), "objective 1");
    BAD(cribo_objective_load(objective, scratch_path("sound"), &o), "options.overrides: \"depth\"");
    cribo_trainer_free(trainer);
    end_objective(objective, &batch);
}

/* --- settings of handles --- */

static cribo_clusterer *clusterer_of(void)
{
    cribo_clusterer_config c = clusterer_config();
    cribo_clusterer *made;
    OK(cribo_clusterer_create(&made, &c, NULL, IMAGES, TOKENS, WIDTH));
    return made;
}

static cribo_objective *idle_objective(void)
{
    cribo_objective_config c = objective_config();
    return objective_begin(&c, 1);
}

#define READ(noun, make, some_setting) \
    static void noun##_get_config(void) \
    { \
        cribo_##noun *handle = make(); \
        cribo_##noun##_config got = {.struct_size = sizeof got}; \
        BAD(cribo_##noun##_get_config(NULL, &got), #noun); \
        BAD(cribo_##noun##_get_config(handle, NULL), "config"); \
        for (size_t i = 0; i < COUNT(bad_sizes); i++) { \
            got.struct_size = bad_sizes[i]; \
            BAD(cribo_##noun##_get_config(handle, &got), "struct_size"); \
        } \
        cribo_##noun##_free(handle); \
    } \
    static void noun##_get_setting(void) \
    { \
        cribo_##noun *handle = make(); \
        double value; \
        BAD(cribo_##noun##_get_setting(NULL, some_setting, &value), #noun); \
        BAD(cribo_##noun##_get_setting(handle, NULL, &value), "name"); \
        BAD(cribo_##noun##_get_setting(handle, "", &value), "setting"); \
        BAD(cribo_##noun##_get_setting(handle, "nonsense", &value), "nonsense"); \
        BAD(cribo_##noun##_get_setting(handle, some_setting, NULL), "value"); \
        cribo_##noun##_free(handle); \
    }

#define CHANGE(noun, make, some_setting) \
    static void noun##_set_setting(void) \
    { \
        cribo_##noun *handle = make(); \
        const double strange[] = {NAN, INFINITY, -INFINITY, 1e300, -1e300}; \
        BAD(cribo_##noun##_set_setting(NULL, some_setting, 1), #noun); \
        BAD(cribo_##noun##_set_setting(handle, NULL, 1), "name"); \
        BAD(cribo_##noun##_set_setting(handle, "", 1), "setting"); \
        BAD(cribo_##noun##_set_setting(handle, "nonsense", 1), "nonsense"); \
        for (size_t i = 0; i < COUNT(strange); i++) \
            BAD(cribo_##noun##_set_setting(handle, some_setting, strange[i]), some_setting); \
        cribo_##noun##_free(handle); \
    }

READ(clusterer, clusterer_of, "clusters")
READ(loss, loss_of, "prototypes")
READ(memory_bank, bank_of, "bank_images")
READ(model, model_of, "depth")
READ(objective, idle_objective, "tokens")
READ(probe, empty_probe, "neighbours")
READ(trainer, trainer_of, "batch_size")
CHANGE(clusterer, clusterer_of, "position_weight")
CHANGE(loss, loss_of, "centre_momentum")
CHANGE(objective, idle_objective, "learning_rate")
CHANGE(probe, empty_probe, "temperature")
CHANGE(trainer, trainer_of, "learning_rate")

/* --- streams --- */

static int nothing_written(void *user, const void *bytes, size_t count)
{
    (void)user, (void)bytes, (void)count;
    return 0;
}

static int nothing_read(void *user, uint64_t offset, void *bytes, size_t count)
{
    (void)user, (void)offset;
    memset(bytes, 0, count);
    return 0;
}

/* The refusals of a writer by the macro `call_with`, and of a reader. */
#define BAD_WRITER(call_with) \
    do { \
        cribo_writer w = {.struct_size = sizeof w, .write = nothing_written}; \
        BAD(call_with(NULL), "writer"); \
        for (size_t i = 0; i < COUNT(bad_sizes); i++) { \
            w.struct_size = bad_sizes[i]; \
            BAD(call_with(&w), "writer.struct_size"); \
        } \
        w = (cribo_writer){.struct_size = sizeof w}; \
        BAD(call_with(&w), "writer.write"); \
    } while (0)

/* Sizes that no bytes have are found by their content: zeros are no file. */
#define BAD_READER(call_with) \
    do { \
        cribo_reader r = {.struct_size = sizeof r, .read = nothing_read}; \
        BAD(call_with(NULL), "reader"); \
        for (size_t i = 0; i < COUNT(bad_sizes); i++) { \
            r.struct_size = bad_sizes[i]; \
            BAD(call_with(&r), "reader.struct_size"); \
        } \
        r = (cribo_reader){.struct_size = sizeof r}; \
        BAD(call_with(&r), "reader.read"); \
        r.read = nothing_read; \
        const uint64_t strange[] = {0, 1, 8, 100, INT64_MAX, UINT64_MAX}; \
        for (size_t i = 0; i < COUNT(strange); i++) { \
            r.size = strange[i]; \
            BAD(call_with(&r), "reader: "); \
        } \
    } while (0)

static void buffer_create(void)
{
    cribo_buffer *buffer = (cribo_buffer *)&buffer;
    cribo_runtime runtime = training_runtime(1);
    BAD(cribo_buffer_create(NULL, NULL), "out");
    for (size_t i = 0; i < COUNT(bad_sizes); i++) {
        runtime.struct_size = bad_sizes[i];
        BAD(cribo_buffer_create(&buffer, &runtime), "runtime.struct_size");
    }
    runtime = training_runtime(1);
    runtime.allocate = refuse_memory;
    BAD(cribo_buffer_create(&buffer, &runtime), "runtime.allocate");
    runtime.release = never_called;
    BAD(cribo_buffer_create(&buffer, &runtime), "memory");
    ck_assert_ptr_null(buffer);
}

static cribo_buffer *buffer_of(void)
{
    cribo_buffer *buffer;
    OK(cribo_buffer_create(&buffer, NULL));
    return buffer;
}

static void buffer_free(void)
{
    cribo_buffer_free(NULL);
}

static void buffer_writer(void)
{
    cribo_buffer *buffer = buffer_of();
    cribo_writer writer = {.struct_size = sizeof writer};
    BAD(cribo_buffer_writer(NULL, &writer), "buffer");
    BAD(cribo_buffer_writer(buffer, NULL), "writer");
    for (size_t i = 0; i < COUNT(bad_sizes); i++) {
        writer.struct_size = bad_sizes[i];
        BAD(cribo_buffer_writer(buffer, &writer), "writer.struct_size");
    }
    cribo_buffer_free(buffer);
}

static void buffer_bytes(void)
{
    cribo_buffer *buffer = buffer_of();
    const void *bytes;
    size_t count;
    BAD(cribo_buffer_bytes(NULL, &bytes, &count), "buffer");
    BAD(cribo_buffer_bytes(buffer, NULL, &count), "bytes");
    BAD(cribo_buffer_bytes(buffer, &bytes, NULL), "count");
    OK(cribo_buffer_bytes(buffer, &bytes, &count));
    ck_assert_uint_eq(count, 0);
    cribo_buffer_free(buffer);
}

static void buffer_clear(void)
{
    BAD(cribo_buffer_clear(NULL), "buffer");
}

static void memory_reader(void)
{
    cribo_reader reader = {.struct_size = sizeof reader};
    BAD(cribo_memory_reader(NULL, 1, &reader), "bytes");
    BAD(cribo_memory_reader("x", 1, NULL), "reader");
    OK(cribo_memory_reader(NULL, 0, &reader));
    for (size_t i = 0; i < COUNT(bad_sizes); i++) {
        reader.struct_size = bad_sizes[i];
        BAD(cribo_memory_reader("x", 1, &reader), "reader.struct_size");
    }
}

static const cribo_writer sound_writer = {.struct_size = sizeof sound_writer, .write = nothing_written};
static const cribo_reader sound_reader = {.struct_size = sizeof sound_reader, .read = nothing_read};

static void model_save_to(void)
{
    cribo_model *model = model_of();
    const cribo_save_parts nothing = {.struct_size = sizeof nothing};
#define CALL(w) cribo_model_save_to(model, w, NULL, NULL)
    BAD_WRITER(CALL);
#undef CALL
    BAD(cribo_model_save_to(NULL, &sound_writer, NULL, NULL), "model");
    BAD(cribo_model_save_to(model, &sound_writer, "\xff", NULL), "UTF-8");
    BAD(cribo_model_save_to(model, &sound_writer, NULL, &nothing), "parts.backbone");
    cribo_model_free(model);
}

static void model_load_from(void)
{
    cribo_model *model = model_of();
    const cribo_load_parts nothing = {.struct_size = sizeof nothing};
#define CALL(r) cribo_model_load_from(model, r, NULL, NULL)
    BAD_READER(CALL);
#undef CALL
    BAD(cribo_model_load_from(NULL, &sound_reader, NULL, NULL), "model");
    BAD(cribo_model_load_from(model, &sound_reader, NULL, &nothing), "parts.backbone");
    cribo_model_free(model);
}

static void model_open_from(void)
{
    cribo_model *made = (cribo_model *)&made;
    const cribo_open_options options = {.struct_size = sizeof options, .heads = 2};
#define CALL(r) cribo_model_open_from(&made, r, NULL, NULL)
    BAD_READER(CALL);
#undef CALL
    BAD(cribo_model_open_from(NULL, &sound_reader, NULL, NULL), "out");
    BAD(cribo_model_open_from(&made, &sound_reader, &options, NULL), "options.heads");
    ck_assert_ptr_null(made);
}

static void model_config_from_reader(void)
{
    cribo_model_config config = {.struct_size = sizeof config};
#define CALL(r) cribo_model_config_from_reader(r, NULL, &config)
    BAD_READER(CALL);
#undef CALL
    BAD(cribo_model_config_from_reader(&sound_reader, NULL, NULL), "config");
    config.struct_size = 8;
    BAD(cribo_model_config_from_reader(&sound_reader, NULL, &config), "config.struct_size");
}

static void model_adopt_from(void)
{
    cribo_model *model = model_of();
    const cribo_open_options options = {.struct_size = sizeof options, .heads = 2};
#define CALL(r) cribo_model_adopt_from(model, r, NULL)
    BAD_READER(CALL);
#undef CALL
    BAD(cribo_model_adopt_from(NULL, &sound_reader, NULL), "model");
    BAD(cribo_model_adopt_from(model, &sound_reader, &options), "options.heads");
    cribo_model_free(model);
}

static void model_export_to(void)
{
    cribo_model *model = model_of();
#define CALL(w) cribo_model_export_to(model, w, "timm", NULL)
    BAD_WRITER(CALL);
#undef CALL
    BAD(cribo_model_export_to(NULL, &sound_writer, "timm", NULL), "model");
    BAD(cribo_model_export_to(model, &sound_writer, NULL, NULL), "layout");
    BAD(cribo_model_export_to(model, &sound_writer, "keras", NULL), "layout");
    cribo_model_free(model);
}

static void weights_describe_from(void)
{
    cribo_weights_info info = {.struct_size = sizeof info};
#define CALL(r) cribo_weights_describe_from(r, NULL, &info)
    BAD_READER(CALL);
#undef CALL
    BAD(cribo_weights_describe_from(&sound_reader, NULL, NULL), "info");
    info.struct_size = 8;
    BAD(cribo_weights_describe_from(&sound_reader, NULL, &info), "info.struct_size");
}

static void memory_bank_save_to(void)
{
    cribo_memory_bank *bank = bank_of();
#define CALL(w) cribo_memory_bank_save_to(bank, w, NULL)
    BAD_WRITER(CALL);
#undef CALL
    BAD(cribo_memory_bank_save_to(NULL, &sound_writer, NULL), "bank");
    BAD(cribo_memory_bank_save_to(bank, &sound_writer, "\xff"), "UTF-8");
    cribo_memory_bank_free(bank);
}

static void memory_bank_load_from(void)
{
    cribo_memory_bank *bank = bank_of();
#define CALL(r) cribo_memory_bank_load_from(bank, r, NULL)
    BAD_READER(CALL);
#undef CALL
    BAD(cribo_memory_bank_load_from(NULL, &sound_reader, NULL), "bank");
    cribo_memory_bank_free(bank);
}

static void trainer_save_to(void)
{
    cribo_trainer *trainer = trainer_of();
    const cribo_save_options options = {.struct_size = sizeof options, .level = 10};
#define CALL(w) cribo_trainer_save_to(trainer, w, NULL)
    BAD_WRITER(CALL);
#undef CALL
    BAD(cribo_trainer_save_to(NULL, &sound_writer, NULL), "trainer");
    BAD(cribo_trainer_save_to(trainer, &sound_writer, &options), "options.level");
    cribo_trainer_free(trainer);
}

static void trainer_save_weights_to(void)
{
    cribo_trainer *trainer = trainer_of();
#define CALL(w) cribo_trainer_save_weights_to(trainer, w)
    BAD_WRITER(CALL);
#undef CALL
    BAD(cribo_trainer_save_weights_to(NULL, &sound_writer), "trainer");
    cribo_trainer_free(trainer);
}

static void trainer_load_from(void)
{
    cribo_trainer *trainer = trainer_of();
    const cribo_load_options options = {.struct_size = sizeof options, .overrides = "nonsense"};
#define CALL(r) cribo_trainer_load_from(trainer, r, NULL)
    BAD_READER(CALL);
#undef CALL
    BAD(cribo_trainer_load_from(NULL, &sound_reader, NULL), "trainer");
    BAD(cribo_trainer_load_from(trainer, &sound_reader, &options), "nonsense");
    cribo_trainer_free(trainer);
}

static void snapshot_save_to(void)
{
    cribo_snapshot *snapshot = snapshot_of();
    const cribo_save_options options = {.struct_size = sizeof options, .level = 10};
#define CALL(w) cribo_snapshot_save_to(snapshot, w, NULL)
    BAD_WRITER(CALL);
#undef CALL
    BAD(cribo_snapshot_save_to(NULL, &sound_writer, NULL), "snapshot");
    BAD(cribo_snapshot_save_to(snapshot, &sound_writer, &options), "options.level");
    cribo_snapshot_free(snapshot);
}

static void snapshot_save_weights_to(void)
{
    cribo_snapshot *snapshot = snapshot_of();
#define CALL(w) cribo_snapshot_save_weights_to(snapshot, w)
    BAD_WRITER(CALL);
#undef CALL
    BAD(cribo_snapshot_save_weights_to(NULL, &sound_writer), "snapshot");
    cribo_snapshot_free(snapshot);
}

static void objective_save_to(void)
{
    cribo_objective *objective = idle_objective();
    const cribo_save_options options = {.struct_size = sizeof options, .level = 10};
#define CALL(w) cribo_objective_save_to(objective, w, NULL)
    BAD_WRITER(CALL);
#undef CALL
    BAD(cribo_objective_save_to(NULL, &sound_writer, NULL), "objective");
    BAD(cribo_objective_save_to(objective, &sound_writer, &options), "options.level");
    cribo_objective_free(objective);
}

static void objective_load_from(void)
{
    cribo_objective *objective = idle_objective();
    const cribo_load_options options = {.struct_size = sizeof options, .overrides = "nonsense"};
#define CALL(r) cribo_objective_load_from(objective, r, NULL)
    BAD_READER(CALL);
#undef CALL
    BAD(cribo_objective_load_from(NULL, &sound_reader, NULL), "objective");
    BAD(cribo_objective_load_from(objective, &sound_reader, &options), "nonsense");
    cribo_objective_free(objective);
}

static void checkpoint_config_from(void)
{
    cribo_trainer_config config = {.struct_size = sizeof config};
#define CALL(r) cribo_checkpoint_config_from(r, &config)
    BAD_READER(CALL);
#undef CALL
    BAD(cribo_checkpoint_config_from(&sound_reader, NULL), "out");
}

static void checkpoint_metadata_from(void)
{
    char text[8];
#define CALL(r) cribo_checkpoint_metadata_from(r, "key", text, sizeof text)
    BAD_READER(CALL);
#undef CALL
    BAD(cribo_checkpoint_metadata_from(&sound_reader, NULL, text, sizeof text), "key");
    BAD(cribo_checkpoint_metadata_from(&sound_reader, "key", NULL, 8), "buffer");
}

/* --- sizes, and arrays with capacities --- */

#define SIZES(noun, make) \
    static void noun##_sizes(void) \
    { \
        cribo_##noun *handle = make(); \
        cribo_sizes sizes = {.struct_size = sizeof sizes}; \
        BAD(cribo_##noun##_sizes(NULL, &sizes), "is NULL"); \
        BAD(cribo_##noun##_sizes(handle, NULL), "sizes"); \
        for (size_t i = 0; i < COUNT(bad_sizes); i++) { \
            sizes.struct_size = bad_sizes[i]; \
            BAD(cribo_##noun##_sizes(handle, &sizes), "sizes.struct_size"); \
        } \
        cribo_##noun##_free(handle); \
    }
#define CENTRES(noun, make) \
    static void noun##_read_centres(void) \
    { \
        const int64_t counts[] = {0, -1, 1000, INT64_MIN, INT64_MAX}; \
        cribo_##noun *handle = make(); \
        float centre[64]; \
        BAD(cribo_##noun##_read_centres(NULL, centre, 4, NULL, 0), #noun); \
        for (size_t i = 0; i < COUNT(counts); i++) { \
            BAD(cribo_##noun##_read_centres(handle, centre, counts[i], NULL, 0), "count"); \
            BAD(cribo_##noun##_read_centres(handle, NULL, 0, centre, counts[i]), "object_count"); \
        } \
        OK(cribo_##noun##_read_centres(handle, NULL, -5, NULL, -5)); \
        cribo_##noun##_free(handle); \
    }

SIZES(clusterer, clusterer_of)
SIZES(loss, loss_of)
SIZES(memory_bank, bank_of)
SIZES(model, model_of)
SIZES(objective, idle_objective)
SIZES(trainer, trainer_of)
CENTRES(loss, loss_of)
CENTRES(objective, idle_objective)
CENTRES(trainer, trainer_of)

static void memory_bank_copy(void)
{
    cribo_memory_bank *bank = bank_of();
    cribo_bank_arrays arrays = {.struct_size = sizeof arrays};
    int64_t ids[4];
    float view[4 * WIDTH];
    BAD(cribo_memory_bank_copy(NULL, &arrays), "bank");
    BAD(cribo_memory_bank_copy(bank, NULL), "arrays");
    for (size_t i = 0; i < COUNT(bad_sizes); i++) {
        arrays.struct_size = bad_sizes[i];
        BAD(cribo_memory_bank_copy(bank, &arrays), "arrays.struct_size");
    }
    arrays = (cribo_bank_arrays){.struct_size = sizeof arrays, .ids = ids, .image_capacity = -1};
    BAD(cribo_memory_bank_copy(bank, &arrays), "arrays.image_capacity");
    arrays = (cribo_bank_arrays){.struct_size = sizeof arrays, .view2 = view, .object_capacity = INT64_MIN};
    BAD(cribo_memory_bank_copy(bank, &arrays), "arrays.object_capacity");
    cribo_memory_bank_free(bank);
}

static void model_features_within(void)
{
    cribo_model *model = model_of();
    cribo_model_config c = {.struct_size = sizeof c};
    cribo_feature_arrays arrays = {.struct_size = sizeof arrays};
    OK(cribo_model_get_config(model, &c));
    int64_t side = c.patch_size;
    float *pixels = calloc((size_t)(3 * side * side), sizeof *pixels);
    BAD(cribo_model_features_within(NULL, 1, side, side, pixels, &arrays), "model");
    BAD(cribo_model_features_within(model, 1, side, side, pixels, NULL), "arrays");
    BAD(cribo_model_features_within(model, 1, side, side, NULL, &arrays), "pixels");
    BAD(cribo_model_features_within(model, 0, side, side, pixels, &arrays), "images");
    BAD(cribo_model_features_within(model, 1, side + 1, side, pixels, &arrays), "height");
    BAD(cribo_model_features_within(model, 1, side, 0, pixels, &arrays), "width");
    for (size_t i = 0; i < COUNT(bad_sizes); i++) {
        arrays.struct_size = bad_sizes[i];
        BAD(cribo_model_features_within(model, 1, side, side, pixels, &arrays), "arrays.struct_size");
    }
    arrays = (cribo_feature_arrays){.struct_size = sizeof arrays, .cls = pixels, .cls_capacity = 0};
    BAD(cribo_model_features_within(model, 1, side, side, pixels, &arrays), "arrays.cls_capacity");
    free(pixels);
    cribo_model_free(model);
}

/* --- the table --- */

typedef struct entry {
    const char *name;
    void (*nonsense)(void);
} entry;

#define ENTRY(name) {"cribo_" #name, name}
#define CONFIG_ENTRIES(noun) \
    ENTRY(noun##_config_init), ENTRY(noun##_config_set), ENTRY(noun##_config_setting), \
        ENTRY(noun##_get_config), ENTRY(noun##_get_setting)

static const entry table[] = {
    ENTRY(version),
    ENTRY(version_number),
    ENTRY(build_info),
    ENTRY(status_name),
    ENTRY(last_errno),
    ENTRY(last_error),
    ENTRY(default_threads),
    ENTRY(set_default_threads),
    ENTRY(memory_available),
    ENTRY(runtime_init),
    ENTRY(setting_choice),
    ENTRY(random_uniform),
    ENTRY(buffer_create),
    ENTRY(buffer_free),
    ENTRY(buffer_writer),
    ENTRY(buffer_bytes),
    ENTRY(buffer_clear),
    ENTRY(memory_reader),
    ENTRY(model_save_to),
    ENTRY(model_load_from),
    ENTRY(model_open_from),
    ENTRY(model_config_from_reader),
    ENTRY(model_adopt_from),
    ENTRY(model_export_to),
    ENTRY(weights_describe_from),
    ENTRY(memory_bank_save_to),
    ENTRY(memory_bank_load_from),
    ENTRY(trainer_save_to),
    ENTRY(trainer_save_weights_to),
    ENTRY(trainer_load_from),
    ENTRY(snapshot_save_to),
    ENTRY(snapshot_save_weights_to),
    ENTRY(objective_save_to),
    ENTRY(objective_load_from),
    ENTRY(checkpoint_config_from),
    ENTRY(checkpoint_metadata_from),
    CONFIG_ENTRIES(clusterer),
    ENTRY(clusterer_sizes),
    ENTRY(clusterer_create),
    ENTRY(clusterer_memory),
    ENTRY(clusterer_free),
    ENTRY(clusterer_set_setting),
    ENTRY(clusterer_run),
    CONFIG_ENTRIES(probe),
    ENTRY(probe_create),
    ENTRY(probe_free),
    ENTRY(probe_set_setting),
    ENTRY(probe_add),
    ENTRY(probe_add_chosen),
    ENTRY(rare_patches),
    ENTRY(probe_count),
    ENTRY(probe_search),
    ENTRY(probe_fit),
    ENTRY(probe_fit_report),
    ENTRY(probe_predict),
    ENTRY(confusion_add),
    ENTRY(confusion_scores),
    ENTRY(linear_layer_step),
    ENTRY(linear_layer_predict),
    ENTRY(assign),
    ENTRY(confusion_match),
    ENTRY(k_means),
    ENTRY(nearest_centres),
    ENTRY(view_retrieval),
    ENTRY(principal_components),
    CONFIG_ENTRIES(loss),
    ENTRY(loss_sizes),
    ENTRY(loss_read_centres),
    ENTRY(loss_create),
    ENTRY(loss_free),
    ENTRY(loss_set_setting),
    ENTRY(loss_compute),
    ENTRY(loss_update_centres),
    ENTRY(loss_get_centres),
    ENTRY(loss_set_centres),
    CONFIG_ENTRIES(memory_bank),
    ENTRY(memory_bank_sizes),
    ENTRY(memory_bank_copy),
    ENTRY(thread_group_create),
    ENTRY(thread_group_communicator),
    {"cribo_thread_group_free", thread_group_communicator},
    ENTRY(memory_bank_create),
    ENTRY(memory_bank_memory),
    ENTRY(memory_bank_free),
    ENTRY(memory_bank_query),
    ENTRY(memory_bank_push),
    ENTRY(memory_bank_count),
    ENTRY(memory_bank_export),
    ENTRY(memory_bank_import),
    ENTRY(memory_bank_save),
    ENTRY(memory_bank_load),
    CONFIG_ENTRIES(model),
    ENTRY(model_sizes),
    ENTRY(model_features_within),
    ENTRY(model_create),
    ENTRY(model_free),
    ENTRY(model_memory),
    ENTRY(model_share),
    ENTRY(model_pack),
    ENTRY(model_parameter_count),
    ENTRY(model_parameter),
    ENTRY(model_find_parameter),
    ENTRY(model_read_parameter),
    ENTRY(model_write_parameter),
    ENTRY(model_features),
    ENTRY(model_save),
    ENTRY(model_save_partial),
    ENTRY(model_load),
    ENTRY(model_load_partial),
    ENTRY(model_open),
    ENTRY(model_config_from_file),
    ENTRY(model_adopt),
    ENTRY(model_export),
    ENTRY(weights_layout),
    ENTRY(weights_describe),
    CONFIG_ENTRIES(objective),
    ENTRY(objective_sizes),
    ENTRY(objective_read_centres),
    ENTRY(crop_positions),
    ENTRY(objective_config_preset),
    ENTRY(objective_create),
    ENTRY(objective_create_distributed),
    ENTRY(objective_memory),
    ENTRY(objective_free),
    ENTRY(objective_set_setting),
    ENTRY(objective_schedule),
    ENTRY(objective_teach),
    ENTRY(objective_learn),
    ENTRY(objective_update),
    ENTRY(objective_losses),
    ENTRY(objective_forget),
    ENTRY(objective_targets),
    ENTRY(objective_parameter_count),
    ENTRY(objective_parameter),
    ENTRY(objective_find_parameter),
    ENTRY(objective_read_parameter),
    ENTRY(objective_write_parameter),
    ENTRY(objective_gradient),
    ENTRY(objective_set_gradient),
    ENTRY(objective_add_gradient),
    ENTRY(objective_moments),
    ENTRY(objective_get_centres),
    ENTRY(objective_set_centres),
    ENTRY(objective_memory_bank),
    ENTRY(objective_step_count),
    ENTRY(objective_save),
    ENTRY(objective_load),
    CONFIG_ENTRIES(trainer),
    ENTRY(trainer_sizes),
    ENTRY(trainer_read_centres),
    ENTRY(trainer_config_preset),
    ENTRY(trainer_create),
    ENTRY(trainer_memory),
    ENTRY(trainer_create_distributed),
    ENTRY(trainer_free),
    ENTRY(trainer_set_setting),
    ENTRY(trainer_step),
    ENTRY(trainer_teach),
    ENTRY(trainer_learn),
    ENTRY(trainer_update),
    ENTRY(trainer_losses),
    ENTRY(trainer_forget),
    ENTRY(trainer_targets),
    ENTRY(trainer_gradient),
    ENTRY(trainer_set_gradient),
    ENTRY(trainer_add_gradient),
    ENTRY(trainer_student),
    ENTRY(trainer_teacher),
    ENTRY(trainer_average),
    ENTRY(trainer_step_count),
    ENTRY(trainer_moments),
    ENTRY(trainer_get_centres),
    ENTRY(trainer_set_centres),
    ENTRY(trainer_memory_bank),
    ENTRY(trainer_save_weights),
    ENTRY(trainer_save_weights_with),
    ENTRY(trainer_save),
    ENTRY(snapshot_create),
    ENTRY(snapshot_free),
    ENTRY(snapshot_save),
    ENTRY(snapshot_save_weights),
    ENTRY(snapshot_save_weights_with),
    ENTRY(trainer_load),
    ENTRY(checkpoint_config),
    ENTRY(checkpoint_metadata),
};

START_TEST(test_nonsense_is_refused_by_name)
{
    table[_i].nonsense();
}
END_TEST

static bool in_table(const char *name, size_t length)
{
    for (size_t i = 0; i < COUNT(table); i++)
        if (strlen(table[i].name) == length && strncmp(table[i].name, name, length) == 0) return true;
    return false;
}

static void blank_comments(char *text)
{
    for (char *from = text; (from = strstr(from, "/*"));) {
        char *to = strstr(from, "*/");
        if (!to) return;
        memset(from, ' ', (size_t)(to + 2 - from));
    }
}

/* The functions that a header declares: after CRIBO_API, the word before the first bracket. */
static size_t check_header(const char *path)
{
    char *text = read_bytes(path, NULL);
    size_t found = 0;
    blank_comments(text);
    for (char *at = text; (at = strstr(at, "CRIBO_API")); at++) {
        char *end = at + strcspn(at, "(;\n\\\""), *bracket = at + strcspn(at, "(;");
        if (strncmp(at, "CRIBO_API\n", 10) == 0 || end == at + 10 || *bracket != '(')
            continue; /* its definition */
        if (at > text && strncmp(at - 8, "#define ", 8) == 0) continue;
        char *name = bracket;
        while (name > at && (isalnum((unsigned char)name[-1]) || name[-1] == '_')) name--;
        ck_assert_msg(in_table(name, (size_t)(bracket - name)), "%s: %.*s has no nonsense here", path,
            (int)(bracket - name), name);
        found++;
    }
    free(text);
    return found;
}

START_TEST(test_nonsense_misses_no_function)
{
    char path[1024];
    size_t found = 0;
    DIR *folder = opendir(CRIBO_SOURCE "/include/cribo");
    ck_assert_ptr_nonnull(folder);
    for (struct dirent *file; (file = readdir(folder));) {
        size_t length = strlen(file->d_name);
        if (length < 3 || strcmp(file->d_name + length - 2, ".h") != 0) continue;
        snprintf(path, sizeof path, "%s/include/cribo/%s", CRIBO_SOURCE, file->d_name);
        found += check_header(path);
    }
    closedir(folder);
    ck_assert_uint_eq(found, COUNT(table));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("nonsense");
    TCase *tests = tcase_create("nonsense");
    tcase_set_timeout(tests, 120);
    tcase_add_checked_fixture(tests, scratch_begin, scratch_end);
    tcase_add_loop_test(tests, test_nonsense_is_refused_by_name, 0, (int)COUNT(table));
    tcase_add_test(tests, test_nonsense_misses_no_function);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
