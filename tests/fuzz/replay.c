/*
 * Runs a target without a fuzzer:
 *
 *   fuzz_NAME PATH...                       every file, and every file in a folder, as it is
 *   fuzz_NAME -hostile COUNT SEED PATH...   COUNT inputs made from those files: cut, changed, joined, numbers
 *                                           made absurd, ...
 *
 * The same arguments make the same inputs. An input that takes more than 60 seconds ends the program
 * (SIGALRM), and a fault of the library does, too; "hostile.input" in the working folder is then this input.
 * The last line counts accepted and refused inputs.
 */
#define _POSIX_C_SOURCE 200809L
#include "fuzz/fuzz.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MOST_BYTES ((size_t)1 << 18) /* of an input that is made */
#define MOST_SECONDS 60

typedef struct input {
    uint8_t *bytes;
    size_t size;
} input;

static input *inputs;
static size_t input_count;

/* --- files --- */

static void read_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    struct stat status;
    FUZZ_EXPECT(file && fstat(fileno(file), &status) == 0, "%s cannot be read", path);
    inputs = realloc(inputs, (input_count + 1) * sizeof *inputs);
    input *in = &inputs[input_count++];
    in->size = (size_t)status.st_size;
    in->bytes = malloc(in->size + 1);
    FUZZ_EXPECT(fread(in->bytes, 1, in->size, file) == in->size, "%s cannot be read", path);
    fclose(file);
}

/* In the order of their names. */
static void read_path(const char *path)
{
    struct stat status;
    struct dirent **entries;
    char name[2048];
    if (stat(path, &status) != 0) return; /* no regressions so far */
    if (!S_ISDIR(status.st_mode)) {
        read_file(path);
        return;
    }
    int count = scandir(path, &entries, NULL, alphasort);
    for (int i = 0; i < count; i++) {
        snprintf(name, sizeof name, "%s/%s", path, entries[i]->d_name);
        if (entries[i]->d_name[0] != '.') read_path(name);
        free(entries[i]);
    }
    free(entries);
}

/* --- hostile inputs --- */

static uint64_t state;

/* SplitMix64; a number below `bound`. */
static size_t draw(size_t bound)
{
    uint64_t z = state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return bound ? (z ^ z >> 31) % bound : 0;
}

/* Replaces `gone` bytes at `at` by `count` others, as far as there is room. */
static void splice(input *in, size_t at, size_t gone, const void *bytes, size_t count)
{
    if (in->size - gone + count > MOST_BYTES) return;
    memmove(in->bytes + at + count, in->bytes + at + gone, in->size - at - gone);
    memcpy(in->bytes + at, bytes, count);
    in->size += count - gone;
}

static const char *const words[] = {"{", "}", "[", "]", "{}", "[]", ",", ":", "\"", "\\", "\\u0000",
    "\\ud800", "0", "-1", "1e9", "00", "1.5", "18446744073709551615", "18446744073709551616",
    "9223372036854775807", "4294967295", "nan", "inf", "null", "true", "\"F32\"", "\"F64\"", "\"I64\"",
    "\"U8\"", "\"F4\"", "\"BOOL\"", "\"dtype\"", "\"shape\"", "\"data_offsets\"", "\"__metadata__\"",
    "\"x\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]},", "\"\":\"\"", "\xff", "\xc3\xa9",
    "\xed\xa0\x80", "=", "\n", "/", "../", "%s%n", "\x1f\x8b\x08", "PAX", "ustar"};
#define WORDS (sizeof words / sizeof words[0])

/* A stretch of the input: its place, and how many bytes, mostly few. */
static size_t stretch(const input *in, size_t *at)
{
    *at = draw(in->size + 1);
    size_t most = draw(4) ? 16 : in->size;
    size_t count = draw(most + 1), left = in->size - *at;
    return count < left ? count : left;
}

/* Replaces the next run of digits by another number. */
static void change_number(input *in)
{
    size_t at = draw(in->size + 1), digits = 0;
    while (at < in->size && (in->bytes[at] < '0' || in->bytes[at] > '9')) at++;
    while (at + digits < in->size && in->bytes[at + digits] >= '0' && in->bytes[at + digits] <= '9') digits++;
    char number[32];
    static const uint64_t odd[] = {
        0, 1, 2, 3, 255, 65535, 1u << 31, 4294967295u, (uint64_t)1 << 62, UINT64_MAX};
    uint64_t value = draw(2) ? odd[draw(sizeof odd / sizeof odd[0])]
                             : strtoull((char *)in->bytes + at, NULL, 10) + draw(9) - 4;
    int length = snprintf(number, sizeof number, "%llu", (unsigned long long)value);
    if (digits > 0) splice(in, at, digits, number, (size_t)length);
}

static void change(input *in)
{
    size_t at, count = stretch(in, &at);
    const input *other = &inputs[draw(input_count)];
    uint8_t random[16];
    for (size_t i = 0; i < sizeof random; i++) random[i] = (uint8_t)draw(256);
    switch (draw(10)) {
    case 0: in->size = at; break;                                  /* cut */
    case 1: splice(in, at, count, "", 0); break;                   /* a hole */
    case 2: splice(in, at, 0, random, draw(sizeof random)); break; /* more */
    case 3: splice(in, at, count < 16 ? count : 16, random, count < 16 ? count : 16); break;
    case 4: { /* twice */
        uint8_t *copy = malloc(count + 1);
        memcpy(copy, in->bytes + at, count);
        splice(in, draw(in->size + 1), 0, copy, count);
        free(copy);
        break;
    }
    case 5: {
        const char *word = words[draw(WORDS)];
        splice(in, at, draw(2) ? count : 0, word, strlen(word));
        break;
    }
    case 6: { /* another's end */
        size_t from = draw(other->size + 1);
        splice(in, at, in->size - at, other->bytes + from, other->size - from);
        break;
    }
    case 7:
    case 8: change_number(in); break;
    default:
        if (in->size > 0) in->bytes[draw(in->size)] ^= (uint8_t)(1 << draw(8));
    }
}

static input made;

/* Called when the program ends by a signal or by a sanitizer. */
static void keep_input(void)
{
    int file = open("hostile.input", O_WRONLY | O_CREAT | O_TRUNC, 0666);
    if (file < 0 || write(file, made.bytes, made.size) != (ssize_t)made.size) return;
    close(file);
}

static void die(int signal)
{
    keep_input();
    raise(signal); /* with the default action, since this handler is used once */
}

void __sanitizer_set_death_callback(void (*callback)(void)) __attribute__((weak));

static void watch(void)
{
    static const int signals[] = {SIGABRT, SIGALRM, SIGSEGV, SIGBUS, SIGFPE, SIGILL};
    struct sigaction action = {.sa_handler = die, .sa_flags = (int)SA_RESETHAND | SA_NODEFER};
    if (__sanitizer_set_death_callback) __sanitizer_set_death_callback(keep_input);
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++) sigaction(signals[i], &action, NULL);
}

static void make(uint64_t seed, size_t number)
{
    state = seed + (uint64_t)number * 0x2545f4914f6cdd1du;
    const input *from = &inputs[draw(input_count)];
    made.size = from->size < MOST_BYTES ? from->size : MOST_BYTES;
    memcpy(made.bytes, from->bytes, made.size);
    for (size_t i = 1 + draw(3); i > 0; i--) {
        made.bytes[made.size] = 0; /* numbers end there */
        change(&made);
    }
    if (draw(4)) made.size = fuzz_mend(made.bytes, made.size, MOST_BYTES);
}

/* In an input's own block, so that an overrun of it shows. */
static void run(const uint8_t *bytes, size_t size)
{
    uint8_t *copy = malloc(size ? size : 1);
    FUZZ_EXPECT(copy, "no memory");
    memcpy(copy, bytes, size);
    alarm(MOST_SECONDS);
    fuzz_one(copy, size);
    alarm(0);
    free(copy);
}

static void run_hostile(size_t count, uint64_t seed)
{
    made.bytes = malloc(MOST_BYTES + 1);
    FUZZ_EXPECT(made.bytes && input_count > 0, "there are no files to begin with");
    watch();
    for (size_t i = 0; i < count; i++) {
        make(seed, i);
        run(made.bytes, made.size);
    }
    free(made.bytes);
}

int main(int count, char **arguments)
{
    bool hostile = count > 4 && strcmp(arguments[1], "-hostile") == 0;
    for (int i = hostile ? 4 : 1; i < count; i++) read_path(arguments[i]);
    if (hostile)
        run_hostile(strtoul(arguments[2], NULL, 10), strtoull(arguments[3], NULL, 10));
    else
        for (size_t i = 0; i < input_count; i++) run(inputs[i].bytes, inputs[i].size);
    for (size_t i = 0; i < input_count; i++) free(inputs[i].bytes);
    free(inputs);
    printf("%zu taken, %zu refused\n", fuzz_taken, fuzz_refused);
    return hostile && fuzz_refused == 0; /* all inputs were accepted */
}
