/* What the files of this room share of models. */
#ifndef CB_API_MODEL_H
#define CB_API_MODEL_H

#include "api/handles.h"

/*
 * Refuses a change of the parameters while other models share them or a step of the trainer is under way;
 * `what` as cb_check_between_steps has it. After a change, call cb_model_unpack.
 */
cribo_status cb_check_writable(const cribo_model *model, const char *what);

#endif
