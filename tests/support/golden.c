/* Golden data. See golden.h. */
#include "support/golden.h"

#include <check.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void format_name(char *name, size_t size, const char *format, va_list arguments)
{
    vsnprintf(name, size, format, arguments);
}

#define NAMED(name, format) \
    char name[256]; \
    do { \
        va_list arguments_; \
        va_start(arguments_, format); \
        format_name(name, sizeof name, format, arguments_); \
        va_end(arguments_); \
    } while (0)

static unsigned char *read_file(const char *path, size_t *size)
{
    FILE *stream = fopen(path, "rb");
    ck_assert_msg(stream != NULL, "cannot open %s", path);
    fseek(stream, 0, SEEK_END);
    *size = (size_t)ftell(stream);
    rewind(stream);
    unsigned char *bytes = malloc(*size + 1);
    ck_assert_uint_eq(fread(bytes, 1, *size, stream), *size);
    bytes[*size] = 0;
    fclose(stream);
    return bytes;
}

golden golden_open(const char *name)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/%s.safetensors", CRIBO_REFERENCE, name);
    return golden_open_path(path);
}

golden golden_open_path(const char *path)
{
    size_t size;
    uint64_t length;
    golden result;
    result.bytes = read_file(path, &size);
    memcpy(&length, result.bytes, 8);
    result.header = json_loadb((const char *)result.bytes + 8, length, 0, NULL);
    ck_assert_msg(result.header != NULL, "%s: no JSON header", path);
    result.data = 8 + length;
    return result;
}

void golden_close(golden *file)
{
    json_decref(file->header);
    free(file->bytes);
}

json_t *golden_json(const char *file)
{
    char path[1024];
    size_t size;
    snprintf(path, sizeof path, "%s/%s", CRIBO_REFERENCE, file);
    unsigned char *bytes = read_file(path, &size);
    json_t *json = json_loadb((const char *)bytes, size, 0, NULL);
    ck_assert_msg(json != NULL, "%s: no JSON", file);
    free(bytes);
    return json;
}

static const void *tensor(const golden *file, const char *name, const char *dtype, size_t *count)
{
    json_t *entry = json_object_get(file->header, name);
    ck_assert_msg(entry != NULL, "golden tensor %s is missing", name);
    ck_assert_str_eq(json_string_value(json_object_get(entry, "dtype")), dtype);
    json_t *offsets = json_object_get(entry, "data_offsets");
    size_t begin = (size_t)json_integer_value(json_array_get(offsets, 0));
    size_t end = (size_t)json_integer_value(json_array_get(offsets, 1));
    size_t size = strcmp(dtype, "I64") == 0 ? 8 : strcmp(dtype, "F32") == 0 ? 4 : 1;
    if (count) *count = (end - begin) / size;
    return file->bytes + file->data + begin;
}

const float *golden_floats(const golden *file, size_t *count, const char *format, ...)
{
    NAMED(name, format);
    return tensor(file, name, "F32", count);
}

const int64_t *golden_integers(const golden *file, size_t *count, const char *format, ...)
{
    NAMED(name, format);
    return tensor(file, name, "I64", count);
}

const uint8_t *golden_bytes(const golden *file, size_t *count, const char *format, ...)
{
    NAMED(name, format);
    return tensor(file, name, "U8", count);
}

bool golden_has(const golden *file, const char *format, ...)
{
    NAMED(name, format);
    return json_object_get(file->header, name) != NULL;
}

size_t golden_axis(const golden *file, const char *name, size_t axis)
{
    json_t *shape = json_object_get(json_object_get(file->header, name), "shape");
    ck_assert_msg(axis < json_array_size(shape), "golden tensor %s has no axis %zu", name, axis);
    return (size_t)json_integer_value(json_array_get(shape, axis));
}

static const char *metadata(const golden *file, const char *name)
{
    const char *text =
        json_string_value(json_object_get(json_object_get(file->header, "__metadata__"), name));
    ck_assert_msg(text != NULL, "golden metadata %s is missing", name);
    return text;
}

const char *golden_text(const golden *file, const char *format, ...)
{
    NAMED(name, format);
    return metadata(file, name);
}

double golden_number(const golden *file, const char *format, ...)
{
    NAMED(name, format);
    return strtod(metadata(file, name), NULL);
}

int64_t golden_integer(const golden *file, const char *format, ...)
{
    NAMED(name, format);
    return strtoll(metadata(file, name), NULL, 10);
}

bool golden_truth(const golden *file, const char *format, ...)
{
    NAMED(name, format);
    return strcmp(metadata(file, name), "true") == 0;
}

double max_difference(const float *a, const float *b, size_t n)
{
    double worst = 0;
    for (size_t i = 0; i < n; i++) {
        double difference = fabs((double)a[i] - b[i]);
        if (!(difference <= worst)) worst = difference; /* keeps a NaN */
    }
    return worst;
}

double max_magnitude(const float *a, size_t n)
{
    double most = 0;
    for (size_t i = 0; i < n; i++) most = fmax(most, fabs(a[i]));
    return most;
}

void assert_close(const char *what, const float *got, const float *expected, size_t n, double tolerance)
{
    for (size_t i = 0; i < n; i++)
        ck_assert_msg(fabs((double)got[i] - expected[i]) <= tolerance,
            "%s[%zu] = %.9g, expected %.9g (within %g)", what, i, got[i], expected[i], tolerance);
}
