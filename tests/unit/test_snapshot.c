/*
 * Snapshots: the state of a trainer at one moment, saved by another thread during further steps, equals the
 * file that the trainer would have saved at that moment.
 */
#include "support/faulty.h"
#include "support/scratch.h"
#include "support/suite.h"
#include "support/training.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static cribo_trainer *trained(const cribo_trainer_config *config, int64_t threads)
{
    cribo_trainer *trainer = training_begin(config, threads);
    training_steps(trainer, config, 4);
    return trainer;
}

static cribo_snapshot *snapshot_of(const cribo_trainer *trainer, int64_t threads)
{
    cribo_runtime runtime = training_runtime(threads);
    cribo_snapshot *snapshot;
    OK(cribo_snapshot_create(&snapshot, trainer, &runtime));
    return snapshot;
}

typedef struct background {
    cribo_snapshot *snapshot;
    const cribo_save_options *options;
    char checkpoint[2048], weights[2048];
    cribo_status saved, weighed;
} background;

static void *save(void *context)
{
    background *b = context;
    b->saved = cribo_snapshot_save(b->snapshot, b->checkpoint, b->options);
    b->weighed = cribo_snapshot_save_weights_with(b->snapshot, b->weights, b->options);
    return NULL;
}

/* The trainer takes steps while another thread saves; in the second round it is freed before. */
START_TEST(test_snapshot_saved_beside_steps_has_the_bytes_of_a_save)
{
    const char *const keys[] = {"position"}, *const values[] = {"image 17"};
    const cribo_save_options options = {.struct_size = sizeof options,
        .level = _i % 2,
        .metadata_count = 1,
        .metadata_keys = keys,
        .metadata_values = values};
    const int64_t threads = 1 + _i / 2 % 3;
    cribo_trainer_config c = training_config();
    cribo_trainer *trainer = trained(&c, threads), *twin = trained(&c, 1);
    background b = {.snapshot = snapshot_of(trainer, threads), .options = &options};
    pthread_t thread;
    strcpy(b.checkpoint, scratch_path("late"));
    strcpy(b.weights, scratch_path("late weights"));
    OK(cribo_trainer_save(trainer, scratch_path("at once"), &options));
    OK(cribo_trainer_save_weights_with(trainer, scratch_path("weights at once"), &options));
    if (_i == 0) {
        cribo_trainer_free(trainer);
        trainer = training_begin(&c, 1);
        OK(cribo_trainer_load(trainer, scratch_path("at once"), NULL));
    }
    ck_assert_int_eq(pthread_create(&thread, NULL, save, &b), 0);
    for (uint64_t i = 4; i < 8; i++) training_step(trainer, &c, i);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    ck_assert_int_eq(b.saved, CRIBO_OK);
    ck_assert_int_eq(b.weighed, CRIBO_OK);
    assert_same_files("at once", "late");
    assert_same_files("weights at once", "late weights");
    OK(cribo_snapshot_save(b.snapshot, scratch_path("again"), &options));
    assert_same_files("at once", "again");
    for (uint64_t i = 4; i < 8; i++) training_step(twin, &c, i);
    ck_assert(training_same(trainer, twin)); /* the trainer without a snapshot */
    cribo_snapshot_free(b.snapshot);
    cribo_trainer_free(trainer);
    cribo_trainer_free(twin);
}
END_TEST

START_TEST(test_snapshot_of_a_fresh_trainer_is_saved_by_default)
{
    cribo_trainer_config c = training_config();
    cribo_trainer *trainer = training_begin(&c, 1);
    cribo_snapshot *snapshot;
    OK(cribo_snapshot_create(&snapshot, trainer, NULL));
    OK(cribo_trainer_save(trainer, scratch_path("trainer"), NULL));
    OK(cribo_snapshot_save(snapshot, scratch_path("snapshot"), NULL));
    assert_same_files("trainer", "snapshot"); /* with an empty bank */
    cribo_snapshot_free(snapshot);
    cribo_trainer_free(trainer);
}
END_TEST

START_TEST(test_snapshot_during_a_step_is_refused)
{
    cribo_trainer_config c = training_config();
    cribo_trainer *trainer = trained(&c, 1);
    cribo_snapshot *snapshot = (cribo_snapshot *)&c;
    training_batch made = training_batch_of(&c, 5, 99);
    OK(cribo_trainer_teach(trainer, &made.batch));
    REFUSED(cribo_snapshot_create(&snapshot, trainer, NULL), CRIBO_WRONG_STATE, "a step is under way");
    ck_assert_ptr_null(snapshot);
    training_batch_free(&made);
    cribo_trainer_free(trainer);
}
END_TEST

/* --- memory --- */

START_TEST(test_snapshot_create_without_memory_leaves_nothing)
{
    cribo_trainer_config c = training_config();
    cribo_trainer *trainer = trained(&c, 1);
    cribo_snapshot *snapshot = NULL;
    size_t at = 1;
    for (;; at++) {
        faulty memory = {.fail_at = at, .for_ever = _i};
        cribo_runtime runtime = faulty_runtime(2, &memory);
        cribo_status status = cribo_snapshot_create(&snapshot, trainer, &runtime);
        if (status == CRIBO_OK) {
            cribo_snapshot_free(snapshot);
            ck_assert_uint_eq(memory.held, 0);
            break;
        }
        REFUSED(status, CRIBO_OUT_OF_MEMORY, "memory");
        ck_assert_ptr_null(snapshot);
        ck_assert_uint_eq(memory.held, 0);
    }
    ck_assert_uint_ge(at, 5);
    cribo_trainer_free(trainer);
}
END_TEST

START_TEST(test_snapshot_save_without_memory_leaves_the_old_file)
{
    cribo_trainer_config c = training_config();
    cribo_trainer *trainer = trained(&c, 1);
    faulty memory = {0};
    cribo_runtime runtime = faulty_runtime(2, &memory);
    cribo_snapshot *snapshot;
    const char *path = scratch_path("file");
    size_t at = 1;
    OK(cribo_snapshot_create(&snapshot, trainer, &runtime));
    size_t held = memory.held;
    write_bytes(path, "old", 3);
    for (memory.for_ever = _i;; at++) {
        memory.fail_at = memory.calls + at;
        cribo_status status = cribo_snapshot_save(snapshot, path, NULL);
        memory.fail_at = 0;
        ck_assert_uint_eq(memory.held, held);
        ck_assert_uint_eq(scratch_count(), 1);
        if (status == CRIBO_OK) break;
        REFUSED(status, CRIBO_OUT_OF_MEMORY, "memory");
        assert_bytes(path, "old", 3);
    }
    ck_assert_uint_gt(at, 10);
    OK(cribo_trainer_save(trainer, scratch_path("trainer"), NULL));
    assert_same_files("trainer", "file");
    cribo_snapshot_free(snapshot);
    cribo_trainer_free(trainer);
    ck_assert_uint_eq(memory.held, 0);
}
END_TEST

/* As stated in the header: 16 bytes per parameter, 8 D per object; and a little for lists and names. */
START_TEST(test_snapshot_takes_the_memory_that_is_promised)
{
    cribo_trainer_config c = training_config();
    c.width = 64;
    cribo_trainer *trainer = trained(&c, 1);
    faulty memory = {0};
    cribo_runtime runtime = faulty_runtime(2, &memory);
    cribo_snapshot *snapshot;
    cribo_parameter p;
    int64_t images, objects;
    size_t parameters = 0, arrays = 0;
    for (; training_parameter(trainer, (int64_t)arrays, &p); arrays++) parameters += (size_t)p.count;
    OK(cribo_memory_bank_count(cribo_trainer_memory_bank(trainer), &images, &objects));
    OK(cribo_snapshot_create(&snapshot, trainer, &runtime));
    size_t promised = 16 * parameters + 8 * (size_t)c.width * (size_t)objects;
    ck_assert_uint_ge(memory.peak, promised);
    ck_assert_uint_le(memory.peak, promised + 4 * arrays * 300 + 16384);
    cribo_snapshot_free(snapshot);
    ck_assert_uint_eq(memory.held, 0);
    cribo_trainer_free(trainer);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("snapshot");
    TCase *tests = tcase_create("snapshot");
    tcase_set_timeout(tests, 120);
    tcase_add_checked_fixture(tests, scratch_begin, scratch_end);
    tcase_add_loop_test(tests, test_snapshot_saved_beside_steps_has_the_bytes_of_a_save, 0, 6);
    tcase_add_test(tests, test_snapshot_of_a_fresh_trainer_is_saved_by_default);
    tcase_add_test(tests, test_snapshot_during_a_step_is_refused);
    tcase_add_loop_test(tests, test_snapshot_create_without_memory_leaves_nothing, 0, 2);
    tcase_add_loop_test(tests, test_snapshot_save_without_memory_leaves_the_old_file, 0, 2);
    tcase_add_test(tests, test_snapshot_takes_the_memory_that_is_promised);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
