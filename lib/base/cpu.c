/* The CPU level, detected once. See cpu.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* secure_getenv */
#endif
#include "base/cpu.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__) && defined(__linux__) && defined(CB_AMX)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

static cb_cpu_level detected;
static pthread_once_t detect_once = PTHREAD_ONCE_INIT;

#if defined(__x86_64__) && defined(__linux__) && defined(CB_AMX)

/*
 * Whether the CPU has tiles of bfloat16, and Linux lets this process use them: it asks for that once, because
 * the registers take 8 KiB more in each thread's saved state and on signal stacks.
 */
static bool has_tiles(void)
{
    enum { REQUEST = 0x1023 /* ARCH_REQ_XCOMP_PERM */, TILE_DATA = 18 /* XFEATURE_XTILEDATA */ };
    unsigned a, b, c, d;
    bool has = __get_cpuid_count(7, 0, &a, &b, &c, &d) && d >> 22 & 1 && d >> 24 & 1;
    return has && syscall(SYS_arch_prctl, REQUEST, TILE_DATA) == 0;
}

#else

static bool has_tiles(void)
{
    return false;
}

#endif

static cb_cpu_level supported(void)
{
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        return __builtin_cpu_supports("avx512bf16") ? CB_CPU_AVX512BF16 : CB_CPU_AVX512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return CB_CPU_AVX2;
#endif
    return CB_CPU_GENERIC;
}

static void detect(void)
{
    const char *cap = secure_getenv("CRIBO_CPU");
    detected = supported();
    for (cb_cpu_level level = CB_CPU_GENERIC; cap && level < detected; level++)
        if (strcmp(cap, cb_cpu_level_name(level)) == 0) detected = level;
    /* Last, so that a cap also avoids the request. */
    bool capped = cap && strcmp(cap, cb_cpu_level_name(CB_CPU_AVX512BF16)) == 0;
    if (detected == CB_CPU_AVX512BF16 && !capped && has_tiles()) detected = CB_CPU_AMX;
}

cb_cpu_level cb_cpu(void)
{
    pthread_once(&detect_once, detect);
    return detected;
}

/* Appends a name to a list. */
static void add_feature(char *text, size_t size, const char *name)
{
    size_t length = strlen(text);
    snprintf(text + length, size - length, "%s\"%s\"", length ? ", " : "", name);
}

void cb_cpu_features(char *text, size_t size)
{
    *text = 0;
#if defined(__x86_64__)
    __builtin_cpu_init();
#define ADD(name) \
    if (__builtin_cpu_supports(name)) add_feature(text, size, name)
    ADD("sse4.2");
    ADD("avx");
    ADD("fma");
    ADD("avx2");
    ADD("avx512f");
    ADD("avx512bw");
    ADD("avx512dq");
    ADD("avx512vl");
    ADD("avx512bf16");
    if (cb_cpu() == CB_CPU_AMX) add_feature(text, size, "amx-bf16");
#undef ADD
#elif defined(__aarch64__)
    add_feature(text, size, "neon");
#else
    (void)add_feature, (void)size;
#endif
}

const char *cb_cpu_level_name(cb_cpu_level level)
{
    static const char *const names[] = {"generic", "avx2", "avx512", "avx512bf16", "amx"};
    return names[level];
}
