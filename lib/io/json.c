/* The JSON subset. See json.h. */
#include "io/json.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

cb_json cb_json_begin(char *text, size_t length)
{
    return (cb_json){.text = text, .length = length};
}

bool cb_json_refuse(cb_json *json, const char *problem)
{
    if (!json->problem) json->problem = problem;
    return false;
}

/* The byte under the cursor; 0, which no JSON has, at the end and after a fault. */
static unsigned char peek(const cb_json *json)
{
    return json->problem || json->position >= json->length ? 0 : (unsigned char)json->text[json->position];
}

static void skip_space(cb_json *json)
{
    for (unsigned char c = peek(json); c == ' ' || c == '\n' || c == '\r' || c == '\t'; c = peek(json))
        json->position++;
}

/* Steps over `c` if it comes next. */
static bool accept(cb_json *json, char c)
{
    skip_space(json);
    if (peek(json) != (unsigned char)c) return false;
    json->position++;
    return true;
}

static bool expect(cb_json *json, char c, const char *problem)
{
    return accept(json, c) || cb_json_refuse(json, problem);
}

static bool enter(cb_json *json, char bracket, const char *problem)
{
    json->first = expect(json, bracket, problem);
    return json->first;
}

/* Steps to the next thing in a container: false behind its closing bracket. */
static bool step(cb_json *json, char bracket)
{
    bool first = json->first;
    json->first = false;
    if (accept(json, bracket)) return false;
    if (first) return !json->problem;
    return expect(json, ',', "expected a comma or the closing bracket");
}

bool cb_json_object(cb_json *json)
{
    return enter(json, '{', "expected an object");
}

bool cb_json_member(cb_json *json, const char **key)
{
    return step(json, '}') && cb_json_string(json, key) && expect(json, ':', "expected a colon");
}

bool cb_json_array(cb_json *json)
{
    return enter(json, '[', "expected an array");
}

bool cb_json_element(cb_json *json)
{
    return step(json, ']');
}

bool cb_json_integer(cb_json *json, uint64_t *value)
{
    const char *problem = "expected a whole number that is not negative, below 2^64";
    skip_space(json);
    size_t begin = json->position;
    uint64_t number = 0;
    for (unsigned char c = peek(json); c >= '0' && c <= '9'; c = peek(json)) {
        if (__builtin_mul_overflow(number, 10, &number) ||
            __builtin_add_overflow(number, (uint64_t)(c - '0'), &number))
            return cb_json_refuse(json, problem);
        json->position++;
    }
    size_t digits = json->position - begin;
    if (digits == 0) return cb_json_refuse(json, problem);
    if (digits > 1 && json->text[begin] == '0') return cb_json_refuse(json, "a number begins with a zero");
    *value = number;
    return true;
}

bool cb_json_null(cb_json *json)
{
    if (json->problem) return false;
    skip_space(json);
    if (json->length - json->position < 4 || memcmp(json->text + json->position, "null", 4) != 0)
        return false;
    json->position += 4;
    return true;
}

bool cb_json_end(cb_json *json)
{
    skip_space(json);
    if (!json->problem && json->position != json->length) cb_json_refuse(json, "expected nothing more");
    return !json->problem;
}

/*
 * Length of the UTF-8 sequence at `s` (Unicode 15, table 3-7: no overlong forms, no surrogates, at most
 * U+10FFFF), 0 when it is none.
 */
static size_t utf8_length(const unsigned char *s, size_t available)
{
    size_t length = s[0] < 0x80   ? 1
                    : s[0] < 0xc2 ? 0
                    : s[0] < 0xe0 ? 2
                    : s[0] < 0xf0 ? 3
                    : s[0] < 0xf5 ? 4
                                  : 0;
    if (length == 0 || length > available) return 0;
    for (size_t i = 1; i < length; i++)
        if ((s[i] & 0xc0) != 0x80) return 0;
    bool wrong = (s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
                 (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f);
    return wrong ? 0 : length;
}

static size_t utf8_write(char *to, uint32_t code)
{
    size_t length = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    static const unsigned char lead[] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (size_t i = length - 1; i > 0; i--, code >>= 6) to[i] = (char)(0x80 | (code & 0x3f));
    to[0] = (char)(lead[length] | code);
    return length;
}

/* Four hexadecimal digits. */
static bool read_hex(cb_json *json, uint32_t *code)
{
    *code = 0;
    for (int i = 0; i < 4; i++, json->position++) {
        unsigned char c = peek(json);
        uint32_t digit = c >= '0' && c <= '9'                 ? c - 48u
                         : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 87u
                                                              : 16;
        if (digit == 16) return cb_json_refuse(json, "\\u needs four hexadecimal digits");
        *code = *code << 4 | digit;
    }
    return true;
}

/* What follows "\u": a character, or a surrogate and with it the escape of its partner. */
static bool read_unicode(cb_json *json, uint32_t *code)
{
    uint32_t low;
    if (!read_hex(json, code)) return false;
    if (*code == 0) return cb_json_refuse(json, "a zero byte in a string");
    if (*code < 0xd800 || *code > 0xdfff) return true;
    if (*code > 0xdbff || json->length - json->position < 6 ||
        memcmp(json->text + json->position, "\\u", 2) != 0)
        return cb_json_refuse(json, "half a surrogate pair");
    json->position += 2;
    if (!read_hex(json, &low)) return false;
    if (low < 0xdc00 || low > 0xdfff) return cb_json_refuse(json, "half a surrogate pair");
    *code = 0x10000 + ((*code - 0xd800) << 10) + (low - 0xdc00);
    return true;
}

/* One escape, the cursor behind the backslash. An escape is never shorter than its character. */
static bool read_escape(cb_json *json, char **to)
{
    static const char letters[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
    unsigned char c = peek(json);
    const char *letter = c ? strchr(letters, c) : NULL;
    json->position += c != 0;
    if (letter) {
        *(*to)++ = meanings[letter - letters];
        return true;
    }
    uint32_t code;
    if (c != 'u') return cb_json_refuse(json, "an escape that JSON does not have");
    if (!read_unicode(json, &code)) return false;
    *to += utf8_write(*to, code);
    return true;
}

bool cb_json_string(cb_json *json, const char **text)
{
    if (!expect(json, '"', "expected a string")) return false;
    char *begin = json->text + json->position, *to = begin;
    for (unsigned char c = peek(json); c != '"'; c = peek(json)) {
        if (json->position >= json->length) return cb_json_refuse(json, "a string does not end");
        if (c < 0x20) return cb_json_refuse(json, "a control character in a string");
        if (c == '\\') {
            json->position++;
            if (!read_escape(json, &to)) return false;
            continue;
        }
        const char *from = json->text + json->position;
        size_t length = utf8_length((const unsigned char *)from, json->length - json->position);
        if (length == 0) return cb_json_refuse(json, "a string is not valid UTF-8");
        memmove(to, from, length);
        to += length;
        json->position += length;
    }
    json->position++;
    *to = 0; /* at the latest in the place of the closing quote */
    *text = begin;
    return true;
}

static void put_bytes(cb_json_text *text, const char *bytes, size_t count)
{
    if (text->bytes) memcpy(text->bytes + text->length, bytes, count);
    text->length += count;
}

void cb_json_put(cb_json_text *text, const char *literal)
{
    put_bytes(text, literal, strlen(literal));
}

void cb_json_put_integer(cb_json_text *text, uint64_t value)
{
    char digits[24];
    snprintf(digits, sizeof digits, "%" PRIu64, value);
    cb_json_put(text, digits);
}

void cb_json_put_escaped(cb_json_text *text, const char *string)
{
    const unsigned char *s = (const unsigned char *)string;
    size_t left = strlen(string);
    while (left > 0) {
        size_t length = utf8_length(s, left);
        char escape[8];
        if (length == 0) {
            text->invalid = true;
            return;
        }
        if (*s < 0x20) {
            snprintf(escape, sizeof escape, "\\u%04x", *s);
            cb_json_put(text, escape);
        } else {
            if (*s == '"' || *s == '\\') cb_json_put(text, "\\");
            put_bytes(text, (const char *)s, length);
        }
        s += length;
        left -= length;
    }
}

void cb_json_put_string(cb_json_text *text, const char *head, const char *tail)
{
    cb_json_put(text, "\"");
    if (head) cb_json_put_escaped(text, head);
    cb_json_put_escaped(text, tail);
    cb_json_put(text, "\"");
}
