/* gzip files: written files are read back, also by other readers; damage anywhere is detected. */
#define _POSIX_C_SOURCE 200809L
#include "io/gzip.h"
#include "support/faulty.h"
#include "support/scratch.h"
#include "support/suite.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define OK(call) ck_assert_msg((call) == CRIBO_OK, "%s: %s", #call, cribo_last_error())

static const cb_allocator plain = {0};

/* Bytes that compress, but not completely. */
static unsigned char *content_of(size_t count)
{
    unsigned char *bytes = malloc(count + 1);
    uint32_t state = 1;
    ck_assert_ptr_nonnull(bytes);
    for (size_t i = 0; i < count; i++) {
        state = state * 1664525 + 1013904223;
        bytes[i] = i % 4 == 3 ? (unsigned char)(state >> 24) : (unsigned char)(i / 1000);
    }
    return bytes;
}

/* Writes in pieces of odd sizes. */
static cribo_status compress_to(const cb_allocator *allocator, const char *path, size_t threads, int level,
    const unsigned char *bytes, size_t count)
{
    cb_pool *pool;
    cb_gzip_writer *writer;
    OK(cb_pool_create(&plain, &pool, threads));
    cribo_status status = cb_gzip_writer_begin(allocator, pool, &writer, cb_at(path), level);
    for (size_t at = 0, n = 1; status == CRIBO_OK && at < count; at += n, n = 3 * n + 1) {
        if (n > count - at) n = count - at;
        status = cb_gzip_writer_write(writer, bytes + at, n);
    }
    if (status == CRIBO_OK)
        status = cb_gzip_writer_commit(writer);
    else
        cb_gzip_writer_abandon(writer);
    cb_pool_free(pool);
    return status;
}

/* Reads `count` bytes from the beginning in pieces, and then the end. */
static cribo_status read_whole(
    const cb_allocator *allocator, const char *path, unsigned char *bytes, size_t count)
{
    cb_file_reader file;
    cb_gzip_reader *reader;
    CB_TRY(cb_file_reader_open(&file, cb_at(path)));
    cribo_status status = cb_gzip_reader_create(allocator, &reader, &file);
    for (size_t at = 0, n = 1; status == CRIBO_OK && at < count; at += n, n = 3 * n + 1) {
        if (n > count - at) n = count - at;
        status = cb_gzip_reader_read(reader, at, bytes + at, n);
    }
    if (status == CRIBO_OK) status = cb_gzip_reader_end(reader, count);
    cb_gzip_reader_free(reader);
    cb_file_reader_close(&file);
    return status;
}

static void assert_reads(const char *path, const unsigned char *bytes, size_t count)
{
    unsigned char *read = malloc(count + 1);
    OK(read_whole(&plain, path, read, count));
    ck_assert(memcmp(read, bytes, count) == 0);
    free(read);
}

static const size_t sizes[] = {0, 1, 100, CB_GZIP_MEMBER_BYTES - 1, CB_GZIP_MEMBER_BYTES,
    CB_GZIP_MEMBER_BYTES + 1, 3 * CB_GZIP_MEMBER_BYTES, 3 * CB_GZIP_MEMBER_BYTES + 12345};
enum { SIZES = sizeof sizes / sizeof sizes[0] };

START_TEST(test_gzip_written_is_read_back_and_does_not_depend_on_threads)
{
    static const int levels[] = {0, 1, 6};
    unsigned char *bytes = content_of(sizes[_i]);
    for (size_t l = 0; l < sizeof levels / sizeof levels[0]; l++) {
        size_t count;
        OK(compress_to(&plain, scratch_path("one"), 1, levels[l], bytes, sizes[_i]));
        assert_reads(scratch_path("one"), bytes, sizes[_i]);
        unsigned char *file = read_bytes(scratch_path("one"), &count);
        for (size_t threads = 2; threads <= 4; threads += 2) {
            OK(compress_to(&plain, scratch_path("several"), threads, levels[l], bytes, sizes[_i]));
            assert_bytes(scratch_path("several"), file, count);
        }
        free(file);
    }
    free(bytes);
}
END_TEST

/* zlib's own reader, and gzip(1) where there is one. */
START_TEST(test_gzip_is_read_by_others)
{
    size_t count = sizes[SIZES - 1];
    unsigned char *bytes = content_of(count), *read = malloc(count + 1);
    char command[4096];
    OK(compress_to(&plain, scratch_path("file"), 3, 1, bytes, count));
    gzFile file = gzopen(scratch_path("file"), "rb");
    ck_assert_int_eq(gzread(file, read, (unsigned)count + 1), (int)count);
    ck_assert_int_eq(gzclose(file), Z_OK);
    ck_assert(memcmp(read, bytes, count) == 0);
    snprintf(
        command, sizeof command, "command -v gzip >/dev/null || exit 0; gzip -t <'%s'", scratch_path("file"));
    ck_assert_int_eq(system(command), 0);
    free(read);
    free(bytes);
}
END_TEST

/* With a name and a comment in the header, and empty members in between. */
START_TEST(test_gzip_of_others_is_read)
{
    unsigned char *bytes = content_of(70000);
    gzFile file = gzopen(scratch_path("file"), "wb3");
    ck_assert_int_eq(gzwrite(file, bytes, 30000), 30000);
    gzclose(file);
    for (int i = 0; i < 3; i++) gzclose(gzopen(scratch_path("file"), "ab"));
    file = gzopen(scratch_path("file"), "ab9");
    ck_assert_int_eq(gzwrite(file, bytes + 30000, 40000), 40000);
    gzclose(file);
    assert_reads(scratch_path("file"), bytes, 70000);
    free(bytes);
}
END_TEST

START_TEST(test_gzip_reads_at_any_offset)
{
    size_t count = sizes[SIZES - 1];
    unsigned char *bytes = content_of(count), got[1000];
    const size_t offsets[] = {
        0, 500000, 500001, CB_GZIP_MEMBER_BYTES - 10, 3, 2 * CB_GZIP_MEMBER_BYTES, 0, count - 1000};
    cb_file_reader file;
    cb_gzip_reader *reader;
    OK(compress_to(&plain, scratch_path("file"), 1, 1, bytes, count));
    OK(cb_file_reader_open(&file, cb_at(scratch_path("file"))));
    OK(cb_gzip_reader_create(&plain, &reader, &file));
    for (size_t i = 0; i < sizeof offsets / sizeof offsets[0]; i++) {
        OK(cb_gzip_reader_read(reader, offsets[i], got, sizeof got));
        ck_assert_mem_eq(got, bytes + offsets[i], sizeof got);
    }
    ck_assert_int_eq(cb_gzip_reader_read(reader, count - 999, got, sizeof got), CRIBO_CORRUPT);
    ck_assert_int_eq(cb_gzip_reader_end(reader, count - 1), CRIBO_CORRUPT);
    ck_assert_ptr_nonnull(strstr(cribo_last_error(), "goes on"));
    ck_assert_int_eq(cb_gzip_reader_end(reader, count + 1), CRIBO_CORRUPT);
    OK(cb_gzip_reader_end(reader, count));
    cb_gzip_reader_free(reader);
    cb_file_reader_close(&file);
    free(bytes);
}
END_TEST

START_TEST(test_gzip_truncated_anywhere_is_corrupt)
{
    size_t count;
    unsigned char *bytes = content_of(3000), read[3000];
    OK(compress_to(&plain, scratch_path("file"), 1, _i, bytes, 3000));
    unsigned char *file = read_bytes(scratch_path("file"), &count);
    for (size_t n = 0; n < count; n++) {
        write_bytes(scratch_path("cut"), file, n);
        ck_assert_msg(read_whole(&plain, scratch_path("cut"), read, 3000) == CRIBO_CORRUPT,
            "%zu of %zu bytes", n, count);
        ck_assert_ptr_nonnull(strstr(cribo_last_error(), scratch_path("cut")));
    }
    free(file);
    free(bytes);
}
END_TEST

/*
 * A flipped bit is found, or is one of the few that mean nothing (time, system, padding): then the content is
 * right.
 */
START_TEST(test_gzip_flipped_bits_are_found_or_harmless)
{
    size_t count, found = 0;
    unsigned char *bytes = content_of(1000), read[1000];
    OK(compress_to(&plain, scratch_path("file"), 1, _i, bytes, 1000));
    unsigned char *file = read_bytes(scratch_path("file"), &count);
    for (size_t bit = 0; bit < 8 * count; bit++) {
        file[bit / 8] ^= (unsigned char)(1 << bit % 8);
        write_bytes(scratch_path("bad"), file, count);
        file[bit / 8] ^= (unsigned char)(1 << bit % 8);
        cribo_status status = read_whole(&plain, scratch_path("bad"), read, 1000);
        ck_assert_msg(status == CRIBO_OK ? memcmp(read, bytes, 1000) == 0 : status == CRIBO_CORRUPT,
            "bit %zu: %s", bit, cribo_last_error());
        found += status == CRIBO_CORRUPT;
    }
    ck_assert_uint_ge(found + 8 * 10, 8 * count); /* the header has 10 bytes */
    free(file);
    free(bytes);
}
END_TEST

START_TEST(test_gzip_followed_by_anything_is_corrupt)
{
    size_t count;
    unsigned char *bytes = content_of(1000), read[1000];
    OK(compress_to(&plain, scratch_path("file"), 1, 1, bytes, 1000));
    unsigned char *file = read_bytes(scratch_path("file"), &count);
    file = realloc(file, count + 1);
    for (int byte = 0; byte < 256; byte++) {
        file[count] = (unsigned char)byte;
        write_bytes(scratch_path("more"), file, count + 1);
        ck_assert_int_eq(read_whole(&plain, scratch_path("more"), read, 1000), CRIBO_CORRUPT);
    }
    free(file);
    free(bytes);
}
END_TEST

START_TEST(test_gzip_without_memory_leaves_nothing)
{
    unsigned char *bytes = content_of(1000), read[1000];
    write_bytes(scratch_path("file"), "old", 3);
    for (size_t at = 1;; at++) {
        faulty memory = {.fail_at = at, .for_ever = _i};
        cb_allocator allocator = {faulty_allocate, faulty_release, &memory};
        cribo_status status = compress_to(&allocator, scratch_path("file"), 2, 1, bytes, 1000);
        ck_assert_uint_eq(memory.held, 0);
        ck_assert_uint_eq(scratch_count(), 1);
        if (status == CRIBO_OK) break;
        ck_assert_int_eq(status, CRIBO_OUT_OF_MEMORY);
        assert_bytes(scratch_path("file"), "old", 3);
        ck_assert_uint_lt(at, 40);
    }
    for (size_t at = 1;; at++) {
        faulty memory = {.fail_at = at, .for_ever = _i};
        cb_allocator allocator = {faulty_allocate, faulty_release, &memory};
        cribo_status status = read_whole(&allocator, scratch_path("file"), read, 1000);
        ck_assert_uint_eq(memory.held, 0);
        if (status == CRIBO_OK) break;
        ck_assert_int_eq(status, CRIBO_OUT_OF_MEMORY);
        ck_assert_uint_lt(at, 40);
    }
    free(bytes);
}
END_TEST

START_TEST(test_gzip_unwritable_file_is_an_io_error)
{
    unsigned char *bytes = content_of(1000);
    ck_assert_int_eq(compress_to(&plain, scratch_path("no/folder"), 1, 1, bytes, 1000), CRIBO_IO_ERROR);
    ck_assert_int_eq(compress_to(&plain, scratch_folder(), 1, 1, bytes, 1000), CRIBO_IO_ERROR);
    ck_assert_int_eq(compress_to(&plain, "/dev/full", 1, 1, bytes, 1000), CRIBO_IO_ERROR);
    free(bytes);
}
END_TEST

START_TEST(test_gzip_is_told_from_safetensors)
{
    static const struct {
        const char *bytes;
        bool is_gzip;
    } cases[] = {{"\x1f\x8b\x08\0\0\0\0\0\0\3", true}, {"\x1f\x8b\x08\0\0\0\0\0{}", false},
        {"\x1f\x8b\x07\0\0\0\0\0\0\3", false}, {"{\"__meta\"}", false}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        cb_file_reader file;
        bool is_gzip;
        write_bytes(scratch_path("file"), cases[i].bytes, 10);
        OK(cb_file_reader_open(&file, cb_at(scratch_path("file"))));
        OK(cb_gzip_detect(&file, &is_gzip));
        ck_assert_int_eq(is_gzip, cases[i].is_gzip);
        cb_file_reader_close(&file);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("gzip");
    TCase *tests = tcase_create("gzip");
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, scratch_begin, scratch_end);
    tcase_add_loop_test(tests, test_gzip_written_is_read_back_and_does_not_depend_on_threads, 0, SIZES);
    tcase_add_test(tests, test_gzip_is_read_by_others);
    tcase_add_test(tests, test_gzip_of_others_is_read);
    tcase_add_test(tests, test_gzip_reads_at_any_offset);
    tcase_add_loop_test(tests, test_gzip_truncated_anywhere_is_corrupt, 0, 2);
    tcase_add_loop_test(tests, test_gzip_flipped_bits_are_found_or_harmless, 0, 2);
    tcase_add_test(tests, test_gzip_followed_by_anything_is_corrupt);
    tcase_add_loop_test(tests, test_gzip_without_memory_leaves_nothing, 0, 2);
    tcase_add_test(tests, test_gzip_unwritable_file_is_an_io_error);
    tcase_add_test(tests, test_gzip_is_told_from_safetensors);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
