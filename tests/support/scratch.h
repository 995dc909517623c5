/*
 * Files for tests: one folder per test inside the build folder, whole files in and out of memory. Every
 * failure here ends the test.
 */
#ifndef TESTS_SCRATCH_H
#define TESTS_SCRATCH_H

#include <stdbool.h>
#include <stddef.h>

/* Makes the calling test's folder, and removes it with the files in it. */
void scratch_begin(void);
void scratch_end(void);

/* The folder, and a path in it: one of eight buffers in turn. */
const char *scratch_folder(void);
const char *scratch_path(const char *name);

/* The number of files in it, to check that no temporary file remains. */
size_t scratch_count(void);

void write_bytes(const char *path, const void *bytes, size_t count);

/* The caller frees the bytes; a zero byte follows them. `count` may be NULL. */
void *read_bytes(const char *path, size_t *count);

/* Asserts that the file has exactly these bytes. */
void assert_bytes(const char *path, const void *bytes, size_t count);

/* Two files of the folder, by their names, hold the same, which is not nothing. */
void assert_same_files(const char *a, const char *b);

#endif
