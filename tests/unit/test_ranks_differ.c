/*
 * Ranks, here threads of one process, that should do the same and do not: all of them are refused with a
 * message that names the difference, and training goes on once they agree.
 */
#include "support/scratch.h"
#include "support/suite.h"
#include "support/training.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

enum { RANKS = 4, ODD = 2, BATCH = 8 }; /* ODD: the rank that differs */

/* A rank, and what it does with its trainer. */
typedef struct rank_run {
    cribo_thread_group *group;
    int64_t rank;
    cribo_trainer_config config;
    cribo_status (*act)(struct rank_run *run, cribo_trainer *trainer);
    cribo_status status;
    char message[512];
} rank_run;

static bool is_odd(const rank_run *run)
{
    return run->rank == ODD;
}

/* A step on the rank's share of batch `number`, which `change` may change. */
static cribo_status step_with(
    rank_run *run, cribo_trainer *trainer, uint64_t number, void (*change)(cribo_batch *batch))
{
    training_batch whole = training_batch_of(&run->config, BATCH, number);
    int64_t first = BATCH * run->rank / RANKS;
    int64_t skipped = first * 3 * run->config.image_size * run->config.image_size;
    cribo_batch share = whole.batch;
    share.images = BATCH / RANKS;
    share.view1 += skipped;
    share.view2 += skipped;
    share.crops1 += first;
    share.crops2 += first;
    if (change) change(&share);
    cribo_status status = cribo_trainer_step(trainer, &share, NULL);
    training_batch_free(&whole);
    return status;
}

static cribo_status step(rank_run *run, cribo_trainer *trainer)
{
    return step_with(run, trainer, 0, NULL);
}

static void *run_rank(void *context)
{
    rank_run *run = context;
    cribo_communicator communicator = {.struct_size = sizeof communicator};
    const cribo_runtime runtime = training_runtime(1);
    cribo_trainer *trainer = NULL;
    run->status = cribo_thread_group_communicator(run->group, run->rank, &communicator);
    communicator.deadline = 120;
    if (run->status == CRIBO_OK)
        run->status = cribo_trainer_create_distributed(&trainer, &run->config, &runtime, &communicator);
    if (run->status == CRIBO_OK) run->status = run->act(run, trainer);
    snprintf(run->message, sizeof run->message, "%s", run->status == CRIBO_OK ? "" : cribo_last_error());
    cribo_trainer_free(trainer);
    return NULL;
}

static void begin(rank_run runs[RANKS], cribo_status (*act)(rank_run *run, cribo_trainer *trainer))
{
    for (int r = 0; r < RANKS; r++) {
        runs[r] = (rank_run){.rank = r, .config = training_config(), .act = act};
        runs[r].config.batch_size = runs[r].config.shards = BATCH;
    }
}

static void run_all(rank_run runs[RANKS])
{
    pthread_t threads[RANKS];
    cribo_thread_group *group;
    OK(cribo_thread_group_create(&group, RANKS));
    for (int r = 0; r < RANKS; r++) {
        runs[r].group = group;
        ck_assert_int_eq(pthread_create(&threads[r], NULL, run_rank, &runs[r]), 0);
    }
    for (int r = 0; r < RANKS; r++) ck_assert_int_eq(pthread_join(threads[r], NULL), 0);
    cribo_thread_group_free(group);
}

static void assert_all(const rank_run runs[RANKS], cribo_status status, const char *part)
{
    for (int r = 0; r < RANKS; r++) {
        ck_assert_str_eq(cribo_status_name(runs[r].status), cribo_status_name(status));
        ck_assert_msg(
            strstr(runs[r].message, part) != NULL, "rank %d: \"%s\" lacks \"%s\"", r, runs[r].message, part);
    }
}

/* Settings of one rank, and the message of all. */
static const struct {
    const char *settings, *message;
} differences[] = {
    {"learning_rate=0.25", "on rank 0, but 0.25 on rank 2"},
    {"precision=bf16", "precision = float32 on rank 0, but bf16 on rank 2"},
    {"shards=16", "shards = 8 on rank 0, but 16 on rank 2"},
    {"seed=12345", "but 12345 on rank 2"},
    {"batch_size=9", "batch_size = 8 on rank 0, but 9 on rank 2"},
    {"exchange_precision=bf16", "exchange_precision = float32 on rank 0, but bf16 on rank 2"},
    {"width=48 seed=7", "width = "},
};

START_TEST(test_other_settings_are_refused_at_creation)
{
    rank_run runs[RANKS];
    begin(runs, step);
    training_set(&runs[ODD].config, differences[_i].settings);
    run_all(runs);
    assert_all(runs, CRIBO_INVALID_ARGUMENT, differences[_i].message);
}
END_TEST

START_TEST(test_a_setting_that_one_rank_cannot_have_is_refused_on_all)
{
    rank_run runs[RANKS];
    begin(runs, step);
    runs[ODD].config.width = 0;
    run_all(runs);
    assert_all(runs, CRIBO_INVALID_ARGUMENT, "width = 0 must be in");
    ck_assert_ptr_nonnull(strstr(runs[0].message, "rank 2: "));
}
END_TEST

#define CHANGED "backbone.blocks.1.norm1.bias"

static cribo_status write_bias(const cribo_trainer_config *config, cribo_trainer *trainer, float value)
{
    float bias[256];
    for (int64_t i = 0; i < config->width; i++) bias[i] = value;
    return cribo_model_write_parameter(cribo_trainer_teacher(trainer), CHANGED, bias, config->width);
}

/* The odd rank has another bias, in the second call too; then all have the same. */
static cribo_status step_with_other_weights(rank_run *run, cribo_trainer *trainer)
{
    OK(step(run, trainer));
    OK(write_bias(&run->config, trainer, is_odd(run) ? 0.5F : 0.25F));
    for (int i = 0; i < 2; i++) REFUSED(step(run, trainer), CRIBO_INVALID_ARGUMENT, "teacher." CHANGED);
    if (is_odd(run)) OK(write_bias(&run->config, trainer, 0.25F));
    return step(run, trainer);
}

/* A write of one rank alone. */
static cribo_status step_after_a_write(rank_run *run, cribo_trainer *trainer)
{
    OK(step(run, trainer));
    if (is_odd(run)) OK(write_bias(&run->config, trainer, 3));
    REFUSED(step(run, trainer), CRIBO_INVALID_ARGUMENT, "has other values on rank 2 than on rank 0");
    return CRIBO_OK;
}

static cribo_status step_with_other_centres(rank_run *run, cribo_trainer *trainer)
{
    float centre[4096] = {0};
    centre[1] = is_odd(run) ? 1 : 0;
    OK(cribo_trainer_set_centres(trainer, centre, NULL));
    REFUSED(step(run, trainer), CRIBO_INVALID_ARGUMENT, "centre has other values on rank 2");
    centre[1] = 1;
    OK(cribo_trainer_set_centres(trainer, centre, NULL));
    return step(run, trainer);
}

/* Checkpoints; scratch_path is not for several threads. */
static char one[2048], two[2048];

/* One rank reads an earlier checkpoint than the others, as from a folder that is not shared. */
static cribo_status step_from_other_checkpoints(rank_run *run, cribo_trainer *trainer)
{
    OK(step(run, trainer));
    OK(cribo_trainer_save(trainer, one, NULL));
    OK(step(run, trainer));
    OK(cribo_trainer_save(trainer, two, NULL));
    OK(cribo_trainer_load(trainer, is_odd(run) ? one : two, NULL));
    REFUSED(step(run, trainer), CRIBO_INVALID_ARGUMENT, "rank ");
    OK(cribo_trainer_load(trainer, two, NULL));
    return step(run, trainer);
}

static cribo_status change_alone(rank_run *run, cribo_trainer *trainer)
{
    OK(step(run, trainer));
    cribo_status status =
        is_odd(run) ? cribo_trainer_set_setting(trainer, "learning_rate", 1) : step(run, trainer);
    REFUSED(status, CRIBO_WRONG_STATE,
        "rank 0 calls cribo_trainer_step, but rank 2 calls cribo_trainer_set_setting");
    OK(step(run, trainer));
    status = is_odd(run) ? cribo_trainer_save(trainer, "/nowhere/run", NULL) : step(run, trainer);
    REFUSED(status, CRIBO_WRONG_STATE, "rank 2 calls cribo_trainer_save");
    return step(run, trainer);
}

static const int64_t ids[BATCH] = {1, 2, 3, 4, 5, 6, 7, 8};

static void add_ids(cribo_batch *batch)
{
    batch->ids = ids;
}

static void drop_image(cribo_batch *batch)
{
    batch->images--;
}

static cribo_status step_with_other_batches(rank_run *run, cribo_trainer *trainer)
{
    REFUSED(step_with(run, trainer, 0, is_odd(run) ? add_ids : NULL), CRIBO_INVALID_ARGUMENT,
        "the batch of rank 0 has no ids, but that of rank 2 has ids");
    REFUSED(step_with(run, trainer, 0, is_odd(run) ? drop_image : NULL), CRIBO_INVALID_ARGUMENT,
        "images of a batch of 7");
    return step(run, trainer);
}

static cribo_status (*const actions[])(rank_run *run, cribo_trainer *trainer) = {step_with_other_weights,
    step_after_a_write, step_with_other_centres, step_from_other_checkpoints, change_alone,
    step_with_other_batches};

START_TEST(test_ranks_that_do_something_else_are_refused_and_go_on)
{
    rank_run runs[RANKS];
    begin(runs, actions[_i]);
    snprintf(one, sizeof one, "%s", scratch_path("one"));
    snprintf(two, sizeof two, "%s", scratch_path("two"));
    run_all(runs);
    assert_all(runs, CRIBO_OK, "");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("ranks_differ");
    TCase *all = tcase_create("all");
    tcase_set_timeout(all, 120);
    tcase_add_checked_fixture(all, scratch_begin, scratch_end);
    tcase_add_loop_test(
        all, test_other_settings_are_refused_at_creation, 0, (int)(sizeof differences / sizeof *differences));
    tcase_add_test(all, test_a_setting_that_one_rank_cannot_have_is_refused_on_all);
    tcase_add_loop_test(all, test_ranks_that_do_something_else_are_refused_and_go_on, 0,
        (int)(sizeof actions / sizeof *actions));
    suite_add_tcase(suite, all);
    return run_suite(suite);
}
