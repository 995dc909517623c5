/* Safetensors files: a round trip, and refusal of everything that violates the format. */
#define _POSIX_C_SOURCE 200809L
#include "io/safetensors.h"
#include "support/faulty.h"
#include "support/golden.h"
#include "support/scratch.h"
#include "support/suite.h"

#include <check.h>
#include <dirent.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include <zlib.h>

#define OK(call) ck_assert_msg((call) == CRIBO_OK, "%s", cribo_last_error())

static const cb_allocator plain = {0};

static void assert_message(const char *part)
{
    ck_assert_msg(
        strstr(cribo_last_error(), part) != NULL, "\"%s\" is not in \"%s\"", part, cribo_last_error());
}

static const float weights[] = {1, -2, 3.5f, -0.0f, 1e-40f, 3e38f}, bias[] = {7, 8};

static const cb_tensor_entry entries[] = {
    {NULL, "plain", 2, {2, 3}, .values = weights},
    {"student.", "blocks.0.bias", 1, {2}, .values = bias},
    {"student.", "a", 1, {1}, .values = weights + 2},
    {"teacher.", "scalar", 0, {0}, .values = bias + 1},
    {"teacher.", "none", 3, {4, 0, 2}, .values = bias},
    {"odd \"\\\n\xc3\xa9 ", "name", 4, {1, 1, 3, 1}, .values = weights},
};
enum { ENTRIES = sizeof entries / sizeof entries[0] };
static const cb_metadata_pair metadata[] = {{"format", "pt"}, {"", "empty key"}, {"empty value", ""},
    {"quote\"\\\x01", "line\nbreak \xf0\x9f\x98\x80"}};
enum { PAIRS = sizeof metadata / sizeof metadata[0] };

static cribo_status write_all(const cb_allocator *allocator, const char *path)
{
    return cb_safetensors_write(allocator, cb_at(path), entries, ENTRIES, metadata, PAIRS);
}

static size_t elements(const cb_tensor_entry *entry)
{
    size_t count = 1;
    for (int64_t i = 0; i < entry->axes; i++) count *= (size_t)entry->shape[i];
    return count;
}

/* Checks that `file` has the tensors of write_all. */
static void assert_all(const cb_safetensors *file)
{
    float values[8];
    ck_assert_uint_eq(cb_safetensors_count(file), ENTRIES);
    for (size_t i = 0; i < ENTRIES; i++) {
        const cb_tensor_info *tensor = cb_safetensors_find(file, entries[i].prefix, entries[i].name);
        ck_assert_ptr_nonnull(tensor);
        ck_assert_str_eq(tensor->dtype, "F32");
        ck_assert_int_eq((int64_t)tensor->axes, entries[i].axes);
        for (size_t a = 0; a < tensor->axes; a++)
            ck_assert_int_eq((int64_t)tensor->shape[a], entries[i].shape[a]);
        OK(cb_safetensors_read(file, tensor, values, elements(&entries[i])));
        ck_assert_mem_eq(values, entries[i].values, elements(&entries[i]) * sizeof(float));
    }
    ck_assert_uint_eq(cb_safetensors_pair_count(file), PAIRS);
    for (size_t i = 0; i < PAIRS; i++) {
        ck_assert_str_eq(cb_safetensors_pair(file, i)->key, metadata[i].key);
        ck_assert_str_eq(cb_safetensors_metadata(file, metadata[i].key), metadata[i].value);
    }
}

START_TEST(test_write_then_open_gives_everything_back)
{
    cb_safetensors *file;
    OK(write_all(&plain, scratch_path("a")));
    OK(cb_safetensors_open(&plain, &file, cb_at(scratch_path("a"))));
    assert_all(file);
    ck_assert_ptr_null(cb_safetensors_find(file, NULL, "student"));
    ck_assert_ptr_null(cb_safetensors_find(file, "student.", ""));
    ck_assert_ptr_null(cb_safetensors_find(file, "student.", "aa"));
    ck_assert_ptr_nonnull(cb_safetensors_find(file, "stud", "ent.a"));
    ck_assert_ptr_null(cb_safetensors_metadata(file, "nothing"));
    cb_safetensors_close(file);
    cb_safetensors_close(NULL);
    ck_assert_uint_eq(scratch_count(), 1);
}
END_TEST

START_TEST(test_write_same_content_gives_same_bytes_in_the_order_given)
{
    size_t size;
    uint64_t length;
    OK(write_all(&plain, scratch_path("a")));
    OK(write_all(&plain, scratch_path("b")));
    char *bytes = read_bytes(scratch_path("a"), &size);
    assert_bytes(scratch_path("b"), bytes, size);

    memcpy(&length, bytes, 8);
    ck_assert_uint_eq(length % 8, 0);
    ck_assert_int_eq(bytes[8], '{');
    ck_assert_mem_eq(bytes + 8 + length, weights, sizeof weights);
    ck_assert_mem_eq(bytes + 8 + length + sizeof weights, bias, sizeof bias);
    json_t *header = json_loadb(bytes + 8, length, JSON_REJECT_DUPLICATES, NULL); /* an independent parser */
    ck_assert_ptr_nonnull(header);
    ck_assert_uint_eq(json_object_size(header), ENTRIES + 1);
    ck_assert_str_eq(
        json_string_value(json_object_get(json_object_get(header, "__metadata__"), metadata[3].key)),
        metadata[3].value);
    json_decref(header);
    free(bytes);
}
END_TEST

START_TEST(test_write_nothing_is_a_file_too)
{
    cb_safetensors *file;
    OK(cb_safetensors_write(&plain, cb_at(scratch_path("a")), NULL, 0, NULL, 0));
    assert_bytes(scratch_path("a"), "\x08\0\0\0\0\0\0\0{}      ", 16);
    OK(cb_safetensors_open(&plain, &file, cb_at(scratch_path("a"))));
    ck_assert_uint_eq(cb_safetensors_count(file), 0);
    ck_assert_ptr_null(cb_safetensors_find(file, NULL, "a"));
    cb_safetensors_close(file);
    OK(cb_safetensors_write(&plain, cb_at(scratch_path("a")), NULL, 0, metadata, 1));
    OK(cb_safetensors_open(&plain, &file, cb_at(scratch_path("a"))));
    ck_assert_str_eq(cb_safetensors_metadata(file, "format"), "pt");
    cb_safetensors_close(file);
}
END_TEST

START_TEST(test_write_impossible_entries_are_refused)
{
    cb_tensor_entry entry = {NULL, "x", 2, {INT64_MAX, 4}, .values = weights};
    const char *path = scratch_path("a");
    write_bytes(path, "old", 3);
    ck_assert_int_eq(cb_safetensors_write(&plain, cb_at(path), &entry, 1, NULL, 0), CRIBO_INVALID_ARGUMENT);
    entry.shape[0] = -1;
    ck_assert_int_eq(cb_safetensors_write(&plain, cb_at(path), &entry, 1, NULL, 0), CRIBO_INVALID_ARGUMENT);
    entry.axes = CB_MOST_AXES + 1;
    ck_assert_int_eq(cb_safetensors_write(&plain, cb_at(path), &entry, 1, NULL, 0), CRIBO_INVALID_ARGUMENT);
    entry = (cb_tensor_entry){"\xff", "x", 1, {1}, .values = weights};
    ck_assert_int_eq(cb_safetensors_write(&plain, cb_at(path), &entry, 1, NULL, 0), CRIBO_INVALID_ARGUMENT);
    assert_message("UTF-8");
    cb_metadata_pair pair = {"x", "\x80"};
    ck_assert_int_eq(cb_safetensors_write(&plain, cb_at(path), NULL, 0, &pair, 1), CRIBO_INVALID_ARGUMENT);
    assert_bytes(path, "old", 3);
    ck_assert_uint_eq(scratch_count(), 1);
}
END_TEST

START_TEST(test_write_refused_by_the_system_keeps_the_old_file)
{
    enum { COUNT = 100000 };
    float *values = calloc(COUNT, sizeof *values);
    cb_tensor_entry entry = {NULL, "x", 1, {COUNT}, .values = values};
    const char *path = scratch_path("a");
    write_bytes(path, "old", 3);
    signal(SIGXFSZ, SIG_IGN);
    for (rlim_t bytes = 0; bytes < 200; bytes += 40) { /* within the length, the header, the tensor */
        struct rlimit limit = {bytes, RLIM_INFINITY};
        ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
        ck_assert_int_eq(cb_safetensors_write(&plain, cb_at(path), &entry, 1, NULL, 0), CRIBO_IO_ERROR);
        assert_message("cannot write");
        assert_bytes(path, "old", 3);
        ck_assert_uint_eq(scratch_count(), 1);
    }
    ck_assert_int_eq(cb_safetensors_write(&plain, cb_at("/dev/full"), &entry, 1, NULL, 0), CRIBO_IO_ERROR);
    ck_assert_int_eq(
        cb_safetensors_write(&plain, cb_at(scratch_folder()), &entry, 1, NULL, 0), CRIBO_IO_ERROR);
    ck_assert_int_eq(
        cb_safetensors_write(&plain, cb_at(scratch_path("no/folder")), &entry, 1, NULL, 0), CRIBO_IO_ERROR);
    free(values);
}
END_TEST

START_TEST(test_read_other_type_or_count_is_refused)
{
    float values[6];
    cb_safetensors *file;
    const char *header = "{\"a\":{\"dtype\":\"I32\",\"shape\":[2],\"data_offsets\":[0,8]},"
                         "\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,16]}}";
    char bytes[8 + 200 + 16] = {0};
    uint64_t length = strlen(header);
    memcpy(bytes, &length, 8);
    memcpy(bytes + 8, header, length);
    write_bytes(scratch_path("a"), bytes, 8 + length + 16);
    OK(cb_safetensors_open(&plain, &file, cb_at(scratch_path("a"))));
    const cb_tensor_info *a = cb_safetensors_find(file, NULL, "a"), *b = cb_safetensors_find(file, NULL, "b");
    ck_assert_int_eq(cb_safetensors_read(file, a, values, 2), CRIBO_INVALID_ARGUMENT);
    assert_message("I32");
    ck_assert_int_eq(cb_safetensors_read(file, b, values, 3), CRIBO_INVALID_ARGUMENT);
    assert_message("\"b\" has 2 elements, not 3");
    OK(cb_safetensors_read(file, b, values, 2));
    ck_assert_int_eq(truncate(scratch_path("a"), 8 + (off_t)length + 12), 0);
    ck_assert_int_eq(cb_safetensors_read(file, b, values, 2), CRIBO_CORRUPT);
    cb_safetensors_close(file);
}
END_TEST

/* The header as read by jansson, tensor by tensor. */
static void assert_same_header(const golden *expected, const cb_safetensors *file)
{
    const char *name, *key;
    json_t *entry, *value;
    size_t tensors = 0;
    json_object_foreach(expected->header, name, entry)
    {
        if (strcmp(name, "__metadata__") == 0) {
            ck_assert_uint_eq(json_object_size(entry), cb_safetensors_pair_count(file));
            json_object_foreach(entry, key, value)
                ck_assert_str_eq(cb_safetensors_metadata(file, key), json_string_value(value));
            continue;
        }
        const cb_tensor_info *tensor = cb_safetensors_find(file, NULL, name);
        ck_assert_msg(tensor != NULL, "%s is not found", name);
        ck_assert_str_eq(tensor->dtype, json_string_value(json_object_get(entry, "dtype")));
        ck_assert_uint_eq(tensor->axes, json_array_size(json_object_get(entry, "shape")));
        for (size_t i = 0; i < tensor->axes; i++)
            ck_assert_uint_eq(tensor->shape[i], golden_axis(expected, name, i));
        json_t *offsets = json_object_get(entry, "data_offsets");
        ck_assert_int_eq((json_int_t)tensor->begin, json_integer_value(json_array_get(offsets, 0)));
        ck_assert_int_eq((json_int_t)tensor->end, json_integer_value(json_array_get(offsets, 1)));
        tensors++;
    }
    ck_assert_uint_eq(tensors, cb_safetensors_count(file));
}

static void assert_same_floats(const golden *expected, const cb_safetensors *file)
{
    for (size_t i = 0; i < cb_safetensors_count(file); i++) {
        const cb_tensor_info *tensor = cb_safetensors_tensor(file, i);
        if (strcmp(tensor->dtype, "F32") != 0) continue;
        size_t count;
        const float *there = golden_floats(expected, &count, "%s", tensor->name);
        float *values = malloc(count * sizeof *values + 1);
        OK(cb_safetensors_read(file, tensor, values, count));
        if (count) ck_assert_mem_eq(values, there, count * sizeof *values);
        free(values);
    }
}

/* --- compressed, other types, pieces, checksums --- */

static const int64_t integers[] = {INT64_MIN, -1, INT64_MAX};
static const unsigned char octets[] = {0, 255, 7, 8, 9};

static cribo_status write_mixed(const char *path, int level)
{
    static const cb_stretch pieces[] = {{weights, 8}, {weights + 2, 0}, {weights + 2, 16}};
    const cb_tensor_entry mixed[] = {
        {"a.", "integers", 1, {3}, .values = integers, .dtype = CB_I64},
        {NULL, "octets", 2, {1, 5}, .values = octets, .dtype = CB_U8},
        {"a.", "pieces", 2, {2, 3}, .stretches = pieces, .stretch_count = 3},
        {NULL, "none", 1, {0}, .dtype = CB_U8},
    };
    const cb_metadata_pair pair = {"key", "value"};
    return cb_safetensors_write_gzip(&plain, &(cb_compression){NULL, level}, cb_at(path), mixed, 4, &pair, 1);
}

START_TEST(test_write_compressed_gives_every_type_back_in_any_order)
{
    cb_safetensors *file;
    int64_t some[3];
    unsigned char bytes[5];
    float values[6];
    OK(write_mixed(scratch_path("a"), _i));
    OK(cb_safetensors_open(&plain, &file, cb_at(scratch_path("a"))));
    ck_assert(cb_safetensors_has_checksums(file));
    ck_assert_str_eq(cb_safetensors_metadata(file, "key"), "value");
    OK(cb_safetensors_finish(file));
    OK(cb_safetensors_read_as(file, cb_safetensors_find(file, "a.", "pieces"), CB_F32, values, 6));
    OK(cb_safetensors_read_as(file, cb_safetensors_find(file, NULL, "octets"), CB_U8, bytes, 5));
    OK(cb_safetensors_read_as(file, cb_safetensors_find(file, "a.", "integers"), CB_I64, some, 3));
    OK(cb_safetensors_read_as(file, cb_safetensors_find(file, NULL, "none"), CB_U8, bytes, 0));
    ck_assert_mem_eq(values, weights, sizeof values);
    ck_assert_mem_eq(bytes, octets, sizeof bytes);
    ck_assert_mem_eq(some, integers, sizeof some);
    ck_assert_int_eq(cb_safetensors_read_as(file, cb_safetensors_find(file, NULL, "octets"), CB_I64, some, 1),
        CRIBO_INVALID_ARGUMENT);
    assert_message("only I64");
    cb_safetensors_close(file);
}
END_TEST

/* A changed number with corrected gzip checksums. */
START_TEST(test_read_tensor_with_another_checksum_is_corrupt)
{
    cb_safetensors *file;
    char bytes[4096];
    float values[6];
    OK(write_mixed(scratch_path("a"), 1));
    gzFile packed = gzopen(scratch_path("a"), "rb");
    int count = gzread(packed, bytes, sizeof bytes);
    ck_assert_int_gt(count, 24);
    gzclose(packed);
    bytes[count - 1] ^= 1; /* in the last of the pieces */
    packed = gzopen(scratch_path("b"), "wb");
    ck_assert_int_eq(gzwrite(packed, bytes, (unsigned)count), count);
    gzclose(packed);
    OK(cb_safetensors_open(&plain, &file, cb_at(scratch_path("b"))));
    OK(cb_safetensors_finish(file));
    ck_assert_int_eq(
        cb_safetensors_read(file, cb_safetensors_find(file, "a.", "pieces"), values, 6), CRIBO_CORRUPT);
    assert_message("a.pieces: the checksum is");
    cb_safetensors_close(file);
}
END_TEST

START_TEST(test_open_golden_files_agree_with_another_reader)
{
    size_t files = 0;
    DIR *folder = opendir(CRIBO_REFERENCE);
    ck_assert_ptr_nonnull(folder);
    for (struct dirent *entry; (entry = readdir(folder));) {
        char name[256], path[1024];
        size_t length = strlen(entry->d_name);
        if (length < 13 || length > 255 || strcmp(entry->d_name + length - 12, ".safetensors") != 0) continue;
        snprintf(name, sizeof name, "%.*s", (int)length - 12, entry->d_name);
        snprintf(path, sizeof path, "%s/%s.safetensors", CRIBO_REFERENCE, name);
        golden expected = golden_open(name);
        cb_safetensors *file;
        OK(cb_safetensors_open(&plain, &file, cb_at(path)));
        assert_same_header(&expected, file);
        assert_same_floats(&expected, file);
        cb_safetensors_close(file);
        golden_close(&expected);
        files++;
    }
    closedir(folder);
    ck_assert_uint_ge(files, 10);
}
END_TEST

START_TEST(test_open_every_truncation_and_extension_is_corrupt)
{
    size_t size;
    cb_safetensors *file;
    const char *path = scratch_path("b");
    OK(write_all(&plain, scratch_path("a")));
    char *bytes = read_bytes(scratch_path("a"), &size);
    for (size_t kept = 0; kept <= size + 1; kept++) {
        if (kept == size) continue;
        write_bytes(path, bytes, kept); /* size + 1: the zero byte behind the content */
        ck_assert_msg(cb_safetensors_open(&plain, &file, cb_at(path)) == CRIBO_CORRUPT,
            "%zu of %zu bytes are taken", kept, size);
        ck_assert_ptr_null(file);
        assert_message("/b");
    }
    free(bytes);
}
END_TEST

/* The same but for texts, where a flipped bit may give another valid text. */
static void assert_same_but_texts(const cb_safetensors *file)
{
    size_t offset = 0;
    float values[8];
    ck_assert_uint_eq(cb_safetensors_pair_count(file), PAIRS);
    for (size_t i = 0, j = 0; i < ENTRIES; i++) {
        if (elements(&entries[i]) == 0) continue; /* its place is free among tensors without bytes */
        const cb_tensor_info *tensor = cb_safetensors_tensor(file, j++);
        if (tensor->begin == tensor->end) tensor = cb_safetensors_tensor(file, j++);
        ck_assert_uint_eq(tensor->begin, offset);
        offset = tensor->end;
        ck_assert_int_eq((int64_t)tensor->axes, entries[i].axes);
        for (size_t a = 0; a < tensor->axes; a++)
            ck_assert_int_eq((int64_t)tensor->shape[a], entries[i].shape[a]);
        OK(cb_safetensors_read(file, tensor, values, elements(&entries[i])));
        ck_assert_mem_eq(values, entries[i].values, elements(&entries[i]) * sizeof(float));
    }
}

START_TEST(test_open_every_bit_flip_of_the_header_is_corrupt_or_harmless)
{
    size_t size, taken = 0;
    uint64_t length;
    cb_safetensors *file;
    const char *path = scratch_path("b");
    OK(write_all(&plain, scratch_path("a")));
    char *bytes = read_bytes(scratch_path("a"), &size);
    memcpy(&length, bytes, 8);
    for (size_t bit = 0; bit < 8 * (8 + length); bit++) {
        bytes[bit / 8] ^= (char)(1 << bit % 8);
        write_bytes(path, bytes, size);
        bytes[bit / 8] ^= (char)(1 << bit % 8);
        cribo_status status = cb_safetensors_open(&plain, &file, cb_at(path));
        ck_assert_msg(status == CRIBO_OK || status == CRIBO_CORRUPT, "bit %zu: %s", bit, cribo_last_error());
        if (status == CRIBO_CORRUPT) continue;
        ck_assert_uint_ge(bit, 64);
        assert_same_but_texts(file);
        cb_safetensors_close(file);
        taken++;
    }
    ck_assert_uint_lt(taken, 8 * length / 2);
    free(bytes);
}
END_TEST

static cribo_status open_made(const char *header, size_t data)
{
    size_t length = strlen(header);
    char *bytes = calloc(1, 8 + length + data);
    for (size_t i = 0; i < 8; i++) bytes[i] = (char)(length >> 8 * i);
    memcpy(bytes + 8, header, length);
    write_bytes(scratch_path("made"), bytes, 8 + length + data);
    free(bytes);

    cb_safetensors *file;
    faulty counted = {0};
    cb_allocator allocator = {faulty_allocate, faulty_release, &counted};
    cribo_status status = cb_safetensors_open(&allocator, &file, cb_at(scratch_path("made")));
    ck_assert((status == CRIBO_OK) == (file != NULL));
    cb_safetensors_close(file);
    ck_assert_uint_eq(counted.held, 0);
    ck_assert_msg(counted.peak < 16384 + 20 * length, "%zu bytes for a header of %zu", counted.peak, length);
    return status;
}

#define T(dtype, shape, begin, end) \
    "{\"dtype\":\"" dtype "\",\"shape\":[" shape "],\"data_offsets\":[" #begin "," #end "]}"

START_TEST(test_open_unusual_but_right_is_taken)
{
    static const struct {
        const char *header;
        size_t data;
    } taken[] = {
        {"{}", 0},
        {"{ \"a\" : " T("F32", "2", 0, 8) " } \n", 8},
        {"{\"b\":" T("F32", "1", 8, 12) ",\"a\":" T("F64", "1", 0, 8) "}",
            12}, /* not in the order of their bytes */
        {"{\"a\":{\"data_offsets\":[0,4],\"shape\":[],\"dtype\":\"F32\"}}", 4},
        {"{\"a\":" T("F32", "0", 0, 0) ",\"b\":" T("BF16", "3", 0, 6) ",\"c\":" T("I8", "0,9", 6, 6) "}", 6},
        {"{\"a\":" T("F4", "2", 0, 1) ",\"b\":" T("BOOL", "1,1,1,1,1,1,1,2", 1, 3) "}", 3},
        {"{\"__metadata__\":{}}", 0},
        {" {}", 0},
        {"{\"__metadata__\":null}", 0},
        {"{\"__metadata__\": null ,\"a\":" T("F8_E4M3FNUZ", "1", 0, 1) "}", 1},
        {"{\"a\":" T("F8_E5M2FNUZ", "3", 0, 3) "}", 3},
        {"{\"a\":" T("F32", "1,1,1,1,1,1,1,1,1", 0, 4) "}", 4},
        {"{\"a\":" T("U8", "1", 0, 1) ",\"__metadata__\":{\"a\":\"b\"}}", 1},
        {"{\"\":" T("U8", "1", 0, 1) "}", 1},
        {"{\"a\":" T("F32", "0,18446744073709551615", 0, 0) "}", 0},
    };
    for (size_t i = 0; i < sizeof taken / sizeof taken[0]; i++)
        ck_assert_msg(open_made(taken[i].header, taken[i].data) == CRIBO_OK, "%s: %s", taken[i].header,
            cribo_last_error());
}
END_TEST

START_TEST(test_open_hostile_is_corrupt_and_says_where)
{
    static const struct {
        const char *header;
        size_t data;
        const char *message;
    } hostile[] = {
        {"", 0, "begin with '{'"},
        {"[]", 0, "begin with '{'"},
        {"{\"a\":" T("F32", "2", 0, 8) "}", 7, "\"a\", bytes 0 ... 8 of 7: it ends after"},
        {"{\"a\":" T("F32", "2", 0, 8) "}", 9, "end at byte 8 of 9"},
        {"{}", 1, "end at byte 0 of 1"},
        {"{\"a\":" T("F32", "1", 4, 8) "}", 8, "a hole"},
        {"{\"a\":" T("F32", "1", 0, 4) ",\"b\":" T("F32", "1", 8, 12) "}", 12,
            "\"b\", bytes 8 ... 12 of 12: a hole"},
        {"{\"a\":" T("F32", "2", 0, 8) ",\"b\":" T("F32", "2", 4, 12) "}", 12, "overlaps"},
        {"{\"a\":" T("F32", "1", 0, 4) ",\"b\":" T("F32", "1", 0, 4) "}", 4, "overlaps"},
        {"{\"a\":" T("F32", "1", 0, 4) ",\"a\":" T("F32", "1", 4, 8) "}", 8, "two of that name"},
        {"{\"a\":" T("F32", "1", 0, 4) ",\"\\u0061\":" T("F32", "1", 4, 8) "}", 8, "two of that name"},
        {"{\"__metadata__\":{},\"__metadata__\":{}}", 0, "stands twice"},
        {"{\"__metadata__\":{\"a\":\"1\",\"b\":\"\",\"a\":\"1\"}}", 0, "\"a\" stands twice"},
        {"{\"__metadata__\":{\"a\":1}}", 0, "expected a string"},
        {"{\"__metadata__\":[]}", 0, "expected an object"},
        {"{\"a\":" T("F32", "1", 8, 4) "}", 8, "ends before it begins"},
        {"{\"a\":" T("F32", "2", 0, 4) "}", 4, "disagree"},
        {"{\"a\":" T("F32", "-1", 0, 4) "}", 4, "whole number"},
        {"{\"a\":" T("F32", "1", -4, 0) "}", 4, "whole number"},
        {"{\"a\":" T("F32", "1.0", 0, 4) "}", 4, "expected a comma"},
        {"{\"a\":" T("F32", "4294967296,4294967296", 0, 4) "}", 4, "too large a shape"},
        {"{\"a\":" T("F32", "4611686018427387905", 0, 4) "}", 4, "too large a shape"},
        {"{\"a\":" T("F32", "18446744073709551616", 0, 4) "}", 4, "whole number"},
        {"{\"a\":" T("F32", "1", 0, 18446744073709551615) "}", 4, "ends after"},
        {"{\"a\":" T("F33", "1", 0, 4) "}", 4, "unknown dtype"},
        {"{\"a\":" T("", "1", 0, 4) "}", 4, "unknown dtype"},
        {"{\"a\":" T("F4", "1", 0, 1) "}", 1, "too large a shape"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, "needs dtype, shape and data_offsets"},
        {"{\"a\":{}}", 0, "needs dtype"},
        {"{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4,
            "stands twice"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4],\"x\":1}}", 4, "do not have"},
        {"{\"a\":{\"dtype\":32,\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "expected a string"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":1,\"data_offsets\":[0,4]}}", 4, "expected an array"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0]}}", 4, "two numbers"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4,4]}}", 4, "two numbers"},
        {"{\"a\":" T("F32", "[1]", 0, 4) "}", 4, "whole number"},
        {"{\"a\":[[[[[[[[", 0, "in \"a\": expected an object"},
        {"{\"a\":{\"a\":{\"a\":{\"a\":{", 0, "do not have"},
        {"{\"\xff\":" T("F32", "1", 0, 4) "}", 4, "at byte 10: a string is not valid UTF-8"},
        {"{\"a\\u0000b\":" T("F32", "1", 0, 4) "}", 4, "zero byte"},
        {"{\"a\":" T("F32", "1", 0, 4) "}}", 4, "nothing more"},
        {"{\"a\":" T("F32", "1", 0, 4) "} x", 4, "nothing more"},
        {"{\"a\":" T("F32", "1", 0, 4) ",}", 4, "expected a string"},
        {"{\"a\":null}", 0, "expected an object"},
        {"{", 0, "at byte 9"},
    };
    for (size_t i = 0; i < sizeof hostile / sizeof hostile[0]; i++) {
        ck_assert_msg(
            open_made(hostile[i].header, hostile[i].data) == CRIBO_CORRUPT, "%s is taken", hostile[i].header);
        assert_message("made");
        assert_message(hostile[i].message);
    }
}
END_TEST

/* Opens a file whose header has one tensor of this type, with these bytes, and reads it as float32. */
static void read_numbers(const char *dtype, size_t count, const void *bytes, size_t size, float *values)
{
    char header[200], whole[400] = {0};
    cb_safetensors *file;
    int length = snprintf(header, sizeof header,
        "{\"a\":{\"dtype\":\"%s\",\"shape\":[%zu],\"data_offsets\":[0,%zu]}}", dtype, count, size);
    whole[0] = (char)length;
    memcpy(whole + 8, header, (size_t)length);
    memcpy(whole + 8 + length, bytes, size);
    write_bytes(scratch_path("numbers"), whole, 8 + (size_t)length + size);
    OK(cb_safetensors_open(&plain, &file, cb_at(scratch_path("numbers"))));
    OK(cb_safetensors_read(file, cb_safetensors_find(file, NULL, "a"), values, count));
    cb_safetensors_close(file);
}

START_TEST(test_read_other_real_types_are_converted)
{
    static const uint16_t half[] = {0x3c00, 0xc000, 0x0001, 0x83ff, 0x0400, 0x7bff, 0x8000, 0x7c00, 0x3555};
    static const float of_half[] = {
        1, -2, 0x1p-24f, -0x1.ff8p-15f, 0x1p-14f, 65504, -0.0f, INFINITY, 0x1.554p-2f};
    static const uint16_t brain[] = {0x3f80, 0xc000, 0x7f7f, 0x0001, 0xff80};
    static const float of_brain[] = {1, -2, 0x1.fep127f, 0x1p-133f, -INFINITY};
    static const double wide[] = {0.1, -1e300, 0x1.000001p0, 0x1.000003p0};
    static const float of_wide[] = {0.1f, -INFINITY, 1, 0x1.000004p0f};
    float values[9];
    read_numbers("F16", 9, half, sizeof half, values);
    ck_assert_mem_eq(values, of_half, sizeof of_half);
    read_numbers("BF16", 5, brain, sizeof brain, values);
    ck_assert_mem_eq(values, of_brain, sizeof of_brain);
    read_numbers("F64", 4, wide, sizeof wide, values);
    ck_assert_mem_eq(values, of_wide, sizeof of_wide);
}
END_TEST

START_TEST(test_open_other_kinds_of_files_are_named)
{
    static const struct {
        const char *begin;
        size_t length;
        const char *message;
    } cases[] = {
        {"PK\x03\x04\0\0\x08\x08archive/data.pkl", 24, "convert_weights.py"},
        {"\x80\x02\x8a\nl\xfc\x9c\x46\xf9 j\xa8P\x19.", 15, "convert_weights.py"},
        {"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", 55, "git lfs pull"},
        {"<!DOCTYPE html><html><head></head></html>", 41, "a web page"},
        {"<html>", 6, "a web page"},
        {"GGUF\x03\0\0\0", 8, "GGUF"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        cb_safetensors *file;
        write_bytes(scratch_path("kind"), cases[i].begin, cases[i].length);
        ck_assert_int_eq(cb_safetensors_open(&plain, &file, cb_at(scratch_path("kind"))), CRIBO_CORRUPT);
        assert_message(cases[i].message);
    }
}
END_TEST

START_TEST(test_open_huge_header_length_costs_nothing)
{
    static const uint64_t lengths[] = {
        9, 1000, 100000001, UINT64_C(1) << 32, UINT64_C(1) << 63, UINT64_MAX - 7, UINT64_MAX};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        char bytes[16] = "........{}      ";
        cb_safetensors *file;
        faulty counted = {0};
        cb_allocator allocator = {faulty_allocate, faulty_release, &counted};
        memcpy(bytes, &lengths[i], 8);
        write_bytes(scratch_path("a"), bytes, 16);
        ck_assert_int_eq(cb_safetensors_open(&allocator, &file, cb_at(scratch_path("a"))), CRIBO_CORRUPT);
        assert_message("at byte 0");
        ck_assert_uint_lt(counted.peak, 8192);
        ck_assert_int_eq(
            truncate(scratch_path("a"), 200000000), 0); /* a sparse file that is long enough for some */
        ck_assert_int_eq(cb_safetensors_open(&allocator, &file, cb_at(scratch_path("a"))), CRIBO_CORRUPT);
        ck_assert_uint_lt(counted.peak, 8192);
    }
}
END_TEST

/* A stream's length is not known before its end, but what deflate can make of so few bytes is. */
START_TEST(test_open_compressed_tensors_beyond_what_it_can_hold_are_corrupt)
{
    static const char header[] = "{"
                                 "\"a\":" T("U8", "1152921504606846976", 0, 1152921504606846976) "}";
    uint64_t length = sizeof header - 1;
    cb_safetensors *file;
    gzFile gz = gzopen(scratch_path("a"), "wb");
    ck_assert_int_eq(gzwrite(gz, &length, sizeof length), sizeof length);
    ck_assert_int_eq(gzwrite(gz, header, (unsigned)length), (int)length);
    gzclose(gz);
    ck_assert_int_eq(cb_safetensors_open(&plain, &file, cb_at(scratch_path("a"))), CRIBO_CORRUPT);
    assert_message("it ends after the file");
}
END_TEST

START_TEST(test_open_many_tensors_in_reverse_are_sorted_and_found)
{
    enum { COUNT = 30000 };
    size_t room = 100 * COUNT, length = 0;
    char *header = malloc(room);
    for (int i = COUNT; i-- > 0;)
        length += (size_t)snprintf(header + length, room - length,
            "%c\"t%d\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[%d,%d]}", i == COUNT - 1 ? '{' : ',',
            i, i, i + 1);
    memcpy(header + length, "}", 2);
    ck_assert_int_eq(open_made(header, COUNT), CRIBO_OK);
    cb_safetensors *file;
    OK(cb_safetensors_open(&plain, &file, cb_at(scratch_path("made"))));
    ck_assert_uint_eq(cb_safetensors_count(file), COUNT);
    for (size_t i = 0; i < COUNT; i++) {
        char name[16];
        snprintf(name, sizeof name, "%zu", i);
        const cb_tensor_info *tensor = cb_safetensors_find(file, "t", name);
        ck_assert_ptr_eq(tensor, cb_safetensors_tensor(file, i));
        ck_assert_uint_eq(tensor->begin, i);
    }
    cb_safetensors_close(file);
    free(header);
}
END_TEST

START_TEST(test_write_out_of_memory_at_any_call_keeps_the_old_file)
{
    const char *path = scratch_path("a");
    write_bytes(path, "old", 3);
    for (size_t n = 1;; n++) {
        faulty counted = {.fail_at = n, .for_ever = n % 2};
        cb_allocator allocator = {faulty_allocate, faulty_release, &counted};
        cribo_status status = write_all(&allocator, path);
        ck_assert_uint_eq(counted.held, 0);
        ck_assert_uint_eq(scratch_count(), 1);
        if (status == CRIBO_OK) {
            ck_assert_uint_gt(n, 1);
            break;
        }
        ck_assert_int_eq(status, CRIBO_OUT_OF_MEMORY);
        assert_bytes(path, "old", 3);
    }
}
END_TEST

START_TEST(test_open_out_of_memory_at_any_call_leaks_nothing)
{
    const char *path = scratch_path("a");
    OK(write_all(&plain, path));
    for (int for_ever = 0; for_ever < 2; for_ever++) {
        size_t n = 1;
        for (;; n++) {
            faulty counted = {.fail_at = n, .for_ever = for_ever};
            cb_allocator allocator = {faulty_allocate, faulty_release, &counted};
            cb_safetensors *file;
            cribo_status status = cb_safetensors_open(&allocator, &file, cb_at(path));
            if (status == CRIBO_OK) assert_all(file);
            cb_safetensors_close(file);
            ck_assert_uint_eq(counted.held, 0);
            if (status == CRIBO_OK) break;
            ck_assert_int_eq(status, CRIBO_OUT_OF_MEMORY);
            ck_assert_ptr_null(file);
        }
        ck_assert_uint_gt(n, 5);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("safetensors");
    TCase *tests = tcase_create("safetensors");
    tcase_add_checked_fixture(tests, scratch_begin, scratch_end);
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, test_read_other_real_types_are_converted);
    tcase_add_test(tests, test_open_other_kinds_of_files_are_named);
    tcase_add_test(tests, test_write_then_open_gives_everything_back);
    tcase_add_test(tests, test_write_same_content_gives_same_bytes_in_the_order_given);
    tcase_add_test(tests, test_write_nothing_is_a_file_too);
    tcase_add_test(tests, test_write_impossible_entries_are_refused);
    tcase_add_test(tests, test_write_refused_by_the_system_keeps_the_old_file);
    tcase_add_test(tests, test_read_other_type_or_count_is_refused);
    tcase_add_loop_test(tests, test_write_compressed_gives_every_type_back_in_any_order, 0, 10);
    tcase_add_test(tests, test_read_tensor_with_another_checksum_is_corrupt);
    tcase_add_test(tests, test_open_golden_files_agree_with_another_reader);
    tcase_add_test(tests, test_open_every_truncation_and_extension_is_corrupt);
    tcase_add_test(tests, test_open_every_bit_flip_of_the_header_is_corrupt_or_harmless);
    tcase_add_test(tests, test_open_unusual_but_right_is_taken);
    tcase_add_test(tests, test_open_hostile_is_corrupt_and_says_where);
    tcase_add_test(tests, test_open_huge_header_length_costs_nothing);
    tcase_add_test(tests, test_open_compressed_tensors_beyond_what_it_can_hold_are_corrupt);
    tcase_add_test(tests, test_open_many_tensors_in_reverse_are_sorted_and_found);
    tcase_add_test(tests, test_write_out_of_memory_at_any_call_keeps_the_old_file);
    tcase_add_test(tests, test_open_out_of_memory_at_any_call_leaks_nothing);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
