/*
 * A strict subset of JSON (RFC 8259), as safetensors headers need it: objects, arrays, strings, whole
 * numbers from 0 to 2^64 - 1.
 *
 * The reader is a cursor over a buffer. The caller requests the value that the format expects at this place,
 * so that there is no tree, no recursion and no allocation, and hostile nesting ends at the first bracket
 * that was not requested. The first fault sticks: all later calls return false, and `problem` and `position`
 * describe it. Strings are decoded in place and end with a zero byte. Duplicate keys are refused by the
 * caller, which stores the keys.
 */
#ifndef CB_IO_JSON_H
#define CB_IO_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct cb_json {
    char *text; /* overwritten where strings are decoded */
    size_t length;
    size_t position;
    const char *problem; /* NULL while all is well; a static string */
    bool first;          /* the container that was entered last has not yet given an element */
} cb_json;

cb_json cb_json_begin(char *text, size_t length);

/*
 * Enters an object, then steps to its next member: true, with the key read and the cursor on the value;
 * false at the end or after a fault.
 */
bool cb_json_object(cb_json *json);
bool cb_json_member(cb_json *json, const char **key);

/*
 * Enters an array, then steps to its next element: true with the cursor on it; false at the end or after a
 * fault.
 */
bool cb_json_array(cb_json *json);
bool cb_json_element(cb_json *json);

/* Values. A string is valid UTF-8 without zero bytes, and lives in the buffer. */
bool cb_json_string(cb_json *json, const char **text);
bool cb_json_integer(cb_json *json, uint64_t *value);

/* Steps over the value null: true if it is here; else nothing changes. */
bool cb_json_null(cb_json *json);

/* Nothing but white space is left. */
bool cb_json_end(cb_json *json);

/* Records the caller's own fault, at this place; returns false. */
bool cb_json_refuse(cb_json *json, const char *problem);

/*
 * Text being written. Without a buffer it only counts, so that the same code measures first and writes then.
 */
typedef struct cb_json_text {
    char *bytes; /* NULL: measure */
    size_t length;
    bool invalid; /* a string was not UTF-8 */
} cb_json_text;

/* Appends text as it is. */
void cb_json_put(cb_json_text *text, const char *literal);
void cb_json_put_integer(cb_json_text *text, uint64_t value);

/* Appends "head + tail" in quotes, escaped; `head` may be NULL. */
void cb_json_put_string(cb_json_text *text, const char *head, const char *tail);

/* Appends a part of a string: escaped, without quotes. */
void cb_json_put_escaped(cb_json_text *text, const char *string);

#endif
