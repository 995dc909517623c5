/* The JSON subset: accepted and refused texts, and a round trip. */
#include "io/json.h"
#include "support/suite.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

/* Buffers of exactly the text's size, so that the sanitizers see every byte read too far. */
static char *exact(const char *text, size_t length)
{
    char *copy = malloc(length + (length == 0));
    memcpy(copy, text, length);
    return copy;
}

/* The string in `text`, or NULL if it is refused. The caller frees. */
static char *decoded(const char *text)
{
    size_t length = strlen(text);
    char *copy = exact(text, length), *result = NULL;
    const char *string;
    cb_json json = cb_json_begin(copy, length);
    if (cb_json_string(&json, &string) && cb_json_end(&json)) {
        result = malloc(strlen(string) + 1);
        memcpy(result, string, strlen(string) + 1);
    }
    free(copy);
    return result;
}

static void assert_decodes(const char *text, const char *expected)
{
    char *string = decoded(text);
    ck_assert_msg(string != NULL, "%s is refused", text);
    ck_assert_str_eq(string, expected);
    free(string);
}

static void assert_string_refused(const char *text)
{
    char *string = decoded(text);
    ck_assert_msg(string == NULL, "%s is taken", text);
}

START_TEST(test_string_escapes_and_utf8_are_decoded)
{
    assert_decodes("\"\"", "");
    assert_decodes(" \t\r\n\"plain\" ", "plain");
    assert_decodes("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\/\b\f\n\r\t");
    assert_decodes("\"\\u0041\\u00e9\\u20AC\\ud83d\\ude00\"", "A\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80");
    assert_decodes("\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"", "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80");
    assert_decodes(
        "\"\xf4\x8f\xbf\xbf\xed\x9f\xbf\xee\x80\x80\x7f\"", "\xf4\x8f\xbf\xbf\xed\x9f\xbf\xee\x80\x80\x7f");
}
END_TEST

START_TEST(test_string_malformed_is_refused)
{
    static const char *const refused[] = {"", "x", "\"", "\"a", "\"a\\", "\"a\\\"", "'a'", "\"\n\"",
        "\"\x01\"", "\"\\a\"", "\"\\u\"", "\"\\u12\"", "\"\\u12g4\"", "\"\\u0000\"", "\"\\ud800\"",
        "\"\\udc00\"", "\"\\ud800x\"", "\"\\ud800\\n\"", "\"\\ud800\\u0041\"", "\"\\ud800\\ud800\"",
        "\"\\ud800\\u", "\"a\" b"};
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) assert_string_refused(refused[i]);
}
END_TEST

START_TEST(test_string_bad_utf8_is_refused)
{
    static const char *const refused[] = {"\x80", "\xbf", "\xc0\x80", "\xc1\xbf", "\xc3", "\xc3(",
        "\xe0\x80\x80", "\xe0\x9f\xbf", "\xe2\x82", "\xe2(\xac", "\xed\xa0\x80", "\xed\xbf\xbf",
        "\xf0\x80\x80\x80", "\xf0\x8f\xbf\xbf", "\xf0\x9f\x98", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80",
        "\xff", "\xfe"};
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        char text[16] = "\"";
        strcat(strcat(text, refused[i]), "\"");
        assert_string_refused(text);
        text[strlen(text) - 1] = 0; /* cut off */
        assert_string_refused(text);
    }
}
END_TEST

START_TEST(test_string_zero_byte_is_refused)
{
    char text[] = {'"', 'a', 0, 'b', '"'};
    const char *string;
    cb_json json = cb_json_begin(text, sizeof text);
    ck_assert(!cb_json_string(&json, &string));
    ck_assert_uint_eq(json.position, 2);
}
END_TEST

static bool integer(const char *text, uint64_t *value)
{
    char *copy = exact(text, strlen(text));
    cb_json json = cb_json_begin(copy, strlen(text));
    bool taken = cb_json_integer(&json, value) && cb_json_end(&json);
    free(copy);
    return taken;
}

START_TEST(test_integer_whole_range_is_read_exactly)
{
    uint64_t value;
    ck_assert(integer("0", &value) && value == 0);
    ck_assert(integer(" 42 ", &value) && value == 42);
    ck_assert(integer("9007199254740993", &value) && value == UINT64_C(9007199254740993));
    ck_assert(integer("18446744073709551615", &value) && value == UINT64_MAX);
}
END_TEST

START_TEST(test_integer_anything_else_is_refused)
{
    static const char *const refused[] = {"", "-", "-1", "+1", "00", "01", "1.0", "1e3", "0x10", "1 2", "a",
        "\"1\"", "18446744073709551616", "99999999999999999999", "100000000000000000000000000000000000000000",
        "null", "true"};
    uint64_t value;
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++)
        ck_assert_msg(!integer(refused[i], &value), "%s is taken", refused[i]);
}
END_TEST

/* {string: [integer, ...], ...}: sums the integers, counts the members; false when refused. */
static bool read_lists(const char *text, size_t length, size_t *members, uint64_t *sum)
{
    char *copy = exact(text, length);
    const char *key;
    uint64_t value;
    cb_json json = cb_json_begin(copy, length);
    *members = *sum = 0;
    cb_json_object(&json);
    while (cb_json_member(&json, &key)) {
        ++*members;
        cb_json_array(&json);
        while (cb_json_element(&json) && cb_json_integer(&json, &value)) *sum += value;
    }
    bool taken = cb_json_end(&json);
    free(copy);
    return taken;
}

START_TEST(test_containers_nested_are_walked)
{
    static const struct {
        const char *text;
        size_t members;
        uint64_t sum;
    } cases[] = {{"{}", 0, 0}, {" { } ", 0, 0}, {"{\"a\":[]}", 1, 0}, {"{\"a\":[1]}", 1, 1},
        {"{\"a\":[1,2],\"b\":[],\"c\":[3]}", 3, 6}, {"\n{ \"a\" : [ 1 , 2 ] , \"b\" : [ 4 ] }\t", 2, 7}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        size_t members;
        uint64_t sum;
        ck_assert_msg(
            read_lists(cases[i].text, strlen(cases[i].text), &members, &sum), "%s is refused", cases[i].text);
        ck_assert_uint_eq(members, cases[i].members);
        ck_assert_uint_eq(sum, cases[i].sum);
    }
}
END_TEST

START_TEST(test_containers_malformed_are_refused)
{
    static const char *const refused[] = {"", "{", "}", "[", "[]", "{]", "{,}", "{\"a\"}", "{\"a\":}",
        "{\"a\":[}", "{\"a\":[]", "{\"a\":[],}", "{,\"a\":[]}", "{\"a\":[] \"b\":[]}", "{\"a\":[1,]}",
        "{\"a\":[,1]}", "{\"a\":[1 2]}", "{\"a\":[1}}", "{\"a\":[1]]", "{\"a\":[]}{}", "{\"a\":[]} x",
        "{a:[]}", "{1:[]}", "{\"a\":{}}", "{\"a\":[[1]]}", "{\"a\" [1]}", "{\"a\":[1]}\v",
        "{\"a\":[1],,\"b\":[1]}", "\xef\xbb\xbf{}", "{\"a\":[/**/1]}"};
    size_t members;
    uint64_t sum;
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++)
        ck_assert_msg(!read_lists(refused[i], strlen(refused[i]), &members, &sum), "%s is taken", refused[i]);
}
END_TEST

START_TEST(test_containers_every_truncation_is_refused)
{
    const char *text = "{\"a\\u00e9\":[1,22],\"\xe2\x82\xac\":[],\"c\":[3]}";
    size_t members;
    uint64_t sum;
    ck_assert(read_lists(text, strlen(text), &members, &sum));
    for (size_t length = 0; length < strlen(text); length++)
        ck_assert_msg(!read_lists(text, length, &members, &sum), "the first %zu bytes are taken", length);
}
END_TEST

START_TEST(test_containers_hostile_depth_ends_at_once)
{
    enum { DEPTH = 10000000 };
    char *text = malloc(DEPTH);
    memset(text, '[', DEPTH);
    memcpy(text, "{\"a\":", 5);
    cb_json json = cb_json_begin(text, DEPTH);
    const char *key;
    uint64_t value;
    ck_assert(cb_json_object(&json) && cb_json_member(&json, &key) && cb_json_array(&json) &&
              cb_json_element(&json));
    ck_assert(!cb_json_integer(&json, &value));
    ck_assert_uint_eq(json.position, 6);
    ck_assert(!cb_json_element(&json) && !cb_json_member(&json, &key) && !cb_json_end(&json));
    free(text);
}
END_TEST

START_TEST(test_fault_first_one_sticks)
{
    char text[] = "{\"a\" 1}";
    const char *key;
    cb_json json = cb_json_begin(text, strlen(text));
    cb_json_object(&json);
    ck_assert(!cb_json_member(&json, &key));
    const char *problem = json.problem;
    size_t position = json.position;
    ck_assert_ptr_nonnull(problem);
    ck_assert(!cb_json_refuse(&json, "another"));
    ck_assert(!cb_json_object(&json) && !cb_json_string(&json, &key) && !cb_json_end(&json));
    ck_assert_ptr_eq(json.problem, problem);
    ck_assert_uint_eq(json.position, position);
}
END_TEST

/* Writes twice, as callers do: the first pass measures. */
static char *encoded(const char *head, const char *tail)
{
    cb_json_text measured = {0}, text = {0};
    cb_json_put_string(&measured, head, tail);
    if (measured.invalid) return NULL;
    text.bytes = malloc(measured.length + 1);
    cb_json_put_string(&text, head, tail);
    ck_assert_uint_eq(text.length, measured.length);
    text.bytes[text.length] = 0;
    return text.bytes;
}

START_TEST(test_writer_strings_come_back)
{
    char all[128];
    for (int i = 1; i < 128; i++) all[i - 1] = (char)i;
    all[127] = 0;
    const char *const strings[] = {"", "plain", "\"\\/", all, "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80"};
    for (size_t i = 0; i < sizeof strings / sizeof strings[0]; i++) {
        char *text = encoded(NULL, strings[i]);
        assert_decodes(text, strings[i]);
        free(text);
    }
    char *text = encoded("teacher.", "a\tb");
    ck_assert_str_eq(text, "\"teacher.a\\u0009b\"");
    free(text);
}
END_TEST

START_TEST(test_writer_bad_utf8_is_marked)
{
    ck_assert_ptr_null(encoded(NULL, "\xff"));
    ck_assert_ptr_null(encoded("\xc3", "\xa9")); /* each part must be valid separately */
}
END_TEST

START_TEST(test_writer_integers_are_exact)
{
    char bytes[64] = {0};
    cb_json_text text = {.bytes = bytes};
    cb_json_put_integer(&text, UINT64_MAX);
    cb_json_put(&text, ",");
    cb_json_put_integer(&text, 0);
    ck_assert_str_eq(bytes, "18446744073709551615,0");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("json");
    TCase *tests = tcase_create("json");
    tcase_add_test(tests, test_string_escapes_and_utf8_are_decoded);
    tcase_add_test(tests, test_string_malformed_is_refused);
    tcase_add_test(tests, test_string_bad_utf8_is_refused);
    tcase_add_test(tests, test_string_zero_byte_is_refused);
    tcase_add_test(tests, test_integer_whole_range_is_read_exactly);
    tcase_add_test(tests, test_integer_anything_else_is_refused);
    tcase_add_test(tests, test_containers_nested_are_walked);
    tcase_add_test(tests, test_containers_malformed_are_refused);
    tcase_add_test(tests, test_containers_every_truncation_is_refused);
    tcase_add_test(tests, test_containers_hostile_depth_ends_at_once);
    tcase_add_test(tests, test_fault_first_one_sticks);
    tcase_add_test(tests, test_writer_strings_come_back);
    tcase_add_test(tests, test_writer_bad_utf8_is_marked);
    tcase_add_test(tests, test_writer_integers_are_exact);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
