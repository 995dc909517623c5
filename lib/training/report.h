/*
 * A step's report, and the signs of collapse in it.
 *
 * Self-distillation can fall into two trivial solutions that its loss does not show as failure (Caron et al.
 * 2021, section 5.3): the teacher gives the same distribution for every image, either the uniform one (its
 * entropy stays at ln P) or always the same prototype (the entropy of its mean distribution goes to 0). Both
 * come with [CLS] features that no longer differ between images.
 */
#ifndef CB_TRAINING_REPORT_H
#define CB_TRAINING_REPORT_H

#include "objective/objective.h"

/* Sums of a report. */
typedef struct cb_report_scratch {
    double *sums;  /* [2, D] */
    cb_real *unit; /* [D] */
} cb_report_scratch;

/*
 * The content of a report except the times of the phases. Changes only the scratch.
 */
void cb_report_fill(const cb_objective *objective, double gradient_norm, const cb_report_scratch *scratch,
    cribo_report *report);

typedef enum cb_sign { CB_SIGN_UNIFORM, CB_SIGN_ONE_PROTOTYPE, CB_SIGN_EQUAL_FEATURES, CB_SIGNS } cb_sign;

/* The number of consecutive steps with each sign. */
typedef struct cb_collapse_watch {
    int64_t steps[CB_SIGNS];
} cb_collapse_watch;

/*
 * Counts the signs in a step's report; logs a warning when a sign has lasted for a fiftieth of the run's
 * steps, at least CB_COLLAPSE_PATIENCE. A [CLS] loss above that of uniform distributions is also a sign.
 */
#define CB_COLLAPSE_PATIENCE 20
int64_t cb_collapse_patience(int64_t total_steps);
void cb_collapse_look(cb_collapse_watch *watch, const cb_runtime *runtime,
    const cribo_objective_config *config, int64_t total_steps, const cribo_report *report);

#endif
