/*
 * An objective over several ranks, here threads of one process: the losses, the gradients of tokens, the
 * heads, centres and bank of one rank, bit for bit; and failures that all ranks share.
 */
#include "base/status.h"
#include "support/objective.h"
#include "support/scratch.h"
#include "support/suite.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_RANKS = 4, BATCH = 8, NONE = -1 };

typedef struct rank_run {
    cribo_objective_config config;
    cribo_thread_group *group;
    int64_t rank, ranks;
    int64_t chunk;           /* images of a chunk; 0: the share */
    int first, steps;        /* batches first ... first + steps - 1 */
    const char *load, *save; /* checkpoints; NULL: none */
    int odd_rank;            /* a rank that differs; NONE: none does */
    bool breaks, strays;     /* in batch 1 it has a number that is not finite; it makes another call */
    float *gradients;        /* [steps, B, 2, 1 + N, D] of the whole batch, which the ranks share */
    double losses[16][3];    /* of each step: total, cross-image, gradient norm */
    cribo_status status;
    char message[512];
} rank_run;

static size_t image_numbers(const cribo_objective_config *config)
{
    return (size_t)(2 * (config->tokens + 1) * config->width);
}

static size_t batch_numbers(const cribo_objective_config *config)
{
    return BATCH * image_numbers(config);
}

static bool is_odd(const rank_run *run)
{
    return run->rank == run->odd_rank;
}

/* The rank's share of a batch. */
static int64_t share_of(const rank_run *run, int64_t *first)
{
    *first = BATCH * run->rank / run->ranks;
    return BATCH * (run->rank + 1) / run->ranks - *first;
}

static cribo_status teach(const rank_run *run, cribo_objective *objective, const token_batch *whole)
{
    int64_t first, images = share_of(run, &first);
    cribo_objective_batch share = whole->teacher;
    size_t skipped = (size_t)first * image_numbers(&run->config);
    share.images = images;
    share.dense += skipped;
    share.global += skipped;
    share.positions += first * 4 * run->config.tokens;
    return cribo_objective_teach(objective, &share);
}

/* Chunk after chunk of the rank's share. */
static cribo_status learn(const rank_run *run, cribo_objective *objective, const token_batch *whole)
{
    int64_t begin, images = share_of(run, &begin), most = run->chunk ? run->chunk : images;
    cribo_status status = CRIBO_OK;
    for (int64_t first = 0; status == CRIBO_OK && first < images; first += most) {
        int64_t count = most < images - first ? most : images - first;
        cribo_objective_chunk chunk = token_chunk(&run->config, whole, begin + first, count);
        chunk.first = first;
        status = cribo_objective_learn(objective, &chunk);
    }
    return status;
}

static cribo_status take_phases(
    rank_run *run, cribo_objective *objective, const token_batch *whole, double losses[3])
{
    cribo_report report = {.struct_size = sizeof report};
    CB_TRY(teach(run, objective, whole));
    CB_TRY(learn(run, objective, whole));
    CB_TRY(cribo_objective_update(objective, &report));
    ck_assert_int_eq(report.images, BATCH);
    losses[0] = report.loss;
    losses[1] = report.cross_image_loss;
    losses[2] = report.gradient_norm;
    return CRIBO_OK;
}

static cribo_status take_step(rank_run *run, cribo_objective *objective, int number)
{
    token_batch whole = token_batch_of(&run->config, BATCH, (uint64_t)number);
    size_t numbers = image_numbers(&run->config), at = (size_t)(number - run->first);
    int64_t first, images = share_of(run, &first);
    float *broken = whole.tokens + (BATCH + first) * (int64_t)numbers, sound = *broken;
    cribo_status status = CRIBO_OK;
    if (run->breaks && number == 1) { /* on all ranks, then again with sound data */
        if (is_odd(run)) *broken = NAN;
        status = take_phases(run, objective, &whole, run->losses[at]);
        REFUSED(status, CRIBO_INVALID_ARGUMENT, "is not finite");
        ck_assert_int_eq(strncmp(cribo_last_error(), "rank 1: chunk.", 14) == 0, !is_odd(run));
        *broken = sound;
    }
    if (run->strays && number == 1 && is_odd(run))
        REFUSED(cribo_objective_set_setting(objective, "clip_norm", 3), CRIBO_WRONG_STATE,
            "rank 0 calls cribo_objective_teach, but rank 1 calls cribo_objective_set_setting");
    else if (run->strays && number == 1)
        REFUSED(teach(run, objective, &whole), CRIBO_WRONG_STATE, "calls cribo_objective_set_setting");
    status = take_phases(run, objective, &whole, run->losses[at]);
    memcpy(run->gradients + at * batch_numbers(&run->config) + (size_t)first * numbers,
        whole.gradients + (size_t)first * numbers, (size_t)images * numbers * sizeof(float));
    token_batch_free(&whole);
    return status;
}

/* What is divided cannot be read. */
static void assert_is_divided(cribo_objective *objective)
{
    float value[4096];
    cribo_parameter p = {.struct_size = sizeof p};
    OK(cribo_objective_parameter(objective, 0, &p));
    REFUSED(cribo_objective_gradient(objective, p.name, value, p.count), CRIBO_WRONG_STATE,
        "divided over 4 ranks");
    REFUSED(cribo_objective_set_gradient(objective, p.name, value, p.count), CRIBO_WRONG_STATE,
        "divided over 4 ranks");
    REFUSED(cribo_objective_moments(objective, p.name, value, NULL, p.count, NULL), CRIBO_WRONG_STATE,
        "divided over 4 ranks");
    OK(cribo_objective_read_parameter(objective, CRIBO_STUDENT, p.name, value, p.count));
}

static cribo_status run_steps(rank_run *run, cribo_objective *objective)
{
    if (run->load) CB_TRY(cribo_objective_load(objective, run->load, NULL));
    for (int number = run->first; number < run->first + run->steps; number++)
        CB_TRY(take_step(run, objective, number));
    if (run->ranks == 4) assert_is_divided(objective);
    return run->save ? cribo_objective_save(objective, run->save, NULL) : CRIBO_OK;
}

static void *run_rank(void *context)
{
    rank_run *run = context;
    cribo_communicator communicator = {.struct_size = sizeof communicator};
    const cribo_runtime runtime = training_runtime(1);
    cribo_objective *objective = NULL;
    run->status = cribo_thread_group_communicator(run->group, run->rank, &communicator);
    communicator.deadline = 120;
    if (run->status == CRIBO_OK)
        run->status = cribo_objective_create_distributed(&objective, &run->config, &runtime, &communicator);
    if (run->status == CRIBO_OK) run->status = run_steps(run, objective);
    snprintf(run->message, sizeof run->message, "%s", run->status == CRIBO_OK ? "" : cribo_last_error());
    cribo_objective_free(objective);
    return NULL;
}

/* Runs `run` on `ranks` ranks, with the outcomes in `runs`. Free runs[0].gradients. */
static void run_all(rank_run runs[MAX_RANKS], const rank_run *run, int64_t ranks)
{
    pthread_t threads[MAX_RANKS];
    cribo_thread_group *group;
    float *gradients = calloc((size_t)run->steps * batch_numbers(&run->config), sizeof *gradients);
    ck_assert_ptr_nonnull(gradients);
    OK(cribo_thread_group_create(&group, ranks));
    for (int64_t r = 0; r < ranks; r++) {
        runs[r] = *run;
        runs[r].group = group;
        runs[r].rank = r;
        runs[r].ranks = ranks;
        runs[r].gradients = gradients;
        ck_assert_int_eq(pthread_create(&threads[r], NULL, run_rank, &runs[r]), 0);
    }
    for (int64_t r = 0; r < ranks; r++) ck_assert_int_eq(pthread_join(threads[r], NULL), 0);
    cribo_thread_group_free(group);
}

static void assert_all_ok(const rank_run *runs, int64_t ranks)
{
    for (int64_t r = 0; r < ranks; r++)
        ck_assert_msg(runs[r].status == CRIBO_OK, "rank %lld: %s", (long long)r, runs[r].message);
}

static rank_run make_run(int steps)
{
    rank_run run = {.config = objective_config(), .steps = steps, .odd_rank = NONE};
    run.config.batch_size = run.config.shards = BATCH;
    run.config.micro_batch = 1;
    run.config.bank_images = 20; /* two and a half batches */
    return run;
}

/* Every number of ranks against one. */
static void assert_same_bits(const rank_run *run)
{
    rank_run one[MAX_RANKS], several[MAX_RANKS], with = *run;
    with.save = scratch_path("one");
    run_all(one, &with, 1);
    assert_all_ok(one, 1);
    for (int64_t ranks = 2; ranks <= MAX_RANKS; ranks *= 2) {
        with.save = scratch_path("several");
        run_all(several, &with, ranks);
        assert_all_ok(several, ranks);
        assert_same_files("one", "several");
        for (int64_t r = 0; r < ranks; r++)
            ck_assert_mem_eq(several[r].losses, one[0].losses, sizeof one[0].losses);
        ck_assert_mem_eq(several[0].gradients, one[0].gradients,
            (size_t)run->steps * batch_numbers(&run->config) * sizeof(float));
        free(several[0].gradients);
    }
    ck_assert_double_gt(one[0].losses[run->steps - 1][1], 0); /* so that the bank is used */
    free(one[0].gradients);
}

static const struct {
    const char *names, *values; /* of settings, separated by spaces */
    int64_t chunk;
} variants[] = {
    {"micro_batch", "1", 0},
    {"micro_batch", "1", 1},
    {"micro_batch", "2", 2}, /* four shards */
    {"precision", "bf16", 0},
    {"exchange_precision", "bf16", 0},
    {"sinkhorn_centring", "3", 1},
    {"koleo_weight", "0.3", 0},
    {"group_images", "4", 1},
    {"bank_images", "7", 0},
};

START_TEST(test_objectives_of_any_number_of_ranks_give_the_same_bits)
{
    rank_run run = make_run(4);
    OK(cribo_objective_config_set(&run.config, variants[_i].names, variants[_i].values));
    if (run.config.micro_batch == 2) run.config.shards = 4;
    run.chunk = variants[_i].chunk;
    assert_same_bits(&run);
}
END_TEST

START_TEST(test_objectives_checkpoints_pass_between_numbers_of_ranks)
{
    rank_run run = make_run(4), runs[MAX_RANKS];
    run.save = scratch_path("whole");
    run_all(runs, &run, 1);
    assert_all_ok(runs, 1);
    free(runs[0].gradients);
    run.steps = 2;
    run.save = scratch_path("half");
    run_all(runs, &run, 4);
    assert_all_ok(runs, 4);
    free(runs[0].gradients);
    run.first = 2;
    run.load = scratch_path("half");
    run.save = scratch_path("rest");
    run_all(runs, &run, 2);
    assert_all_ok(runs, 2);
    free(runs[0].gradients);
    assert_same_files("whole", "rest");
}
END_TEST

/* A chunk that fails on one rank, the first of several, a single one, or with KoLeo. */
START_TEST(test_objectives_a_chunk_that_fails_on_one_rank_fails_on_all)
{
    rank_run run = make_run(3), runs[MAX_RANKS];
    run.chunk = _i == 0 ? 1 : 0;
    run.config.koleo_weight = _i == 2 ? 0.3 : 0;
    run.save = scratch_path("sound");
    run_all(runs, &run, 4);
    assert_all_ok(runs, 4);
    free(runs[0].gradients);
    run.odd_rank = 1;
    run.breaks = run.strays = true;
    run.save = scratch_path("broken");
    run_all(runs, &run, 4);
    assert_all_ok(runs, 4);
    free(runs[0].gradients);
    assert_same_files("sound", "broken");
}
END_TEST

/* One rank has another setting. */
static void *run_other(void *context)
{
    rank_run *run = context;
    if (is_odd(run)) run->config.learning_rate = 0.125;
    return run_rank(run);
}

START_TEST(test_objectives_with_other_settings_are_refused)
{
    rank_run runs[2];
    pthread_t threads[2];
    cribo_thread_group *group;
    OK(cribo_thread_group_create(&group, 2));
    for (int r = 0; r < 2; r++) {
        runs[r] = make_run(0);
        runs[r].group = group;
        runs[r].rank = r;
        runs[r].ranks = 2;
        runs[r].odd_rank = 1;
        ck_assert_int_eq(pthread_create(&threads[r], NULL, run_other, &runs[r]), 0);
    }
    for (int r = 0; r < 2; r++) {
        ck_assert_int_eq(pthread_join(threads[r], NULL), 0);
        ck_assert_int_eq(runs[r].status, CRIBO_INVALID_ARGUMENT);
        ck_assert_ptr_nonnull(strstr(runs[r].message, "learning_rate = 0.05 on rank 0, but 0.125 on rank 1"));
    }
    cribo_thread_group_free(group);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("ranks_objective");
    TCase *all = tcase_create("all");
    tcase_set_timeout(all, 120);
    tcase_add_checked_fixture(all, scratch_begin, scratch_end);
    tcase_add_loop_test(all, test_objectives_of_any_number_of_ranks_give_the_same_bits, 0,
        (int)(sizeof variants / sizeof *variants));
    tcase_add_test(all, test_objectives_checkpoints_pass_between_numbers_of_ranks);
    tcase_add_loop_test(all, test_objectives_a_chunk_that_fails_on_one_rank_fails_on_all, 0, 3);
    tcase_add_test(all, test_objectives_with_other_settings_are_refused);
    suite_add_tcase(suite, all);
    return run_suite(suite);
}
