/*
 * The differentiable operations. Each takes and returns tensors by value; its forward and backward equations
 * stand side by side in its source file.
 *
 * Parameters, and the x of linear, layer_norm and pool, may have any kind of gradient (tape.h), or none. The
 * activations that the others take have no other reader: their gradient is assigned.
 *
 * On a tape in bfloat16 the products of linear maps and of attention round their operands, and what goes from
 * operation to operation inside a block is stored in bfloat16: the x of linear, gelu and attention and the y
 * of residual may be. The residual stream, parameters and their gradients, norms, softmax and every sum are
 * real.
 */
#ifndef CB_AUTOGRAD_OPERATIONS_H
#define CB_AUTOGRAD_OPERATIONS_H

#include "autograd/tape.h"
#include "tensor/pooling.h"

/*
 * Images [count, 3, height, width], as numbers or as bytes of which scale[c] * byte + shift[c] is taken. The
 * two views of a batch are images 2 i and 2 i + 1, each view in an array of its own: then view2_... is where
 * every second image comes from.
 */
typedef struct cb_images {
    size_t count, height, width;
    const float *pixels, *view2_pixels; /* or NULL: bytes; view2_... NULL: all images in one array */
    const uint8_t *bytes, *view2_bytes;
    cb_real scale[3], shift[3];
    cb_real *gradient; /* of the numbers, added to; NULL: not wanted */
} cb_images;

/* Cuts images into patches: [B N, 3 p p], patch r (W/p) + c holding its channels, each row by row. */
cb_tensor cb_op_patches(cb_tape *tape, const cb_images *images, size_t patch);

/* y = x Wᵀ + b; weight [out, in], bias [1, out]. */
cb_tensor cb_op_linear(cb_tape *tape, cb_tensor x, cb_tensor weight, cb_tensor bias, cb_storage storage);

/* y = x (1 + erf(x / √2)) / 2. */
cb_tensor cb_op_gelu(cb_tape *tape, cb_tensor x);

/* y = (x − mean) / √(variance + 1e-6) · gain + bias, row by row. */
cb_tensor cb_op_layer_norm(cb_tape *tape, cb_tensor x, cb_tensor gain, cb_tensor bias, cb_storage storage);

/*
 * y = softmax(q kᵀ / √(D/H)) v within each of `images` images, for each of `heads` heads; qkv [B T, 3 D],
 * whose rows are q | k | v, each head after head. No T × T matrix is held: queries are taken in blocks, and
 * the backward pass computes their shares anew.
 */
cb_tensor cb_op_attention(cb_tape *tape, cb_tensor qkv, size_t images, size_t heads);

/* The attention of each image's first token over all its tokens: shares [B, H, T], not differentiable. */
void cb_first_token_attention(cb_tape *tape, cb_tensor qkv, size_t images, size_t heads, cb_real *shares);

/*
 * x + keep[b] y, where keep (NULL: all 1) holds a factor for each image: 0 drops the branch, 1 / (1 − p)
 * makes up for it. The sum stays in x's gradient; without training also in x's memory.
 */
cb_tensor cb_op_residual(cb_tape *tape, cb_tensor x, cb_tensor y, size_t images, const cb_real *keep);

/*
 * run(x), where `run` continues a residual stream by operations that end in cb_op_residual: with no
 * activations kept but x, so the backward pass computes them again. `context` is copied.
 */
typedef cb_tensor cb_segment(cb_tape *tape, cb_tensor x, const void *context);
cb_tensor cb_op_recomputed(
    cb_tape *tape, cb_tensor x, cb_segment *run, const void *context, size_t context_bytes);

/*
 * x[b] = [cls; embedded[b]] + positions, [B (1 + N), D] from embedded [B N, D], cls [1, D], positions [1 + N,
 * D]. The result begins a residual stream.
 */
cb_tensor cb_op_tokens(cb_tape *tape, cb_tensor embedded, cb_tensor cls, cb_tensor positions, size_t images);

/*
 * Positions [1 + G G, D] of a square grid resampled to rows × columns: bicubic with A = −0.75, steps G /
 * (rows + 0.1) and G / (columns + 0.1), taps clamped to the grid; the first row stays.
 */
cb_tensor cb_op_resample_positions(
    cb_tape *tape, cb_tensor positions, size_t grid, size_t rows, size_t columns);

/* y[r] = Σ weight x[token] (pooling.h). The pooling is borrowed until the backward pass has ended. */
cb_tensor cb_op_pool(cb_tape *tape, cb_tensor x, const cb_pooling *pooling);

/*
 * y = x / max(‖x‖, 1e-12), row by row. Has a gradient of its own: a loss reads it while it writes the
 * gradient.
 */
cb_tensor cb_op_normalise(cb_tape *tape, cb_tensor x);

#endif
