/*
 * Rotary positions (Su et al. 2021) on the grid of an image's patches, as in DINOv3: pairs of numbers of
 * queries and keys are rotated by angles that grow with the patch's row and column. Values and the tokens
 * before the patches are unchanged.
 */
#include "autograd/operations.h"
#include "autograd/precision.h"

#include <math.h>

/* 2 pi / period of frequency i of n. */
static double frequency(const cb_rotary *rotary, size_t i, size_t n)
{
    double share = n > 1 ? (double)i / (double)(n - 1) : 0;
    bool series = rotary->min_period > 0 && rotary->max_period > 0;
    double period = series ? rotary->min_period * pow(rotary->max_period / rotary->min_period, share)
                           : pow(rotary->base, (double)i / (double)n);
    return 2 * 3.14159265358979323846 / period;
}

/* The sides, in patches, that centres of rows and columns are divided by. */
static void divisors_of(const cb_rotary *rotary, size_t rows, size_t columns, double divisor[2])
{
    bool rows_less = rows < columns;
    size_t least = rows_less ? rows : columns, most = rows_less ? columns : rows;
    divisor[0] = (double)(rotary->coordinates == CB_COORDINATES_MIN   ? least
                          : rotary->coordinates == CB_COORDINATES_MAX ? most
                                                                      : rows);
    divisor[1] = (double)(rotary->coordinates == CB_COORDINATES_MIN   ? least
                          : rotary->coordinates == CB_COORDINATES_MAX ? most
                                                                      : columns);
}

/* Angle i of a patch: by its row for the first half of the angles, by its column for the second. */
static void set_angles(const cb_rotary *rotary, const cb_rotation *to, size_t rows, size_t columns)
{
    size_t half = to->angles / 2;
    double divisor[2];
    divisors_of(rotary, rows, columns, divisor);
    for (size_t i = 0; i < to->angles; i++) {
        size_t axis = i / half;
        double turns = frequency(rotary, i % half, half);
        for (size_t patch = 0; patch < rows * columns; patch++) {
            size_t place = axis ? patch % columns : patch / columns;
            double angle = turns * (2 * ((double)place + 0.5) / divisor[axis] - 1);
            to->cosine[patch * to->angles + i] = (cb_real)cos(angle);
            to->sine[patch * to->angles + i] = (cb_real)sin(angle);
        }
    }
}

cb_rotation cb_rotation_of(
    cb_tape *tape, const cb_rotary *rotary, size_t first, size_t rows, size_t columns, size_t head_width)
{
    cb_rotation rotation = {.first = first, .angles = head_width / 2};
    rotation.cosine = cb_arena_take(tape->arena, rows * columns * rotation.angles, sizeof(cb_real));
    rotation.sine = cb_arena_take(tape->arena, rows * columns * rotation.angles, sizeof(cb_real));
    if (cb_tape_runs(tape)) set_angles(rotary, &rotation, rows, columns);
    return rotation;
}

typedef struct rotate_node {
    cb_node node;
    cb_tensor qkv;
    size_t tokens, heads; /* of an image */
    cb_rotation rotation;
    cb_row_buffers buffers; /* a row's queries and keys */
} rotate_node;

/* Rotates the queries and keys of all heads, x [2 D], of one patch. */
static void rotate_heads(const rotate_node *f, cb_real *x, size_t patch, cb_real sign)
{
    const cb_rotation *r = &f->rotation;
    for (size_t head = 0; head < 2 * f->heads; head++, x += 2 * r->angles)
        cb_rows()->rotate(
            x, x + r->angles, r->cosine + patch * r->angles, r->sine + patch * r->angles, sign, r->angles);
}

/* Values or gradients, which have the same layout and, in training, the same memory. */
static void rotate_row(const rotate_node *f, size_t row, size_t worker, cb_real sign)
{
    size_t token = row % f->tokens, n = f->qkv.columns, both = n / 3 * 2;
    if (token < f->rotation.first) return;
    cb_real *x = f->qkv.bf16 ? cb_row_buffer(&f->buffers, worker) : f->qkv.value + row * n;
    if (f->qkv.bf16) cb_rows()->from_bf16(x, f->qkv.value_bf16 + row * n, both);
    rotate_heads(f, x, token - f->rotation.first, sign);
    if (f->qkv.bf16) cb_rows()->to_bf16(f->qkv.value_bf16 + row * n, x, both);
}

static void rotate_forward_row(void *context, size_t row, size_t worker)
{
    rotate_row(context, row, worker, 1);
}

static void rotate_backward_row(void *context, size_t row, size_t worker)
{
    rotate_row(context, row, worker, -1);
}

/* y = R x with R a rotation: dx = Rᵀ dy. */
static void rotate_backward(cb_tape *tape, cb_node *node)
{
    rotate_node *f = (rotate_node *)node;
    cb_pool_run(tape->pool, f->qkv.rows, rotate_backward_row, f);
}

cb_tensor cb_op_rotate(cb_tape *tape, cb_tensor qkv, size_t images, size_t heads, const cb_rotation *rotation)
{
    rotate_node f = {.qkv = qkv, .tokens = qkv.rows / images, .heads = heads, .rotation = *rotation};
    f.buffers = cb_take_row_buffers(tape, qkv.bf16 ? qkv.columns / 3 * 2 : 0);
    cb_tape_record(tape, &f.node, sizeof f, rotate_backward);
    if (cb_tape_runs(tape)) cb_pool_run(tape->pool, qkv.rows, rotate_forward_row, &f);
    return qkv;
}
