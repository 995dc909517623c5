/* Checksums made right. See mend.h. The text is searched, not parsed: it may be anything. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* memmem */
#endif
#include "support/mend.h"

#include "io/safetensors_checksums.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

static void put_sum(uint8_t *digits, const uint8_t *bytes, size_t count)
{
    char text[CB_CHECKSUM_DIGITS + 1];
    snprintf(text, sizeof text, CB_CHECKSUM_FORMAT, crc32_z(crc32_z(0, NULL, 0), bytes, count));
    memcpy(digits, text, CB_CHECKSUM_DIGITS);
}

static uint8_t *find(uint8_t *from, const uint8_t *end, const char *word, size_t length)
{
    return from < end ? memmem(from, (size_t)(end - from), word, length) : NULL;
}

/* The two numbers of a tensor's entry, which begins with its quoted name. */
static int find_offsets(uint8_t *header, const uint8_t *end, const char *quoted, size_t offsets[2])
{
    static const char word[] = "\"data_offsets\":[";
    uint8_t *entry = find(header, end, quoted, strlen(quoted));
    uint8_t *at = entry ? find(entry, end, word, sizeof word - 1) : NULL;
    char text[64] = {0};
    if (!at) return 0;
    at += sizeof word - 1;
    memcpy(text, at, (size_t)(end - at) < sizeof text - 1 ? (size_t)(end - at) : sizeof text - 1);
    return sscanf(text, "%zu,%zu", &offsets[0], &offsets[1]) == 2;
}

/* One "crc32.NAME":"DIGITS" at `at`. */
static void mend_tensor(uint8_t *at, uint8_t *header, const uint8_t *end, const uint8_t *file_end)
{
    char quoted[300];
    size_t offsets[2], data = (size_t)(file_end - end);
    const size_t prefix = sizeof CB_CHECKSUM_PREFIX;
    uint8_t *name = at + prefix, *close = find(name, end, "\"", 1);
    if (!close || close - name > 200 || end - close < 4 + (ptrdiff_t)CB_CHECKSUM_DIGITS) return;
    snprintf(quoted, sizeof quoted, "\"%.*s\":{", (int)(close - name), (char *)name);
    if (!find_offsets(header, end, quoted, offsets) || offsets[0] > offsets[1] || offsets[1] > data) return;
    put_sum(close + 3, end + offsets[0], offsets[1] - offsets[0]);
}

/* The end of the header's text: after the bracket that closes the first. */
static size_t text_length(const uint8_t *text, size_t size)
{
    size_t depth = 0;
    for (size_t i = 0; i < size; i++) {
        depth += text[i] == '{';
        if (text[i] == '}' && --depth == 0) return i + 1;
        if (depth == 0) return 0;
    }
    return 0;
}

void mend_checksums(uint8_t *data, size_t size)
{
    const size_t begin = sizeof CB_CHECKSUM_BEGIN - 1;
    if (size < 8 + begin + CB_CHECKSUM_DIGITS || memcmp(data + 8, CB_CHECKSUM_BEGIN, begin) != 0) return;
    uint64_t length = text_length(data + 8, size - 8);
    if (length == 0) return;
    for (int i = 0; i < 7 && length < size - 8 && data[8 + length] == ' '; i++) length++; /* padding */
    memcpy(data, &length, sizeof length);
    uint8_t *header = data + 8, *end = header + length;
    for (uint8_t *at = header; (at = find(at, end, "\"" CB_CHECKSUM_PREFIX, sizeof CB_CHECKSUM_PREFIX)); at++)
        mend_tensor(at, header, end, data + size);
    memcpy(header + begin, CB_CHECKSUM_NONE, CB_CHECKSUM_DIGITS);
    put_sum(header + begin, header, length);
}
