/* Block masks. See masks.h. */
#include "objective/masks.h"

#include "base/memory.h"

#include <math.h>
#include <string.h>

#define LEAST_AREA 4     /* patches of a block, unless fewer are left; as published */
#define LEAST_ASPECT 0.3 /* of a block, to its inverse; as published */
#define TRIES 10         /* blocks in a row that do not fit */

typedef struct block {
    size_t top, left, height, width;
} block;

static size_t side(double length, size_t most)
{
    size_t whole = (size_t)llround(length);
    return whole < 1 ? 1 : cb_min(whole, most);
}

static block draw_block(cb_random *random, size_t rows, size_t columns, size_t left)
{
    double least = (double)cb_min(LEAST_AREA, left);
    double area = least + ((double)left - least) * cb_random_uniform(random);
    double aspect = exp((2 * cb_random_uniform(random) - 1) * log(LEAST_ASPECT));
    block b = {.height = side(sqrt(area * aspect), rows), .width = side(sqrt(area / aspect), columns)};
    b.top = cb_random_below(random, (uint32_t)(rows - b.height + 1));
    b.left = cb_random_below(random, (uint32_t)(columns - b.width + 1));
    return b;
}

/* The patches of a block that are not masked yet. */
static size_t count_fresh(const block *b, size_t columns, const uint8_t *mask)
{
    size_t fresh = 0;
    for (size_t r = b->top; r < b->top + b->height; r++)
        for (size_t c = b->left; c < b->left + b->width; c++) fresh += !mask[r * columns + c];
    return fresh;
}

size_t cb_masks_draw_blocks(cb_random *random, size_t rows, size_t columns, size_t wanted, uint8_t *mask)
{
    size_t masked = 0;
    memset(mask, 0, rows * columns);
    for (int tries = 0; masked < wanted && tries < TRIES; tries++) {
        block b = draw_block(random, rows, columns, wanted - masked);
        size_t fresh = count_fresh(&b, columns, mask);
        if (fresh == 0 || fresh > wanted - masked) continue;
        for (size_t r = b.top; r < b.top + b.height; r++) memset(mask + r * columns + b.left, 1, b.width);
        masked += fresh;
        tries = -1;
    }
    return masked;
}

static size_t patches_of(double share, size_t patches)
{
    return side(share * (double)patches, patches);
}

size_t cb_masks_most(const cb_masking *masking, size_t patches)
{
    return masking->weight > 0 ? patches_of(masking->share_max, patches) : 0;
}

void cb_masks_draw(const cb_mask_draw *draw, uint8_t *mask, int64_t counts[2])
{
    const cb_masking *m = draw->masking;
    size_t patches = draw->rows * draw->columns;
    cb_random random =
        cb_random_begin((uint64_t)draw->seed, CB_PURPOSE_MASKS, (uint64_t)draw->step, (uint64_t)draw->key);
    for (size_t v = 0; v < 2; v++) {
        bool masked = cb_random_uniform(&random) < m->views;
        double share = m->share_min + (m->share_max - m->share_min) * cb_random_uniform(&random);
        size_t wanted = masked ? patches_of(share, patches) : 0;
        counts[v] =
            (int64_t)cb_masks_draw_blocks(&random, draw->rows, draw->columns, wanted, mask + v * patches);
    }
}
