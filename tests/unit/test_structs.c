/*
 * Structs with a struct_size, through the functions that take them: as a caller has them who was compiled
 * with the first release, with this one, and with a later one. Configs are tested with their tables
 * (test_config.c). A last test reads the headers, and finds every such struct in the table.
 */
#include "base/structs.h"
#include "support/objective.h"
#include "support/scratch.h"
#include "support/suite.h"
#include "support/training.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- the copying itself, on a struct that has grown --- */

typedef struct grown {
    size_t struct_size;
    int64_t first;
    int64_t added;
} grown;

enum { FIRST_SIZE = offsetof(grown, added) };

static cribo_status import(grown *full, const void *given)
{
    return cb_struct_import("given", full, FIRST_SIZE, sizeof *full, given);
}

START_TEST(test_structs_older_caller_lacks_what_was_added)
{
    int64_t given[4] = {FIRST_SIZE, 5, 77, 78};
    grown full = {.first = 1, .added = 2};
    OK(import(&full, given));
    ck_assert(full.struct_size == sizeof full && full.first == 5 && full.added == 2);

    full.first = 6, full.added = 9;
    cb_struct_export(given, &full, sizeof full);
    ck_assert(given[0] == FIRST_SIZE && given[1] == 6 && given[2] == 77 && given[3] == 78);
}
END_TEST

START_TEST(test_structs_newer_caller_must_leave_the_unknown_zero)
{
    int64_t given[5] = {4 * sizeof(int64_t), 5, 6, 0, 79};
    grown full = {0};
    OK(import(&full, given));
    ck_assert(full.struct_size == sizeof full && full.first == 5 && full.added == 6);
    given[3] = 1;
    REFUSED(import(&full, given), CRIBO_INVALID_ARGUMENT, "given: byte 24 is set");

    full.first = 7;
    cb_struct_export(given, &full, sizeof full);
    ck_assert(given[0] == 32 && given[1] == 7 && given[2] == 6 && given[3] == 0 && given[4] == 79);
}
END_TEST

START_TEST(test_structs_size_that_never_was_is_refused)
{
    const size_t sizes[] = {0, 1, 8, FIRST_SIZE - 8, FIRST_SIZE + 1, sizeof(grown) + 4, 4104, SIZE_MAX};
    grown full = {.first = 1, .added = 2};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        grown given = {sizes[i], 3, 4};
        REFUSED(import(&full, &given), CRIBO_INVALID_ARGUMENT, "given.struct_size");
    }
    REFUSED(import(&full, NULL), CRIBO_INVALID_ARGUMENT, "given is NULL");
    ck_assert(full.first == 1 && full.added == 2);
}
END_TEST

/* --- the interface --- */

enum { B = 2, N = 9, D = 16 };

/* The objects for the calls below; made for each test. */
static struct {
    cribo_trainer_config config;
    cribo_trainer *trainer;
    cribo_clusterer *clusterer;
    cribo_loss *loss;
    cribo_probe *probe;
    cribo_objective *objective;
    training_batch batch;
    token_batch tokens;
} things;

static const float numbers[B * 2 * N * D];
static const int64_t counts[B] = {1, 1};

static void begin(void)
{
    cribo_clusterer_config clusterer;
    cribo_loss_config loss;
    cribo_probe_config probe;
    scratch_begin();
    things.config = training_config();
    things.trainer = training_begin(&things.config, 1);
    things.batch = training_batch_of(&things.config, B, 1);
    OK(cribo_clusterer_config_init(&clusterer, sizeof clusterer));
    clusterer.clusters = 3;
    OK(cribo_clusterer_create(&things.clusterer, &clusterer, NULL, B, N, D));
    OK(cribo_loss_config_init(&loss, sizeof loss));
    loss.prototypes = loss.object_prototypes = 4;
    OK(cribo_loss_create(&things.loss, &loss, NULL));
    OK(cribo_probe_config_init(&probe, sizeof probe));
    probe.width = D;
    probe.classes = 3;
    OK(cribo_probe_create(&things.probe, &probe, NULL));
    cribo_objective_config objective = objective_config();
    things.objective = objective_begin(&objective, 1);
    things.tokens = token_batch_of(&objective, B, 1);
    OK(cribo_trainer_teach(things.trainer, &things.batch.batch)); /* something to ask for */
}

static void *saved_bytes; /* read by a reader */

static void end(void)
{
    free(saved_bytes);
    saved_bytes = NULL;
    cribo_objective_free(things.objective);
    token_batch_free(&things.tokens);
    cribo_probe_free(things.probe);
    cribo_loss_free(things.loss);
    cribo_clusterer_free(things.clusterer);
    training_batch_free(&things.batch);
    cribo_trainer_free(things.trainer);
    scratch_end();
}

/* Room for a struct and what a later version may append. Every struct of the interface is smaller. */
typedef union room {
    size_t struct_size;
    unsigned char bytes[1024];
    cribo_runtime runtime;
    cribo_writer writer;
    cribo_reader reader;
    cribo_sizes sizes;
    cribo_bank_arrays bank_arrays;
    cribo_feature_arrays feature_arrays;
    cribo_cluster_input cluster_input;
    cribo_cluster_output cluster_output;
    cribo_loss_input loss_input;
    cribo_loss_output loss_output;
    cribo_object_batch object_batch;
    cribo_match match;
    cribo_communicator communicator;
    cribo_parameter parameter;
    cribo_load_parts load_parts;
    cribo_open_options open_options;
    cribo_weights_info weights_info;
    cribo_save_parts save_parts;
    cribo_batch batch;
    cribo_report report;
    cribo_targets targets;
    cribo_step_values step_values;
    cribo_objective_batch objective_batch;
    cribo_objective_chunk objective_chunk;
    cribo_save_options save_options;
    cribo_load_options load_options;
    cribo_patch_maps patch_maps;
    cribo_linear_layer linear_layer;
    cribo_scores scores;
    cribo_fit_report fit_report;
} room;

/* Per struct: _fill sets fields so that the call is sound, _call makes it. */

static void nothing_fill(room *r)
{
    (void)r;
}

static cribo_status runtime_call(room *r)
{
    cribo_loss_config config;
    cribo_loss *loss = NULL;
    OK(cribo_loss_config_init(&config, sizeof config));
    config.prototypes = config.object_prototypes = 4;
    cribo_status status = cribo_loss_create(&loss, &config, &r->runtime);
    cribo_loss_free(loss);
    return status;
}

static void cluster_input_fill(room *r)
{
    r->cluster_input.images = B;
    r->cluster_input.tokens = r->cluster_input.positions = numbers;
}

static cribo_status cluster_input_call(room *r)
{
    cribo_cluster_output output = {.struct_size = sizeof output};
    return cribo_clusterer_run(things.clusterer, &r->cluster_input, &output);
}

static cribo_status cluster_output_call(room *r)
{
    room input = {.struct_size = sizeof input.cluster_input};
    cluster_input_fill(&input);
    return cribo_clusterer_run(things.clusterer, &input.cluster_input, &r->cluster_output);
}

static void loss_input_fill(room *r)
{
    cribo_loss_input *i = &r->loss_input;
    i->images = B;
    i->student_cls = i->teacher_cls = numbers;
    i->teacher_temperature = i->object_teacher_temperature = 0.1;
}

static cribo_status loss_input_call(room *r)
{
    cribo_loss_output output = {.struct_size = sizeof output};
    cribo_status status = cribo_loss_compute(things.loss, &r->loss_input, &output);
    ck_assert_int_eq(cribo_loss_update_centres(things.loss, &r->loss_input), status);
    return status;
}

static cribo_status loss_output_call(room *r)
{
    room input = {.struct_size = sizeof input.loss_input};
    loss_input_fill(&input);
    return cribo_loss_compute(things.loss, &input.loss_input, &r->loss_output);
}

static void object_batch_fill(room *r)
{
    r->object_batch.images = B;
    r->object_batch.objects_per_image = counts;
    r->object_batch.view1 = r->object_batch.view2 = numbers;
}

static cribo_status object_batch_call(room *r)
{
    cribo_memory_bank *bank = cribo_trainer_memory_bank(things.trainer);
    OK(cribo_trainer_forget(things.trainer)); /* the bank stays as it is while a step is under way */
    cribo_match match = {.struct_size = sizeof match};
    cribo_status status = cribo_memory_bank_query(bank, &r->object_batch, &match);
    ck_assert_int_eq(cribo_memory_bank_push(bank, &r->object_batch), status);
    ck_assert_int_eq(cribo_memory_bank_import(bank, &r->object_batch), status);
    return status;
}

static cribo_status match_call(room *r)
{
    room objects = {.struct_size = sizeof objects.object_batch};
    object_batch_fill(&objects);
    return cribo_memory_bank_query(
        cribo_trainer_memory_bank(things.trainer), &objects.object_batch, &r->match);
}

/* A communicator of one rank, whose functions are never called. */
static int no_send(void *context, int64_t peer, const void *data, size_t bytes, int64_t *request)
{
    (void)context, (void)peer, (void)data, (void)bytes, (void)request;
    return 1;
}

static int no_receive(void *context, int64_t peer, void *data, size_t bytes, int64_t *request)
{
    (void)context, (void)peer, (void)data, (void)bytes, (void)request;
    return 1;
}

static int no_test(void *context, int64_t request)
{
    (void)context, (void)request;
    return -1;
}

static void no_cancel(void *context, int64_t request)
{
    (void)context, (void)request;
}

static void communicator_fill(room *r)
{
    r->communicator.size = 1;
    r->communicator.send = no_send;
    r->communicator.receive = no_receive;
    r->communicator.test = no_test;
    r->communicator.cancel = no_cancel;
}

static cribo_status communicator_call(room *r)
{
    cribo_trainer_config config = training_config();
    cribo_trainer *trainer;
    cribo_objective_config tokens = objective_config();
    cribo_objective *objective;
    cribo_status status = cribo_trainer_create_distributed(&trainer, &config, NULL, &r->communicator);
    ck_assert_int_eq(cribo_objective_create_distributed(&objective, &tokens, NULL, &r->communicator), status);
    cribo_objective_free(objective);
    cribo_trainer_free(trainer);
    return status;
}

static cribo_status parameter_call(room *r)
{
    cribo_model *model = cribo_trainer_student(things.trainer);
    cribo_status status = cribo_model_parameter(model, 0, &r->parameter);
    if (status == CRIBO_OK) ck_assert_str_eq(r->parameter.name, "backbone.cls_token");
    ck_assert_int_eq(cribo_model_find_parameter(model, "backbone.norm.bias", &r->parameter), status);
    return status;
}

static void load_parts_fill(room *r)
{
    r->load_parts.backbone = 1;
}

static cribo_status load_parts_call(room *r)
{
    cribo_model *model = cribo_trainer_student(things.trainer);
    OK(cribo_trainer_forget(things.trainer));
    OK(cribo_model_save(model, scratch_path("weights"), NULL));
    return cribo_model_load_partial(model, scratch_path("weights"), NULL, &r->load_parts);
}

static cribo_status open_options_call(room *r)
{
    cribo_model *model;
    OK(cribo_trainer_forget(things.trainer));
    OK(cribo_model_save(cribo_trainer_student(things.trainer), scratch_path("opened"), NULL));
    cribo_status status = cribo_model_open(&model, scratch_path("opened"), &r->open_options, NULL);
    cribo_model_free(model);
    return status;
}

static cribo_status weights_info_call(room *r)
{
    OK(cribo_trainer_forget(things.trainer));
    OK(cribo_model_save(cribo_trainer_student(things.trainer), scratch_path("looked at"), NULL));
    return cribo_weights_describe(scratch_path("looked at"), NULL, &r->weights_info);
}

static void save_parts_fill(room *r)
{
    r->save_parts.heads = 1;
}

static cribo_status save_parts_call(room *r)
{
    return cribo_model_save_partial(
        cribo_trainer_student(things.trainer), scratch_path("weights"), NULL, &r->save_parts);
}

static void batch_fill(room *r)
{
    size_t size = r->struct_size;
    r->batch = things.batch.batch;
    r->struct_size = size;
}

static cribo_status batch_call(room *r)
{
    cribo_status status = cribo_trainer_teach(things.trainer, &r->batch);
    if (status == CRIBO_OK) OK(cribo_trainer_learn(things.trainer, &r->batch));
    ck_assert_int_eq(cribo_trainer_step(things.trainer, &r->batch, NULL), status);
    return status;
}

static cribo_status report_call(room *r)
{
    OK(cribo_trainer_teach(things.trainer, &things.batch.batch));
    OK(cribo_trainer_learn(things.trainer, &things.batch.batch));
    cribo_status status = cribo_trainer_update(things.trainer, &r->report);
    if (status == CRIBO_OK) ck_assert(r->report.images == B && r->report.loss > 0);
    memset(&r->report.images, 0, sizeof r->report.images);
    ck_assert_int_eq(cribo_trainer_step(things.trainer, &things.batch.batch, &r->report), status);
    if (status == CRIBO_OK) ck_assert(r->report.images == B && r->report.loss > 0);
    return status;
}

static cribo_status targets_call(room *r)
{
    return cribo_trainer_targets(things.trainer, &r->targets);
}

static cribo_status save_options_call(room *r)
{
    OK(cribo_trainer_step(things.trainer, &things.batch.batch, NULL));
    return cribo_trainer_save(things.trainer, scratch_path("checkpoint"), &r->save_options);
}

static int write_nowhere(void *user, const void *bytes, size_t count)
{
    (void)user, (void)bytes, (void)count;
    return 0;
}

static int read_saved(void *user, uint64_t offset, void *bytes, size_t count)
{
    memcpy(bytes, (const char *)user + offset, count);
    return 0;
}

static void writer_fill(room *r)
{
    r->writer.write = write_nowhere;
}

static cribo_status writer_call(room *r)
{
    return cribo_trainer_save_weights_to(things.trainer, &r->writer);
}

static void reader_fill(room *r)
{
    size_t count;
    OK(cribo_trainer_save_weights(things.trainer, scratch_path("weights")));
    free(saved_bytes);
    saved_bytes = read_bytes(scratch_path("weights"), &count);
    r->reader.read = read_saved;
    r->reader.size = count;
    r->reader.user = saved_bytes;
}

static cribo_status reader_call(room *r)
{
    cribo_trainer_config config = {.struct_size = sizeof config};
    return cribo_checkpoint_config_from(&r->reader, &config);
}

static cribo_status sizes_call(room *r)
{
    return cribo_trainer_sizes(things.trainer, &r->sizes);
}

static cribo_status bank_arrays_call(room *r)
{
    return cribo_memory_bank_copy(cribo_trainer_memory_bank(things.trainer), &r->bank_arrays);
}

static cribo_status feature_arrays_call(room *r)
{
    return cribo_model_features_within(
        cribo_trainer_teacher(things.trainer), 1, 24, 24, things.batch.pixels, &r->feature_arrays);
}

static cribo_status load_options_call(room *r)
{
    OK(cribo_trainer_step(things.trainer, &things.batch.batch, NULL));
    OK(cribo_trainer_save(things.trainer, scratch_path("checkpoint"), NULL));
    return cribo_trainer_load(things.trainer, scratch_path("checkpoint"), &r->load_options);
}

static void patch_maps_fill(room *r)
{
    r->patch_maps.images = B;
    r->patch_maps.rows = r->patch_maps.columns = r->patch_maps.height = r->patch_maps.width = 1;
    r->patch_maps.features = numbers;
}

static cribo_status patch_maps_call(room *r)
{
    const int32_t labels[B] = {0, 1};
    int32_t found[B];
    OK(cribo_probe_add(things.probe, &(cribo_patch_maps){sizeof(cribo_patch_maps), B, 1, 1, numbers, 1, 1},
        labels)); /* something to find */
    cribo_status status = cribo_probe_add(things.probe, &r->patch_maps, labels);
    ck_assert_int_eq(
        cribo_probe_predict(things.probe, CRIBO_PROBE_NEAREST, &r->patch_maps, NULL, found), status);
    return status;
}

static float layer_weights[4], layer_velocity[4];

static void linear_layer_fill(room *r)
{
    r->linear_layer.width = 1;
    r->linear_layer.classes = 2;
    r->linear_layer.ignore_label = 255;
    r->linear_layer.weights = layer_weights;
    r->linear_layer.velocity = layer_velocity;
}

static cribo_status linear_layer_call(room *r)
{
    const int32_t labels[B] = {0, 1};
    const float one[B] = {1, 2};
    cribo_patch_maps maps = {sizeof maps, B, 1, 1, one, 1, 1};
    return cribo_linear_layer_step(&r->linear_layer, &maps, labels, NULL, NULL);
}

static cribo_status scores_call(room *r)
{
    const int64_t confusion[4] = {3, 1, 0, 4};
    cribo_status status = cribo_confusion_scores(2, confusion, NULL, &r->scores);
    if (status == CRIBO_OK) ck_assert_int_eq(r->scores.counted, 8);
    return status;
}

static cribo_status fit_report_call(room *r)
{
    const int32_t labels[2] = {0, 2};
    const cribo_patch_maps maps = {sizeof maps, 2, 1, 1, numbers, 1, 1};
    OK(cribo_probe_add(things.probe, &maps, labels));
    OK(cribo_probe_fit(things.probe, NULL));
    return cribo_probe_fit_report(things.probe, &r->fit_report);
}

static void step_values_fill(room *r)
{
    r->step_values.teacher_temperature = r->step_values.object_teacher_temperature = 0.1;
}

static cribo_status step_values_call(room *r)
{
    cribo_objective_batch batch = things.tokens.teacher;
    batch.values = &r->step_values;
    return cribo_objective_teach(things.objective, &batch);
}

static void objective_batch_fill(room *r)
{
    size_t size = r->struct_size;
    r->objective_batch = things.tokens.teacher;
    r->struct_size = size;
}

static cribo_status objective_batch_call(room *r)
{
    return cribo_objective_teach(things.objective, &r->objective_batch);
}

static void objective_chunk_fill(room *r)
{
    size_t size = r->struct_size;
    r->objective_chunk = things.tokens.student;
    r->struct_size = size;
}

static cribo_status objective_chunk_call(room *r)
{
    OK(cribo_objective_teach(things.objective, &things.tokens.teacher));
    return cribo_objective_learn(things.objective, &r->objective_chunk);
}

typedef enum role { INPUT, OUTPUT } role;

/*
 * Every sized struct but the configs: who writes its fields, its argument's name, its last field in the first
 * release.
 */
static const struct sized {
    const char *name, *argument;
    size_t size, first_size;
    role role;
    void (*fill)(room *r);
    cribo_status (*call)(room *r);
} table[] = {
#define SIZED(noun, argument, last, role, fill, call) \
    {"cribo_" #noun, argument, sizeof(cribo_##noun), \
        offsetof(cribo_##noun, last) + sizeof((cribo_##noun *)0)->last, role, fill, call}
    SIZED(runtime, "runtime", progress_user, INPUT, nothing_fill, runtime_call),
    SIZED(writer, "writer", user, INPUT, writer_fill, writer_call),
    SIZED(reader, "reader", user, INPUT, reader_fill, reader_call),
    SIZED(sizes, "sizes", target_objects, OUTPUT, nothing_fill, sizes_call),
    SIZED(bank_arrays, "arrays", view2, INPUT, nothing_fill, bank_arrays_call),
    SIZED(feature_arrays, "arrays", attention_capacity, INPUT, nothing_fill, feature_arrays_call),
    SIZED(cluster_input, "input", call, INPUT, cluster_input_fill, cluster_input_call),
    SIZED(cluster_output, "output", objects, INPUT, nothing_fill, cluster_output_call),
    SIZED(loss_input, "input", object_teacher_temperature, INPUT, loss_input_fill, loss_input_call),
    SIZED(loss_output, "output", student_objects_gradient, INPUT, nothing_fill, loss_output_call),
    SIZED(object_batch, "objects", ids, INPUT, object_batch_fill, object_batch_call),
    SIZED(communicator, "communicator", cancel, INPUT, communicator_fill, communicator_call),
    SIZED(match, "match", neighbours2, INPUT, nothing_fill, match_call),
    SIZED(parameter, "parameter", count, OUTPUT, nothing_fill, parameter_call),
    SIZED(load_parts, "parts", resample_positions, INPUT, load_parts_fill, load_parts_call),
    SIZED(open_options, "options", heads, INPUT, nothing_fill, open_options_call),
    SIZED(weights_info, "info", step, OUTPUT, nothing_fill, weights_info_call),
    SIZED(save_parts, "parts", plain_names, INPUT, save_parts_fill, save_parts_call),
    SIZED(batch, "batch", ids, INPUT, batch_fill, batch_call),
    SIZED(report, "report", update_ms, OUTPUT, nothing_fill, report_call),
    SIZED(targets, "targets", match2, INPUT, nothing_fill, targets_call),
    SIZED(step_values, "batch.values", epoch, INPUT, step_values_fill, step_values_call),
    SIZED(objective_batch, "batch", values, INPUT, objective_batch_fill, objective_batch_call),
    SIZED(objective_chunk, "chunk", global_gradient, INPUT, objective_chunk_fill, objective_chunk_call),
    SIZED(save_options, "options", metadata_values, INPUT, nothing_fill, save_options_call),
    SIZED(patch_maps, "maps", width, INPUT, patch_maps_fill, patch_maps_call),
    SIZED(linear_layer, "layer", velocity, INPUT, linear_layer_fill, linear_layer_call),
    SIZED(scores, "scores", counted, OUTPUT, nothing_fill, scores_call),
    SIZED(fit_report, "report", reached, OUTPUT, nothing_fill, fit_report_call),
    SIZED(load_options, "options", overrides, INPUT, nothing_fill, load_options_call),
};
enum { STRUCTS = sizeof table / sizeof table[0] };

/* A struct of `size` bytes, all else in the room 0x55. */
static room made(const struct sized *s, size_t size)
{
    room r;
    memset(&r, 0x55, sizeof r);
    memset(&r, 0, size);
    r.struct_size = size;
    s->fill(&r);
    if (size < sizeof r) memset(r.bytes + size, 0x55, sizeof r - size); /* what _fill wrote beyond */
    return r;
}

static void assert_all(const room *r, size_t from, size_t to, unsigned char value)
{
    for (size_t i = from; i < to; i++)
        ck_assert_msg(r->bytes[i] == value, "byte %zu is %d, not %d", i, r->bytes[i], value);
}

START_TEST(test_structs_of_the_first_release_are_taken)
{
    const struct sized *s = &table[_i];
    room r = made(s, s->first_size);
    ck_assert_uint_le(s->first_size, s->size);
    OK(s->call(&r));
    ck_assert_uint_eq(r.struct_size, s->first_size);
    assert_all(&r, s->first_size, sizeof r, 0x55);
}
END_TEST

START_TEST(test_structs_of_a_later_release_are_taken)
{
    const struct sized *s = &table[_i];
    const size_t later = s->size + 24;
    room r = made(s, later);
    if (s->role == OUTPUT) memset(r.bytes + s->size, 0x55, 24); /* never cleared by the caller */
    OK(s->call(&r));
    ck_assert_uint_eq(r.struct_size, later);
    assert_all(&r, s->size, later, 0);
    assert_all(&r, later, sizeof r, 0x55);
}
END_TEST

START_TEST(test_structs_with_an_unknown_field_are_refused)
{
    const struct sized *s = &table[_i];
    char expected[64];
    if (s->role == OUTPUT) return;
    for (size_t at = s->size; at < s->size + 24; at += 23) {
        room r = made(s, s->size + 24);
        r.bytes[at] = 1;
        snprintf(expected, sizeof expected, "%s: byte %zu is set", s->argument, at);
        REFUSED(s->call(&r), CRIBO_INVALID_ARGUMENT, expected);
    }
}
END_TEST

/* --- the table --- */

static bool in_table(const char *name, size_t length)
{
    const char config[] = "_config";
    if (length > sizeof config && strncmp(name + length - sizeof config + 1, config, sizeof config - 1) == 0)
        return true;
    for (size_t i = 0; i < STRUCTS; i++)
        if (strlen(table[i].name) == length && strncmp(table[i].name, name, length) == 0) return true;
    return false;
}

/* The number of structs with a struct_size in a header; fails if one of them is in no table. */
static size_t check_header(const char *path)
{
    char *text = read_bytes(path, NULL);
    size_t found = 0;
    for (char *at = text; (at = strstr(at, "typedef struct ")); at++) {
        const char *name = at + strlen("typedef struct "), *first = name + strcspn(name, " ;") + 1;
        if (*first != '{' || strncmp(first + 1 + strspn(first + 1, " \n"), "size_t struct_size;", 19) != 0)
            continue;
        ck_assert_msg(in_table(name, strcspn(name, " ")), "%s: %.30s is not in the table", path, name);
        found++;
    }
    free(text);
    return found;
}

START_TEST(test_structs_misses_none)
{
    char path[1024];
    size_t found = 0;
    DIR *folder = opendir(CRIBO_SOURCE "/include/cribo");
    ck_assert_ptr_nonnull(folder);
    for (struct dirent *file; (file = readdir(folder));) {
        if (!strstr(file->d_name, ".h")) continue;
        snprintf(path, sizeof path, "%s/include/cribo/%s", CRIBO_SOURCE, file->d_name);
        found += check_header(path);
    }
    closedir(folder);
    ck_assert_uint_gt(found, STRUCTS); /* and the configs */
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("structs");
    TCase *copying = tcase_create("copying"), *interface = tcase_create("interface");
    tcase_add_test(copying, test_structs_older_caller_lacks_what_was_added);
    tcase_add_test(copying, test_structs_newer_caller_must_leave_the_unknown_zero);
    tcase_add_test(copying, test_structs_size_that_never_was_is_refused);
    tcase_add_test(copying, test_structs_misses_none);
    suite_add_tcase(suite, copying);
    tcase_add_checked_fixture(interface, begin, end);
    tcase_add_loop_test(interface, test_structs_of_the_first_release_are_taken, 0, STRUCTS);
    tcase_add_loop_test(interface, test_structs_of_a_later_release_are_taken, 0, STRUCTS);
    tcase_add_loop_test(interface, test_structs_with_an_unknown_field_are_refused, 0, STRUCTS);
    suite_add_tcase(suite, interface);
    return run_suite(suite);
}
