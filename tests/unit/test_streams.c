/*
 * Saving and loading through writers, readers and memory: the bytes of the files, the same results, and
 * every failure of a caller's function reported, with the handle unchanged.
 */
#include "support/faulty.h"
#include "support/objective.h"
#include "support/scratch.h"
#include "support/suite.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct {
    cribo_trainer_config config;
    cribo_trainer *trainer;
    cribo_snapshot *snapshot;
    cribo_objective *objective;
    cribo_buffer *buffer;
} things;

static void begin(void)
{
    cribo_objective_config objective = objective_config();
    scratch_begin();
    things.config = training_config();
    things.trainer = training_begin(&things.config, 2);
    training_steps(things.trainer, &things.config, 2);
    OK(cribo_snapshot_create(&things.snapshot, things.trainer, NULL));
    things.objective = objective_begin(&objective, 1);
    objective_step(things.objective, &objective, 0);
    OK(cribo_buffer_create(&things.buffer, NULL));
}

static void end(void)
{
    cribo_buffer_free(things.buffer);
    cribo_objective_free(things.objective);
    cribo_snapshot_free(things.snapshot);
    cribo_trainer_free(things.trainer);
    scratch_end();
}

static cribo_writer buffer_writer(void)
{
    cribo_writer writer = {.struct_size = sizeof writer};
    OK(cribo_buffer_clear(things.buffer));
    OK(cribo_buffer_writer(things.buffer, &writer));
    return writer;
}

static cribo_reader buffer_reader(void)
{
    cribo_reader reader = {.struct_size = sizeof reader};
    const void *bytes;
    size_t count;
    OK(cribo_buffer_bytes(things.buffer, &bytes, &count));
    OK(cribo_memory_reader(bytes, count, &reader));
    return reader;
}

/* --- everything that is saved, to a path and to a writer --- */

#define STUDENT cribo_trainer_student(things.trainer)
#define BANK cribo_trainer_memory_bank(things.trainer)

typedef struct saving {
    const char *name;
    cribo_status (*to_path)(const char *path);
    cribo_status (*to_writer)(const cribo_writer *writer);
} saving;

/* A file that is saved by `path_call` and by `writer_call`, which name their target `to`. */
#define SAVING(noun, path_call, writer_call) \
    static cribo_status noun##_to_path(const char *to) \
    { \
        return path_call; \
    } \
    static cribo_status noun##_to_writer(const cribo_writer *to) \
    { \
        return writer_call; \
    }

static const cribo_save_parts plain_backbone = {
    .struct_size = sizeof plain_backbone, .backbone = 1, .plain_names = 1};

SAVING(model, cribo_model_save(STUDENT, to, "a."), cribo_model_save_to(STUDENT, to, "a.", NULL))
SAVING(backbone, cribo_model_save_partial(STUDENT, to, NULL, &plain_backbone),
    cribo_model_save_to(STUDENT, to, NULL, &plain_backbone))
SAVING(
    exported, cribo_model_export(STUDENT, to, "timm", NULL), cribo_model_export_to(STUDENT, to, "timm", NULL))
SAVING(bank, cribo_memory_bank_save(BANK, to, "b."), cribo_memory_bank_save_to(BANK, to, "b."))
SAVING(
    checkpoint, cribo_trainer_save(things.trainer, to, NULL), cribo_trainer_save_to(things.trainer, to, NULL))
SAVING(weights, cribo_trainer_save_weights(things.trainer, to),
    cribo_trainer_save_weights_to(things.trainer, to))
SAVING(snapshot, cribo_snapshot_save(things.snapshot, to, NULL),
    cribo_snapshot_save_to(things.snapshot, to, NULL))
SAVING(snapshot_weights, cribo_snapshot_save_weights(things.snapshot, to),
    cribo_snapshot_save_weights_to(things.snapshot, to))
SAVING(objective, cribo_objective_save(things.objective, to, NULL),
    cribo_objective_save_to(things.objective, to, NULL))

#define ROW(noun) {#noun, noun##_to_path, noun##_to_writer}
static const saving savings[] = {ROW(model), ROW(backbone), ROW(exported), ROW(bank), ROW(checkpoint),
    ROW(weights), ROW(snapshot), ROW(snapshot_weights), ROW(objective)};
enum { SAVINGS = sizeof savings / sizeof savings[0] };

START_TEST(test_streams_have_the_bytes_of_the_file)
{
    const cribo_writer writer = buffer_writer();
    const void *bytes;
    size_t count;
    OK(savings[_i].to_path(scratch_path("file")));
    OK(savings[_i].to_writer(&writer));
    OK(cribo_buffer_bytes(things.buffer, &bytes, &count));
    ck_assert_uint_gt(count, 500);
    assert_bytes(scratch_path("file"), bytes, count);
}
END_TEST

/* A writer that counts its calls and fails at one of them. */
typedef struct failing {
    int calls, fail_at, error;
} failing;

static int write_or_fail(void *user, const void *bytes, size_t count)
{
    failing *f = user;
    if (!bytes || count == 0) return EINVAL;
    return ++f->calls == f->fail_at ? f->error : 0;
}

START_TEST(test_streams_report_every_failed_write)
{
    failing f = {0};
    cribo_writer writer = {.struct_size = sizeof writer, .write = write_or_fail, .user = &f};
    OK(savings[_i].to_writer(&writer));
    ck_assert_int_gt(f.calls, 0);
    for (int at = 1, calls = f.calls; at <= calls; at += at < 5 ? 1 : calls / 5 + 1) {
        f = (failing){.fail_at = at, .error = ENOSPC};
        REFUSED(savings[_i].to_writer(&writer), CRIBO_IO_ERROR, "writer: cannot write: No space left");
        ck_assert_int_eq(cribo_last_errno(), ENOSPC);
        ck_assert_int_eq(f.calls, at);
        f = (failing){.fail_at = at, .error = ENOMEM};
        REFUSED(savings[_i].to_writer(&writer), CRIBO_OUT_OF_MEMORY, "writer: cannot write");
    }
    f = (failing){0};
    OK(savings[_i].to_writer(&writer));
}
END_TEST

/* --- loading --- */

START_TEST(test_streams_resume_a_run)
{
    const cribo_writer writer = buffer_writer();
    cribo_trainer_config config = {.struct_size = sizeof config};
    const char *key = "place", *value = "image 5";
    const cribo_save_options options = {.struct_size = sizeof options,
        .level = 1,
        .metadata_count = 1,
        .metadata_keys = &key,
        .metadata_values = &value};
    char text[8];
    OK(cribo_trainer_save_to(things.trainer, &writer, &options));
    const cribo_reader reader = buffer_reader();
    OK(cribo_checkpoint_config_from(&reader, &config));
    ck_assert_mem_eq(&config, &things.config, sizeof config);
    OK(cribo_checkpoint_metadata_from(&reader, "place", text, sizeof text));
    ck_assert_str_eq(text, value);
    cribo_trainer *resumed = training_begin(&config, 1);
    OK(cribo_trainer_load_from(resumed, &reader, NULL));
    training_step(resumed, &config, 2);
    training_step(things.trainer, &config, 2);
    ck_assert(training_same(resumed, things.trainer));
    cribo_trainer_free(resumed);
}
END_TEST

START_TEST(test_streams_restore_an_objective)
{
    const cribo_writer writer = buffer_writer();
    cribo_objective_config config = objective_config();
    cribo_objective *other = objective_begin(&config, 1);
    OK(cribo_objective_save_to(things.objective, &writer, NULL));
    const cribo_reader reader = buffer_reader();
    OK(cribo_objective_load_from(other, &reader, NULL));
    ck_assert(objective_same(other, things.objective));
    cribo_objective_free(other);
}
END_TEST

START_TEST(test_streams_restore_a_bank)
{
    const cribo_writer writer = buffer_writer();
    cribo_trainer *other = training_begin(&things.config, 1);
    cribo_memory_bank *bank = cribo_trainer_memory_bank(other);
    int64_t images;
    OK(cribo_memory_bank_save_to(BANK, &writer, "b."));
    const cribo_reader reader = buffer_reader();
    OK(cribo_memory_bank_load_from(bank, &reader, "b."));
    OK(cribo_memory_bank_count(bank, &images, NULL));
    ck_assert_int_eq(images, 7);
    OK(cribo_memory_bank_save(BANK, scratch_path("a"), NULL));
    OK(cribo_memory_bank_save(bank, scratch_path("b"), NULL));
    assert_same_files("a", "b");
    cribo_trainer_free(other);
}
END_TEST

static void assert_same_backbones(const cribo_model *a, const cribo_model *b)
{
    cribo_parameter parameter = {.struct_size = sizeof parameter};
    size_t compared = 0;
    for (int64_t i = 0; cribo_model_parameter(a, i, &parameter) == CRIBO_OK; i++) {
        size_t bytes = (size_t)parameter.count * sizeof(float);
        if (strncmp(parameter.name, "backbone.", 9) != 0) continue;
        float *x = malloc(bytes), *y = malloc(bytes);
        ck_assert(x && y);
        OK(cribo_model_read_parameter(a, parameter.name, x, parameter.count));
        OK(cribo_model_read_parameter(b, parameter.name, y, parameter.count));
        ck_assert_msg(memcmp(x, y, bytes) == 0, "%s", parameter.name);
        compared++;
        free(x);
        free(y);
    }
    ck_assert_uint_gt(compared, 30);
}

START_TEST(test_streams_open_and_load_models)
{
    const cribo_load_parts only = {.struct_size = sizeof only, .backbone = 1};
    const cribo_open_options with_heads = {.struct_size = sizeof with_heads, .heads = 1};
    const cribo_writer writer = buffer_writer();
    cribo_model_config config = {.struct_size = sizeof config};
    cribo_weights_info info = {.struct_size = sizeof info};
    cribo_model *opened;
    training_step(things.trainer, &things.config, 3); /* so that student and teacher differ */
    OK(cribo_model_save_to(STUDENT, &writer, NULL, NULL));
    const cribo_reader reader = buffer_reader();
    OK(cribo_model_open_from(&opened, &reader, &with_heads, NULL));
    assert_same_backbones(opened, STUDENT);
    cribo_model_free(opened);
    OK(cribo_model_config_from_reader(&reader, &with_heads, &config));
    ck_assert_int_eq(config.width, 16);
    OK(cribo_weights_describe_from(&reader, NULL, &info));
    ck_assert_str_eq(info.kind, "model 1");
    OK(cribo_model_create(&opened, &config, NULL));
    OK(cribo_model_adopt_from(opened, &reader, NULL));
    assert_same_backbones(opened, STUDENT);
    cribo_model_free(opened);
    OK(cribo_model_load_from(cribo_trainer_teacher(things.trainer), &reader, NULL, &only));
    assert_same_backbones(cribo_trainer_teacher(things.trainer), STUDENT);
}
END_TEST

/* A layout whose settings stand in config.json: none is looked for beside a reader. */
START_TEST(test_streams_look_for_no_other_file)
{
    const cribo_writer writer = buffer_writer();
    cribo_weights_info info = {.struct_size = sizeof info};
    OK(cribo_model_export_to(STUDENT, &writer, "hf-vit", NULL));
    const cribo_reader reader = buffer_reader();
    write_bytes("config.json", "{\"num_attention_heads\": 4}", 26); /* in the current folder */
    cribo_status status = cribo_weights_describe_from(&reader, NULL, &info);
    remove("config.json");
    OK(status);
    ck_assert_ptr_nonnull(strstr(info.assumed, "heads = "));
}
END_TEST

/* --- readers that fail, and bytes that are damaged --- */

typedef struct failing_source {
    const unsigned char *bytes;
    failing failing;
} failing_source;

static int read_or_fail(void *user, uint64_t offset, void *bytes, size_t count)
{
    failing_source *s = user;
    if (count == 0) return EINVAL;
    if (++s->failing.calls == s->failing.fail_at) return s->failing.error;
    memcpy(bytes, s->bytes + offset, count);
    return 0;
}

/* A checkpoint in the buffer. */
static cribo_reader saved_checkpoint(void)
{
    const cribo_writer writer = buffer_writer();
    OK(cribo_trainer_save_to(things.trainer, &writer, NULL));
    return buffer_reader();
}

START_TEST(test_streams_report_every_failed_read)
{
    const cribo_reader whole = saved_checkpoint();
    failing_source source = {.bytes = whole.user};
    const cribo_reader reader = {
        .struct_size = sizeof reader, .read = read_or_fail, .size = whole.size, .user = &source};
    training_step(things.trainer, &things.config, 2);
    training_state before = training_state_of(things.trainer);
    for (int at = 1;; at++) {
        source.failing = (failing){.fail_at = at, .error = EIO};
        cribo_status status = cribo_trainer_load_from(things.trainer, &reader, NULL);
        if (status == CRIBO_OK) {
            ck_assert_int_eq(source.failing.calls, at - 1);
            ck_assert_int_gt(at, 3);
            break;
        }
        ck_assert_int_eq(status, CRIBO_IO_ERROR);
        ck_assert_int_eq(cribo_last_errno(), EIO);
        ck_assert_ptr_nonnull(strstr(cribo_last_error(), "reader: cannot read"));
        training_state after = training_state_of(things.trainer);
        ck_assert(training_state_equal(&before, &after));
        training_state_free(&after);
    }
    training_state_free(&before);
}
END_TEST

START_TEST(test_streams_refuse_damaged_bytes)
{
    const cribo_reader whole = saved_checkpoint();
    training_step(things.trainer, &things.config, 2);
    training_state before = training_state_of(things.trainer);
    for (uint64_t size = 0; size < whole.size; size += size < 100 ? 1 : whole.size / 50) {
        cribo_reader cut = whole;
        cut.size = size;
        ck_assert_int_eq(cribo_trainer_load_from(things.trainer, &cut, NULL), CRIBO_CORRUPT);
    }
    unsigned char *bytes = malloc(whole.size);
    ck_assert_ptr_nonnull(bytes);
    for (size_t at = 0; at < whole.size; at += whole.size / 40) {
        cribo_reader damaged = {.struct_size = sizeof damaged};
        memcpy(bytes, whole.user, whole.size);
        bytes[at] ^= 0x10;
        OK(cribo_memory_reader(bytes, whole.size, &damaged));
        cribo_status status = cribo_trainer_load_from(things.trainer, &damaged, NULL);
        if (status == CRIBO_OK) OK(cribo_trainer_load_from(things.trainer, &whole, NULL)); /* gzip's time */
        training_state after = training_state_of(things.trainer);
        ck_assert(status == CRIBO_OK || training_state_equal(&before, &after));
        training_state_free(&after);
        if (status == CRIBO_OK) training_step(things.trainer, &things.config, 2);
    }
    free(bytes);
    training_state_free(&before);
}
END_TEST

/* --- calls from a callback --- */

static int save_again(void *user, const void *bytes, size_t count)
{
    (void)user, (void)bytes, (void)count;
    REFUSED(
        cribo_trainer_save(things.trainer, scratch_path("other"), NULL), CRIBO_WRONG_STATE, "handle is busy");
    return 0;
}

START_TEST(test_streams_callbacks_cannot_use_the_handle)
{
    const cribo_writer writer = {.struct_size = sizeof writer, .write = save_again};
    OK(cribo_trainer_save_to(things.trainer, &writer, NULL));
}
END_TEST

/* --- buffers --- */

START_TEST(test_streams_buffers_append_and_clear)
{
    const cribo_writer writer = buffer_writer();
    const void *bytes;
    size_t count, total = 0;
    for (size_t i = 1; i < 1000; i++) {
        char piece[1000];
        memset(piece, (int)(i % 250), i);
        ck_assert_int_eq(writer.write(writer.user, piece, i), 0);
        total += i;
    }
    OK(cribo_buffer_bytes(things.buffer, &bytes, &count));
    ck_assert_uint_eq(count, total);
    ck_assert_int_eq(((const unsigned char *)bytes)[0], 1);
    ck_assert_int_eq(((const unsigned char *)bytes)[total - 1], 999 % 250);
    OK(cribo_buffer_clear(things.buffer));
    OK(cribo_buffer_bytes(things.buffer, &bytes, &count));
    ck_assert_uint_eq(count, 0);
}
END_TEST

START_TEST(test_streams_buffers_use_the_allocator)
{
    faulty memory = {0};
    cribo_runtime runtime = training_runtime(1);
    cribo_writer writer = {.struct_size = sizeof writer};
    cribo_buffer *buffer;
    const void *bytes;
    size_t count;
    runtime.allocate = faulty_allocate;
    runtime.release = faulty_release;
    runtime.allocator_user = &memory;
    OK(cribo_buffer_create(&buffer, &runtime));
    OK(cribo_buffer_writer(buffer, &writer));
    memory.most = 100000;
    REFUSED(cribo_trainer_save_weights_to(things.trainer, &writer), CRIBO_OUT_OF_MEMORY, "writer");
    OK(cribo_buffer_bytes(buffer, &bytes, &count));
    ck_assert_uint_le(count, 65536);
    memory.most = 0;
    OK(cribo_buffer_clear(buffer));
    OK(cribo_trainer_save_weights_to(things.trainer, &writer));
    OK(cribo_buffer_bytes(buffer, &bytes, &count));
    OK(cribo_trainer_save_weights(things.trainer, scratch_path("file")));
    assert_bytes(scratch_path("file"), bytes, count);
    cribo_buffer_free(buffer);
    ck_assert_uint_eq(memory.held, 0);
}
END_TEST

static Suite *suite_of(void)
{
    Suite *suite = suite_create("streams");
    TCase *saved = tcase_create("saved"), *loaded = tcase_create("loaded"), *memory = tcase_create("memory");
    TCase *const cases[] = {saved, loaded, memory};
    tcase_add_loop_test(saved, test_streams_have_the_bytes_of_the_file, 0, SAVINGS);
    tcase_add_loop_test(saved, test_streams_report_every_failed_write, 0, SAVINGS);
    tcase_add_test(saved, test_streams_callbacks_cannot_use_the_handle);
    tcase_add_test(loaded, test_streams_resume_a_run);
    tcase_add_test(loaded, test_streams_restore_an_objective);
    tcase_add_test(loaded, test_streams_restore_a_bank);
    tcase_add_test(loaded, test_streams_open_and_load_models);
    tcase_add_test(loaded, test_streams_look_for_no_other_file);
    tcase_add_test(loaded, test_streams_report_every_failed_read);
    tcase_add_test(loaded, test_streams_refuse_damaged_bytes);
    tcase_add_test(memory, test_streams_buffers_append_and_clear);
    tcase_add_test(memory, test_streams_buffers_use_the_allocator);
    for (int i = 0; i < 3; i++) {
        tcase_add_checked_fixture(cases[i], begin, end);
        tcase_set_timeout(cases[i], 240);
        suite_add_tcase(suite, cases[i]);
    }
    return suite;
}

int main(void)
{
    return run_suite(suite_of());
}
