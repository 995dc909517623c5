/* See fashion.h. */
#include "scenes/fashion.h"

#include "pictures/folder.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

/* Greys below FAINT are the noise around the items. */
enum { PIXELS = FASHION_SIDE * FASHION_SIDE, MOST_ITEMS = 1000000, FAINT = 8 };

const char *const fashion_class_names[FASHION_CLASSES] = {
    "top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot"};

static const char *const image_files[2] = {"train-images-idx3-ubyte.gz", "t10k-images-idx3-ubyte.gz"};
static const char *const label_files[2] = {"train-labels-idx1-ubyte.gz", "t10k-labels-idx1-ubyte.gz"};

bool fashion_is_in(const char *folder)
{
    char *path = path_join(folder, image_files[0]);
    bool there = path && access(path, R_OK) == 0;
    free(path);
    return there;
}

static uint32_t big_endian(const uint8_t *b)
{
    return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

/*
 * An IDX file of bytes: 0, 0, 8, the number of dimensions, each as 32 bits, then the bytes. Returns the items
 * of `size` bytes each, from malloc, NULL on failure, and their number in *count.
 */
static uint8_t *read_idx(gzFile file, size_t size, size_t *count)
{
    const uint8_t dimensions = size == 1 ? 1 : 3;
    uint8_t header[16], magic[4] = {0, 0, 8, dimensions};
    int length = 4 + 4 * dimensions;
    if (gzread(file, header, (unsigned)length) != length || memcmp(header, magic, 4) != 0) return NULL;
    *count = big_endian(header + 4);
    for (int i = 2; i <= dimensions; i++)
        if (big_endian(header + 4 * i) != FASHION_SIDE) return NULL;
    if (*count < 1 || *count > MOST_ITEMS) return NULL;
    uint8_t *bytes = malloc(*count * size);
    if (bytes && gzread(file, bytes, (unsigned)(*count * size)) == (int)(*count * size)) return bytes;
    free(bytes);
    return NULL;
}

static uint8_t *read_file(
    const char *folder, const char *name, size_t size, size_t *count, struct problem *problem)
{
    char *path = path_join(folder, name);
    gzFile file = path ? gzopen(path, "rb") : NULL;
    uint8_t *bytes = file ? read_idx(file, size, count) : NULL;
    if (!bytes)
        problem_set(problem, "%s: cannot be read as an IDX file of %s", path ? path : name,
            size == 1 ? "labels" : "28 x 28 pictures");
    if (file) gzclose(file);
    free(path);
    return bytes;
}

/* Sorts the items by class, in the file's order within each. */
static bool sort_items(struct fashion *fashion, const uint8_t *labels)
{
    fashion->order = calloc(fashion->count, sizeof *fashion->order);
    if (!fashion->order) return false;
    size_t next = 0;
    for (size_t k = 0; k < FASHION_CLASSES; k++) {
        fashion->first[k] = next;
        for (size_t i = 0; i < fashion->count; i++)
            if (labels[i] == k) fashion->order[next++] = (uint32_t)i;
    }
    fashion->first[FASHION_CLASSES] = next;
    return next == fashion->count;
}

bool fashion_load(struct fashion *fashion, const char *folder, bool validation, struct problem *problem)
{
    size_t labelled = 0;
    *fashion = (struct fashion){0};
    fashion->pixels = read_file(folder, image_files[validation], PIXELS, &fashion->count, problem);
    uint8_t *labels =
        fashion->pixels ? read_file(folder, label_files[validation], 1, &labelled, problem) : NULL;
    bool loaded = labels && labelled == fashion->count && sort_items(fashion, labels);
    if (labels && !loaded)
        problem_set(problem, "%s/%s: expected a label from 0 to 9 for each of %zu pictures, or no memory",
            folder, label_files[validation], fashion->count);
    free(labels);
    if (!loaded) fashion_free(fashion);
    return loaded;
}

void fashion_free(struct fashion *fashion)
{
    free(fashion->pixels);
    free(fashion->order);
    *fashion = (struct fashion){0};
}

/* Marks the pixels outside of the item: faint pixels that are connected to the border through faint ones. */
static void mark_outside(const uint8_t *grey, uint8_t outside[PIXELS])
{
    int waiting[PIXELS], count = 0;
    memset(outside, 0, PIXELS);
    for (int i = 0; i < PIXELS; i++) {
        int x = i % FASHION_SIDE, y = i / FASHION_SIDE;
        bool border = x == 0 || y == 0 || x == FASHION_SIDE - 1 || y == FASHION_SIDE - 1;
        if (border && grey[i] < FAINT) outside[waiting[count++] = i] = 1;
    }
    while (count > 0) {
        int i = waiting[--count], x = i % FASHION_SIDE;
        const int beside[4] = {
            x > 0 ? i - 1 : i, x < FASHION_SIDE - 1 ? i + 1 : i, i - FASHION_SIDE, i + FASHION_SIDE};
        for (int n = 0; n < 4; n++)
            if (beside[n] >= 0 && beside[n] < PIXELS && grey[beside[n]] < FAINT && !outside[beside[n]])
                outside[waiting[count++] = beside[n]] = 1;
    }
}

bool fashion_item(struct image *item, const struct fashion *fashion, size_t k, size_t which,
    const double *draws, struct problem *problem)
{
    uint8_t outside[PIXELS];
    const uint8_t *grey = fashion->pixels + PIXELS * (size_t)fashion->order[fashion->first[k] + which];
    if (!image_make(item, FASHION_SIDE, FASHION_SIDE, 4, problem)) return false;
    mark_outside(grey, outside);
    for (size_t i = 0; i < PIXELS; i++) {
        uint8_t *pixel = item->pixels + 4 * i;
        for (int c = 0; c < 3; c++) {
            double low = 0.25 * draws[c], high = 0.4 + 0.6 * draws[3 + c];
            pixel[c] = (uint8_t)lround(255 * low + (high - low) * grey[i]);
        }
        pixel[3] = outside[i] ? 0 : 255;
    }
    return true;
}
