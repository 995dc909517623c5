/* Where numbers stop being finite. See finite.h. */
#include "tensor/finite.h"

/* x - x is zero for a number, and NaN for an infinity or a NaN. No early exit: the loop is one sweep of vectors. */
static bool all_finite(const cb_real *x, size_t n)
{
    int strange = 0;
    for (size_t i = 0; i < n; i++) strange |= x[i] - x[i] != 0;
    return !strange;
}

size_t cb_first_not_finite(const cb_real *x, size_t n)
{
    enum { STRETCH = 4096 };
    for (size_t begin = 0; begin < n; begin += STRETCH) {
        size_t length = n - begin < STRETCH ? n - begin : STRETCH;
        if (all_finite(x + begin, length)) continue;
        while (x[begin] - x[begin] == 0) begin++;
        return begin;
    }
    return n;
}
