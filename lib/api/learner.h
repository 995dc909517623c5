/* What trainers and objectives share at the interface: both are learners around different networks. */
#ifndef CB_API_LEARNER_H
#define CB_API_LEARNER_H

#include "training/learner.h"

/*
 * CRIBO_WRONG_STATE while a step is under way; the message says that `what` ("a checkpoint is written") comes
 * after it.
 */
cribo_status cb_check_idle(const cb_learner *learner, const char *what);

/* CRIBO_WRONG_STATE before the phase `least`. `call` is refused until `missing` has been called. */
cribo_status cb_check_phase(const cb_learner *learner, cb_phase least, const char *call, const char *missing);

/* The caller may give no report, or an older or newer one. */
cribo_status cb_check_report(const cribo_report *report);
void cb_export_report(const cribo_report *done, cribo_report *report);

/* Any pointer may be NULL. */
void cb_export_losses(
    const cb_learner *learner, double *loss, double *global, double *cross_view, double *cross_image);

/* The sizes that trainers and objectives have in common. */
cribo_sizes cb_learner_sizes(const cb_learner *learner);

/* CRIBO_WRONG_STATE, naming `teach`, where there are none. */
cribo_status cb_export_targets(const cb_learner *learner, const char *teach, const cribo_targets *targets);

/* CRIBO_WRONG_STATE over several ranks, each of which has a part of `what` only. */
cribo_status cb_check_whole(const cb_learner *learner, const char *what);

void cb_export_moments(
    const cb_learner *learner, const cb_parameter *parameter, float *first, float *second, int64_t *updates);

/* Replaces the gradient of a student's parameter, or adds to it, between learn and update. */
typedef enum cb_gradient_change { CB_GRADIENT_SET, CB_GRADIENT_ADD } cb_gradient_change;
cribo_status cb_import_gradient(
    cb_learner *learner, const cb_parameter *parameter, const float *values, cb_gradient_change change);

void cb_export_centres(const cb_learner *learner, float *centre, float *object_centre);
cribo_status cb_read_centres(
    const cb_learner *learner, float *centre, int64_t count, float *object_centre, int64_t object_count);
cribo_status cb_import_centres(cb_learner *learner, const float *centre, const float *object_centre);

#endif
