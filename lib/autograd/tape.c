/* The tape. See tape.h. */
#include "autograd/tape.h"

#include <assert.h>
#include <string.h>

cb_tape cb_tape_begin(cb_arena *arena, cb_pool *pool, bool training, size_t scratch_bytes)
{
    cb_tape tape = {.arena = arena, .pool = pool, .training = training, .scratch_bytes = scratch_bytes};
    tape.scratch = cb_arena_take(arena, scratch_bytes, 1);
    return tape;
}

size_t cb_tape_planned_bytes(const cb_tape *tape)
{
    /* Each with its alignment and its red zone; a plan that saturates stays one. */
    size_t more = tape->scratch_bytes + tape->backward_bytes + 4 * CB_ALIGNMENT;
    return tape->arena->peak > SIZE_MAX / 2 - more ? SIZE_MAX / 2 : tape->arena->peak + more;
}

static size_t count_of(size_t rows, size_t columns)
{
    size_t count;
    return cb_multiply(rows, columns, &count) ? count : SIZE_MAX; /* the arena's plan then fails */
}

cb_tensor cb_tape_result(cb_tape *tape, size_t rows, size_t columns, cb_storage storage)
{
    if (!tape->bf16 || storage == CB_STORE_REAL) return cb_tape_tensor(tape, rows, columns, false);
    cb_tensor tensor = {.rows = rows, .columns = columns, .bf16 = true};
    tensor.value_bf16 = cb_arena_take(tape->arena, count_of(rows, columns), sizeof(cb_bf16));
    if (tape->training) tensor.gradient_bf16 = tensor.value_bf16;
    return tensor;
}

cb_tensor cb_tape_tensor(cb_tape *tape, size_t rows, size_t columns, bool own_gradient)
{
    size_t count = count_of(rows, columns);
    cb_tensor tensor = {.rows = rows, .columns = columns};
    tensor.value = cb_arena_take(tape->arena, count, sizeof(cb_real));
    if (!tape->training) return tensor;
    tensor.gradient = own_gradient ? cb_arena_take(tape->arena, count, sizeof(cb_real)) : tensor.value;
    if (own_gradient && cb_tape_runs(tape)) memset(tensor.gradient, 0, count * sizeof(cb_real));
    return tensor;
}

void *cb_tape_scratch(cb_tape *tape, size_t workers, size_t bytes)
{
    size_t needed = workers * ((bytes + CB_ALIGNMENT - 1) & ~(size_t)(CB_ALIGNMENT - 1));
    if (cb_tape_runs(tape))
        assert(needed <= tape->scratch_bytes);
    else if (needed > tape->scratch_bytes)
        tape->scratch_bytes = needed;
    return tape->scratch;
}

void cb_tape_record(cb_tape *tape, cb_node *node, size_t bytes, void (*backward)(cb_tape *, cb_node *))
{
    if (!tape->training) return;
    cb_node *recorded = cb_arena_take(tape->arena, 1, bytes);
    if (!recorded) return;
    node->backward = backward;
    node->before = tape->last;
    memcpy(recorded, node, bytes);
    tape->last = recorded;
}

void cb_tape_backward(cb_tape *tape)
{
    for (; tape->last; tape->last = tape->last->before) {
        tape->last->backward(tape, tape->last);
        if (tape->watch) tape->watch(tape->watcher, tape->complete);
    }
}
