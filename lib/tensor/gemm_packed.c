/*
 * Products by a packed operand. See gemm_packed.h. Our kernels multiply floats; in double precision there are
 * no kernels, and casts do nothing.
 */
#include "tensor/gemm_packed.h"

#include "base/memory.h"
#include "tensor/gemm_kernels.h"

/*
 * B is packed in blocks of k of about equal size, no larger than those of the kernels, panel after panel. A
 * block that begins with element p is stored p times the number of columns (in whole panels) behind the
 * first.
 */
#define BLOCK_GRAIN CB_GEMM_MOST_K_GRAIN

static size_t elements_of(const cb_gemm_packed *b)
{
    return cb_gemm_elements(b->kernels, b->k);
}

static size_t blocks_of(const cb_gemm_packed *b)
{
    return (elements_of(b) + b->kernels->kc - 1) / b->kernels->kc;
}

static cb_range block_of(const cb_gemm_packed *b, size_t block)
{
    return cb_part(elements_of(b), block, blocks_of(b), BLOCK_GRAIN);
}

static size_t panels_of(const cb_gemm_packed *b)
{
    return (b->n + b->kernels->nr - 1) / b->kernels->nr;
}

/* The panel of a block that begins with column j. */
static float *panel_at(const cb_gemm_packed *b, cb_range block, size_t j)
{
    size_t nr = b->kernels->nr;
    return b->panels + block.begin * panels_of(b) * nr + j * (block.end - block.begin);
}

/* Lines cut down to the numbers of one block. */
static cb_gemm_lines lines_in(const cb_gemm_packed *b, cb_gemm_lines lines, size_t line, cb_range block)
{
    size_t in_element = b->kernels->in_element;
    lines = cb_gemm_lines_from(lines, line, block.begin * in_element);
    lines.length = cb_min(lines.length, (block.end - block.begin) * in_element);
    return lines;
}

size_t cb_gemm_packed_size(size_t n, size_t k)
{
    return (n + CB_GEMM_MOST_NR - 1) * cb_max(k, CB_GEMM_MOST_K_GRAIN);
}

size_t cb_gemm_panels_size(cb_gemm_packed b)
{
    b.kernels = cb_gemm_own_kernels(b.bf16);
    return b.kernels ? elements_of(&b) * panels_of(&b) * b.kernels->nr : 0;
}

size_t cb_gemm_rows_size(size_t m, size_t k)
{
    size_t most_k = cb_min(cb_max(k, CB_GEMM_MOST_K_GRAIN), CB_GEMM_MOST_KC);
    return cb_min(m + CB_GEMM_MOST_MR - 1, CB_GEMM_MOST_MC) * most_k;
}

typedef struct panel_job {
    const cb_gemm_packed *b;
    size_t parts; /* of the panels */
} panel_job;

static void pack_part(void *context, size_t task, size_t worker)
{
    const panel_job *job = context;
    const cb_gemm_packed *b = job->b;
    size_t nr = b->kernels->nr;
    cb_range block = block_of(b, task / job->parts);
    cb_range panels = cb_part(panels_of(b), task % job->parts, job->parts, 1);
    size_t first = panels.begin * nr, end = cb_min(panels.end * nr, b->n);
    (void)worker;
    if (first >= end) return;
    cb_gemm_lines columns = lines_in(b, cb_gemm_lines_of(b->b, b->form == CB_NT, b->k), first, block);
    b->kernels->pack(
        panel_at(b, block, first), (block.end - block.begin) * nr, CB_GEMM_B, &columns, end - first);
}

cb_gemm_packed cb_gemm_pack(cb_pool *pool, cb_gemm_packed b, cb_real *memory)
{
    b.kernels = cb_gemm_own_kernels(b.bf16);
    if (!b.kernels || b.k == 0) return b;
    b.panels = (float *)memory;
    panel_job job = {&b, cb_pool_threads(pool)};
    cb_pool_run(pool, blocks_of(&b) * job.parts, pack_part, &job);
    return b;
}

/* Rows of A are packed if they are multiplied by more columns than these. */
#define FEW_COLUMNS 256

/* Whether the elements of A are multiplied in place: floats, or pairs that are adjacent in memory. */
static bool is_ready(const cb_gemm_packed *b, cb_gemm_operand a)
{
    if (b->n > FEW_COLUMNS) return false;
    if (!b->bf16) return true;
    bool pairs = b->kernels->in_element == 2 && a.bf16 && b->form != CB_TN;
    return pairs && b->k % (2 * b->kernels->k_grain) == 0 && a.stride % 2 == 0 &&
           (uintptr_t)a.numbers % sizeof(float) == 0;
}

/* Some rows of A within one block of k, and the destination of their products. */
typedef struct block_rows {
    size_t m;
    cb_gemm_lines lines;
    bool ready; /* whole tiles of rows are multiplied in place */
    bool accumulate;
    float *c;
    size_t c_stride;
} block_rows;

/* C += A B for one block of k and at most as many rows as a block of A holds. */
static void multiply_block(
    const cb_gemm_packed *b, cb_range columns, cb_range block, const block_rows *rows, float *memory)
{
    const cb_gemm_kernels *kernels = b->kernels;
    size_t k = block.end - block.begin, mr = kernels->mr, nr = kernels->nr, m = rows->m;
    size_t unpacked = rows->ready ? m / mr * mr : 0, c_stride = rows->c_stride;
    size_t a_row = rows->lines.line == 1 ? 1 : rows->lines.line / kernels->in_element;
    bool accumulate = rows->accumulate;
    cb_gemm_lines others = cb_gemm_lines_from(rows->lines, unpacked, 0);
    if (unpacked < m) kernels->pack(memory, k * mr, CB_GEMM_A, &others, m - unpacked);
    for (size_t j = columns.begin; j < columns.end; j += nr) {
        const float *panel = panel_at(b, block, j);
        float *c_j = rows->c + (j - columns.begin);
        size_t n = cb_min(columns.end - j, nr);
        for (size_t i = 0; i < unpacked; i += mr) {
            cb_gemm_lines a = cb_gemm_lines_from(rows->lines, i, 0);
            kernels->multiply_unpacked(n, k, a.numbers, a_row, a.step, panel, accumulate, c_j + i * c_stride,
                (ptrdiff_t)c_stride, 1);
        }
        for (size_t i = unpacked; i < m; i += mr)
            kernels->multiply(cb_min(m - i, mr), n, k, memory + (i - unpacked) * k, panel, accumulate,
                c_j + i * c_stride, (ptrdiff_t)c_stride, 1);
    }
}

static void multiply_panels(
    const cb_gemm_packed *b, cb_range columns, const cb_gemm_rows *rows, float *memory)
{
    cb_gemm_lines lines = cb_gemm_lines_of(rows->a, b->form != CB_TN, b->k);
    bool ready = is_ready(b, rows->a);
    size_t most = b->kernels->mc;
    if (b->kernels->begin) b->kernels->begin();
    for (size_t i = 0; i < rows->m; i += most)
        for (size_t block = 0; block < blocks_of(b); block++) {
            cb_range elements = block_of(b, block);
            block_rows some = {cb_min(rows->m - i, most), lines_in(b, lines, i, elements), ready,
                rows->c.accumulate || block > 0, (float *)rows->c.numbers + i * rows->c.stride,
                rows->c.stride};
            multiply_block(b, columns, elements, &some, memory);
        }
    if (b->kernels->end) b->kernels->end();
}

void cb_gemm_by_packed(const cb_gemm_packed *b, cb_range columns, const cb_gemm_rows *rows, cb_real *memory)
{
    if (b->panels) {
        multiply_panels(b, columns, rows, (float *)memory);
        return;
    }
    size_t skipped = columns.begin * (b->form == CB_NT ? b->b.stride : 1);
    cb_gemm(NULL, &(cb_gemm_job){.form = b->form,
                      .m = rows->m,
                      .n = columns.end - columns.begin,
                      .k = b->k,
                      .a = rows->a,
                      .b = cb_gemm_at(b->b, skipped),
                      .c = rows->c,
                      .bf16 = b->bf16});
}

cb_gemm_grid cb_gemm_tiles(const cb_gemm_packed *b, const cb_pool *pool, size_t m)
{
    cb_gemm_grid grid = cb_gemm_cut(cb_pool_threads(pool), m, b->n, b->k, b->bf16, b->panels != NULL);
    size_t rows = (m + grid.row_parts - 1) / grid.row_parts;
    if (b->panels || b->bf16) grid.row_parts *= (rows + CB_GEMM_TILE_ROWS - 1) / CB_GEMM_TILE_ROWS;
    return grid;
}

typedef struct tiled_product {
    const cb_gemm_packed *b;
    const cb_gemm_rows *rows;
    const cb_row_buffers *memory;
    const cb_gemm_finish *finish;
    cb_gemm_grid grid;
} tiled_product;

static void multiply_tile(void *context, size_t task, size_t worker)
{
    const tiled_product *p = context;
    cb_gemm_tile tile = cb_gemm_tile_of(&p->grid, task);
    size_t m = tile.rows.end - tile.rows.begin, n = tile.columns.end - tile.columns.begin;
    const cb_row_buffers *buffers = p->finish ? p->finish->buffers : NULL;
    if (m == 0 || n == 0) return;
    cb_gemm_rows rows = {m, cb_gemm_rows_from(p->b, p->rows->a, tile.rows.begin),
        buffers ? (cb_gemm_result){cb_row_buffer(buffers, worker), n, false}
                : cb_gemm_result_at(p->rows->c, tile.rows.begin, tile.columns.begin)};
    cb_gemm_by_packed(p->b, tile.columns, &rows, cb_row_buffer(p->memory, worker));
    if (p->finish) p->finish->tile(p->finish->context, &tile, rows.c.numbers, rows.c.stride);
}

void cb_gemm_in_tiles(cb_pool *pool, const cb_gemm_packed *b, const cb_gemm_rows *rows,
    const cb_row_buffers *memory, const cb_gemm_finish *finish)
{
    tiled_product p = {b, rows, memory, finish, cb_gemm_tiles(b, pool, rows->m)};
    cb_pool_run(pool, p.grid.row_parts * p.grid.column_parts, multiply_tile, &p);
}
