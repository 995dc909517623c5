/*
 * The two aligned memory banks M_1, M_2 of section 2, nearest neighbours in them, and the cycle test.
 *
 *   index_1[k] = argmax_j <u_1[k], m_1[j]>                 nn(c_1^k), over the bank of the object's own view
 *   back_1[k]  = argmax_k' <m_2[index_1[k]], u_2[k']>      over all objects of the batch
 *   O(c_1^k)   = (back_1[k] = k)                           and the same with views exchanged
 *
 * u: L2-normalised objects of the batch; m: L2-normalised entries of the bank. Ties go to the lowest index.
 * An object never matches an entry whose image has its own image's id.
 *
 * The search (nearest.h) goes block of entries by block of entries and keeps a running maximum per query, so
 * nothing of size queries x entries is ever made. Each worker keeps its own maxima; the best of several under
 * "greater cosine, then lower index" does not depend on the distribution or the order of the blocks.
 *
 * Over several ranks each rank stores one part of the entries (object_queue.h). A query over all ranks is:
 * cb_memory_bank_search on every rank, which finds the nearest of its entries; the best of these by
 * cb_neighbours_keep; cb_memory_bank_test on every rank, which tests the cycles through its entries. The
 * other functions are for a bank with all entries, or say otherwise.
 */
#ifndef CB_DISTILLATION_MEMORY_BANK_H
#define CB_DISTILLATION_MEMORY_BANK_H

#include "base/config.h"
#include "base/runtime.h"
#include "communication/ranks.h"
#include "cribo/memory_bank.h"
#include "search/nearest.h"
#include "search/object_queue.h"

typedef struct cb_memory_bank cb_memory_bank;

extern const cb_config_table cb_memory_bank_settings;

/*
 * `config` is a full and checked one. The bank keeps the runtime's pool, and is freed with the same runtime.
 * `ranks` is borrowed; NULL: one.
 */
cribo_status cb_memory_bank_create(
    const cb_runtime *runtime, cb_memory_bank **out, const cribo_memory_bank_config *config, cb_ranks *ranks);
void cb_memory_bank_free(const cb_runtime *runtime, cb_memory_bank *bank);

/* The settings with which it was made. */
const cribo_memory_bank_config *cb_memory_bank_config(const cb_memory_bank *bank);

/*
 * Whether to search with bfloat16 products first (nearest.h): a new bank does where the CPU is fast at them.
 * The results are the same either way; tests and benchmarks force one.
 */
void cb_memory_bank_search_coarsely(cb_memory_bank *bank, bool coarsely);

/* Pointers to the results of a query; NULL: not computed. */
typedef struct cb_match {
    int64_t *index[2];     /* [R] the nearest entry of each view's bank; -1 where none may be matched */
    uint8_t *match[2];     /* [R] 1 where the cycle test passes, else 0 */
    cb_real *neighbour[2]; /* [R, D] the raw vectors at `index`; zero for -1 */
} cb_match;

/* At most max_objects rows. Allocates nothing; the bank's content does not change. */
void cb_memory_bank_query(cb_memory_bank *bank, const cb_objects *objects, const cb_match *match);

/* The nearest of this rank's entries to each object of each view, nearest[v] [R]; index -1: none. */
void cb_memory_bank_search(cb_memory_bank *bank, const cb_objects *objects, cb_neighbour *const nearest[2]);

/*
 * The cycle test of the objects whose nearest entry, index[v] [R], is on this rank; match[v] [R] is 0 for the
 * others.
 */
void cb_memory_bank_test(
    cb_memory_bank *bank, const cb_objects *objects, int64_t *const index[2], uint8_t *const match[2]);

/* The number of ranks that the entries are divided over. */
size_t cb_memory_bank_ranks(const cb_memory_bank *bank);

/* The rank that stores an entry. */
size_t cb_memory_bank_owner(const cb_memory_bank *bank, int64_t index);

/* The raw vector [D] of an entry of this rank; zeros for index -1. */
void cb_memory_bank_copy(const cb_memory_bank *bank, int view, int64_t index, cb_real *to);

/* Image 0 of the batch becomes the newest. All ranks push the same batch. */
void cb_memory_bank_push(cb_memory_bank *bank, const cb_objects *objects);

/* What all ranks hold, and what there is room for. */
size_t cb_memory_bank_images(const cb_memory_bank *bank);
size_t cb_memory_bank_count(const cb_memory_bank *bank);    /* objects */
size_t cb_memory_bank_capacity(const cb_memory_bank *bank); /* images, Q */
size_t cb_memory_bank_width(const cb_memory_bank *bank);
size_t cb_memory_bank_max_objects(const cb_memory_bank *bank); /* of one query or push */

/*
 * Whether a batch from outside is sound: pointers, 0 ... K objects per image, at most `max_images` images
 * and `max_objects` objects, finite vectors. The message names the fault.
 */
cribo_status cb_memory_bank_check(
    const cb_memory_bank *bank, const cb_objects *objects, size_t max_images, size_t max_objects);

/* Everything, newest image first; any pointer may be NULL. Of several ranks: not the vectors. */
void cb_memory_bank_export(
    const cb_memory_bank *bank, int64_t *per_image, int64_t *ids, cb_real *view1, cb_real *view2);

/*
 * The vectors of a view in place, valid until the bank changes: block number `index` has *rows of them. All
 * blocks in order are the export.
 */
size_t cb_memory_bank_stretches(const cb_memory_bank *bank);
const cb_real *cb_memory_bank_stretch(const cb_memory_bank *bank, int view, size_t index, size_t *rows);

/*
 * Entries first ... first + rows - 1 of a view, in `to` on rank 0. `packed` has room for this rank's part of
 * them, and on rank 0 for the part of each. Collective.
 */
cribo_status cb_memory_bank_collect(
    const cb_memory_bank *bank, int view, size_t first, size_t rows, cb_real *packed, cb_real *to);

/* Replaces the content by an export. Checks it first; on failure the bank is unchanged. */
cribo_status cb_memory_bank_import(cb_memory_bank *bank, const cb_objects *objects);

/*
 * The same for what has been checked. Of several ranks each gives the vectors of its part: of `count` entries
 * those with the numbers cb_memory_bank_restored_offset(bank, count) + l * ranks.
 */
void cb_memory_bank_restore(cb_memory_bank *bank, const cb_objects *objects);
size_t cb_memory_bank_restored_offset(const cb_memory_bank *bank, size_t count);

#endif
