/*
 * cribo/mpi.h: a communicator (cribo/communicator.h) over MPI, in a library beside libcribo.
 *
 * MPI implementations have different binary interfaces, so there is a library for each that was found when
 * libcribo was built: libcribo-openmpi and libcribo-mpich, with pkg-config files of the same names. libcribo
 * itself needs no MPI.
 *
 * cribo/cribo.h does not include this header, since it needs <mpi.h>.
 */
#ifndef CRIBO_MPI_H
#define CRIBO_MPI_H

#include "cribo/communicator.h"

#include <mpi.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What lies behind a communicator that uses MPI. */
typedef struct cribo_mpi cribo_mpi;

/*
 * Makes a communicator of the ranks of `world`: duplicates it, so that the transfers do not meet those of the
 * program, and fills in *communicator. MPI has been initialised, with MPI_THREAD_SERIALIZED if other threads
 * use it, too. Collective: all ranks of `world` call it.
 * Ownership: free with cribo_mpi_free, after the trainers that use it. The struct is the caller's.
 * Aliasing: none.
 * Errors: CRIBO_INVALID_ARGUMENT (NULL, struct_size not set, a number of ranks that is no power of two),
 * CRIBO_OUT_OF_MEMORY, CRIBO_SYSTEM_ERROR (MPI failed or is not initialised), without a message for
 * cribo_last_error; *out is then NULL.
 * Threads: as MPI allows. Cost: that of MPI_Comm_dup. Since 0.1.
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_mpi_create(
    cribo_mpi **out, MPI_Comm world, cribo_communicator *communicator);

/*
 * Ends it; NULL is allowed. Not collective where a transfer has timed out: the duplicate of the MPI
 * communicator is then left to MPI_Finalize or MPI_Abort.
 * Ownership: the communicator ends with it. Aliasing: none.
 * Errors: none. Threads: as MPI allows. Cost: that of MPI_Comm_free. Since 0.1.
 */
CRIBO_API void cribo_mpi_free(cribo_mpi *mpi);

/*
 * For programs that load this library at run time and do not call MPI themselves: begin initialises MPI if
 * that has not been done, and makes a communicator of MPI_COMM_WORLD; end frees it and finalises MPI if begin
 * has initialised it. After a transfer that timed out end calls MPI_Abort in place of MPI_Finalize, which
 * would wait for the lost ranks: then it does not return. With Open MPI begin sets OMPI_MCA_btl_tcp_flags in
 * the environment to "send" where it is not set: without it TCP has half of a link's rate.
 * Ownership: as cribo_mpi_create. Aliasing: none.
 * Errors: as cribo_mpi_create. Threads: the thread that will use MPI. Cost: that of MPI_Init. Since 0.1.
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_mpi_begin(cribo_mpi **out, cribo_communicator *communicator);
CRIBO_API void cribo_mpi_end(cribo_mpi *mpi);

#ifdef __cplusplus
}
#endif

#endif
