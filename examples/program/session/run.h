/*
 * The output folder of a training run: config.json, log.jsonl, weights.safetensors, checkpoints and
 * pictures.
 */
#ifndef RUN_H
#define RUN_H

#include "pictures/recipe.h"
#include "session/events.h"
#include "drawing/sheet.h"
#include "session/history.h"
#include "session/time_budget.h"

#include <cribo/trainer.h>

#include <limits.h>
#include <stdio.h>

struct run {
    char *config, *log, *weights, *best, *losses, *clusters_start, *clusters, *clusters_both, *colours,
        *pictures, *board; /* paths */
    char *first_weights;   /* the file that the run began with; NULL: none */
    int lock, folder;      /* both kept open */
    char place[PATH_MAX];  /* the folder, through its open descriptor */
    FILE *log_file;
    struct events events; /* for TensorBoard */
    bool log_failed;      /* reported once; training continues */
};

/* The treatment of an existing run in the folder. */
enum run_mode { RUN_NEW, RUN_OVERWRITE, RUN_RESUME };

/*
 * Makes the folder and takes its lock, so that a folder that cannot be written, or that another process
 * trains in, is found before hours of training. RUN_NEW refuses a folder that holds a run, unless that was
 * stopped before it saved anything. The log is untouched yet.
 */
bool run_open(struct run *run, const char *folder, enum run_mode mode, struct problem *problem);

/* Names the files of a run in which another process writes. Close with run_close. */
bool run_name(struct run *run, const char *folder, struct problem *problem);

/*
 * Begins the log and TensorBoard's events anew and removes the best weights of a replaced run, or, in
 * RUN_RESUME, continues after those of the steps before `step`; run_rewind then cuts the log.
 */
bool run_open_log(struct run *run, enum run_mode mode, int64_t step, struct problem *problem);

/*
 * Cuts off the log's lines from batch `batch` on and an incomplete line, and adds the losses and the view
 * retrieval of the earlier lines to the history, which then has `steps` losses if the log is complete.
 */
bool run_rewind(
    const struct run *run, uint64_t batch, int64_t steps, struct history *history, struct problem *problem);

/* The inputs of a run besides its settings. */
struct run_facts {
    char *const *sources; /* [source_count] of the pictures */
    size_t source_count;
    const char *keys;            /* of --keys; NULL: none */
    const char *preset;          /* NULL: none */
    const char *weights;         /* the file that the run begins with; NULL: none */
    bool continued;              /* config.json of the earlier part names the file of weights */
    const struct recipe *recipe; /* of the views */
    size_t pictures;
    const struct time_plan *time; /* of the run's length; budget 0: it was not given as a time */
    int threads, workers;         /* threads 0: by the library */
};

bool run_write_config(struct run *run, const cribo_trainer_config *config, const struct run_facts *facts,
    struct problem *problem);

/* A line of the log: a step's report, and further facts of the program. */
struct log_line {
    cribo_report report;
    uint64_t batch; /* number of the batch; one without a picture made no step, so it may run ahead */
    double images_per_second;
    double wait_ms;                              /* for the batch */
    double loss_score;                           /* watch_score of the loss */
    double view_retrieval, view_retrieval_start; /* in per cent, after the step and before training; NaN */
    const char *warning;                         /* of the step; NULL or "": none */
    bool skipped;                                /* its update was skipped: only the losses are valid */
};

/* The event of view retrieval, in per cent, before training. */
void run_log_start(struct run *run, double view_retrieval);

/* The event of an evaluation's score, 0 ... 1, after `step` steps. */
void run_log_score(struct run *run, int64_t step, double mean_iou);

/* Appends a line of JSON, numbers that are not finite as null, and an event of all numbers of a step. */
void run_log(struct run *run, const struct log_line *line);

/*
 * Writes a picture of the teacher's objects at step `step` to `path` and, with `event`, to TensorBoard's
 * events.
 */
bool run_show(struct run *run, const char *path, int64_t step, struct sheet *sheet, bool event,
    struct problem *problem);

/* Before a checkpoint is written: flushes the log to the disk, so that a power loss does not lose it. */
void run_flush(struct run *run);

void run_close(struct run *run);

#endif
