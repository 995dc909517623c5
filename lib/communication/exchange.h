/*
 * One exchange with another rank: bytes are sent in both directions in chunks, and each received chunk is
 * processed during the transfer of the next. Requests are polled with short sleeps, so that a waiting rank
 * uses almost no CPU time; a deadline ends the wait.
 *
 * Before its bytes each side sends a notice: that all is well, or the number of a rank that is lost. A side
 * that works while the other waits sends signs of life before its notice, and the wait begins anew with each.
 */
#ifndef CB_COMMUNICATION_EXCHANGE_H
#define CB_COMMUNICATION_EXCHANGE_H

#include "base/status.h"
#include "cribo/communicator.h"

#include <stdbool.h>

#define CB_CHUNK_BYTES ((size_t)1 << 20)
#define CB_CHUNKS 2 /* requests at a time, in each direction */

/* Processes `bytes` received bytes, those from `offset` on. */
typedef void cb_arrival(void *context, const void *data, size_t offset, size_t bytes);

typedef struct cb_exchange {
    const char *what; /* names the exchange in messages */
    size_t peer;
    const unsigned char *send;
    size_t send_bytes;
    unsigned char *receive; /* where the bytes go; NULL: each chunk into `chunks`, then to `arrived` */
    size_t receive_bytes;
    unsigned char *chunks; /* [CB_CHUNKS, CB_CHUNK_BYTES] */
    cb_arrival *arrived;
    void *context;
    bool signs;      /* the peer may send signs of life: nothing is received before its notice */
    double patience; /* seconds beyond the deadline in which a notice may come */
    int64_t *lost;   /* out: the rank that did not answer, by the peer's notice or the deadline; or CB_NONE */
} cb_exchange;

#define CB_NONE (-1)
#define CB_ALIVE (-2) /* a sign of life, in place of a notice */

/* The transfers in one direction. */
typedef struct cb_direction {
    size_t bytes, started, ended; /* of all; started and ended are multiples of the chunk but for the last */
    int64_t request[CB_CHUNKS];
} cb_direction;

/* The notices: requests under way, and their content. */
typedef struct cb_notice {
    bool sending, receiving;
    int64_t sent, received; /* CB_NONE or the rank that is lost */
    int64_t out, in;        /* requests */
} cb_notice;

/* An exchange under way. The struct stays at its address, since requests refer to it. */
typedef struct cb_transfer {
    const cribo_communicator *communicator;
    cb_exchange exchange;
    cb_direction out, in;
    cb_notice notice;
} cb_transfer;

/*
 * begin     starts an exchange
 * advance   does what is possible without waiting: *ended is true when the exchange has ended
 * finish    waits for the end. Fails with CRIBO_TIMED_OUT after the communicator's deadline without progress
 *           during the wait
 *
 * Each fails with CRIBO_SYSTEM_ERROR if the transport fails, and advance with CRIBO_TIMED_OUT if the peer's
 * notice names a lost rank. After a failure no request is in progress.
 */
cribo_status cb_exchange_begin(
    cb_transfer *transfer, const cribo_communicator *communicator, const cb_exchange *exchange);
cribo_status cb_exchange_advance(cb_transfer *transfer, bool *ended);
cribo_status cb_exchange_finish(cb_transfer *transfer);

/* All of an exchange. */
cribo_status cb_exchange_run(const cribo_communicator *communicator, const cb_exchange *exchange);

/*
 * Sends the notice that rank `lost` is lost, or CB_ALIVE, which the peer reads at the beginning of its next
 * exchange with this rank. Waits for at most `seconds`; false: the peer has not received it.
 */
bool cb_exchange_tell(const cribo_communicator *communicator, size_t peer, int64_t lost, double seconds);

#endif
