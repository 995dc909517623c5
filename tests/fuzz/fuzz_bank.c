/*
 * A memory bank's file, its own or in a checkpoint: a load takes it, or leaves the bank as it was; a query
 * then finds what is finite.
 */
#include "fuzz/fuzz.h"
#include "fuzz/small_trainer.h"
#include "support/mend.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

size_t fuzz_mend(uint8_t *data, size_t size, size_t room)
{
    (void)room;
    mend_checksums(data, size);
    return size;
}

enum { WIDTH = 4, MOST_IMAGES = 3, PER_IMAGE = 2, MOST_OBJECTS = MOST_IMAGES * PER_IMAGE };

typedef struct content {
    int64_t images, objects, counts[MOST_IMAGES], ids[MOST_IMAGES];
    float views[2][MOST_OBJECTS * WIDTH];
} content;

static content content_of(const cribo_memory_bank *bank)
{
    content c;
    memset(&c, 0, sizeof c);
    OK(cribo_memory_bank_count(bank, &c.images, &c.objects));
    FUZZ_EXPECT(c.images <= MOST_IMAGES && c.objects <= MOST_OBJECTS, "%lld images", (long long)c.images);
    OK(cribo_memory_bank_export(bank, c.counts, c.ids, c.views[0], c.views[1]));
    for (int i = 0; i < MOST_OBJECTS * WIDTH; i++)
        FUZZ_EXPECT(isfinite(c.views[0][i]) && isfinite(c.views[1][i]), "number %d is not finite", i);
    return c;
}

static cribo_memory_bank *begin(void)
{
    cribo_memory_bank_config config;
    cribo_runtime runtime = training_runtime(1);
    cribo_memory_bank *bank;
    OK(cribo_memory_bank_config_init(&config, sizeof config));
    config.bank_images = MOST_IMAGES, config.objects_per_image = PER_IMAGE, config.width = WIDTH;
    config.max_objects = MOST_OBJECTS;
    runtime.allocate = faulty_allocate;
    runtime.release = faulty_release;
    runtime.allocator_user = &fuzz_memory;
    OK(cribo_memory_bank_create(&bank, &config, &runtime));
    return bank;
}

static void load(cribo_memory_bank *bank, const char *path, const char *prefix, size_t most)
{
    content before = content_of(bank);
    size_t held = fuzz_memory.held, bytes = fuzz_memory.bytes;
    fuzz_memory.peak = bytes;
    cribo_status status = cribo_memory_bank_load(bank, path, prefix);
    fuzz_outcome(status, path);
    FUZZ_EXPECT(fuzz_memory.held == held, "%zu blocks are lost", fuzz_memory.held - held);
    FUZZ_EXPECT(fuzz_memory.peak - bytes <= most, "%zu bytes of memory", fuzz_memory.peak - bytes);
    content after = content_of(bank);
    FUZZ_EXPECT(
        status == CRIBO_OK || memcmp(&before, &after, sizeof before) == 0, "a failed load changed something");
}

void fuzz_one(const uint8_t *data, size_t size)
{
    static cribo_memory_bank *bank;
    if (!bank) bank = begin();
    const char *path = fuzz_file(data, size);
    size_t most = (size > 0 && data[0] == 0x1f ? 1032 : 1) * 16 * size + ((size_t)1 << 20);
    load(bank, path, NULL, most);
    load(bank, path, "bank.", most);
}
