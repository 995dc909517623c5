/* A text as JSON. */
#ifndef JSON_TEXT_H
#define JSON_TEXT_H

#include <stdbool.h>
#include <stdio.h>

/*
 * Writes the text in quotes, in ASCII but for whole characters of UTF-8. Other bytes, which a path may have,
 * become \udc80 ... \udcff as Python has them: os.fsencode(json.loads(line)) is the path again. False: it
 * could not be written.
 */
bool json_text_write(FILE *out, const char *text);

#endif
