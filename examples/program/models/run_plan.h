/*
 * The runs of an evaluation: each list of pictures to remember, or each fraction of them, with each seed; and
 * the joint results of several runs.
 */
#ifndef RUN_PLAN_H
#define RUN_PLAN_H

#include "models/evaluation.h"

enum { MAX_RUNS = 64, MAX_NUMBERS = 32 };

/* The user's options. */
struct run_request {
    const char *lists;             /* files with commas between; NULL: the layout's pictures */
    double fractions[MAX_NUMBERS]; /* of the pictures, 0 ... 1 */
    int fraction_count;            /* 0: all pictures */
    int64_t seeds[MAX_NUMBERS];
    int seed_count; /* 0: seed 0 */
};

struct run_plan {
    struct dataset test;
    struct dataset *trains; /* [lists] */
    size_t list_count;
    struct evaluation_run runs[MAX_RUNS];
    char names[MAX_RUNS][80];
    size_t count;
};

/* "1,1/8,0.05" into fractions; "0,7" into seeds. */
bool run_request_fractions(struct run_request *request, const char *text, struct problem *problem);
bool run_request_seeds(struct run_request *request, const char *text, struct problem *problem);

/*
 * Opens the data and makes the runs. A fraction f of n pictures is max(1, floor(f n)) of them, drawn without
 * replacement by the seed. Free with run_plan_free, on failure too.
 */
bool run_plan_make(struct run_plan *plan, const struct run_request *request,
    const struct dataset_choice *data, struct problem *problem);
void run_plan_free(struct run_plan *plan);

/* The joint result of the runs with the same number of remembered pictures. */
struct run_summary {
    size_t pictures, runs;
    double fraction;        /* of the most that a run remembers */
    double mean, deviation; /* of the mean IoU; deviation by runs - 1, 0 of a single run */
};

/* Into summaries [MAX_RUNS], the fewest pictures first; gives their number. */
size_t run_plan_summarise(
    const struct run_plan *plan, const struct evaluation *results, struct run_summary *summaries);

#endif
