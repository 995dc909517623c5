/* Text. */
#ifndef CB_BASE_TEXT_H
#define CB_BASE_TEXT_H

#include <stdbool.h>
#include <string.h>

static inline bool cb_starts_with(const char *text, const char *start)
{
    return strncmp(text, start, strlen(start)) == 0;
}

#endif
