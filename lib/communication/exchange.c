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

/* The transfers in one direction. */
typedef struct direction {
    size_t bytes, started, ended; /* of all; started and ended are multiples of the chunk but for the last */
    int64_t request[CB_CHUNKS];
} direction;

/* The notices: requests under way, and their content. */
typedef struct notice {
    bool sending, receiving;
    int64_t sent, received; /* CB_NONE or the rank that is lost */
    int64_t out, in;        /* requests */
} notice;

typedef struct transfer {
    const cribo_communicator *communicator;
    const cb_exchange *exchange;
    direction out, in;
    notice notice;
} transfer;

static size_t chunk_at(const direction *d, size_t offset)
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

static bool may_start(const direction *d)
{
    return d->started < d->bytes && d->started - d->ended < CB_CHUNKS * CB_CHUNK_BYTES;
}

static cribo_status broken_transport(const transfer *t, const char *action)
{
    return cb_fail(CRIBO_SYSTEM_ERROR, "the communicator cannot %s rank %zu (%s)", action, t->exchange->peer,
        t->exchange->what);
}

static cribo_status start_notices(transfer *t)
{
    const cribo_communicator *c = t->communicator;
    notice *n = &t->notice;
    int64_t peer = (int64_t)t->exchange->peer;
    if (c->receive(c->context, peer, &n->received, sizeof n->received, &n->in) != 0)
        return broken_transport(t, "receive from");
    n->receiving = true;
    if (c->send(c->context, peer, &n->sent, sizeof n->sent, &n->out) != 0)
        return broken_transport(t, "send to");
    n->sending = true;
    return CRIBO_OK;
}

static cribo_status start(transfer *t)
{
    const cribo_communicator *c = t->communicator;
    const cb_exchange *e = t->exchange;
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
static int end_oldest(const transfer *t, direction *d)
{
    if (d->ended == d->started) return 0;
    int outcome = t->communicator->test(t->communicator->context, d->request[slot_of(d->ended)]);
    if (outcome != 0) d->ended += chunk_at(d, d->ended); /* a request that failed is not cancelled, either */
    return outcome;
}

/* A sign of life has come: the notice, or another sign, follows. */
static int receive_again(transfer *t)
{
    const cribo_communicator *c = t->communicator;
    notice *n = &t->notice;
    if (c->receive(c->context, (int64_t)t->exchange->peer, &n->received, sizeof n->received, &n->in) != 0)
        return -1;
    n->receiving = true;
    return 1;
}

/* Returns 1 if a notice has come or gone, negative after a failure. */
static int end_notices(transfer *t)
{
    const cribo_communicator *c = t->communicator;
    notice *n = &t->notice;
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
static int advance(transfer *t)
{
    size_t at = t->in.ended;
    int notices = end_notices(t);
    if (notices != 0) return notices;
    int in = t->notice.receiving ? 0 : end_oldest(t, &t->in);
    if (in < 0) return in;
    if (in > 0 && t->exchange->arrived)
        t->exchange->arrived(t->exchange->context, place_of(t->exchange, at), at, t->in.ended - at);
    int out = t->notice.sending ? 0 : end_oldest(t, &t->out);
    return out < 0 ? out : in > 0 || out > 0;
}

static void cancel_notices(const transfer *t)
{
    const cribo_communicator *c = t->communicator;
    if (t->notice.receiving) c->cancel(c->context, t->notice.in);
    if (t->notice.sending) c->cancel(c->context, t->notice.out);
}

static void cancel(const transfer *t, const direction *d)
{
    for (size_t at = d->ended; at < d->started; at += chunk_at(d, at))
        t->communicator->cancel(t->communicator->context, d->request[slot_of(at)]);
}

static void pause_for(long nanoseconds)
{
    nanosleep(&(struct timespec){.tv_nsec = nanoseconds}, NULL);
}

static cribo_status lose(const transfer *t, int64_t rank)
{
    *t->exchange->lost = rank;
    return cb_fail(CRIBO_TIMED_OUT, "rank %lld did not answer within %g seconds (%s)", (long long)rank,
        t->communicator->deadline, t->exchange->what);
}

/* Waits until some request has ended. */
static cribo_status wait_for_progress(transfer *t)
{
    const double begin = cb_clock_ms(), deadline = t->communicator->deadline + t->exchange->patience;
    long sleep = SHORTEST_SLEEP;
    for (int polls = 0;; polls++) {
        int progress = advance(t);
        bool told = !t->notice.receiving && t->notice.received != CB_NONE;
        if (progress > 0) return told ? lose(t, t->notice.received) : CRIBO_OK;
        if (progress < 0) return broken_transport(t, "reach");
        if (polls < PATIENT_POLLS) continue;
        if (cb_clock_ms() - begin > 1000 * deadline) return lose(t, (int64_t)t->exchange->peer);
        pause_for(sleep);
        sleep = 2 * sleep < LONGEST_SLEEP ? 2 * sleep : LONGEST_SLEEP;
    }
}

static bool has_ended(const transfer *t)
{
    return t->in.ended == t->in.bytes && t->out.ended == t->out.bytes && !t->notice.receiving &&
           !t->notice.sending;
}

cribo_status cb_exchange_run(const cribo_communicator *communicator, const cb_exchange *exchange)
{
    transfer t = {communicator, exchange, {.bytes = exchange->send_bytes}, {.bytes = exchange->receive_bytes},
        {.sent = CB_NONE, .received = CB_NONE}};
    *exchange->lost = CB_NONE;
    cribo_status status = start_notices(&t);
    while (status == CRIBO_OK && !has_ended(&t)) {
        status = start(&t);
        if (status == CRIBO_OK) status = wait_for_progress(&t);
    }
    if (status == CRIBO_OK) return CRIBO_OK;
    cancel_notices(&t);
    cancel(&t, &t.in);
    cancel(&t, &t.out);
    return status;
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
