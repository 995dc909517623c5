/* How a process of a run ends. tests/mpi has the runs themselves. */
#include "suite.h"
#include "session/ranks.h"

#include <sys/wait.h>
#include <unistd.h>

static void end_never(void *mpi)
{
    (void)mpi;
    for (;;) pause();
}

START_TEST(test_an_mpi_that_does_not_end_does_not_hold_its_process)
{
    struct ranks ranks = {.size = 2, .own.deadline = 0.2, .mpi = &ranks, .end = end_never};
    int state = 0;
    pid_t child = fork();
    if (child == 0) ranks_close(&ranks, 7);
    ck_assert_int_gt(child, 0);
    ck_assert_int_eq(waitpid(child, &state, 0), child);
    ck_assert(WIFEXITED(state));
    ck_assert_int_eq(WEXITSTATUS(state), 7);
}
END_TEST

RUN_TESTS("ranks", test_an_mpi_that_does_not_end_does_not_hold_its_process)
