/*
 * Signs of collapse, watched from step to step: a sign that holds for a while is worth a message, once.
 *
 * Self-distillation can fall into two trivial solutions that its loss does not show as failure (Caron et al.
 * 2021, section 5.3): the teacher says the same for every image, either uniformly (its entropy stands at ln
 * P) or always the same prototype (the entropy of its mean distribution goes to 0). Both come with [CLS]
 * features that no longer differ between images.
 */
#ifndef CB_TRAINING_COLLAPSE_H
#define CB_TRAINING_COLLAPSE_H

#include "base/runtime.h"
#include "cribo/trainer.h"

typedef enum cb_sign { CB_SIGN_UNIFORM, CB_SIGN_ONE_PROTOTYPE, CB_SIGN_EQUAL_FEATURES, CB_SIGNS } cb_sign;

/* For how many steps in a row each sign has been seen. */
typedef struct cb_collapse_watch {
    int64_t steps[CB_SIGNS];
} cb_collapse_watch;

/* Looks at a step's report, and tells the log when a sign has held for CB_COLLAPSE_PATIENCE steps. */
#define CB_COLLAPSE_PATIENCE 20
void cb_collapse_look(cb_collapse_watch *watch, const cb_runtime *runtime, const cribo_report *report);

#endif
