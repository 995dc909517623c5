/*
 * Labelled patches: unit features, each with the histogram of the labels under it, in blocks that are
 * allocated when needed.
 *
 * With at most `most` entries, the memory is a uniform sample of all patches so far (Vitter's
 * algorithm R): patch number i replaces entry j, drawn from 0 ... i, if j < most. The draw is a function of
 * (seed, i), so the sample does not depend on the calls.
 */
#ifndef CB_EVALUATION_PATCH_MEMORY_H
#define CB_EVALUATION_PATCH_MEMORY_H

#include "base/memory.h"
#include "tensor/real.h"

#define CB_PATCH_BLOCK \
    1024 /* entries of a block: with a stripe of queries, their cosines stay in the cache */
#define CB_PATCH_MOST_PIXELS 65535 /* of a patch: maximum of a count */

typedef struct cb_patch_block {
    cb_real *unit;    /* [CB_PATCH_BLOCK, D] */
    uint16_t *pixels; /* [CB_PATCH_BLOCK, C] histogram */
    uint32_t *total;  /* [CB_PATCH_BLOCK] its sum, not 0 */
} cb_patch_block;

typedef struct cb_patch_memory {
    size_t width, classes, most; /* D, C; most 0: no bound */
    uint64_t seed;
    int64_t ignore_label;

    uint64_t seen; /* patches so far, without those that have no label */
    size_t count;  /* entries held */
    cb_patch_block *blocks;
    size_t block_count, block_room;
} cb_patch_memory;

/* Label maps of images, and their grid of patches. */
typedef struct cb_label_maps {
    size_t images, rows, columns; /* the grid */
    size_t height, width;         /* multiples of rows, columns */
    const int32_t *labels;        /* [images, height, width] */
} cb_label_maps;

/* Whether all labels are classes or to be ignored. */
cribo_status cb_patch_memory_check(const cb_patch_memory *memory, const cb_label_maps *maps);

/* Some patches of each image: index [images, count], each below rows * columns. */
typedef struct cb_patch_choice {
    size_t count;
    const int64_t *index; /* NULL: all patches */
} cb_patch_choice;

/*
 * Adds the chosen patches of checked maps, in the order of the choice; features [images, rows * columns,
 * D]. Fails for lack of memory only, and changes nothing then.
 */
cribo_status cb_patch_memory_add(const cb_allocator *allocator, cb_patch_memory *memory,
    const cb_label_maps *maps, const cb_real *features, cb_patch_choice choice);

void cb_patch_memory_destroy(const cb_allocator *allocator, cb_patch_memory *memory);

/* The feature scaled to length 1. */
void cb_unit_feature(cb_real *unit, const cb_real *feature, size_t width);

/* The number of blocks with entries, and the number of entries of block `block`. */
size_t cb_patch_memory_blocks(const cb_patch_memory *memory);
size_t cb_patch_memory_rows(const cb_patch_memory *memory, size_t block);

/* shares [C] += weight times the histogram of an entry, as shares. */
void cb_patch_memory_mix(const cb_patch_memory *memory, size_t entry, cb_real weight, cb_real *shares);

#endif
