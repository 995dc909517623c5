/* The store of the memory bank. See object_queue.h. */
#include "search/object_queue.h"

#include "tensor/rows.h"

#include <math.h>
#include <string.h>

/*
 * A block is multiplied at a time in a search: 1024 rows, or fewer if wide rows would not stay in the
 * cache.
 */
#define MOST_BLOCK_ROWS 1024
#define LEAST_BLOCK_ROWS 64
#define BLOCK_NUMBERS (512 * 1024)

static size_t block_rows_for(size_t entries, size_t width)
{
    size_t rows = cb_min(BLOCK_NUMBERS / width, MOST_BLOCK_ROWS);
    if (rows < LEAST_BLOCK_ROWS) rows = LEAST_BLOCK_ROWS;
    return cb_min(rows, entries);
}

cribo_status cb_object_queue_create(const cb_allocator *allocator, cb_object_queue *queue, size_t max_images,
    size_t max_per_image, size_t width, cb_division division)
{
    size_t most = max_images * ((max_per_image + division.parts - 1) / division.parts),
           block_rows = block_rows_for(most, width);
    /* Entries may begin at the last row of the newest block. */
    size_t blocks = (most + 2 * (block_rows - 1)) / block_rows, rows = blocks * block_rows;
    *queue = (cb_object_queue){.max_images = max_images,
        .max_per_image = max_per_image,
        .width = width,
        .division = division,
        .block_rows = block_rows,
        .blocks = blocks};

    /* A push writes the rows of its entries; other rows are never read. */
    for (int view = 0; view < 2; view++) {
        CB_TRY(CB_ALLOCATE_UNCLEARED(allocator, &queue->vector[view], rows * width, "memory bank: vectors"));
        CB_TRY(CB_ALLOCATE_UNCLEARED(allocator, &queue->inverse[view], rows, "memory bank: lengths"));
    }
    CB_TRY(CB_ALLOCATE_UNCLEARED(allocator, &queue->id, rows, "memory bank: ids of entries"));
    CB_TRY(CB_ALLOCATE(allocator, &queue->in_use, blocks, "memory bank: blocks in use"));
    CB_TRY(CB_ALLOCATE(allocator, &queue->idle, blocks, "memory bank: idle blocks"));
    CB_TRY(CB_ALLOCATE(allocator, &queue->per_image, max_images, "memory bank: objects per image"));
    CB_TRY(CB_ALLOCATE(allocator, &queue->image_id, max_images, "memory bank: ids of images"));
    cb_object_queue_clear(queue);
    return CRIBO_OK;
}

void cb_object_queue_destroy(const cb_allocator *allocator, cb_object_queue *queue)
{
    cb_release(allocator, queue->image_id);
    cb_release(allocator, queue->per_image);
    cb_release(allocator, queue->idle);
    cb_release(allocator, queue->in_use);
    cb_release(allocator, queue->id);
    for (int view = 2; view-- > 0;) {
        cb_release(allocator, queue->inverse[view]);
        cb_release(allocator, queue->vector[view]);
    }
    *queue = (cb_object_queue){0};
}

void cb_object_queue_clear(cb_object_queue *queue)
{
    queue->newest_block = queue->newest_image = 0;
    queue->first = queue->entries = queue->stored = queue->images = 0;
    queue->offset = queue->division.part;
    queue->idle_count = queue->blocks;
    for (size_t i = 0; i < queue->blocks; i++)
        queue->idle[i] = queue->blocks - 1 - i; /* block 0 comes first */
}

size_t cb_objects_count(const cb_objects *objects, size_t images)
{
    size_t count = 0;
    for (size_t b = 0; b < images; b++) count += (size_t)objects->per_image[b];
    return count;
}

cb_real cb_inverse_length(const cb_real *x, size_t n)
{
    return (cb_real)(1 / fmax(sqrt(cb_rows()->sum_squares(x, n)), 1e-12));
}

size_t cb_object_queue_blocks(const cb_object_queue *queue)
{
    return (queue->first + queue->stored + queue->block_rows - 1) / queue->block_rows;
}

/* The offset of part `part`: all parts moved by the same number of entries. */
static size_t offset_of(const cb_object_queue *queue, size_t part)
{
    size_t parts = queue->division.parts;
    return (queue->offset + part + parts - queue->division.part) % parts;
}

size_t cb_object_queue_part_with(const cb_object_queue *queue, size_t index)
{
    size_t parts = queue->division.parts;
    return (index + parts - offset_of(queue, 0)) % parts;
}

size_t cb_object_queue_stored_before(const cb_object_queue *queue, size_t part, size_t index)
{
    size_t parts = queue->division.parts;
    return (index + parts - 1 - offset_of(queue, part)) / parts;
}

size_t cb_object_queue_index(const cb_object_queue *queue, size_t part, size_t stored)
{
    return stored * queue->division.parts + offset_of(queue, part);
}

static size_t stored_before(const cb_object_queue *queue, size_t index)
{
    return cb_object_queue_stored_before(queue, queue->division.part, index);
}

static size_t *block_in_use(const cb_object_queue *queue, size_t block)
{
    return &queue->in_use[(queue->newest_block + block) % queue->blocks];
}

size_t cb_object_queue_row(const cb_object_queue *queue, size_t stored)
{
    size_t row = queue->first + stored;
    return *block_in_use(queue, row / queue->block_rows) * queue->block_rows + row % queue->block_rows;
}

cb_object_block cb_object_queue_block(const cb_object_queue *queue, size_t block)
{
    size_t begin = block * queue->block_rows,
           end = cb_min(begin + queue->block_rows, queue->first + queue->stored);
    if (begin < queue->first) begin = queue->first; /* the newest block */
    size_t index = begin - queue->first;
    return (cb_object_block){index, cb_object_queue_row(queue, index), end - begin};
}

static size_t image_slot(const cb_object_queue *queue, size_t image)
{
    return (queue->newest_image + image) % queue->max_images;
}

int64_t cb_object_queue_per_image(const cb_object_queue *queue, size_t image)
{
    return queue->per_image[image_slot(queue, image)];
}

int64_t cb_object_queue_image_id(const cb_object_queue *queue, size_t image)
{
    return queue->image_id[image_slot(queue, image)];
}

static void drop_oldest_image(cb_object_queue *queue)
{
    size_t before = cb_object_queue_blocks(queue);
    queue->entries -= (size_t)cb_object_queue_per_image(queue, --queue->images);
    queue->stored = stored_before(queue, queue->entries);
    if (queue->stored == 0) queue->first = 0;
    for (size_t block = cb_object_queue_blocks(queue); block < before; block++)
        queue->idle[queue->idle_count++] = *block_in_use(queue, block);
}

static void add_newest_block(cb_object_queue *queue)
{
    queue->newest_block = (queue->newest_block + queue->blocks - 1) % queue->blocks;
    queue->in_use[queue->newest_block] = queue->idle[--queue->idle_count];
    queue->first = queue->block_rows;
}

static void put_row(cb_object_queue *queue, const cb_objects *objects, size_t from)
{
    size_t width = queue->width;
    if (queue->first == 0) add_newest_block(queue);
    queue->first--;
    queue->stored++;
    size_t to = cb_object_queue_row(queue, 0);
    for (int view = 0; view < 2; view++) {
        const cb_real *vector = objects->view[view] + from * width;
        memcpy(queue->vector[view] + to * width, vector, width * sizeof *vector);
        queue->inverse[view][to] = cb_inverse_length(vector, width);
    }
}

/* Puts this part of the first `count` rows of the batch in front of all entries, last row first. */
static void put_in_front(cb_object_queue *queue, const cb_objects *objects, size_t count, bool stored_only)
{
    queue->offset = (queue->offset + count) % queue->division.parts;
    queue->entries += count;
    for (size_t own = stored_before(queue, count); own-- > 0;)
        put_row(queue, objects, stored_only ? own : cb_object_queue_index(queue, queue->division.part, own));
}

/* Counts and ids of the images whose objects are now the first. */
static void name_in_front(cb_object_queue *queue, const cb_objects *objects, size_t images)
{
    size_t entry = 0;
    queue->newest_image = (queue->newest_image + queue->max_images - images) % queue->max_images;
    queue->images += images;
    for (size_t b = 0; b < images; b++) {
        int64_t id = objects->ids ? objects->ids[b] : CB_NO_ID;
        queue->per_image[image_slot(queue, b)] = objects->per_image[b];
        queue->image_id[image_slot(queue, b)] = id;
        size_t end = entry + (size_t)objects->per_image[b];
        for (size_t own = stored_before(queue, entry); own < stored_before(queue, end); own++)
            queue->id[cb_object_queue_row(queue, own)] = id;
        entry = end;
    }
}

static void push(cb_object_queue *queue, const cb_objects *objects, bool stored_only)
{
    size_t images = cb_min(objects->images, queue->max_images);
    while (queue->images + images > queue->max_images) drop_oldest_image(queue);
    put_in_front(queue, objects, cb_objects_count(objects, images), stored_only);
    name_in_front(queue, objects, images);
}

void cb_object_queue_push(cb_object_queue *queue, const cb_objects *objects)
{
    push(queue, objects, false);
}

void cb_object_queue_restore(cb_object_queue *queue, const cb_objects *objects)
{
    cb_object_queue_clear(queue);
    push(queue, objects, true);
}

size_t cb_object_queue_restored_offset(const cb_object_queue *queue, size_t count)
{
    return (queue->division.part + count) % queue->division.parts;
}
