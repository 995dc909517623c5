/*
 * Structs of the interface that begin with `size_t struct_size`, and so can grow at the end. A caller may
 * have been compiled with an older or a newer form:
 *
 *   older   fields that the caller's struct lacks count as zero, or are not written
 *   newer   fields unknown to this library must be zero; zeros are written there
 *
 * Code that reads a struct names the last field of the first release: no caller has a smaller struct. Configs
 * are such structs with defaults instead of zeros (config.h).
 */
#ifndef CB_BASE_STRUCTS_H
#define CB_BASE_STRUCTS_H

#include "base/status.h"

/* The bytes of a struct up to `field` and with it. */
#define CB_SIZE_THROUGH(object, field) \
    ((size_t)((const char *)(&(object).field + 1) - (const char *)&(object)))

/* Checks that `given` can be the size of a form of this struct; `name` is the argument. */
cribo_status cb_check_size(const char *name, size_t given, size_t first_size, size_t size);

/*
 * Copies the caller's struct over `full`, which has this library's form and the values of fields that the
 * caller lacks. Refuses a size that never existed, and non-zero bytes beyond the known fields.
 */
cribo_status cb_struct_import(
    const char *name, void *full, size_t first_size, size_t size, const void *given);

/*
 * cb_struct_import for the argument `given` of that name, with zeros for missing fields; `last` is the last
 * field of the first release.
 */
#define CB_IMPORT(full, given, last) \
    cb_struct_import(#given, &(full), CB_SIZE_THROUGH(full, last), sizeof(full), given)

/*
 * Copies the fields of `full` that the caller's struct has, and zeroes its further bytes. Its size has been
 * checked.
 */
void cb_struct_export(void *given, const void *full, size_t size);

#endif
