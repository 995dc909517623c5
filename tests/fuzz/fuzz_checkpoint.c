/* Checkpoints: a load takes a whole one, or leaves the trainer as it was, bit for bit. */
#include "fuzz/fuzz.h"
#include "support/mend.h"
#include "fuzz/small_trainer.h"

#include <string.h>

size_t fuzz_mend(uint8_t *data, size_t size, size_t room)
{
    (void)room;
    mend_checksums(data, size);
    return size;
}

static cribo_trainer *begin(void)
{
    cribo_trainer_config c = small_trainer_config();
    cribo_runtime runtime = training_runtime(1);
    cribo_trainer *trainer;
    runtime.allocate = faulty_allocate;
    runtime.release = faulty_release;
    runtime.allocator_user = &fuzz_memory;
    OK(cribo_trainer_create(&trainer, &c, &runtime));
    training_steps(trainer, &c, 2);
    return trainer;
}

/* The settings and strings may be asked for without a trainer. */
static void look_into(const char *path)
{
    cribo_trainer_config c;
    char text[64];
    OK(cribo_trainer_config_init(&c, sizeof c));
    if (cribo_checkpoint_config(path, &c) == CRIBO_OK)
        for (size_t i = 0; i < 3; i++) {
            static const char *const keys[] = {"", "position", "crc32"};
            (void)!cribo_checkpoint_metadata(path, keys[i], text, sizeof text);
        }
    cribo_setting s;
    for (size_t i = 0; cribo_trainer_config_setting(i, &s) == CRIBO_OK; i++) {
        double value;
        int64_t integer;
        memcpy(&value, (char *)&c + 8 + 8 * i, 8);
        memcpy(&integer, (char *)&c + 8 + 8 * i, 8);
        if (s.integer) value = (double)integer;
        FUZZ_EXPECT(value >= s.minimum && value <= s.maximum, "%s = %g", s.name, value);
    }
}

void fuzz_one(const uint8_t *data, size_t size)
{
    static const cribo_load_options options[] = {{.struct_size = sizeof(cribo_load_options)},
        {.struct_size = sizeof(cribo_load_options),
            .overrides = "learning_rate,epochs,bank_images,clusters,prototypes,width,depth"}};
    static cribo_trainer *trainer;
    if (!trainer) trainer = begin();
    const char *path = fuzz_file(data, size);
    look_into(path);
    for (int i = 0; i < 2; i++) {
        size_t held = fuzz_memory.held, bytes = fuzz_memory.bytes;
        training_state before = training_state_of(trainer);
        fuzz_memory.peak = bytes;
        cribo_status status = cribo_trainer_load(trainer, path, &options[i]);
        fuzz_outcome(status, path);
        FUZZ_EXPECT(fuzz_memory.held == held, "%zu blocks are lost", fuzz_memory.held - held);
        size_t most = (size > 0 && data[0] == 0x1f ? 1032 : 1) * 16 * size + ((size_t)1 << 21);
        FUZZ_EXPECT(fuzz_memory.peak - bytes <= most, "%zu bytes of memory", fuzz_memory.peak - bytes);
        training_state after = training_state_of(trainer);
        FUZZ_EXPECT(
            status == CRIBO_OK || training_state_equal(&before, &after), "a failed load changed something");
        training_state_free(&before);
        training_state_free(&after);
    }
}
