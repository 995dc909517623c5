/*
 * Structs of the interface that begin with `size_t struct_size`, and so can grow at the end. A caller may
 * have been compiled with an older form, the same or a newer one:
 *
 *   older   what its struct lacks counts as zero, or is not written
 *   newer   what it sets beyond our fields must be zero; what we write there is zero
 *
 * The first release's last field is said where a struct is read: no caller has a smaller struct. Configs are
 * such structs, too, with defaults in place of zeros (config.h).
 */
#ifndef CB_BASE_STRUCTS_H
#define CB_BASE_STRUCTS_H

#include "base/status.h"

/* The bytes of a struct up to `field` and with it. */
#define CB_SIZE_THROUGH(object, field) \
    ((size_t)((const char *)(&(object).field + 1) - (const char *)&(object)))

/* Whether `given` can be the size of a form of this struct; `name` is the argument. */
cribo_status cb_check_size(const char *name, size_t given, size_t first_size, size_t size);

/*
 * Copies the caller's struct over `full`, which has our form and holds what fields mean that the caller
 * lacks. Refuses a size that never was, and bytes beyond our fields that are not zero.
 */
cribo_status cb_struct_import(
    const char *name, void *full, size_t first_size, size_t size, const void *given);

/*
 * The same for the argument `given` of that name, from zero on; `last` is the last field of the first
 * release.
 */
#define CB_IMPORT(full, given, last) \
    cb_struct_import(#given, &(full), CB_SIZE_THROUGH(full, last), sizeof(full), given)

/*
 * Copies what the caller's struct has room for out of `full`, and zeroes what it has beyond. Its size has
 * been checked.
 */
void cb_struct_export(void *given, const void *full, size_t size);

#endif
