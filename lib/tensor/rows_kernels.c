/*
 * The row kernels, compiled once for each CPU level with CB_LEVEL its name. See rows.h.
 *
 * The loops have `omp simd`: it permits an output to be an input, element by element, and sums to be computed
 * as several partial sums. The order of a sum depends only on n and the level.
 */
#include "tensor/rows.h"

#include <math.h>
#include <string.h>

static const cb_real inverse_sqrt_two_pi = (cb_real)0.39894228040143267794;

#ifdef CB_DOUBLE

#define exp_of exp
#define sqrt_of sqrt

/* The normal distribution's share beyond |x|, and its density at x. */
static inline double upper_tail(double x, double *density)
{
    *density = inverse_sqrt_two_pi * exp(-0.5 * x * x);
    return 0.5 * erfc(fabs(x) * 0.70710678118654752440);
}

#else

#define sqrt_of sqrtf

static inline uint32_t bits_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline float power_of_two(int32_t exponent)
{
    uint32_t bits = (uint32_t)(exponent + 127) << 23;
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/*
 * e^x = 2^k e^r with |r| <= ln 2 / 2 and Cephes' polynomial for e^r; 1 ulp, NaN stays NaN. 2^k is the product
 * of two factors, so that underflow is gradual and overflow infinite.
 */
static inline float exp_of(float x)
{
    const float to_integer =
        12582912.0f; /* 1.5 * 2^23: a sum with it has the rounded integer in its low bits */
    x = x < -104.0f ? -104.0f : x;
    x = x > 89.0f ? 89.0f : x;
    float shifted = x * 1.44269504088896341f + to_integer, whole = shifted - to_integer;
    int32_t k = (int32_t)(bits_of(shifted) - 0x4B400000u), half = k >> 1;
    float r =
        x - whole * 0.693359375f - whole * -2.12194440e-4f; /* ln 2 in two parts, the first exact in 9 bits */
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    return p * power_of_two(half) * power_of_two(k - half);
}

/*
 * The normal distribution's share beyond |x|, and its density at x. The share is e^(-x^2 / 2) times a
 * polynomial in t = 1 / (1 + 0.27 |x|), fitted for the least relative error, 2.4e-8, on 0 <= |x| <= 13.5;
 * beyond, it is below 1e-41.
 */
static inline float upper_tail(float x, float *density)
{
    float bell = exp_of(-0.5f * x * x), t = 1.0f / (1.0f + 0.27f * fabsf(x));
    float p = 2.885544673e-2f;
    p = p * t - 1.259535253e-1f;
    p = p * t + 1.686422974e-1f;
    p = p * t - 6.784477085e-2f;
    p = p * t + 1.068364680e-1f;
    p = p * t + 7.249324769e-2f;
    p = p * t + 1.016905680e-1f;
    p = p * t + 1.075607464e-1f;
    p = p * t + 1.077195406e-1f;
    *density = inverse_sqrt_two_pi * bell;
    return bell * (p * t);
}

#endif

static void layer_norm(cb_real *y, const cb_real *x, const cb_real *gain, const cb_real *bias,
    cb_real epsilon, size_t n, cb_real *mean_out, cb_real *inverse_out)
{
    cb_real sum = 0, squares = 0;
#pragma omp simd reduction(+ : sum)
    for (size_t i = 0; i < n; i++) sum += x[i];
    cb_real mean = sum / (cb_real)n;
#pragma omp simd reduction(+ : squares)
    for (size_t i = 0; i < n; i++) squares += (x[i] - mean) * (x[i] - mean);
    cb_real inverse = 1 / sqrt_of(squares / (cb_real)n + epsilon);
#pragma omp simd
    for (size_t i = 0; i < n; i++) y[i] = (x[i] - mean) * inverse * gain[i] + bias[i];
    *mean_out = mean;
    *inverse_out = inverse;
}

static void layer_norm_backward(cb_real *dx, const cb_real *dy, const cb_real *x, const cb_real *gain,
    size_t n, cb_real mean, cb_real inverse, bool accumulate)
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
#pragma omp simd
    for (size_t i = 0; i < n; i++) {
        cb_real g = inverse * (dy[i] * gain[i] - sum - (x[i] - mean) * inverse * projection);
        dx[i] = accumulate ? dx[i] + g : g;
    }
}

static void layer_norm_backward_parameters(cb_real *dgain, cb_real *dbias, const cb_real *dy,
    const cb_real *x, size_t n, cb_real mean, cb_real inverse)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++) {
        dgain[i] += dy[i] * (x[i] - mean) * inverse;
        dbias[i] += dy[i];
    }
}

static void gelu(cb_real *y, const cb_real *x, size_t n)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++) {
        cb_real density, tail = upper_tail(x[i], &density);
        y[i] = x[i] * (x[i] < 0 ? tail : 1 - tail);
    }
}

static void gelu_backward(cb_real *dx, const cb_real *dy, const cb_real *x, size_t n)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++) {
        cb_real density, tail = upper_tail(x[i], &density);
        dx[i] = dy[i] * ((x[i] < 0 ? tail : 1 - tail) + x[i] * density);
    }
}

static void swiglu(cb_real *y, const cb_real *gated, const cb_real *factor, size_t n)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++) y[i] = gated[i] / (1 + exp_of(-gated[i])) * factor[i];
}

static void swiglu_backward(cb_real *dgated, cb_real *dfactor, const cb_real *dy, const cb_real *gated,
    const cb_real *factor, size_t n)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++) {
        cb_real x = gated[i], g = dy[i], share = 1 / (1 + exp_of(-x));
        dgated[i] = g * factor[i] * share * (1 + x * (1 - share));
        dfactor[i] = g * x * share;
    }
}

static void rotate(cb_real *a, cb_real *b, const cb_real *cosine, const cb_real *sine, cb_real sign, size_t n)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++) {
        cb_real x = a[i], y = b[i], s = sign * sine[i];
        a[i] = x * cosine[i] - y * s;
        b[i] = y * cosine[i] + x * s;
    }
}

/*
 * Partial results that a reduction keeps apart: enough to hide the latency of an addition at every CPU level.
 */
enum { CHAINS = 32 };

static cb_real largest(const cb_real *x, size_t n)
{
    cb_real most[CHAINS], result = -INFINITY;
    for (size_t j = 0; j < CHAINS; j++) most[j] = -INFINITY;
    size_t i = 0;
    for (; i + CHAINS <= n; i += CHAINS)
#pragma omp simd
        for (size_t j = 0; j < CHAINS; j++) most[j] = x[i + j] > most[j] ? x[i + j] : most[j];
    for (size_t j = 0; i < n; i++, j++) most[j] = x[i] > most[j] ? x[i] : most[j];
    for (size_t j = 0; j < CHAINS; j++) result = most[j] > result ? most[j] : result;
    return result;
}

static void scale_row(cb_real *y, const cb_real *x, cb_real factor, size_t n)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++) y[i] = factor * x[i];
}

static void softmax(cb_real *x, cb_real scale, size_t n)
{
    if (scale < 0) { /* so that the largest x has the largest weight */
        scale_row(x, x, -1, n);
        scale = -scale;
    }
    cb_real most = largest(x, n), sum = 0;
#pragma omp simd reduction(+ : sum)
    for (size_t i = 0; i < n; i++) {
        cb_real weight = exp_of(scale * (x[i] - most));
        x[i] = weight;
        sum += weight;
    }
    scale_row(x, x, 1 / sum, n);
}

static cb_real dot(const cb_real *a, const cb_real *b, size_t n)
{
    cb_real part[CHAINS] = {0}, sum = 0;
    size_t i = 0;
    for (; i + CHAINS <= n; i += CHAINS)
#pragma omp simd
        for (size_t j = 0; j < CHAINS; j++) part[j] += a[i + j] * b[i + j];
    for (size_t j = 0; i < n; i++, j++) part[j] += a[i] * b[i];
#pragma omp simd reduction(+ : sum)
    for (size_t j = 0; j < CHAINS; j++) sum += part[j];
    return sum;
}

static void softmax_backward(cb_real *dp, const cb_real *p, cb_real scale, size_t n)
{
    cb_real projection = dot(p, dp, n);
#pragma omp simd
    for (size_t i = 0; i < n; i++) dp[i] = scale * p[i] * (dp[i] - projection);
}

static void exp_shifted(cb_real *y, const cb_real *x, cb_real shift, size_t n)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++) y[i] = exp_of(x[i] - shift);
}

static void running_sum_exp(const cb_real *x, size_t n, cb_real *maximum, cb_real *sum)
{
    cb_real most = largest(x, n), added = 0;
    if (most > *maximum) {
        *sum *= exp_of(*maximum - most);
        *maximum = most;
    }
    most = *maximum == -INFINITY ? 0 : *maximum; /* no number above -infinity yet, but perhaps a NaN */
#pragma omp simd reduction(+ : added)
    for (size_t i = 0; i < n; i++) added += exp_of(x[i] - most);
    *sum += added;
}

static void scale_logits(cb_real *x, const cb_real *scale, const cb_real *centre, cb_real factor, size_t n)
{
    if (centre)
#pragma omp simd
        for (size_t i = 0; i < n; i++) x[i] = (x[i] * scale[i] - centre[i]) * factor;
    else
#pragma omp simd
        for (size_t i = 0; i < n; i++) x[i] = x[i] * scale[i] * factor;
}

static void add_scaled(cb_real *y, const cb_real *x, cb_real factor, size_t n)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++) y[i] += factor * x[i];
}

static void add_product(cb_real *y, const cb_real *a, const cb_real *b, cb_real factor, size_t n)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++) y[i] += factor * a[i] * b[i];
}

static void product(cb_real *y, const cb_real *a, const cb_real *b, cb_real factor, size_t n)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++) y[i] = factor * a[i] * b[i];
}

static void from_bf16(cb_real *y, const cb_bf16 *x, size_t n)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++) y[i] = (cb_real)cb_bf16_to_float(x[i]);
}

static void to_bf16(cb_bf16 *y, const cb_real *x, size_t n)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++) y[i] = cb_bf16_of((float)x[i]);
}

static size_t arg_max(const cb_real *x, size_t n, cb_real *maximum)
{
    enum { STRETCH = 64 }; /* compared together, so that the search for the place uses vectors too */
    cb_real most = largest(x, n);
    size_t place = 0;
    *maximum = most;
    for (int found = 0; place + STRETCH <= n; place += STRETCH) {
        for (size_t i = 0; i < STRETCH; i++) found |= x[place + i] == most;
        if (found) break;
    }
    while (place < n && x[place] != most) place++;
    return place < n ? place : 0;
}

static size_t first_reaching(const cb_real *x, size_t n, cb_real least)
{
    enum { STRETCH = 64 }; /* as in arg_max; most runs contain none */
    size_t place = 0;
    for (int found = 0; place + STRETCH <= n; place += STRETCH) {
        for (size_t i = 0; i < STRETCH; i++) found |= x[place + i] >= least;
        if (found) break;
    }
    while (place < n && !(x[place] >= least)) place++;
    return place;
}

static void mark_from(uint8_t *marks, const cb_real *x, cb_real least, size_t n)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++) marks[i] = x[i] >= least ? 1 : marks[i];
}

static cb_real round_bf16(cb_bf16 *y, const cb_real *x, cb_real factor, size_t n)
{
    cb_real sum = 0;
#pragma omp simd reduction(+ : sum)
    for (size_t i = 0; i < n; i++) {
        cb_real exact = factor * x[i], error;
        y[i] = cb_bf16_of((float)exact);
        error = exact - (cb_real)cb_bf16_to_float(y[i]);
        sum += error * error;
    }
    return sum;
}

static void adamw(
    cb_real *value, cb_real *m, cb_real *v, const cb_real *gradient, const cb_adamw *step, size_t n)
{
    const cb_adamw s = *step;
#pragma omp simd
    for (size_t i = 0; i < n; i++) {
        cb_real g = gradient[i] * s.gradient_scale;
        cb_real mean = s.beta1 * m[i] + (1 - s.beta1) * g;
        cb_real square = s.beta2 * v[i] + (1 - s.beta2) * g * g;
        m[i] = mean;
        v[i] = square;
        value[i] =
            s.decay * value[i] - s.learning_rate * mean / (sqrt_of(square) * s.root_correction + s.epsilon);
    }
}

static void ema(cb_real *teacher, const cb_real *student, cb_real momentum, size_t n)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++) teacher[i] = momentum * teacher[i] + (1 - momentum) * student[i];
}

static double sum_squares(const cb_real *x, size_t n)
{
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (size_t i = 0; i < n; i++) sum += (double)x[i] * (double)x[i];
    return sum;
}

static void lower(cb_real *y, const cb_real *x, size_t n)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++) y[i] = x[i] < y[i] ? x[i] : y[i];
}

static void raise(cb_real *y, const cb_real *x, size_t n)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++) y[i] = x[i] > y[i] ? x[i] : y[i];
}

static void keep_larger(cb_real *best, int32_t *labels, const cb_real *x, int32_t label, size_t n)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++) {
        labels[i] = x[i] > best[i] ? label : labels[i];
        best[i] = x[i] > best[i] ? x[i] : best[i];
    }
}

static void subtract(cb_real *y, cb_real factor, const cb_real *x, size_t n)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++) y[i] = factor * y[i] - x[i];
}

static void divide(cb_real *y, const cb_real *x, cb_real zero, cb_real divisor, size_t n)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++) y[i] = (x[i] == 0 ? zero : x[i]) / divisor;
}

static void finite_root(cb_real *y, size_t n)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++) {
        cb_real root = sqrt_of(y[i]);
        y[i] = root == (cb_real)INFINITY ? 0 : root;
    }
}

static void exp_above(cb_real *y, const cb_real *least, cb_real sharpness, cb_real *sum, size_t n)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++) {
        y[i] = exp_of(sharpness * (least[i] - y[i]));
        sum[i] += y[i];
    }
}

static void scale_and_sum(cb_real *y, const cb_real *factor, cb_real common, cb_real *sum, size_t n)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++) {
        y[i] = y[i] * factor[i] * common;
        sum[i] += y[i];
    }
}

static void least_square(
    cb_real *best, const cb_real *x, const cb_real *y, cb_real x_j, cb_real y_j, cb_real most, size_t n)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++) {
        cb_real dx = x[i] - x_j, dy = y[i] - y_j, d = dx * dx + dy * dy;
        d = d < most ? d : most;
        d = d == 0 ? (cb_real)INFINITY : d;
        best[i] = d < best[i] ? d : best[i];
    }
}

static void least_product(cb_real *best, const cb_real *x, cb_real factor, cb_real most, size_t n)
{
#pragma omp simd
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
    .swiglu = swiglu,
    .swiglu_backward = swiglu_backward,
    .rotate = rotate,
    .softmax = softmax,
    .softmax_backward = softmax_backward,
    .exp_shifted = exp_shifted,
    .running_sum_exp = running_sum_exp,
    .scale_logits = scale_logits,
    .dot = dot,
    .add_scaled = add_scaled,
    .add_product = add_product,
    .product = product,
    .scale = scale_row,
    .from_bf16 = from_bf16,
    .to_bf16 = to_bf16,
    .arg_max = arg_max,
    .first_reaching = first_reaching,
    .largest = largest,
    .mark_from = mark_from,
    .round_bf16 = round_bf16,
    .lower = lower,
    .raise = raise,
    .keep_larger = keep_larger,
    .subtract = subtract,
    .divide = divide,
    .finite_root = finite_root,
    .exp_above = exp_above,
    .scale_and_sum = scale_and_sum,
    .least_square = least_square,
    .least_product = least_product,
    .adamw = adamw,
    .ema = ema,
    .sum_squares = sum_squares,
};
