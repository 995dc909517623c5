/* Memory banks, nearest neighbours and the cycle test. See memory_bank.h. */
#include "distillation/memory_bank.h"

#include "tensor/finite.h"
#include "tensor/gemm.h"
#include "tensor/rows.h"

#include <assert.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

#define SETTING(...) CB_INTEGER(cribo_memory_bank_config, __VA_ARGS__)
static const cb_field fields[] = {
    SETTING(bank_images, 1, 2147483648.0, 25000, "images that the memory bank remembers"),
    SETTING(objects_per_image, 1, 4096, 32, "the most objects of one image"),
    SETTING(width, 1, 65536, 384, "numbers in an object's vector"),
    SETTING(most_objects, 0, 2147483648.0, 0, "the most objects of one query or push; 0: 256 images' worth"),
};
const cb_config_table cb_memory_bank_settings = CB_CONFIG_TABLE(cribo_memory_bank_config, fields);

#define DEFAULT_MOST_IMAGES 256
#define SEARCH_ROWS 512 /* queries multiplied at a time with a block: their cosines stay in the cache */
#define CYCLE_ROWS 128  /* neighbours multiplied at a time with the batch: small, for there may be few */

/* The most similar entry that was seen so far. */
typedef struct nearest {
    cb_real cosine;
    int64_t index;
} nearest;

typedef struct scratch {
    cb_real *unit;    /* [block_rows, D] normalised entries */
    cb_real *cosines; /* [SEARCH_ROWS, block_rows] */
    nearest *best[2]; /* [most_objects] for each view */
} scratch;

struct cb_memory_bank {
    cb_pool *pool;
    cb_object_queue queue;
    size_t most_objects;

    /* The query under way. */
    size_t rows;       /* R */
    cb_real *unit[2];  /* [most_objects, D] its objects, normalised */
    int64_t *id;       /* [most_objects] of their images */
    int64_t *index[2]; /* [most_objects] what was found */
    uint8_t *match[2]; /* [most_objects] */
    scratch *workers;  /* [threads] */
};

#define ALLOCATE(pointer, count, what) \
    CB_TRY(cb_allocate( \
        &runtime->allocator, (void **)&(pointer), count, sizeof *(pointer), "memory bank: " what))

static cribo_status create_worker(const cb_runtime *runtime, const cb_memory_bank *bank, scratch *worker)
{
    size_t block_rows = bank->queue.block_rows;
    ALLOCATE(worker->unit, block_rows * bank->queue.width, "a block of entries");
    ALLOCATE(worker->cosines, SEARCH_ROWS * block_rows, "a block of cosines");
    for (int view = 0; view < 2; view++) ALLOCATE(worker->best[view], bank->most_objects, "nearest entries");
    return CRIBO_OK;
}

static cribo_status create_parts(
    const cb_runtime *runtime, cb_memory_bank *bank, const cribo_memory_bank_config *config)
{
    size_t width = (size_t)config->width, per_image = (size_t)config->objects_per_image;
    bank->pool = runtime->pool;
    bank->most_objects =
        config->most_objects ? (size_t)config->most_objects : DEFAULT_MOST_IMAGES * per_image;
    CB_TRY(cb_object_queue_create(
        &runtime->allocator, &bank->queue, (size_t)config->bank_images, per_image, width));
    for (int view = 0; view < 2; view++) {
        ALLOCATE(bank->unit[view], bank->most_objects * width, "queries");
        ALLOCATE(bank->index[view], bank->most_objects, "indices found");
        ALLOCATE(bank->match[view], bank->most_objects, "matches found");
    }
    ALLOCATE(bank->id, bank->most_objects, "ids of queries");
    ALLOCATE(bank->workers, cb_pool_threads(bank->pool), "workers");
    for (size_t w = 0; w < cb_pool_threads(bank->pool); w++)
        CB_TRY(create_worker(runtime, bank, &bank->workers[w]));
    return CRIBO_OK;
}

cribo_status cb_memory_bank_create(
    const cb_runtime *runtime, cb_memory_bank **out, const cribo_memory_bank_config *config)
{
    cb_memory_bank *bank;
    *out = NULL;
    ALLOCATE(bank, 1, "handle");
    cribo_status status = create_parts(runtime, bank, config);
    if (status == CRIBO_OK)
        *out = bank;
    else
        cb_memory_bank_free(runtime, bank);
    return status;
}

void cb_memory_bank_free(const cb_runtime *runtime, cb_memory_bank *bank)
{
    if (!bank) return;
    const cb_allocator *allocator = &runtime->allocator;
    for (size_t w = 0; bank->workers && w < cb_pool_threads(bank->pool); w++) {
        for (int view = 0; view < 2; view++) cb_release(allocator, bank->workers[w].best[view]);
        cb_release(allocator, bank->workers[w].cosines);
        cb_release(allocator, bank->workers[w].unit);
    }
    cb_release(allocator, bank->workers);
    cb_release(allocator, bank->id);
    for (int view = 0; view < 2; view++) {
        cb_release(allocator, bank->match[view]);
        cb_release(allocator, bank->index[view]);
        cb_release(allocator, bank->unit[view]);
    }
    cb_object_queue_destroy(allocator, &bank->queue);
    cb_release(allocator, bank);
}

static void normalise_rows(
    cb_real *unit, const cb_real *raw, const cb_real *inverse, size_t rows, size_t width)
{
    for (size_t r = 0; r < rows; r++) cb_rows()->scale(unit + r * width, raw + r * width, inverse[r], width);
}

static void forget_nearest(nearest *best, size_t rows)
{
    for (size_t r = 0; r < rows; r++) best[r] = (nearest){-INFINITY, -1};
}

/* The objects normalised, each with its image's id; nothing is near them yet. */
static void begin_query(cb_memory_bank *bank, const cb_objects *objects)
{
    size_t width = bank->queue.width, row = 0;
    bank->rows = cb_objects_count(objects, objects->images);
    assert(bank->rows <= bank->most_objects);
    for (int view = 0; view < 2; view++)
        for (size_t r = 0; r < bank->rows; r++) {
            const cb_real *raw = objects->view[view] + r * width;
            cb_rows()->scale(bank->unit[view] + r * width, raw, cb_inverse_length(raw, width), width);
        }
    for (size_t b = 0; b < objects->images; b++)
        for (int64_t k = 0; k < objects->per_image[b]; k++)
            bank->id[row++] = objects->ids ? objects->ids[b] : CB_NO_ID;
    for (size_t w = 0; w < cb_pool_threads(bank->pool); w++)
        for (int view = 0; view < 2; view++) forget_nearest(bank->workers[w].best[view], bank->rows);
}

static void keep_nearer(nearest *best, nearest candidate)
{
    bool tie = candidate.cosine == best->cosine && candidate.index < best->index;
    if (candidate.cosine > best->cosine || tie) *best = candidate;
}

/* Cosines with `n` entries, the first of which has this index. */
static void consider(nearest *best, const cb_real *cosines, size_t n, size_t index)
{
    nearest candidate;
    size_t place = cb_rows()->arg_max(cosines, n, &candidate.cosine);
    candidate.index = (int64_t)(index + place);
    keep_nearer(best, candidate);
}

static bool holds_id(const int64_t *ids, size_t n, int64_t id)
{
    int holds = 0;
    for (size_t i = 0; i < n; i++) holds |= ids[i] == id;
    return holds;
}

/* As `consider`, without the entries of image `id`. */
static void consider_others(
    nearest *best, const cb_real *cosines, const int64_t *ids, size_t n, int64_t id, size_t index)
{
    size_t begin = 0;
    for (size_t end = 0; end <= n; end++) {
        if (end < n && ids[end] != id) continue;
        if (end > begin) consider(best, cosines + begin, end - begin, index + begin);
        begin = end + 1;
    }
}

static void consider_block(nearest *best, const cb_real *cosines, const int64_t *query_id, size_t queries,
    const int64_t *ids, cb_object_block block)
{
    bool own_image = false;
    for (size_t q = 0; q < queries; q++) {
        const cb_real *row = cosines + q * block.rows;
        if (q == 0 || query_id[q] != query_id[q - 1])
            own_image = query_id[q] != CB_NO_ID && holds_id(ids, block.rows, query_id[q]);
        if (own_image)
            consider_others(&best[q], row, ids, block.rows, query_id[q], block.index);
        else
            consider(&best[q], row, block.rows, block.index);
    }
}

/* Task: one block of one bank against all queries of its view. */
static void search_block(void *context, size_t task, size_t worker)
{
    const cb_memory_bank *bank = context;
    const cb_object_queue *queue = &bank->queue;
    const scratch *own = &bank->workers[worker];
    size_t view = task % 2, width = queue->width;
    cb_object_block block = cb_object_queue_block(queue, task / 2);

    normalise_rows(own->unit, queue->vector[view] + block.row * width, queue->inverse[view] + block.row,
        block.rows, width);
    for (size_t from = 0; from < bank->rows; from += SEARCH_ROWS) {
        size_t queries = cb_least(bank->rows - from, SEARCH_ROWS);
        cb_gemm(NULL, CB_NT, queries, block.rows, width, bank->unit[view] + from * width, width, own->unit,
            width, false, own->cosines, block.rows);
        consider_block(
            &own->best[view][from], own->cosines, &bank->id[from], queries, queue->id + block.row, block);
    }
}

/* The best of what the workers found. */
static void gather_nearest(cb_memory_bank *bank)
{
    for (size_t view = 0; view < 2; view++)
        for (size_t r = 0; r < bank->rows; r++) {
            nearest best = bank->workers[0].best[view][r];
            for (size_t w = 1; w < cb_pool_threads(bank->pool); w++)
                keep_nearer(&best, bank->workers[w].best[view][r]);
            bank->index[view][r] = best.index;
        }
}

/* The neighbours' other views, normalised; zero where there is no neighbour. */
static void fetch_other_views(
    const cb_object_queue *queue, size_t view, const int64_t *index, size_t rows, cb_real *unit)
{
    size_t width = queue->width;
    memset(unit, 0, rows * width * sizeof *unit);
    for (size_t r = 0; r < rows; r++) {
        if (index[r] < 0) continue;
        size_t row = cb_object_queue_row(queue, (size_t)index[r]);
        normalise_rows(unit + r * width, queue->vector[1 - view] + row * width,
            &queue->inverse[1 - view][row], 1, width);
    }
}

static size_t cycle_rows(const cb_memory_bank *bank)
{
    return cb_least(CYCLE_ROWS, bank->queue.block_rows); /* what a worker's scratch holds */
}

/* Task: do the neighbours of some queries of one view lead back to them? */
static void test_cycle(void *context, size_t task, size_t worker)
{
    const cb_memory_bank *bank = context;
    const scratch *own = &bank->workers[worker];
    size_t view = task % 2, stripe = cycle_rows(bank), width = bank->queue.width;
    size_t begin = task / 2 * stripe, rows = cb_least(bank->rows - begin, stripe);
    const int64_t *index = bank->index[view] + begin;
    nearest *back = own->best[view]; /* gathered, so free again */

    fetch_other_views(&bank->queue, view, index, rows, own->unit);
    forget_nearest(back, rows);
    for (size_t from = 0; from < bank->rows; from += SEARCH_ROWS) {
        size_t objects = cb_least(bank->rows - from, SEARCH_ROWS);
        cb_gemm(NULL, CB_NT, rows, objects, width, own->unit, width, bank->unit[1 - view] + from * width,
            width, false, own->cosines, objects);
        for (size_t r = 0; r < rows; r++) consider(&back[r], own->cosines + r * objects, objects, from);
    }
    for (size_t r = 0; r < rows; r++)
        bank->match[view][begin + r] = index[r] >= 0 && back[r].index == (int64_t)(begin + r);
}

void cb_memory_bank_copy(const cb_memory_bank *bank, int view, int64_t index, cb_real *to)
{
    size_t width = bank->queue.width;
    if (index < 0)
        memset(to, 0, width * sizeof *to);
    else
        memcpy(to, bank->queue.vector[view] + cb_object_queue_row(&bank->queue, (size_t)index) * width,
            width * sizeof *to);
}

static void give_findings(const cb_memory_bank *bank, const cb_match *to)
{
    for (int view = 0; view < 2; view++) {
        if (to->index[view]) memcpy(to->index[view], bank->index[view], bank->rows * sizeof *to->index[view]);
        if (to->match[view]) memcpy(to->match[view], bank->match[view], bank->rows * sizeof *to->match[view]);
        for (size_t r = 0; to->neighbour[view] && r < bank->rows; r++)
            cb_memory_bank_copy(
                bank, view, bank->index[view][r], to->neighbour[view] + r * bank->queue.width);
    }
}

void cb_memory_bank_query(cb_memory_bank *bank, const cb_objects *objects, const cb_match *match)
{
    size_t stripe = cycle_rows(bank);
    begin_query(bank, objects);
    cb_pool_run(bank->pool, 2 * cb_object_queue_blocks(&bank->queue), search_block, bank);
    gather_nearest(bank);
    cb_pool_run(bank->pool, 2 * ((bank->rows + stripe - 1) / stripe), test_cycle, bank);
    give_findings(bank, match);
}

void cb_memory_bank_push(cb_memory_bank *bank, const cb_objects *objects)
{
    cb_object_queue_push(&bank->queue, objects);
}

size_t cb_memory_bank_images(const cb_memory_bank *bank)
{
    return bank->queue.images;
}

size_t cb_memory_bank_count(const cb_memory_bank *bank)
{
    return bank->queue.entries;
}

size_t cb_memory_bank_capacity(const cb_memory_bank *bank)
{
    return bank->queue.most_images;
}

size_t cb_memory_bank_width(const cb_memory_bank *bank)
{
    return bank->queue.width;
}

size_t cb_memory_bank_most_objects(const cb_memory_bank *bank)
{
    return bank->most_objects;
}

static cribo_status check_vectors(const cb_real *x, const char *name, size_t rows, size_t width)
{
    if (rows == 0) return CRIBO_OK;
    CB_REQUIRE(x, "objects.%s is NULL, but there are %zu objects", name, rows);
    size_t strange = cb_first_not_finite(x, rows * width);
    CB_REQUIRE(strange == rows * width, "objects.%s[%zu, %zu] = %g is not finite", name, strange / width,
        strange % width, (double)x[strange]);
    return CRIBO_OK;
}

cribo_status cb_memory_bank_check(
    const cb_memory_bank *bank, const cb_objects *objects, size_t most_images, size_t most_objects)
{
    size_t most = bank->queue.most_per_image, rows = 0;
    CB_REQUIRE(objects->images <= most_images, "objects.images = %zu, but at most %zu are possible",
        objects->images, most_images);
    CB_REQUIRE(objects->per_image || objects->images == 0,
        "objects.objects_per_image is NULL, but there are %zu images", objects->images);
    for (size_t b = 0; b < objects->images; b++) {
        CB_REQUIRE(objects->per_image[b] >= 0 && (uint64_t)objects->per_image[b] <= most,
            "objects.objects_per_image[%zu] = %lld must be in 0 ... %zu", b, (long long)objects->per_image[b],
            most);
        rows += (size_t)objects->per_image[b];
        CB_REQUIRE(rows <= most_objects, "objects.objects_per_image: more than %zu objects", most_objects);
    }
    CB_TRY(check_vectors(objects->view[0], "view1", rows, bank->queue.width));
    return check_vectors(objects->view[1], "view2", rows, bank->queue.width);
}

void cb_memory_bank_export(
    const cb_memory_bank *bank, int64_t *per_image, int64_t *ids, cb_real *view1, cb_real *view2)
{
    const cb_object_queue *queue = &bank->queue;
    cb_real *views[2] = {view1, view2};
    for (size_t i = 0; per_image && i < queue->images; i++)
        per_image[i] = cb_object_queue_per_image(queue, i);
    for (size_t i = 0; ids && i < queue->images; i++) ids[i] = cb_object_queue_image_id(queue, i);
    for (size_t b = 0; b < cb_object_queue_blocks(queue); b++) {
        cb_object_block block = cb_object_queue_block(queue, b);
        for (int view = 0; view < 2; view++)
            if (views[view])
                memcpy(views[view] + block.index * queue->width,
                    queue->vector[view] + block.row * queue->width,
                    block.rows * queue->width * sizeof(cb_real));
    }
}

size_t cb_memory_bank_stretches(const cb_memory_bank *bank)
{
    return cb_object_queue_blocks(&bank->queue);
}

const cb_real *cb_memory_bank_stretch(const cb_memory_bank *bank, int view, size_t index, size_t *rows)
{
    cb_object_block block = cb_object_queue_block(&bank->queue, index);
    *rows = block.rows;
    return bank->queue.vector[view] + block.row * bank->queue.width;
}

void cb_memory_bank_replace(cb_memory_bank *bank, const cb_objects *objects)
{
    cb_object_queue_clear(&bank->queue);
    cb_object_queue_push(&bank->queue, objects);
}

cribo_status cb_memory_bank_import(cb_memory_bank *bank, const cb_objects *objects)
{
    const cb_object_queue *queue = &bank->queue;
    CB_TRY(
        cb_memory_bank_check(bank, objects, queue->most_images, queue->most_images * queue->most_per_image));
    cb_memory_bank_replace(bank, objects);
    return CRIBO_OK;
}
