/*
 * cribo/communicator.h: several processes train as one.
 *
 * A communicator connects the ranks of one training run. The library does all arithmetic itself; a
 * communicator only moves bytes between two ranks. So the results do not depend on the engine behind it, and
 * are bit-identical for every number of ranks that divides the trainer's setting `shards`.
 *
 * A communicator is a struct of functions that the program supplies. libcribo-mpi supplies one for MPI
 * (cribo/mpi.h), this header one for threads of one process (cribo_thread_group), and the Python module one
 * for torch.distributed and for mpi4py.
 */
#ifndef CRIBO_COMMUNICATOR_H
#define CRIBO_COMMUNICATOR_H

#include "cribo/base.h"

#ifdef __cplusplus
extern "C" {
#endif

/*
 * rank, size    this process is rank 0 ... size - 1 of `size` ranks. `size` is a power of two, 1 ... 4096
 * deadline      seconds that a transfer may take, > 0; 0 stands for 300. After that the waiting call returns
 *               CRIBO_TIMED_OUT, and so does every later call that needs the other ranks
 * context       passed to the functions
 * send          starts to send `bytes` bytes to rank `peer`; the data stay unchanged until the request has
 *               ended
 * receive       starts to receive `bytes` bytes from rank `peer`
 * test          1: the request has ended; 0: it is under way; negative: it failed. After 1 or a negative
 *               number the request's number is free
 * cancel        cancels a pending request and frees its number. The buffer of a cancelled receive
 *               is not written afterwards
 *
 * send and receive return 0, or another number if they fail, and set *request. None of the functions waits.
 * Transfers between the same ranks in the same direction arrive in the order in which they were started, and
 * are tested in this order.
 * `bytes` is 1 ... 2^22. At most 8 requests of a rank are under way at once.
 *
 * Threads: the library calls the functions on the thread that called it, one at a time for each trainer.
 */
typedef struct cribo_communicator {
    size_t struct_size; /* sizeof(cribo_communicator) */
    int64_t rank;
    int64_t size;
    double deadline;
    void *context;
    int (*send)(void *context, int64_t peer, const void *data, size_t bytes, int64_t *request);
    int (*receive)(void *context, int64_t peer, void *data, size_t bytes, int64_t *request);
    int (*test)(void *context, int64_t request);
    void (*cancel)(void *context, int64_t request);
} cribo_communicator;

/* The ranks of a run as threads of one process: for tests, and for machines with several NUMA domains. */
typedef struct cribo_thread_group cribo_thread_group;

/*
 * Makes a group of `size` ranks, a power of two, 1 ... 4096.
 * Ownership: free with cribo_thread_group_free after the last use of its communicators.
 * Errors: CRIBO_INVALID_ARGUMENT, CRIBO_OUT_OF_MEMORY, CRIBO_SYSTEM_ERROR.
 * Cost: some KiB for each rank.
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_thread_group_create(cribo_thread_group **out, int64_t size);

/*
 * Frees a group; NULL is allowed.
 * Ownership: the group's communicators end with it.
 * Threads: no communicator of the group is in use.
 */
CRIBO_API void cribo_thread_group_free(cribo_thread_group *group);

/*
 * Fills in the communicator of rank `rank`; its deadline is 0 (the default) and may be changed by the caller.
 * Ownership: the struct is the caller's; it refers to the group.
 * Errors: CRIBO_INVALID_ARGUMENT (NULL, struct_size not set, no such rank).
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_thread_group_communicator(
    cribo_thread_group *group, int64_t rank, cribo_communicator *communicator);

#ifdef __cplusplus
}
#endif

#endif
