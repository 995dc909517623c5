/*
 * How fast a full bank is searched: GFLOP/s of a query, and its share of a plain product's. The published bank has 25 000 images of
 * about 22 objects; by default 9000 are enough to leave every cache and take 600 MB.
 *
 *   benchmark_memory_bank [images [batch [threads [width]]]]
 */
#include "base/clock.h"
#include "base/random.h"
#include "cribo/memory_bank.h"
#include "tensor/gemm.h"

#include <stdio.h>
#include <stdlib.h>

#define OBJECTS 22 /* kept of an image's 32 clusters, on average */

static double now(void)
{
    return 1e-3 * cb_clock_ms();
}

static void require(cribo_status status)
{
    if (status == CRIBO_OK) return;
    fprintf(stderr, "%s: %s\n", cribo_status_name(status), cribo_last_error());
    exit(1);
}

static float *random_rows(uint64_t stream, size_t rows, size_t width)
{
    float *x = malloc(rows * width * sizeof *x);
    cb_random random = cb_random_begin(1, CB_PURPOSE_CALLER, stream, 0);
    if (!x) exit(1);
    for (size_t i = 0; i < rows * width; i++) x[i] = (float)cb_random_next(&random) * 0x1p-32f - 0.5f;
    return x;
}

/* The best of three: what the machine gives to a product with as many rows and a cache-sized block of entries. */
static double product_speed(const cb_runtime *runtime, size_t m, size_t n, size_t k)
{
    float *a = random_rows(1, m, k), *b = random_rows(2, n, k), *c = malloc(m * n * sizeof *c);
    double best = 0;
    for (int i = 0; i < 3; i++) {
        double begin = now();
        cb_gemm(runtime->pool, CB_NT, m, n, k, a, k, b, k, false, c, n);
        double speed = 2e-9 * (double)m * (double)n * (double)k / (now() - begin);
        if (speed > best) best = speed;
    }
    free(c);
    free(b);
    free(a);
    return best;
}

static void fill(cribo_memory_bank *bank, int64_t images, cribo_object_batch *batch)
{
    double begin = now();
    for (int64_t done = 0; done < images; done += batch->images) require(cribo_memory_bank_push(bank, batch));
    printf("push: %.2f us per image\n", 1e6 * (now() - begin) / (double)images);
}

int main(int count, char **arguments)
{
    int64_t images = count > 1 ? atoll(arguments[1]) : 9000,
            batch_images = count > 2 ? atoll(arguments[2]) : 128;
    int64_t threads = count > 3 ? atoll(arguments[3]) : 0, width = count > 4 ? atoll(arguments[4]) : 384;
    cribo_memory_bank_config config;
    cribo_runtime hooks;
    cribo_memory_bank *bank;
    require(cribo_memory_bank_config_init(&config, sizeof config));
    require(cribo_runtime_init(&hooks, sizeof hooks));
    hooks.threads = threads;
    config.bank_images = images;
    config.width = width;
    require(cribo_memory_bank_create(&bank, &config, &hooks));

    size_t rows = (size_t)batch_images * OBJECTS;
    int64_t *per_image = malloc((size_t)batch_images * sizeof *per_image);
    for (int64_t b = 0; b < batch_images; b++) per_image[b] = OBJECTS;
    cribo_object_batch batch = {sizeof batch, batch_images, per_image, random_rows(3, rows, (size_t)width),
        random_rows(4, rows, (size_t)width), NULL};
    fill(bank, images, &batch);

    cb_runtime runtime;
    require(cb_runtime_begin(&runtime, &hooks));
    double plain = product_speed(&runtime, rows, 4096, (size_t)width);
    int64_t *index = malloc(2 * rows * sizeof *index), entries;
    cribo_match match = {.struct_size = sizeof match, .index1 = index, .index2 = index + rows};
    require(cribo_memory_bank_count(bank, NULL, &entries));
    for (int i = 0; i < 3; i++) {
        double begin = now();
        require(cribo_memory_bank_query(bank, &batch, &match));
        double seconds = now() - begin;
        double speed = 4e-9 * (double)rows * ((double)entries + (double)rows) * (double)width / seconds;
        printf("query: %zu objects, %lld entries: %.3f s, %.1f ms per image, %.0f GFLOP/s, %.0f %% of a "
               "product's %.0f\n",
            rows, (long long)entries, seconds, 1e3 * seconds / (double)batch_images, speed,
            100 * speed / plain, plain);
    }
    cb_runtime_end(&runtime);
    cribo_memory_bank_free(bank);
    return 0;
}
