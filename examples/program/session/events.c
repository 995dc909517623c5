/* See events.h. Field numbers are those of tensorflow/core/util/event.proto and framework/summary.proto. */
#include "session/events.h"

#include "base/output.h"
#include "base/say.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { EVENT_WALL_TIME = 1, EVENT_STEP = 2, EVENT_FILE_VERSION = 3, EVENT_SUMMARY = 5 };
enum { SUMMARY_VALUE = 1 };
enum { VALUE_TAG = 1, VALUE_SIMPLE = 2, VALUE_IMAGE = 4 };
enum { IMAGE_HEIGHT = 1, IMAGE_WIDTH = 2, IMAGE_COLOURS = 3, IMAGE_BYTES = 4 };
enum { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };

enum { HEADER = 12, FOOTER = 4 }; /* length and its sum; the message's sum */

static uint32_t crc_table[256];
static pthread_once_t crc_once = PTHREAD_ONCE_INIT;

static void make_crc_table(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t crc = i;
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? UINT32_C(0x82F63B78) : 0);
        crc_table[i] = crc;
    }
}

uint32_t events_crc(const void *bytes, size_t size)
{
    const uint8_t *byte = bytes;
    uint32_t crc = UINT32_MAX;
    pthread_once(&crc_once, make_crc_table);
    for (size_t i = 0; i < size; i++) crc = crc >> 8 ^ crc_table[(crc ^ byte[i]) & 255];
    return ~crc;
}

uint32_t events_masked_crc(const void *bytes, size_t size)
{
    uint32_t crc = events_crc(bytes, size);
    return (crc >> 15 | crc << 17) + UINT32_C(0xA282EAD8);
}

/* --- messages --- */

struct message {
    uint8_t *bytes;
    size_t size, capacity;
    bool failed; /* no memory; later calls do nothing */
};

static void put_bytes(struct message *message, const void *bytes, size_t size)
{
    if (message->failed || size == 0) return;
    if (message->capacity - message->size < size) {
        size_t capacity = 2 * (message->capacity + size);
        uint8_t *larger = realloc(message->bytes, capacity);
        message->failed = !larger;
        if (!larger) return;
        message->bytes = larger;
        message->capacity = capacity;
    }
    memcpy(message->bytes + message->size, bytes, size);
    message->size += size;
}

static void put_varint(struct message *message, uint64_t value)
{
    uint8_t bytes[10];
    size_t size = 0;
    for (; value > 127; value >>= 7) bytes[size++] = (uint8_t)(value | 128);
    bytes[size++] = (uint8_t)value;
    put_bytes(message, bytes, size);
}

static void put_key(struct message *message, unsigned field, unsigned wire)
{
    put_varint(message, field << 3 | wire);
}

static void put_integer(struct message *message, unsigned field, uint64_t value)
{
    put_key(message, field, WIRE_VARINT);
    put_varint(message, value);
}

/* The `size` low bytes of a number, the lowest first on every machine. */
static void put_fixed(struct message *message, uint64_t value, size_t size)
{
    uint8_t bytes[8];
    for (size_t i = 0; i < size; i++) bytes[i] = (uint8_t)(value >> 8 * i);
    put_bytes(message, bytes, size);
}

static void put_double(struct message *message, unsigned field, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    put_key(message, field, WIRE_64);
    put_fixed(message, bits, 8);
}

static void put_float(struct message *message, unsigned field, float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    put_key(message, field, WIRE_32);
    put_fixed(message, bits, 4);
}

static void put_block(struct message *message, unsigned field, const void *bytes, size_t size)
{
    put_key(message, field, WIRE_BYTES);
    put_varint(message, size);
    put_bytes(message, bytes, size);
}

/* Takes over `part`. */
static void put_message(struct message *message, unsigned field, struct message *part)
{
    message->failed |= part->failed;
    put_block(message, field, part->bytes, part->failed ? 0 : part->size);
    free(part->bytes);
}

static struct message begin_event(int64_t step)
{
    struct message event = {0};
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    put_double(&event, EVENT_WALL_TIME, (double)now.tv_sec + 1e-9 * (double)now.tv_nsec);
    put_integer(&event, EVENT_STEP, (uint64_t)step);
    return event;
}

/* --- records --- */

/*
 * Takes over `event`. Writes a whole record or, after a failure, an incomplete last one, which a resume cuts.
 */
static void write_event(struct events *events, struct message *event)
{
    struct message record = {0};
    put_fixed(&record, event->size, 8);
    uint32_t length_crc = record.failed ? 0 : events_masked_crc(record.bytes, 8);
    put_fixed(&record, length_crc, 4);
    put_bytes(&record, event->bytes, event->size);
    put_fixed(&record, events_masked_crc(event->bytes, event->size), 4);
    bool made = !record.failed && !event->failed;
    errno = ENOMEM;
    bool written =
        events->failed || (made && fwrite(record.bytes, 1, record.size, events->file) == record.size &&
                              fflush(events->file) == 0);
    if (!written)
        say_warning("cannot write %s: %s; training goes on without it", events->path, strerror(errno));
    events->failed |= !written; /* an incomplete record would make all later ones unreadable */
    free(record.bytes);
    free(event->bytes);
}

static void write_version(struct events *events)
{
    struct message event = begin_event(0);
    put_block(&event, EVENT_FILE_VERSION, "brain.Event:2", 13);
    write_event(events, &event);
}

static uint64_t get_fixed(const uint8_t *bytes, size_t size)
{
    uint64_t value = 0;
    for (size_t i = 0; i < size; i++) value |= (uint64_t)bytes[i] << 8 * i;
    return value;
}

static bool get_varint(const uint8_t **at, const uint8_t *end, uint64_t *value)
{
    *value = 0;
    for (unsigned shift = 0; shift < 64 && *at < end; shift += 7) {
        uint8_t byte = *(*at)++;
        *value |= (uint64_t)(byte & 127) << shift;
        if (byte < 128) return true;
    }
    return false;
}

/* The step of an event, 0 if it has none; -1 if it is not a message. */
static int64_t step_of(const uint8_t *at, size_t size)
{
    const uint8_t *end = at + size;
    int64_t step = 0;
    while (at < end) {
        uint64_t key, value, length = 0;
        if (!get_varint(&at, end, &key)) return -1;
        switch (key & 7) {
        case WIRE_VARINT:
            if (!get_varint(&at, end, &value)) return -1;
            if (key >> 3 == EVENT_STEP) step = (int64_t)value;
            break;
        case WIRE_64: length = 8; break;
        case WIRE_32: length = 4; break;
        case WIRE_BYTES:
            if (!get_varint(&at, end, &length)) return -1;
            break;
        default: return -1;
        }
        if (length > (uint64_t)(end - at)) return -1;
        at += length;
    }
    return step;
}

/* Reads the next record if it is complete, undamaged and of a step before `first`. */
static bool keep_record(FILE *file, uint64_t left, int64_t first, struct message *buffer)
{
    uint8_t header[HEADER];
    if (left < HEADER + FOOTER || fread(header, 1, HEADER, file) != HEADER) return false;
    uint64_t length = get_fixed(header, 8);
    if (get_fixed(header + 8, 4) != events_masked_crc(header, 8) || length > left - HEADER - FOOTER)
        return false;
    if (length + FOOTER > buffer->capacity) {
        uint8_t *larger = realloc(buffer->bytes, length + FOOTER);
        if (!larger) return false;
        buffer->bytes = larger;
        buffer->capacity = length + FOOTER;
    }
    if (fread(buffer->bytes, 1, length + FOOTER, file) != length + FOOTER) return false;
    if (get_fixed(buffer->bytes + length, 4) != events_masked_crc(buffer->bytes, length)) return false;
    int64_t step = step_of(buffer->bytes, length);
    return step >= 0 && step < first;
}

/* The end of the records to keep. */
static off_t find_end(FILE *file, int64_t first)
{
    struct message buffer = {0};
    off_t end = 0, size = fseeko(file, 0, SEEK_END) == 0 ? ftello(file) : 0;
    rewind(file);
    while (keep_record(file, (uint64_t)(size - end), first, &buffer)) end = ftello(file);
    free(buffer.bytes);
    return end;
}

bool events_open(struct events *events, const char *path, int64_t first, struct problem *problem)
{
    *events = (struct events){.path = path};
    events->file = output_append(path, first == 0, problem);
    if (!events->file) return false;
    off_t end = first > 0 ? find_end(events->file, first) : 0;
    if (ftruncate(fileno(events->file), end) || fseeko(events->file, 0, SEEK_END)) {
        problem_set(problem, "cannot cut %s: %s", path, strerror(errno));
        events_close(events);
        return false;
    }
    if (end == 0) write_version(events);
    return true;
}

void events_close(struct events *events)
{
    if (events->file) fclose(events->file);
    events->file = NULL;
}

void events_scalars(
    struct events *events, int64_t step, size_t count, const char *const *tags, const double *values)
{
    struct message event = begin_event(step), summary = {0};
    for (size_t i = 0; i < count; i++) {
        struct message value = {0};
        if (!isfinite(values[i])) continue;
        put_block(&value, VALUE_TAG, tags[i], strlen(tags[i]));
        put_float(&value, VALUE_SIMPLE, (float)values[i]);
        put_message(&summary, SUMMARY_VALUE, &value);
    }
    put_message(&event, EVENT_SUMMARY, &summary);
    write_event(events, &event);
}

void events_picture(struct events *events, int64_t step, const char *tag, int width, int height,
    const uint8_t *png, size_t size)
{
    struct message event = begin_event(step), summary = {0}, value = {0}, image = {0};
    put_integer(&image, IMAGE_HEIGHT, (uint64_t)height);
    put_integer(&image, IMAGE_WIDTH, (uint64_t)width);
    put_integer(&image, IMAGE_COLOURS, 3);
    put_block(&image, IMAGE_BYTES, png, size);
    put_block(&value, VALUE_TAG, tag, strlen(tag));
    put_message(&value, VALUE_IMAGE, &image);
    put_message(&summary, SUMMARY_VALUE, &value);
    put_message(&event, EVENT_SUMMARY, &summary);
    write_event(events, &event);
}
