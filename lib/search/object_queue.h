/*
 * The store of the memory bank: object vectors of both views, first in, first out, counted in images.
 *
 * Entries are numbered from the newest image's first object (0) to the oldest image's last. They lie in
 * blocks of `block_rows` rows, packed without gaps whatever the number of objects per image: entry i is row
 * `first + i` of the blocks in their order from the newest on. New entries grow downwards from the front, so
 * order in memory is order in age, and a search processes whole blocks. An empty block is the next to be used
 * again, so only the memory of the stored entries is touched.
 *
 * A queue may store one of `parts` equal parts of the entries: number l of the stored ones is entry
 * l * parts + offset of all. Every push moves `offset`, so that an entry stays in its part. The counts and
 * ids of images are those of all entries. Rows and blocks are those of the stored entries.
 */
#ifndef CB_SEARCH_OBJECT_QUEUE_H
#define CB_SEARCH_OBJECT_QUEUE_H

#include "base/memory.h"
#include "tensor/real.h"

#define CB_NO_ID ((int64_t)-1)

/* The objects of a batch, image by image: R rows, the sum of per_image. */
typedef struct cb_objects {
    size_t images;
    const int64_t *per_image; /* [images] */
    const cb_real *view[2];   /* [R, D] raw vectors */
    const int64_t *ids;       /* [images], CB_NO_ID for an image without an id; NULL: no image has one */
} cb_objects;

/* One of several equal parts. */
typedef struct cb_division {
    size_t part, parts;
} cb_division;

typedef struct cb_object_queue {
    size_t max_images, max_per_image, width; /* Q, K, D */
    cb_division division;
    size_t offset; /* of the part's entries */

    size_t block_rows, blocks;
    cb_real *vector[2];  /* [blocks * block_rows, D] raw */
    cb_real *inverse[2]; /* [blocks * block_rows] 1 / max(|vector|, 1e-12) */
    int64_t *id;         /* [blocks * block_rows] of the entry's image */

    size_t *in_use; /* [blocks] a ring of block numbers, newest first from `newest_block` */
    size_t newest_block;
    size_t *idle; /* [blocks] a stack of the other block numbers */
    size_t idle_count;
    size_t first;   /* row of entry 0 in the newest block */
    size_t entries; /* number of all */
    size_t stored;  /* and of the stored ones */

    int64_t *per_image; /* [Q] a ring, newest first from `newest_image` */
    int64_t *image_id;  /* [Q] the same */
    size_t newest_image;
    size_t images; /* number of them */
} cb_object_queue;

/*
 * On failure the memory allocated so far stays for cb_object_queue_destroy, which takes a zeroed queue too.
 */
cribo_status cb_object_queue_create(const cb_allocator *allocator, cb_object_queue *queue, size_t max_images,
    size_t max_per_image, size_t width, cb_division division);
void cb_object_queue_destroy(const cb_allocator *allocator, cb_object_queue *queue);

/* Removes all entries. */
void cb_object_queue_clear(cb_object_queue *queue);

/* Image 0 of the batch becomes the newest; of a batch larger than the queue the first Q images are kept. */
void cb_object_queue_push(cb_object_queue *queue, const cb_objects *objects);

/*
 * Replaces all entries by at most Q images. `view` has only the vectors of this part: of `count` entries
 * those with the numbers cb_object_queue_restored_offset(queue, count) + l * parts.
 */
void cb_object_queue_restore(cb_object_queue *queue, const cb_objects *objects);
size_t cb_object_queue_restored_offset(const cb_object_queue *queue, size_t count);

/* The part that stores entry `index` of all. */
size_t cb_object_queue_part_with(const cb_object_queue *queue, size_t index);

/* The number of entries before entry `index` of all that part `part` stores. */
size_t cb_object_queue_stored_before(const cb_object_queue *queue, size_t part, size_t index);

/* The number of all that stored entry `stored` of part `part` has. */
size_t cb_object_queue_index(const cb_object_queue *queue, size_t part, size_t stored);

/* The row of `vector` and the parallel arrays where stored entry number `stored` is. */
size_t cb_object_queue_row(const cb_object_queue *queue, size_t stored);

/*
 * Entries that are contiguous in memory: `rows` of them from stored entry number `index`, from row `row` on.
 */
typedef struct cb_object_block {
    size_t index, row, rows;
} cb_object_block;

/* The number of stretches of all entries, and stretch number `block`, counted from the newest. */
size_t cb_object_queue_blocks(const cb_object_queue *queue);
cb_object_block cb_object_queue_block(const cb_object_queue *queue, size_t block);

/* The number of objects and the id of image number `image`, counted from the newest. */
int64_t cb_object_queue_per_image(const cb_object_queue *queue, size_t image);
int64_t cb_object_queue_image_id(const cb_object_queue *queue, size_t image);

/* The number of objects of the first `images` images of a batch. */
size_t cb_objects_count(const cb_objects *objects, size_t images);

/* 1 / max(|x|, 1e-12), the factor of L2 normalisation; summed in double precision, so no length overflows. */
cb_real cb_inverse_length(const cb_real *x, size_t n);

#endif
