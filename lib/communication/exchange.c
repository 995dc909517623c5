/* One exchange with another rank. See exchange.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* nanosleep */
#endif
#include "communication/exchange.h"

#include "base/clock.h"
#include "base/memory.h"

#include <time.h>

#define PATIENT_POLLS 64      /* polls without a sleep: most transfers are almost complete */
#define SHORTEST_SLEEP 20000L /* ns; each sleep is twice as long as the one before */
#define LONGEST_SLEEP 1000000L

static size_t chunk_at(const cb_direction *d, size_t offset)
{
    return cb_min(CB_CHUNK_BYTES, d->bytes - offset);
}

static size_t slot_of(size_t offset)
{
    return offset / CB_CHUNK_BYTES % CB_CHUNKS;
}

/* The place where the chunk at `offset` is received. */
static unsigned char *place_of(const cb_exchange *e, size_t offset)
{
    return e->receive ? e->receive + offset : e->chunks + slot_of(offset) * CB_CHUNK_BYTES;
}

static bool may_start(const cb_direction *d)
{
    return d->started < d->bytes && d->started - d->ended < CB_CHUNKS * CB_CHUNK_BYTES;
}

static cribo_status broken_transport(const cb_transfer *t, const char *action)
{
    return cb_fail(CRIBO_SYSTEM_ERROR, "the communicator cannot %s rank %zu (%s)", action, t->exchange.peer,
        t->exchange.what);
}

static cribo_status start_notices(cb_transfer *t)
{
    const cribo_communicator *c = t->communicator;
    cb_notice *n = &t->notice;
    int64_t peer = (int64_t)t->exchange.peer;
    if (c->receive(c->context, peer, &n->received, sizeof n->received, &n->in) != 0)
        return broken_transport(t, "receive from");
    n->receiving = true;
    if (c->send(c->context, peer, &n->sent, sizeof n->sent, &n->out) != 0)
        return broken_transport(t, "send to");
    n->sending = true;
    return CRIBO_OK;
}

static cribo_status start(cb_transfer *t)
{
    const cribo_communicator *c = t->communicator;
    const cb_exchange *e = &t->exchange;
    while (may_start(&t->in) && !(e->signs && t->notice.receiving)) {
        size_t at = t->in.started, bytes = chunk_at(&t->in, at);
        if (c->receive(c->context, (int64_t)e->peer, place_of(e, at), bytes, &t->in.request[slot_of(at)]) !=
            0)
            return broken_transport(t, "receive from");
        t->in.started += bytes;
    }
    while (may_start(&t->out)) {
        size_t at = t->out.started, bytes = chunk_at(&t->out, at);
        if (c->send(c->context, (int64_t)e->peer, e->send + at, bytes, &t->out.request[slot_of(at)]) != 0)
            return broken_transport(t, "send to");
        t->out.started += bytes;
    }
    return CRIBO_OK;
}

/*
 * Ends the oldest request of a direction if possible. Returns 1, or 0 while it is in progress, negative if it
 * failed.
 */
static int end_oldest(const cb_transfer *t, cb_direction *d)
{
    if (d->ended == d->started) return 0;
    int outcome = t->communicator->test(t->communicator->context, d->request[slot_of(d->ended)]);
    if (outcome != 0) d->ended += chunk_at(d, d->ended); /* a request that failed is not cancelled, either */
    return outcome;
}

/* A sign of life has come: the notice, or another sign, follows. */
static int receive_again(cb_transfer *t)
{
    const cribo_communicator *c = t->communicator;
    cb_notice *n = &t->notice;
    if (c->receive(c->context, (int64_t)t->exchange.peer, &n->received, sizeof n->received, &n->in) != 0)
        return -1;
    n->receiving = true;
    return 1;
}

/* Returns 1 if a notice has come or gone, negative after a failure. */
static int end_notices(cb_transfer *t)
{
    const cribo_communicator *c = t->communicator;
    cb_notice *n = &t->notice;
    int in = n->receiving ? c->test(c->context, n->in) : 0,
        out = n->sending ? c->test(c->context, n->out) : 0;
    if (in != 0) n->receiving = false;
    if (out != 0) n->sending = false;
    if (in > 0 && n->received == CB_ALIVE) in = receive_again(t);
    return in < 0 || out < 0 ? -1 : in > 0 || out > 0;
}

/*
 * Ends all requests that are complete and passes on the received chunks. Returns 1 if there were any,
 * negative after a failure. In each direction requests are tested in their order, the notice first.
 */
static int advance(cb_transfer *t)
{
    size_t at = t->in.ended;
    int notices = end_notices(t);
    if (notices != 0) return notices;
    int in = t->notice.receiving ? 0 : end_oldest(t, &t->in);
    if (in < 0) return in;
    if (in > 0 && t->exchange.arrived)
        t->exchange.arrived(t->exchange.context, place_of(&t->exchange, at), at, t->in.ended - at);
    int out = t->notice.sending ? 0 : end_oldest(t, &t->out);
    return out < 0 ? out : in > 0 || out > 0;
}

static void cancel_notices(const cb_transfer *t)
{
    const cribo_communicator *c = t->communicator;
    if (t->notice.receiving) c->cancel(c->context, t->notice.in);
    if (t->notice.sending) c->cancel(c->context, t->notice.out);
}

static void cancel(const cb_transfer *t, const cb_direction *d)
{
    for (size_t at = d->ended; at < d->started; at += chunk_at(d, at))
        t->communicator->cancel(t->communicator->context, d->request[slot_of(at)]);
}

static void pause_for(long nanoseconds)
{
    nanosleep(&(struct timespec){.tv_nsec = nanoseconds}, NULL);
}

static cribo_status lose(const cb_transfer *t, int64_t rank)
{
    *t->exchange.lost = rank;
    return cb_fail(CRIBO_TIMED_OUT, "rank %lld did not answer within %g seconds (%s)", (long long)rank,
        t->communicator->deadline, t->exchange.what);
}

/* Starts and ends what is possible. *progress: whether some request has ended. */
static cribo_status move(cb_transfer *t, bool *progress)
{
    *progress = false;
    CB_TRY(start(t));
    int outcome = advance(t);
    if (outcome < 0) return broken_transport(t, "reach");
    *progress = outcome > 0;
    bool told = !t->notice.receiving && t->notice.received != CB_NONE;
    return told ? lose(t, t->notice.received) : CRIBO_OK;
}

/* Waits until some request has ended. */
static cribo_status wait_for_progress(cb_transfer *t)
{
    const double begin = cb_clock_ms(), deadline = t->communicator->deadline + t->exchange.patience;
    long sleep = SHORTEST_SLEEP;
    for (int polls = 0;; polls++) {
        bool progress;
        CB_TRY(move(t, &progress));
        if (progress) return CRIBO_OK;
        if (polls < PATIENT_POLLS) continue;
        if (cb_clock_ms() - begin > 1000 * deadline) return lose(t, (int64_t)t->exchange.peer);
        pause_for(sleep);
        sleep = 2 * sleep < LONGEST_SLEEP ? 2 * sleep : LONGEST_SLEEP;
    }
}

static bool has_ended(const cb_transfer *t)
{
    return t->in.ended == t->in.bytes && t->out.ended == t->out.bytes && !t->notice.receiving &&
           !t->notice.sending;
}

/* Passes on the outcome of a part of an exchange; a failure ends all requests. */
static cribo_status conclude(const cb_transfer *t, cribo_status status)
{
    if (status == CRIBO_OK) return CRIBO_OK;
    cancel_notices(t);
    cancel(t, &t->in);
    cancel(t, &t->out);
    return status;
}

cribo_status cb_exchange_begin(
    cb_transfer *transfer, const cribo_communicator *communicator, const cb_exchange *exchange)
{
    *transfer = (cb_transfer){communicator, *exchange, {.bytes = exchange->send_bytes},
        {.bytes = exchange->receive_bytes}, {.sent = CB_NONE, .received = CB_NONE}};
    *exchange->lost = CB_NONE;
    cribo_status status = start_notices(transfer);
    return conclude(transfer, status == CRIBO_OK ? start(transfer) : status);
}

cribo_status cb_exchange_advance(cb_transfer *transfer, bool *ended)
{
    cribo_status status = CRIBO_OK;
    bool progress = true;
    while (status == CRIBO_OK && progress && !has_ended(transfer)) status = move(transfer, &progress);
    *ended = has_ended(transfer);
    return conclude(transfer, status);
}

cribo_status cb_exchange_finish(cb_transfer *transfer)
{
    cribo_status status = CRIBO_OK;
    while (status == CRIBO_OK && !has_ended(transfer)) status = wait_for_progress(transfer);
    return conclude(transfer, status);
}

cribo_status cb_exchange_run(const cribo_communicator *communicator, const cb_exchange *exchange)
{
    cb_transfer transfer;
    CB_TRY(cb_exchange_begin(&transfer, communicator, exchange));
    return cb_exchange_finish(&transfer);
}

bool cb_exchange_tell(const cribo_communicator *c, size_t peer, int64_t lost, double seconds)
{
    const double begin = cb_clock_ms();
    int64_t request;
    int outcome = c->send(c->context, (int64_t)peer, &lost, sizeof lost, &request);
    if (outcome != 0) return false;
    while ((outcome = c->test(c->context, request)) == 0 && cb_clock_ms() - begin < 1000 * seconds)
        pause_for(SHORTEST_SLEEP);
    if (outcome == 0) c->cancel(c->context, request);
    return outcome > 0;
}
