/* Structs with a struct_size. See structs.h. */
#include "base/structs.h"

#include <string.h>

#define MOST_BYTES 4096 /* far above every struct's size: more is an uninitialised number */

static size_t size_of(const void *given)
{
    size_t size;
    memcpy(&size, given, sizeof size);
    return size;
}

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

cribo_status cb_check_size(const char *name, size_t given, size_t first_size, size_t size)
{
    CB_REQUIRE(given >= first_size && given % 8 == 0 && given <= MOST_BYTES,
        "%s.struct_size = %zu, but it should be %zu", name, given, size);
    return CRIBO_OK;
}

cribo_status cb_struct_import(const char *name, void *full, size_t first_size, size_t size, const void *given)
{
    CB_REQUIRE(given, "%s is NULL", name);
    const size_t bytes = size_of(given), head = sizeof bytes;
    CB_TRY(cb_check_size(name, bytes, first_size, size));
    for (size_t i = size; i < bytes; i++)
        CB_REQUIRE(((const char *)given)[i] == 0,
            "%s: byte %zu is set, of a field that this version does not know", name, i);
    memcpy((char *)full + head, (const char *)given + head, smaller(bytes, size) - head);
    memcpy(full, &size, head);
    return CRIBO_OK;
}

void cb_struct_export(void *given, const void *full, size_t size)
{
    const size_t bytes = size_of(given), head = sizeof bytes;
    memcpy((char *)given + head, (const char *)full + head, smaller(bytes, size) - head);
    if (bytes > size) memset((char *)given + size, 0, bytes - size);
}
