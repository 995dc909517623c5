/* Labelled patches. See patch_memory.h. */
#include "evaluation/patch_memory.h"

#include "base/random.h"
#include "search/object_queue.h"
#include "tensor/rows.h"

#include <string.h>

cribo_status cb_patch_memory_check(const cb_patch_memory *memory, const cb_label_maps *maps)
{
    size_t pixels = maps->height * maps->width;
    for (size_t i = 0; i < maps->images * pixels; i++) {
        int64_t label = maps->labels[i];
        CB_REQUIRE(label == memory->ignore_label || (label >= 0 && label < (int64_t)memory->classes),
            "labels[%zu, %zu, %zu] = %lld must be in 0 ... %zu, or %lld to be ignored", i / pixels,
            i % pixels / maps->width, i % maps->width, (long long)label, memory->classes - 1,
            (long long)memory->ignore_label);
    }
    return CRIBO_OK;
}

/* The first pixel of patch `patch` of all images. */
static const int32_t *patch_pixels(const cb_label_maps *maps, size_t patch)
{
    size_t of_image = maps->rows * maps->columns, image = patch / of_image;
    size_t row = patch % of_image / maps->columns, column = patch % maps->columns;
    size_t y = row * (maps->height / maps->rows), x = column * (maps->width / maps->columns);
    return maps->labels + (image * maps->height + y) * maps->width + x;
}

/* The number of a patch's labelled pixels, and optionally the histogram of their labels. */
static uint32_t count_pixels(
    const cb_patch_memory *memory, const cb_label_maps *maps, size_t patch, uint16_t *histogram)
{
    const int32_t *pixel = patch_pixels(maps, patch);
    uint32_t total = 0;
    if (histogram) memset(histogram, 0, memory->classes * sizeof *histogram);
    for (size_t y = 0; y < maps->height / maps->rows; y++, pixel += maps->width)
        for (size_t x = 0; x < maps->width / maps->columns; x++) {
            if (pixel[x] == memory->ignore_label) continue;
            if (histogram) histogram[pixel[x]]++;
            total++;
        }
    return total;
}

void cb_unit_feature(cb_real *unit, const cb_real *feature, size_t width)
{
    cb_rows()->scale(unit, feature, cb_inverse_length(feature, width), width);
}

static cribo_status add_block(const cb_allocator *allocator, cb_patch_memory *memory)
{
    cb_patch_block block = {0};
    cribo_status status =
        CB_ALLOCATE(allocator, &block.unit, CB_PATCH_BLOCK * memory->width, "probe: features");
    if (status == CRIBO_OK)
        status = CB_ALLOCATE(allocator, &block.pixels, CB_PATCH_BLOCK * memory->classes, "probe: histograms");
    if (status == CRIBO_OK)
        status = CB_ALLOCATE(allocator, &block.total, CB_PATCH_BLOCK, "probe: histograms");
    if (status == CRIBO_OK) {
        memory->blocks[memory->block_count++] = block;
        return CRIBO_OK;
    }
    cb_release(allocator, block.pixels);
    cb_release(allocator, block.unit);
    return status;
}

/* Allocates blocks for `entries`; blocks that remain after a failure are used later. */
static cribo_status reserve(const cb_allocator *allocator, cb_patch_memory *memory, size_t entries)
{
    size_t blocks = entries / CB_PATCH_BLOCK + (entries % CB_PATCH_BLOCK != 0);
    if (blocks > memory->block_room) {
        cb_patch_block *longer;
        size_t room = blocks > 2 * memory->block_room ? blocks : 2 * memory->block_room;
        CB_TRY(CB_ALLOCATE(allocator, &longer, room, "probe: list of blocks"));
        if (memory->block_count) memcpy(longer, memory->blocks, memory->block_count * sizeof *longer);
        cb_release(allocator, memory->blocks);
        memory->blocks = longer;
        memory->block_room = room;
    }
    while (memory->block_count < blocks) CB_TRY(add_block(allocator, memory));
    return CRIBO_OK;
}

/* The entry that patch number `seen` of all becomes; `most` or more: none. */
static size_t draw_entry(const cb_patch_memory *memory)
{
    if (memory->most == 0 || memory->count < memory->most) return memory->count;
    cb_random random =
        cb_random_begin(memory->seed, CB_PURPOSE_PATCH_SAMPLE, memory->seen >> 32, memory->seen);
    return (size_t)(cb_random_uniform(&random) * (double)(memory->seen + 1));
}

static void keep_patch(
    cb_patch_memory *memory, const cb_label_maps *maps, size_t patch, const cb_real *feature)
{
    size_t entry = draw_entry(memory);
    memory->seen++;
    if (memory->most && entry >= memory->most) return;
    cb_patch_block *block = &memory->blocks[entry / CB_PATCH_BLOCK];
    size_t row = entry % CB_PATCH_BLOCK;
    cb_unit_feature(block->unit + row * memory->width, feature, memory->width);
    block->total[row] = count_pixels(memory, maps, patch, block->pixels + row * memory->classes);
    if (entry == memory->count) memory->count++;
}

/* The patch of all images that is number `i` of the choice. */
static size_t chosen_patch(const cb_label_maps *maps, cb_patch_choice choice, size_t i)
{
    if (!choice.index) return i;
    return i / choice.count * maps->rows * maps->columns + (size_t)choice.index[i];
}

cribo_status cb_patch_memory_add(const cb_allocator *allocator, cb_patch_memory *memory,
    const cb_label_maps *maps, const cb_real *features, cb_patch_choice choice)
{
    size_t chosen = maps->images * (choice.index ? choice.count : maps->rows * maps->columns), labelled = 0;
    for (size_t i = 0; i < chosen; i++)
        labelled += count_pixels(memory, maps, chosen_patch(maps, choice, i), NULL) != 0;
    size_t entries = memory->count + labelled;
    if (memory->most) entries = cb_min(entries, memory->most);
    CB_TRY(reserve(allocator, memory, entries));
    for (size_t i = 0; i < chosen; i++) {
        size_t patch = chosen_patch(maps, choice, i);
        if (count_pixels(memory, maps, patch, NULL))
            keep_patch(memory, maps, patch, features + patch * memory->width);
    }
    return CRIBO_OK;
}

void cb_patch_memory_destroy(const cb_allocator *allocator, cb_patch_memory *memory)
{
    for (size_t i = 0; i < memory->block_count; i++) {
        cb_release(allocator, memory->blocks[i].total);
        cb_release(allocator, memory->blocks[i].pixels);
        cb_release(allocator, memory->blocks[i].unit);
    }
    cb_release(allocator, memory->blocks);
}

size_t cb_patch_memory_blocks(const cb_patch_memory *memory)
{
    return memory->count / CB_PATCH_BLOCK + (memory->count % CB_PATCH_BLOCK != 0);
}

size_t cb_patch_memory_rows(const cb_patch_memory *memory, size_t block)
{
    return cb_min(memory->count - block * CB_PATCH_BLOCK, CB_PATCH_BLOCK);
}

void cb_patch_memory_mix(const cb_patch_memory *memory, size_t entry, cb_real weight, cb_real *shares)
{
    const cb_patch_block *block = &memory->blocks[entry / CB_PATCH_BLOCK];
    size_t row = entry % CB_PATCH_BLOCK;
    const uint16_t *pixels = block->pixels + row * memory->classes;
    cb_real of_one = weight / (cb_real)block->total[row];
    for (size_t c = 0; c < memory->classes; c++) shares[c] += of_one * (cb_real)pixels[c];
}
