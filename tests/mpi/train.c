/*
 * Some steps of a small run over MPI: train BITS FIRST STEPS LOAD SAVE
 *
 *   BITS    float32 or bf16
 *   LOAD    a checkpoint to resume from, or -
 *   SAVE    the checkpoint to write
 */
#include "cribo/mpi.h"
#include "support/training.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH = 8 };

/* The rank's share of batch `number`. */
static cribo_batch share_of(
    const cribo_trainer_config *config, const training_batch *whole, int64_t rank, int64_t size)
{
    int64_t first = BATCH * rank / size;
    size_t skipped = (size_t)first * 3 * (size_t)(config->image_size * config->image_size);
    cribo_batch share = whole->batch;
    share.images = BATCH * (rank + 1) / size - first;
    share.view1 += skipped;
    share.view2 += skipped;
    share.crops1 += first;
    share.crops2 += first;
    return share;
}

static char **arguments; /* of main */

START_TEST(train)
{
    cribo_trainer_config config = training_config();
    cribo_communicator communicator = {.struct_size = sizeof communicator};
    cribo_runtime runtime = training_runtime(1);
    cribo_mpi *mpi;
    cribo_trainer *trainer;
    int first = atoi(arguments[2]), steps = atoi(arguments[3]);
    OK(cribo_mpi_begin(&mpi, &communicator));
    config.batch_size = config.shards = BATCH;
    config.precision = strcmp(arguments[1], "bf16") == 0 ? CRIBO_BF16 : CRIBO_FLOAT32;
    OK(cribo_trainer_create_distributed(&trainer, &config, &runtime, &communicator));
    if (strcmp(arguments[4], "-") != 0) OK(cribo_trainer_load(trainer, arguments[4], NULL));
    for (int number = first; number < first + steps; number++) {
        training_batch whole = training_batch_of(&config, BATCH, (uint64_t)number);
        cribo_batch share = share_of(&config, &whole, communicator.rank, communicator.size);
        OK(cribo_trainer_step(trainer, &share, NULL));
        training_batch_free(&whole);
    }
    OK(cribo_trainer_save(trainer, arguments[5], NULL));
    cribo_trainer_free(trainer);
    cribo_mpi_end(mpi);
}
END_TEST

/* The helpers of the tests report through libcheck; MPI forbids a fork. */
int main(int argc, char **argv)
{
    if (argc != 6) return 2;
    arguments = argv;
    Suite *suite = suite_create("training over MPI");
    TCase *tests = tcase_create("train");
    tcase_add_test(tests, train);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
