/* Text. */
#ifndef CB_BASE_TEXT_H
#define CB_BASE_TEXT_H

#include <stdbool.h>
#include <string.h>

static inline bool cb_starts_with(const char *text, const char *start)
{
    return strncmp(text, start, strlen(start)) == 0;
}

/* The next name of a list separated by commas, its length in *length; NULL past the last. */
static inline const char *cb_next_name(const char **list, size_t *length)
{
    const char *name = *list + strspn(*list, ", ");
    *length = strcspn(name, ", ");
    *list = name + *length;
    return *length ? name : NULL;
}

/* Checks whether a list separated by commas has this name. */
static inline bool cb_list_has(const char *list, const char *name)
{
    size_t length;
    for (const char *item; (item = cb_next_name(&list, &length));)
        if (strlen(name) == length && strncmp(item, name, length) == 0) return true;
    return false;
}

#endif
