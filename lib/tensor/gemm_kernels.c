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
#define MC 1536
#define KC 512
#define NC 384
#else
#define LANES 8
#define MR 6 /* 12 of 16 registers hold C */
#define MC 3072
#define KC 256
#define NC 256
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
static void store_corner(const vector sum[MR][2], size_t m, size_t n, bool accumulate, float *c,
    ptrdiff_t c_row, ptrdiff_t c_column)
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
#define FROM_8(lane, j, h) \
    lane(j, h), lane(j + 1, h), lane(j + 2, h), lane(j + 3, h), lane(j + 4, h), lane(j + 5, h), \
        lane(j + 6, h), lane(j + 7, h)
#if LANES == 16
#define EVERY(lane, h) FROM_8(lane, 0, h), FROM_8(lane, 8, h)
#else
#define EVERY(lane, h) FROM_8(lane, 0, h)
#endif
#define EXCHANGE(row, h) \
    _Pragma("GCC unroll 16") for (int i = 0; i < LANES; i++) if (!(i & (h))) \
    { \
        vector upper = (row)[i], lower = (row)[i + (h)]; \
        (row)[i] = __builtin_shufflevector(upper, lower, EVERY(UPPER, h)); \
        (row)[i + (h)] = __builtin_shufflevector(upper, lower, EVERY(LOWER, h)); \
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

/* Numbers p_begin ... length - 1 of the lines of one panel, whatever the strides. */
static void pack_slowly(float *panel, size_t width, const float *lines, size_t count, size_t p_begin,
    size_t length, ptrdiff_t line, ptrdiff_t step)
{
    for (size_t p = p_begin; p < length; p++)
        for (size_t i = 0; i < width; i++)
            panel[p * width + i] = i < count ? lines[(ptrdiff_t)i * line + (ptrdiff_t)p * step] : 0;
}

/* Lines are rows in memory: transposes blocks of LANES lines and LANES numbers. */
static inline __attribute__((always_inline)) void pack_rows(
    float *panel, size_t width, const float *lines, size_t count, size_t length, ptrdiff_t line)
{
    size_t p = 0;
    for (; p + LANES <= length; p += LANES)
        for (size_t first = 0; first < width; first += LANES) {
            size_t block = width - first < LANES ? width - first : LANES;
            const float *corner = lines + (ptrdiff_t)first * line + p;
            vector row[LANES];
#pragma GCC unroll 16
            for (size_t i = 0; i < LANES; i++)
                row[i] = first + i < count ? load(corner + (ptrdiff_t)i * line) : (vector){0};
#pragma GCC unroll 16
            for (size_t i = 0; i < block;
                 i++) /* the next panel: rows are too short for the CPU to foresee it */
                __builtin_prefetch(corner + (ptrdiff_t)(width + i) * line, 0, 2);
            transpose(row);
#pragma GCC unroll 16
            for (size_t i = 0; i < LANES; i++)
                memcpy(panel + (p + i) * width + first, &row[i], block * sizeof(float));
        }
    pack_slowly(panel, width, lines, count, p, length, line, 1);
}

/* Lines are columns in memory: reads along the rows, and deals them out to the panels. */
static inline __attribute__((always_inline)) void pack_columns(float *panels, size_t panel_stride,
    size_t width, const float *lines, size_t count, size_t length, ptrdiff_t step)
{
    size_t whole = count / width;
    for (size_t p = 0; p < length; p++)
        for (size_t i = 0; i < whole; i++)
            memcpy(panels + i * panel_stride + p * width, lines + (ptrdiff_t)p * step + i * width,
                width * sizeof(float));
    if (count > whole * width)
        pack_slowly(panels + whole * panel_stride, width, lines + whole * width, count - whole * width, 0,
            length, 1, step);
}

static inline __attribute__((always_inline)) void pack_as(float *panels, size_t panel_stride, size_t width,
    const float *lines, size_t count, size_t length, ptrdiff_t line, ptrdiff_t step)
{
    if (line == 1) {
        pack_columns(panels, panel_stride, width, lines, count, length, step);
        return;
    }
    for (size_t first = 0; first < count;
         first += width, panels += panel_stride, lines += (ptrdiff_t)width * line) {
        size_t here = count - first < width ? count - first : width;
        if (step == 1)
            pack_rows(panels, width, lines, here, length, line);
        else
            pack_slowly(panels, width, lines, here, 0, length, line, step);
    }
}

static void pack(float *panels, size_t panel_stride, size_t width, const float *lines, size_t count,
    size_t length, ptrdiff_t line, ptrdiff_t step)
{
    if (width == MR) /* constant widths make constant copies */
        pack_as(panels, panel_stride, MR, lines, count, length, line, step);
    else
        pack_as(panels, panel_stride, NR, lines, count, length, line, step);
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
    .pack = pack,
};
