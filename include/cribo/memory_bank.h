/*
 * cribo/memory_bank.h: the two aligned memory banks of section 2 (one per view), nearest neighbours, and the
 * cycle-consistency test that selects the neighbours used as targets.
 *
 * Works on any vectors that come in pairs (two views of one object). First in, first out, counted in images;
 * an image may hold any number of objects up to objects_per_image.
 */
#ifndef CRIBO_MEMORY_BANK_H
#define CRIBO_MEMORY_BANK_H

#include "cribo/base.h"
#include "cribo/stream.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Objects of earlier images, newest first. Holds its settings, its entries and a workspace. */
typedef struct cribo_memory_bank cribo_memory_bank;

/* Settings; cribo_memory_bank_config_init sets the published defaults. Fields are only ever appended. */
typedef struct cribo_memory_bank_config {
    size_t struct_size;        /* sizeof(cribo_memory_bank_config), set by _init */
    int64_t bank_images;       /* Q, capacity in images; 25 000. 1 ... 2^31 */
    int64_t objects_per_image; /* K, maximum number of objects of one image; 32. 1 ... 4096 */
    int64_t width;             /* D, numbers in a vector; 384. 1 ... 65 536 */
    int64_t max_objects; /* maximum objects of one query or push; 0: 256 objects_per_image. 0 ... 2^31 */
} cribo_memory_bank_config;

/*
 * _init sets the defaults; `struct_size` is sizeof(cribo_memory_bank_config) as the caller knows it. _set
 * assigns a setting by its name from text, with a decimal point in every locale. _setting describes setting
 * `index`, starting at 0; its strings are static.
 * Errors: CRIBO_INVALID_ARGUMENT (NULL, a size this library never had, no such setting, text that is no
 * number, a value out of range, an index past the last).
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_memory_bank_config_init(
    cribo_memory_bank_config *config, size_t struct_size);
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_memory_bank_config_set(
    cribo_memory_bank_config *config, const char *name, const char *value);
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_memory_bank_config_setting(
    size_t index, cribo_setting *setting);

/*
 * Makes an empty bank.
 * Ownership: free with cribo_memory_bank_free.
 * Errors: CRIBO_INVALID_ARGUMENT, CRIBO_OUT_OF_MEMORY, CRIBO_SYSTEM_ERROR (no threads).
 * Cost: 8 D + 16 bytes for each of Q * K entries of address space, of which (with the default allocator) only
 * the filled part is touched: half of the size of raw and normalised vectors of both views in float32. For
 * queries 12 D bytes for each of max_objects, and some MB per thread.
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_memory_bank_create(
    cribo_memory_bank **out, const cribo_memory_bank_config *config, const cribo_runtime *runtime);

/*
 * The bytes that cribo_memory_bank_create takes from the allocator; push and query take none. See
 * cribo_trainer_memory.
 * Errors: as cribo_memory_bank_create; CRIBO_OUT_OF_MEMORY only where the address space is too small.
 * Cost: as cribo_trainer_memory.
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_memory_bank_memory(
    const cribo_memory_bank_config *config, const cribo_runtime *runtime, int64_t *bytes);

/* Frees a bank that cribo_memory_bank_create made (not a trainer's); NULL is fine. */
CRIBO_API void cribo_memory_bank_free(cribo_memory_bank *bank);

/*
 * The settings with which the bank was made; they cannot change. _get_config: all of them, into a config
 * whose struct_size is set (_config_init does). _get_setting: one by its name; of a choice its number.
 * Errors: CRIBO_INVALID_ARGUMENT (NULL, no such setting, a size this library never had).
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_memory_bank_get_config(
    const cribo_memory_bank *bank, cribo_memory_bank_config *config);
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_memory_bank_get_setting(
    const cribo_memory_bank *bank, const char *name, double *value);

/*
 * The sizes of the bank (cribo_sizes): width, clusters (objects of an image), bank_....
 * Errors: CRIBO_INVALID_ARGUMENT (NULL, struct_size not set).
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_memory_bank_sizes(
    const cribo_memory_bank *bank, cribo_sizes *sizes);

/*
 * The objects of a batch: R rows, image by image.
 *
 * images            B
 * objects_per_image [B] how many rows each image has (0 ... K); their sum is R
 * view1, view2      [R, D] the two views of each object; raw (any length), finite
 * ids               [B] an id per image: a query never matches objects of its own image; -1: no id. NULL: no
 *                   image has an id, and nothing is excluded
 */
typedef struct cribo_object_batch {
    size_t struct_size; /* sizeof(cribo_object_batch) */
    int64_t images;
    const int64_t *objects_per_image;
    const float *view1;
    const float *view2;
    const int64_t *ids;
} cribo_object_batch;

/*
 * Pointers to the results of a query; any pointer may be NULL.
 *
 * index1, index2  [R] the bank entry nearest to view 1 (in bank 1) and to view 2 (in bank 2) by cosine: entry
 *                 0 is the first object of the newest image; -1 where there is none (bank empty, or all
 *                 excluded). Ties: the lowest index
 * match1, match2  [R] O(c_1^k), O(c_2^k) of section 2: 1 where the neighbour passes the cycle test, else 0
 * neighbours1, neighbours2  [R, D] the raw vectors bank1[index1], bank2[index2]; zero where the index is -1
 */
typedef struct cribo_match {
    size_t struct_size; /* sizeof(cribo_match) */
    int64_t *index1;
    int64_t *index2;
    uint8_t *match1;
    uint8_t *match2;
    float *neighbours1;
    float *neighbours2;
} cribo_match;

/*
 * Finds each object's nearest neighbour in the bank of its view and applies the cycle test against this
 * batch. The bank does not change.
 * Errors: CRIBO_INVALID_ARGUMENT.
 * Cost: 4 R V D flop for V entries, in bfloat16 where the CPU is fast at it, with the same result; no array
 * of R * V is stored.
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_memory_bank_query(
    cribo_memory_bank *bank, const cribo_object_batch *objects, const cribo_match *match);

/*
 * Adds a batch: image 0 becomes the newest. Of a batch larger than the bank, the first Q images are kept.
 * Errors: CRIBO_INVALID_ARGUMENT.
 * Cost: O(R D), independent of the bank's content.
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_memory_bank_push(
    cribo_memory_bank *bank, const cribo_object_batch *objects);

/*
 * The numbers of images and objects in the bank; either pointer may be NULL.
 * Errors: CRIBO_INVALID_ARGUMENT (bank is NULL).
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_memory_bank_count(
    const cribo_memory_bank *bank, int64_t *images, int64_t *objects);

/*
 * Copies the bank out, newest image first: objects_per_image [images], ids [images] (-1: none), view1 and
 * view2 [objects, D], with the counts of cribo_memory_bank_count; the vectors raw, as pushed. Any pointer may
 * be NULL.
 * Errors: CRIBO_INVALID_ARGUMENT (bank is NULL).
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_memory_bank_export(
    const cribo_memory_bank *bank, int64_t *objects_per_image, int64_t *ids, float *view1, float *view2);

/*
 * Arrays for a copy of the bank, in the shapes of cribo_memory_bank_export. Any array may be NULL.
 *
 * image_capacity          images for which objects_per_image and ids have room
 * object_capacity         objects for which view1 and view2 have room
 * objects_per_image, ids  [image_capacity]
 * view1, view2            [object_capacity, D]
 */
typedef struct cribo_bank_arrays {
    size_t struct_size; /* sizeof(cribo_bank_arrays) */
    int64_t image_capacity;
    int64_t object_capacity;
    int64_t *objects_per_image;
    int64_t *ids;
    float *view1;
    float *view2;
} cribo_bank_arrays;

/*
 * cribo_memory_bank_export into arrays of known sizes.
 * Errors: CRIBO_INVALID_ARGUMENT (NULL, struct_size not set, a capacity that is too small, with the number
 * that is needed); nothing is then written.
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_memory_bank_copy(
    const cribo_memory_bank *bank, const cribo_bank_arrays *arrays);

/*
 * Replaces the bank's content by what cribo_memory_bank_export gave, newest image first; objects->images may
 * be 0 (empties the bank). An id of -1 means none.
 * Errors: CRIBO_INVALID_ARGUMENT (more images than Q, an image with more than K objects, ...); the bank is
 * then unchanged.
 * Cost: one sweep over the vectors.
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_memory_bank_import(
    cribo_memory_bank *bank, const cribo_object_batch *objects);

/*
 * Writes the bank's content to a safetensors file, atomically, as the tensors prefix + "objects_per_image"
 * and "ids" (int64 [images]), "view1" and "view2" (float32 [objects, D]), newest image first (prefix NULL:
 * none).
 * Errors: CRIBO_IO_ERROR with the system's reason, CRIBO_OUT_OF_MEMORY, CRIBO_INVALID_ARGUMENT (NULL, a
 * prefix that is not UTF-8); an old file is then unchanged.
 * Cost: no copy of the vectors.
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_memory_bank_save(
    const cribo_memory_bank *bank, const char *path, const char *prefix);
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_memory_bank_save_to(
    const cribo_memory_bank *bank, const cribo_writer *writer, const char *prefix);

/*
 * Replaces the bank's content by what cribo_memory_bank_save wrote, or by that of a trainer's checkpoint
 * (prefix "bank."). Other tensors in the file are passed over.
 * Errors: CRIBO_IO_ERROR, CRIBO_CORRUPT, CRIBO_OUT_OF_MEMORY, CRIBO_INVALID_ARGUMENT (NULL, a tensor is
 * missing or has another type or shape, more images than Q, an image with more than K objects, a vector that
 * is not finite); the bank is then unchanged.
 * Cost: a second copy of the content while it is read.
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_memory_bank_load(
    cribo_memory_bank *bank, const char *path, const char *prefix);
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_memory_bank_load_from(
    cribo_memory_bank *bank, const cribo_reader *reader, const char *prefix);

#ifdef __cplusplus
}
#endif

#endif
