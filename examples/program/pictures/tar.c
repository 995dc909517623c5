/* See tar.h. Headers are blocks of 512 bytes (POSIX.1-2001, pax; the GNU tar manual, "Basic Tar Format"). */
#include "pictures/tar.h"

#include "pictures/kind.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BLOCK = 512, MOST_NAME = 1 << 16, MOST_EXTRA = 1 << 20 };

/* A field of a header: first byte and length. */
struct field {
    int at, length;
};
static const struct field name_field = {0, 100}, size_field = {124, 12}, sum_field = {148, 8},
                          link_field = {157, 100}, prefix_field = {345, 155};
enum { TYPE_AT = 156, MAGIC_AT = 257 };

struct archive {
    int file;
    uint64_t bytes, at; /* the beginning of the current header */
    uint8_t header[BLOCK];
    /* From extended headers of the next member. */
    char *name, *target; /* [MOST_NAME + 1]; "": nothing */
    bool sized;
    uint64_t size;
    struct problem *problem;
};

static bool refuse(const struct archive *archive, const char *what)
{
    return problem_set(
        archive->problem, "damaged tar archive: %s at byte %llu", what, (unsigned long long)archive->at);
}

static bool read_at(const struct archive *archive, uint64_t offset, void *out, size_t size)
{
    for (size_t done = 0; done < size;) {
        ssize_t got = pread(archive->file, (char *)out + done, size - done, (off_t)(offset + done));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return problem_set(archive->problem, "%s", strerror(errno));
        if (got == 0) return refuse(archive, "the file became shorter");
        done += (size_t)got;
    }
    return true;
}

/* Octal digits (none: 0), padded by spaces or zeros, or GNU's big-endian binary after a byte 0x80. */
static bool parse_number(const struct archive *archive, struct field field, uint64_t *value)
{
    const uint8_t *digits = archive->header + field.at, *end = digits + field.length;
    *value = 0;
    if (*digits == 0x80) {
        for (digits++; digits < end; digits++) {
            if (*value >> 55) return false;
            *value = *value << 8 | *digits;
        }
        return true;
    }
    while (digits < end && *digits == ' ') digits++;
    while (digits < end && *digits >= '0' && *digits <= '7')
        *value = *value << 3 | (uint64_t)(*digits++ - '0');
    return digits == end || *digits == ' ' || *digits == '\0';
}

/* The sum of the header's bytes with its own field as spaces; some old programs took bytes as signed. */
static bool sum_is_right(const struct archive *archive)
{
    uint64_t wanted;
    int64_t plain = 0, signed_sum = 0;
    for (int i = 0; i < BLOCK; i++) {
        bool own = i >= sum_field.at && i < sum_field.at + sum_field.length;
        plain += own ? ' ' : archive->header[i];
        signed_sum += own ? ' ' : (int8_t)archive->header[i];
    }
    return parse_number(archive, sum_field, &wanted) &&
           ((int64_t)wanted == plain || (int64_t)wanted == signed_sum);
}

static bool is_zero(const uint8_t *block)
{
    static const uint8_t zeros[BLOCK];
    return !memcmp(block, zeros, BLOCK);
}

/* The name in the header itself: "prefix/name" in ustar archives. */
static void read_short_name(const struct archive *archive, char *name)
{
    const char *header = (const char *)archive->header;
    bool ustar = !memcmp(header + MAGIC_AT, "ustar\0", 6);
    int prefix = ustar ? (int)strnlen(header + prefix_field.at, (size_t)prefix_field.length) : 0;
    snprintf(name, MOST_NAME + 1, "%.*s%s%.*s", prefix, header + prefix_field.at, prefix ? "/" : "",
        name_field.length, header + name_field.at);
}

/* For archive->name or archive->target. */
static bool keep_name(struct archive *archive, char *kept, const char *name, size_t length)
{
    if (length > MOST_NAME) return refuse(archive, "a name of more than 65536 bytes");
    if (length == 0 || memchr(name, '\0', length)) return refuse(archive, "an empty name or one with a zero");
    memcpy(kept, name, length);
    kept[length] = '\0';
    return true;
}

/* One "key=value" of a pax header; `length` without the newline. */
static bool take_record(struct archive *archive, const char *record, size_t length)
{
    const char *equals = memchr(record, '=', length);
    if (!equals) return refuse(archive, "a pax record without =");
    size_t key = (size_t)(equals - record), rest = length - key - 1;
    if (key == 4 && !memcmp(record, "path", 4)) return keep_name(archive, archive->name, equals + 1, rest);
    if (key == 8 && !memcmp(record, "linkpath", 8))
        return keep_name(archive, archive->target, equals + 1, rest);
    if (key >= 10 && !memcmp(record, "GNU.sparse", 10)) return refuse(archive, "a sparse file");
    if (key != 4 || memcmp(record, "size", 4)) return true;
    archive->sized = true;
    archive->size = 0;
    for (const char *digit = equals + 1; digit < record + length; digit++) {
        if (*digit < '0' || *digit > '9' || archive->size > UINT64_MAX / 20)
            return refuse(archive, "a pax size that is no number");
        archive->size = 10 * archive->size + (uint64_t)(*digit - '0');
    }
    return rest > 0 || refuse(archive, "a pax size that is no number");
}

/* "LENGTH KEY=VALUE\n" and so on; LENGTH counts the whole record. */
static bool take_records(struct archive *archive, const char *text, size_t size)
{
    while (size > 0) {
        size_t length = 0, digits = 0;
        while (digits < size && digits < 8 && text[digits] >= '0' && text[digits] <= '9')
            length = 10 * length + (size_t)(text[digits++] - '0');
        if (digits == 0 || digits == size || text[digits] != ' ' || length > size || length < digits + 3 ||
            text[length - 1] != '\n')
            return refuse(archive, "a malformed pax record");
        if (!take_record(archive, text + digits + 1, length - digits - 2)) return false;
        text += length;
        size -= length;
    }
    return true;
}

/* An extended header of the next member: pax records, or a long name of GNU tar. */
static bool read_extension(struct archive *archive, char type, uint64_t offset, uint64_t size)
{
    if (size > MOST_EXTRA) return refuse(archive, "an extended header of more than a mebibyte");
    char *text = malloc((size_t)size + 1);
    if (!text) return problem_no_memory(archive->problem);
    bool read = read_at(archive, offset, text, (size_t)size);
    text[read ? size : 0] = '\0';
    if (read && type == 'x') read = take_records(archive, text, (size_t)size);
    if (read && type == 'L') read = keep_name(archive, archive->name, text, strlen(text));
    if (read && type == 'K') read = keep_name(archive, archive->target, text, strlen(text));
    free(text);
    return read;
}

/*
 * Skips the zeros at an archive's end. *ended: only the file's end follows, or bytes that are not a header,
 * which other programs also ignore.
 */
static bool pass_zeros(struct archive *archive, bool *ended)
{
    uint8_t blocks[64 * BLOCK];
    *ended = true;
    while (archive->bytes - archive->at >= BLOCK) {
        uint64_t left = archive->bytes - archive->at;
        size_t size = left < sizeof blocks ? (size_t)left / BLOCK * BLOCK : sizeof blocks, zeros = 0;
        if (!read_at(archive, archive->at, blocks, size)) return false;
        while (zeros < size && is_zero(blocks + zeros)) zeros += BLOCK;
        archive->at += zeros;
        if (zeros == size) continue;
        memcpy(archive->header, blocks + zeros, BLOCK);
        *ended = !sum_is_right(archive);
        return true;
    }
    return true;
}

/* The file's end comes after a whole member, or within zeros. */
static bool at_end(struct archive *archive, bool *end)
{
    size_t left = archive->at < archive->bytes ? (size_t)(archive->bytes - archive->at) : 0;
    memset(archive->header, 0, BLOCK);
    if (left > 0 && !read_at(archive, archive->at, archive->header, left)) return false;
    *end = archive->at > 0 && is_zero(archive->header);
    return *end || refuse(archive, "it is cut short");
}

static bool read_header(struct archive *archive, bool *end)
{
    *end = false;
    if (archive->bytes < archive->at + BLOCK) return at_end(archive, end);
    if (!read_at(archive, archive->at, archive->header, BLOCK)) return false;
    if (is_zero(archive->header)) return pass_zeros(archive, end);
    if (sum_is_right(archive)) return true;
    struct kind kind = kind_of(archive->header, BLOCK);
    if (archive->at == 0 && kind.sort == KIND_COMPRESSED)
        return problem_set(archive->problem, "%s; unpack it to a plain tar", kind.name);
    return refuse(archive, archive->at == 0 ? "no tar header" : "a header with a wrong sum");
}

/* Names and target of the member whose header has been read. */
static void name_member(const struct archive *archive, struct tar_member *member, char *name, char *target)
{
    char type = (char)archive->header[TYPE_AT];
    member->kind = type == '1' ? TAR_HARD_LINK : type == '2' ? TAR_SYMBOLIC_LINK : TAR_FILE;
    member->name = archive->name;
    member->target = "";
    if (!archive->name[0]) {
        read_short_name(archive, name);
        member->name = name;
    }
    if (member->kind == TAR_FILE) return;
    snprintf(target, (size_t)link_field.length + 1, "%.*s", link_field.length,
        (const char *)archive->header + link_field.at);
    member->target = archive->target[0] ? archive->target : target;
}

/* The member whose header has been read, and the beginning of the next header. */
static bool read_member(struct archive *archive, uint64_t *next,
    bool (*visit)(void *user, const struct tar_member *member), void *user)
{
    char type = (char)archive->header[TYPE_AT], name[MOST_NAME + 1], target[101];
    struct tar_member member = {.offset = archive->at + BLOCK};
    bool extension = type == 'x' || type == 'g' || type == 'L' || type == 'K';
    bool visible = type == '0' || type == '\0' || type == '7' || type == '1' || type == '2';
    if (!parse_number(archive, size_field, &member.size)) return refuse(archive, "a size that is no number");
    if (!extension && archive->sized) member.size = archive->size;
    if (type >= '1' && type <= '6') member.size = 0; /* links, devices and folders have no bytes */
    if (member.size > archive->bytes - member.offset)
        return refuse(archive, "a file beyond the archive's end");
    if (type == 'S' || type == 'M')
        return refuse(archive, type == 'S' ? "a sparse file" : "a file in volumes");
    *next = member.offset + (member.size + BLOCK - 1) / BLOCK * BLOCK;
    if (extension) return read_extension(archive, type, member.offset, member.size);
    name_member(archive, &member, name, target);
    bool folder = member.name[0] == '\0' || member.name[strlen(member.name) - 1] == '/'; /* as before ustar */
    bool visited = !visible || folder || visit(user, &member);
    archive->name[0] = archive->target[0] = '\0';
    archive->sized = false;
    return visited;
}

bool tar_list(int file, uint64_t bytes, bool (*visit)(void *user, const struct tar_member *member),
    void *user, struct problem *problem)
{
    struct archive archive = {.file = file, .bytes = bytes, .problem = problem};
    archive.name = calloc(2, MOST_NAME + 1);
    if (!archive.name) return problem_no_memory(problem);
    archive.target = archive.name + MOST_NAME + 1;
    bool listed = true, end = false;
    while (listed && !end) {
        listed = read_header(&archive, &end);
        uint64_t next = archive.at;
        if (listed && !end) listed = read_member(&archive, &next, visit, user);
        archive.at = next;
    }
    if (listed && (archive.name[0] || archive.sized)) listed = refuse(&archive, "a header without its file");
    free(archive.name);
    return listed;
}
