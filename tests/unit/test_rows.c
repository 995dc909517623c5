/*
 * The row kernels against double precision. CRIBO_CPU chooses the level; tests/unit/meson.build runs each.
 */
#include "tensor/rows.h"
#include "support/suite.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MOST 1037

static const size_t lengths[] = {0, 1, 2, 7, 8, 15, 16, 17, 31, 33, 64, 65, 197, 384, MOST};
#define LENGTHS (sizeof lengths / sizeof lengths[0])

/* Rows with one guard on each side; kernels get addresses with only the alignment of a number. */
static float x[MOST + 2], y[MOST + 2], z[MOST + 2], u[MOST + 2], v[MOST + 2];
static double expected[MOST], expected_too[MOST];

static void fill(float *row, unsigned seed, float scale, float shift)
{
    uint64_t state = seed * 2654435761u + 1;
    for (size_t i = 0; i < MOST + 2; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        row[i] = ((float)(state >> 40) * 0x1p-23f - 1.0f) * scale + shift;
    }
}

static void fill_all(void)
{
    fill(x, 1, 3, 0);
    fill(y, 2, 2, 0.1f);
    fill(z, 3, 1, 1);
    fill(u, 4, 1, 0);
    fill(v, 5, 0.5f, 0.5f);
}

/* To `tolerance` of the largest result, or of `size` where larger terms cancel. */
static void assert_within(
    const char *what, size_t n, const float *got, const double *want, double size, double tolerance)
{
    double largest = size;
    for (size_t i = 0; i < n; i++) largest = fmax(largest, fabs(want[i]));
    for (size_t i = 0; i < n; i++)
        ck_assert_msg(fabs(got[i] - want[i]) <= tolerance * largest,
            "%s, n = %zu: element %zu is %.9g, not %.9g", what, n, i, got[i], want[i]);
}

static void assert_near(const char *what, size_t n, const float *got, const double *want, double tolerance)
{
    assert_within(what, n, got, want, 0, tolerance);
}

/* For values of many magnitudes: each is compared separately, in units of the last place. */
static void assert_ulps(const char *what, float at, float got, double want, double ulps)
{
    double unit = fmax(ldexp(1, ilogb(want) - 23), 0x1p-149);
    ck_assert_msg(fabs(got - want) <= ulps * unit, "%s at %.9g is %.9g, not %.9g: %.1f ulp", what, at, got,
        want, fabs(got - want) / unit);
}

static double normal_share(double a)
{
    return 0.5 * erfc(-a * 0.70710678118654752440);
}

static double normal_density(double a)
{
    return 0.39894228040143267794 * exp(-0.5 * a * a);
}

START_TEST(test_exp_shifted_whole_range_accurate)
{
    for (double a = -86; a < 88.7; a += 0.00731) {
        float in = (float)a, out;
        cb_rows()->exp_shifted(&out, &in, 0, 1);
        assert_ulps("exp", in, out, exp(in), 2);
    }
    float start[MOST], block[MOST];
    for (size_t i = 0; i < MOST; i++) block[i] = start[i] = -20 + 0.03f * (float)i;
    cb_rows()->exp_shifted(block, block, 1.5f, MOST); /* in place */
    for (size_t i = 0; i < MOST; i++) {
        float in =
            start[i] - 1.5f; /* of the same rounding, however the compiler contracts what comes before */
        assert_ulps("exp", in, block[i], exp(in), 2);
    }
}
END_TEST

START_TEST(test_exp_shifted_extremes_defined)
{
    const float in[] = {-INFINITY, -1e30f, -150, -100, 0, 88.72f, 88.73f, 1e30f, INFINITY, NAN};
    float out[10];
    cb_rows()->exp_shifted(out, in, 0, 10);
    ck_assert(out[0] == 0 && out[1] == 0 && out[2] == 0);
    ck_assert_float_le(fabsf(out[3] - 3.783506e-44f), 2e-45f); /* gradual underflow */
    ck_assert(out[4] == 1);
    ck_assert(isfinite(out[5]));
    ck_assert(isinf(out[6]) && isinf(out[7]) && isinf(out[8]));
    ck_assert(isnan(out[9]));
}
END_TEST

START_TEST(test_gelu_whole_range_accurate)
{
    const double most =
        6; /* relative to the accuracy of erf in float, not to the value: the tail below -5 is negligible */
    for (double a = -most; a < most; a += 0.00137) {
        float in = (float)a, out, one = 1, slope;
        cb_rows()->gelu(&out, &in, 1);
        cb_rows()->gelu_backward(&slope, &one, &in, 1);
        double share = normal_share(in);
        ck_assert_double_le(fabs(out - in * share), 4e-7 * fabs(in) * fmax(share, 1e-2));
        ck_assert_double_le(fabs(slope - (share + in * normal_density(in))), 3e-7);
    }
    const float far[] = {-40, -14, 14, 40, 0};
    float out[5];
    cb_rows()->gelu(out, far, 5);
    ck_assert(out[0] == 0 && fabsf(out[1]) < 1e-30f && out[2] == 14 && out[3] == 40 && out[4] == 0);
    float nothing = NAN;
    cb_rows()->gelu(&nothing, &nothing, 1);
    ck_assert(isnan(nothing));
}
END_TEST

START_TEST(test_gelu_every_length_in_place)
{
    size_t n = lengths[_i];
    fill_all();
    float guard = x[n + 1];
    for (size_t i = 0; i < n; i++) expected[i] = x[i + 1] * normal_share(x[i + 1]);
    for (size_t i = 0; i < n; i++)
        expected_too[i] = y[i + 1] * (normal_share(x[i + 1]) + x[i + 1] * normal_density(x[i + 1]));
    cb_rows()->gelu_backward(y + 1, y + 1, x + 1, n); /* dx is dy */
    assert_near("gelu_backward", n, y + 1, expected_too, 1e-6);
    cb_rows()->gelu(x + 1, x + 1, n);
    assert_near("gelu", n, x + 1, expected, 1e-6);
    ck_assert(x[n + 1] == guard);
}
END_TEST

static double sigmoid(double a)
{
    return 1 / (1 + exp(-a));
}

/* Each output may be an input. */
START_TEST(test_swiglu_every_length_in_place)
{
    size_t n = lengths[_i];
    fill_all();
    for (size_t i = 0; i < n; i++) {
        double a = x[i + 1], share = sigmoid(a);
        expected[i] = (double)y[i + 1] * z[i + 1] * share * (1 + a * (1 - share));
        expected_too[i] = y[i + 1] * a * share;
    }
    float gated[MOST], factor[MOST];
    memcpy(gated, x + 1, n * sizeof *x);
    memcpy(factor, z + 1, n * sizeof *z);
    cb_rows()->swiglu_backward(gated, factor, y + 1, gated, factor, n);
    assert_within("swiglu_backward, gated", n, gated, expected, 1, 2e-6);
    assert_near("swiglu_backward, factor", n, factor, expected_too, 2e-6);
    for (size_t i = 0; i < n; i++) expected[i] = x[i + 1] * sigmoid(x[i + 1]) * z[i + 1];
    cb_rows()->swiglu(x + 1, x + 1, z + 1, n);
    assert_near("swiglu", n, x + 1, expected, 2e-6);
}
END_TEST

START_TEST(test_rotate_and_products_every_length_close)
{
    size_t n = lengths[_i];
    fill_all();
    for (size_t i = 0; i < n; i++) {
        expected[i] = (double)x[i + 1] * z[i + 1] - (double)y[i + 1] * u[i + 1];
        expected_too[i] = (double)y[i + 1] * z[i + 1] + (double)x[i + 1] * u[i + 1];
    }
    cb_rows()->rotate(x + 1, y + 1, z + 1, u + 1, 1, n);
    assert_within("rotate, first", n, x + 1, expected, 1, 2e-6);
    assert_within("rotate, second", n, y + 1, expected_too, 1, 2e-6);
    fill_all();
    for (size_t i = 0; i < n; i++) expected[i] = y[i + 1] + 0.5 * x[i + 1] * z[i + 1];
    cb_rows()->add_product(y + 1, x + 1, z + 1, 0.5f, n);
    assert_within("add_product", n, y + 1, expected, 1, 2e-6);
    for (size_t i = 0; i < n; i++) expected[i] = -2.0 * x[i + 1] * z[i + 1];
    cb_rows()->product(x + 1, x + 1, z + 1, -2, n);
    assert_near("product", n, x + 1, expected, 1e-5);
}
END_TEST

static void normalise(const float *row, size_t n, double *mean, double *inverse)
{
    double sum = 0, squares = 0;
    for (size_t i = 0; i < n; i++) sum += row[i];
    *mean = sum / (double)n;
    for (size_t i = 0; i < n; i++) squares += (row[i] - *mean) * (row[i] - *mean);
    *inverse = 1 / sqrt(squares / (double)n + 1e-6);
}

START_TEST(test_layer_norm_every_length_close)
{
    size_t n = lengths[_i];
    if (n == 0) return;
    const float scales[] = {3, 1e-2f, 1e-3f}, shifts[] = {0, 0.5f, -5};
    for (int s = 0; s < 9; s++) {
        double mean, inverse;
        float mean_out, inverse_out;
        fill_all();
        fill(x, 7, scales[s / 3], shifts[s % 3] * scales[s / 3]);
        normalise(x + 1, n, &mean, &inverse);
        for (size_t i = 0; i < n; i++) expected[i] = (x[i + 1] - mean) * inverse * z[i + 1] + u[i + 1];
        cb_rows()->layer_norm(x + 1, x + 1, z + 1, u + 1, (cb_real)1e-6, n, &mean_out, &inverse_out);
        assert_near("layer_norm", n, x + 1, expected, 1e-5);
        ck_assert_double_le(fabs(inverse_out - inverse), 2e-6 * inverse);
        ck_assert_double_le(fabs(mean_out - mean), 1e-6 * 5 * scales[s / 3]);
    }
}
END_TEST

START_TEST(test_layer_norm_backward_every_length_close)
{
    size_t n = lengths[_i];
    if (n == 0) return;
    double mean, inverse, sum = 0, projection = 0;
    fill_all();
    normalise(x + 1, n, &mean, &inverse);
    for (size_t i = 1; i <= n; i++) {
        sum += (double)y[i] * z[i];
        projection += (double)y[i] * z[i] * (x[i] - mean) * inverse;
    }
    for (size_t i = 0; i < n; i++)
        expected[i] = inverse * ((double)y[i + 1] * z[i + 1] - sum / (double)n -
                                    (x[i + 1] - mean) * inverse * projection / (double)n);
    const double size = n < 3 ? inverse : 0; /* with one or two numbers all cancels */
    const float base = 0.5f;

    for (size_t i = 0; i < n; i++) v[i + 1] = base;
    for (size_t i = 0; i < n; i++) expected[i] += base;
    cb_rows()->layer_norm_backward(v + 1, y + 1, x + 1, z + 1, n, (float)mean, (float)inverse, true);
    assert_within("layer_norm_backward, added", n, v + 1, expected, size, 5e-6);
    for (size_t i = 0; i < n; i++) expected[i] -= base;
    memcpy(v, y, sizeof v);
    cb_rows()->layer_norm_backward(v + 1, v + 1, x + 1, z + 1, n, (float)mean, (float)inverse, false);
    assert_within("layer_norm_backward, dx is dy", n, v + 1, expected, size, 5e-6);
    memcpy(v, x, sizeof v);
    cb_rows()->layer_norm_backward(v + 1, y + 1, v + 1, z + 1, n, (float)mean, (float)inverse, false);
    assert_within("layer_norm_backward, dx is x", n, v + 1, expected, size, 5e-6);
}
END_TEST

START_TEST(test_layer_norm_backward_parameters_every_length_close)
{
    size_t n = lengths[_i];
    fill_all();
    for (size_t i = 0; i < n; i++) {
        expected[i] = u[i + 1] + (double)y[i + 1] * (x[i + 1] - 0.25) * 1.5;
        expected_too[i] = (double)v[i + 1] + y[i + 1];
    }
    cb_rows()->layer_norm_backward_parameters(u + 1, v + 1, y + 1, x + 1, n, 0.25f, 1.5f);
    assert_within("dgain", n, u + 1, expected, 1, 1e-6);
    assert_within("dbias", n, v + 1, expected_too, 1, 1e-6);
}
END_TEST

START_TEST(test_softmax_every_length_close)
{
    size_t n = lengths[_i];
    const float scales[] = {0.125f, 10, -2};
    for (int s = 0; s < 3; s++) {
        double most = -INFINITY, sum = 0, projection = 0;
        fill_all();
        for (size_t i = 1; i <= n; i++) most = fmax(most, (double)scales[s] * x[i]);
        for (size_t i = 0; i < n; i++) sum += expected[i] = exp((double)scales[s] * x[i + 1] - most);
        for (size_t i = 0; i < n; i++) projection += y[i + 1] * (expected[i] /= sum);
        cb_rows()->softmax(x + 1, scales[s], n);
        assert_near("softmax", n, x + 1, expected, 5e-6);

        for (size_t i = 0; i < n; i++) expected[i] = scales[s] * expected[i] * (y[i + 1] - projection);
        cb_rows()->softmax_backward(y + 1, x + 1, scales[s], n);
        assert_within("softmax_backward", n, y + 1, expected, n < 16 ? fabs(scales[s]) : 0, 1e-5);
    }
}
END_TEST

START_TEST(test_softmax_huge_logits_finite)
{
    float row[4] = {1e30f, 1e30f, -1e30f, 0};
    cb_rows()->softmax(row, 1, 4);
    ck_assert(row[0] == 0.5f && row[1] == 0.5f && row[2] == 0 && row[3] == 0);
}
END_TEST

START_TEST(test_running_sum_exp_any_blocks_close)
{
    size_t block = lengths[_i];
    if (block == 0) return;
    fill(x, 9, 30, 0);
    double most = -INFINITY, sum = 0;
    for (size_t i = 0; i < MOST; i++) most = fmax(most, x[i]);
    for (size_t i = 0; i < MOST; i++) sum += exp(x[i] - most);
    float maximum = -INFINITY, total = 0;
    for (size_t i = 0; i < MOST; i += block)
        cb_rows()->running_sum_exp(x + i, i + block < MOST ? block : MOST - i, &maximum, &total);
    ck_assert(maximum == (float)most);
    ck_assert_double_le(fabs(total - sum), 2e-6 * sum);
}
END_TEST

/* A row of only NaN must not count as an empty row. */
START_TEST(test_running_sum_exp_not_a_number_shows)
{
    const cb_real strange[2] = {NAN, NAN}, sound[2] = {1, 2};
    cb_real maximum = -INFINITY, total = 0;
    cb_rows()->running_sum_exp(strange, _i, &maximum, &total);
    cb_rows()->running_sum_exp(sound, 2, &maximum, &total);
    ck_assert(isnan(total) == (_i > 0));
    cb_rows()->running_sum_exp(strange, 2, &maximum, &total);
    ck_assert(isnan(total));
}
END_TEST

START_TEST(test_running_sum_exp_nothing_unchanged)
{
    float none[3] = {-INFINITY, -INFINITY, -INFINITY}, maximum = -INFINITY, total = 0;
    cb_rows()->running_sum_exp(none, 0, &maximum, &total);
    cb_rows()->running_sum_exp(none, 3, &maximum, &total);
    ck_assert(maximum == -INFINITY && total == 0);
    none[1] = 4;
    cb_rows()->running_sum_exp(none, 3, &maximum, &total);
    ck_assert(maximum == 4 && total == 1);
    cb_rows()->running_sum_exp(none, 1, &maximum, &total);
    ck_assert(maximum == 4 && total == 1);
}
END_TEST

START_TEST(test_linear_kernels_every_length_close)
{
    size_t n = lengths[_i];
    const cb_row_kernels *rows = cb_rows();
    double product = 0, squares = 0, size = 0;
    fill_all();
    for (size_t i = 0; i < n; i++) {
        expected[i] = (x[i + 1] * (double)z[i + 1] - u[i + 1]) * 10;
        expected_too[i] = y[i + 1] + 0.3 * x[i + 1];
        product += (double)x[i + 1] * y[i + 1];
        size += fabs((double)x[i + 1] * y[i + 1]);
        squares += (double)x[i + 1] * x[i + 1];
    }
    ck_assert_double_le(fabs(rows->dot(x + 1, y + 1, n) - product), 1e-6 * size);
    ck_assert_double_le(fabs(rows->sum_squares(x + 1, n) - squares), 1e-14 * squares);
    rows->add_scaled(y + 1, x + 1, 0.3f, n);
    assert_near("add_scaled", n, y + 1, expected_too, 2e-7);
    memcpy(v, x, sizeof v);
    rows->scale_logits(v + 1, z + 1, u + 1, 10, n);
    assert_near("scale_logits", n, v + 1, expected, 5e-7);
    for (size_t i = 0; i < n; i++) expected[i] = x[i + 1] * (double)z[i + 1] * 10;
    memcpy(v, x, sizeof v);
    rows->scale_logits(v + 1, z + 1, NULL, 10, n);
    assert_near("scale_logits without a centre", n, v + 1, expected, 5e-7);
    for (size_t i = 0; i < n; i++) expected[i] = -1.7 * x[i + 1];
    rows->scale(x + 1, x + 1, -1.7f, n);
    assert_near("scale", n, x + 1, expected, 2e-7);
}
END_TEST

START_TEST(test_first_reaching_first_of_several)
{
    size_t n = lengths[_i];
    fill(x, 11, 1, 0);
    ck_assert_uint_eq(cb_rows()->first_reaching(x, n, 7), n);
    ck_assert_uint_eq(cb_rows()->first_reaching(x, n, -INFINITY), 0);
    for (size_t place = 0; place < n; place++) {
        fill(x, 11, 1, 0);
        x[place] = 7;
        x[n - 1] = 8;
        ck_assert_uint_eq(cb_rows()->first_reaching(x, n, 7), place);
    }
}
END_TEST

START_TEST(test_arg_max_ties_first)
{
    size_t n = lengths[_i];
    if (n == 0) return;
    float most;
    for (size_t place = 0; place < n; place++) {
        fill(x, 11, 1, 0);
        x[place] = x[n - 1] = 7; /* the last place too */
        ck_assert_uint_eq(cb_rows()->arg_max(x, n, &most), place);
        ck_assert(most == 7);
    }
    for (size_t i = 0; i < n; i++) x[i] = -INFINITY;
    ck_assert_uint_eq(cb_rows()->arg_max(x, n, &most), 0);
    ck_assert(most == -INFINITY);
}
END_TEST

START_TEST(test_lower_raise_keep_larger_every_length_exact)
{
    size_t n = lengths[_i];
    static int32_t labels[MOST + 1];
    fill_all();
    memcpy(z, y, sizeof z);
    memcpy(u, y, sizeof u);
    memcpy(v, y, sizeof v);
    for (size_t i = 0; i <= n; i++) labels[i] = -1;
    cb_rows()->lower(z + 1, x + 1, n);
    cb_rows()->raise(u + 1, x + 1, n);
    cb_rows()->keep_larger(v + 1, labels, x + 1, 7, n);
    for (size_t i = 1; i <= n; i++) {
        ck_assert(z[i] == fminf(x[i], y[i]));
        ck_assert(u[i] == fmaxf(x[i], y[i]));
        ck_assert(v[i] == u[i]);
        ck_assert_int_eq(labels[i - 1], x[i] > y[i] ? 7 : -1);
    }
    ck_assert(z[n + 1] == y[n + 1] && u[n + 1] == y[n + 1] && v[n + 1] == y[n + 1] && labels[n] == -1);
    memcpy(v, x, sizeof v);
    cb_rows()->keep_larger(v + 1, labels, x + 1, 8, n); /* equals stay */
    for (size_t i = 0; i < n; i++) ck_assert_int_ne(labels[i], 8);
}
END_TEST

START_TEST(test_cost_kernels_every_length_close)
{
    size_t n = lengths[_i];
    fill_all();
    for (size_t i = 0; i < n; i++) expected[i] = 0.3 * (double)y[i + 1] - (double)x[i + 1];
    cb_rows()->subtract(y + 1, 0.3f, x + 1, n);
    assert_near("subtract", n, y + 1, expected, 1e-6);

    for (size_t i = 0; i < n; i += 3) x[i + 1] = 0;
    for (size_t i = 0; i < n; i++) expected[i] = (i % 3 == 0 ? 0.7 : (double)x[i + 1]) / 1.7;
    cb_rows()->divide(x + 1, x + 1, 0.7f, 1.7f, n);
    assert_near("divide", n, x + 1, expected, 1e-6);

    fill(x, 14, 2, 2);
    for (size_t i = 0; i < n; i += 5) x[i + 1] = INFINITY;
    for (size_t i = 0; i < n; i++) expected[i] = i % 5 == 0 ? 0 : sqrt((double)x[i + 1]);
    cb_rows()->finite_root(x + 1, n);
    assert_near("finite_root", n, x + 1, expected, 1e-6);
}
END_TEST

START_TEST(test_transport_kernels_every_length_close)
{
    size_t n = lengths[_i];
    fill_all();
    for (size_t i = 0; i < n; i++) {
        expected[i] = exp(1.5 * ((double)y[i + 1] - (double)x[i + 1]));
        expected_too[i] = (double)u[i + 1] + expected[i];
    }
    cb_rows()->exp_above(x + 1, y + 1, 1.5f, u + 1, n);
    assert_near("exp_above", n, x + 1, expected, 1e-6);
    assert_near("exp_above, sum", n, u + 1, expected_too, 1e-6);

    fill_all();
    for (size_t i = 0; i < n; i++) {
        expected[i] = (double)x[i + 1] * (double)y[i + 1] * 0.3;
        expected_too[i] = (double)u[i + 1] + expected[i];
    }
    cb_rows()->scale_and_sum(x + 1, y + 1, 0.3f, u + 1, n);
    assert_near("scale_and_sum", n, x + 1, expected, 1e-6);
    assert_near("scale_and_sum, sum", n, u + 1, expected_too, 1e-6);
}
END_TEST

START_TEST(test_largest_and_mark_from_every_length_exact)
{
    size_t n = lengths[_i];
    uint8_t marks[MOST + 1];
    fill(x, 12, 1, 0);
    for (size_t i = 0; i <= n; i++) marks[i] = i % 5 == 0;
    cb_rows()->mark_from(marks, x + 1, x[1], n);
    for (size_t i = 0; i < n; i++) ck_assert_uint_eq(marks[i], x[1 + i] >= x[1] || i % 5 == 0);
    ck_assert_uint_eq(marks[n], n % 5 == 0);

    float most = -INFINITY;
    for (size_t i = 0; i < n; i++) most = fmaxf(most, x[1 + i]);
    ck_assert(cb_rows()->largest(x + 1, n) == most);
}
END_TEST

START_TEST(test_round_bf16_every_length_nearest)
{
    size_t n = lengths[_i];
    cb_bf16 rounded[MOST + 1];
    double squares = 0;
    fill(x, 13, 1, 0);
    rounded[n] = 0x1234;
    float sum = cb_rows()->round_bf16(rounded, x + 1, 0.3f, n);
    for (size_t i = 0; i < n; i++) {
        float exact = 0.3f * x[1 + i], error = exact - cb_bf16_to_float(rounded[i]);
        ck_assert_uint_eq(rounded[i], cb_bf16_of(exact));
        ck_assert_float_le(fabsf(error), 0x1p-8f * fabsf(exact));
        squares += (double)error * (double)error;
    }
    ck_assert_double_le(fabs(sum - squares), 1e-4 * squares);
    ck_assert_uint_eq(rounded[n], 0x1234);
}
END_TEST

START_TEST(test_adamw_every_length_close)
{
    size_t n = lengths[_i];
    const cb_adamw step = {.learning_rate = 1e-3f,
        .decay = 0.9996f,
        .beta1 = 0.9f,
        .beta2 = 0.999f,
        .root_correction = 12.5f,
        .epsilon = 1e-8f,
        .gradient_scale = 0.7f};
    double m_expected[MOST], v_expected[MOST];
    fill_all();
    for (size_t i = 0; i < n; i++) {
        double g = (double)step.gradient_scale * y[i + 1];
        m_expected[i] = (double)step.beta1 * u[i + 1] + (1 - (double)step.beta1) * g;
        v_expected[i] = (double)step.beta2 * v[i + 1] + (1 - (double)step.beta2) * g * g;
        expected[i] =
            (double)step.decay * x[i + 1] - (double)step.learning_rate * m_expected[i] /
                                                (sqrt(v_expected[i]) * step.root_correction + step.epsilon);
    }
    cb_rows()->adamw(x + 1, u + 1, v + 1, y + 1, &step, n);
    assert_near("adamw's value", n, x + 1, expected, 1e-6);
    assert_near("adamw's m", n, u + 1, m_expected, 1e-6);
    assert_near("adamw's v", n, v + 1, v_expected, 1e-6);
}
END_TEST

START_TEST(test_ema_every_length_close)
{
    size_t n = lengths[_i];
    fill_all();
    for (size_t i = 0; i < n; i++) expected[i] = 0.996 * x[i + 1] + 0.004 * y[i + 1];
    cb_rows()->ema(x + 1, y + 1, 0.996f, n);
    assert_near("ema", n, x + 1, expected, 1e-6);
    memcpy(u, x, sizeof u);
    cb_rows()->ema(x + 1, y + 1, 1, n);
    ck_assert_mem_eq(u, x, sizeof u);
}
END_TEST

START_TEST(test_normalise_row_any_length_unit)
{
    size_t n = lengths[_i];
    if (n == 0) return;
    fill_all();
    double squares = 0;
    for (size_t i = 0; i < n; i++) squares += (double)x[i + 1] * x[i + 1];
    for (size_t i = 0; i < n; i++) expected[i] = x[i + 1] / sqrt(squares);
    float inverse = cb_normalise_row(x + 1, x + 1, n);
    assert_near("normalise_row", n, x + 1, expected, 1e-6);
    ck_assert_double_le(fabs(inverse * sqrt(squares) - 1), 1e-6);

    memset(x, 0, sizeof x);
    ck_assert_double_le(fabs(cb_normalise_row(x, x, n) * 1e-12 - 1), 1e-6);
    for (size_t i = 0; i < n; i++) ck_assert(x[i] == 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("rows");
    TCase *cases = tcase_create("rows");
    tcase_add_test(cases, test_exp_shifted_whole_range_accurate);
    tcase_add_test(cases, test_exp_shifted_extremes_defined);
    tcase_add_test(cases, test_gelu_whole_range_accurate);
    tcase_add_loop_test(cases, test_gelu_every_length_in_place, 0, LENGTHS);
    tcase_add_loop_test(cases, test_swiglu_every_length_in_place, 0, LENGTHS);
    tcase_add_loop_test(cases, test_rotate_and_products_every_length_close, 0, LENGTHS);
    tcase_add_loop_test(cases, test_layer_norm_every_length_close, 0, LENGTHS);
    tcase_add_loop_test(cases, test_layer_norm_backward_every_length_close, 0, LENGTHS);
    tcase_add_loop_test(cases, test_layer_norm_backward_parameters_every_length_close, 0, LENGTHS);
    tcase_add_loop_test(cases, test_softmax_every_length_close, 0, LENGTHS);
    tcase_add_test(cases, test_softmax_huge_logits_finite);
    tcase_add_loop_test(cases, test_running_sum_exp_any_blocks_close, 0, LENGTHS);
    tcase_add_test(cases, test_running_sum_exp_nothing_unchanged);
    tcase_add_loop_test(cases, test_running_sum_exp_not_a_number_shows, 0, 3);
    tcase_add_loop_test(cases, test_linear_kernels_every_length_close, 0, LENGTHS);
    tcase_add_loop_test(cases, test_first_reaching_first_of_several, 0, LENGTHS);
    tcase_add_loop_test(cases, test_arg_max_ties_first, 0, LENGTHS);
    tcase_add_loop_test(cases, test_lower_raise_keep_larger_every_length_exact, 0, LENGTHS);
    tcase_add_loop_test(cases, test_cost_kernels_every_length_close, 0, LENGTHS);
    tcase_add_loop_test(cases, test_transport_kernels_every_length_close, 0, LENGTHS);
    tcase_add_loop_test(cases, test_largest_and_mark_from_every_length_exact, 0, LENGTHS);
    tcase_add_loop_test(cases, test_round_bf16_every_length_nearest, 0, LENGTHS);
    tcase_add_loop_test(cases, test_adamw_every_length_close, 0, LENGTHS);
    tcase_add_loop_test(cases, test_ema_every_length_close, 0, LENGTHS);
    tcase_add_loop_test(cases, test_normalise_row_any_length_unit, 0, LENGTHS);
    suite_add_tcase(suite, cases);
    return run_suite(suite);
}
