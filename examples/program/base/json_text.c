/* See json_text.h. */
#include "base/json_text.h"

#include <string.h>

/*
 * The number of bytes of a character of UTF-8, 0 if it is invalid (RFC 3629: no surrogates, no longer forms).
 */
static size_t character(const unsigned char *at)
{
    static const struct {
        unsigned char first, last, second_first, second_last, length;
    } forms[] = {{0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3}, {0xe1, 0xec, 0x80, 0xbf, 3},
        {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3}, {0xf0, 0xf0, 0x90, 0xbf, 4},
        {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4}};
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        if (at[0] < forms[i].first || at[0] > forms[i].last) continue;
        if (at[1] < forms[i].second_first || at[1] > forms[i].second_last) return 0;
        for (size_t k = 2; k < forms[i].length; k++)
            if (at[k] < 0x80 || at[k] > 0xbf) return 0;
        return forms[i].length;
    }
    return 0;
}

bool json_text_write(FILE *out, const char *text)
{
    const unsigned char *at = (const unsigned char *)text;
    fputc('"', out);
    while (*at) {
        size_t length = *at < 0x80 ? 1 : character(at);
        if (*at == '"' || *at == '\\')
            fprintf(out, "\\%c", *at);
        else if (*at == '\n')
            fputs("\\n", out);
        else if (length == 0 || *at < ' ' || *at == 0x7f)
            fprintf(out, "\\u%04x", length == 0 ? 0xdc00u + *at : *at);
        else
            fwrite(at, 1, length, out);
        at += length ? length : 1;
    }
    fputc('"', out);
    return !ferror(out);
}
