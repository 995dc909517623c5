/*
 * The common parts of the fuzz targets. A target is one file fuzz_NAME.c with a function fuzz_one, which is
 * given arbitrary bytes and aborts on a fault of the library. With clang it becomes a libFuzzer program; with
 * any compiler, by replay.c, a program that runs files, and files made from them.
 */
#ifndef TESTS_FUZZ_H
#define TESTS_FUZZ_H

#include "base/memory.h"
#include "support/faulty.h"

#include <stddef.h>
#include <stdint.h>

/* The target's own: runs the library on these bytes. */
void fuzz_one(const uint8_t *data, size_t size);

/*
 * Optional function of the target: repairs the parts that would make most changed inputs fail early (for
 * example checksums), in place; returns the new size, at most `room`.
 */
size_t fuzz_mend(uint8_t *data, size_t size, size_t room);

/* Writes the bytes to a file and returns its path; the next call replaces the file. */
const char *fuzz_file(const uint8_t *data, size_t size);

/*
 * An allocator that counts in fuzz_memory, whose members may be set. fuzz_memory_end aborts if a block is not
 * released or more than `most` bytes were allocated at once, and starts again.
 */
extern faulty fuzz_memory;
cb_allocator fuzz_allocator(void);
void fuzz_memory_end(size_t most);

/* Aborts with the message unless the condition is true. */
#define FUZZ_EXPECT(condition, ...) \
    do { \
        if (!(condition)) fuzz_fail(__VA_ARGS__); \
    } while (0)
#if defined(__GNUC__)
__attribute__((format(printf, 1, 2)))
#endif
_Noreturn void
fuzz_fail(const char *format, ...);

/*
 * Records the outcome of an input. A refusal has one of the statuses invalid argument, corrupt and out of
 * memory, and a message with the name `subject` and further text.
 */
void fuzz_outcome(cribo_status status, const char *subject);

/* The same for calls without a status: a refusal has a message. */
void fuzz_answer(bool taken, const char *words);
extern size_t fuzz_taken, fuzz_refused;

#endif
