/*
 * The processes of a run, which a launcher such as mpirun started: rank 0 speaks and writes, all train. The
 * program needs no MPI: libcribo-openmpi or libcribo-mpich is loaded when a launcher has started several
 * processes.
 *
 * All functions but ranks_close are collective: every rank calls them in the same order. With one rank they
 * do no more than their own work. A function fails on all ranks or on none, unless the connection breaks:
 * then every later call fails at once with the first message.
 */
#ifndef RANKS_H
#define RANKS_H

#include "base/launcher.h"
#include "base/problem.h"

#include <cribo/communicator.h>

#include <stddef.h>

struct ranks {
    int64_t rank, size;
    cribo_communicator own;    /* of the MPI library */
    cribo_communicator shared; /* for the trainer: `own`, and notices when the connection breaks */
    void *library, *mpi;       /* of dlopen; of cribo_mpi_begin */
    void (*end)(void *mpi);
    bool broken;            /* a transfer was given up */
    struct problem failure; /* the message about that; "": not known yet */
};

struct ranks_options {
    const char *communicator; /* "openmpi", "mpich", "none"; NULL: that of the launcher */
    double deadline;          /* seconds without an answer after which a rank is lost; 0: 300 */
};

/* What can be known from the environment alone, before ranks_open. */
bool ranks_check(
    const struct ranks_options *options, const struct launcher *launcher, struct problem *problem);

/* Connects the ranks. Close with ranks_close, on failure too. */
bool ranks_open(struct ranks *ranks, const struct ranks_options *options, const struct launcher *launcher,
    struct problem *problem);

/*
 * Ends MPI, and the process with `status` if MPI does not end within the deadline. After a broken connection
 * MPI ends the other ranks and this process.
 */
void ranks_close(struct ranks *ranks, int status);

/* The communicator for a trainer; NULL with one rank. */
const cribo_communicator *ranks_communicator(const struct ranks *ranks);

/* True if `worked` is true on all ranks; otherwise all get the problem of the lowest rank without success. */
bool ranks_agree(struct ranks *ranks, bool worked, struct problem *problem);

/* The `bytes` bytes of each rank, in their order: all [size, bytes]. */
bool ranks_gather(struct ranks *ranks, const void *mine, size_t bytes, void *all, struct problem *problem);

/*
 * True if all ranks have the same `lines`, a text; otherwise the problem has the first line that differs,
 * here and on rank 0.
 */
bool ranks_same(struct ranks *ranks, const char *lines, struct problem *problem);

/* The `bytes` bytes become rank 0's on all ranks. */
bool ranks_share(struct ranks *ranks, void *data, size_t bytes, struct problem *problem);

/* *value becomes rank 0's on all ranks. */
bool ranks_follow(struct ranks *ranks, int64_t *value, struct problem *problem);

/*
 * Rank 0 works, in a thread of its own, and the others wait however long it takes: signs of life pass the
 * deadline. `work` does not use this struct.
 */
bool ranks_alone(struct ranks *ranks, bool (*work)(void *argument, struct problem *problem), void *argument,
    struct problem *problem);

/* This process's share of the CPUs that it may use, at least 1: ranks of one machine divide them. */
bool ranks_cpus(struct ranks *ranks, int *cpus, struct problem *problem);

#endif
