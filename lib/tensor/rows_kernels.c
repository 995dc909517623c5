/*
 * The row kernels, compiled once for each CPU level with CB_LEVEL its name. See rows.h.
 *
 * Sums have an order that depends on n and the level alone.
 */
#include "tensor/rows.h"

#include <math.h>

#ifdef CB_DOUBLE
#define exp_of exp
#define erf_of erf
#define sqrt_of sqrt
#else
#define exp_of expf
#define erf_of erff
#define sqrt_of sqrtf
#endif

static const cb_real layer_norm_epsilon = (cb_real)1e-6;
static const cb_real sqrt_half = (cb_real)0.70710678118654752440;
static const cb_real inverse_sqrt_two_pi = (cb_real)0.39894228040143267794;

static void layer_norm(cb_real *y, const cb_real *x, const cb_real *gain, const cb_real *bias, size_t n,
    cb_real *mean_out, cb_real *inverse_out)
{
    cb_real sum = 0, squares = 0;
#pragma omp simd reduction(+ : sum)
    for (size_t i = 0; i < n; i++) sum += x[i];
    cb_real mean = sum / (cb_real)n;
#pragma omp simd reduction(+ : squares)
    for (size_t i = 0; i < n; i++) squares += (x[i] - mean) * (x[i] - mean);
    cb_real inverse = 1 / sqrt_of(squares / (cb_real)n + layer_norm_epsilon);
    for (size_t i = 0; i < n; i++) y[i] = (x[i] - mean) * inverse * gain[i] + bias[i];
    *mean_out = mean;
    *inverse_out = inverse;
}

static void layer_norm_backward(cb_real *dx, const cb_real *dy, const cb_real *x, const cb_real *gain, size_t n,
    cb_real mean, cb_real inverse, bool accumulate)
{
    cb_real sum = 0, projection = 0; /* Σ g, Σ g x̂ with g = dy gain */
#pragma omp simd reduction(+ : sum, projection)
    for (size_t i = 0; i < n; i++) {
        cb_real g = dy[i] * gain[i];
        sum += g;
        projection += g * (x[i] - mean) * inverse;
    }
    sum /= (cb_real)n;
    projection /= (cb_real)n;
    const cb_real keep = accumulate ? 1 : 0;
    for (size_t i = 0; i < n; i++) {
        cb_real g = inverse * (dy[i] * gain[i] - sum - (x[i] - mean) * inverse * projection);
        dx[i] = accumulate ? dx[i] * keep + g : g;
    }
}

static void layer_norm_backward_parameters(cb_real *dgain, cb_real *dbias, const cb_real *dy, const cb_real *x,
    size_t n, cb_real mean, cb_real inverse)
{
    for (size_t i = 0; i < n; i++) {
        dgain[i] += dy[i] * (x[i] - mean) * inverse;
        dbias[i] += dy[i];
    }
}

static void gelu(cb_real *y, const cb_real *x, size_t n)
{
    for (size_t i = 0; i < n; i++) y[i] = x[i] * (cb_real)0.5 * (1 + erf_of(x[i] * sqrt_half));
}

static void gelu_backward(cb_real *dx, const cb_real *dy, const cb_real *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        cb_real v = x[i], share = (cb_real)0.5 * (1 + erf_of(v * sqrt_half));
        dx[i] = dy[i] * (share + v * inverse_sqrt_two_pi * exp_of((cb_real)-0.5 * v * v));
    }
}

static cb_real largest(const cb_real *x, size_t n)
{
    cb_real most = -INFINITY;
#pragma omp simd reduction(max : most)
    for (size_t i = 0; i < n; i++) most = x[i] > most ? x[i] : most;
    return most;
}

static void softmax(cb_real *x, cb_real scale, size_t n)
{
    for (size_t i = 0; i < n; i++) x[i] *= scale;
    cb_real most = largest(x, n), sum = 0;
#pragma omp simd reduction(+ : sum)
    for (size_t i = 0; i < n; i++) {
        x[i] = exp_of(x[i] - most);
        sum += x[i];
    }
    cb_real inverse = 1 / sum;
    for (size_t i = 0; i < n; i++) x[i] *= inverse;
}

static cb_real dot(const cb_real *a, const cb_real *b, size_t n)
{
    cb_real sum = 0;
#pragma omp simd reduction(+ : sum)
    for (size_t i = 0; i < n; i++) sum += a[i] * b[i];
    return sum;
}

static void softmax_backward(cb_real *dp, const cb_real *p, cb_real scale, size_t n)
{
    cb_real projection = dot(p, dp, n);
    for (size_t i = 0; i < n; i++) dp[i] = scale * p[i] * (dp[i] - projection);
}

static void exp_shifted(cb_real *y, const cb_real *x, cb_real shift, size_t n)
{
    for (size_t i = 0; i < n; i++) y[i] = exp_of(x[i] - shift);
}

static void running_sum_exp(const cb_real *x, size_t n, cb_real *maximum, cb_real *sum)
{
    cb_real most = largest(x, n), added = 0;
    if (most == -INFINITY) return; /* nothing, or nothing that counts */
    if (most > *maximum) {
        *sum *= exp_of(*maximum - most);
        *maximum = most;
    }
    most = *maximum;
#pragma omp simd reduction(+ : added)
    for (size_t i = 0; i < n; i++) added += exp_of(x[i] - most);
    *sum += added;
}

static void scale_logits(cb_real *x, const cb_real *scale, const cb_real *centre, cb_real factor, size_t n)
{
    if (centre)
        for (size_t i = 0; i < n; i++) x[i] = (x[i] * scale[i] - centre[i]) * factor;
    else
        for (size_t i = 0; i < n; i++) x[i] = x[i] * scale[i] * factor;
}

static void add_scaled(cb_real *y, const cb_real *x, cb_real factor, size_t n)
{
    for (size_t i = 0; i < n; i++) y[i] += factor * x[i];
}

static void scale_row(cb_real *y, const cb_real *x, cb_real factor, size_t n)
{
    for (size_t i = 0; i < n; i++) y[i] = factor * x[i];
}

static size_t arg_max(const cb_real *x, size_t n, cb_real *maximum)
{
    cb_real most = largest(x, n);
    *maximum = most;
    for (size_t i = 0; i < n; i++)
        if (x[i] == most) return i;
    return 0;
}

static void adamw(cb_real *value, cb_real *m, cb_real *v, const cb_real *gradient, const cb_adamw *step, size_t n)
{
    const cb_adamw s = *step;
    for (size_t i = 0; i < n; i++) {
        cb_real g = gradient[i] * s.gradient_scale;
        cb_real mean = s.beta1 * m[i] + (1 - s.beta1) * g;
        cb_real square = s.beta2 * v[i] + (1 - s.beta2) * g * g;
        m[i] = mean;
        v[i] = square;
        value[i] = s.decay * value[i] - s.learning_rate * mean / (sqrt_of(square) * s.root_correction + s.epsilon);
    }
}

static void ema(cb_real *teacher, const cb_real *student, cb_real momentum, size_t n)
{
    for (size_t i = 0; i < n; i++) teacher[i] = momentum * teacher[i] + (1 - momentum) * student[i];
}

static double sum_squares(const cb_real *x, size_t n)
{
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (size_t i = 0; i < n; i++) sum += (double)x[i] * (double)x[i];
    return sum;
}

static void least_square(
    cb_real *best, const cb_real *x, const cb_real *y, cb_real x_j, cb_real y_j, cb_real most, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        cb_real dx = x[i] - x_j, dy = y[i] - y_j, d = dx * dx + dy * dy;
        d = d < most ? d : most;
        d = d == 0 ? (cb_real)INFINITY : d;
        best[i] = d < best[i] ? d : best[i];
    }
}

static void least_product(cb_real *best, const cb_real *x, cb_real factor, cb_real most, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        cb_real p = x[i] * factor;
        p = p < most ? p : most;
        p = p == 0 ? (cb_real)INFINITY : p;
        best[i] = p < best[i] ? p : best[i];
    }
}

#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)

extern const cb_row_kernels JOIN(cb_row_kernels_, CB_LEVEL);
const cb_row_kernels JOIN(cb_row_kernels_, CB_LEVEL) = {
    .layer_norm = layer_norm,
    .layer_norm_backward = layer_norm_backward,
    .layer_norm_backward_parameters = layer_norm_backward_parameters,
    .gelu = gelu,
    .gelu_backward = gelu_backward,
    .softmax = softmax,
    .softmax_backward = softmax_backward,
    .exp_shifted = exp_shifted,
    .running_sum_exp = running_sum_exp,
    .scale_logits = scale_logits,
    .dot = dot,
    .add_scaled = add_scaled,
    .scale = scale_row,
    .arg_max = arg_max,
    .least_square = least_square,
    .least_product = least_product,
    .adamw = adamw,
    .ema = ema,
    .sum_squares = sum_squares,
};
