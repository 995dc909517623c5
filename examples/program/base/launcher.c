/*
 * See launcher.h. Slurm counts the tasks of a step in SLURM_STEP_NUM_TASKS, which only srun sets: a batch
 * script itself is one process, although it has SLURM_NTASKS.
 */
#include "base/launcher.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

static const struct {
    const char *name, *communicator, *rank, *size;
} launchers[] = {
    {"Open MPI's mpirun", "openmpi", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"},
    {"MPICH's mpirun", "mpich", "PMI_RANK", "PMI_SIZE"},
    {"srun --mpi=pmix", "openmpi", "PMIX_RANK", "SLURM_STEP_NUM_TASKS"},
    {"srun", NULL, "SLURM_PROCID", "SLURM_STEP_NUM_TASKS"},
};

/* The value of an environment variable in least ... 2^31; -1 if it is not set or is another text. */
static int64_t number_of(const char *variable, int64_t least)
{
    const char *text = getenv(variable);
    char *end;
    errno = 0;
    long long value = text ? strtoll(text, &end, 10) : -1;
    return text && end != text && !*end && !errno && value >= least && value <= INT32_MAX ? value : -1;
}

struct launcher launcher_find(void)
{
    for (size_t i = 0; i < sizeof launchers / sizeof *launchers; i++) {
        int64_t rank = number_of(launchers[i].rank, 0), size = number_of(launchers[i].size, 1);
        if (rank >= 0 && rank < size)
            return (struct launcher){launchers[i].name, launchers[i].communicator, rank, size};
    }
    return (struct launcher){.size = 1};
}
