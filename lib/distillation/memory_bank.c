/* Memory banks, nearest neighbours and the cycle test. See memory_bank.h. */
#include "distillation/memory_bank.h"

#include "search/parallel.h"
#include "tensor/finite.h"
#include "tensor/gemm.h"
#include "tensor/rows.h"

#include <assert.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

#define SETTING(...) CB_INTEGER(cribo_memory_bank_config, __VA_ARGS__)
static const cb_field fields[] = {
    SETTING(bank_images, 1, 2147483648.0, 25000,
        "capacity of the memory bank in images; the oldest are replaced first"),
    SETTING(objects_per_image, 1, 4096, 32, "maximum number of objects of one image"),
    SETTING(width, 1, 65536, 384, "components of an object's vector"),
    SETTING(max_objects, 0, 2147483648.0, 0,
        "maximum number of objects of one query or push; 0: 256 * objects_per_image"),
};
const cb_config_table cb_memory_bank_settings = CB_CONFIG_TABLE(cribo_memory_bank_config, fields);

#define DEFAULT_MOST_IMAGES 256
#define CYCLE_ROWS 128 /* neighbours multiplied at a time with the batch: small, for there may be few */

struct cb_memory_bank {
    cribo_memory_bank_config config;
    cb_pool *pool;
    cb_ranks *ranks; /* borrowed; NULL: one */
    cb_object_queue queue;
    size_t max_objects;
    cb_parallel_search search; /* of both views at the same time */

    /* The query under way. */
    cb_queries queries[2]; /* the objects of each view; ids are shared */
    int64_t *index[2];     /* [max_objects] nearest entries */
    uint8_t *match[2];     /* [max_objects] results of the cycle test */
    size_t *row[2];        /* [max_objects] the objects whose cycles are tested */
    size_t rows[2];        /* number of them */
};

static cribo_status create_parts(
    const cb_runtime *runtime, cb_memory_bank *bank, const cribo_memory_bank_config *config, cb_ranks *ranks)
{
    size_t width = (size_t)config->width, per_image = (size_t)config->objects_per_image;
    bank->config = *config;
    bank->pool = runtime->pool;
    bank->ranks = ranks;
    bank->max_objects = config->max_objects ? (size_t)config->max_objects : DEFAULT_MOST_IMAGES * per_image;
    CB_TRY(cb_object_queue_create(&runtime->allocator, &bank->queue, (size_t)config->bank_images, per_image,
        width, (cb_division){cb_ranks_own(ranks), cb_ranks_size(ranks)}));
    for (int view = 0; view < 2; view++) {
        CB_TRY(cb_queries_create(&runtime->allocator, &bank->queries[view], bank->max_objects, width));
        CB_TRY(CB_ALLOCATE(
            &runtime->allocator, &bank->index[view], bank->max_objects, "memory bank: indices found"));
        CB_TRY(CB_ALLOCATE(
            &runtime->allocator, &bank->match[view], bank->max_objects, "memory bank: matches found"));
        CB_TRY(CB_ALLOCATE(
            &runtime->allocator, &bank->row[view], bank->max_objects, "memory bank: tested objects"));
    }
    CB_TRY(CB_ALLOCATE(
        &runtime->allocator, &bank->queries[0].id, bank->max_objects, "memory bank: ids of queries"));
    bank->queries[1].id = bank->queries[0].id;
    return cb_parallel_search_create(runtime, &bank->search,
        &(cb_search_sizes){.searches = 2,
            .max_queries = bank->max_objects,
            .max_entries = bank->queue.block_rows,
            .width = width,
            .neighbours = 1});
}

cribo_status cb_memory_bank_create(
    const cb_runtime *runtime, cb_memory_bank **out, const cribo_memory_bank_config *config, cb_ranks *ranks)
{
    cb_memory_bank *bank;
    *out = NULL;
    CB_TRY(CB_ALLOCATE(&runtime->allocator, &bank, 1, "memory bank: handle"));
    cribo_status status = create_parts(runtime, bank, config, ranks);
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
    cb_parallel_search_destroy(runtime, &bank->search);
    cb_release(allocator, bank->queries[0].id);
    for (int view = 0; view < 2; view++) {
        cb_release(allocator, bank->row[view]);
        cb_release(allocator, bank->match[view]);
        cb_release(allocator, bank->index[view]);
        cb_queries_destroy(allocator, &bank->queries[view]);
    }
    cb_object_queue_destroy(allocator, &bank->queue);
    cb_release(allocator, bank);
}

const cribo_memory_bank_config *cb_memory_bank_config(const cb_memory_bank *bank)
{
    return &bank->config;
}

void cb_memory_bank_search_coarsely(cb_memory_bank *bank, bool coarsely)
{
    bank->search.coarsely = coarsely;
}

/* Normalises the objects and gives each its image's id. */
static void begin_query(cb_memory_bank *bank, const cb_objects *objects)
{
    size_t rows = cb_objects_count(objects, objects->images), row = 0;
    assert(rows <= bank->max_objects);
    for (int view = 0; view < 2; view++) {
        bank->queries[view].rows = rows;
        for (size_t r = 0; r < rows; r++)
            cb_queries_put(&bank->queries[view], r, objects->view[view] + r * bank->queue.width);
    }
    for (size_t b = 0; b < objects->images; b++)
        for (int64_t k = 0; k < objects->per_image[b]; k++)
            bank->queries[0].id[row++] = objects->ids ? objects->ids[b] : CB_NO_ID;
}

static cb_entries entries_of(const cb_object_queue *queue, size_t view, size_t index)
{
    cb_object_block block = cb_object_queue_block(queue, index);
    return (cb_entries){block.rows, queue->vector[view] + block.row * queue->width,
        queue->inverse[view] + block.row, queue->id + block.row, block.index};
}

static cb_entries entries_of_view1(const void *queue, size_t index)
{
    return entries_of(queue, 0, index);
}

static cb_entries entries_of_view2(const void *queue, size_t index)
{
    return entries_of(queue, 1, index);
}

/*
 * Finds the nearest stored entry of each object, both views at the same time. Stored entries are in the order
 * of all, so of equal cosines the lowest number among all entries wins.
 */
static void search_views(cb_memory_bank *bank)
{
    size_t blocks = cb_object_queue_blocks(&bank->queue);
    const cb_search_job jobs[2] = {
        {&bank->queries[0], blocks, entries_of_view1, &bank->queue, bank->max_objects},
        {&bank->queries[1], blocks, entries_of_view2, &bank->queue, bank->max_objects},
    };
    cb_parallel_search_run(&bank->search, jobs);
}

static cb_neighbour found(const cb_memory_bank *bank, int view, size_t row)
{
    cb_neighbour nearest = bank->search.workers[0].best[view][row];
    if (nearest.index >= 0)
        nearest.index =
            (int64_t)cb_object_queue_index(&bank->queue, bank->queue.division.part, (size_t)nearest.index);
    return nearest;
}

void cb_memory_bank_search(cb_memory_bank *bank, const cb_objects *objects, cb_neighbour *const nearest[2])
{
    begin_query(bank, objects);
    search_views(bank);
    for (int view = 0; view < 2; view++)
        for (size_t r = 0; r < bank->queries[view].rows; r++) nearest[view][r] = found(bank, view, r);
}

size_t cb_memory_bank_ranks(const cb_memory_bank *bank)
{
    return bank->queue.division.parts;
}

size_t cb_memory_bank_owner(const cb_memory_bank *bank, int64_t index)
{
    return cb_object_queue_part_with(&bank->queue, (size_t)index);
}

/* The row of an entry that this rank stores. */
static size_t row_of(const cb_object_queue *queue, int64_t index)
{
    return cb_object_queue_row(queue, (size_t)index / queue->division.parts);
}

/* The objects whose nearest entry is on this rank. */
static void select_rows(cb_memory_bank *bank, int64_t *const index[2])
{
    for (int view = 0; view < 2; view++) {
        bank->rows[view] = 0;
        for (size_t r = 0; r < bank->queries[view].rows; r++) {
            int64_t entry = bank->index[view][r] = index[view][r];
            bank->match[view][r] = 0;
            if (entry >= 0 && cb_memory_bank_owner(bank, entry) == bank->queue.division.part)
                bank->row[view][bank->rows[view]++] = r;
        }
    }
}

/* The other views of some objects' neighbours, normalised. */
static void fetch_other_views(
    const cb_memory_bank *bank, size_t view, const size_t *rows, size_t count, cb_real *unit)
{
    const cb_object_queue *queue = &bank->queue;
    size_t width = queue->width;
    for (size_t i = 0; i < count; i++) {
        size_t row = row_of(queue, bank->index[view][rows[i]]);
        cb_rows()->scale(
            unit + i * width, queue->vector[1 - view] + row * width, queue->inverse[1 - view][row], width);
    }
}

static size_t cycle_rows(const cb_memory_bank *bank)
{
    return cb_min(CYCLE_ROWS, bank->queue.block_rows); /* capacity of a worker's scratch */
}

/* Task: do the neighbours of some objects of one view lead back to them? */
static void test_cycle(void *context, size_t task, size_t worker)
{
    const cb_memory_bank *bank = context;
    const cb_search_worker *own = &bank->search.workers[worker];
    size_t view = task % 2, stripe = cycle_rows(bank), width = bank->queue.width;
    size_t begin = task / 2 * stripe;
    if (begin >= bank->rows[view]) return;
    const cb_queries *objects = &bank->queries[1 - view];
    const size_t *row = bank->row[view] + begin;
    size_t rows = cb_min(bank->rows[view] - begin, stripe);
    cb_real *cosines = own->search.cosines;
    cb_neighbour *back = own->best[view]; /* free: the search's result was copied */

    fetch_other_views(bank, view, row, rows, own->search.copies);
    cb_neighbours_forget(back, rows);
    for (size_t from = 0; from < objects->rows; from += CB_SEARCH_ROWS) {
        size_t n = cb_min(objects->rows - from, CB_SEARCH_ROWS);
        cb_gemm(NULL, &(cb_gemm_job){CB_NT, rows, n, width, cb_gemm_real(own->search.copies, width),
                          cb_gemm_real(objects->unit + from * width, width), {cosines, n, false}, false});
        for (size_t r = 0; r < rows; r++) {
            cb_neighbour candidate;
            candidate.index = (int64_t)(from + cb_rows()->arg_max(cosines + r * n, n, &candidate.cosine));
            cb_neighbours_keep(&back[r], 1, candidate);
        }
    }
    for (size_t r = 0; r < rows; r++) bank->match[view][row[r]] = back[r].index == (int64_t)row[r];
}

static void test_cycles(cb_memory_bank *bank, int64_t *const index[2])
{
    select_rows(bank, index);
    size_t most = cb_max(bank->rows[0], bank->rows[1]), stripe = cycle_rows(bank);
    cb_pool_run(bank->pool, 2 * ((most + stripe - 1) / stripe), test_cycle, bank);
}

void cb_memory_bank_test(
    cb_memory_bank *bank, const cb_objects *objects, int64_t *const index[2], uint8_t *const match[2])
{
    begin_query(bank, objects);
    test_cycles(bank, index);
    for (int view = 0; view < 2; view++)
        memcpy(match[view], bank->match[view], bank->queries[view].rows * sizeof *match[view]);
}

void cb_memory_bank_copy(const cb_memory_bank *bank, int view, int64_t index, cb_real *to)
{
    size_t width = bank->queue.width;
    if (index < 0)
        memset(to, 0, width * sizeof *to);
    else
        memcpy(to, bank->queue.vector[view] + row_of(&bank->queue, index) * width, width * sizeof *to);
}

static void give_findings(const cb_memory_bank *bank, const cb_match *to)
{
    size_t rows = bank->queries[0].rows;
    for (int view = 0; view < 2; view++) {
        if (to->index[view]) memcpy(to->index[view], bank->index[view], rows * sizeof *to->index[view]);
        if (to->match[view]) memcpy(to->match[view], bank->match[view], rows * sizeof *to->match[view]);
        for (size_t r = 0; to->neighbour[view] && r < rows; r++)
            cb_memory_bank_copy(
                bank, view, bank->index[view][r], to->neighbour[view] + r * bank->queue.width);
    }
}

void cb_memory_bank_query(cb_memory_bank *bank, const cb_objects *objects, const cb_match *match)
{
    begin_query(bank, objects);
    search_views(bank);
    for (int view = 0; view < 2; view++)
        for (size_t r = 0; r < bank->queries[view].rows; r++)
            bank->index[view][r] = found(bank, view, r).index;
    test_cycles(bank, bank->index);
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
    return bank->queue.max_images;
}

size_t cb_memory_bank_width(const cb_memory_bank *bank)
{
    return bank->queue.width;
}

size_t cb_memory_bank_max_objects(const cb_memory_bank *bank)
{
    return bank->max_objects;
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
    const cb_memory_bank *bank, const cb_objects *objects, size_t max_images, size_t max_objects)
{
    size_t most = bank->queue.max_per_image, rows = 0;
    CB_REQUIRE(objects->images <= max_images, "objects.images = %zu, but at most %zu are possible",
        objects->images, max_images);
    CB_REQUIRE(objects->per_image || objects->images == 0,
        "objects.objects_per_image is NULL, but there are %zu images", objects->images);
    for (size_t b = 0; b < objects->images; b++) {
        CB_REQUIRE(objects->per_image[b] >= 0 && (uint64_t)objects->per_image[b] <= most,
            "objects.objects_per_image[%zu] = %lld must be in 0 ... %zu", b, (long long)objects->per_image[b],
            most);
        rows += (size_t)objects->per_image[b];
        CB_REQUIRE(rows <= max_objects, "objects.objects_per_image: more than %zu objects", max_objects);
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

/* --- over several ranks --- */

/* This rank's vectors among entries first ... first + rows - 1, one after the other; returns how many. */
static size_t pack(const cb_memory_bank *bank, int view, size_t first, size_t rows, cb_real *to)
{
    const cb_object_queue *queue = &bank->queue;
    size_t part = queue->division.part, width = queue->width;
    size_t begin = cb_object_queue_stored_before(queue, part, first);
    size_t end = cb_object_queue_stored_before(queue, part, first + rows);
    for (size_t own = begin; own < end; own++)
        memcpy(to + (own - begin) * width, queue->vector[view] + cb_object_queue_row(queue, own) * width,
            width * sizeof *to);
    return end - begin;
}

/* Puts the packed vectors of rank `part` to their places among the entries from `first` on. */
static void unpack(
    const cb_object_queue *queue, size_t part, size_t first, size_t count, const cb_real *packed, cb_real *to)
{
    size_t width = queue->width, begin = cb_object_queue_stored_before(queue, part, first);
    for (size_t i = 0; i < count; i++)
        memcpy(to + (cb_object_queue_index(queue, part, begin + i) - first) * width, packed + i * width,
            width * sizeof *to);
}

cribo_status cb_memory_bank_collect(
    const cb_memory_bank *bank, int view, size_t first, size_t rows, cb_real *packed, cb_real *to)
{
    const cb_object_queue *queue = &bank->queue;
    size_t own = cb_ranks_own(bank->ranks);
    if (own != 0) {
        size_t count = pack(bank, view, first, rows, packed);
        return cb_ranks_collect(
            bank->ranks, "memory bank", own, packed, count * queue->width * sizeof *packed, NULL);
    }
    unpack(queue, 0, first, pack(bank, view, first, rows, packed), packed, to);
    for (size_t r = 1; r < cb_ranks_size(bank->ranks); r++) {
        size_t count = cb_object_queue_stored_before(queue, r, first + rows) -
                       cb_object_queue_stored_before(queue, r, first);
        CB_TRY(cb_ranks_collect(
            bank->ranks, "memory bank", r, NULL, count * queue->width * sizeof *packed, packed));
        unpack(queue, r, first, count, packed, to);
    }
    return CRIBO_OK;
}

void cb_memory_bank_restore(cb_memory_bank *bank, const cb_objects *objects)
{
    cb_object_queue_restore(&bank->queue, objects);
}

size_t cb_memory_bank_restored_offset(const cb_memory_bank *bank, size_t count)
{
    return cb_object_queue_restored_offset(&bank->queue, count);
}

cribo_status cb_memory_bank_import(cb_memory_bank *bank, const cb_objects *objects)
{
    const cb_object_queue *queue = &bank->queue;
    CB_TRY(cb_memory_bank_check(bank, objects, queue->max_images, queue->max_images * queue->max_per_image));
    cb_object_queue_clear(&bank->queue);
    cb_object_queue_push(&bank->queue, objects);
    return CRIBO_OK;
}
