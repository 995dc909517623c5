/*
 * The tape: the operations of the forward pass, in order, for the backward pass.
 *
 * One forward code serves three modes. Measuring (the arena has no memory): operations take their memory and
 * compute nothing, so creation knows the memory of a pass. Training: operations also record their backward
 * functions. Inferring (`training` off): they record nothing, and the caller returns the arena to a mark when
 * results are no longer needed.
 *
 * Two rules save most of the gradients' memory:
 *  - backward functions read the values of inputs and the gradients of outputs, never the values of outputs;
 *    so an activation with one consumer shares its memory with its gradient, which is then assigned;
 *  - everything else (parameters, the residual stream, the rows a loss reads) has separate memory for its
 *    gradient, which is added to.
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
        cb_real *gradient; /* NULL: not needed */
        cb_bf16 *gradient_bf16;
    };
    size_t rows, columns;
    bool bf16; /* value and gradient, which then share their memory, are stored as ..._bf16 */
} cb_tensor;

/*
 * True if the gradient has separate memory and is added to; false if it shares the value's memory and is
 * assigned.
 */
static inline bool cb_tensor_accumulates(const cb_tensor *x)
{
    return x->gradient != x->value;
}

typedef struct cb_tape cb_tape;

/* One recorded operation; each kind appends the data of its backward function. */
typedef struct cb_node {
    void (*backward)(cb_tape *tape, struct cb_node *node);
    struct cb_node *before;
} cb_node;

/*
 * Called after each operation of a backward pass: the gradients of parameters at `complete` and after it in
 * their flat buffer have their values of this pass (cb_op_complete); NULL: not yet known of any.
 */
typedef void cb_tape_watch(void *context, const cb_real *complete);

struct cb_tape {
    cb_arena *arena;
    cb_pool *pool;
    bool training;
    /* Products of linear maps and attention in bfloat16, and activations inside the blocks stored in it. */
    bool bf16;
    cb_node *last;
    void *scratch;         /* used by one operation at a time */
    size_t scratch_bytes;  /* while measuring: maximum over the operations */
    size_t backward_bytes; /* while measuring: maximum that the backward pass takes from the arena */
    cb_tape_watch *watch;  /* set before the backward pass; NULL: none */
    void *watcher;
    const cb_real *complete;
};

/*
 * Starts a measuring pass, or a pass in an arena planned by a measuring pass whose tape ended with
 * `scratch_bytes`. In float32; set bf16 for bfloat16.
 */
cb_tape cb_tape_begin(cb_arena *arena, cb_pool *pool, bool training, size_t scratch_bytes);

/* The bytes of an arena for the pass that this tape measured. */
size_t cb_tape_planned_bytes(const cb_tape *tape);

/* True if there is memory, so that operations compute. */
static inline bool cb_tape_runs(const cb_tape *tape)
{
    return tape->arena->base != NULL;
}

/*
 * A tensor of real numbers in the arena. `own_gradient`: a separate, zeroed gradient. No gradient without
 * training.
 */
cb_tensor cb_tape_tensor(cb_tape *tape, size_t rows, size_t columns, bool own_gradient);

/* How an operation stores its result. */
typedef enum cb_storage {
    CB_STORE_IN_PRECISION, /* the tape's: only the next operation reads it */
    CB_STORE_REAL
} cb_storage;

/* A result with a shared gradient. */
cb_tensor cb_tape_result(cb_tape *tape, size_t rows, size_t columns, cb_storage storage);

/*
 * Memory for one operation, `bytes` for each worker, aligned; NULL while measuring. The next request
 * overwrites its content.
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
