/*
 * gzip files: for any content, reading ends, gives at most the bytes that deflate can produce from the file's
 * size, and uses fixed memory.
 */
#include "fuzz/fuzz.h"
#include "io/gzip.h"

#include <stdlib.h>
#include <string.h>

size_t fuzz_mend(uint8_t *data, size_t size, size_t room)
{
    (void)data;
    (void)room;
    return size;
}

/* In larger and larger pieces, and in smaller ones where the end is near. */
static cribo_status read_to_end(cb_gzip_reader *reader, size_t size)
{
    static unsigned char piece[65536];
    uint64_t at = 0, most = (uint64_t)CB_GZIP_MOST_EXPANSION * size + 1;
    for (size_t n = 1;;) {
        if (cb_gzip_reader_read(reader, at, piece, n) == CRIBO_OK) {
            at += n;
            n = n < sizeof piece / 2 ? 2 * n : sizeof piece;
        } else if (n > 1)
            n /= 2;
        else
            return cb_gzip_reader_end(reader, at);
        FUZZ_EXPECT(at <= most, "%llu bytes from %zu", (unsigned long long)at, size);
    }
}

void fuzz_one(const uint8_t *data, size_t size)
{
    const char *path = fuzz_file(data, size);
    cb_allocator allocator = fuzz_allocator();
    cb_file_reader file;
    cb_gzip_reader *reader;
    bool is_gzip;
    FUZZ_EXPECT(cb_file_reader_open(&file, cb_at(path)) == CRIBO_OK, "%s", cribo_last_error());
    FUZZ_EXPECT(cb_gzip_detect(&file, &is_gzip) == CRIBO_OK, "%s", cribo_last_error());
    FUZZ_EXPECT(!is_gzip || (data[0] == 0x1f && data[1] == 0x8b), "detected");
    FUZZ_EXPECT(cb_gzip_reader_create(&allocator, &reader, &file) == CRIBO_OK, "%s", cribo_last_error());
    fuzz_outcome(read_to_end(reader, size), path);
    cb_gzip_reader_free(reader);
    cb_file_reader_close(&file);
    fuzz_memory_end((size_t)1 << 19);
}
