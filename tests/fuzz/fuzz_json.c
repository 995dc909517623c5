/* The JSON reader on any content; and the writer's form of a string, read again. */
#include "fuzz/fuzz.h"
#include "io/json.h"

#include <stdlib.h>
#include <string.h>

#define MOST_DEPTH 100

size_t fuzz_mend(uint8_t *data, size_t size, size_t room)
{
    (void)data;
    (void)room;
    return size;
}

/* The value that was read is written, and read again. */
static void write_back(const char *text)
{
    cb_json_text measured = {0}, written = {0};
    const char *again;
    cb_json_put_string(&measured, NULL, text);
    FUZZ_EXPECT(!measured.invalid, "a string that was read is not UTF-8");
    written.bytes = malloc(measured.length);
    cb_json_put_string(&written, NULL, text);
    FUZZ_EXPECT(written.length == measured.length, "%zu bytes, not %zu", written.length, measured.length);
    cb_json json = cb_json_begin(written.bytes, written.length);
    FUZZ_EXPECT(cb_json_string(&json, &again) && cb_json_end(&json) && strcmp(again, text) == 0,
        "a string is not itself");
    free(written.bytes);
}

static char next(const cb_json *json)
{
    size_t at = json->position;
    while (at < json->length && strchr(" \t\r\n", json->text[at]) && json->text[at]) at++;
    return at < json->length ? json->text[at] : '\0';
}

static void walk(cb_json *json, int depth)
{
    const char *text;
    uint64_t number;
    if (depth == MOST_DEPTH) cb_json_refuse(json, "too deep");
    switch (next(json)) {
    case '{':
        cb_json_object(json);
        while (cb_json_member(json, &text)) {
            write_back(text);
            walk(json, depth + 1);
        }
        break;
    case '[':
        cb_json_array(json);
        while (cb_json_element(json)) walk(json, depth + 1);
        break;
    case '"':
        if (cb_json_string(json, &text)) write_back(text);
        break;
    default: (void)cb_json_integer(json, &number);
    }
    FUZZ_EXPECT(json->position <= json->length, "behind the end");
}

void fuzz_one(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    memcpy(text, data, size);
    cb_json json = cb_json_begin(text, size);
    walk(&json, 0);
    bool sound = cb_json_end(&json);
    FUZZ_EXPECT(sound == !json.problem, "end and problem disagree");
    fuzz_answer(sound, json.problem);
    free(text);
}
