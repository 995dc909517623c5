/*
 * Micro-kernels and packing, compiled once for each CPU level with CB_LEVEL its name. See gemm_kernels.h.
 *
 * C [MR, NR] stays in MR x 2 vector registers; per step along k it takes two vectors of B and MR broadcasts
 * from A. Each element is one chain of FMAs in the order of k, at any place of the tile. A
 * level without instructions for bfloat16 rounds to it while packing, and multiplies floats. A level with
 * tiles (AMX) multiplies bfloat16 by them: C [32, 32] stays in four.
 */
#include "tensor/gemm_kernels.h"

#include "tensor/bf16.h"

#include <stdint.h>
#include <string.h>

/*
 * MC x KC elements of A take half of a second-level cache of 1 MiB (AVX-512) or 512 KiB, the smallest of such
 * CPUs. Measured on Zen 4: 2 to 5 per cent faster than with a block of B in the second level and A in the
 * third.
 */
#if defined(__AVX512F__)
#include <immintrin.h>
#define LANES 16
#define MR 12 /* 24 of 32 registers hold C */
#define MC 240
#define KC 512
#else
#define LANES 8
#define MR 6 /* 12 of 16 registers hold C */
#define MC 240
#define KC 256
#endif
#define NC 1536
#define NR (2 * LANES)

#define INLINE static inline __attribute__((always_inline))

typedef float vector __attribute__((vector_size(4 * LANES)));
typedef float loose_vector __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef float element
    __attribute__((may_alias)); /* of A: a number, or two of bfloat16 in their order in memory */
typedef uint32_t bits __attribute__((vector_size(4 * LANES)));
typedef int32_t truths __attribute__((vector_size(4 * LANES)));
typedef cb_bf16 halves __attribute__((vector_size(2 * LANES)));

INLINE vector load(const float *x)
{
    return *(const loose_vector *)x;
}

INLINE void store(float *x, vector v)
{
    *(loose_vector *)x = v;
}

/* A tile at the edge, or one whose columns are not adjacent. */
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

/* sum + a b, for one element of A. */
INLINE vector add_product(vector sum, const element *a, vector b, bool pairs)
{
#if defined(__AVX512BF16__)
    if (pairs)
        return (vector)_mm512_dpbf16_ps((__m512)sum, (__m512bh)_mm512_set1_ps(*a), (__m512bh)(__m512)b);
#else
    (void)pairs;
#endif
    return sum + *a * b;
}

INLINE void multiply_elements(size_t m, size_t n, size_t k, const element *a, size_t a_row, size_t a_step,
    const float *b, bool accumulate, float *c, ptrdiff_t c_row, ptrdiff_t c_column, bool pairs)
{
    const bool whole = m == MR && n == NR && c_column == 1;
    vector sum[MR][2] = {{{0}}};
    if (whole)
        for (int i = 0; i < MR; i++) {
            __builtin_prefetch(c + i * c_row, 1);
            __builtin_prefetch(c + i * c_row + NR - 1, 1);
        }
    for (size_t p = 0; p < k; p++, a += a_step, b += NR) {
        vector b_0 = load(b), b_1 = load(b + LANES);
#pragma GCC unroll 16
        for (size_t i = 0; i < MR; i++) {
            sum[i][0] = add_product(sum[i][0], a + i * a_row, b_0, pairs);
            sum[i][1] = add_product(sum[i][1], a + i * a_row, b_1, pairs);
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

/* Unpacked elements are read along one direction of A's memory, which is a constant for the compiler. */
INLINE void multiply_along(size_t n, size_t k, const float *a, size_t a_row, size_t a_step, const float *b,
    bool accumulate, float *c, ptrdiff_t c_row, ptrdiff_t c_column, bool pairs)
{
    if (a_row == 1)
        multiply_elements(MR, n, k, a, 1, a_step, b, accumulate, c, c_row, c_column, pairs);
    else
        multiply_elements(MR, n, k, a, a_row, 1, b, accumulate, c, c_row, c_column, pairs);
}

static void multiply(size_t m, size_t n, size_t k, const float *a, const float *b, bool accumulate, float *c,
    ptrdiff_t c_row, ptrdiff_t c_column)
{
    multiply_elements(m, n, k, a, 1, MR, b, accumulate, c, c_row, c_column, false);
}

static void multiply_unpacked(size_t n, size_t k, const float *a, size_t a_row, size_t a_step, const float *b,
    bool accumulate, float *c, ptrdiff_t c_row, ptrdiff_t c_column)
{
    multiply_along(n, k, a, a_row, a_step, b, accumulate, c, c_row, c_column, false);
}

#if defined(__AVX512BF16__) && !defined(__AMX_BF16__)

static void multiply_pairs(size_t m, size_t n, size_t k, const float *a, const float *b, bool accumulate,
    float *c, ptrdiff_t c_row, ptrdiff_t c_column)
{
    multiply_elements(m, n, k, a, 1, MR, b, accumulate, c, c_row, c_column, true);
}

static void multiply_unpacked_pairs(size_t n, size_t k, const float *a, size_t a_row, size_t a_step,
    const float *b, bool accumulate, float *c, ptrdiff_t c_row, ptrdiff_t c_column)
{
    multiply_along(n, k, a, a_row, a_step, b, accumulate, c, c_row, c_column, true);
}

#endif

#if defined(__AMX_BF16__)

/*
 * Tiles 0 ... 3 hold C, 4 and 5 two times 16 rows of A, 6 and 7 two times 16 columns of B. A panel of B takes
 * KC_TILES * 128 bytes of the first-level cache, A's block half of a second-level cache of 1 MiB.
 */
#define SIDE 16 /* of a tile, in elements of 4 bytes */
#define MR_TILES (2 * SIDE)
#define NR_TILES (2 * SIDE)
#define MC_TILES 224
#define KC_TILES 192

static void begin_tiles(void)
{
    static const struct {
        uint8_t palette, start_row, reserved[14];
        uint16_t row_bytes[16];
        uint8_t rows[16];
    } shapes = {.palette = 1,
        .row_bytes = {64, 64, 64, 64, 64, 64, 64, 64},
        .rows = {SIDE, SIDE, SIDE, SIDE, SIDE, SIDE, SIDE, SIDE}};
    _tile_loadconfig(&shapes);
}

static void end_tiles(void)
{
    _tile_release();
}

/* The 32 x 32 sums, from tiles to memory. */
INLINE void store_tiles(float *c, size_t c_row)
{
    _tile_stored(0, c, c_row * sizeof *c);
    _tile_stored(1, c + SIDE, c_row * sizeof *c);
    _tile_stored(2, c + SIDE * c_row, c_row * sizeof *c);
    _tile_stored(3, c + SIDE * c_row + SIDE, c_row * sizeof *c);
}

/* The m x n corner of a tile's sums goes to C. */
static void add_tiles(size_t m, size_t n, bool accumulate, float *c, ptrdiff_t c_row, ptrdiff_t c_column)
{
    float sums[MR_TILES][NR_TILES] __attribute__((aligned(64)));
    store_tiles(&sums[0][0], NR_TILES);
    for (size_t i = 0; i < m; i++, c += c_row)
        for (size_t j = 0; j < n; j++) {
            float *c_ij = c + (ptrdiff_t)j * c_column;
            *c_ij = accumulate ? *c_ij + sums[i][j] : sums[i][j];
        }
}

/* A's tile at element p of row i is a + i * a_row + p * a_tile, with rows a_row elements apart. */
INLINE void multiply_tiles(size_t m, size_t n, size_t k, const float *a, size_t a_row, size_t a_tile,
    const float *b, bool accumulate, float *c, ptrdiff_t c_row, ptrdiff_t c_column)
{
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (size_t p = 0; p < k; p += SIDE, a += a_tile, b += SIDE * NR_TILES) {
        _tile_loadd(6, b, NR_TILES * sizeof *b);
        _tile_loadd(4, a, a_row * sizeof *a);
        _tile_loadd(7, b + SIDE, NR_TILES * sizeof *b);
        _tile_loadd(5, a + SIDE * a_row, a_row * sizeof *a);
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
    if (m == MR_TILES && n == NR_TILES && c_column == 1 && !accumulate)
        store_tiles(c, (size_t)c_row);
    else if (n == NR_TILES && c_column == 1) /* constants make whole vectors */
        add_tiles(m, NR_TILES, accumulate, c, c_row, 1);
    else
        add_tiles(m, n, accumulate, c, c_row, c_column);
}

static void multiply_pairs(size_t m, size_t n, size_t k, const float *a, const float *b, bool accumulate,
    float *c, ptrdiff_t c_row, ptrdiff_t c_column)
{
    multiply_tiles(m, n, k, a, SIDE, SIDE * MR_TILES, b, accumulate, c, c_row, c_column);
}

static void multiply_unpacked_pairs(size_t n, size_t k, const float *a, size_t a_row, size_t a_step,
    const float *b, bool accumulate, float *c, ptrdiff_t c_row, ptrdiff_t c_column)
{
    (void)a_step;
    multiply_tiles(MR_TILES, n, k, a, a_row, SIDE, b, accumulate, c, c_row, c_column);
}

#endif

/* The conversion of an operand's numbers to elements. */
typedef enum packing {
    REAL,          /* as they are */
    ROUNDED,       /* real numbers rounded to bfloat16 */
    WIDENED,       /* bfloat16 widened */
    ROUNDED_PAIRS, /* real numbers rounded to pairs of bfloat16 */
    STORED_PAIRS   /* bfloat16 in pairs */
} packing;

#define IN_ELEMENT(how) ((how) >= ROUNDED_PAIRS ? 2 : 1)
#define IS_BF16(how) ((how) == WIDENED || (how) == STORED_PAIRS)

/* cb_bf16_round in every lane. */
INLINE vector round_to_bf16(vector x)
{
    bits from = (bits)x;
    bits is_nan = (bits)((truths)(from & 0x7fffffffu) > 0x7f800000);
    bits rounded = from + 0x7fffu + (from >> 16 & 1u), quiet = from | 0x400000u;
    return (vector)(((rounded & ~is_nan) | (quiet & is_nan)) & 0xffff0000u);
}

#if LANES == 16

/* The first n <= 16 numbers at x; zeros follow. */
INLINE vector load_some(const float *x, size_t n)
{
    return (vector)_mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), x);
}

INLINE halves load_some_halves(const cb_bf16 *x, size_t n)
{
    return (halves)_mm256_maskz_loadu_epi16((__mmask16)((1u << n) - 1), x);
}

#else

INLINE vector load_some(const float *x, size_t n)
{
    vector some = {0};
    memcpy(&some, x, n * sizeof *x);
    return some;
}

INLINE halves load_some_halves(const cb_bf16 *x, size_t n)
{
    halves some = {0};
    memcpy(&some, x, n * sizeof *x);
    return some;
}

#endif

/* LANES elements of one number each from the n <= LANES numbers at x. */
INLINE vector fetch(const void *x, size_t n, packing how)
{
    if (how == REAL) return load_some(x, n);
    if (how == ROUNDED) return round_to_bf16(load_some(x, n));
    return (vector)(__builtin_convertvector(load_some_halves(x, n), bits) << 16);
}

#if defined(__AVX512BF16__)

/* LANES pairs from the n <= 2 LANES numbers at x, which follow each other along k. */
INLINE vector fetch_pairs(const void *x, size_t n, packing how)
{
    if (how == STORED_PAIRS)
        return (vector)_mm512_maskz_loadu_epi16(n == 32 ? 0xffffffffu : (__mmask32)((1u << n) - 1), x);
    size_t low = n < LANES ? n : LANES;
    vector first = load_some(x, low);
    vector second = n > LANES ? load_some((const float *)x + LANES, n - LANES) : (vector){0};
    return (vector)(__m512i)_mm512_cvtne2ps_pbh((__m512)second, (__m512)first);
}

/* LANES pairs of the n <= LANES numbers at x, each with the next number along k at y; y NULL: with zero. */
INLINE vector join_pairs(const void *x, const void *y, size_t n, packing how)
{
    const __m512i interleaved = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8,
        23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    __m512i both;
    if (how == STORED_PAIRS) {
        halves first = load_some_halves(x, n), second = y ? load_some_halves(y, n) : (halves){0};
        both = _mm512_inserti64x4(_mm512_castsi256_si512((__m256i)first), (__m256i)second, 1);
    } else {
        vector first = load_some(x, n), second = y ? load_some(y, n) : (vector){0};
        both = (__m512i)_mm512_cvtne2ps_pbh((__m512)second, (__m512)first);
    }
    return (vector)_mm512_permutexvar_epi16(interleaved, both);
}

#endif

/*
 * A step of a transposition exchanges the blocks of `h` lanes off the diagonal of two rows that are `h`
 * apart.
 */
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

INLINE void transpose(vector row[LANES]){
#if LANES == 16
    EXCHANGE(row, 8)
#endif
        EXCHANGE(row, 4) EXCHANGE(row, 2) EXCHANGE(row, 1)}

INLINE const void *number_at(const cb_gemm_lines *x, size_t line, size_t step, packing how)
{
    size_t at = line * x->line + step * x->step;
    return IS_BF16(how) ? (const void *)((const cb_bf16 *)x->numbers + at)
                        : (const void *)((const float *)x->numbers + at);
}

/* LANES elements along one line, from number q on. */
INLINE vector fetch_along(const cb_gemm_lines *x, size_t line, size_t q, packing how)
{
    size_t left = x->length - q, most = LANES * IN_ELEMENT(how), n = left < most ? left : most;
#if defined(__AVX512BF16__)
    if (IN_ELEMENT(how) == 2) return fetch_pairs(number_at(x, line, q, how), n, how);
#endif
    return fetch(number_at(x, line, q, how), n, how);
}

/* The element with number q of n <= LANES lines. */
INLINE vector fetch_across(const cb_gemm_lines *x, size_t line, size_t n, size_t q, packing how)
{
#if defined(__AVX512BF16__)
    if (IN_ELEMENT(how) == 2)
        return join_pairs(
            number_at(x, line, q, how), q + 1 < x->length ? number_at(x, line, q + 1, how) : NULL, n, how);
#endif
    return fetch(number_at(x, line, q, how), n, how);
}

/* One panel of `here` lines that are rows in memory: transposes blocks of LANES lines and LANES elements. */
INLINE void pack_rows(
    float *panel, size_t width, const cb_gemm_lines *x, size_t line, size_t here, packing how)
{
    size_t elements = (x->length + IN_ELEMENT(how) - 1) / IN_ELEMENT(how);
    for (size_t p = 0; p < elements; p += LANES)
        for (size_t first = 0; first < width; first += LANES) {
            size_t block = width - first < LANES ? width - first : LANES;
            size_t steps = elements - p < LANES ? elements - p : LANES;
            vector row[LANES];
#pragma GCC unroll 16
            for (size_t i = 0; i < LANES; i++)
                row[i] = first + i < here ? fetch_along(x, line + first + i, p * IN_ELEMENT(how), how)
                                          : (vector){0};
#pragma GCC unroll 16
            for (size_t i = 0; i < block;
                i++) /* the next panel: rows are too short for the CPU's prefetcher */
                __builtin_prefetch(number_at(x, line + width + first + i, p * IN_ELEMENT(how), how), 0, 2);
            transpose(row);
            if (steps == LANES) {
#pragma GCC unroll 16
                for (size_t i = 0; i < LANES; i++)
                    memcpy(panel + (p + i) * width + first, &row[i], block * sizeof(float));
            } else
                for (size_t i = 0; i < steps; i++)
                    memcpy(panel + (p + i) * width + first, &row[i], block * sizeof(float));
        }
}

/*
 * The number of rows in memory that are packed into the panels together, so that each panel is written in
 * longer runs and not in single cache lines.
 */
#define STRETCH 16

/* Lines are columns in memory: reads along the rows. */
INLINE void pack_columns(
    float *panels, size_t panel_stride, size_t width, const cb_gemm_lines *x, size_t count, packing how)
{
    size_t elements = (x->length + IN_ELEMENT(how) - 1) / IN_ELEMENT(how);
    for (size_t begin = 0; begin < elements; begin += STRETCH) {
        size_t end = elements - begin < STRETCH ? elements : begin + STRETCH;
        float *panel = panels;
        for (size_t line = 0; line < count; line += width, panel += panel_stride)
            for (size_t p = begin; p < end; p++)
#pragma GCC unroll 2
                for (size_t first = 0; first < width; first += LANES) {
                    size_t block = width - first < LANES ? width - first : LANES;
                    size_t left = line + first < count ? count - line - first : 0;
                    vector v = fetch_across(
                        x, left ? line + first : line, left < block ? left : block, p * IN_ELEMENT(how), how);
                    for (size_t i = 0; i < IN_ELEMENT(how); i++)
                        __builtin_prefetch(
                            number_at(x, line + first, (p + STRETCH) * IN_ELEMENT(how) + i, how), 0, 2);
                    memcpy(panel + p * width + first, &v, block * sizeof(float));
                }
    }
}

INLINE void pack_width(
    float *panels, size_t panel_stride, size_t width, const cb_gemm_lines *x, size_t count, packing how)
{
    if (x->line == 1) {
        pack_columns(panels, panel_stride, width, x, count, how);
        return;
    }
    for (size_t line = 0; line < count; line += width, panels += panel_stride)
        pack_rows(panels, width, x, line, count - line < width ? count - line : width, how);
}

INLINE void pack_as(
    float *panels, size_t panel_stride, cb_gemm_side side, const cb_gemm_lines *x, size_t count, packing how)
{
    if (side == CB_GEMM_A) /* constant widths make constant copies */
        pack_width(panels, panel_stride, MR, x, count, how);
    else
        pack_width(panels, panel_stride, NR, x, count, how);
}

static void pack(float *panels, size_t panel_stride, cb_gemm_side side, const cb_gemm_lines *x, size_t count)
{
    pack_as(panels, panel_stride, side, x, count, REAL);
}

#if defined(__AMX_BF16__)

/* The tile of A with SIDE lines from one on, and SIDE elements from number q on. */
INLINE void pack_tile(float *tile, const cb_gemm_lines *x, size_t line, size_t here, size_t q, packing how)
{
    vector row[SIDE] = {{0}};
    size_t steps = (x->length - q + 1) / 2;
    if (x->line != 1)
#pragma GCC unroll 16
        for (size_t i = 0; i < SIDE; i++) {
            if (i < here) row[i] = fetch_along(x, line + i, q, how);
            __builtin_prefetch(number_at(x, line + MR_TILES + i, q, how), 0, 2);
        }
    else {
#pragma GCC unroll 16
        for (size_t i = 0; i < SIDE; i++)
            if (i < steps) row[i] = fetch_across(x, line, here, q + 2 * i, how);
        transpose(row);
    }
    memcpy(tile, row, sizeof row);
}

INLINE void pack_a_tiles(
    float *panels, size_t panel_stride, const cb_gemm_lines *x, size_t count, packing how)
{
    for (size_t line = 0; line < count; line += MR_TILES, panels += panel_stride)
        for (size_t q = 0; q < x->length; q += 2 * SIDE)
            for (size_t half = 0; half < MR_TILES; half += SIDE) {
                size_t left = line + half < count ? count - line - half : 0,
                       at = q / 2 * MR_TILES + half * SIDE;
                pack_tile(panels + at, x, left ? line + half : line, left < SIDE ? left : SIDE, q, how);
            }
}

INLINE void pack_b_tiles(
    float *panels, size_t panel_stride, const cb_gemm_lines *x, size_t count, packing how)
{
    size_t elements = (x->length + 1) / 2, more = (SIDE - elements % SIDE) % SIDE;
    pack_width(panels, panel_stride, NR_TILES, x, count, how);
    for (size_t line = 0; line < count && more; line += NR_TILES, panels += panel_stride)
        memset(panels + elements * NR_TILES, 0, more * NR_TILES * sizeof *panels);
}

INLINE void pack_tiles(
    float *panels, size_t panel_stride, cb_gemm_side side, const cb_gemm_lines *x, size_t count, packing how)
{
    if (side == CB_GEMM_A)
        pack_a_tiles(panels, panel_stride, x, count, how);
    else
        pack_b_tiles(panels, panel_stride, x, count, how);
}

#endif

/* Packs operands of products in bfloat16: stored numbers one way, real numbers another. */
#if defined(__AMX_BF16__)
#define PACK_BF16(...) \
    (x->bf16 ? pack_tiles(__VA_ARGS__, STORED_PAIRS) : pack_tiles(__VA_ARGS__, ROUNDED_PAIRS))
#elif defined(__AVX512BF16__)
#define PACK_BF16(...) (x->bf16 ? pack_as(__VA_ARGS__, STORED_PAIRS) : pack_as(__VA_ARGS__, ROUNDED_PAIRS))
#else
#define PACK_BF16(...) (x->bf16 ? pack_as(__VA_ARGS__, WIDENED) : pack_as(__VA_ARGS__, ROUNDED))
#endif

static void pack_bf16(
    float *panels, size_t panel_stride, cb_gemm_side side, const cb_gemm_lines *x, size_t count)
{
    PACK_BF16(panels, panel_stride, side, x, count);
}

#define TEXT_(x) #x
#define TEXT(x) TEXT_(x)
#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)
#define NAME .name = "cribo-" TEXT(CB_LEVEL)
#define SHAPE NAME, .mr = MR, .nr = NR, .mc = MC, .kc = KC, .nc = NC, .k_grain = 1

const cb_gemm_level JOIN(cb_gemm_level_, CB_LEVEL) = {
    .real = {SHAPE, .in_element = 1, .multiply = multiply, .multiply_unpacked = multiply_unpacked,
        .pack = pack},
#if defined(__AMX_BF16__)
    .bf16 = {NAME, .mr = MR_TILES, .nr = NR_TILES, .mc = MC_TILES, .kc = KC_TILES, .nc = NC, .k_grain = SIDE,
        .in_element = 2, .begin = begin_tiles, .end = end_tiles, .multiply = multiply_pairs,
        .multiply_unpacked = multiply_unpacked_pairs, .pack = pack_bf16},
#elif defined(__AVX512BF16__)
    .bf16 = {SHAPE, .in_element = 2, .multiply = multiply_pairs, .multiply_unpacked = multiply_unpacked_pairs,
        .pack = pack_bf16},
#else
    .bf16 = {SHAPE, .in_element = 1, .multiply = multiply, .multiply_unpacked = multiply_unpacked,
        .pack = pack_bf16},
#endif
};
