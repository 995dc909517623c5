/* The windows of a strided convolution of 3 x 3. */
#include "autograd/operations.h"
#include "autograd/precision.h"

#include <string.h>

enum { SIDE = 3, TAPS = SIDE * SIDE, STRIDE = 2 };

typedef struct windows_node {
    cb_node node;
    cb_tensor x, y;
    size_t height, width;   /* of x's images */
    cb_row_buffers buffers; /* a row of dx */
} windows_node;

/* The place of a row of x or y in its image. */
typedef struct place {
    size_t image, r, s;
} place;

static place place_of(size_t row, size_t height, size_t width)
{
    return (place){row / (height * width), row / width % height, row % width};
}

/* The row of x at tap (i, j) of a window; false: in the zeros around the image. */
static bool source_of(const windows_node *f, const place *at, size_t tap, size_t *row)
{
    size_t r = STRIDE * at->r + tap / SIDE, s = STRIDE * at->s + tap % SIDE; /* counted from the zeros */
    if (r == 0 || s == 0 || r > f->height || s > f->width) return false;
    *row = (at->image * f->height + r - 1) * f->width + s - 1;
    return true;
}

static void gather_tap(const windows_node *f, size_t to, size_t tap, const size_t *from)
{
    size_t channels = f->x.columns;
    if (f->x.bf16) {
        cb_bf16 *y = f->y.value_bf16 + to * f->y.columns + tap;
        const cb_bf16 *x = from ? f->x.value_bf16 + *from * channels : NULL;
        for (size_t c = 0; c < channels; c++) y[c * TAPS] = x ? x[c] : 0;
    } else {
        cb_real *y = f->y.value + to * f->y.columns + tap;
        const cb_real *x = from ? f->x.value + *from * channels : NULL;
        for (size_t c = 0; c < channels; c++) y[c * TAPS] = x ? x[c] : 0;
    }
}

static void gather_window(void *context, size_t row, size_t worker)
{
    const windows_node *f = context;
    place at = place_of(row, f->height / STRIDE, f->width / STRIDE);
    (void)worker;
    for (size_t tap = 0; tap < TAPS; tap++) {
        size_t from;
        gather_tap(f, row, tap, source_of(f, &at, tap, &from) ? &from : NULL);
    }
}

static void add_tap(const windows_node *f, size_t from, size_t tap, cb_real *dx)
{
    size_t channels = f->x.columns, first = from * f->y.columns + tap;
    if (f->y.bf16)
        for (size_t c = 0; c < channels; c++) dx[c] += cb_bf16_to_float(f->y.gradient_bf16[first + c * TAPS]);
    else
        for (size_t c = 0; c < channels; c++) dx[c] += f->y.gradient[first + c * TAPS];
}

/* dx[b, r, s] = Σ dy over the windows and taps that read it, in the order of the taps. */
static void scatter_pixel(void *context, size_t row, size_t worker)
{
    const windows_node *f = context;
    place at = place_of(row, f->height, f->width);
    size_t rows = f->height / STRIDE, columns = f->width / STRIDE;
    cb_real *dx = cb_gradient_place(&f->x, row, cb_row_buffer(&f->buffers, worker));
    memset(dx, 0, f->x.columns * sizeof *dx);
    for (size_t tap = 0; tap < TAPS; tap++) {
        size_t i = tap / SIDE, j = tap % SIDE, r = at.r + 1, s = at.s + 1;
        if (r < i || s < j || (r - i) % STRIDE || (s - j) % STRIDE) continue;
        r = (r - i) / STRIDE;
        s = (s - j) / STRIDE;
        if (r < rows && s < columns) add_tap(f, (at.image * rows + r) * columns + s, tap, dx);
    }
    cb_store_gradient(&f->x, row, dx);
}

static void windows_backward(cb_tape *tape, cb_node *node)
{
    windows_node *f = (windows_node *)node;
    cb_pool_run(tape->pool, f->x.rows, scatter_pixel, f);
}

cb_tensor cb_op_windows(cb_tape *tape, cb_tensor x, size_t images, size_t height, size_t width)
{
    size_t windows = images * (height / STRIDE) * (width / STRIDE);
    windows_node f = {.x = x, .height = height, .width = width};
    f.y = cb_tape_result(tape, windows, TAPS * x.columns, x.bf16 ? CB_STORE_IN_PRECISION : CB_STORE_REAL);
    f.buffers = cb_take_row_buffers(tape, x.bf16 ? x.columns : 0);
    if (x.gradient || !cb_tape_runs(tape))
        cb_tape_record(tape, &f.node, sizeof f, windows_backward);
    else
        f.y.gradient = NULL;
    if (cb_tape_runs(tape)) cb_pool_run(tape->pool, windows, gather_window, &f);
    return f.y;
}
