/*
 * Checkpoints: a resumed trainer is bit-identical to an uninterrupted one; a file that is
 * not whole, or not the trainer's, changes nothing.
 */
#include "io/safetensors.h"
#include "support/faulty.h"
#include "support/mend.h"
#include "support/scratch.h"
#include "support/suite.h"
#include "support/training.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <zlib.h>

/*
 * Everything that a resumed run must not forget: drop path, drawn seeds, ids, a bank that overflows, last
 * layers that thaw.
 */
static cribo_trainer_config config_of(void)
{
    cribo_trainer_config c = training_config();
    c.freeze_last_layer_steps = 2;
    return c;
}

static void step_with_ids(cribo_trainer *trainer, const cribo_trainer_config *config, uint64_t number)
{
    training_batch made = training_batch_of(config, 1 + (int64_t)(number * 3 % 5), number);
    cribo_report report = {.struct_size = sizeof report};
    int64_t ids[5];
    for (int i = 0; i < 5; i++) ids[i] = i == 2 ? -1 : (int64_t)((number * 5 + (uint64_t)i) % 11);
    made.batch.ids = ids;
    OK(cribo_trainer_step(trainer, &made.batch, &report));
    training_batch_free(&made);
}

/* The steps from `begin` to `end` - 1. */
static void run(cribo_trainer *trainer, const cribo_trainer_config *config, uint64_t begin, uint64_t end)
{
    for (uint64_t i = begin; i < end; i++) step_with_ids(trainer, config, i);
}

static cribo_trainer *trained(const cribo_trainer_config *config, int64_t threads, uint64_t steps)
{
    cribo_trainer *trainer = training_begin(config, threads);
    run(trainer, config, 0, steps);
    return trainer;
}

/* --- resuming --- */

START_TEST(test_checkpoint_resumed_run_is_the_uninterrupted_one)
{
    const uint64_t cuts[] = {0, 4, 7};
    cribo_trainer_config c = config_of();
    const char *path = scratch_path("checkpoint");
    cribo_report report = {.struct_size = sizeof report};
    c.batch_cost = _i % 2;
    c.hard_assignment = _i / 2;
    cribo_trainer *whole = trained(&c, 2, 8);
    for (size_t i = 0; i < sizeof cuts / sizeof cuts[0]; i++) {
        cribo_trainer *first = trained(&c, 1 + (int64_t)i % 3, cuts[i]);
        OK(cribo_trainer_save(first, path, NULL));
        cribo_trainer_free(first);
        for (int64_t threads = 1; threads <= 3; threads++) {
            cribo_trainer *second = training_begin(&c, threads);
            OK(cribo_trainer_load(second, path, NULL));
            run(second, &c, cuts[i], 8);
            ck_assert(training_same(whole, second));
            cribo_trainer_free(second);
        }
    }
    training_batch batch = training_batch_of(&c, 5, 99);
    OK(cribo_trainer_step(whole, &batch.batch, &report));
    ck_assert_double_eq(report.cross_image_on, 1);
    ck_assert_double_gt(report.matched_share, 0);
    training_batch_free(&batch);
    cribo_trainer_free(whole);
}
END_TEST

START_TEST(test_checkpoint_load_replaces_whatever_was_there)
{
    cribo_trainer_config c = config_of();
    const char *path = scratch_path("checkpoint");
    cribo_trainer *saved = trained(&c, 1, 3), *other = training_begin(&c, 2);
    OK(cribo_trainer_save(saved, path, NULL));
    run(other, &c, 20, 26);
    training_batch batch = training_batch_of(&c, 5, 99);
    OK(cribo_trainer_teach(other, &batch.batch)); /* a step under way is forgotten */
    OK(cribo_trainer_load(other, path, NULL));
    ck_assert(training_same(saved, other));
    cribo_targets targets = {.struct_size = sizeof targets};
    REFUSED(cribo_trainer_targets(other, &targets), CRIBO_WRONG_STATE, "targets");
    REFUSED(cribo_trainer_learn(other, &batch.batch), CRIBO_WRONG_STATE, "teach");
    float gradient[16];
    OK(cribo_trainer_gradient(other, "backbone.norm.bias", gradient, 16));
    for (int i = 0; i < 16; i++) ck_assert(gradient[i] == 0);
    run(saved, &c, 3, 6);
    run(other, &c, 3, 6);
    ck_assert(training_same(saved, other));
    training_batch_free(&batch);
    cribo_trainer_free(saved);
    cribo_trainer_free(other);
}
END_TEST

/* --- the file --- */

START_TEST(test_checkpoint_bytes_depend_on_state_and_level_alone)
{
    static const int64_t levels[] = {0, 1, 6};
    cribo_trainer_config c = config_of();
    for (size_t l = 0; l < sizeof levels / sizeof levels[0]; l++) {
        cribo_save_options options = {.struct_size = sizeof options, .level = levels[l]};
        size_t count = 0;
        unsigned char *bytes = NULL;
        for (int64_t threads = 1; threads <= 3; threads++) {
            cribo_trainer *trainer = trained(&c, threads, 4);
            OK(cribo_trainer_save(trainer, scratch_path("file"), &options));
            if (bytes) assert_bytes(scratch_path("file"), bytes, count);
            if (!bytes) bytes = read_bytes(scratch_path("file"), &count);
            cribo_trainer *resumed = training_begin(&c, threads); /* with another place of the bank */
            OK(cribo_trainer_load(resumed, scratch_path("file"), NULL));
            OK(cribo_trainer_save(resumed, scratch_path("again"), &options));
            assert_bytes(scratch_path("again"), bytes, count);
            cribo_trainer_free(resumed);
            cribo_trainer_free(trainer);
        }
        free(bytes);
    }
}
END_TEST

START_TEST(test_checkpoint_holds_settings_and_strings)
{
    const char *keys[] = {"position", "crc32", "\xc3\xa9\"\\", "step"},
               *values[] = {"epoch 3, image 17", "", "\n\"", "5"};
    cribo_save_options options = {.struct_size = sizeof options,
        .level = 1,
        .metadata_count = 4,
        .metadata_keys = keys,
        .metadata_values = values};
    cribo_trainer_config c = config_of(), read;
    char buffer[64], small[17] = "unchanged";
    c.learning_rate = 0.1 + 0.2; /* all its digits are needed */
    cribo_trainer *trainer = trained(&c, 1, 1);
    const char *path = scratch_path("file");
    OK(cribo_trainer_save(trainer, path, &options));
    OK(cribo_trainer_config_init(&read, sizeof read));
    OK(cribo_checkpoint_config(path, &read));
    ck_assert(memcmp(&read, &c, sizeof c) == 0);
    for (int i = 0; i < 4; i++) {
        OK(cribo_checkpoint_metadata(path, keys[i], buffer, strlen(values[i]) + 1));
        ck_assert_str_eq(buffer, values[i]);
    }
    REFUSED(cribo_checkpoint_metadata(path, "position", small, sizeof small), CRIBO_INVALID_ARGUMENT,
        "takes 18 bytes");
    ck_assert_str_eq(small, "unchanged");
    REFUSED(cribo_checkpoint_metadata(path, "learning_rate", buffer, sizeof buffer), CRIBO_INVALID_ARGUMENT,
        "learning_rate");
    cribo_trainer_free(trainer);
}
END_TEST

START_TEST(test_checkpoint_teacher_is_loaded_as_a_model)
{
    cribo_trainer_config c = config_of();
    cribo_model_config m;
    cribo_trainer *trainer = trained(&c, 1, 3);
    OK(cribo_trainer_save(trainer, scratch_path("file"), NULL));
    OK(cribo_model_config_init(&m, sizeof m));
    m.image_size = c.image_size, m.patch_size = c.patch_size, m.width = c.width, m.depth = c.depth,
    m.heads = c.heads;
    m.mlp_ratio = c.mlp_ratio, m.head_hidden = c.head_hidden, m.head_bottleneck = c.head_bottleneck;
    m.prototypes = c.prototypes, m.object_prototypes = c.object_prototypes;
    cribo_model *model;
    OK(cribo_model_create(&model, &m, NULL));
    OK(cribo_model_load(model, scratch_path("file"), "teacher."));
    cribo_parameter p;
    for (int64_t i = 0; training_parameter(trainer, i, &p); i++) {
        float *values = calloc(2 * (size_t)p.count, sizeof *values);
        OK(cribo_model_read_parameter(model, p.name, values, p.count));
        OK(cribo_model_read_parameter(cribo_trainer_teacher(trainer), p.name, values + p.count, p.count));
        ck_assert_mem_eq(values, values + p.count, (size_t)p.count * sizeof *values);
        free(values);
    }
    cribo_model_free(model);
    cribo_trainer_free(trainer);
}
END_TEST

/*
 * A run on larger images begins with the backbone of another's teacher, in both networks; its heads are
 * fresh.
 */
START_TEST(test_checkpoint_backbone_begins_another_run)
{
    const cribo_load_parts parts = {.struct_size = sizeof parts, .backbone = 1, .resample_positions = 1};
    cribo_trainer_config c = config_of(), larger = c;
    larger.image_size = 48;
    larger.prototypes = 10; /* heads of another shape, even */
    cribo_trainer *old = trained(&c, 1, 3), *trainer = training_begin(&larger, 1),
                  *fresh = training_begin(&larger, 1);
    cribo_model *networks[2] = {cribo_trainer_student(trainer), cribo_trainer_teacher(trainer)};
    cribo_parameter p;
    if (_i)
        OK(cribo_trainer_save_weights(old, scratch_path("file"))); /* plain */
    else
        OK(cribo_trainer_save(old, scratch_path("file"), NULL));
    for (int n = 0; n < 2; n++)
        OK(cribo_model_load_partial(networks[n], scratch_path("file"), "teacher.", &parts));
    for (int64_t i = 0; training_parameter(trainer, i, &p); i++) {
        bool head = strncmp(p.name, "head.", 5) == 0;
        float *values = calloc(3 * (size_t)p.count, sizeof *values), *expected = values + 2 * p.count;
        for (int n = 0; n < 2; n++)
            OK(cribo_model_read_parameter(networks[n], p.name, values + n * p.count, p.count));
        ck_assert_mem_eq(values, values + p.count, (size_t)p.count * sizeof *values);
        if (strcmp(p.name, "backbone.pos_embed") != 0) {
            OK(cribo_model_read_parameter(
                head ? cribo_trainer_teacher(fresh) : cribo_trainer_teacher(old), p.name, expected, p.count));
            ck_assert_mem_eq(values, expected, (size_t)p.count * sizeof *values);
        }
        free(values);
    }
    training_step(trainer, &larger, 0);
    REFUSED(cribo_model_load(networks[0], scratch_path("file"), "teacher."), CRIBO_INVALID_ARGUMENT,
        "backbone.pos_embed");
    cribo_trainer_free(old);
    cribo_trainer_free(trainer);
    cribo_trainer_free(fresh);
}
END_TEST

/* --- what is refused --- */

/* Loading is refused, and the trainer does not change. */
static void refused(
    cribo_trainer *trainer, const char *path, const char *overrides, cribo_status status, const char *part)
{
    cribo_load_options options = {.struct_size = sizeof options, .overrides = overrides};
    training_state before = training_state_of(trainer);
    REFUSED(cribo_trainer_load(trainer, path, &options), status, part);
    training_state after = training_state_of(trainer);
    ck_assert(training_state_equal(&before, &after));
    training_state_free(&before);
    training_state_free(&after);
}

static void saved_at(const char *path, const cribo_trainer_config *config, int64_t level)
{
    cribo_save_options options = {.struct_size = sizeof options, .level = level};
    cribo_trainer *trainer = trained(config, 1, 3);
    OK(cribo_trainer_save(trainer, path, &options));
    cribo_trainer_free(trainer);
}

START_TEST(test_checkpoint_other_settings_are_refused_by_name)
{
    cribo_trainer_config c = config_of(), other = c;
    const char *path = scratch_path("file");
    saved_at(path, &c, 1);
    other.learning_rate = 0.25;
    other.epochs = 3;
    cribo_trainer *trainer = trained(&other, 1, 2);
    refused(trainer, path, NULL, CRIBO_INVALID_ARGUMENT, "learning_rate = 0.05");
    refused(trainer, path, "", CRIBO_INVALID_ARGUMENT, "in the file, but 0.25 in the trainer");
    refused(trainer, path, "learning_rate", CRIBO_INVALID_ARGUMENT,
        "epochs = 2 in the file, but 3 in the trainer");
    refused(trainer, path, "learning_rat,epochs", CRIBO_INVALID_ARGUMENT, "\"learning_rat\" is no setting");
    refused(trainer, path, "epochs_learning_rate", CRIBO_INVALID_ARGUMENT, "is no setting");
    cribo_load_options options = {.struct_size = sizeof options, .overrides = " epochs, ,learning_rate ,"};
    OK(cribo_trainer_load(trainer, path, &options));
    cribo_trainer *twin = trained(&c, 1, 3);
    ck_assert(training_same(trainer, twin));
    training_step(trainer, &other, 50);
    training_step(twin, &c, 50);
    ck_assert(!training_same(trainer, twin)); /* the trainer's own settings hold */
    cribo_trainer_free(twin);
    cribo_trainer_free(trainer);
}
END_TEST

START_TEST(test_checkpoint_every_setting_is_compared)
{
    cribo_trainer_config c = config_of();
    c.rope_min_period = 0.5; /* valid together, and unused with learned positions */
    c.rope_max_period = 2;
    cribo_setting s;
    const char *path = scratch_path("file");
    saved_at(path, &c, 1);
    for (size_t i = 0; cribo_trainer_config_setting(i, &s) == CRIBO_OK; i++) {
        static const struct {
            const char *name, *value;
        } special[] = {{"image_size", "48"}, {"patch_size", "12"}, {"heads", "4"}};
        cribo_trainer_config other = c;
        char value[32], wanted[64];
        double now;
        int64_t whole;
        memcpy(&now, (char *)&c + 8 + 8 * i, 8);
        memcpy(&whole, (char *)&c + 8 + 8 * i, 8);
        if (s.integer) now = (double)whole;
        snprintf(value, sizeof value, "%.17g",
            s.maximum == 1 ? (now == s.minimum ? 1 : s.minimum)
            : s.integer    ? now + 1
                           : now / 2 + 0.01);
        for (size_t k = 0; k < 3; k++)
            if (strcmp(special[k].name, s.name) == 0) snprintf(value, sizeof value, "%s", special[k].value);
        if (strcmp(s.name, "width") == 0) snprintf(value, sizeof value, "%d", 18);
        OK(cribo_trainer_config_set(&other, s.name, value));
        cribo_trainer *trainer = training_begin(&other, 1);
        snprintf(wanted, sizeof wanted, " %s = ", s.name);
        refused(trainer, path, NULL, CRIBO_INVALID_ARGUMENT, wanted);
        cribo_trainer_free(trainer);
    }
}
END_TEST

START_TEST(test_checkpoint_other_shapes_are_refused_even_when_allowed)
{
    static const struct {
        const char *name, *value, *part;
    } cases[] = {{"width", "32", "axis"}, {"prototypes", "25", "axis"}, {"depth", "4", "there is no tensor"},
        {"image_size", "48", "backbone.pos_embed"}, {"bank_images", "3", "has room for 3"},
        {"depth", "2", "optimiser.updates"}, {"clusters", "1", "room for 7"}};
    cribo_trainer_config c = config_of();
    const char *path = scratch_path("file");
    saved_at(path, &c, 1);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        cribo_trainer_config other = c;
        OK(cribo_trainer_config_set(&other, cases[i].name, cases[i].value));
        cribo_trainer *trainer = training_begin(&other, 1);
        cribo_load_options options = {.struct_size = sizeof options, .overrides = cases[i].name};
        training_state before = training_state_of(trainer);
        ck_assert_int_ne(cribo_trainer_load(trainer, path, &options), CRIBO_OK);
        ck_assert_msg(strstr(cribo_last_error(), cases[i].part), "%s", cribo_last_error());
        training_state after = training_state_of(trainer);
        ck_assert(training_state_equal(&before, &after));
        training_state_free(&before);
        training_state_free(&after);
        cribo_trainer_free(trainer);
    }
}
END_TEST

START_TEST(test_checkpoint_larger_bank_takes_a_smaller_one)
{
    cribo_trainer_config c = config_of(), larger = c;
    saved_at(scratch_path("file"), &c, 1);
    larger.bank_images = 50;
    cribo_trainer *trainer = training_begin(&larger, 1), *twin = trained(&c, 1, 3);
    cribo_load_options options = {.struct_size = sizeof options, .overrides = "bank_images"};
    OK(cribo_trainer_load(trainer, scratch_path("file"), &options));
    ck_assert(training_same(trainer, twin));
    cribo_trainer_free(twin);
    cribo_trainer_free(trainer);
}
END_TEST

START_TEST(test_checkpoint_during_a_step_is_refused)
{
    cribo_trainer_config c = config_of();
    cribo_trainer *trainer = trained(&c, 1, 1);
    training_batch batch = training_batch_of(&c, 5, 99);
    OK(cribo_trainer_teach(trainer, &batch.batch));
    REFUSED(cribo_trainer_save(trainer, scratch_path("file"), NULL), CRIBO_WRONG_STATE, "step");
    OK(cribo_trainer_learn(trainer, &batch.batch));
    REFUSED(cribo_trainer_save(trainer, scratch_path("file"), NULL), CRIBO_WRONG_STATE, "step");
    ck_assert_uint_eq(scratch_count(), 0);
    OK(cribo_trainer_update(trainer, NULL));
    OK(cribo_trainer_save(trainer, scratch_path("file"), NULL));
    training_batch_free(&batch);
    cribo_trainer_free(trainer);
}
END_TEST

START_TEST(test_checkpoint_of_weights_alone_is_refused)
{
    cribo_trainer_config c = config_of();
    cribo_trainer *trainer = trained(&c, 1, 1);
    OK(cribo_trainer_save_weights(trainer, scratch_path("weights")));
    refused(trainer, scratch_path("weights"), NULL, CRIBO_CORRUPT, "no checkpoint");
    OK(cribo_checkpoint_config(scratch_path("weights"), &c));
    cribo_trainer_free(trainer);
}
END_TEST

START_TEST(test_weights_with_metadata_return_it)
{
    const char *const keys[] = {"score", "step"}, *const values[] = {"0.25", "nine"};
    const cribo_save_options options = {
        .struct_size = sizeof options, .metadata_count = 2, .metadata_keys = keys, .metadata_values = values};
    cribo_trainer_config c = config_of(), found;
    cribo_trainer *trainer = trained(&c, 1, 1);
    char text[8];
    OK(cribo_trainer_config_init(&found, sizeof found));
    OK(cribo_trainer_save_weights_with(trainer, scratch_path("weights"), &options));
    OK(cribo_checkpoint_config(scratch_path("weights"), &found));
    ck_assert_mem_eq(&found, &c, sizeof c);
    for (int i = 0; i < 2; i++) {
        OK(cribo_checkpoint_metadata(scratch_path("weights"), keys[i], text, sizeof text));
        ck_assert_str_eq(text, values[i]);
    }
    OK(cribo_trainer_save_weights(trainer, scratch_path("plain")));
    REFUSED(cribo_checkpoint_metadata(scratch_path("plain"), "score", text, sizeof text),
        CRIBO_INVALID_ARGUMENT, "score");
    cribo_trainer_free(trainer);
}
END_TEST

/* --- damage --- */

/* A trainer small enough for thousands of loads. */
static cribo_trainer_config tiny_config(void)
{
    cribo_trainer_config c = config_of();
    c.image_size = 16;
    c.width = 4;
    c.depth = 1;
    c.mlp_ratio = 1;
    c.head_hidden = 3;
    c.head_bottleneck = 3;
    c.prototypes = c.object_prototypes = 4;
    c.clusters = 2;
    c.bank_images = 3;
    return c;
}

/* Cut at every byte of the beginning and the end, and at many in between. */
START_TEST(test_checkpoint_truncated_is_corrupt)
{
    cribo_trainer_config c = tiny_config();
    size_t count;
    saved_at(scratch_path("file"), &c, _i);
    unsigned char *bytes = read_bytes(scratch_path("file"), &count);
    cribo_trainer *trainer = trained(&c, 1, 5);
    training_state before = training_state_of(trainer);
    for (size_t n = 0; n < count; n += n < 200 || count - n <= 200 ? 1 : 61) {
        write_bytes(scratch_path("cut"), bytes, n);
        REFUSED(cribo_trainer_load(trainer, scratch_path("cut"), NULL), CRIBO_CORRUPT, "cut");
    }
    training_state after = training_state_of(trainer);
    ck_assert(training_state_equal(&before, &after));
    training_state_free(&before);
    training_state_free(&after);
    cribo_trainer_free(trainer);
    free(bytes);
}
END_TEST

/* Bits all over the compressed file: a flip is refused, or is one of the few without a meaning in gzip. */
START_TEST(test_checkpoint_flipped_bits_change_nothing)
{
    cribo_trainer_config c = tiny_config();
    size_t count, harmless = 0, flips = 0;
    saved_at(scratch_path("file"), &c, _i);
    unsigned char *bytes = read_bytes(scratch_path("file"), &count);
    cribo_trainer *trainer = trained(&c, 1, 5), *saved = training_begin(&c, 1);
    OK(cribo_trainer_load(saved, scratch_path("file"), NULL));
    training_state before = training_state_of(trainer), good = training_state_of(saved);
    for (size_t bit = 0; bit < 8 * count; bit += bit < 400 || 8 * count - bit < 100 ? 1 : 331, flips++) {
        bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
        write_bytes(scratch_path("bad"), bytes, count);
        bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
        cribo_status status = cribo_trainer_load(trainer, scratch_path("bad"), NULL);
        if (status == CRIBO_OK) {
            training_state state = training_state_of(trainer);
            ck_assert_msg(training_state_equal(&state, &good), "bit %zu", bit);
            training_state_free(&state);
            harmless++;
        } else
            REFUSED(status, CRIBO_CORRUPT, "bad");
        if (status == CRIBO_OK || bit % 50 == 0) {
            training_state state = training_state_of(trainer);
            ck_assert(training_state_equal(&state, status == CRIBO_OK || harmless ? &good : &before));
            training_state_free(&state);
        }
    }
    ck_assert_uint_gt(flips, 400);
    ck_assert_uint_le(harmless, 80); /* of the 10 bytes of gzip's header */
    training_state_free(&before);
    training_state_free(&good);
    cribo_trainer_free(trainer);
    cribo_trainer_free(saved);
    free(bytes);
}
END_TEST

static unsigned char *inflated(const char *path, size_t *count)
{
    enum { MOST = 1 << 22 };
    unsigned char *bytes = malloc(MOST);
    gzFile file = gzopen(path, "rb");
    int got = gzread(file, bytes, MOST);
    ck_assert(got > 0 && got < MOST);
    gzclose(file);
    *count = (size_t)got;
    return bytes;
}

static void deflated(const char *path, const unsigned char *bytes, size_t count)
{
    gzFile file = gzopen(path, "wb1");
    ck_assert_int_eq(gzwrite(file, bytes, (unsigned)count), (int)count);
    ck_assert_int_eq(gzclose(file), Z_OK);
}

/* The same before compression, so that gzip's sums are right: bits all over the header and the numbers. */
START_TEST(test_checkpoint_flipped_bits_inside_are_refused)
{
    cribo_trainer_config c = tiny_config();
    size_t count;
    saved_at(scratch_path("file"), &c, 1);
    unsigned char *bytes = inflated(scratch_path("file"), &count);
    cribo_trainer *trainer = trained(&c, 1, 5);
    training_state before = training_state_of(trainer);
    for (size_t bit = (size_t)_i; bit < 8 * count; bit += 163) {
        bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
        deflated(scratch_path("bad"), bytes, count);
        bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
        REFUSED(cribo_trainer_load(trainer, scratch_path("bad"), NULL), CRIBO_CORRUPT, "bad");
    }
    training_state after = training_state_of(trainer);
    ck_assert(training_state_equal(&before, &after));
    deflated(
        scratch_path("good"), bytes, count); /* accepted if compressed by another program, and uncompressed */
    OK(cribo_trainer_load(trainer, scratch_path("good"), NULL));
    write_bytes(scratch_path("plain"), bytes, count);
    OK(cribo_trainer_load(trainer, scratch_path("plain"), NULL));
    write_bytes(scratch_path("plain"), bytes, count - 1);
    refused(trainer, scratch_path("plain"), NULL, CRIBO_CORRUPT, "plain");
    training_state_free(&before);
    training_state_free(&after);
    cribo_trainer_free(trainer);
    free(bytes);
}
END_TEST

/* --- forgeries: every checksum is right --- */

/* Replaces every occurrence of a text in the file's content by another. */
static void replace(unsigned char *bytes, size_t *count, const char *text, const char *other)
{
    size_t length = strlen(text), longer = strlen(other), found = 0;
    for (size_t at = 0; at + length <= *count; at++) {
        if (memcmp(bytes + at, text, length) != 0) continue;
        memmove(bytes + at + longer, bytes + at + length, *count - at - length);
        memcpy(bytes + at, other, longer);
        *count += longer - length;
        at += longer;
        found++;
    }
    ck_assert_msg(found > 0, "there is no %s", text);
}

START_TEST(test_checkpoint_forged_header_is_refused_by_name)
{
    static const struct {
        const char *text, *other, *part;
        cribo_status status;
    } cases[] = {
        {"\"checkpoint 1\"", "\"checkpoint 2\"", "it is \"checkpoint 2\"", CRIBO_CORRUPT},
        {"\"cribo\"", "\"cribb\"", "this is no checkpoint", CRIBO_CORRUPT},
        {"\"step\":\"3\"", "\"step\":\"\"", "step = \"\"", CRIBO_CORRUPT},
        {"\"step\":\"3\"", "\"step\":\"-3\"", "step = \"-3\"", CRIBO_CORRUPT},
        {"\"step\":\"3\"", "\"step\":\"3x\"", "step = \"3x\"", CRIBO_CORRUPT},
        {"\"step\":\"3\"", "\"step\":\"9999999999999999999\"", "is no number of steps", CRIBO_CORRUPT},
        {"\"step\":\"3\",", "", "step", CRIBO_CORRUPT},
        {"\"epochs\":\"2\"", "\"epochs\":\"-2\"", "metadata: epochs = -2", CRIBO_CORRUPT},
        {"\"epochs\":\"2\"", "\"epochs\":\"2,5\"", "metadata: epochs = \"2,5\"", CRIBO_CORRUPT},
        {"\"epochs\":\"2\"", "\"epoks\":\"2\"", "no setting named \"epoks\"", CRIBO_CORRUPT},
        {"\"epochs\":\"2\",", "", "epochs = 300 in the file", CRIBO_INVALID_ARGUMENT},
        {"collapse.steps", "collapse.stops", "no tensor \"collapse.steps\"", CRIBO_CORRUPT},
        {"bank.view1", "bank.view3", "no tensor \"bank.view1\"", CRIBO_CORRUPT},
        {"bank.objects_per_image", "bank.objects_per_inage", "no tensor \"bank.objects_per_image\"",
            CRIBO_CORRUPT},
        {"teacher.backbone.norm.bias", "teacher.backbone.norm.bios",
            "no tensor \"teacher.backbone.norm.bias\"", CRIBO_CORRUPT},
        {"\"crc32.centre\"", "\"crc33.centre\"", "checksums are missing", CRIBO_CORRUPT},
        {"\"collapse.steps\":{\"dtype\":\"I64\",\"shape\":[3]",
            "\"collapse.steps\":{\"dtype\":\"F32\",\"shape\":[6]", "\"collapse.steps\" has dtype F32",
            CRIBO_CORRUPT},
        {"\"collapse.steps\":{\"dtype\":\"I64\",\"shape\":[3]",
            "\"collapse.steps\":{\"dtype\":\"I64\",\"shape\":[1,3]", "2 axes", CRIBO_CORRUPT},
        {"\"centre\":{\"dtype\":\"F32\",\"shape\":[4]", "\"centre\":{\"dtype\":\"F32\",\"shape\":[]",
            "\"centre\"", CRIBO_CORRUPT},
        {"\"crc32.centre\":", "\"crc32.more\":\"00000000\",\"crc32.centre\":", "tensors, not", CRIBO_CORRUPT},
    };
    cribo_trainer_config c = tiny_config();
    size_t count;
    saved_at(scratch_path("file"), &c, 0);
    unsigned char *bytes = inflated(scratch_path("file"), &count);
    cribo_trainer *trainer = trained(&c, 1, 5);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        size_t forged_count = count;
        unsigned char *forged = malloc(count + 1000);
        memcpy(forged, bytes, count);
        replace(forged, &forged_count, cases[i].text, cases[i].other);
        if (strstr(cases[i].other, "crc32.more")) /* and what it is the sum of */
            replace(forged, &forged_count, "},\"centre\":{",
                "},\"more\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]},\"centre\":{");
        mend_checksums(forged, forged_count);
        write_bytes(scratch_path("forged"), forged, forged_count);
        refused(trainer, scratch_path("forged"), NULL, cases[i].status, cases[i].part);
        free(forged);
    }
    cribo_trainer_free(trainer);
    free(bytes);
}
END_TEST

/* The place of element `index` of a tensor in a plain file. */
static size_t place_of(const char *path, const char *name, size_t index)
{
    static const cb_allocator plain = {0};
    cb_safetensors *file;
    uint64_t header;
    size_t count;
    OK(cb_safetensors_open(&plain, &file, cb_at(path)));
    const cb_tensor_info *tensor = cb_safetensors_find(file, NULL, name);
    ck_assert_msg(tensor != NULL, "there is no %s", name);
    size_t place = 8 + (size_t)tensor->begin + index * (cb_tensor_is(tensor, CB_I64) ? 8 : 4);
    cb_safetensors_close(file);
    void *bytes = read_bytes(path, &count);
    memcpy(&header, bytes, 8);
    free(bytes);
    return place + (size_t)header;
}

START_TEST(test_checkpoint_forged_numbers_are_refused_by_name)
{
    static const struct {
        const char *tensor;
        size_t index;
        int64_t integer; /* or a float, when the tensor's are: a NaN */
        const char *part;
    } cases[] = {
        {"optimiser.updates", 1, -1, "optimiser.updates: element 1 is out of range"},
        {"collapse.steps", 2, INT64_MIN, "collapse.steps: element 2 is out of range"},
        {"bank.objects_per_image", 0, 3, "bank.objects_per_image: element 0 is out of range"},
        {"bank.objects_per_image", 0, -1, "bank.objects_per_image: element 0 is out of range"},
        {"bank.objects_per_image", 0, 0, "bank.objects_per_image: they sum up to"},
        {"student.backbone.norm.bias", 1, 0, "student.backbone.norm.bias: element 1 is not finite"},
        {"teacher.head.last_layer.weight_v", 2, 0,
            "teacher.head.last_layer.weight_v: element 2 is not finite"},
        {"centre", 3, 0, "centre: element 3 is not finite"},
        {"object_centre", 0, 0, "object_centre: element 0 is not finite"},
        {"bank.view2", 0, 0, "bank.view2: element 0 is not finite"},
        {"optimiser.first.backbone.norm.bias", 0, 0, NULL}, /* moments may have overflowed */
    };
    const float nan_value = NAN;
    cribo_trainer_config c = tiny_config();
    size_t count;
    saved_at(scratch_path("file"), &c, 0);
    unsigned char *bytes = inflated(scratch_path("file"), &count);
    write_bytes(scratch_path("plain"), bytes, count);
    cribo_trainer *trainer = trained(&c, 1, 5);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        bool integers = i < 5;
        unsigned char *forged = malloc(count);
        memcpy(forged, bytes, count);
        memcpy(forged + place_of(scratch_path("plain"), cases[i].tensor, cases[i].index),
            integers ? (const void *)&cases[i].integer : (const void *)&nan_value, integers ? 8 : 4);
        mend_checksums(forged, count);
        write_bytes(scratch_path("forged"), forged, count);
        if (cases[i].part)
            refused(trainer, scratch_path("forged"), NULL, CRIBO_CORRUPT, cases[i].part);
        else
            OK(cribo_trainer_load(trainer, scratch_path("forged"), NULL));
        free(forged);
    }
    cribo_trainer_free(trainer);
    free(bytes);
}
END_TEST

/* --- no memory, no room --- */

static cribo_trainer *faulty_trainer(const cribo_trainer_config *config, faulty *memory)
{
    cribo_runtime runtime = training_runtime(2);
    cribo_trainer *trainer;
    runtime.allocate = faulty_allocate;
    runtime.release = faulty_release;
    runtime.allocator_user = memory;
    OK(cribo_trainer_create(&trainer, config, &runtime));
    return trainer;
}

START_TEST(test_checkpoint_save_without_memory_leaves_the_old_file)
{
    cribo_trainer_config c = tiny_config();
    faulty memory = {0};
    cribo_trainer *trainer = faulty_trainer(&c, &memory);
    const char *path = scratch_path("file");
    run(trainer, &c, 0, 3);
    size_t held = memory.held, at = 1;
    write_bytes(path, "old", 3);
    memory.for_ever = _i;
    for (;; at++) {
        memory.fail_at = memory.calls + at;
        cribo_status status = cribo_trainer_save(trainer, path, NULL);
        memory.fail_at = 0;
        ck_assert_uint_eq(memory.held, held);
        ck_assert_uint_eq(scratch_count(), 1);
        if (status == CRIBO_OK) break;
        REFUSED(status, CRIBO_OUT_OF_MEMORY, "memory");
        assert_bytes(path, "old", 3);
        ck_assert_uint_lt(at, 100);
    }
    ck_assert_uint_gt(at, 10);
    cribo_trainer_free(trainer);
}
END_TEST

START_TEST(test_checkpoint_load_without_memory_changes_nothing)
{
    cribo_trainer_config c = tiny_config();
    faulty memory = {0};
    saved_at(scratch_path("file"), &c, 1);
    cribo_trainer *trainer = faulty_trainer(&c, &memory);
    run(trainer, &c, 5, 7);
    training_state before = training_state_of(trainer);
    size_t held = memory.held, at = 1;
    memory.for_ever = _i;
    for (;; at++) {
        memory.fail_at = memory.calls + at;
        cribo_status status = cribo_trainer_load(trainer, scratch_path("file"), NULL);
        memory.fail_at = 0;
        ck_assert_uint_eq(memory.held, held);
        if (status == CRIBO_OK) break;
        REFUSED(status, CRIBO_OUT_OF_MEMORY, "memory");
        training_state after = training_state_of(trainer);
        ck_assert(training_state_equal(&before, &after));
        training_state_free(&after);
        ck_assert_uint_lt(at, 100);
    }
    ck_assert_uint_gt(at, 10);
    training_state_free(&before);
    cribo_trainer_free(trainer);
}
END_TEST

/* The disk is full in the middle of the file. */
START_TEST(test_checkpoint_without_room_leaves_the_old_file)
{
    cribo_trainer_config c = tiny_config();
    cribo_trainer *trainer = trained(&c, 2, 3), *twin = training_begin(&c, 1);
    const char *path = scratch_path("file");
    struct rlimit before, limit;
    OK(cribo_trainer_save(trainer, path, NULL));
    run(trainer, &c, 3, 4);
    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &before), 0);
    limit = (struct rlimit){10000, before.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    REFUSED(cribo_trainer_save(trainer, path, NULL), CRIBO_IO_ERROR, "file: cannot write: File too large");
    REFUSED(cribo_trainer_save_weights(trainer, scratch_path("new")), CRIBO_IO_ERROR, "new: cannot write");
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &before), 0);
    ck_assert_uint_eq(scratch_count(), 1);
    OK(cribo_trainer_load(twin, path, NULL)); /* the old one, of a step earlier */
    run(twin, &c, 3, 4);
    ck_assert(training_same(trainer, twin));
    OK(cribo_trainer_save(trainer, path, NULL)); /* there is room again */
    OK(cribo_trainer_load(twin, path, NULL));
    ck_assert(training_same(trainer, twin));
    REFUSED(cribo_trainer_save(trainer, "/dev/full", NULL), CRIBO_IO_ERROR, "/dev/full");
    cribo_trainer_free(trainer);
    cribo_trainer_free(twin);
}
END_TEST

START_TEST(test_checkpoint_unwritable_is_an_io_error)
{
    cribo_trainer_config c = tiny_config();
    cribo_trainer *trainer = trained(&c, 1, 1);
    REFUSED(cribo_trainer_save(trainer, scratch_path("no/file"), NULL), CRIBO_IO_ERROR, "no/file");
    REFUSED(cribo_trainer_save(trainer, scratch_folder(), NULL), CRIBO_IO_ERROR, scratch_folder());
    REFUSED(cribo_trainer_load(trainer, scratch_path("none"), NULL), CRIBO_IO_ERROR, "none");
    REFUSED(cribo_trainer_load(trainer, scratch_folder(), NULL), CRIBO_IO_ERROR, scratch_folder());
    cribo_trainer_free(trainer);
}
END_TEST

static void add_all(TCase *tests)
{
    tcase_add_loop_test(tests, test_checkpoint_resumed_run_is_the_uninterrupted_one, 0, 4);
    tcase_add_test(tests, test_checkpoint_load_replaces_whatever_was_there);
    tcase_add_test(tests, test_checkpoint_bytes_depend_on_state_and_level_alone);
    tcase_add_test(tests, test_checkpoint_holds_settings_and_strings);
    tcase_add_test(tests, test_checkpoint_teacher_is_loaded_as_a_model);
    tcase_add_loop_test(tests, test_checkpoint_backbone_begins_another_run, 0, 2);
    tcase_add_test(tests, test_checkpoint_other_settings_are_refused_by_name);
    tcase_add_test(tests, test_checkpoint_every_setting_is_compared);
    tcase_add_test(tests, test_checkpoint_other_shapes_are_refused_even_when_allowed);
    tcase_add_test(tests, test_checkpoint_larger_bank_takes_a_smaller_one);
    tcase_add_test(tests, test_checkpoint_during_a_step_is_refused);
    tcase_add_test(tests, test_checkpoint_of_weights_alone_is_refused);
    tcase_add_test(tests, test_weights_with_metadata_return_it);
    tcase_add_loop_test(tests, test_checkpoint_truncated_is_corrupt, 0, 2);
    tcase_add_loop_test(tests, test_checkpoint_flipped_bits_change_nothing, 0, 2);
    tcase_add_loop_test(tests, test_checkpoint_flipped_bits_inside_are_refused, 0, 2);
    tcase_add_test(tests, test_checkpoint_forged_header_is_refused_by_name);
    tcase_add_test(tests, test_checkpoint_forged_numbers_are_refused_by_name);
    tcase_add_loop_test(tests, test_checkpoint_save_without_memory_leaves_the_old_file, 0, 2);
    tcase_add_loop_test(tests, test_checkpoint_load_without_memory_changes_nothing, 0, 2);
    tcase_add_test(tests, test_checkpoint_without_room_leaves_the_old_file);
    tcase_add_test(tests, test_checkpoint_unwritable_is_an_io_error);
}

int main(void)
{
    Suite *suite = suite_create("checkpoint");
    TCase *tests = tcase_create("checkpoint");
    tcase_set_timeout(tests, 120);
    tcase_add_checked_fixture(tests, scratch_begin, scratch_end);
    add_all(tests);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
