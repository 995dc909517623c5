/*
 * A segment of operations that is computed twice: in the forward pass as in inference, without records for
 * the backward pass, and again from its stored input in the backward pass (Chen et al. 2016, "Training deep
 * nets with sublinear memory cost").
 */
#include "autograd/operations.h"

#include <string.h>

typedef struct segment_node {
    cb_node node;
    cb_segment *run;
    const void *context;
    cb_tensor x;
} segment_node;

static cb_tape part_of(const cb_tape *tape, bool training)
{
    cb_tape part = *tape;
    part.training = training;
    part.last = NULL;
    return part;
}

static void segment_backward(cb_tape *tape, cb_node *node)
{
    segment_node *f = (segment_node *)node;
    size_t mark = cb_arena_mark(tape->arena);
    cb_tape part = part_of(tape, true);
    f->run(&part, f->x, f->context);
    cb_tape_backward(&part);
    cb_arena_return(tape->arena, mark);
}

/* The memory of a segment's backward pass, beyond the memory of the forward pass. */
static void measure_backward(cb_tape *tape, const segment_node *f)
{
    size_t mark = cb_arena_mark(tape->arena);
    cb_tape part = part_of(tape, true);
    f->run(&part, f->x, f->context);
    size_t bytes = cb_arena_mark(tape->arena) - mark;
    cb_arena_return(tape->arena, mark);
    if (bytes > tape->backward_bytes) tape->backward_bytes = bytes;
    if (part.scratch_bytes > tape->scratch_bytes) tape->scratch_bytes = part.scratch_bytes;
}

cb_tensor cb_op_recomputed(
    cb_tape *tape, cb_tensor x, cb_segment *run, const void *context, size_t context_bytes)
{
    if (!tape->training) return run(tape, x, context);
    void *kept = cb_arena_take(tape->arena, 1, context_bytes);
    segment_node f = {.run = run, .context = kept ? kept : context, .x = x};
    cb_tensor y = x; /* the same stream, so the same gradient */
    y.value = cb_arena_take(tape->arena, x.rows * x.columns, sizeof(cb_real));
    cb_tape_record(tape, &f.node, sizeof f, segment_backward);
    if (cb_tape_runs(tape)) {
        memcpy(kept, context, context_bytes);
        memcpy(y.value, x.value, x.rows * x.columns * sizeof(cb_real));
    } else
        measure_backward(tape, &f);
    cb_tape part = part_of(tape, false);
    run(&part, y, f.context);
    if (part.scratch_bytes > tape->scratch_bytes) tape->scratch_bytes = part.scratch_bytes;
    return y;
}
