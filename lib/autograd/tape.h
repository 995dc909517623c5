/*
 * The tape: what the backward pass has to undo, in the order in which the forward pass did it.
 *
 * One forward code serves three modes. Measuring (the arena has no memory): operations take their memory and
 * compute nothing, which tells at creation what a pass needs. Training: operations also record how to go
 * back. Inferring (`training` off): they record nothing, and the caller returns the arena to a mark as soon
 * as results are no longer wanted.
 *
 * Gradients live by two rules that save most of their memory:
 *  - backward functions read the values of inputs and the gradients of outputs, never the values of outputs;
 *  so an activation
 *    with one consumer shares its memory with its gradient, which is then assigned;
 *  - everything else (parameters, the residual stream, the rows a loss reads) has a gradient of its own,
 *  which is added to.
 */
#ifndef CB_AUTOGRAD_TAPE_H
#define CB_AUTOGRAD_TAPE_H

#include "base/memory.h"
#include "base/pool.h"
#include "tensor/bf16.h"
#include "tensor/real.h"

/* A view of a matrix and of its gradient; arenas and models own the memory. */
typedef struct cb_tensor {
    union {
        cb_real *value; /* [rows, columns]; NULL while measuring */
        cb_bf16 *value_bf16;
    };
    union {
        cb_real *gradient; /* NULL: nobody wants it */
        cb_bf16 *gradient_bf16;
    };
    size_t rows, columns;
    bool bf16; /* value and gradient, which then share their memory, are stored as ..._bf16 */
} cb_tensor;

/*
 * Does the gradient share the value's memory (then it is assigned), or has it its own (then it is added to)?
 */
static inline bool cb_tensor_accumulates(const cb_tensor *x)
{
    return x->gradient != x->value;
}

typedef struct cb_tape cb_tape;

/* One recorded operation; each kind appends what its backward function needs. */
typedef struct cb_node {
    void (*backward)(cb_tape *tape, struct cb_node *node);
    struct cb_node *before;
} cb_node;

struct cb_tape {
    cb_arena *arena;
    cb_pool *pool;
    bool training;
    /*
     * linear maps and attention multiply in bfloat16, and activations inside the blocks are stored in
     * it
     */
    bool bf16;
    cb_node *last;
    void *scratch;         /* lent to one operation at a time */
    size_t scratch_bytes;  /* while measuring: the most that any operation asked for */
    size_t backward_bytes; /* while measuring: the most that the backward pass will take from the arena */
};

/*
 * Begins a measuring pass, or a pass in an arena that was planned by one whose tape ended with
 * `scratch_bytes`. In float32: set bf16 for the other.
 */
cb_tape cb_tape_begin(cb_arena *arena, cb_pool *pool, bool training, size_t scratch_bytes);

/* The bytes that an arena needs for what this tape measured. */
size_t cb_tape_planned_bytes(const cb_tape *tape);

/* Is there memory, so that operations compute? */
static inline bool cb_tape_runs(const cb_tape *tape)
{
    return tape->arena->base != NULL;
}

/*
 * A tensor of real numbers in the arena. `own_gradient`: it is not shared with the value, and zeroed. No
 * gradient unless training.
 */
cb_tensor cb_tape_tensor(cb_tape *tape, size_t rows, size_t columns, bool own_gradient);

/* How an operation stores its result. */
typedef enum cb_storage {
    CB_STORE_IN_PRECISION, /* the tape's: the next operation alone reads it */
    CB_STORE_REAL
} cb_storage;

/* A result with a shared gradient. */
cb_tensor cb_tape_result(cb_tape *tape, size_t rows, size_t columns, cb_storage storage);

/*
 * Memory for one operation, `bytes` for each worker, aligned; NULL while measuring. Its content is lost with
 * the next request.
 */
void *cb_tape_scratch(cb_tape *tape, size_t workers, size_t bytes);

/*
 * Records an operation: copies its `bytes`, which begin with `node`, into the arena. Nothing happens unless
 * training.
 */
void cb_tape_record(cb_tape *tape, cb_node *node, size_t bytes, void (*backward)(cb_tape *, cb_node *));

/*
 * Runs the recorded operations backwards, from the gradients of the last outputs to those of the parameters.
 */
void cb_tape_backward(cb_tape *tape);

#endif
