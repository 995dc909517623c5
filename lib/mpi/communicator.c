/* A communicator over MPI. See cribo/mpi.h. */
#include "cribo/mpi.h"

#include <stdbool.h>
#include <stdlib.h>

#define REQUESTS 8 /* of a communicator, at once */
#define TAG 0      /* order is enough: transfers between two ranks do not overtake each other */

struct cribo_mpi {
    MPI_Comm comm;
    MPI_Request requests[REQUESTS];
    bool taken[REQUESTS];
    bool lost;      /* a request was given up */
    bool finalises; /* cribo_mpi_begin has initialised MPI */
};

static int free_slot(const cribo_mpi *mpi)
{
    int slot = 0;
    while (slot < REQUESTS && mpi->taken[slot]) slot++;
    return slot;
}

/* The outcome of starting a request in a slot. */
static int started(cribo_mpi *mpi, int slot, int outcome, int64_t *request)
{
    if (outcome != MPI_SUCCESS) return 1;
    mpi->taken[slot] = true;
    *request = slot;
    return 0;
}

static int start_send(void *context, int64_t peer, const void *data, size_t bytes, int64_t *request)
{
    cribo_mpi *mpi = context;
    int slot = free_slot(mpi);
    if (slot == REQUESTS) return 1;
    int outcome = MPI_Isend(data, (int)bytes, MPI_BYTE, (int)peer, TAG, mpi->comm, &mpi->requests[slot]);
    return started(mpi, slot, outcome, request);
}

static int start_receive(void *context, int64_t peer, void *data, size_t bytes, int64_t *request)
{
    cribo_mpi *mpi = context;
    int slot = free_slot(mpi);
    if (slot == REQUESTS) return 1;
    int outcome = MPI_Irecv(data, (int)bytes, MPI_BYTE, (int)peer, TAG, mpi->comm, &mpi->requests[slot]);
    return started(mpi, slot, outcome, request);
}

static int test_request(void *context, int64_t request)
{
    cribo_mpi *mpi = context;
    int ended = 0, outcome = MPI_Test(&mpi->requests[request], &ended, MPI_STATUS_IGNORE);
    if (outcome == MPI_SUCCESS && !ended) return 0;
    mpi->taken[request] = false;
    mpi->lost |= outcome != MPI_SUCCESS;
    return outcome == MPI_SUCCESS ? 1 : -1;
}

/* A send that has begun cannot be taken back: MPI may read its buffer until the end of the process. */
static void cancel_request(void *context, int64_t request)
{
    cribo_mpi *mpi = context;
    mpi->lost = true;
    mpi->taken[request] = false;
    MPI_Cancel(&mpi->requests[request]);
    MPI_Request_free(&mpi->requests[request]);
}

static bool is_ready(void)
{
    int initialised = 0, finalised = 0;
    return MPI_Initialized(&initialised) == MPI_SUCCESS && initialised &&
           MPI_Finalized(&finalised) == MPI_SUCCESS && !finalised;
}

static cribo_status open_world(cribo_mpi *mpi, MPI_Comm world, cribo_communicator *communicator)
{
    int rank = 0, size = 0;
    if (MPI_Comm_dup(world, &mpi->comm) != MPI_SUCCESS) return CRIBO_SYSTEM_ERROR;
    if (MPI_Comm_set_errhandler(mpi->comm, MPI_ERRORS_RETURN) != MPI_SUCCESS ||
        MPI_Comm_rank(mpi->comm, &rank) != MPI_SUCCESS || MPI_Comm_size(mpi->comm, &size) != MPI_SUCCESS)
        return CRIBO_SYSTEM_ERROR;
    if ((size & (size - 1)) != 0) return CRIBO_INVALID_ARGUMENT;
    communicator->rank = rank;
    communicator->size = size;
    communicator->deadline = 0;
    communicator->context = mpi;
    communicator->send = start_send;
    communicator->receive = start_receive;
    communicator->test = test_request;
    communicator->cancel = cancel_request;
    return CRIBO_OK;
}

cribo_status cribo_mpi_create(cribo_mpi **out, MPI_Comm world, cribo_communicator *communicator)
{
    if (!out) return CRIBO_INVALID_ARGUMENT;
    *out = NULL;
    if (!communicator || communicator->struct_size != sizeof *communicator) return CRIBO_INVALID_ARGUMENT;
    if (!is_ready()) return CRIBO_SYSTEM_ERROR;
    cribo_mpi *mpi = calloc(1, sizeof *mpi);
    if (!mpi) return CRIBO_OUT_OF_MEMORY;
    mpi->comm = MPI_COMM_NULL;
    cribo_status status = open_world(mpi, world, communicator);
    if (status == CRIBO_OK)
        *out = mpi;
    else
        cribo_mpi_free(mpi);
    return status;
}

void cribo_mpi_free(cribo_mpi *mpi)
{
    if (!mpi) return;
    if (!mpi->lost && mpi->comm != MPI_COMM_NULL && is_ready()) MPI_Comm_free(&mpi->comm);
    free(mpi);
}

/*
 * With its "put" protocol, Open MPI's TCP gives two ranks that send to each other at the same time half of a
 * link's rate in each direction; with "send" they have nearly all of it. A choice of the user stays.
 */
static void choose_protocol(void)
{
#ifdef OPEN_MPI
    setenv("OMPI_MCA_btl_tcp_flags", "send", 0);
#endif
}

cribo_status cribo_mpi_begin(cribo_mpi **out, cribo_communicator *communicator)
{
    int given = 0;
    bool begun = false;
    if (!out) return CRIBO_INVALID_ARGUMENT;
    *out = NULL;
    if (!is_ready()) {
        choose_protocol();
        if (MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &given) != MPI_SUCCESS)
            return CRIBO_SYSTEM_ERROR;
        begun = true;
    }
    cribo_status status = cribo_mpi_create(out, MPI_COMM_WORLD, communicator);
    if (status == CRIBO_OK) (*out)->finalises = begun;
    if (status != CRIBO_OK && begun) MPI_Finalize();
    return status;
}

void cribo_mpi_end(cribo_mpi *mpi)
{
    if (!mpi) return;
    bool finalises = mpi->finalises, lost = mpi->lost;
    if (finalises && lost) MPI_Abort(MPI_COMM_WORLD, 1);
    cribo_mpi_free(mpi);
    if (finalises) MPI_Finalize();
}
