/* The memory of a step's passes. See pass.h. */
#include "training/pass.h"

cb_tape cb_pass_begin(cb_pass *pass, bool training)
{
    cb_arena_return(&pass->arena, 0);
    cb_tape tape = cb_tape_begin(&pass->arena, pass->pool, training, pass->scratch_bytes);
    tape.bf16 = pass->bf16;
    return tape;
}

cribo_status cb_pass_create(const cb_runtime *runtime, cb_pass *pass, bool bf16, const cb_pass_plan *plans,
    size_t count, const void *context)
{
    size_t bytes = 0, scratch_bytes = 0;
    *pass = (cb_pass){.pool = runtime->pool, .bf16 = bf16};
    for (size_t i = 0; i < count; i++) {
        pass->arena = cb_arena_measure();
        cb_tape tape = cb_pass_begin(pass, plans[i].training);
        plans[i].measure(context, &tape);
        if (tape.scratch_bytes > scratch_bytes) scratch_bytes = tape.scratch_bytes;
        tape.scratch_bytes = 0;
        size_t planned = cb_tape_planned_bytes(&tape);
        if (planned > bytes) bytes = planned;
    }
    pass->scratch_bytes = scratch_bytes;
    cb_arena largest = {.peak = bytes};
    cb_tape plan = {.arena = &largest, .scratch_bytes = scratch_bytes};
    return cb_arena_create(&runtime->allocator, &pass->arena, cb_tape_planned_bytes(&plan), "activations");
}

void cb_pass_free(const cb_allocator *allocator, cb_pass *pass)
{
    cb_arena_destroy(allocator, &pass->arena);
}
