/* Rounded sums. See rounding.h. */
#include "tensor/rounding.h"

#include "base/memory.h"
#include "tensor/rows.h"

#define STRIP 1024 /* numbers at a time, in the first-level cache */

void cb_round_to_bf16(cb_real *x, size_t n)
{
    cb_bf16 rounded[STRIP];
    for (size_t at = 0; at < n; at += STRIP) {
        size_t some = cb_min(STRIP, n - at);
        cb_rows()->to_bf16(rounded, x + at, some);
        cb_rows()->from_bf16(x + at, rounded, some);
    }
}

void cb_pack_bf16(cb_real *x, size_t n)
{
    cb_bf16 rounded[STRIP];
    for (size_t at = 0; at < n; at += STRIP) {
        size_t some = cb_min(STRIP, n - at);
        cb_rows()->to_bf16(rounded, x + at, some);
        memcpy((unsigned char *)x + at * sizeof *rounded, rounded, some * sizeof *rounded); /* behind `at` */
    }
}

void cb_add_rounded(cb_real *x, const cb_bf16 *y, size_t n)
{
    cb_real more[STRIP];
    for (size_t at = 0; at < n; at += STRIP) {
        size_t some = cb_min(STRIP, n - at);
        cb_round_to_bf16(x + at, some);
        cb_rows()->from_bf16(more, y + at, some);
        for (size_t i = 0; i < some; i++) x[at + i] += more[i];
    }
}
