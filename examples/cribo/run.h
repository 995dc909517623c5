/*
 * The output folder of a training run: config.json, log.jsonl, weights.safetensors, checkpoints and
 * pictures.
 */
#ifndef RUN_H
#define RUN_H

#include "plot.h"

#include <cribo/trainer.h>

#include <stdio.h>

struct run {
    char *config, *log, *weights, *losses, *clusters_start, *clusters; /* paths */
    FILE *log_file;
    bool log_failed; /* said once; training goes on */
};

/* What is meant to happen to a run that the folder holds already. */
enum run_mode { RUN_NEW, RUN_OVERWRITE, RUN_RESUME };

/*
 * Makes the folder and begins its log, so that a folder that cannot be written is found before hours of
 * training. RUN_NEW refuses a folder that holds a run, RUN_OVERWRITE begins its log anew, RUN_RESUME leaves
 * the log as it is.
 */
bool run_open(struct run *run, const char *folder, enum run_mode mode, struct problem *problem);

/*
 * Cuts off the log's lines from step `step` on and what is torn, and adds the losses of those before to the
 * history.
 */
bool run_rewind(const struct run *run, int64_t step, struct history *history, struct problem *problem);

/* What a run was started with, besides its settings. */
struct run_facts {
    const char *folder; /* of the pictures */
    const char *preset; /* NULL: none */
    size_t pictures;
    int threads, workers; /* threads 0: by the library */
};

bool run_write_config(const struct run *run, const cribo_trainer_config *config,
    const struct run_facts *facts, struct problem *problem);

/* Appends a step's report as one line of JSON, numbers that are not finite as null. */
void run_log(struct run *run, const cribo_report *report, double images_per_second);

void run_close(struct run *run);

#endif
