/*
 * Matrix products as shares of the peak, of FMAs in float and of products of bfloat16, and row kernels as
 * shares of the copying bandwidth, with one thread and with all.
 */
#include "ceilings.h"
#include "tensor/gemm_packed.h"
#include "tensor/rows.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct sheet {
    size_t rows, width;
    float *y, *x, *gain, *bias;
    void (*row)(const struct sheet *s, size_t i);
} sheet;

static void sheet_task(void *context, size_t part, size_t worker)
{
    const sheet *s = context;
    cb_range rows = cb_part(s->rows, part, cb_pool_threads(workers), 1);
    (void)worker;
    for (size_t i = rows.begin; i < rows.end; i++) s->row(s, i);
}

static void sweep(void *context)
{
    cb_pool_run(workers, cb_pool_threads(workers), sheet_task, context);
}

static void copy_row(const sheet *s, size_t i)
{
    memcpy(s->y + i * s->width, s->x + i * s->width, s->width * sizeof(float));
}

static void triad_row(const sheet *s, size_t i)
{
    float *y = s->y + i * s->width;
    const float *x = s->x + i * s->width;
    for (size_t j = 0; j < s->width; j++) y[j] += 0.5f * x[j];
}

static void gelu_row(const sheet *s, size_t i)
{
    cb_rows()->gelu(s->y + i * s->width, s->x + i * s->width, s->width);
}

static void gelu_backward_row(const sheet *s, size_t i)
{
    cb_rows()->gelu_backward(s->y + i * s->width, s->y + i * s->width, s->x + i * s->width, s->width);
}

static void layer_norm_row(const sheet *s, size_t i)
{
    float mean, inverse;
    cb_rows()->layer_norm(
        s->y + i * s->width, s->x + i * s->width, s->gain, s->bias, 1e-6f, s->width, &mean, &inverse);
}

static void softmax_row(const sheet *s, size_t i)
{
    cb_rows()->softmax(s->y + i * s->width, 0.125f, s->width);
}

static void adamw_row(const sheet *s, size_t i)
{
    static const cb_adamw step = {1e-4f, 0.9999f, 0.9f, 0.999f, 1, 1e-8f, 1};
    size_t quarter = s->width / 4;
    float *value = s->y + i * s->width;
    cb_rows()->adamw(value, value + quarter, value + 2 * quarter, s->x + i * s->width, &step, quarter);
}

static float *numbers(size_t count)
{
    float *x = malloc(count * sizeof(float));
    if (!x) exit(1);
    for (size_t i = 0; i < count; i++) x[i] = (float)(i % 7) - 3;
    return x;
}

static void benchmark_rows(void)
{
    sheet s = {.rows = 6272, .width = 1536};
    const double bytes = (double)(s.rows * s.width * sizeof(float));
    s.x = numbers(s.rows * s.width);
    s.y = numbers(s.rows * s.width);
    s.gain = numbers(s.width);
    s.bias = numbers(s.width);
    sheet copy = s;
    copy.row = copy_row;
    const ceiling bandwidth = {sweep, &copy, 2 * bytes, "GB/s"};
    const struct {
        const char *name;
        void (*row)(const sheet *, size_t);
        size_t width;
        double sweeps; /* how often the sheet crosses the memory bus */
    } cases[] = {{"triad", triad_row, 1536, 3}, {"gelu", gelu_row, 1536, 2},
        {"gelu_backward", gelu_backward_row, 1536, 3}, {"layer_norm, rows of 384", layer_norm_row, 384, 2},
        {"softmax, rows of 192", softmax_row, 192, 2}, {"adamw", adamw_row, 1536, 1.75}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        sheet one = s;
        one.row = cases[i].row;
        one.width = cases[i].width;
        one.rows = s.rows * s.width / one.width;
        report(cases[i].name, sweep, &one, cases[i].sweeps * bytes, &bandwidth);
    }
    free(s.x);
    free(s.y);
    free(s.gain);
    free(s.bias);
}

typedef struct shape {
    cb_gemm_form form;
    size_t m, n, k;
    enum {
        PLAIN, /* cb_gemm */
        TILES, /* B is packed by all threads, then multiplied in tiles, as linear maps are */
        HEAD   /* B is packed, then multiplied, by one thread, as for a head of attention */
    } way;
} shape;

typedef struct product {
    shape size;
    float *a, *b, *c;
    cb_bf16 *a_stored;
    bool bf16;
    float *panels, *rows; /* of B, and of A for each thread, packed */
} product;

/* In bfloat16 A, the activations or their gradients, is stored so; B is rounded on the way. */
static void multiply(void *context)
{
    const product *p = context;
    const shape s = p->size;
    size_t a_stride = s.form == CB_TN ? s.m : s.k, b_stride = s.form == CB_NT ? s.k : s.n;
    cb_gemm_operand b = cb_gemm_real(p->b, b_stride);
    cb_gemm_operand a = p->bf16 ? cb_gemm_stored_bf16(p->a_stored, a_stride) : cb_gemm_real(p->a, a_stride);
    if (s.way == PLAIN) {
        cb_gemm(workers, &(cb_gemm_job){s.form, s.m, s.n, s.k, a, b, {p->c, s.n, false}, p->bf16});
        return;
    }
    cb_pool *pool = s.way == TILES ? workers : NULL;
    cb_gemm_packed packed = cb_gemm_pack(
        pool, (cb_gemm_packed){.form = s.form, .n = s.n, .k = s.k, .b = b, .bf16 = p->bf16}, p->panels);
    const cb_gemm_rows rows = {s.m, a, {p->c, s.n, false}};
    const cb_row_buffers memory = {p->rows, cb_gemm_rows_size(s.m, s.k)};
    cb_gemm_in_tiles(pool, &packed, &rows, &memory, NULL);
}

static float *lines_of(size_t count)
{
    float *x = aligned_alloc(64, (count * sizeof *x / 64 + 1) * 64);
    if (!x) exit(1);
    return x;
}

static void benchmark_product(shape s, bool bf16)
{
    static const char *const forms[] = {"NN", "NT", "TN"}, *const ways[] = {"", " in tiles", " of a head"};
    const ceiling peak = bf16 ? bf16_peak() : fma_peak();
    product p = {
        .size = s, .a = numbers(s.m * s.k), .b = numbers(s.n * s.k), .c = numbers(s.m * s.n), .bf16 = bf16};
    char name[64];
    p.panels = lines_of(cb_gemm_packed_size(s.n, s.k));
    p.rows = lines_of(cb_pool_threads(workers) * cb_gemm_rows_size(s.m, s.k));
    p.a_stored = malloc(s.m * s.k * sizeof *p.a_stored);
    if (!p.a_stored) exit(1);
    for (size_t q = 0; q < s.m * s.k; q++) p.a_stored[q] = cb_bf16_of(p.a[q]);
    snprintf(name, sizeof name, "%s %s %zu x %zu x %zu%s", bf16 ? "bf16" : "gemm", forms[s.form], s.m, s.n,
        s.k, ways[s.way]);
    report(name, multiply, &p, 2.0 * (double)s.m * (double)s.n * (double)s.k, &peak);
    free(p.a);
    free(p.b);
    free(p.c);
    free(p.a_stored);
    free(p.panels);
    free(p.rows);
}

static void benchmark_products(bool bf16)
{
    static const shape shapes[] = {{CB_NT, 6272, 1152, 384, TILES}, {CB_NT, 6272, 384, 384, TILES},
        {CB_NT, 6272, 1536, 384, TILES}, {CB_NT, 6272, 384, 1536, TILES}, {CB_NN, 6272, 384, 1152, TILES},
        {CB_NN, 6272, 1536, 384, TILES}, {CB_NN, 6272, 384, 1536, TILES}, {CB_TN, 1152, 384, 6272, PLAIN},
        {CB_TN, 1536, 384, 6272, PLAIN}, {CB_TN, 384, 1536, 6272, PLAIN}, {CB_NT, 1576, 1152, 384, TILES},
        {CB_NT, 1576, 1152, 384, PLAIN}, {CB_NT, 1576, 1536, 384, TILES}, {CB_NT, 1576, 1536, 384, PLAIN},
        {CB_NT, 1576, 384, 1536, TILES}, {CB_NT, 1576, 384, 1536, PLAIN}, {CB_NN, 1576, 384, 1536, TILES},
        {CB_NN, 1576, 384, 1536, PLAIN}, {CB_TN, 1536, 384, 1024, TILES}, {CB_TN, 1536, 384, 1576, PLAIN},
        {CB_NT, 350, 65536, 256, PLAIN}, {CB_NN, 350, 256, 65536, PLAIN}, {CB_TN, 65536, 256, 350, PLAIN},
        {CB_NT, 32, 65536, 256, PLAIN}, {CB_NT, 350, 2048, 2048, TILES}, {CB_NN, 350, 2048, 2048, TILES},
        {CB_TN, 2048, 2048, 350, TILES}, {CB_NT, 197, 197, 64, HEAD}, {CB_NN, 197, 64, 197, HEAD},
        {CB_TN, 197, 64, 197, HEAD}};
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
        if (shapes[i].way != HEAD || cb_pool_threads(workers) == 1) benchmark_product(shapes[i], bf16);
}

int main(void)
{
    size_t most = cb_pool_default_threads();
    setvbuf(stdout, NULL, _IOLBF, 0); /* a long run shows its lines as they come */
    printf("%s\n", cribo_build_info());
    for (size_t threads = 1; threads <= most; threads = threads < most ? most : most + 1) {
        cribo_runtime hooks;
        cb_runtime runtime;
        if (cribo_runtime_init(&hooks, sizeof hooks) != CRIBO_OK) return 1;
        hooks.threads = (int64_t)threads;
        if (cb_runtime_begin(&runtime, &hooks) != CRIBO_OK) return 1;
        (void)!cb_gemm_begin(&runtime);
        workers = runtime.pool;
        printf("%zu thread%s:\n", threads, threads == 1 ? "" : "s");
        benchmark_products(false);
        benchmark_products(true);
        benchmark_rows();
        cb_runtime_end(&runtime);
    }
    return 0;
}
