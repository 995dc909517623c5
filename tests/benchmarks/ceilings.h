/*
 * Speed as a share of the machine's peak. Machines are shared and clocks vary: one
 * thread is timed by what it ran, each repeat measures its ceiling right beside the work, and the shares'
 * median counts.
 */
#ifndef BENCHMARKS_CEILINGS_H
#define BENCHMARKS_CEILINGS_H

#include "base/cpu.h"
#include "base/pool.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#ifndef REPEATS
#define REPEATS 9
#endif

typedef void work(void *context);

static cb_pool *workers; /* the measured threads */

/* CPU time of this thread if it works alone, otherwise wall-clock time. */
static inline double seconds(void)
{
    struct timespec now;
    clock_gettime(cb_pool_threads(workers) == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static inline double rate(work *run, void *context, double amount)
{
    double begin = seconds();
    size_t times = 0;
    do {
        run(context);
        times++;
    } while (seconds() - begin < 0.01);
    return (double)times * amount / (seconds() - begin);
}

static inline int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

typedef struct ceiling {
    work *run;
    void *context;
    double amount;
    const char *unit;
} ceiling;

static inline void report(const char *name, work *run, void *context, double amount, const ceiling *most)
{
    double rates[REPEATS], shares[REPEATS];
    rate(run, context, amount);
    for (int i = 0; i < REPEATS; i++) {
        double before = rate(most->run, most->context, most->amount);
        rates[i] = rate(run, context, amount);
        double after = rate(most->run, most->context, most->amount);
        shares[i] = 2 * rates[i] / (before + after);
    }
    qsort(rates, REPEATS, sizeof *rates, ascending);
    qsort(shares, REPEATS, sizeof *shares, ascending);
    printf("  %-34s %8.1f %s  %5.1f %%\n", name, rates[REPEATS / 2] * 1e-9, most->unit,
        100 * shares[REPEATS / 2]);
}

/* 16 independent chains of FMAs in registers. */
#define CHAINS 16
#define ROUNDS 20000
#define DEFINE_BURN(name, attribute, lanes, constraint) \
    attribute static void name(void) \
    { \
        typedef float vector __attribute__((vector_size(4 * lanes))); \
        vector chain[CHAINS] = {{0}}, factor = {0}, zero = {0}; \
        for (int round = 0; round < ROUNDS; round++) \
            _Pragma("GCC unroll 16") for (int i = 0; i < CHAINS; i++) \
            { \
                chain[i] = chain[i] * factor + zero; \
                __asm__ volatile("" : constraint(chain[i])); \
            } \
    }

#if defined(__x86_64__)
DEFINE_BURN(burn_generic, , 4, "+x")
DEFINE_BURN(burn_avx2, __attribute__((target("avx2,fma"))), 8, "+x")
DEFINE_BURN(burn_avx512, __attribute__((target("avx512f"))), 16, "+v")
static void (*const burns[])(void) = {burn_generic, burn_avx2, burn_avx512};
static const double burn_lanes[] = {4, 8, 16};
#else
DEFINE_BURN(burn_generic, , 4, "+w")
static void (*const burns[])(void) = {burn_generic};
static const double burn_lanes[] = {4};
#endif

static inline size_t level(void)
{
    size_t levels = sizeof burns / sizeof burns[0];
    return (size_t)cb_cpu() < levels ? (size_t)cb_cpu() : levels - 1;
}

static inline void burn_task(void *context, size_t task, size_t worker)
{
    (void)context, (void)task, (void)worker;
    burns[level()]();
}

static inline void burn(void *context)
{
    (void)context;
    cb_pool_run(workers, cb_pool_threads(workers), burn_task, NULL);
}

static inline ceiling fma_peak(void)
{
    double each = 2.0 * CHAINS * ROUNDS * burn_lanes[level()];
    return (ceiling){burn, NULL, each * (double)cb_pool_threads(workers), "GFLOP/s"};
}

#if defined(__x86_64__)
__attribute__((target("avx512f,avx512bf16"))) static inline void burn_pairs(void)
{
    __m512 chain[CHAINS] = {{0}}, zero = {0};
    for (int round = 0; round < ROUNDS; round++)
#pragma GCC unroll 16
        for (int i = 0; i < CHAINS; i++) {
            chain[i] = _mm512_dpbf16_ps(chain[i], (__m512bh)zero, (__m512bh)zero);
            __asm__ volatile("" : "+v"(chain[i]));
        }
}

static inline void burn_pairs_task(void *context, size_t task, size_t worker)
{
    (void)context, (void)task, (void)worker;
    burn_pairs();
}

static inline void burn_bf16(void *context)
{
    (void)context;
    cb_pool_run(workers, cb_pool_threads(workers), burn_pairs_task, NULL);
}
#endif

#ifdef CB_AMX
#define TILE_CHAINS 4

__attribute__((target("amx-tile,amx-bf16"))) static inline void burn_tiles(void)
{
    static const struct {
        uint8_t palette, start_row, reserved[14];
        uint16_t row_bytes[16];
        uint8_t rows[16];
    } shapes = {.palette = 1, .row_bytes = {64, 64, 64, 64, 64, 64}, .rows = {16, 16, 16, 16, 16, 16}};
    _tile_loadconfig(&shapes);
    for (int round = 0; round < ROUNDS; round++) {
        _tile_dpbf16ps(0, 4, 5);
        _tile_dpbf16ps(1, 4, 5);
        _tile_dpbf16ps(2, 4, 5);
        _tile_dpbf16ps(3, 4, 5);
    }
    _tile_release();
}

static inline void burn_tiles_task(void *context, size_t task, size_t worker)
{
    (void)context, (void)task, (void)worker;
    burn_tiles();
}

static inline void burn_amx(void *context)
{
    (void)context;
    cb_pool_run(workers, cb_pool_threads(workers), burn_tiles_task, NULL);
}
#endif

/* The peak of products of bfloat16; of floats if the CPU has no such instructions. */
static inline ceiling bf16_peak(void)
{
    ceiling peak = fma_peak();
#ifdef CB_AMX
    if (cb_cpu() == CB_CPU_AMX)
        return (ceiling){burn_amx, NULL,
            2.0 * TILE_CHAINS * ROUNDS * 16 * 16 * 32 * (double)cb_pool_threads(workers), "GFLOP/s"};
#endif
#if defined(__x86_64__)
    if (cb_cpu() < CB_CPU_AVX512BF16) return peak;
    peak.run = burn_bf16;
    peak.amount = 4.0 * CHAINS * ROUNDS * 16 * (double)cb_pool_threads(workers);
#endif
    return peak;
}

#endif
