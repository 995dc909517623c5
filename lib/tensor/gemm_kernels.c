/*
 * Micro-kernel and packing, compiled once for each CPU level with CB_LEVEL its name. See gemm_kernels.h.
 *
 * C [MR, NR] stays in MR x 2 vector registers; per step along k it takes two vectors of B and MR broadcasts from A. Each element
 * is one chain of FMAs in the order of k, at whatever place of the tile it stands.
 */
#include "tensor/gemm_kernels.h"

#include <string.h>

#if defined(__AVX512F__)
#define LANES 16
#define MR 12 /* 24 of 32 registers hold C */
#define MC 240
#define KC 384
#define NC 3072
#else
#define LANES 8
#define MR 6 /* 12 of 16 registers hold C */
#define MC 168
#define KC 256
#define NC 4080
#endif
#define NR (2 * LANES)

typedef float vector __attribute__((vector_size(4 * LANES)));
typedef float loose_vector __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

static inline vector load(const float *x)
{
    return *(const loose_vector *)x;
}

static inline void store(float *x, vector v)
{
    *(loose_vector *)x = v;
}

/* A tile at the edge, or one whose columns are not neighbours. */
static void store_corner(
    const vector sum[MR][2], size_t m, size_t n, bool accumulate, float *c, ptrdiff_t c_row, ptrdiff_t c_column)
{
    float tile[MR][NR];
    memcpy(tile, sum, sizeof tile);
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < n; j++) {
            float *c_ij = c + (ptrdiff_t)i * c_row + (ptrdiff_t)j * c_column;
            *c_ij = accumulate ? *c_ij + tile[i][j] : tile[i][j];
        }
}

static void multiply(size_t m, size_t n, size_t k, const float *a, const float *b, bool accumulate, float *c,
    ptrdiff_t c_row, ptrdiff_t c_column)
{
    const bool whole = m == MR && n == NR && c_column == 1;
    vector sum[MR][2] = {{{0}}};
    if (whole)
        for (int i = 0; i < MR; i++) {
            __builtin_prefetch(c + i * c_row, 1);
            __builtin_prefetch(c + i * c_row + NR - 1, 1);
        }
    for (size_t p = 0; p < k; p++, a += MR, b += NR) {
        vector b_0 = load(b), b_1 = load(b + LANES);
#pragma GCC unroll 16
        for (int i = 0; i < MR; i++) {
            sum[i][0] += a[i] * b_0;
            sum[i][1] += a[i] * b_1;
        }
    }
    if (!whole) {
        store_corner((const vector(*)[2])sum, m, n, accumulate, c, c_row, c_column);
        return;
    }
#pragma GCC unroll 16
    for (int i = 0; i < MR; i++, c += c_row) {
        store(c, accumulate ? load(c) + sum[i][0] : sum[i][0]);
        store(c + LANES, accumulate ? load(c + LANES) + sum[i][1] : sum[i][1]);
    }
}

/* A step of a transposition exchanges the blocks of `h` lanes off the diagonal of two rows that are `h` apart. */
#define UPPER(j, h) ((j) & (h) ? LANES + (j) - (h) : (j))
#define LOWER(j, h) ((j) & (h) ? LANES + (j) : (j) + (h))
#define FROM_8(lane, j, h)                                                                                   \
    lane(j, h), lane(j + 1, h), lane(j + 2, h), lane(j + 3, h), lane(j + 4, h), lane(j + 5, h), lane(j + 6, h), \
        lane(j + 7, h)
#if LANES == 16
#define EVERY(lane, h) FROM_8(lane, 0, h), FROM_8(lane, 8, h)
#else
#define EVERY(lane, h) FROM_8(lane, 0, h)
#endif
#define EXCHANGE(row, h)                                                                                     \
    _Pragma("GCC unroll 16") for (int i = 0; i < LANES; i++) if (!(i & (h)))                                 \
    {                                                                                                        \
        vector upper = (row)[i], lower = (row)[i + (h)];                                                     \
        (row)[i] = __builtin_shufflevector(upper, lower, EVERY(UPPER, h));                                   \
        (row)[i + (h)] = __builtin_shufflevector(upper, lower, EVERY(LOWER, h));                             \
    }

static inline __attribute__((always_inline)) void transpose(vector row[LANES])
{
#if LANES == 16
    EXCHANGE(row, 8)
#endif
    EXCHANGE(row, 4)
    EXCHANGE(row, 2)
    EXCHANGE(row, 1)
}

/* Lines are rows in memory: LANES steps of up to LANES lines at a time. */
static inline __attribute__((always_inline)) size_t pack_rows(
    float *panel, size_t width, const float *lines, size_t count, size_t length, ptrdiff_t line)
{
    size_t p = 0;
    for (; p + LANES <= length; p += LANES)
        for (size_t first = 0; first < width; first += LANES) {
            size_t block = width - first < LANES ? width - first : LANES;
            vector row[LANES];
#pragma GCC unroll 16
            for (size_t i = 0; i < LANES; i++)
                row[i] = first + i < count ? load(lines + (ptrdiff_t)(first + i) * line + p) : (vector){0};
            transpose(row);
#pragma GCC unroll 16
            for (size_t i = 0; i < LANES; i++)
                memcpy(panel + (p + i) * width + first, &row[i], block * sizeof(float));
        }
    return p;
}

static inline __attribute__((always_inline)) void pack(
    float *panel, size_t width, const float *lines, size_t count, size_t length, ptrdiff_t line, ptrdiff_t step)
{
    size_t p = 0;
    if (step == 1) p = pack_rows(panel, width, lines, count, length, line);
    if (line == 1 && count == width)
        for (; p < length; p++) memcpy(panel + p * width, lines + (ptrdiff_t)p * step, width * sizeof(float));
    for (; p < length; p++)
        for (size_t i = 0; i < width; i++)
            panel[p * width + i] = i < count ? lines[(ptrdiff_t)i * line + (ptrdiff_t)p * step] : 0;
}

static void pack_a(float *panel, const float *lines, size_t count, size_t length, ptrdiff_t line, ptrdiff_t step)
{
    pack(panel, MR, lines, count, length, line, step);
}

static void pack_b(float *panel, const float *lines, size_t count, size_t length, ptrdiff_t line, ptrdiff_t step)
{
    pack(panel, NR, lines, count, length, line, step);
}

#define TEXT_(x) #x
#define TEXT(x) TEXT_(x)
#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)

const cb_gemm_kernels JOIN(cb_gemm_kernels_, CB_LEVEL) = {
    .name = "cribo-" TEXT(CB_LEVEL),
    .mr = MR,
    .nr = NR,
    .mc = MC,
    .kc = KC,
    .nc = NC,
    .multiply = multiply,
    .pack_a = pack_a,
    .pack_b = pack_b,
};
