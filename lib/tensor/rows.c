/* Chooses the row kernels once. See rows.h. */
#include "tensor/rows.h"

#include "base/cpu.h"

#include <math.h>
#include <stddef.h>

extern const cb_row_kernels cb_row_kernels_generic;
#if defined(__x86_64__) && !defined(CB_DOUBLE)
#define CB_ROW_LEVELS 1
extern const cb_row_kernels cb_row_kernels_avx2;
extern const cb_row_kernels cb_row_kernels_avx512;
#endif

const cb_row_kernels *cb_rows(void)
{
#ifdef CB_ROW_LEVELS
    switch (cb_cpu()) {
    case CB_CPU_AMX:
    case CB_CPU_AVX512BF16:
    case CB_CPU_AVX512: return &cb_row_kernels_avx512;
    case CB_CPU_AVX2: return &cb_row_kernels_avx2;
    case CB_CPU_GENERIC: break;
    }
#endif
    return &cb_row_kernels_generic;
}

cb_real cb_normalise_row(cb_real *y, const cb_real *x, size_t n)
{
    const cb_real smallest = (cb_real)1e-12;
    cb_real length = (cb_real)sqrt((double)cb_rows()->dot(x, x, n));
    cb_real inverse = 1 / (length > smallest ? length : smallest);
    cb_rows()->scale(y, x, inverse, n);
    return inverse;
}
