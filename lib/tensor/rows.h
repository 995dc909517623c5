/*
 * Row kernels: operations on one row of numbers at a time. One portable source, rows_kernels.c, is compiled
 * for several CPU levels; cb_rows() chooses the table once, by CPU features. Kernels never fail and never
 * allocate.
 *
 * Outputs may be the same array as an input where the comment says so; n may be any size, pointers need no
 * alignment.
 */
#ifndef CB_TENSOR_ROWS_H
#define CB_TENSOR_ROWS_H

#include "tensor/bf16.h"
#include "tensor/real.h"

typedef struct cb_adamw {
    cb_real learning_rate; /* lr / (1 - beta1^s): the bias correction of the first moment is in it */
    cb_real decay;         /* 1 - lr * weight decay */
    cb_real beta1, beta2;
    cb_real root_correction; /* 1 / sqrt(1 - beta2^s) */
    cb_real epsilon;
    cb_real gradient_scale; /* clipping */
} cb_adamw;

typedef struct cb_row_kernels {
    /* y = (x - mean) * inverse_deviation * gain + bias, biased variance plus epsilon; y may be x. */
    void (*layer_norm)(cb_real *y, const cb_real *x, const cb_real *gain, const cb_real *bias,
        cb_real epsilon, size_t n, cb_real *mean, cb_real *inverse_deviation);
    /* dx = (or +=) the gradient with respect to x; dx may be dy or x when it is not accumulated. */
    void (*layer_norm_backward)(cb_real *dx, const cb_real *dy, const cb_real *x, const cb_real *gain,
        size_t n, cb_real mean, cb_real inverse_deviation, bool accumulate);
    /*
     * dgain += dy (x - mean) inverse_deviation; dbias += dy. Element by element, so any stripe of a row may
     * be given.
     */
    void (*layer_norm_backward_parameters)(cb_real *dgain, cb_real *dbias, const cb_real *dy,
        const cb_real *x, size_t n, cb_real mean, cb_real inverse_deviation);
    /* y = x (1 + erf(x / sqrt 2)) / 2; y may be x. */
    void (*gelu)(cb_real *y, const cb_real *x, size_t n);
    /* dx = dy gelu'(x); dx may be dy or x. */
    void (*gelu_backward)(cb_real *dx, const cb_real *dy, const cb_real *x, size_t n);
    /* y = silu(gated) factor with silu(x) = x / (1 + exp(-x)); y may be an input. */
    void (*swiglu)(cb_real *y, const cb_real *gated, const cb_real *factor, size_t n);
    /* dgated = dy factor silu'(gated), dfactor = dy silu(gated); each may be its own input. */
    void (*swiglu_backward)(cb_real *dgated, cb_real *dfactor, const cb_real *dy, const cb_real *gated,
        const cb_real *factor, size_t n);
    /* (a, b) = (a cosine - b sign sine, b cosine + a sign sine): rotated, by sign = -1 backwards. */
    void (*rotate)(
        cb_real *a, cb_real *b, const cb_real *cosine, const cb_real *sine, cb_real sign, size_t n);
    /* x = softmax(scale x). */
    void (*softmax)(cb_real *x, cb_real scale, size_t n);
    /* dp = scale p (dp - <p, dp>): from the gradient of p = softmax(scale x) to that of x. */
    void (*softmax_backward)(cb_real *dp, const cb_real *p, cb_real scale, size_t n);
    /* y = exp(x - shift); y may be x. */
    void (*exp_shifted)(cb_real *y, const cb_real *x, cb_real shift, size_t n);
    /*
     * Updates sum = Σ exp(x - maximum) over all numbers so far, with their running maximum; begin with
     * (-INFINITY, 0).
     */
    void (*running_sum_exp)(const cb_real *x, size_t n, cb_real *maximum, cb_real *sum);
    /* x = (x scale - centre) factor; scale and centre are rows, centre may be NULL (none). */
    void (*scale_logits)(cb_real *x, const cb_real *scale, const cb_real *centre, cb_real factor, size_t n);
    cb_real (*dot)(const cb_real *a, const cb_real *b, size_t n);
    /* y += factor x. */
    void (*add_scaled)(cb_real *y, const cb_real *x, cb_real factor, size_t n);
    /* y += factor a b, element by element. */
    void (*add_product)(cb_real *y, const cb_real *a, const cb_real *b, cb_real factor, size_t n);
    /* y = factor a b; y may be an input. */
    void (*product)(cb_real *y, const cb_real *a, const cb_real *b, cb_real factor, size_t n);
    /* y = factor x; y may be x. */
    void (*scale)(cb_real *y, const cb_real *x, cb_real factor, size_t n);
    /* y = x, widened, or rounded to the nearest bfloat16. */
    void (*from_bf16)(cb_real *y, const cb_bf16 *x, size_t n);
    void (*to_bf16)(cb_bf16 *y, const cb_real *x, size_t n);
    /* The largest element and its first index; n > 0. */
    size_t (*arg_max)(const cb_real *x, size_t n, cb_real *maximum);
    /* The first place where x >= least; n when there is none. */
    size_t (*first_reaching)(const cb_real *x, size_t n, cb_real least);
    /* The largest element alone; -INFINITY for n = 0. */
    cb_real (*largest)(const cb_real *x, size_t n);
    /* marks[i] = 1 where x[i] >= least; the other marks stay. */
    void (*mark_from)(uint8_t *marks, const cb_real *x, cb_real least, size_t n);
    /* y = factor x rounded to bfloat16; returns Σ (factor x - y)². */
    cb_real (*round_bf16)(cb_bf16 *y, const cb_real *x, cb_real factor, size_t n);
    /* y = min(y, x), y = max(y, x). */
    void (*lower)(cb_real *y, const cb_real *x, size_t n);
    void (*raise)(cb_real *y, const cb_real *x, size_t n);
    /* Where x is above best: best = x, and the label of the place becomes `label`. */
    void (*keep_larger)(cb_real *best, int32_t *labels, const cb_real *x, int32_t label, size_t n);
    /* y = factor y - x. */
    void (*subtract)(cb_real *y, cb_real factor, const cb_real *x, size_t n);
    /* y = x / divisor, or zero / divisor where x is 0; y may be x. */
    void (*divide)(cb_real *y, const cb_real *x, cb_real zero, cb_real divisor, size_t n);
    /* y = sqrt(y), or 0 where y is infinite. */
    void (*finite_root)(cb_real *y, size_t n);
    /* y = exp(sharpness (least - y)), then sum += y. */
    void (*exp_above)(cb_real *y, const cb_real *least, cb_real sharpness, cb_real *sum, size_t n);
    /* y = y factor[i] common, then sum += y. */
    void (*scale_and_sum)(cb_real *y, const cb_real *factor, cb_real common, cb_real *sum, size_t n);
    /*
     * best = min(best, d) where d, the squared distance of (x, y) to (x_j, y_j) but at most `most`, is not 0.
     */
    void (*least_square)(
        cb_real *best, const cb_real *x, const cb_real *y, cb_real x_j, cb_real y_j, cb_real most, size_t n);
    /* best = min(best, p) where p, the product of x and factor but at most `most`, is not 0. */
    void (*least_product)(cb_real *best, const cb_real *x, cb_real factor, cb_real most, size_t n);
    /*
     * Loshchilov & Hutter: value = decay value; m, v; value -= learning_rate m / (sqrt(v) root_correction +
     * epsilon).
     */
    void (*adamw)(
        cb_real *value, cb_real *m, cb_real *v, const cb_real *gradient, const cb_adamw *step, size_t n);
    /* teacher = momentum teacher + (1 - momentum) student. */
    void (*ema)(cb_real *teacher, const cb_real *student, cb_real momentum, size_t n);
    /* Sum of squares in double precision (gradient norms). */
    double (*sum_squares)(const cb_real *x, size_t n);
} cb_row_kernels;

const cb_row_kernels *cb_rows(void);

/* y = x / max(|x|, 1e-12), the ε of L2 normalisation everywhere; returns 1 / max(|x|, 1e-12). y may be x. */
cb_real cb_normalise_row(cb_real *y, const cb_real *x, size_t n);

#endif
