/*
 * One exchange with another rank: bytes are sent in both directions in chunks, and each received chunk is
 * processed during the transfer of the next. Requests are polled with short sleeps, so that a waiting rank
 * uses almost no CPU time; a deadline ends the wait.
 */
#ifndef CB_COMMUNICATION_EXCHANGE_H
#define CB_COMMUNICATION_EXCHANGE_H

#include "base/status.h"
#include "cribo/communicator.h"

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
} cb_exchange;

/*
 * Fails with CRIBO_TIMED_OUT after the communicator's deadline without progress, and with CRIBO_SYSTEM_ERROR
 * if the transport fails. Afterwards no request is in progress.
 */
cribo_status cb_exchange_run(const cribo_communicator *communicator, const cb_exchange *exchange);

#endif
