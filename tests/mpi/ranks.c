/*
 * Ranks that are processes under MPI: what each sends arrives, sums are those of the binary tree over ranks,
 * and a rank that is gone ends the others' wait.
 *
 *   ranks gather|leave     exits with 0 on every rank that has seen what it should
 */
#include "communication/ranks.h"
#include "cribo/mpi.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { NUMBERS = 700001, MAX_RANKS = 64 };

#define EXPECT(condition) \
    do { \
        if (!(condition)) { \
            fprintf(stderr, "rank %zu: %s:%d: %s is not so (%s)\n", cb_ranks_own(ranks), __FILE__, __LINE__, \
                #condition, cribo_last_error()); \
            return 1; \
        } \
    } while (0)

static float number_of(size_t rank, size_t i)
{
    return (float)((double)((i * 2654435761u + rank * 40503u) % 20000u) / 7.0 - 1000.0);
}

static float tree_sum(size_t first, size_t count, size_t i)
{
    if (count == 1) return number_of(first, i);
    return tree_sum(first, count / 2, i) + tree_sum(first + count / 2, count / 2, i);
}

static int check_exchanges(cb_ranks *ranks)
{
    size_t rank = cb_ranks_own(ranks), size = cb_ranks_size(ranks), offsets[MAX_RANKS + 1], all[MAX_RANKS];
    EXPECT(cb_ranks_gather(ranks, "ranks", &rank, sizeof rank, all) == CRIBO_OK);
    for (size_t r = 0; r < size; r++) EXPECT(all[r] == r);

    float *values = malloc(NUMBERS * sizeof *values);
    EXPECT(values != NULL);
    for (size_t i = 0; i < NUMBERS; i++) values[i] = number_of(rank, i);
    for (size_t p = 0; p <= size; p++) offsets[p] = p * NUMBERS / size;
    EXPECT(cb_ranks_sum(ranks, "numbers", values, offsets, false) == CRIBO_OK);
    EXPECT(cb_ranks_spread(ranks, "numbers", values, sizeof *values, offsets) == CRIBO_OK);
    for (size_t i = 0; i < NUMBERS; i++) EXPECT(values[i] == tree_sum(0, size, i));
    free(values);

    cribo_status own = rank == 1 ? cb_fail(CRIBO_NOT_FINITE, "a reason") : CRIBO_OK;
    EXPECT(cb_ranks_agree(ranks, own) == (size > 1 ? CRIBO_NOT_FINITE : CRIBO_OK));
    EXPECT(cb_ranks_agree(ranks, CRIBO_OK) == CRIBO_OK);
    return 0;
}

/* The last rank stops answering; the others see that in time, and then end without it. */
static int check_leaving(cb_ranks *ranks)
{
    size_t rank = cb_ranks_own(ranks), all[MAX_RANKS];
    char message[64];
    snprintf(message, sizeof message, "rank %zu did not answer within 0.5 seconds", cb_ranks_size(ranks) - 1);
    if (rank + 1 == cb_ranks_size(ranks)) {
        sleep(3); /* alive, but silent: MPI itself reports nothing */
        return 0;
    }
    EXPECT(cb_ranks_gather(ranks, "ranks", &rank, sizeof rank, all) == CRIBO_TIMED_OUT);
    EXPECT(strstr(cribo_last_error(), message) != NULL);
    EXPECT(cb_ranks_agree(ranks, CRIBO_OK) == CRIBO_TIMED_OUT);
    return 0;
}

int main(int argc, char **argv)
{
    cribo_communicator communicator = {.struct_size = sizeof communicator};
    cribo_mpi *mpi = NULL;
    cb_ranks *ranks = NULL;
    const cb_runtime runtime = {0};
    bool leaves = argc == 2 && strcmp(argv[1], "leave") == 0;
    if (cribo_mpi_begin(&mpi, &communicator) != CRIBO_OK) {
        fprintf(stderr, "MPI does not start\n");
        return 2;
    }
    if (leaves) communicator.deadline = 0.5;
    if (cb_ranks_create(&runtime, &ranks, &communicator) != CRIBO_OK || !ranks) {
        fprintf(stderr, "%s (%d ranks)\n", cribo_last_error(), (int)communicator.size);
        return 2;
    }
    int failed = leaves ? check_leaving(ranks) : check_exchanges(ranks);
    cb_ranks_free(&runtime, ranks);
    if (leaves) { /* MPI_Finalize would wait for transfers that were given up */
        if (!failed) printf("rank %lld: as expected\n", (long long)communicator.rank);
        fflush(NULL);
        sleep(4); /* so that no rank ends while another waits, and the launcher kills none early */
        _exit(0);
    }
    cribo_mpi_end(mpi);
    return failed;
}
