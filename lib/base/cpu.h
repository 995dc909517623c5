/*
 * The instructions of this CPU, as levels for which kernels are compiled. Detected by features, never by
 * family. The environment variable CRIBO_CPU (a level's name) caps the level, so that tests reach every path.
 */
#ifndef CB_BASE_CPU_H
#define CB_BASE_CPU_H

#include <stddef.h>

typedef enum cb_cpu_level {
    CB_CPU_GENERIC = 0,    /* the compiler's baseline: SSE2 on x86-64, NEON on arm64 */
    CB_CPU_AVX2 = 1,       /* AVX2, FMA */
    CB_CPU_AVX512 = 2,     /* AVX-512 F, BW, DQ, VL */
    CB_CPU_AVX512BF16 = 3, /* and products of bfloat16 */
    CB_CPU_AMX = 4         /* and tiles of bfloat16 */
} cb_cpu_level;

cb_cpu_level cb_cpu(void);
const char *cb_cpu_level_name(cb_cpu_level level);

/*
 * The names of this CPU's features that the library uses, quoted and separated by commas; not capped by
 * CRIBO_CPU.
 */
void cb_cpu_features(char *text, size_t size);

#endif
