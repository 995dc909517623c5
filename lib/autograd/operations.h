/*
 * The differentiable operations. Each takes and returns tensors by value; its forward and backward equations
 * are side by side in its source file.
 *
 * Parameters, and the x of linear, layer_norm and pool, may have any kind of gradient (tape.h), or none.
 * Activations that other operations take have no other reader: their gradient is assigned.
 *
 * On a tape in bfloat16 the products of linear maps and of attention round their operands, and what goes from
 * operation to operation inside a block or a stem is stored in bfloat16: the x of linear, gelu, swiglu,
 * windows, rotate and attention and the y of residual may be. The residual stream, parameters and their
 * gradients, norms, softmax and every sum are real.
 */
#ifndef CB_AUTOGRAD_OPERATIONS_H
#define CB_AUTOGRAD_OPERATIONS_H

#include "autograd/tape.h"
#include "tensor/gemm_packed.h"
#include "tensor/pooling.h"

/*
 * Images [count, 3, height, width], as numbers or as bytes that stand for scale[c] * byte + shift[c]. The two
 * views of a batch are images 2 i and 2 i + 1; if each view has a separate array, view2_... has every second
 * image.
 */
typedef struct cb_images {
    size_t count, height, width;
    const float *pixels, *view2_pixels; /* or NULL: bytes; view2_... NULL: all images in one array */
    const uint8_t *bytes, *view2_bytes;
    cb_real scale[3], shift[3];
    cb_real *gradient; /* of the numbers, added to; NULL: not computed */
} cb_images;

/*
 * Cuts images into patches: [B N, 3 p p]; patch r (W/p) + c has its channels one after another, each row by
 * row.
 */
cb_tensor cb_op_patches(cb_tape *tape, const cb_images *images, size_t patch);

/*
 * The windows of a convolution of 3 × 3 with stride 2 and one line of zeros around: x [B H W, C] of images
 * with even sides, y [B H/2 W/2, 9 C], y[b, r, s, 9 c + 3 i + j] = x[b, 2 r + i − 1, 2 s + j − 1, c]. A
 * linear map of them is the convolution, with the weight [out, C, 3, 3] of PyTorch.
 */
cb_tensor cb_op_windows(cb_tape *tape, cb_tensor x, size_t images, size_t height, size_t width);

/*
 * A linear map. Its weight may have been packed for inference (cb_affine_packed): `packed` then has panels,
 * which are valid while the weight does not change.
 */
typedef struct cb_affine {
    cb_tensor weight, bias; /* [out, in]; [1, out], or zeroed: none */
    cb_gemm_packed packed;  /* zeroed: each use packs the weight */
} cb_affine;

/* y = x Wᵀ + b. */
cb_tensor cb_op_linear(cb_tape *tape, cb_tensor x, const cb_affine *affine, cb_storage storage);

/* The packed form of the weight, in memory of the arena; nothing but the size where the arena measures. */
cb_gemm_packed cb_affine_packed(const cb_affine *affine, bool bf16, cb_pool *pool, cb_arena *arena);

/* y = x (1 + erf(x / √2)) / 2. */
cb_tensor cb_op_gelu(cb_tape *tape, cb_tensor x);

/* y = silu(a) b with x = [a; b] row by row: x [rows, 2 h], y [rows, h], silu(a) = a / (1 + exp(−a)). */
cb_tensor cb_op_swiglu(cb_tape *tape, cb_tensor x);

/* y = (x − mean) / √(variance + epsilon) · gain + bias, row by row. */
cb_tensor cb_op_layer_norm(
    cb_tape *tape, cb_tensor x, cb_tensor gain, cb_tensor bias, double epsilon, cb_storage storage);

/*
 * y = softmax(q kᵀ / √(D/H)) v within each of `images` images, for each of `heads` heads; qkv [B T, 3 D],
 * whose rows are q | k | v, each head after head. No T × T matrix is stored: queries are processed in blocks,
 * and the backward pass recomputes their weights.
 */
cb_tensor cb_op_attention(cb_tape *tape, cb_tensor qkv, size_t images, size_t heads);

/* The attention of each image's first token over all its tokens: shares [B, H, T], not differentiable. */
void cb_first_token_attention(cb_tape *tape, cb_tensor qkv, size_t images, size_t heads, cb_real *shares);

/*
 * Rotation of the queries and keys of a patch whose centre is (r, c) on a grid: each coordinate
 * is scaled to 2 (r + 0.5) / divisor − 1, and pair i of d / 4 is rotated by 2 π / period_i times it. The
 * periods are base^(4 i / d), or a geometric series from min_period to max_period where both are positive.
 */
typedef enum cb_coordinates {
    CB_COORDINATES_SEPARATE, /* rows are divided by the grid's rows, columns by its columns */
    CB_COORDINATES_MIN,      /* both by the smaller of the two */
    CB_COORDINATES_MAX       /* both by the larger */
} cb_coordinates;

typedef struct cb_rotary {
    double base, min_period, max_period;
    cb_coordinates coordinates;
} cb_rotary;

/* Cosines and sines [patches, angles] of the patches of an image, whose first patch is token `first`. */
typedef struct cb_rotation {
    cb_real *cosine, *sine;
    size_t first, angles; /* angles: d / 2 of a head's d numbers */
} cb_rotation;

/* The tables of a grid, taken from the tape's arena. */
cb_rotation cb_rotation_of(
    cb_tape *tape, const cb_rotary *rotary, size_t first, size_t rows, size_t columns, size_t head_width);

/*
 * Rotates the queries and keys of qkv (cb_op_attention), in place: number i of a head with number i + d / 2,
 * by angle i of its patch. Tokens before the first patch are unchanged. The tables are borrowed until the
 * backward pass has ended.
 */
cb_tensor cb_op_rotate(
    cb_tape *tape, cb_tensor qkv, size_t images, size_t heads, const cb_rotation *rotation);

/*
 * A part of a vector is not trained: its gradient is zeroed when all operations that are recorded later have
 * added to it.
 */
void cb_op_hold(cb_tape *tape, cb_tensor x, size_t first, size_t count);

/*
 * Operations that are recorded later use the parameter x and parameters after it in the flat buffer, those
 * before use none of these: the backward pass reaches this place with their gradients complete
 * (cb_tape_watch). Not in a segment of cb_op_recomputed.
 */
void cb_op_complete(cb_tape *tape, cb_tensor x);

/*
 * Adds a gradient [rows, columns] that is computed elsewhere to that of x, after all operations that are
 * recorded later. The gradient is borrowed until the backward pass has ended; its content may be computed
 * until then.
 */
void cb_op_add_gradient(cb_tape *tape, cb_tensor x, const cb_real *gradient);

/*
 * x + keep[b] gain y, where keep (NULL: all 1) holds a factor for each image: 0 drops the branch, 1 / (1 − p)
 * compensates for it; gain [1, D] (zeroed: all 1) is LayerScale's. The sum uses x's gradient and, without
 * training, x's memory.
 */
cb_tensor cb_op_residual(
    cb_tape *tape, cb_tensor x, cb_tensor y, cb_tensor gain, size_t images, const cb_real *keep);

/*
 * run(x), where `run` continues a residual stream by operations that end in cb_op_residual: only x is stored,
 * and the backward pass recomputes the activations. `context` is copied.
 */
typedef cb_tensor cb_segment(cb_tape *tape, cb_tensor x, const void *context);
cb_tensor cb_op_recomputed(
    cb_tape *tape, cb_tensor x, cb_segment *run, const void *context, size_t context_bytes);

/*
 * x[b] = [cls; registers; embedded[b]] + positions, [B (1 + R + N), D] from embedded [B N, D], cls [1, D],
 * registers [R, D] (zeroed: none) and positions [1 + N, D], [N, D] or zeroed: those of [CLS] and the patches,
 * of the patches alone, or none. Registers have no position. A masked patch has mask_token [1, D] in place of
 * embedded[b, n]. The result starts a residual stream.
 */
typedef struct cb_token_parts {
    cb_tensor embedded, cls, registers, positions, mask_token;
    const uint8_t *mask; /* [B, N] 1: masked; NULL: none. Borrowed until the backward pass has ended */
} cb_token_parts;
cb_tensor cb_op_tokens(cb_tape *tape, const cb_token_parts *parts, size_t images);

/*
 * Resampling of positions [before + G G, D] of a square grid for a grid of rows × columns: bicubic, with
 * steps G / (rows + offset) and G / (columns + offset). The first `before` rows are unchanged.
 *
 * antialias = false  A = −0.75, four taps, clamped to the grid
 * antialias = true   A = −0.5, the kernel stretched by steps above 1, normalised over the taps in the grid
 *
 * Offset 0.1 is DINO's, against rounding; weights trained with it need it.
 */
typedef struct cb_grid_sampling {
    size_t before, grid;
    double offset;
    bool antialias;
} cb_grid_sampling;
cb_tensor cb_op_resample_positions(
    cb_tape *tape, cb_tensor positions, const cb_grid_sampling *how, size_t rows, size_t columns);

/* y[r] = Σ weight x[token] (pooling.h). The pooling is borrowed until the backward pass has ended. */
cb_tensor cb_op_pool(cb_tape *tape, cb_tensor x, const cb_pooling *pooling);

/*
 * y = x / max(‖x‖, 1e-12), row by row. Has a separate gradient: a loss reads the value while it writes the
 * gradient.
 */
cb_tensor cb_op_normalise(cb_tape *tape, cb_tensor x);

#endif
