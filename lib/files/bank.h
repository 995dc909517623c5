/*
 * A memory bank as a file, with the names that its arrays have in a checkpoint: objects_per_image, ids,
 * view1, view2, each after a prefix.
 */
#ifndef CB_FILES_BANK_H
#define CB_FILES_BANK_H

#include "distillation/memory_bank.h"
#include "io/safetensors.h"

/* Replaces the file at `place` atomically. */
cribo_status cb_bank_write(
    const cb_allocator *allocator, const cb_memory_bank *bank, cb_place place, const char *prefix);

/* Replaces the bank's content; on failure the bank is unchanged. */
cribo_status cb_bank_read(
    const cb_allocator *allocator, cb_memory_bank *bank, cb_place place, const char *prefix);

/*
 * Makes `entry` refer to the vectors of a view in place. `stretches` has room for
 * cb_memory_bank_stretches of them.
 */
void cb_bank_list_stretches(
    const cb_memory_bank *bank, cb_tensor_entry *entry, int view, cb_stretch *stretches);

#endif
