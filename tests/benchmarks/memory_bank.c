/*
 * The memory bank at several fills: the time of a push, the memory of an entry, and the speed of the search,
 * as a share of the peak of float32 multiply-adds. The published bank has 25 000 images of about 22 objects;
 * by default 6000 are enough to leave every cache. Entries are spread evenly, which is the easy case for the
 * coarse search, and then clustered like objects of a trained network: about the same number of them is
 * within the error bound of the nearest.
 *
 *   benchmark_memory_bank [images [batch [threads [width]]]]
 */
#define REPEATS 3
#include "ceilings.h"

#include "api/handles.h"
#include "base/clock.h"
#include "base/random.h"
#include "tensor/gemm.h"

#include <math.h>
#include <unistd.h>

#define OBJECTS 22 /* kept of an image's 32 clusters, on average */
#define CLASSES 200

typedef struct sizes {
    int64_t images, batch, threads, width;
} sizes;

static void require(cribo_status status)
{
    if (status == CRIBO_OK) return;
    fprintf(stderr, "%s: %s\n", cribo_status_name(status), cribo_last_error());
    exit(1);
}

static double resident_bytes(void)
{
    long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (!file || fscanf(file, "%*d %ld", &pages) != 1) pages = 0;
    if (file) fclose(file);
    return (double)pages * (double)sysconf(_SC_PAGESIZE);
}

static float centred(cb_random *random)
{
    return (float)cb_random_next(random) * 0x1p-32f - 0.5f;
}

/* The objects of one batch; `spread` about a class's centre, 0: no classes. */
static void make_objects(float *x, size_t rows, size_t width, uint64_t stream, float spread)
{
    cb_random random = cb_random_begin(1, CB_PURPOSE_CALLER, stream, 0);
    for (size_t r = 0; r < rows; r++) {
        uint64_t own = cb_random_below(&random, CLASSES);
        cb_random centre = cb_random_begin(2, CB_PURPOSE_CALLER, own, 0);
        for (size_t i = 0; i < width; i++)
            x[r * width + i] = spread > 0 ? centred(&centre) + spread * centred(&random) : centred(&random);
    }
}

typedef struct setting {
    cribo_memory_bank *bank;
    cribo_object_batch batch;
    float *view[2];
    int64_t *per_image;
    size_t rows, width;
    float spread;
    int64_t *index;
} setting;

static void next_batch(setting *s, uint64_t number)
{
    for (uint64_t view = 0; view < 2; view++)
        make_objects(s->view[view], s->rows, s->width, 2 * number + view, s->spread);
}

static setting begin(const sizes *z, const cribo_runtime *hooks, float spread)
{
    setting s = {.rows = (size_t)z->batch * OBJECTS, .width = (size_t)z->width, .spread = spread};
    cribo_memory_bank_config config;
    require(cribo_memory_bank_config_init(&config, sizeof config));
    config.bank_images = z->images;
    config.objects_per_image = OBJECTS;
    config.width = z->width;
    require(cribo_memory_bank_create(&s.bank, &config, hooks));
    s.per_image = malloc((size_t)z->batch * sizeof *s.per_image);
    for (int64_t b = 0; b < z->batch; b++) s.per_image[b] = OBJECTS;
    for (int view = 0; view < 2; view++) s.view[view] = malloc(s.rows * s.width * sizeof(float));
    s.index = malloc(2 * s.rows * sizeof *s.index);
    s.batch = (cribo_object_batch){sizeof s.batch, z->batch, s.per_image, s.view[0], s.view[1], NULL};
    return s;
}

static void end(setting *s)
{
    for (int view = 0; view < 2; view++) free(s->view[view]);
    free(s->index);
    free(s->per_image);
    cribo_memory_bank_free(s->bank);
}

/* Pushes until the bank has `images` images, and measures the last push. */
static void fill(setting *s, int64_t images, uint64_t *number)
{
    int64_t held = 0, pushed = 0;
    double taken = 0;
    require(cribo_memory_bank_count(s->bank, &held, NULL));
    for (; held + pushed < images || pushed == 0; pushed += s->batch.images) {
        next_batch(s, (*number)++);
        double start = seconds();
        require(cribo_memory_bank_push(s->bank, &s->batch));
        taken += seconds() - start;
    }
    printf("  push, %6lld images held: %6.1f us per image\n", (long long)held, 1e6 * taken / (double)pushed);
}

static void query(void *context)
{
    setting *s = context;
    cribo_match match = {.struct_size = sizeof match, .index1 = s->index, .index2 = s->index + s->rows};
    require(cribo_memory_bank_query(s->bank, &s->batch, &match));
}

static void time_searches(setting *s)
{
    const ceiling peak = fma_peak();
    int64_t entries;
    require(cribo_memory_bank_count(s->bank, NULL, &entries));
    double flops = 4 * (double)s->rows * ((double)entries + (double)s->rows) * (double)s->width;
    for (int coarsely = 0; coarsely < 2; coarsely++) {
        char name[64];
        snprintf(name, sizeof name, "search %s, %lld entries", coarsely ? "coarsely" : "exactly",
            (long long)entries);
        cb_memory_bank_search_coarsely(s->bank->bank, coarsely != 0);
        if (!coarsely || cb_gemm_bf16_is_faster()) report(name, query, s, flops, &peak);
    }
}

static void measure(const sizes *z, const cribo_runtime *hooks, float spread)
{
    double before = resident_bytes();
    setting s = begin(z, hooks, spread);
    uint64_t number = 0;
    printf("%s:\n", spread > 0 ? "clustered" : "spread evenly");
    for (int part = 1; part <= 4; part *= 2) {
        fill(&s, z->images * part / 4, &number);
        next_batch(&s, 1000000);
        time_searches(&s);
    }
    fill(&s, 0, &number);
    double entries = (double)z->images * OBJECTS, held = (resident_bytes() - before) / entries;
    printf("  memory: %.0f bytes per entry with the workspace, %.0f %% of two float32 copies of both views\n",
        held, 100 * held / (16 * (double)z->width));
    end(&s);
}

int main(int count, char **arguments)
{
    sizes z = {6000, 16, 0, 384};
    int64_t *const each[] = {&z.images, &z.batch, &z.threads, &z.width};
    for (int i = 1; i < count && i <= 4; i++) *each[i - 1] = atoll(arguments[i]);
    cribo_runtime hooks;
    cb_runtime runtime;
    require(cribo_runtime_init(&hooks, sizeof hooks));
    hooks.threads = z.threads;
    require(cb_runtime_begin(&runtime, &hooks));
    (void)!cb_gemm_begin(&runtime);
    workers = runtime.pool;
    setvbuf(stdout, NULL, _IOLBF, 0);
    printf("%s\n%zu threads, queries of %lld images with %d objects, width %lld\n", cribo_build_info(),
        cb_pool_threads(workers), (long long)z.batch, OBJECTS, (long long)z.width);
    measure(&z, &hooks, 0);
    measure(&z, &hooks, 0.3f);
    cb_runtime_end(&runtime);
    return 0;
}
