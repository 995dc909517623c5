/* See picture_index.h. */
#include "pictures/picture_index.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <zlib.h>

static const char magic[8] = "CRIBOix1";

/* A change so shortly before the listing may be followed by another with the same time stamp. */
enum { SETTLING_SECONDS = 2 };

static bool failed(struct index_writer *writer)
{
    return problem_set(writer->problem, "cannot write %s: %s", writer->path, strerror(errno));
}

/* FNV-1a, 64 bits, over a string with its terminating zero. */
static uint64_t add_to_digest(uint64_t digest, const char *text)
{
    do digest = (digest ^ (unsigned char)*text) * UINT64_C(1099511628211);
    while (*text++);
    return digest;
}

bool index_begin(struct index_writer *writer, const char *path, struct problem *problem)
{
    *writer = (struct index_writer){.path = path, .problem = problem};
    memcpy(writer->header.magic, magic, sizeof magic);
    writer->header.digest = UINT64_C(14695981039346656037);
    if (asprintf(&writer->temporary, "%s.tmp", path) < 0) {
        writer->temporary = NULL;
        return problem_no_memory(problem);
    }
    writer->entries = fopen(writer->temporary, "w+e");
    if (writer->entries) unlink(writer->temporary); /* the entries wait in a file without a name */
    writer->names = writer->entries ? fopen(writer->temporary, "w+e") : NULL;
    bool begun = writer->names && fwrite(&writer->header, sizeof writer->header, 1, writer->names) == 1;
    if (begun) return true;
    failed(writer);
    return index_end(writer, false);
}

static bool add_name(struct index_writer *writer, const char *name, uint64_t *offset)
{
    *offset = writer->header.names;
    size_t size = strlen(name) + 1;
    writer->header.names += size;
    return fwrite(name, size, 1, writer->names) == 1 || failed(writer);
}

static bool add_container(struct index_writer *writer, struct picture_container container)
{
    if (writer->header.containers == writer->capacity) {
        size_t capacity = writer->capacity ? 2 * writer->capacity : 64;
        struct picture_container *larger = realloc(writer->containers, capacity * sizeof *larger);
        if (!larger) return problem_no_memory(writer->problem);
        writer->containers = larger;
        writer->capacity = capacity;
    }
    writer->containers[writer->header.containers++] = container;
    return true;
}

bool index_add_container(struct index_writer *writer, enum container_kind kind, const char *name,
    const struct stat *status, uint64_t *container)
{
    struct picture_container added = {.seconds = -1, .kind = kind};
    if (status && status->st_mtim.tv_sec < time(NULL) - SETTLING_SECONDS) {
        added.seconds = status->st_mtim.tv_sec;
        added.nanoseconds = status->st_mtim.tv_nsec;
    }
    if (status && kind != CONTAINER_FOLDER) added.bytes = (uint64_t)status->st_size;
    *container = writer->header.containers;
    return add_name(writer, name, &added.name) && add_container(writer, added);
}

bool index_add_source(struct index_writer *writer, const char *name, const char *real_path)
{
    struct picture_container added = {.kind = CONTAINER_SOURCE};
    return add_name(writer, name, &added.name) && add_name(writer, real_path, &added.bytes) &&
           add_container(writer, added);
}

bool index_add_entry(struct index_writer *writer, uint64_t container, const char *name, uint64_t offset,
    uint64_t size, const char *identity)
{
    struct picture_entry entry = {.offset = offset, .size = size, .container = container};
    if (!add_name(writer, name, &entry.name)) return false;
    writer->header.count++;
    writer->header.digest = add_to_digest(writer->header.digest, identity) ^ size;
    return fwrite(&entry, sizeof entry, 1, writer->entries) == 1 || failed(writer);
}

struct index_mark index_mark(const struct index_writer *writer)
{
    return (struct index_mark){writer->header};
}

/* Cuts what has been written behind `size` bytes. */
static bool cut(FILE *file, uint64_t size)
{
    return fflush(file) == 0 && ftruncate(fileno(file), (off_t)size) == 0 &&
           fseeko(file, (off_t)size, SEEK_SET) == 0;
}

bool index_rewind(struct index_writer *writer, const struct index_mark *mark)
{
    writer->header = mark->header;
    return (cut(writer->names, sizeof writer->header + writer->header.names) &&
               cut(writer->entries, writer->header.count * sizeof(struct picture_entry))) ||
           failed(writer);
}

static bool copy_entries(struct index_writer *writer)
{
    char buffer[1 << 16];
    rewind(writer->entries);
    for (size_t got; (got = fread(buffer, 1, sizeof buffer, writer->entries)) > 0;)
        if (fwrite(buffer, 1, got, writer->names) != got) return false;
    return !ferror(writer->entries);
}

/* The checksum of the data after the header. */
static bool sum_up(FILE *file, uint64_t *crc)
{
    char buffer[1 << 16];
    uLong sum = crc32(0, NULL, 0);
    if (fseeko(file, sizeof(struct picture_header), SEEK_SET)) return false;
    for (size_t got; (got = fread(buffer, 1, sizeof buffer, file)) > 0;)
        sum = crc32(sum, (const Bytef *)buffer, (uInt)got);
    *crc = sum;
    return !ferror(file);
}

static bool complete(struct index_writer *writer)
{
    static const char zeros[8];
    struct picture_header *header = &writer->header;
    size_t padding = (size_t)(-header->names & 7), size = sizeof *writer->containers;
    header->names += padding;
    return fwrite(zeros, 1, padding, writer->names) == padding && copy_entries(writer) &&
           fwrite(writer->containers, size, header->containers, writer->names) == header->containers &&
           sum_up(writer->names, &header->crc) && fseeko(writer->names, 0, SEEK_SET) == 0 &&
           fwrite(header, sizeof *header, 1, writer->names) == 1 && fflush(writer->names) == 0 &&
           rename(writer->temporary, writer->path) == 0;
}

bool index_end(struct index_writer *writer, bool good)
{
    bool ended = good && (complete(writer) || failed(writer));
    if (!ended && writer->temporary) unlink(writer->temporary);
    if (writer->names) fclose(writer->names);
    if (writer->entries) fclose(writer->entries);
    free(writer->containers);
    free(writer->temporary);
    return ended;
}

static bool sizes_fit(const struct picture_header *header, uint64_t bytes)
{
    const uint64_t entry = sizeof(struct picture_entry), container = sizeof(struct picture_container);
    uint64_t rest = bytes - sizeof *header;
    if (memcmp(header->magic, magic, sizeof magic) || header->names > rest || header->names % 8) return false;
    rest -= header->names;
    if (header->count > rest / entry) return false;
    rest -= header->count * entry;
    return rest % container == 0 && header->containers == rest / container;
}

/* Names end with zeros, so an offset below their length is the beginning of a string that ends. */
static bool offsets_fit(const struct pictures *pictures, const struct picture_header *header)
{
    bool fit = header->names == 0 || pictures->names[header->names - 1] == '\0';
    for (uint64_t i = 0; i < header->count && fit; i++)
        fit =
            pictures->entries[i].name < header->names && pictures->entries[i].container < header->containers;
    for (uint64_t i = 0; i < header->containers && fit; i++) {
        const struct picture_container *container = &pictures->containers[i];
        fit = container->name < header->names && container->kind <= CONTAINER_KEYS &&
              (container->kind != CONTAINER_SOURCE || container->bytes < header->names);
    }
    return fit;
}

/* zlib counts in 32 bits. */
static uint64_t sum_of(const uint8_t *bytes, uint64_t size)
{
    uLong sum = crc32(0, NULL, 0);
    while (size > 0) {
        uInt part = size < 1 << 30 ? (uInt)size : 1 << 30;
        sum = crc32(sum, bytes, part);
        bytes += part;
        size -= part;
    }
    return sum;
}

static bool look_into(struct pictures *pictures)
{
    const struct picture_header *header = pictures->content;
    const char *after = (const char *)(header + 1);
    if (!sizes_fit(header, pictures->bytes)) return false;
    pictures->names = after;
    pictures->entries = (const void *)(after + header->names);
    pictures->containers = (const void *)(pictures->entries + header->count);
    pictures->count = (size_t)header->count;
    pictures->container_count = (size_t)header->containers;
    pictures->digest = header->digest;
    return header->crc == sum_of((const uint8_t *)after, pictures->bytes - sizeof *header) &&
           offsets_fit(pictures, header);
}

static bool read_whole(int file, char *out, size_t size)
{
    for (size_t done = 0; done < size;) {
        ssize_t got = read(file, out + done, size - done);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return false;
        done += (size_t)got;
    }
    return true;
}

/* Containers follow their source. */
static bool find_sources(struct pictures *pictures)
{
    size_t found = 0;
    for (size_t i = 0; i < pictures->container_count; i++)
        pictures->sources += pictures->containers[i].kind == CONTAINER_SOURCE;
    pictures->source_begins =
        calloc(pictures->sources ? pictures->sources : 1, sizeof *pictures->source_begins);
    if (!pictures->source_begins) return false;
    for (size_t i = 0; i < pictures->container_count; i++)
        if (pictures->containers[i].kind == CONTAINER_SOURCE) pictures->source_begins[found++] = i;
    return true;
}

bool index_read(struct pictures *pictures, const char *path)
{
    struct stat status;
    *pictures = (struct pictures){0};
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (file < 0) return false;
    bool sized = fstat(file, &status) == 0 && S_ISREG(status.st_mode) &&
                 status.st_size >= (off_t)sizeof(struct picture_header);
    pictures->bytes = sized ? (size_t)status.st_size : 0;
    pictures->content = sized ? malloc(pictures->bytes) : NULL;
    bool read = pictures->content && read_whole(file, pictures->content, pictures->bytes);
    close(file);
    if (read && look_into(pictures) && find_sources(pictures)) return true;
    pictures_close(pictures);
    return false;
}
