/* See left_out.h. */
#include "pictures/left_out.h"

#include "pictures/kind.h"

#include <stdio.h>
#include <string.h>

enum { LOOKED_INTO = 16 };

static const char *ending_of(const char *name)
{
    const char *slash = strrchr(name, '/'), *base = slash ? slash + 1 : name, *dot = strrchr(base, '.');
    if (!dot || dot == base || strlen(dot) >= sizeof((struct left_out *)0)->kinds[0].ending) return "";
    return dot - base > 4 && !strncmp(dot - 4, ".tar", 4) ? dot - 4 : dot;
}

void left_out_count(struct left_out *left_out, const char *ending, const char *reason)
{
    size_t i = 0;
    while (i < left_out->count &&
           (strcmp(left_out->kinds[i].ending, ending) || strcmp(left_out->kinds[i].reason, reason)))
        i++;
    if (i == LEFT_OUT_KINDS) {
        left_out->others++;
        return;
    }
    if (i == left_out->count) {
        snprintf(left_out->kinds[i].ending, sizeof left_out->kinds[i].ending, "%s", ending);
        snprintf(left_out->kinds[i].reason, sizeof left_out->kinds[i].reason, "%s", reason);
        left_out->count++;
    }
    left_out->kinds[i].count++;
}

void left_out_add(struct left_out *left_out, const char *name, const char *reason)
{
    left_out_count(left_out, ending_of(name), reason);
}

void left_out_file(struct left_out *left_out, const char *path)
{
    const char *ending = ending_of(path);
    size_t seen = 0, last = 0;
    for (size_t i = 0; i < left_out->count; i++) {
        if (strcmp(left_out->kinds[i].ending, ending)) continue;
        seen += left_out->kinds[i].count;
        last = i;
    }
    if (seen >= LOOKED_INTO)
        left_out->kinds[last].count++;
    else
        left_out_count(left_out, ending, kind_of_file(path).name);
}

void left_out_print(const struct left_out *left_out, char *text, size_t size)
{
    size_t length = 0;
    text[0] = '\0';
    for (size_t i = 0; i < left_out->count && length < size; i++) {
        const char *ending = left_out->kinds[i].ending;
        length += (size_t)snprintf(text + length, size - length, "%s%zu %s (%s)", i ? ", " : "",
            left_out->kinds[i].count, ending[0] ? ending : "without an ending", left_out->kinds[i].reason);
    }
    if (left_out->others && length < size)
        snprintf(text + length, size - length, ", %zu others", left_out->others);
}
