/*
 * Schedules: the settings of a step, as a function of the step alone. All in double precision. Steps and
 * epochs count from 0; beyond the last step the last step's values hold.
 */
#ifndef CB_TRAINING_SCHEDULE_H
#define CB_TRAINING_SCHEDULE_H

#include "base/config.h"
#include "base/runtime.h"
#include "cribo/objective.h"

/*
 * Cosine with a linear warm-up: step t of `total`, w of them warm-up:
 *   t < w:   start + (base - start) t / (w - 1)      (start when w = 1): base is reached at w - 1 and used
 *            again at w
 *   t >= w:  final + (base - final) (1 + cos(π (t - w) / (total - w))) / 2     (never reaches final)
 */
double cb_schedule_cosine(
    double start, double base, double final, int64_t warmup, int64_t total, int64_t step);

/*
 * From first at index 0 to last at index count - 1, and last from there on; first when count = 1, last when
 * count = 0.
 */
double cb_schedule_linear(double first, double last, int64_t count, int64_t index);

/*
 * The positional cost's weight in an epoch of `epochs`: the first epoch's value comes first (the authors'
 * option pos_alpha has the last epoch's first). A single epoch has the first's.
 */
double cb_schedule_position_weight(double first, double last, int64_t epochs, int64_t epoch);

/*
 * Sets steps_per_epoch = 0 (not given) to 1 in the config of a trainer or an objective. This is an error
 * while a setting in epochs is above 0 and its counterpart in steps is 0: such a setting has no length then.
 */
cribo_status cb_schedule_settle(const cb_config_table *table, void *config);

/* How many steps a training has: total_steps, or epochs * steps_per_epoch. At least 1. */
int64_t cb_schedule_total_steps(const cribo_objective_config *config);

/*
 * A warning that names the beginnings (warm-ups, waits, freezes) that are not over when the training is, if
 * there are any.
 */
void cb_schedule_warn(const cb_runtime *runtime, const cribo_objective_config *config);

/*
 * The values of step >= 0; of cross_image as far as the schedule goes. A number of epochs that isn't whole is
 * rounded to steps (temperatures: to epochs).
 */
void cb_schedule_at(const cribo_objective_config *config, int64_t step, cribo_step_values *out);

#endif
