/*
 * Matrix products. See gemm.h.
 *
 * C is cut into slabs of rows and columns, never along k, and each slab is one single-threaded BLIS product
 * with the packing path forced, so an element of C is the same sequence of roundings in every slab.
 *
 * BLIS 0.9 permits a client to replace block sizes and micro-kernel in a copy of the context, and the packing
 * in the operands. This is done where the kernels of BLIS are slower (unknown CPUs, AVX-512); otherwise, and
 * with any other version, BLIS is called unchanged.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* secure_getenv; pthread_barrier_t for blis.h */
#endif
#include "tensor/gemm.h"

#include "base/cpu.h"
#include "tensor/gemm_kernels.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#if defined(__GNUC__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpedantic"
#pragma GCC diagnostic ignored "-Wunused-parameter"
#pragma GCC diagnostic ignored "-Wunused-function"
#pragma GCC diagnostic ignored "-Wshadow"
#pragma GCC diagnostic ignored "-Wstrict-prototypes"
#endif
#include CB_BLIS_HEADER
#if defined(__GNUC__)
#pragma GCC diagnostic pop
#endif

#ifdef CB_DOUBLE
#define CB_BLIS_TYPE BLIS_DOUBLE
#else
#define CB_BLIS_TYPE BLIS_FLOAT
#if defined(CB_BLIS_HOOKS) && defined(__x86_64__)
#define CB_OWN_KERNELS 1
#endif
#endif

/* The settings of BLIS for one arithmetic. */
typedef struct path {
    const cb_gemm_kernels *own; /* NULL: BLIS's */
#ifdef CB_BLIS_HOOKS
    cntx_t context;      /* BLIS's, with our kernels if there are any */
    cntx_t idle_context; /* the same block sizes, but its kernel does nothing */
#endif
} path;

/* The choice for this process, made once. */
static struct {
    path real, bf16; /* bf16 without kernels of our own: real, after rounding */
    bool blocked;    /* BLIS must not be called */
    bool poor;       /* BLIS has only its portable C kernels */
    bool hooks;      /* the loaded BLIS has the context of our header */
} chosen;
static pthread_once_t choose_once = PTHREAD_ONCE_INIT;

#ifdef CB_BLIS_HOOKS

typedef void micro_kernel(dim_t, dim_t, dim_t, cb_real *, cb_real *, cb_real *, cb_real *, cb_real *, inc_t,
    inc_t, auxinfo_t *, cntx_t *);

static void install_kernel(cntx_t *context, micro_kernel *kernel)
{
    void_fp address; /* POSIX permits a function's address in a void pointer; ISO C has no cast for it */
    memcpy(&address, &kernel, sizeof address);
    func_t kernels = *bli_cntx_get_l3_nat_ukrs(BLIS_GEMM_UKR, context);
    bli_func_set_dt(address, CB_BLIS_TYPE, &kernels);
    bli_cntx_set_l3_nat_ukr(BLIS_GEMM_UKR, &kernels, context);
    bli_cntx_set_l3_vir_ukr(BLIS_GEMM_UKR, &kernels, context);
}

#endif

#ifdef CB_OWN_KERNELS

/*
 * The micro-kernel as called by BLIS: C = alpha A B + beta C, with alpha 1, and beta 0 or 1. C's rows are
 * contiguous.
 */
static void multiply_real_panels(dim_t m, dim_t n, dim_t k, float *alpha, float *a, float *b, float *beta,
    float *c, inc_t c_row, inc_t c_column, auxinfo_t *data, cntx_t *context)
{
    (void)alpha, (void)data, (void)context;
    chosen.real.own->multiply((size_t)m, (size_t)n, (size_t)k, a, b, *beta != 0, c, c_row, c_column);
}

static void multiply_bf16_panels(dim_t m, dim_t n, dim_t k, float *alpha, float *a, float *b, float *beta,
    float *c, inc_t c_row, inc_t c_column, auxinfo_t *data, cntx_t *context)
{
    (void)alpha, (void)data, (void)context;
    chosen.bf16.own->multiply((size_t)m, (size_t)n, (size_t)k, a, b, *beta != 0, c, c_row, c_column);
}

/* An operand for our packing; BLIS only counts its elements. */
typedef struct operand_lines {
    const cb_gemm_kernels *kernels;
    cb_gemm_side side;
    cb_gemm_lines lines;
} operand_lines;

/*
 * Packs a block of either operand into panels, in place of bli_packm_blk_var1. BLIS has transposed it so that
 * its rows are the lines.
 */
static void pack_block(
    obj_t *block, obj_t *packed, cntx_t *context, rntm_t *runtime, cntl_t *control, thrinfo_t *thread)
{
    if (!bli_packm_init(block, packed, context, runtime, control, thread)) return;
    const operand_lines *job = bli_obj_pack_params(block);
    size_t in_element = job->kernels->in_element, length = (size_t)bli_obj_width(packed) * in_element;
    cb_gemm_lines lines = cb_gemm_lines_from(
        job->lines, (size_t)bli_obj_row_off(block), (size_t)bli_obj_col_off(block) * in_element);
    lines.length = cb_min(lines.length, length);
    job->kernels->pack(bli_obj_buffer(packed), (size_t)bli_obj_panel_stride(packed), job->side, &lines,
        (size_t)bli_obj_length(packed));
}

static const cb_gemm_level *own_level(void)
{
    switch (cb_cpu()) {
#ifdef CB_AMX
    case CB_CPU_AMX: return &cb_gemm_level_amx;
#else
    case CB_CPU_AMX:
#endif
    case CB_CPU_AVX512BF16: return &cb_gemm_level_avx512bf16;
    case CB_CPU_AVX512: return &cb_gemm_level_avx512;
    case CB_CPU_AVX2: return &cb_gemm_level_avx2;
    case CB_CPU_GENERIC: break;
    }
    return NULL;
}

static void set_block_size(cntx_t *context, bszid_t which, bszid_t multiple_of, size_t size)
{
    blksz_t sizes = *bli_cntx_get_blksz(which, context);
    bli_blksz_set_def((dim_t)size, BLIS_FLOAT, &sizes);
    bli_blksz_set_max((dim_t)size, BLIS_FLOAT, &sizes);
    bli_cntx_set_blksz(which, &sizes, multiple_of, context);
}

static void install(path *to, const cb_gemm_kernels *own, micro_kernel *kernel)
{
    cntx_t *context = &to->context;
    set_block_size(context, BLIS_MR, BLIS_MR, own->mr);
    set_block_size(context, BLIS_NR, BLIS_NR, own->nr);
    set_block_size(context, BLIS_MC, BLIS_MR, own->mc);
    set_block_size(context, BLIS_KC, BLIS_KR, own->kc);
    set_block_size(context, BLIS_NC, BLIS_NR, own->nc);
    install_kernel(context, kernel);
    mbool_t rows_first = *bli_cntx_get_l3_nat_ukr_prefs(BLIS_GEMM_UKR, context);
    bli_mbool_set_dt(TRUE, BLIS_FLOAT, &rows_first);
    bli_cntx_set_l3_nat_ukr_prefs(BLIS_GEMM_UKR, &rows_first, context);
    to->own = own;
}

/*
 * CRIBO_GEMM (blis, cribo) forces a path. Otherwise the choice follows measurements: our kernels are faster
 * with AVX-512, and those of BLIS are as fast with AVX2 on CPUs that it supports. BLIS has no kernels that
 * round.
 */
static void choose_own(bool generic)
{
    const char *forced = secure_getenv("CRIBO_GEMM");
    const cb_gemm_level *own = own_level();
    bool better = generic || cb_cpu() >= CB_CPU_AVX512;
    if (!own || (forced && strcmp(forced, "blis") == 0)) return;
    if (better || (forced && strcmp(forced, "cribo") == 0))
        install(&chosen.real, &own->real, multiply_real_panels);
    install(&chosen.bf16, &own->bf16, multiply_bf16_panels);
}

#endif

#ifdef CB_BLIS_HOOKS

static void multiply_nothing(dim_t m, dim_t n, dim_t k, cb_real *alpha, cb_real *a, cb_real *b, cb_real *beta,
    cb_real *c, inc_t c_row, inc_t c_column, auxinfo_t *data, cntx_t *context)
{
    (void)m, (void)n, (void)k, (void)alpha, (void)a, (void)b, (void)beta, (void)c, (void)c_row,
        (void)c_column, (void)data, (void)context;
}

#endif

/*
 * Whether BLIS_ARCH_TYPE forces kernels. BLIS reads its number at the first call, treats any other text as 0,
 * and aborts if it lacks this set of kernels or the CPU cannot run it. -1 forces none.
 */
static bool is_forced(void)
{
    const char *forced = getenv("BLIS_ARCH_TYPE");
    return forced && strcmp(forced, "-1") != 0;
}

static void choose(void)
{
    chosen.blocked = is_forced();
    if (chosen.blocked) return;
    bool generic = bli_arch_query_id() == BLIS_ARCH_GENERIC;
#ifdef CB_BLIS_HOOKS
    chosen.hooks = strncmp(bli_info_get_version_str(), "0.9.", 4) == 0;
    if (chosen.hooks) {
        chosen.real.context = chosen.bf16.context = *bli_gks_query_nat_cntx();
#ifdef CB_OWN_KERNELS
        choose_own(generic);
#endif
        chosen.real.idle_context = chosen.real.context;
        chosen.bf16.idle_context = chosen.bf16.context;
        install_kernel(&chosen.real.idle_context, multiply_nothing);
        install_kernel(&chosen.bf16.idle_context, multiply_nothing);
    }
#endif
    chosen.poor = generic && !chosen.real.own;
}

/* With fewer multiplications (about 5 us) a separate slab takes more time than it saves. */
#define SMALLEST_SLAB 5.0e5

/* Packing a row or column of k numbers takes about as long as multiplying it with this many. */
#define PACKING_COST 32

/*
 * Slabs end at whole micro-tiles of our kernels, so that the division adds no partial tiles, and slabs have
 * similar sizes.
 */
#define LEAST_ROW_GRAIN 12
#define COLUMN_GRAIN 32

/* A product for one thread, or a part of one. */
typedef struct product {
    size_t m, n;
    cb_gemm_lines a, b; /* the rows of A [m, k], the columns of B [k, n] */
    cb_gemm_result c;
} product;

/* The part of a product with these rows and columns of C. */
static product part_of(const product *p, cb_range rows, cb_range columns)
{
    return (product){.m = rows.end - rows.begin,
        .n = columns.end - columns.begin,
        .a = cb_gemm_lines_from(p->a, rows.begin, 0),
        .b = cb_gemm_lines_from(p->b, columns.begin, 0),
        .c = cb_gemm_result_at(p->c, rows.begin, columns.begin)};
}

static obj_t view(const void *numbers, size_t rows, size_t columns, size_t row, size_t column)
{
    obj_t object;
    bli_obj_create_with_attached_buffer(
        CB_BLIS_TYPE, (dim_t)rows, (dim_t)columns, (void *)numbers, (inc_t)row, (inc_t)column, &object);
    return object;
}

/* BLIS's settings for one call of one thread; no global of BLIS is changed. */
static rntm_t alone(void)
{
    rntm_t runtime = BLIS_RNTM_INITIALIZER;
    bli_rntm_set_num_threads(1, &runtime);
    bli_rntm_disable_l3_sup(&runtime);
    return runtime;
}

/*
 * One operand; its lines are the rows or the columns of BLIS's object. For our packing, which reads the lines
 * themselves, the object only counts the elements, among them the zeros at the end of a line.
 */
static obj_t view_lines(const path *by, const cb_gemm_lines *x, size_t lines, size_t elements, bool rows)
{
    size_t line = by->own ? elements : x->line, step = by->own ? 1 : x->step;
    return rows ? view(x->numbers, lines, elements, line, step)
                : view(x->numbers, elements, lines, step, line);
}

/* One call of BLIS. */
static void multiply_by(const path *by, const product *p)
{
    size_t k = by->own ? cb_gemm_elements(by->own, p->a.length) : p->a.length;
    obj_t a = view_lines(by, &p->a, p->m, k, true), b = view_lines(by, &p->b, p->n, k, false);
    obj_t c = view(p->c.numbers, p->m, p->n, p->c.stride, 1);
    cntx_t *blis_context = NULL;
#ifdef CB_OWN_KERNELS
    operand_lines a_lines = {by->own, CB_GEMM_A, p->a}, b_lines = {by->own, CB_GEMM_B, p->b};
    if (by->own) {
        bli_obj_set_pack_fn(pack_block, &a);
        bli_obj_set_pack_fn(pack_block, &b);
        bli_obj_set_pack_params(&a_lines, &a);
        bli_obj_set_pack_params(&b_lines, &b);
        blis_context = (cntx_t *)&by->context;
    }
#endif
    rntm_t runtime = alone();
    if (by->own && by->own->begin) by->own->begin();
    bli_gemm_ex(&BLIS_ONE, &a, &b, p->c.accumulate ? &BLIS_ONE : &BLIS_ZERO, &c, blis_context, &runtime);
    if (by->own && by->own->end) by->own->end();
}

/*
 * The blocks of both operands, on the stack, that are rounded at a time if our kernels do not round.
 */
#define ROUNDED_LINES 64
#define ROUNDED_STEPS 128

typedef struct rounded_block {
    cb_real numbers[ROUNDED_LINES][ROUNDED_STEPS];
} rounded_block;

/* Rounds numbers step ... step + ROUNDED_STEPS - 1 of the first `lines` lines. */
static cb_gemm_lines round_block(rounded_block *to, const cb_gemm_lines *x, size_t lines, size_t step)
{
    size_t steps = cb_min(x->length - step, ROUNDED_STEPS);
    for (size_t i = 0; i < lines; i++)
        for (size_t j = 0; j < steps; j++) {
            size_t at = i * x->line + (step + j) * x->step;
            to->numbers[i][j] = (cb_real)(x->bf16 ? cb_bf16_to_float(((const cb_bf16 *)x->numbers)[at])
                                                  : cb_bf16_round((float)((const cb_real *)x->numbers)[at]));
        }
    return (cb_gemm_lines){to->numbers, ROUNDED_STEPS, 1, steps, false};
}

static cb_range block_from(size_t begin, size_t end)
{
    return (cb_range){begin, cb_min(begin + ROUNDED_LINES, end)};
}

static void multiply_rounded(const product *p)
{
    rounded_block a_block, b_block;
    for (size_t q = 0; q < p->a.length; q += ROUNDED_STEPS)
        for (size_t i = 0; i < p->m; i += ROUNDED_LINES)
            for (size_t j = 0; j < p->n; j += ROUNDED_LINES) {
                product part = part_of(p, block_from(i, p->m), block_from(j, p->n));
                part.a = round_block(&a_block, &part.a, part.m, q);
                part.b = round_block(&b_block, &part.b, part.n, q);
                part.c.accumulate |= q > 0;
                multiply_by(&chosen.real, &part);
            }
}

static size_t largest_part(size_t items, size_t parts, size_t grain)
{
    size_t grains = (items + grain - 1) / grain, most = (grains + parts - 1) / parts * grain;
    return most < items ? most : items;
}

cb_gemm_grid cb_gemm_cut(size_t threads, size_t m, size_t n, size_t k, bool bf16, bool b_is_packed)
{
    const cb_gemm_kernels *own = cb_gemm_own_kernels(bf16);
    cb_gemm_grid grid = {.m = m,
        .n = n,
        .row_grain = cb_max(own ? own->mr : 0, LEAST_ROW_GRAIN),
        .column_grain = COLUMN_GRAIN};
    double slabs = (double)m * (double)n * (double)k / SMALLEST_SLAB, least = 0;
    if (slabs < (double)threads) threads = slabs < 1 ? 1 : (size_t)slabs;
    for (size_t row_parts = 1; row_parts <= threads; row_parts++) {
        double rows = (double)largest_part(m, row_parts, grid.row_grain);
        double columns = (double)largest_part(n, threads / row_parts, COLUMN_GRAIN);
        double cost = rows * columns + PACKING_COST * (b_is_packed ? rows : rows + columns);
        if (row_parts > 1 && cost >= least) continue;
        least = cost;
        grid.row_parts = row_parts;
        grid.column_parts = threads / row_parts;
    }
    return grid;
}

cb_gemm_tile cb_gemm_tile_of(const cb_gemm_grid *grid, size_t index)
{
    return (cb_gemm_tile){cb_part(grid->m, index / grid->column_parts, grid->row_parts, grid->row_grain),
        cb_part(grid->n, index % grid->column_parts, grid->column_parts, grid->column_grain)};
}

/* A product that several threads share. */
typedef struct shared_product {
    product whole;
    bool bf16;
    cb_gemm_grid grid;
} shared_product;

static void multiply_slab(void *context, size_t task, size_t worker)
{
    const shared_product *s = context;
    cb_gemm_tile slab = cb_gemm_tile_of(&s->grid, task);
    product p = part_of(&s->whole, slab.rows, slab.columns);
    (void)worker;
    if (p.m == 0 || p.n == 0) return;
    if (s->bf16 && !chosen.bf16.own)
        multiply_rounded(&p);
    else
        multiply_by(s->bf16 ? &chosen.bf16 : &chosen.real, &p);
}

static void clear(const cb_gemm_job *job)
{
    for (size_t i = 0; i < job->m && !job->c.accumulate; i++)
        memset(job->c.numbers + i * job->c.stride, 0, job->n * sizeof *job->c.numbers);
}

void cb_gemm(cb_pool *pool, const cb_gemm_job *job)
{
    pthread_once(&choose_once, choose);
    if (job->m == 0 || job->n == 0) return;
    if (job->k == 0) { /* the operands may be NULL */
        clear(job);
        return;
    }
    shared_product s = {.whole = {.m = job->m,
                            .n = job->n,
                            .a = cb_gemm_lines_of(job->a, job->form != CB_TN, job->k),
                            .b = cb_gemm_lines_of(job->b, job->form == CB_NT, job->k),
                            .c = job->c},
        .bf16 = job->bf16,
        .grid = cb_gemm_cut(cb_pool_threads(pool), job->m, job->n, job->k, job->bf16, false)};
    cb_pool_run(pool, s.grid.row_parts * s.grid.column_parts, multiply_slab, &s);
}

#ifdef CB_BLIS_HOOKS

/*
 * BLIS allocates packing buffers when all existing buffers are in use, and aborts if there is no memory. So
 * at the beginning all workers hold their largest buffers at the same time: the packing functions of an idle
 * product wait for each other.
 */
static struct {
    pthread_mutex_t one_at_a_time;
    atomic_size_t arrived;
    size_t workers;
} meeting = {.one_at_a_time = PTHREAD_MUTEX_INITIALIZER};

/*
 * Waits until the packing functions of all workers have arrived, or for one to two seconds, because the
 * system may refuse threads to a forked child.
 */
static void meet(void)
{
    size_t place = atomic_fetch_add(&meeting.arrived, 1),
           all = (place / meeting.workers + 1) * meeting.workers;
    struct timespec begin, now;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    do {
        sched_yield();
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while (atomic_load(&meeting.arrived) < all && now.tv_sec - begin.tv_sec < 2);
}

static void hold_block(
    obj_t *block, obj_t *packed, cntx_t *context, rntm_t *runtime, cntl_t *control, thrinfo_t *thread)
{
    if (bli_packm_init(block, packed, context, runtime, control, thread)) meet();
}

/* A product of one whole block in each direction, which reads and writes no number. */
static void hold_buffers(void *context, size_t task, size_t worker)
{
    static cb_real nothing;
    cntx_t *idle = context;
    size_t m = (size_t)bli_cntx_get_blksz_max_dt(CB_BLIS_TYPE, BLIS_MC, idle);
    size_t n = (size_t)bli_cntx_get_blksz_max_dt(CB_BLIS_TYPE, BLIS_NC, idle);
    size_t k = (size_t)bli_cntx_get_blksz_max_dt(CB_BLIS_TYPE, BLIS_KC, idle);
    (void)task, (void)worker;

    bool by_rows = bli_cntx_l3_nat_ukr_prefers_rows_dt(CB_BLIS_TYPE, BLIS_GEMM_UKR, idle);
    obj_t a = view(&nothing, m, k, k, 1), b = view(&nothing, k, n, n, 1);
    obj_t c = by_rows ? view(&nothing, m, n, n, 1) : view(&nothing, m, n, 1, m); /* not to be transposed */
    bli_obj_set_pack_fn(hold_block, &a);
    bli_obj_set_pack_fn(hold_block, &b);
    rntm_t runtime = alone();
    bli_gemm_ex(&BLIS_ONE, &a, &b, &BLIS_ONE, &c, idle, &runtime);
}

#endif

/* One small product per worker makes BLIS detect the CPU and initialise. */
static void warm_up(void *context, size_t task, size_t worker)
{
    cb_real a[4] = {1, 0, 0, 1}, c[4];
    (void)context, (void)task, (void)worker;
    cb_gemm(NULL,
        &(cb_gemm_job){CB_NT, 2, 2, 2, cb_gemm_real(a, 2), cb_gemm_real(a, 2), .c = {c, 2, false}, false});
}

cribo_status cb_gemm_begin(const cb_runtime *runtime)
{
    static atomic_flag warned = ATOMIC_FLAG_INIT;
    pthread_once(&choose_once, choose);
    if (chosen.blocked)
        return cb_fail(CRIBO_SYSTEM_ERROR,
            "the environment variable BLIS_ARCH_TYPE is set: with it BLIS may end the process; unset it "
            "(CRIBO_GEMM and CRIBO_CPU choose the library's own kernels)");
    if (cb_is_plan(&runtime->allocator)) return CRIBO_OK;
    if (chosen.poor && runtime->hooks.log && !atomic_flag_test_and_set(&warned))
        cb_log(runtime, CRIBO_LOG_WARNING,
            "BLIS %s has no kernels for this CPU, and ours do not fit it: matrix products will be slow",
            bli_info_get_version_str());
    size_t workers = cb_pool_threads(runtime->pool);
    cb_pool_run(runtime->pool, workers, warm_up, NULL);
#ifdef CB_BLIS_HOOKS
    if (!chosen.hooks) return CRIBO_OK;
    pthread_mutex_lock(&meeting.one_at_a_time);
    meeting.workers = workers;
    atomic_store(&meeting.arrived, 0);
    cb_pool_run(runtime->pool, workers, hold_buffers, &chosen.real.idle_context);
    cb_pool_run(runtime->pool, workers, hold_buffers, &chosen.bf16.idle_context);
    pthread_mutex_unlock(&meeting.one_at_a_time);
#endif
    return CRIBO_OK;
}

const cb_gemm_kernels *cb_gemm_own_kernels(bool bf16)
{
    pthread_once(&choose_once, choose);
    return bf16 ? chosen.bf16.own : chosen.real.own;
}

bool cb_gemm_bf16_is_faster(void)
{
    pthread_once(&choose_once, choose);
    return chosen.bf16.own && chosen.bf16.own->in_element > 1;
}

const char *cb_gemm_blis_version(void)
{
    return bli_info_get_version_str();
}

const char *cb_gemm_blis_kernels(void)
{
    pthread_once(&choose_once, choose);
    return chosen.blocked ? "none: BLIS_ARCH_TYPE is set" : bli_arch_string(bli_arch_query_id());
}

const char *cb_gemm_kernel(void)
{
    pthread_once(&choose_once, choose);
    return chosen.real.own ? chosen.real.own->name : "blis";
}
