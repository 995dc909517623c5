/* Texts in JSON. */
#ifndef JSON_TEXT_H
#define JSON_TEXT_H

#include <stdbool.h>
#include <stdio.h>

/*
 * Writes the text in quotes, in ASCII and valid characters of UTF-8. Other bytes, which a path may have,
 * become \udc80 ... \udcff as in Python: os.fsencode(json.loads(line)) gives the path. False: it could not be
 * written.
 */
bool json_text_write(FILE *out, const char *text);

#endif
