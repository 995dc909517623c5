/* TensorBoard's event files: their bytes, and their truncation when a run is resumed. */
#include "session/events.h"
#include "files.h"
#include "suite.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct events open_events(const char *path, int64_t first)
{
    struct events events;
    struct problem problem;
    ck_assert_msg(events_open(&events, path, first, &problem), "%s", problem.text);
    return events;
}

static size_t read_file(const char *path, uint8_t *bytes, size_t size)
{
    FILE *file = fopen(path, "rb");
    ck_assert_ptr_nonnull(file);
    size_t length = fread(bytes, 1, size, file);
    fclose(file);
    return length;
}

START_TEST(test_events_sums_are_those_of_the_standard)
{
    /* RFC 3720, B.4, and the check value of CRC-32C. */
    uint8_t bytes[32] = {0};
    ck_assert_uint_eq(events_crc("123456789", 9), 0xE3069283);
    ck_assert_uint_eq(events_crc(bytes, 32), 0x8A9136AA);
    memset(bytes, 255, 32);
    ck_assert_uint_eq(events_crc(bytes, 32), 0x62A8AB43);
    ck_assert_uint_eq(events_crc(NULL, 0), 0);
    ck_assert_uint_eq(events_masked_crc("123456789", 9), 0xC78AB0E5); /* rotated by 15, plus a constant */
}
END_TEST

/* Byte by byte, but for the times and the sums. */
START_TEST(test_events_bytes_are_protobuf_s)
{
    static const uint8_t version[] = {26, 13, 'b', 'r', 'a', 'i', 'n', '.', 'E', 'v', 'e', 'n', 't', ':',
        '2'},
                         scalars[] = {16, 0xAC, 2, 42, 20, 10, 8, 10, 1, 'a', 21, 0, 0, 128, 63, 10, 8, 10, 1,
                             'b', 21, 0, 0, 0, 192},
                         picture[] = {16, 1, 42, 19, 10, 17, 10, 1, 'p', 34, 12, 8, 4, 16, 5, 24, 3, 34, 4,
                             'P', 'N', 'G', '!'};
    static const struct {
        const uint8_t *bytes;
        size_t size;
    } bodies[] = {{version, sizeof version}, {scalars, sizeof scalars}, {picture, sizeof picture}};
    static uint8_t bytes[4096];
    char *folder = files_make_folder();
    const char *path = files_path(folder, "events"), *const tags[] = {"a", "x", "b"};
    const double values[] = {1, NAN, -2};
    struct events events = open_events(path, 0);
    events_scalars(&events, 300, 3, tags, values);
    events_picture(&events, 1, "p", 5, 4, (const uint8_t *)"PNG!", 4);
    events_close(&events);
    size_t size = read_file(path, bytes, sizeof bytes), at = 0;
    for (int i = 0; i < 3; i++) {
        uint64_t length;
        uint32_t length_crc, crc;
        memcpy(&length, bytes + at, 8); /* tests run on little-endian machines only */
        memcpy(&length_crc, bytes + at + 8, 4);
        memcpy(&crc, bytes + at + 12 + length, 4);
        ck_assert_uint_eq(length_crc, events_masked_crc(bytes + at, 8));
        ck_assert_uint_eq(crc, events_masked_crc(bytes + at + 12, length));
        /* A wall time, and in the first event its step 0. */
        const uint8_t *body = bytes + at + 12 + 9 + (i == 0 ? 2 : 0);
        ck_assert_uint_eq(bytes[at + 12], 9);
        ck_assert_uint_eq(length, 9 + (i == 0 ? 2 : 0) + bodies[i].size);
        ck_assert(!memcmp(body, bodies[i].bytes, bodies[i].size));
        at += 12 + length + 4;
    }
    ck_assert_uint_eq(at, size);
    files_remove(folder);
}
END_TEST

static void add_steps(const char *path, int64_t first, int64_t end, size_t *ends)
{
    static uint8_t bytes[1 << 16];
    struct events events = open_events(path, first);
    for (int64_t step = first; step < end; step++) {
        events_scalars(&events, step, 1, (const char *const[]){"loss"}, (const double[]){(double)step});
        if (ends) ends[step] = read_file(path, bytes, sizeof bytes);
    }
    events_close(&events);
}

/* Flushed after each event; cut at any byte, and damaged at any, the whole events before stay, and go on. */
START_TEST(test_events_torn_and_later_ones_are_cut)
{
    enum { STEPS = 6 };
    static uint8_t whole[1 << 16], bytes[1 << 16];
    char *folder = files_make_folder();
    const char *path = files_path(folder, "events");
    size_t ends[STEPS];
    add_steps(path, 0, STEPS, ends);
    size_t size = read_file(path, whole, sizeof whole), begin = ends[0] - (ends[1] - ends[0]);
    ck_assert_uint_eq(size, ends[STEPS - 1]);
    for (int64_t first = 1; first <= STEPS; first++) {
        files_write(path, whole, size);
        struct events events = open_events(path, first);
        events_close(&events);
        ck_assert_uint_eq(read_file(path, bytes, sizeof bytes), ends[first - 1]);
        ck_assert(!memcmp(bytes, whole, ends[first - 1]));
    }
    for (size_t cut = 0; cut < size; cut++) {
        for (int damage = 0; damage < 2; damage++) {
            memcpy(bytes, whole, size);
            bytes[cut] ^= 1;
            files_write(path, damage ? bytes : whole, damage ? size : cut);
            struct events events = open_events(path, 100);
            events_close(&events);
            size_t kept = read_file(path, bytes, sizeof bytes), expected = begin;
            for (int i = 0; i < STEPS && ends[i] <= cut; i++) expected = ends[i];
            ck_assert_msg(kept == expected, "%zu bytes after byte %zu", kept, cut);
            ck_assert(cut < begin || !memcmp(bytes, whole, kept));
        }
    }
    files_remove(folder);
}
END_TEST

START_TEST(test_events_that_cannot_be_written_are_said_once)
{
    struct problem problem;
    struct events events;
    ck_assert(!events_open(&events, "/no/such/folder/events", 0, &problem));
    ck_assert_ptr_nonnull(strstr(problem.text, "/no/such/folder/events"));
    events_close(&events);
}
END_TEST

RUN_TESTS("events", test_events_sums_are_those_of_the_standard, test_events_bytes_are_protobuf_s,
    test_events_torn_and_later_ones_are_cut, test_events_that_cannot_be_written_are_said_once)
