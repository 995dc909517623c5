/*
 * Golden data for the tests: safetensors files read with jansson, on purpose not with the library's own
 * reader. Every failure here ends the test.
 */
#ifndef TESTS_GOLDEN_H
#define TESTS_GOLDEN_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct golden {
    json_t *header;
    unsigned char *bytes; /* the whole file */
    size_t data;          /* where the tensors begin */
} golden;

/* Opens tests/reference/NAME.safetensors, or any such file. */
golden golden_open(const char *name);
golden golden_open_path(const char *path);
void golden_close(golden *file);

/* printf-style tensor names; the data stay the file's. `count` may be NULL. */
const float *golden_floats(const golden *file, size_t *count, const char *format, ...);
const int64_t *golden_integers(const golden *file, size_t *count, const char *format, ...);
const uint8_t *golden_bytes(const golden *file, size_t *count, const char *format, ...);
bool golden_has(const golden *file, const char *format, ...);
size_t golden_axis(const golden *file, const char *name, size_t axis);

/* Metadata, as text, number, whole number or truth. */
const char *golden_text(const golden *file, const char *format, ...);
double golden_number(const golden *file, const char *format, ...);
int64_t golden_integer(const golden *file, const char *format, ...);
bool golden_truth(const golden *file, const char *format, ...);

/* max |a - b|, and max |b|. */
double max_difference(const float *a, const float *b, size_t n);
double max_magnitude(const float *a, size_t n);

/* ck_assert that |a - b| <= tolerance everywhere, naming the worst. */
void assert_close(const char *what, const float *got, const float *expected, size_t n, double tolerance);

/* A folder's file as text (schedules.json). */
json_t *golden_json(const char *file);

#endif
