/*
 * The memory of a step's passes, which use it one after the other: activations and tape of one micro-batch.
 * It is allocated once, with the size of the largest pass.
 */
#ifndef CB_TRAINING_PASS_H
#define CB_TRAINING_PASS_H

#include "autograd/tape.h"
#include "base/runtime.h"

typedef struct cb_pass {
    cb_arena arena;
    cb_pool *pool;
    size_t scratch_bytes; /* of the tape */
    bool bf16;
} cb_pass;

/* Runs a pass of the largest micro-batch on a tape that measures. */
typedef struct cb_pass_plan {
    void (*measure)(const void *context, cb_tape *tape);
    bool training;
} cb_pass_plan;

/* Fails for lack of memory; the pass is then empty. */
cribo_status cb_pass_create(const cb_runtime *runtime, cb_pass *pass, bool bf16, const cb_pass_plan *plans,
    size_t count, const void *context);
void cb_pass_free(const cb_allocator *allocator, cb_pass *pass);

/* Begins a pass in the emptied memory. */
cb_tape cb_pass_begin(cb_pass *pass, bool training);

#endif
