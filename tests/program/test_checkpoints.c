/* A run's checkpoints: the files that are kept and found, and their content. */
#include "session/checkpoints.h"
#include "files.h"
#include "suite.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static cribo_trainer *make_trainer(void)
{
    cribo_trainer *trainer;
    cribo_trainer_config config;
    cribo_runtime runtime;
    ck_assert(cribo_trainer_config_init(&config, sizeof config) == CRIBO_OK);
    ck_assert(cribo_runtime_init(&runtime, sizeof runtime) == CRIBO_OK);
    config.image_size = 16;
    config.patch_size = 8;
    config.width = 16;
    config.depth = 1;
    config.heads = 2;
    config.head_hidden = config.head_bottleneck = 8;
    config.prototypes = config.object_prototypes = 8;
    config.clusters = 2;
    config.bank_images = 4;
    config.batch_size = 2;
    config.steps_per_epoch = 1;
    runtime.threads = 1;
    ck_assert_msg(cribo_trainer_create(&trainer, &config, &runtime) == CRIBO_OK, "%s", cribo_last_error());
    return trainer;
}

static void save(const char *folder, const cribo_trainer *trainer, int64_t step, int keep)
{
    struct position position = {.batches = (uint64_t)step};
    struct problem problem;
    ck_assert_msg(checkpoints_save(folder, (struct state_source){.trainer = trainer}, step, &position,
                      (struct keeping){keep, 1}, &problem),
        "%s", problem.text);
}

static bool exists(const char *folder, const char *name)
{
    return access(files_path(folder, name), F_OK) == 0;
}

START_TEST(test_checkpoints_position_survives_the_file)
{
    char *folder = files_make_folder(), *path;
    cribo_trainer *trainer = make_trainer();
    uint32_t broken[] = {0, 7, 99999};
    struct problem problem;
    struct position read, written = {.batches = UINT64_C(1) << 40,
                              .digest = UINT64_MAX - 1,
                              .files = 100000,
                              .preset = "tiny",
                              .watch = "0 2 0"};
    for (size_t count = 0; count <= 3; count += 3) {
        written.broken = broken;
        written.broken_count = count;
        ck_assert(checkpoints_save(folder, (struct state_source){.trainer = trainer}, 5, &written,
            (struct keeping){1, 6}, &problem));
        ck_assert(checkpoints_newest(&path, folder, &problem));
        ck_assert_msg(position_read(&read, path, &problem), "%s", problem.text);
        ck_assert_uint_eq(read.batches, written.batches);
        ck_assert_uint_eq(read.digest, written.digest);
        ck_assert_uint_eq(read.files, written.files);
        ck_assert_str_eq(read.preset, "tiny");
        ck_assert_str_eq(read.watch, "0 2 0");
        ck_assert_uint_eq(read.broken_count, count);
        ck_assert(count == 0 || !memcmp(read.broken, broken, sizeof broken));
        position_free(&read);
        free(path);
    }
    written.files = 8; /* 99999 is then no file */
    ck_assert(checkpoints_save(
        folder, (struct state_source){.trainer = trainer}, 5, &written, (struct keeping){1, 6}, &problem));
    ck_assert(checkpoints_newest(&path, folder, &problem));
    ck_assert(!position_read(&read, path, &problem));
    ck_assert_ptr_nonnull(strstr(problem.text, "\"broken\" is no list of pictures"));
    free(path);
    cribo_trainer_free(trainer);
    files_remove(folder);
}
END_TEST

START_TEST(test_checkpoints_newest_ones_by_number_are_kept)
{
    char *folder = files_make_folder(), *path;
    cribo_trainer *trainer = make_trainer();
    struct problem problem;
    ck_assert(checkpoints_newest(&path, folder, &problem) && path == NULL);
    ck_assert(checkpoints_newest(&path, files_path(folder, "missing"), &problem) && path == NULL);
    files_write(files_path(folder, "checkpoint-5.safetensors.gz.old"), "x", 1);
    files_write(files_path(folder, "checkpoint-00000001.safetensors.gz.77-0.tmp"), "x", 1);
    save(folder, trainer, 99999999, 2);
    save(folder, trainer, 100000000, 2);
    save(folder, trainer, 100000001, 2);
    ck_assert(!exists(folder, "checkpoint-99999999.safetensors.gz"));
    ck_assert(exists(folder, "checkpoint-100000000.safetensors.gz"));
    ck_assert(exists(folder, "checkpoint-5.safetensors.gz.old"));
    ck_assert(!exists(folder, "checkpoint-00000001.safetensors.gz.77-0.tmp"));
    ck_assert(checkpoints_newest(&path, folder, &problem));
    ck_assert_str_eq(path, files_path(folder, "checkpoint-100000001.safetensors.gz"));
    checkpoints_set_aside(path);
    free(path);
    ck_assert(exists(folder, "checkpoint-100000001.safetensors.gz.damaged"));
    ck_assert(checkpoints_newest(&path, folder, &problem));
    ck_assert_str_eq(path, files_path(folder, "checkpoint-100000000.safetensors.gz"));
    free(path);
    checkpoints_prune(folder, 0);
    ck_assert(checkpoints_newest(&path, folder, &problem) && path == NULL);
    cribo_trainer_free(trainer);
    files_remove(folder);
}
END_TEST

START_TEST(test_checkpoints_not_of_the_program_are_refused)
{
    char *folder = files_make_folder();
    const char *path = files_path(folder, "checkpoint-00000001.safetensors.gz");
    cribo_trainer *trainer = make_trainer();
    struct position position;
    struct problem problem;
    ck_assert(cribo_trainer_save(trainer, path, NULL) == CRIBO_OK);
    ck_assert(!position_read(&position, path, &problem));
    ck_assert_ptr_nonnull(strstr(problem.text, "batches"));
    files_write(path, "nonsense", 8);
    ck_assert(!position_read(&position, path, &problem));
    ck_assert_ptr_nonnull(strstr(problem.text, path));
    cribo_trainer_free(trainer);
    files_remove(folder);
}
END_TEST

RUN_TESTS("checkpoints", test_checkpoints_position_survives_the_file,
    test_checkpoints_newest_ones_by_number_are_kept, test_checkpoints_not_of_the_program_are_refused)
