/* The launcher that started this process as one of several, found from the environment. */
#ifndef LAUNCHER_H
#define LAUNCHER_H

#include <stdint.h>

struct launcher {
    const char *name;         /* "Open MPI's mpirun"; NULL: none */
    const char *communicator; /* the MPI that it starts: "openmpi" or "mpich"; NULL: unknown */
    int64_t rank, size;       /* of this process, and of all; 0 and 1 without a launcher */
};

struct launcher launcher_find(void);

#endif
