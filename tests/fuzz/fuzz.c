/* The common parts of the fuzz targets. See fuzz.h. */
#define _POSIX_C_SOURCE 200809L
#include "fuzz/fuzz.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

faulty fuzz_memory;
size_t fuzz_taken, fuzz_refused;

void fuzz_fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fprintf(stderr, "\n");
    abort();
}

static char path[1024];

static void remove_file(void)
{
    unlink(path);
}

static int open_file(void)
{
    const char *folder = getenv("TMPDIR");
    snprintf(path, sizeof path, "%s/fuzz-XXXXXX", folder ? folder : "/tmp");
    int descriptor = mkstemp(path);
    FUZZ_EXPECT(descriptor >= 0, "%s cannot be made", path);
    atexit(remove_file);
    return descriptor;
}

const char *fuzz_file(const uint8_t *data, size_t size)
{
    static int descriptor = -1;
    if (descriptor < 0) descriptor = open_file();
    FUZZ_EXPECT(ftruncate(descriptor, 0) == 0 && pwrite(descriptor, data, size, 0) == (ssize_t)size,
        "%s cannot be written", path);
    return path;
}

cb_allocator fuzz_allocator(void)
{
    return (cb_allocator){faulty_allocate, faulty_release, &fuzz_memory};
}

void fuzz_memory_end(size_t most)
{
    FUZZ_EXPECT(fuzz_memory.held == 0, "%zu blocks are lost", fuzz_memory.held);
    FUZZ_EXPECT(fuzz_memory.peak <= most, "%zu bytes of memory, more than %zu", fuzz_memory.peak, most);
    fuzz_memory = (faulty){.largest = fuzz_memory.largest};
}

void fuzz_answer(bool taken, const char *words)
{
    if (taken)
        fuzz_taken++;
    else
        fuzz_refused++;
    FUZZ_EXPECT(taken || strlen(words) > 5, "\"%s\" says too little", words);
}

void fuzz_outcome(cribo_status status, const char *subject)
{
    const char *message = cribo_last_error(), *named = strstr(message, subject);
    fuzz_answer(status == CRIBO_OK, message);
    if (status == CRIBO_OK) return;
    FUZZ_EXPECT(status == CRIBO_INVALID_ARGUMENT || status == CRIBO_CORRUPT || status == CRIBO_OUT_OF_MEMORY,
        "%s: %s", cribo_status_name(status), message);
    FUZZ_EXPECT(
        named && strlen(named) > strlen(subject) + 5, "\"%s\" says too little of %s", message, subject);
}
