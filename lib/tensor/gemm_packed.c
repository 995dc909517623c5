/* Products by a packed operand. See gemm_packed.h. Our kernels multiply floats: in double precision there are none, and casts do nothing. */
#include "tensor/gemm_packed.h"

#include "base/memory.h"
#include "tensor/gemm_kernels.h"

/* Panels of B, whole, and one of A. */
size_t cb_gemm_packed_size(size_t n, size_t k)
{
    return (n + CB_GEMM_MOST_NR - 1 + CB_GEMM_MOST_MR) * k;
}

static size_t elements(const cb_gemm_packed *b)
{
    return (b->k + b->kernels->in_element - 1) / b->kernels->in_element;
}

cb_gemm_packed cb_gemm_pack(
    bool bf16, cb_gemm_form form, size_t n, size_t k, cb_gemm_operand b, cb_real *memory)
{
    cb_gemm_packed packed = {.form = form, .bf16 = bf16, .n = n, .k = k, .b = b};
    packed.kernels = cb_gemm_own_kernels(bf16);
    if (!packed.kernels || k == 0) return packed;
    size_t nr = packed.kernels->nr, stride = elements(&packed) * nr;
    cb_gemm_lines columns = cb_gemm_lines_of(b, form == CB_NT, k);
    packed.panels = (float *)memory;
    packed.a_panel = packed.panels + (n + nr - 1) / nr * stride;
    packed.kernels->pack(packed.panels, stride, nr, &columns, n);
    return packed;
}

/* Whether the elements of A are multiplied where they are: as floats, or in pairs that lie side by side. */
static bool is_ready(const cb_gemm_packed *b, cb_gemm_operand a)
{
    if (!b->bf16) return true;
    bool pairs = b->kernels->in_element == 2 && a.bf16 && b->form != CB_TN;
    return pairs && b->k % 2 == 0 && a.stride % 2 == 0 && (uintptr_t)a.numbers % sizeof(float) == 0;
}

/* Some rows of C, no more than a tile has. */
static void multiply_rows(const cb_gemm_packed *b, size_t m, const cb_gemm_lines *rows, bool ready,
    bool accumulate, float *c, size_t c_stride)
{
    const cb_gemm_kernels *kernels = b->kernels;
    size_t k = elements(b), nr = kernels->nr;
    size_t a_row = rows->line == 1 ? 1 : rows->line / kernels->in_element;
    const float *panel = b->panels;
    bool as_it_is = ready && m == kernels->mr;
    if (!as_it_is) kernels->pack(b->a_panel, 0, kernels->mr, rows, m);
    for (size_t j = 0; j < b->n; j += nr, panel += k * nr) {
        size_t n = cb_least(b->n - j, nr);
        if (as_it_is)
            kernels->multiply_unpacked(
                n, k, rows->numbers, a_row, rows->step, panel, accumulate, c + j, (ptrdiff_t)c_stride, 1);
        else
            kernels->multiply(m, n, k, b->a_panel, panel, accumulate, c + j, (ptrdiff_t)c_stride, 1);
    }
}

static void multiply_panels(
    const cb_gemm_packed *b, size_t m, cb_gemm_operand a, bool accumulate, cb_real *c, size_t c_stride)
{
    cb_gemm_lines rows = cb_gemm_lines_of(a, b->form != CB_TN, b->k);
    bool ready = is_ready(b, a);
    for (size_t i = 0; i < m; i += b->kernels->mr) {
        cb_gemm_lines some = cb_gemm_lines_from(rows, i, 0);
        multiply_rows(b, cb_least(m - i, b->kernels->mr), &some, ready, accumulate, (float *)c + i * c_stride,
            c_stride);
    }
}

void cb_gemm_by_packed(
    const cb_gemm_packed *b, size_t m, cb_gemm_operand a, bool accumulate, cb_real *c, size_t c_stride)
{
    if (b->panels)
        multiply_panels(b, m, a, accumulate, c, c_stride);
    else
        cb_gemm_operands(NULL, b->bf16, b->form, m, b->n, b->k, a, b->b, accumulate, c, c_stride);
}
