/* The ranks of one training run. See ranks.h. */
#ifndef _POSIX_C_SOURCE
#define _POSIX_C_SOURCE 200809L /* clock_gettime */
#endif
#include "communication/ranks.h"

#include "base/clock.h"
#include "base/structs.h"
#include "communication/exchange.h"
#include "tensor/rounding.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define DEFAULT_DEADLINE 300 /* seconds */
#define NOTICE_SECONDS 0.8   /* beyond the deadline, until all ranks know of a loss */
#define WAKE_NANOSECONDS 10000000
#define MESSAGE_BYTES 512 /* of cribo_last_error */
#define CALL_BYTES 64     /* of a public function's name */
#define VERSION_BYTES 64  /* the first bytes that ranks exchange: the same in every version */

/* A rank's status, and what it compares with the others. */
typedef struct outcome {
    int64_t status;
    uint64_t numbers[2];   /* a digest of settings; a place in a list and the value there */
    char call[CALL_BYTES]; /* the public call under way */
    char message[MESSAGE_BYTES];
} outcome;

/* What the ranks do with values. */
typedef struct reduction {
    const char *what;
    size_t size, sent_size;                   /* bytes of a value, and of one that is sent */
    void (*pack)(void *values, size_t count); /* makes values that are sent, in place; NULL: they are */
    cb_join *join;
} reduction;

/* The target of an exchange's chunks. */
typedef struct joined {
    cb_join *join;
    void *values;
} joined;

/* The parts first ... first + count - 1 that a rank keeps before the exchange by `bit`. */
typedef struct halving {
    size_t bit, first, count;
    joined to;
} halving;

/*
 * Sums in the background (cb_ranks_begin_sums): the agreement's exchanges, then those of each bucket, one
 * after the other.
 */
typedef struct background {
    cb_bucket_sums sums;
    size_t complete; /* of the buckets, from the last on */
    bool agreed;
    size_t summed;   /* buckets whose exchanges have ended */
    halving state;   /* of the agreement or the present bucket: the next exchange or the one under way */
    bool exchanging; /* one is under way */
    cb_transfer transfer;
    int64_t lost;
    cribo_status status;
    char message[MESSAGE_BYTES]; /* of a failure */
} background;

struct cb_ranks {
    cribo_communicator communicator;
    size_t rank, size;
    outcome failure;       /* what broke the connection; status CRIBO_OK: nothing */
    bool descending;       /* the present exchanges begin with the highest bit of the ranks' numbers */
    const char *call;      /* the public call under way */
    size_t led;            /* rank 0 works, and the ranks from this one on wait for it; 0: it does not */
    double next_sign;      /* ms: when rank 0 sends signs of life again */
    outcome *outcomes;     /* [size] */
    size_t *offsets;       /* [size + 1] of equal parts */
    unsigned char *chunks; /* [CB_CHUNKS, CB_CHUNK_BYTES] */
    background background;
};

/* --- making them --- */

static bool is_power_of_two(int64_t n)
{
    return n > 0 && (n & (n - 1)) == 0;
}

static cribo_status import(cribo_communicator *full, const cribo_communicator *communicator)
{
    *full = (cribo_communicator){0};
    CB_TRY(CB_IMPORT(*full, communicator, cancel));
    CB_REQUIRE(is_power_of_two(full->size) && full->size <= CB_MAX_RANKS,
        "communicator.size = %lld must be a power of two, at most %d", (long long)full->size, CB_MAX_RANKS);
    CB_REQUIRE(full->rank >= 0 && full->rank < full->size, "communicator.rank = %lld must be in 0 ... %lld",
        (long long)full->rank, (long long)full->size - 1);
    CB_REQUIRE(full->deadline >= 0 && isfinite(full->deadline),
        "communicator.deadline = %g must be a number of seconds, or 0 for %d", full->deadline,
        DEFAULT_DEADLINE);
    CB_REQUIRE(full->send && full->receive && full->test && full->cancel,
        "communicator.send, receive, test and cancel must not be NULL");
    if (full->deadline == 0) full->deadline = DEFAULT_DEADLINE;
    return CRIBO_OK;
}

static cribo_status allocate(const cb_allocator *allocator, cb_ranks *ranks)
{
    CB_TRY(CB_ALLOCATE(allocator, &ranks->outcomes, ranks->size, "communicator"));
    CB_TRY(CB_ALLOCATE(allocator, &ranks->offsets, ranks->size + 1, "communicator"));
    return cb_allocate(allocator, &ranks->chunks, CB_CHUNKS, CB_CHUNK_BYTES, "communicator");
}

/* Ranks with different versions may disagree about the sizes of all that follows. */
static cribo_status compare_versions(cb_ranks *ranks)
{
    char own[VERSION_BYTES] = "", (*all)[VERSION_BYTES] = (void *)ranks->chunks;
    snprintf(own, sizeof own, "%d.%d.%d", CRIBO_VERSION_MAJOR, CRIBO_VERSION_MINOR, CRIBO_VERSION_PATCH);
    CB_TRY(cb_ranks_gather(ranks, "versions", own, sizeof own, all));
    for (size_t r = 1; r < ranks->size; r++)
        CB_REQUIRE(memcmp(all[r], all[0], sizeof own) == 0,
            "rank 0 has libcribo %.63s, but rank %zu has %.63s: all ranks have the same version", all[0], r,
            all[r]);
    return CRIBO_OK;
}

cribo_status cb_ranks_create(
    const cb_runtime *runtime, cb_ranks **out, const cribo_communicator *communicator)
{
    cribo_communicator full;
    cb_ranks *ranks;
    *out = NULL;
    if (!communicator) return CRIBO_OK;
    CB_TRY(import(&full, communicator));
    if (full.size == 1) return CRIBO_OK;
    CB_TRY(CB_ALLOCATE(&runtime->allocator, &ranks, 1, "communicator"));
    *ranks =
        (cb_ranks){.communicator = full, .rank = (size_t)full.rank, .size = (size_t)full.size, .call = ""};
    cribo_status status = allocate(&runtime->allocator, ranks);
    if (status == CRIBO_OK) status = compare_versions(ranks);
    if (status == CRIBO_OK)
        *out = ranks;
    else
        cb_ranks_free(runtime, ranks);
    return status;
}

void cb_ranks_free(const cb_runtime *runtime, cb_ranks *ranks)
{
    if (!ranks) return;
    cb_release(&runtime->allocator, ranks->chunks);
    cb_release(&runtime->allocator, ranks->offsets);
    cb_release(&runtime->allocator, ranks->outcomes);
    cb_release(&runtime->allocator, ranks);
}

size_t cb_ranks_own(const cb_ranks *ranks)
{
    return ranks ? ranks->rank : 0;
}

size_t cb_ranks_size(const cb_ranks *ranks)
{
    return ranks ? ranks->size : 1;
}

/* --- one exchange --- */

static outcome outcome_of(cribo_status status)
{
    outcome now = {.status = status};
    if (status != CRIBO_OK) strncpy(now.message, cribo_last_error(), MESSAGE_BYTES - 1);
    return now;
}

cribo_status cb_ranks_check(const cb_ranks *ranks)
{
    if (!ranks || ranks->failure.status == CRIBO_OK) return CRIBO_OK;
    return cb_fail(
        (cribo_status)ranks->failure.status, "the ranks lost each other: %s", ranks->failure.message);
}

/* The index of the highest bit of n > 0. */
static size_t highest_bit(size_t n)
{
    size_t bit = 0;
    while (n >>= 1) bit++;
    return bit;
}

/* Seconds between signs of life. */
static double sign_interval(const cb_ranks *ranks)
{
    return ranks->communicator.deadline / 4;
}

/*
 * The rank that waits for the lost one reaches its deadline first and tells the others. Those that wait for
 * it in a later round of exchanges are more patient, so that they name the rank that is lost; and so are
 * those that wait for rank 0 while it waits for the lost one.
 */
static double patience_with(const cb_ranks *ranks, size_t peer)
{
    size_t rounds = highest_bit(ranks->size), bit = highest_bit(ranks->rank ^ peer);
    double longest = fmin(NOTICE_SECONDS, ranks->communicator.deadline);
    if (ranks->led && ranks->rank != 0) return sign_interval(ranks) + longest;
    return longest * (double)(ranks->descending ? rounds - 1 - bit : bit) / (double)rounds;
}

/*
 * All partners of later exchanges learn of the loss, and through them all ranks. The present peer is the lost
 * rank or knows it. While rank 0 leads, all ranks are its partners, and it is theirs.
 */
static void tell_partners(const cb_ranks *ranks, size_t peer, int64_t lost)
{
    double seconds = NOTICE_SECONDS / (4.0 * (double)highest_bit(ranks->size));
    if (ranks->led && ranks->rank != 0) return;
    for (size_t bit = 1; !ranks->led && bit < ranks->size; bit *= 2) {
        size_t partner = ranks->rank ^ bit;
        if (partner != peer && (int64_t)partner != lost)
            cb_exchange_tell(&ranks->communicator, partner, lost, seconds);
    }
    for (size_t r = ranks->led; ranks->led && r < ranks->size; r++)
        if (r != peer && (int64_t)r != lost)
            cb_exchange_tell(&ranks->communicator, r, lost, NOTICE_SECONDS / (double)ranks->size);
}

/* Notes the failure that breaks the connection, and tells the others. */
static cribo_status lose(cb_ranks *ranks, size_t peer, int64_t lost, cribo_status status)
{
    ranks->failure = outcome_of(status);
    tell_partners(ranks, peer, lost);
    return cb_fail(status, "%s", ranks->failure.message);
}

/* The exchange with what depends on the ranks. */
static cb_exchange complete(const cb_ranks *ranks, const cb_exchange *exchange, int64_t *lost)
{
    cb_exchange whole = *exchange;
    whole.patience = patience_with(ranks, exchange->peer);
    whole.signs = ranks->led && ranks->rank != 0;
    whole.lost = lost;
    return whole;
}

static cribo_status run(cb_ranks *ranks, const cb_exchange *exchange)
{
    CB_TRY(cb_ranks_check(ranks));
    int64_t lost = CB_NONE;
    cb_exchange whole = complete(ranks, exchange, &lost);
    cribo_status status = cb_exchange_run(&ranks->communicator, &whole);
    if (status == CRIBO_OK) return status;
    return lose(ranks, exchange->peer, lost != CB_NONE ? lost : (int64_t)exchange->peer, status);
}

cribo_status cb_ranks_swap(cb_ranks *ranks, const char *what, size_t peer, const void *send,
    size_t send_bytes, void *receive, size_t receive_bytes)
{
    return run(ranks, &(cb_exchange){.what = what,
                          .peer = peer,
                          .send = send,
                          .send_bytes = send_bytes,
                          .receive = receive,
                          .receive_bytes = receive_bytes});
}

cribo_status cb_ranks_collect(
    cb_ranks *ranks, const char *what, size_t from, const void *bytes, size_t count, void *to)
{
    size_t own = cb_ranks_own(ranks);
    CB_TRY(cb_ranks_sign(ranks));
    if (own == from && own == 0 && count > 0) memcpy(to, bytes, count);
    if (own == from && own != 0) return cb_ranks_swap(ranks, what, 0, bytes, count, NULL, 0);
    if (own != from && own == 0) return cb_ranks_swap(ranks, what, from, NULL, 0, to, count);
    return CRIBO_OK;
}

/* Parts first ... first + count - 1 go to rank `peer`, and those from other_first on come from it. */
static cribo_status swap_parts(cb_ranks *ranks, const char *what, unsigned char *all, size_t item,
    const size_t *offsets, size_t peer, size_t first, size_t other_first, size_t count)
{
    return cb_ranks_swap(ranks, what, peer, all + item * offsets[first],
        item * (offsets[first + count] - offsets[first]), all + item * offsets[other_first],
        item * (offsets[other_first + count] - offsets[other_first]));
}

/* --- gathering --- */

/*
 * Recursive doubling: each rank has `held` parts from `first` on, and exchanges them with the rank `held`
 * away.
 */
cribo_status cb_ranks_share(cb_ranks *ranks, const char *what, void *all, const size_t *offsets)
{
    for (size_t held = 1; ranks && held < ranks->size; held *= 2) {
        size_t first = ranks->rank & ~(held - 1);
        CB_TRY(swap_parts(ranks, what, all, 1, offsets, ranks->rank ^ held, first, first ^ held, held));
    }
    return CRIBO_OK;
}

cribo_status cb_ranks_gather(cb_ranks *ranks, const char *what, const void *mine, size_t bytes, void *all)
{
    memmove((unsigned char *)all + cb_ranks_own(ranks) * bytes, mine, bytes);
    if (!ranks) return CRIBO_OK;
    for (size_t r = 0; r <= ranks->size; r++) ranks->offsets[r] = r * bytes;
    return cb_ranks_share(ranks, what, all, ranks->offsets);
}

/* --- agreement --- */

static const char agreement[] = "agreement on the outcome of a phase";

static cribo_status check_calls(const cb_ranks *ranks)
{
    const outcome *all = ranks->outcomes;
    for (size_t r = 1; r < ranks->size; r++)
        if (strcmp(all[r].call, all[0].call) != 0)
            return cb_fail(CRIBO_WRONG_STATE,
                "rank 0 calls %s, but rank %zu calls %s: all ranks make the same calls in the same order",
                all[0].call, r, all[r].call);
    return CRIBO_OK;
}

/* Whether a message begins with "rank R: ", from an agreement before this one. */
static bool names_rank(const char *message)
{
    const size_t word = sizeof "rank " - 1;
    return strncmp(message, "rank ", word) == 0 &&
           message[word + strspn(message + word, "0123456789")] == ':';
}

/* The failure of the lowest rank that failed. */
static cribo_status joint_outcome(const cb_ranks *ranks)
{
    CB_TRY(check_calls(ranks));
    for (size_t r = 0; r < ranks->size; r++) {
        const outcome *theirs = &ranks->outcomes[r];
        if (theirs->status == CRIBO_OK) continue;
        if (r == ranks->rank || names_rank(theirs->message))
            return cb_fail((cribo_status)theirs->status, "%s", theirs->message);
        return cb_fail((cribo_status)theirs->status, "rank %zu: %s", r, theirs->message);
    }
    return CRIBO_OK;
}

/* Gathers the outcomes of all ranks, and returns that of the lowest that failed. */
static cribo_status join_outcomes(cb_ranks *ranks, outcome *mine)
{
    strncpy(mine->call, ranks->call, CALL_BYTES - 1);
    CB_TRY(cb_ranks_gather(ranks, agreement, mine, sizeof *mine, ranks->outcomes));
    return joint_outcome(ranks);
}

cribo_status cb_ranks_agree(cb_ranks *ranks, cribo_status status)
{
    if (!ranks) return status;
    outcome mine = outcome_of(status);
    return join_outcomes(ranks, &mine);
}

cribo_status cb_ranks_compare(cb_ranks *ranks, const char *what, const uint64_t *own, uint64_t *first,
    size_t count, cb_difference *difference)
{
    outcome mine = {.status = CRIBO_OK};
    size_t at = 0;
    *difference = (cb_difference){.index = count};
    memcpy(first, own, count * sizeof *own);
    if (!ranks) return CRIBO_OK;
    ranks->offsets[0] = 0;
    for (size_t r = 1; r <= ranks->size; r++) ranks->offsets[r] = count * sizeof *own;
    CB_TRY(cb_ranks_share(ranks, what, first, ranks->offsets));
    while (at < count && own[at] == first[at]) at++;
    mine.numbers[0] = at;
    mine.numbers[1] = at < count ? own[at] : 0;
    CB_TRY(join_outcomes(ranks, &mine));
    for (size_t r = 0; r < ranks->size; r++) {
        const uint64_t *found = ranks->outcomes[r].numbers;
        if (found[0] < difference->index) *difference = (cb_difference){(size_t)found[0], r, found[1]};
    }
    return CRIBO_OK;
}

cribo_status cb_ranks_begin(
    cb_ranks *ranks, const char *call, cribo_status status, uint64_t digest, bool *same)
{
    *same = true;
    if (!ranks) return status;
    outcome mine = outcome_of(status);
    ranks->call = call;
    mine.numbers[0] = digest;
    CB_TRY(join_outcomes(ranks, &mine));
    for (size_t r = 1; r < ranks->size; r++)
        *same = *same && ranks->outcomes[r].numbers[0] == ranks->outcomes[0].numbers[0];
    return CRIBO_OK;
}

/* --- work of rank 0 --- */

void cb_ranks_lead(cb_ranks *ranks)
{
    if (!ranks) return;
    ranks->led = 1;
    ranks->next_sign = cb_clock_ms() + 1000 * sign_interval(ranks);
}

static cribo_status send_sign(cb_ranks *ranks, size_t peer)
{
    const double deadline = ranks->communicator.deadline;
    if (cb_exchange_tell(&ranks->communicator, peer, CB_ALIVE, deadline)) return CRIBO_OK;
    return lose(ranks, peer, (int64_t)peer,
        cb_fail(CRIBO_TIMED_OUT, "rank %zu did not answer within %g seconds (sign of life)", peer, deadline));
}

cribo_status cb_ranks_sign(cb_ranks *ranks)
{
    if (!ranks || ranks->rank != 0 || !ranks->led || cb_clock_ms() < ranks->next_sign) return CRIBO_OK;
    CB_TRY(cb_ranks_check(ranks));
    ranks->next_sign = cb_clock_ms() + 1000 * sign_interval(ranks);
    for (size_t r = ranks->led; r < ranks->size; r++) CB_TRY(send_sign(ranks, r));
    return CRIBO_OK;
}

/* Work in a thread of its own. */
typedef struct side_job {
    cribo_status (*work)(void *argument);
    void *argument;
    outcome outcome;
    int error;            /* the errno of a failure */
    pthread_mutex_t lock; /* of `ended` */
    pthread_cond_t end;
    bool ended;
} side_job;

static void *do_side_job(void *context)
{
    side_job *job = context;
    job->outcome = outcome_of(job->work(job->argument));
    job->error = cribo_last_errno();
    pthread_mutex_lock(&job->lock);
    job->ended = true;
    pthread_cond_signal(&job->end);
    pthread_mutex_unlock(&job->lock);
    return NULL;
}

/* Sends signs until the job has ended; returns the first failure to do so. */
static cribo_status sign_until_end(cb_ranks *ranks, side_job *job)
{
    cribo_status status = CRIBO_OK;
    pthread_mutex_lock(&job->lock);
    while (!job->ended) {
        struct timespec wake;
        clock_gettime(CLOCK_REALTIME, &wake); /* a jump of the clock moves one sign */
        wake.tv_nsec += WAKE_NANOSECONDS;
        if (wake.tv_nsec >= 1000000000) wake.tv_sec++, wake.tv_nsec -= 1000000000;
        pthread_cond_timedwait(&job->end, &job->lock, &wake);
        pthread_mutex_unlock(&job->lock);
        if (status == CRIBO_OK) status = cb_ranks_sign(ranks);
        pthread_mutex_lock(&job->lock);
    }
    pthread_mutex_unlock(&job->lock);
    return status;
}

cribo_status cb_ranks_aside(cb_ranks *ranks, cribo_status (*work)(void *argument), void *argument)
{
    side_job job = {.work = work,
        .argument = argument,
        .lock = PTHREAD_MUTEX_INITIALIZER,
        .end = PTHREAD_COND_INITIALIZER};
    pthread_t thread;
    if (!ranks || pthread_create(&thread, NULL, do_side_job, &job) != 0) return work(argument);
    cribo_status status = sign_until_end(ranks, &job);
    pthread_join(thread, NULL);
    if (job.outcome.status != CRIBO_OK)
        return cb_fail_errno((cribo_status)job.outcome.status, job.error, "%s", job.outcome.message);
    return status;
}

static cribo_status release_all(cb_ranks *ranks, cribo_status status)
{
    const outcome mine = outcome_of(status);
    const int error = cribo_last_errno();
    while (ranks->led < ranks->size) {
        CB_TRY(cb_ranks_sign(ranks));
        CB_TRY(cb_ranks_swap(ranks, "outcome of rank 0", ranks->led, &mine, sizeof mine, NULL, 0));
        ranks->led++;
    }
    return status == CRIBO_OK ? status : cb_fail_errno(status, error, "%s", mine.message);
}

static cribo_status wait_for_release(cb_ranks *ranks)
{
    outcome theirs;
    CB_TRY(cb_ranks_swap(ranks, "outcome of rank 0", 0, NULL, 0, &theirs, sizeof theirs));
    if (theirs.status == CRIBO_OK) return CRIBO_OK;
    const char *by = names_rank(theirs.message) ? "" : "rank 0: ";
    return cb_fail((cribo_status)theirs.status, "%s%s", by, theirs.message);
}

cribo_status cb_ranks_release(cb_ranks *ranks, cribo_status status)
{
    if (!ranks) return status;
    status = ranks->rank == 0 ? release_all(ranks, status) : wait_for_release(ranks);
    ranks->led = 0;
    return status;
}

/* --- parts and their owners --- */

/* The part of rank `rank`: its bits in reverse order. */
static size_t part_of(size_t rank, size_t size)
{
    size_t part = 0;
    for (size_t bit = 1; bit < size; bit *= 2) part = 2 * part + ((rank & bit) != 0);
    return part;
}

size_t cb_ranks_part(const cb_ranks *ranks)
{
    return ranks ? part_of(ranks->rank, ranks->size) : 0;
}

size_t cb_ranks_owner(const cb_ranks *ranks, size_t part)
{
    return part_of(part, cb_ranks_size(ranks)); /* reversing twice changes nothing */
}

static void join_arrived(void *context, const void *data, size_t offset, size_t bytes)
{
    const joined *to = context;
    to->join(to->values, data, offset, bytes);
}

/*
 * Recursive halving, beginning with neighbours: each rank keeps half of its parts, joins them with the same
 * parts of the rank whose number differs in bit `bit`, and sends that rank the other half. The lowest bit
 * selects half of all parts, so a rank's last part is part_of its number, and the order is that of the tree.
 */
static halving begin_halving(const cb_ranks *ranks)
{
    return (halving){.bit = 1, .count = cb_ranks_size(ranks) / 2};
}

static cb_exchange halving_exchange(
    const cb_ranks *ranks, const reduction *r, unsigned char *values, const size_t *offsets, halving *h)
{
    size_t upper = h->first + h->count, kept = ranks->rank & h->bit ? upper : h->first;
    size_t given = kept == h->first ? upper : h->first, sent = offsets[given + h->count] - offsets[given];
    unsigned char *send = values + r->size * offsets[given];
    if (r->pack) r->pack(send, sent);
    h->to = (joined){r->join, values + r->size * offsets[kept]};
    return (cb_exchange){
        .what = r->what,
        .peer = ranks->rank ^ h->bit,
        .send = send,
        .send_bytes = r->sent_size * sent,
        .receive_bytes = r->sent_size * (offsets[kept + h->count] - offsets[kept]),
        .chunks = ranks->chunks,
        .arrived = join_arrived,
        .context = &h->to,
    };
}

static void go_on_halving(const cb_ranks *ranks, halving *h)
{
    if (ranks->rank & h->bit) h->first += h->count;
    h->bit *= 2;
    h->count /= 2;
}

static cribo_status reduce(cb_ranks *ranks, const reduction *r, unsigned char *values, const size_t *offsets)
{
    halving h = begin_halving(ranks);
    for (; h.count > 0; go_on_halving(ranks, &h)) {
        cb_exchange exchange = halving_exchange(ranks, r, values, offsets, &h);
        CB_TRY(run(ranks, &exchange));
    }
    return CRIBO_OK;
}

cribo_status cb_ranks_reduce(
    cb_ranks *ranks, const char *what, void *values, size_t size, const size_t *offsets, cb_join *join)
{
    return reduce(ranks, &(reduction){what, size, size, NULL, join}, values, offsets);
}

static void add_real(void *values, const void *other, size_t offset, size_t bytes)
{
    cb_real *sum = (cb_real *)values + offset / sizeof *sum;
    const cb_real *more = other;
    for (size_t i = 0; i < bytes / sizeof *more; i++) sum[i] += more[i];
}

static void add_bf16(void *values, const void *other, size_t offset, size_t bytes)
{
    cb_add_rounded((cb_real *)values + offset / sizeof(cb_bf16), other, bytes / sizeof(cb_bf16));
}

static void pack_bf16(void *values, size_t count)
{
    cb_pack_bf16(values, count);
}

static reduction sum_of(const char *what, bool rounded)
{
    return rounded ? (reduction){what, sizeof(cb_real), sizeof(cb_bf16), pack_bf16, add_bf16}
                   : (reduction){what, sizeof(cb_real), sizeof(cb_real), NULL, add_real};
}

cribo_status cb_ranks_sum(
    cb_ranks *ranks, const char *what, cb_real *values, const size_t *offsets, bool rounded)
{
    const reduction r = sum_of(what, rounded);
    return reduce(ranks, &r, (unsigned char *)values, offsets);
}

/* The exchanges of a reduction in reverse order. */
cribo_status cb_ranks_spread(
    cb_ranks *ranks, const char *what, void *values, size_t size, const size_t *offsets)
{
    size_t first = cb_ranks_part(ranks), count = 1;
    cribo_status status = CRIBO_OK;
    if (ranks) ranks->descending = true;
    for (size_t bit = cb_ranks_size(ranks) / 2; ranks && bit > 0 && status == CRIBO_OK; bit /= 2) {
        status =
            swap_parts(ranks, what, values, size, offsets, ranks->rank ^ bit, first, first ^ count, count);
        first &= ~count;
        count *= 2;
    }
    if (ranks) ranks->descending = false;
    return status;
}

/* --- sums in the background --- */

void cb_ranks_begin_sums(cb_ranks *ranks, const cb_bucket_sums *sums)
{
    if (!ranks) return;
    ranks->background = (background){.sums = *sums, .state = {.bit = 1}};
    ranks->outcomes[ranks->rank] = (outcome){.status = CRIBO_OK};
    strncpy(ranks->outcomes[ranks->rank].call, ranks->call, CALL_BYTES - 1);
    cb_ranks_advance_sums(ranks, 0);
}

/* The exchange of outcomes with the rank whose number differs in the present bit, as in cb_ranks_share. */
static cb_exchange agreement_exchange(const cb_ranks *ranks)
{
    size_t held = ranks->background.state.bit, first = ranks->rank & ~(held - 1);
    return (cb_exchange){.what = agreement,
        .peer = ranks->rank ^ held,
        .send = (unsigned char *)(ranks->outcomes + first),
        .send_bytes = held * sizeof(outcome),
        .receive = (unsigned char *)(ranks->outcomes + (first ^ held)),
        .receive_bytes = held * sizeof(outcome)};
}

static cb_exchange bucket_exchange(cb_ranks *ranks)
{
    background *b = &ranks->background;
    const reduction r = sum_of(b->sums.what, b->sums.rounded);
    size_t bucket = b->sums.buckets - 1 - b->summed;
    return halving_exchange(
        ranks, &r, (unsigned char *)b->sums.values, b->sums.offsets + bucket * (ranks->size + 1), &b->state);
}

static cribo_status begin_exchange(cb_ranks *ranks)
{
    background *b = &ranks->background;
    CB_TRY(cb_ranks_check(ranks));
    cb_exchange exchange = b->agreed ? bucket_exchange(ranks) : agreement_exchange(ranks);
    exchange = complete(ranks, &exchange, &b->lost);
    b->exchanging = true;
    return cb_exchange_begin(&b->transfer, &ranks->communicator, &exchange);
}

/* After an exchange. */
static cribo_status end_exchange(cb_ranks *ranks)
{
    background *b = &ranks->background;
    b->exchanging = false;
    if (b->agreed)
        go_on_halving(ranks, &b->state);
    else
        b->state.bit *= 2;
    if (b->state.bit < ranks->size) return CRIBO_OK;
    b->state = begin_halving(ranks);
    if (b->agreed) {
        b->summed++;
        return CRIBO_OK;
    }
    b->agreed = true;
    return joint_outcome(ranks);
}

static void fail(cb_ranks *ranks, cribo_status status)
{
    background *b = &ranks->background;
    size_t peer = b->transfer.exchange.peer;
    if (b->exchanging) status = lose(ranks, peer, b->lost != CB_NONE ? b->lost : (int64_t)peer, status);
    b->exchanging = false;
    b->status = status;
    strncpy(b->message, cribo_last_error(), MESSAGE_BYTES - 1);
}

/* Whether there is an exchange that can begin or is under way. */
static bool has_exchange(const background *b)
{
    return b->status == CRIBO_OK && (!b->agreed || b->summed < b->complete);
}

/* One exchange, or what is possible of it. *ended is false if it would have to wait. */
static cribo_status step(cb_ranks *ranks, bool waits, bool *ended)
{
    background *b = &ranks->background;
    if (!b->exchanging) CB_TRY(begin_exchange(ranks));
    CB_TRY(waits ? cb_exchange_finish(&b->transfer) : cb_exchange_advance(&b->transfer, ended));
    return *ended ? end_exchange(ranks) : CRIBO_OK;
}

void cb_ranks_advance_sums(cb_ranks *ranks, size_t complete)
{
    if (!ranks) return;
    background *b = &ranks->background;
    b->complete = complete;
    for (bool ended = true; ended && has_exchange(b);) {
        cribo_status status = step(ranks, false, &ended);
        if (status != CRIBO_OK) fail(ranks, status);
    }
}

cribo_status cb_ranks_end_sums(cb_ranks *ranks)
{
    if (!ranks) return CRIBO_OK;
    background *b = &ranks->background;
    b->complete = b->sums.buckets;
    while (has_exchange(b)) {
        bool ended = true;
        cribo_status status = step(ranks, true, &ended);
        if (status != CRIBO_OK) fail(ranks, status);
    }
    return b->status == CRIBO_OK ? CRIBO_OK : cb_fail(b->status, "%s", b->message);
}
