/*
 * A short run that may be killed: resume PATH THREADS
 *
 * Continues from the checkpoint PATH if it exists, trains to step 6, saves to PATH after steps 2 and 4, and
 * writes its last state to PATH.final. Before and after the second save it tries to open missing files, which
 * a trace shows.
 */
#define _POSIX_C_SOURCE 200809L
#include "support/training.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LAST_STEP 6

static void mark(int64_t step, const char *name)
{
    if (step == 4 && access(name, F_OK) == 0) printf("%s is there\n", name);
}

static int64_t begin(cribo_trainer *trainer, const char *path)
{
    int64_t step;
    if (access(path, F_OK) == 0) OK(cribo_trainer_load(trainer, path, NULL));
    OK(cribo_trainer_step_count(trainer, &step));
    return step;
}

int main(int count, char **arguments)
{
    if (count != 3) return 2;
    const char *path = arguments[1];
    char final[1024];
    cribo_trainer_config c = training_config();
    cribo_trainer *trainer = training_begin(&c, atoi(arguments[2]));
    for (int64_t step = begin(trainer, path); step < LAST_STEP;) {
        training_step(trainer, &c, (uint64_t)step++);
        mark(step, "save-begins");
        if (step % 2 == 0 && step < LAST_STEP) OK(cribo_trainer_save(trainer, path, NULL));
        mark(step, "save-ends");
    }
    snprintf(final, sizeof final, "%s.final", path);
    OK(cribo_trainer_save(trainer, final, NULL));
    cribo_trainer_free(trainer);
    return 0;
}
