/* The handle behind cribo/trainer.h. */
#ifndef CB_API_TRAINER_H
#define CB_API_TRAINER_H

#include "api/handles.h"
#include "training/trainer.h"

struct cribo_trainer {
    cb_guard own_guard, *guard;
    cb_runtime runtime;
    cb_trainer *core;
    struct cribo_model student, teacher, average; /* lent */
    struct cribo_memory_bank bank;                /* lent */
};

#endif
