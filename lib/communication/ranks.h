/*
 * The ranks of one training run, and their exchange: collective calls on top of a communicator that sends
 * and receives bytes (cribo/communicator.h).
 *
 * Sums are taken in the order of a fixed binary tree over the ranks: ranks 2 i and 2 i + 1 first, then pairs
 * of those sums, and so on. With the leaves of a rank summed by the same tree, a sum does not depend on the
 * number of ranks.
 *
 * Every call is collective: all ranks make the same calls in the same order. A call that fails breaks the
 * connection: ranks may then be at different places, so every later call fails with the message of the first
 * failure. NULL stands for a single rank, for which every call does nothing.
 */
#ifndef CB_COMMUNICATION_RANKS_H
#define CB_COMMUNICATION_RANKS_H

#include "base/runtime.h"
#include "cribo/communicator.h"
#include "tensor/real.h"

typedef struct cb_ranks cb_ranks;

#define CB_MAX_RANKS 4096

/*
 * Checks and copies the communicator, and compares the versions of the ranks' libraries:
 * CRIBO_INVALID_ARGUMENT, on all ranks, if they differ. *out is NULL if the communicator has a single rank or
 * is NULL. Collective.
 */
cribo_status cb_ranks_create(
    const cb_runtime *runtime, cb_ranks **out, const cribo_communicator *communicator);
void cb_ranks_free(const cb_runtime *runtime, cb_ranks *ranks);

size_t cb_ranks_own(const cb_ranks *ranks);
size_t cb_ranks_size(const cb_ranks *ranks);

/* CRIBO_OK, or the failure that broke the connection. */
cribo_status cb_ranks_check(const cb_ranks *ranks);

/*
 * Joins the outcomes of separate work of the ranks: CRIBO_OK if all ranks have succeeded, otherwise on all
 * ranks the status and message of the lowest rank that failed. The connection remains usable.
 */
cribo_status cb_ranks_agree(cb_ranks *ranks, cribo_status status);

/*
 * The beginning of the public call `call`, a constant: cb_ranks_agree on the outcome of its checks. On all
 * ranks CRIBO_WRONG_STATE, with both names, if a rank begins another call. *same: `digest` is equal on all
 * ranks.
 */
cribo_status cb_ranks_begin(
    cb_ranks *ranks, const char *call, cribo_status status, uint64_t digest, bool *same);

/* The first place where the list of some rank differs from that of rank 0. */
typedef struct cb_difference {
    size_t index;   /* `count`: the lists are equal */
    size_t rank;    /* the lowest with another value there */
    uint64_t value; /* of that rank */
} cb_difference;

/* Compares the ranks' lists `own` [count]; `first` [count] becomes that of rank 0. */
cribo_status cb_ranks_compare(cb_ranks *ranks, const char *what, const uint64_t *own, uint64_t *first,
    size_t count, cb_difference *difference);

/*
 * Every rank's `bytes` bytes, in the order of ranks, into all [size, bytes] on every rank. `what` is for
 * messages.
 */
cribo_status cb_ranks_gather(cb_ranks *ranks, const char *what, const void *mine, size_t bytes, void *all);

/*
 * The same in place for parts of different lengths: rank r has the bytes offsets[r] ... offsets[r + 1] - 1 of
 * `all`. offsets [size + 1] is the same on all ranks.
 */
cribo_status cb_ranks_share(cb_ranks *ranks, const char *what, void *all, const size_t *offsets);

/* Exchanges bytes with rank `peer` alone, which makes the same call. */
cribo_status cb_ranks_swap(cb_ranks *ranks, const char *what, size_t peer, const void *send,
    size_t send_bytes, void *receive, size_t receive_bytes);

/* `bytes` bytes of rank `from` get to `to` of rank 0; other ranks do nothing. */
cribo_status cb_ranks_collect(
    cb_ranks *ranks, const char *what, size_t from, const void *bytes, size_t count, void *to);

/*
 * Work of rank 0 that the others wait for, however long it takes. All ranks call cb_ranks_lead before it and
 * cb_ranks_release after it, which gives all the outcome of rank 0. Between them only cb_ranks_collect may be
 * called on the other ranks. Rank 0 sends signs of life, so that the deadline does not pass:
 *
 * sign    sends them where they are due, several times in a deadline; rank 0 calls it between pieces of its
 *         work. cb_ranks_collect does so, too. Fails if a rank does not receive one within the deadline
 * aside   does work that may take longer than a deadline, in a thread of its own, and sends signs meanwhile.
 *         `work` allocates nothing and calls no function of the caller
 *
 * On other ranks than 0, and without ranks, sign does nothing; aside just works without ranks.
 */
void cb_ranks_lead(cb_ranks *ranks);
cribo_status cb_ranks_sign(cb_ranks *ranks);
cribo_status cb_ranks_aside(cb_ranks *ranks, cribo_status (*work)(void *argument), void *argument);
cribo_status cb_ranks_release(cb_ranks *ranks, cribo_status status);

/*
 * Values that are divided over the ranks: part p are the numbers offsets[p] ... offsets[p + 1] - 1, and the
 * rank that owns part p is the one whose number has p's bits in reverse order.
 *
 * reduce   each rank's own part becomes that of all ranks, joined by `join`; the other parts are undefined
 *          afterwards. A value has `size` bytes
 * sum      the same for sums. `rounded`: both terms of every addition are first rounded to bfloat16, and are
 *          sent in it
 * spread   every rank gets each part from its owner
 */
size_t cb_ranks_part(const cb_ranks *ranks);
size_t cb_ranks_owner(const cb_ranks *ranks, size_t part);

/*
 * Joins another rank's values, those from byte `offset` on, with the values from `values` on. Either order of
 * the operands gives the same bits.
 */
typedef void cb_join(void *values, const void *other, size_t offset, size_t bytes);
cribo_status cb_ranks_reduce(
    cb_ranks *ranks, const char *what, void *values, size_t size, const size_t *offsets, cb_join *join);
cribo_status cb_ranks_sum(
    cb_ranks *ranks, const char *what, cb_real *values, const size_t *offsets, bool rounded);
cribo_status cb_ranks_spread(
    cb_ranks *ranks, const char *what, void *values, size_t size, const size_t *offsets);

/*
 * Sums while the caller does other work. The values are in buckets, each of which is divided over the ranks:
 * bucket b has the offsets from offsets[b (size + 1)] on. Sums begin with the last bucket, as gradients are
 * complete from the end on. Before them the ranks agree, as by cb_ranks_agree, that none has failed: a rank
 * that has calls cb_ranks_agree instead, and no sum begins.
 *
 * begin    this rank has not failed. The arrays stay until the end
 * advance  the last `complete` buckets have their values. Does what is possible without waiting. A failure is
 *          returned by the end
 * end      all buckets have their values; waits for all sums
 *
 * No other collective call is made between begin and end.
 */
typedef struct cb_bucket_sums {
    const char *what;
    cb_real *values;
    const size_t *offsets; /* [buckets, size + 1] */
    size_t buckets;
    bool rounded; /* as in cb_ranks_sum */
} cb_bucket_sums;
void cb_ranks_begin_sums(cb_ranks *ranks, const cb_bucket_sums *sums);
void cb_ranks_advance_sums(cb_ranks *ranks, size_t complete);
cribo_status cb_ranks_end_sums(cb_ranks *ranks);

#endif
