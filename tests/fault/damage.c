/*
 * A small checkpoint cut at every byte, and with every bit of its header flipped: damage PATH. Plain and
 * compressed, each is refused with the file's name, in no more memory than the state takes, and the trainer
 * stays as it was.
 */
#define _POSIX_C_SOURCE 200809L
#include "fuzz/fuzz.h"
#include "fuzz/small_trainer.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

static const char *path;
static cribo_trainer *trainer;
static size_t cuts, flips;

static void refused(const char *damage, size_t place)
{
    cribo_status status = cribo_trainer_load(trainer, path, NULL);
    FUZZ_EXPECT(status == CRIBO_CORRUPT, "%s %zu: %s", damage, place, cribo_status_name(status));
    FUZZ_EXPECT(strstr(cribo_last_error(), path) && strlen(cribo_last_error()) > strlen(path) + 10,
        "%s %zu: \"%s\"", damage, place, cribo_last_error());
}

/* From the whole file down to an empty one. */
static void cut_everywhere(size_t size)
{
    for (size_t n = size; n-- > 0; cuts++) {
        FUZZ_EXPECT(truncate(path, (off_t)n) == 0, "%s cannot be cut", path);
        refused("cut at", n);
    }
}

static void write_byte(int file, size_t place, unsigned char byte)
{
    FUZZ_EXPECT(pwrite(file, &byte, 1, (off_t)place) == 1, "%s cannot be written", path);
}

static void flip_every_bit(const unsigned char *bytes, size_t begin, size_t end)
{
    int file = open(path, O_WRONLY);
    FUZZ_EXPECT(file >= 0, "%s cannot be opened", path);
    for (size_t bit = 8 * begin; bit < 8 * end; bit++, flips++) {
        write_byte(file, bit / 8, (unsigned char)(bytes[bit / 8] ^ 1 << bit % 8));
        refused("flipped bit", bit);
        write_byte(file, bit / 8, bytes[bit / 8]);
    }
    close(file);
}

static size_t read_file(unsigned char *bytes, size_t most, bool inflates)
{
    gzFile packed = inflates ? gzopen(path, "rb") : NULL;
    FILE *file = inflates ? NULL : fopen(path, "rb");
    size_t count = inflates ? (size_t)gzread(packed, bytes, (unsigned)most) : fread(bytes, 1, most, file);
    FUZZ_EXPECT(inflates ? gzclose(packed) == Z_OK : fclose(file) == 0, "%s cannot be read", path);
    return count;
}

static void write_file(const unsigned char *bytes, size_t count)
{
    FILE *file = fopen(path, "wb");
    FUZZ_EXPECT(
        file && fwrite(bytes, 1, count, file) == count && fclose(file) == 0, "%s cannot be written", path);
    OK(cribo_trainer_load(trainer, path, NULL)); /* it is sound before */
}

int main(int count, char **arguments)
{
    static unsigned char bytes[1 << 20];
    cribo_trainer_config c = small_trainer_config();
    uint64_t header;
    if (count != 2) return 2;
    path = arguments[1];
    trainer = training_begin(&c, 1);
    training_steps(trainer, &c, 3);
    OK(cribo_trainer_save(trainer, path, NULL));
    training_state before = training_state_of(trainer);

    size_t size = read_file(bytes, sizeof bytes, false);
    flip_every_bit(bytes, size - 8, size); /* gzip's own sums */
    cut_everywhere(size);
    write_file(bytes, size);
    size = read_file(bytes, sizeof bytes, true);
    write_file(bytes, size);
    memcpy(&header, bytes, sizeof header);
    flip_every_bit(bytes, 0, 8 + (size_t)header);
    cut_everywhere(size);

    training_state after = training_state_of(trainer);
    FUZZ_EXPECT(training_state_equal(&before, &after), "a damaged file changed the trainer");
    training_state_free(&before);
    training_state_free(&after);
    cribo_trainer_free(trainer);
    unlink(path);
    printf("%zu cuts, %zu flips\n", cuts, flips);
    return 0;
}
