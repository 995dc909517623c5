/* The CPU level, detected once. See cpu.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* secure_getenv */
#endif
#include "base/cpu.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static cb_cpu_level detected;
static pthread_once_t detect_once = PTHREAD_ONCE_INIT;

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
#undef ADD
#elif defined(__aarch64__)
    add_feature(text, size, "neon");
#else
    (void)add_feature, (void)size;
#endif
}

const char *cb_cpu_level_name(cb_cpu_level level)
{
    static const char *const names[] = {"generic", "avx2", "avx512", "avx512bf16"};
    return names[level];
}
