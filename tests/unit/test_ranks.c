/*
 * Training over several ranks, here threads of one process: the same bits as one rank, checkpoints that pass
 * between numbers of ranks, and failures that all ranks share.
 */
#define _POSIX_C_SOURCE 200809L /* nanosleep */
#include "base/status.h"
#include "support/faulty.h"
#include "support/scratch.h"
#include "support/suite.h"
#include "support/training.h"
#include "training/optimiser.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { MAX_RANKS = 8, BATCH = 8 };

typedef struct run_job {
    cribo_trainer_config config;
    cribo_thread_group *group;
    int64_t rank, ranks;
    double deadline;
    int first, steps;         /* batches first ... first + steps - 1 */
    const char *load, *save;  /* checkpoints; NULL: none */
    int broken_rank, broken;  /* a rank whose batch `broken` has a NaN; rank -1: none */
    int leaving_rank, leaves; /* a rank that leaves before batch `leaves`; rank -1: none */
    double rate;              /* learning_rate from the second step on; 0: unchanged */
    int other_rank;           /* a rank that wants twice this rate; -1: none */
    bool retries;             /* a step that failed is taken again, with sound data */
    bool refused_save;        /* a save to a folder that does not exist comes before the others */
    const char *snapshot;     /* a checkpoint saved from a snapshot; NULL: none */
    long slow_ms;    /* what each call of a writer takes, to which a checkpoint is saved; 0: none is */
    int64_t written; /* calls of that writer on this rank */
    int poor_rank;   /* a rank whose allocator fails, first at call `fails_at` of creation; -1: none */
    size_t fails_at; /* 0: not in creation */
    bool poor_steps; /* its allocator fails in every step; a step that fails is repeated */
    bool poor_files; /* and at each call of a save and of a load, which are then repeated */
    int failed;      /* calls that failed for lack of memory */
    size_t calls;    /* allocations of creation */
    faulty memory;   /* of the trainer, before its end */
    size_t sent;     /* bytes */
    cribo_status status;
    char message[512];
    cribo_report report; /* of the last step */
} run_job;

/* The rank's part of batch `number`. */
static cribo_batch part_of(const run_job *job, const training_batch *whole)
{
    int64_t first = BATCH * job->rank / job->ranks, images = BATCH * (job->rank + 1) / job->ranks - first;
    size_t image = 3 * (size_t)(job->config.image_size * job->config.image_size),
           skipped = (size_t)first * image;
    cribo_batch part = whole->batch;
    part.images = images;
    part.view1 += skipped;
    part.view2 += skipped;
    part.crops1 += first;
    part.crops2 += first;
    if (part.local_views)
        part.local_views +=
            first * job->config.local_crops * 3 * job->config.local_size * job->config.local_size;
    return part;
}

static cribo_status take_step(run_job *job, cribo_trainer *trainer, int number)
{
    training_batch whole = training_batch_of(&job->config, BATCH, (uint64_t)number);
    cribo_batch part = part_of(job, &whole);
    if (job->rank == job->broken_rank && number == job->broken) whole.pixels[part.view1 - whole.pixels] = NAN;
    job->report = (cribo_report){.struct_size = sizeof job->report};
    cribo_status status = cribo_trainer_step(trainer, &part, &job->report);
    training_batch_free(&whole);
    return status;
}

static cribo_status change_rate(const run_job *job, cribo_trainer *trainer)
{
    double rate = job->rank == job->other_rank ? 2 * job->rate : job->rate;
    return job->rate > 0 ? cribo_trainer_set_setting(trainer, "learning_rate", rate) : CRIBO_OK;
}

static cribo_status save_snapshot(const cribo_trainer *trainer, const char *path)
{
    const cribo_runtime runtime = training_runtime(1);
    cribo_snapshot *snapshot;
    cribo_status status = cribo_snapshot_create(&snapshot, trainer, &runtime);
    if (status == CRIBO_OK) status = cribo_snapshot_save(snapshot, path, NULL);
    cribo_snapshot_free(snapshot);
    return status;
}

/* A part of the bank cannot be queried or saved. */
static void assert_bank_is_divided(cribo_trainer *trainer)
{
    cribo_memory_bank *bank = cribo_trainer_memory_bank(trainer);
    cribo_object_batch none = {.struct_size = sizeof none};
    cribo_match match = {.struct_size = sizeof match};
    REFUSED(cribo_memory_bank_query(bank, &none, &match), CRIBO_WRONG_STATE, "divided over");
    REFUSED(cribo_memory_bank_save(bank, "/nowhere/bank", ""), CRIBO_WRONG_STATE, "divided over");
    float vector[1];
    REFUSED(cribo_memory_bank_export(bank, NULL, NULL, vector, NULL), CRIBO_WRONG_STATE, "divided over");
}

static int write_slowly(void *user, const void *bytes, size_t count)
{
    run_job *job = user;
    (void)bytes, (void)count;
    job->written++;
    nanosleep(&(struct timespec){.tv_nsec = 1000000 * job->slow_ms}, NULL);
    return 0;
}

static cribo_status save_slowly(run_job *job, const cribo_trainer *trainer)
{
    const cribo_writer writer = {.struct_size = sizeof writer, .write = write_slowly, .user = job};
    const cribo_save_options stored = {.struct_size = sizeof stored};
    CB_TRY(cribo_trainer_save_to(trainer, &writer, &stored));
    return cribo_trainer_save_weights_to(trainer, &writer);
}

/* Every rank sees that the poor one has no memory, and whose message this is. */
static void assert_poor(run_job *job, cribo_status status)
{
    const char *message = cribo_last_error();
    ck_assert_str_eq(cribo_status_name(status), cribo_status_name(CRIBO_OUT_OF_MEMORY));
    ck_assert_msg(strstr(message, "no memory") != NULL, "%s", message);
    const char *reason = strncmp(message, "rank 1: ", 8) == 0 ? message + 8 : message;
    ck_assert_msg(reason > message || job->rank == job->poor_rank, "%s", message);
    ck_assert_msg(strncmp(reason, "rank ", 5) != 0, "%s", message);
    job->failed++;
}

/* One call after the other fails on the poor rank, until saving or loading asks for fewer. */
static cribo_status repeat_with_failures(run_job *job, cribo_trainer *trainer, bool saves)
{
    cribo_status status = CRIBO_OUT_OF_MEMORY;
    for (size_t at = 1; status != CRIBO_OK; at++) {
        if (job->rank == job->poor_rank) job->memory.fail_at = job->memory.calls + at;
        status = saves ? cribo_trainer_save(trainer, job->save, NULL)
                       : cribo_trainer_load(trainer, job->save, NULL);
        job->memory.fail_at = 0;
        if (status != CRIBO_OK) assert_poor(job, status);
    }
    return status;
}

static cribo_status run_steps(run_job *job, cribo_trainer *trainer)
{
    cribo_status status = CRIBO_OK;
    if (job->load) status = cribo_trainer_load(trainer, job->load, NULL);
    for (int number = job->first; status == CRIBO_OK && number < job->first + job->steps; number++) {
        if (job->rank == job->leaving_rank && number == job->leaves) return CRIBO_OK;
        if (number == job->first + 1) CB_TRY(change_rate(job, trainer));
        if (job->poor_steps && job->rank == job->poor_rank) job->memory.fail_at = job->memory.calls + 1;
        status = take_step(job, trainer, number);
        job->memory.fail_at = 0;
        if (job->poor_steps && status != CRIBO_OK) {
            assert_poor(job, status);
            status = take_step(job, trainer, number);
        }
        if (status == CRIBO_OK || !job->retries) continue;
        job->broken_rank = -1;
        status = take_step(job, trainer, number);
    }
    if (status == CRIBO_OK && job->refused_save)
        ck_assert_int_eq(cribo_trainer_save(trainer, "/nowhere/checkpoint", NULL), CRIBO_IO_ERROR);
    if (status == CRIBO_OK && job->poor_files) status = repeat_with_failures(job, trainer, true);
    if (status == CRIBO_OK && job->poor_files) status = repeat_with_failures(job, trainer, false);
    if (status == CRIBO_OK && job->snapshot) status = save_snapshot(trainer, job->snapshot);
    if (status == CRIBO_OK && job->slow_ms) status = save_slowly(job, trainer);
    if (status == CRIBO_OK && job->ranks > 1) assert_bank_is_divided(trainer);
    if (status == CRIBO_OK && job->save) status = cribo_trainer_save(trainer, job->save, NULL);
    return status;
}

/* A communicator that counts the bytes sent. */
typedef struct counted {
    cribo_communicator inner;
    size_t *sent;
} counted;

static int count_send(void *context, int64_t peer, const void *data, size_t bytes, int64_t *request)
{
    const counted *c = context;
    *c->sent += bytes;
    return c->inner.send(c->inner.context, peer, data, bytes, request);
}

static int pass_receive(void *context, int64_t peer, void *data, size_t bytes, int64_t *request)
{
    const counted *c = context;
    return c->inner.receive(c->inner.context, peer, data, bytes, request);
}

static int pass_test(void *context, int64_t request)
{
    const counted *c = context;
    return c->inner.test(c->inner.context, request);
}

static void pass_cancel(void *context, int64_t request)
{
    const counted *c = context;
    c->inner.cancel(c->inner.context, request);
}

static void *run_rank(void *context)
{
    run_job *job = context;
    counted c = {{.struct_size = sizeof c.inner}, &job->sent};
    cribo_runtime runtime = training_runtime(1);
    cribo_trainer *trainer = NULL;
    runtime.allocate = faulty_allocate;
    runtime.release = faulty_release;
    runtime.allocator_user = &job->memory;
    job->status = cribo_thread_group_communicator(job->group, job->rank, &c.inner);
    cribo_communicator communicator = {sizeof communicator, job->rank, job->ranks, job->deadline, &c,
        count_send, pass_receive, pass_test, pass_cancel};
    if (job->rank == job->poor_rank) job->memory.fail_at = job->fails_at;
    if (job->status == CRIBO_OK)
        job->status = cribo_trainer_create_distributed(&trainer, &job->config, &runtime, &communicator);
    job->calls = job->memory.calls;
    if (job->poor_rank >= 0 && job->status == CRIBO_OUT_OF_MEMORY) {
        assert_poor(job, job->status);
        job->memory.fail_at = 0;
        job->status = cribo_trainer_create_distributed(&trainer, &job->config, &runtime, &communicator);
    }
    size_t bytes = job->memory.bytes;
    if (job->status == CRIBO_OK) job->status = run_steps(job, trainer);
    if (job->status == CRIBO_OK)
        ck_assert_uint_eq(job->memory.bytes, bytes); /* saves and loads keep nothing */
    snprintf(job->message, sizeof job->message, "%s", job->status == CRIBO_OK ? "" : cribo_last_error());
    cribo_trainer_free(trainer);
    return NULL;
}

/* Runs `job` on `ranks` ranks; the jobs of all ranks are in `jobs`. */
static void run_jobs(run_job *jobs, const run_job *job, size_t ranks)
{
    pthread_t threads[MAX_RANKS];
    cribo_thread_group *group;
    OK(cribo_thread_group_create(&group, (int64_t)ranks));
    for (size_t r = 0; r < ranks; r++) {
        jobs[r] = *job;
        jobs[r].group = group;
        jobs[r].rank = (int64_t)r;
        jobs[r].ranks = (int64_t)ranks;
        ck_assert_int_eq(pthread_create(&threads[r], NULL, run_rank, &jobs[r]), 0);
    }
    for (size_t r = 0; r < ranks; r++) ck_assert_int_eq(pthread_join(threads[r], NULL), 0);
    cribo_thread_group_free(group);
}

static void assert_all_ok(const run_job *jobs, size_t ranks)
{
    for (size_t r = 0; r < ranks; r++)
        ck_assert_msg(jobs[r].status == CRIBO_OK, "rank %zu: %s", r, jobs[r].message);
}

static run_job make_job(int steps)
{
    run_job job = {.config = training_config(),
        .deadline = 120,
        .steps = steps,
        .broken_rank = -1,
        .leaving_rank = -1,
        .poor_rank = -1,
        .other_rank = -1};
    job.config.batch_size = BATCH;
    job.config.shards = 8;
    job.config.drop_path = 0.2;
    job.config.bank_images = 20; /* two and a half batches */
    return job;
}

/*
 * Every number of ranks against one rank. The gradients are in several buckets, which are added while the
 * backward pass goes on; some of them have no parameters of their own.
 */
static void assert_same_bits(const run_job *job)
{
    run_job one[MAX_RANKS], several[MAX_RANKS], with = *job;
    cb_optimiser_chosen_buckets = 7;
    with.save = scratch_path("one");
    run_jobs(one, &with, 1);
    assert_all_ok(one, 1);
    for (size_t ranks = 2; ranks <= MAX_RANKS; ranks *= 2) {
        with.save = scratch_path("several");
        run_jobs(several, &with, ranks);
        assert_all_ok(several, ranks);
        assert_same_files("one", "several");
        for (size_t r = 0; r < ranks; r++) {
            ck_assert(several[r].report.loss == one[0].report.loss);
            ck_assert(several[r].report.cross_image_loss == one[0].report.cross_image_loss);
            ck_assert(several[r].report.masked_loss == one[0].report.masked_loss);
            ck_assert(several[r].report.masked_share == one[0].report.masked_share);
            ck_assert(several[r].report.gradient_norm == one[0].report.gradient_norm);
            ck_assert(several[r].report.matched_share == one[0].report.matched_share);
            ck_assert(several[r].report.mean_teacher_entropy == one[0].report.mean_teacher_entropy);
            ck_assert(several[r].report.prototypes_used == one[0].report.prototypes_used);
            ck_assert(several[r].report.feature_deviation == one[0].report.feature_deviation);
            ck_assert_int_eq(several[r].report.images, BATCH);
        }
    }
    ck_assert_double_gt(one[0].report.cross_image_loss, 0); /* so that the bank is used */
}

START_TEST(test_ranks_of_any_number_give_the_same_bits)
{
    run_job job = make_job(6);
    assert_same_bits(&job);
}
END_TEST

START_TEST(test_ranks_give_the_same_bits_with_a_changed_setting)
{
    run_job job = make_job(4);
    job.rate = 0.01;
    assert_same_bits(&job);
}
END_TEST

START_TEST(test_ranks_that_change_a_setting_differently_are_refused)
{
    run_job jobs[MAX_RANKS], job = make_job(4);
    job.rate = 0.01;
    job.other_rank = 2;
    run_jobs(jobs, &job, 4);
    for (int r = 0; r < 4; r++) {
        ck_assert_int_eq(jobs[r].status, CRIBO_INVALID_ARGUMENT);
        ck_assert_ptr_nonnull(strstr(jobs[r].message, "learning_rate"));
    }
    job.rate = 6e5; /* twice of it is out of range */
    run_jobs(jobs, &job, 4);
    for (int r = 0; r < 4; r++) {
        ck_assert_int_eq(jobs[r].status, CRIBO_INVALID_ARGUMENT);
        ck_assert_ptr_nonnull(strstr(jobs[r].message, "learning_rate = 1200000 must be in"));
    }
}
END_TEST

START_TEST(test_ranks_give_the_same_bits_in_bf16)
{
    run_job job = make_job(4);
    job.config.precision = CRIBO_BF16;
    assert_same_bits(&job);
}
END_TEST

START_TEST(test_ranks_give_the_same_bits_with_groups)
{
    run_job job = make_job(4);
    job.config.group_images = 3;
    job.config.clip_norm = 0.5;
    job.config.authors_normalisation = 1;
    assert_same_bits(&job);
}
END_TEST

START_TEST(test_ranks_give_the_same_bits_with_sinkhorn_centring)
{
    run_job job = make_job(4);
    job.config.sinkhorn_centring = 3;
    assert_same_bits(&job);
}
END_TEST

/* Losses beside the paper's three. */
static const char *const ingredients[] = {
    "bank_images=7",
    "exchange_precision=bf16",
    "exchange_precision=bf16 local_crops=2 local_size=16 micro_batch=1",
    "recompute=1 micro_batch=1 heads_only_steps=2",
    "shards=16",
    "exchange_precision=bf16 precision=bf16 group_images=3",
    "frozen_blocks=2 layer_decay=0.8 average_steps=3",
    "koleo_weight=0.3 object_koleo_weight=0.2",
    "koleo_weight=0.3 object_koleo_weight=0.2 group_images=4",
    "gram_weight=3 gram_start_steps=1 gram_refresh_steps=2",
    "masked_weight=1 masked_views=0.6",
    "masked_weight=1 masked_views=0.6 sinkhorn_centring=3",
    "local_crops=2 local_size=16",
};

START_TEST(test_ranks_give_the_same_bits_with_further_losses)
{
    run_job job = make_job(4);
    training_set(&job.config, ingredients[_i]);
    assert_same_bits(&job);
}
END_TEST

START_TEST(test_rounded_exchange_changes_gradients_a_little)
{
    run_job job = make_job(1), plain[MAX_RANKS], rounded[MAX_RANKS];
    run_jobs(plain, &job, 2);
    job.config.exchange_precision = CRIBO_BF16;
    run_jobs(rounded, &job, 2);
    double expected = plain[0].report.gradient_norm, got = rounded[0].report.gradient_norm;
    ck_assert(got != expected);
    ck_assert_double_lt(fabs(got - expected), 0.01 * expected);
    ck_assert_uint_lt(rounded[0].sent, plain[0].sent);
}
END_TEST

START_TEST(test_one_shard_is_as_before_shards)
{
    run_job job = make_job(4), jobs[1];
    cribo_trainer *trainer;
    job.config.shards = 1;
    job.save = scratch_path("shard");
    run_jobs(jobs, &job, 1);
    assert_all_ok(jobs, 1);
    trainer = training_begin(&job.config, 2);
    training_steps(trainer, &job.config, 4);
    OK(cribo_trainer_save(trainer, scratch_path("plain"), NULL));
    cribo_trainer_free(trainer);
    assert_same_files("shard", "plain");
}
END_TEST

START_TEST(test_checkpoints_pass_between_numbers_of_ranks)
{
    run_job job = make_job(6), jobs[MAX_RANKS];
    job.save = scratch_path("whole");
    run_jobs(jobs, &job, 1);
    assert_all_ok(jobs, 1);
    job.steps = 2;
    job.save = scratch_path("two");
    run_jobs(jobs, &job, 2);
    job.first = 2;
    job.load = scratch_path("two");
    job.save = scratch_path("four");
    run_jobs(jobs, &job, 8);
    assert_all_ok(jobs, 8);
    job.first = 4;
    job.load = scratch_path("four");
    job.save = scratch_path("six");
    run_jobs(jobs, &job, 4);
    assert_all_ok(jobs, 4);
    assert_same_files("whole", "six");
}
END_TEST

/* Saved by a snapshot, and after a save that failed on the rank that writes. */
START_TEST(test_ranks_save_the_bytes_of_one_rank)
{
    run_job job = make_job(4), jobs[MAX_RANKS];
    job.save = scratch_path("one");
    run_jobs(jobs, &job, 1);
    assert_all_ok(jobs, 1);
    job.snapshot = scratch_path("snapshot");
    job.save = scratch_path("several");
    job.refused_save = true;
    run_jobs(jobs, &job, 4);
    assert_all_ok(jobs, 4);
    assert_same_files("one", "snapshot");
    assert_same_files("one", "several");
}
END_TEST

/* The writer takes many times the deadline, and much less in a call. */
START_TEST(test_a_save_may_take_longer_than_the_deadline)
{
    run_job job = make_job(1), jobs[MAX_RANKS];
    job.config.prototypes = 100000;
    job.deadline = 2;
    job.slow_ms = 400;
    run_jobs(jobs, &job, 4);
    assert_all_ok(jobs, 4);
    ck_assert_int_gt(jobs[0].written * job.slow_ms, 2 * 1000 * (int64_t)job.deadline);
    for (int r = 1; r < 4; r++) ck_assert_int_eq(jobs[r].written, 0);
}
END_TEST

/* --- memory and bytes --- */

/* What a trainer of `ranks` ranks with these settings holds on its first rank. */
static double bytes_of(const char *settings, size_t ranks)
{
    run_job job = make_job(0), jobs[MAX_RANKS];
    training_set(&job.config, settings);
    job.config.shards = (int64_t)ranks; /* so that no rank keeps sums of shards */
    run_jobs(jobs, &job, ranks);
    assert_all_ok(jobs, ranks);
    return (double)jobs[0].memory.peak;
}

START_TEST(test_each_rank_holds_its_part_of_the_bank)
{
    const char *const small = "clusters=8 bank_images=1000", *const large = "clusters=8 bank_images=5000";
    double one = bytes_of(large, 1) - bytes_of(small, 1);
    for (size_t ranks = 2; ranks <= MAX_RANKS; ranks *= 2) {
        double part = bytes_of(large, ranks) - bytes_of(small, ranks);
        double lists = 4000 * 2 * sizeof(int64_t); /* counts and ids of images are on all ranks */
        ck_assert_double_lt(fabs(part - lists - (one - lists) / (double)ranks), 0.02 * one);
    }
}
END_TEST

/* Student, gradients and teacher are whole on each rank; two moments, and gradients, are divided. */
START_TEST(test_each_rank_holds_its_part_of_the_moments)
{
    const char *const small = "micro_batch=1 prototypes=1000";
    const char *const large = "micro_batch=1 prototypes=101000";
    const double piece = 3 * 65536 * sizeof(float); /* parts are whole pieces */
    double one = bytes_of(large, 1) - bytes_of(small, 1), layer = 100000 * (8 + 1) * sizeof(float);
    for (size_t ranks = 2; ranks <= MAX_RANKS; ranks *= 2) {
        double whole = one - 2 * layer, part = bytes_of(large, ranks) - bytes_of(small, ranks);
        double lists = 100000 * (double)ranks; /* prototypes used on each rank */
        ck_assert_double_lt(fabs(part - lists - whole - 3 * layer / (double)ranks), piece);
    }
}
END_TEST

START_TEST(test_gradients_of_frozen_blocks_are_not_exchanged)
{
    run_job job = make_job(1), all[MAX_RANKS], some[MAX_RANKS];
    cribo_trainer *trainer = training_begin(&job.config, 1);
    cribo_parameter parameter;
    size_t frozen = 0;
    for (int64_t i = 0; training_parameter(trainer, i, &parameter); i++)
        if (strstr(parameter.name, "embed") || strstr(parameter.name, "cls_token") ||
            strstr(parameter.name, "blocks.0.") || strstr(parameter.name, "blocks.1."))
            frozen += (size_t)parameter.count;
    cribo_trainer_free(trainer);
    run_jobs(all, &job, 2);
    job.config.frozen_blocks = 2;
    run_jobs(some, &job, 2);
    size_t sent = all[0].sent + all[1].sent - some[0].sent - some[1].sent;
    ck_assert_uint_gt(frozen, 1000);
    ck_assert_uint_ge(sent, 2 * frozen * sizeof(float)); /* half of gradients and parameters by each rank */
    ck_assert_uint_lt(sent, 2 * frozen * sizeof(float) * 11 / 10);
}
END_TEST

/* --- failures --- */

START_TEST(test_a_step_that_failed_changes_nothing)
{
    run_job job = make_job(5), jobs[MAX_RANKS];
    cb_optimiser_chosen_buckets = 5;
    job.save = scratch_path("sound");
    run_jobs(jobs, &job, 4);
    assert_all_ok(jobs, 4);
    job.save = scratch_path("failed");
    job.broken_rank = 1;
    job.broken = 3;
    job.retries = true;
    run_jobs(jobs, &job, 4);
    assert_all_ok(jobs, 4);
    assert_same_files("sound", "failed");
}
END_TEST

START_TEST(test_a_rank_that_fails_makes_all_fail)
{
    run_job job = make_job(4), jobs[MAX_RANKS];
    job.broken_rank = 2;
    job.broken = 1;
    run_jobs(jobs, &job, 4);
    for (size_t r = 0; r < 4; r++) {
        ck_assert_int_eq(jobs[r].status, CRIBO_INVALID_ARGUMENT);
        ck_assert_msg(strstr(jobs[r].message, "view1") != NULL, "%s", jobs[r].message);
        ck_assert_int_eq(strncmp(jobs[r].message, "rank 2: ", 8) == 0, r != 2);
    }
}
END_TEST

/*
 * Creation fails on all ranks at the poor rank's allocations, but for the first ones: without a communicator
 * there is no agreement. The next creation works, and has the same bits.
 */
START_TEST(test_a_rank_without_memory_makes_all_fail_to_create)
{
    enum { FIRST = 12, STRIDE = 9 };
    run_job job = make_job(2), jobs[MAX_RANKS];
    job.save = scratch_path("sound");
    run_jobs(jobs, &job, 4);
    assert_all_ok(jobs, 4);
    size_t calls = jobs[1].calls;
    ck_assert_uint_gt(calls, FIRST + 5 * STRIDE);
    job.save = scratch_path("poor");
    job.poor_rank = 1;
    for (job.fails_at = FIRST; job.fails_at <= calls; job.fails_at += STRIDE) {
        job.steps = job.fails_at == FIRST ? 2 : 0;
        run_jobs(jobs, &job, 4);
        assert_all_ok(jobs, 4);
        for (size_t r = 0; r < 4; r++) ck_assert_int_eq(jobs[r].failed, 1);
        if (job.steps) assert_same_files("sound", "poor");
    }
}
END_TEST

/*
 * The first step, which compares the ranks' weights, saves and loads fail on all ranks, and work with memory,
 * with the same bits. The other steps need no memory.
 */
START_TEST(test_a_rank_without_memory_makes_all_fail)
{
    run_job job = make_job(3), jobs[MAX_RANKS];
    job.save = scratch_path("sound");
    run_jobs(jobs, &job, 4);
    assert_all_ok(jobs, 4);
    job.poor_rank = 1;
    job.poor_steps = job.poor_files = true;
    job.save = scratch_path("poor");
    run_jobs(jobs, &job, 4);
    assert_all_ok(jobs, 4);
    for (size_t r = 0; r < 4; r++) ck_assert_int_gt(jobs[r].failed, 5);
    assert_same_files("sound", "poor");
}
END_TEST

START_TEST(test_a_rank_that_is_gone_ends_the_others_steps)
{
    run_job job = make_job(4), jobs[MAX_RANKS];
    job.leaving_rank = 1;
    job.leaves = 2;
    job.deadline = 0.5;
    run_jobs(jobs, &job, 4);
    for (size_t r = 0; r < 4; r++) {
        if (r == 1) continue;
        ck_assert_int_eq(jobs[r].status, CRIBO_TIMED_OUT);
        ck_assert_msg(strstr(jobs[r].message, "rank 1 did not answer") != NULL, "%s", jobs[r].message);
    }
}
END_TEST

START_TEST(test_shares_that_do_not_fit_are_refused_on_all_ranks)
{
    run_job job = make_job(1), jobs[MAX_RANKS];
    job.config.batch_cost = 1;
    job.config.group_images = 3;
    run_jobs(jobs, &job, 2);
    for (size_t r = 0; r < 2; r++) {
        ck_assert_int_eq(jobs[r].status, CRIBO_INVALID_ARGUMENT);
        ck_assert_ptr_nonnull(strstr(jobs[r].message, "group_images"));
    }
}
END_TEST

START_TEST(test_more_ranks_than_shards_are_refused)
{
    run_job job = make_job(1), jobs[MAX_RANKS];
    job.config.shards = 2;
    run_jobs(jobs, &job, 4);
    for (size_t r = 0; r < 4; r++) {
        ck_assert_int_eq(jobs[r].status, CRIBO_INVALID_ARGUMENT);
        ck_assert_ptr_nonnull(strstr(jobs[r].message, "shards = 2"));
    }
    cribo_trainer *trainer;
    job.config.shards = 3;
    REFUSED(cribo_trainer_create(&trainer, &job.config, NULL), CRIBO_INVALID_ARGUMENT, "shards = 3");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("ranks");
    TCase *bits = tcase_create("bits"), *failures = tcase_create("failures");
    tcase_set_timeout(bits, 120);
    tcase_add_checked_fixture(bits, scratch_begin, scratch_end);
    tcase_add_test(bits, test_ranks_of_any_number_give_the_same_bits);
    tcase_add_test(bits, test_ranks_give_the_same_bits_in_bf16);
    tcase_add_test(bits, test_ranks_give_the_same_bits_with_a_changed_setting);
    tcase_add_test(bits, test_ranks_that_change_a_setting_differently_are_refused);
    tcase_add_test(bits, test_ranks_give_the_same_bits_with_groups);
    tcase_add_test(bits, test_ranks_give_the_same_bits_with_sinkhorn_centring);
    tcase_add_loop_test(bits, test_ranks_give_the_same_bits_with_further_losses, 0,
        (int)(sizeof ingredients / sizeof *ingredients));
    tcase_add_test(bits, test_rounded_exchange_changes_gradients_a_little);
    tcase_add_test(bits, test_ranks_save_the_bytes_of_one_rank);
    tcase_add_test(bits, test_a_save_may_take_longer_than_the_deadline);
    tcase_add_test(bits, test_each_rank_holds_its_part_of_the_bank);
    tcase_add_test(bits, test_each_rank_holds_its_part_of_the_moments);
    tcase_add_test(bits, test_gradients_of_frozen_blocks_are_not_exchanged);
    tcase_add_test(bits, test_one_shard_is_as_before_shards);
    tcase_add_test(bits, test_checkpoints_pass_between_numbers_of_ranks);
    tcase_set_timeout(failures, 120);
    tcase_add_checked_fixture(failures, scratch_begin, scratch_end);
    tcase_add_test(failures, test_a_rank_without_memory_makes_all_fail_to_create);
    tcase_add_test(failures, test_a_rank_without_memory_makes_all_fail);
    tcase_add_test(failures, test_a_step_that_failed_changes_nothing);
    tcase_add_test(failures, test_a_rank_that_fails_makes_all_fail);
    tcase_add_test(failures, test_a_rank_that_is_gone_ends_the_others_steps);
    tcase_add_test(failures, test_shares_that_do_not_fit_are_refused_on_all_ranks);
    tcase_add_test(failures, test_more_ranks_than_shards_are_refused);
    suite_add_tcase(suite, bits);
    suite_add_tcase(suite, failures);
    return run_suite(suite);
}
