/* The handle behind cribo/memory_bank.h, so that a trainer's can lend its own bank as one. */
#ifndef CB_API_MEMORY_BANK_H
#define CB_API_MEMORY_BANK_H

#include "distillation/memory_bank.h"

struct cribo_memory_bank {
    cb_runtime runtime;
    cb_memory_bank *bank;
};

#endif
