/*
 * Handles from any settings: made, or refused with nothing left behind. Byte 0 chooses the handle; then pairs
 * of bytes set a setting by its index: to a small number, to an end of its range, or (index from 128 on) to a
 * power of two with the next byte's sign.
 */
#include "cribo/cribo.h"
#include "fuzz/fuzz.h"
#include "support/training.h"

#include <math.h>
#include <string.h>

#define LARGEST ((size_t)1 << 23) /* larger blocks are refused */
#define MOST ((size_t)1 << 26)    /* and what would hold more at once, */
#define MOST_CALLS 3000           /* and all after so many calls */

size_t fuzz_mend(uint8_t *data, size_t size, size_t room)
{
    (void)data;
    (void)room;
    return size;
}

typedef cribo_status describe(size_t index, cribo_setting *setting);

static void put(void *config, size_t index, const cribo_setting *s, double value)
{
    int64_t integer = s->integer && fabs(value) < 0x1p63 ? (int64_t)value : 0;
    memcpy((char *)config + 8 + 8 * index, s->integer ? (void *)&integer : (void *)&value, 8);
}

static void apply(void *config, describe *setting, const uint8_t *data, size_t size)
{
    size_t count = 0;
    cribo_setting s;
    while (setting(count, &s) == CRIBO_OK) count++;
    for (size_t i = 0; i + 1 < size; i += 2) {
        size_t index = (data[i] & 127u) % count;
        OK(setting(index, &s));
        double value = data[i + 1];
        if (data[i + 1] == 255) value = s.maximum;
        if (data[i + 1] == 254) value = s.minimum;
        if (data[i] & 128) value = ldexp(data[i + 1] & 128 ? -1 : 1, data[i + 1] & 127);
        put(config, index, &s, value);
    }
}

#define BEGIN(noun, type) \
    type config; \
    OK(cribo_##noun##_config_init(&config, sizeof config)); \
    apply(&config, cribo_##noun##_config_setting, data, size)

static void create_model(const uint8_t *data, size_t size, const cribo_runtime *runtime)
{
    BEGIN(model, cribo_model_config);
    cribo_model *model;
    fuzz_outcome(cribo_model_create(&model, &config, runtime), "");
    cribo_model_free(model);
}

static void create_clusterer(const uint8_t *data, size_t size, const cribo_runtime *runtime)
{
    BEGIN(clusterer, cribo_clusterer_config);
    cribo_clusterer *clusterer;
    int64_t first = size > 0 ? data[0] : 1;
    fuzz_outcome(
        cribo_clusterer_create(&clusterer, &config, runtime, first % 5, first << (size & 31), first), "");
    cribo_clusterer_free(clusterer);
}

static void create_loss(const uint8_t *data, size_t size, const cribo_runtime *runtime)
{
    BEGIN(loss, cribo_loss_config);
    cribo_loss *loss;
    fuzz_outcome(cribo_loss_create(&loss, &config, runtime), "");
    cribo_loss_free(loss);
}

static void create_bank(const uint8_t *data, size_t size, const cribo_runtime *runtime)
{
    BEGIN(memory_bank, cribo_memory_bank_config);
    cribo_memory_bank *bank;
    fuzz_outcome(cribo_memory_bank_create(&bank, &config, runtime), "");
    cribo_memory_bank_free(bank);
}

/* From small settings: the published ones are refused for their size alone. */
static void create_trainer(const uint8_t *data, size_t size, const cribo_runtime *runtime)
{
    cribo_trainer_config config = training_config();
    apply(&config, cribo_trainer_config_setting, data, size);
    cribo_trainer *trainer;
    cribo_status status = cribo_trainer_create(&trainer, &config, runtime);
    fuzz_outcome(status, "");
    if (status == CRIBO_OK && config.batch_size * config.image_size < 1000) {
        training_batch made = training_batch_of(&config, 1, size);
        cribo_report report = {.struct_size = sizeof report};
        status = cribo_trainer_step(trainer, &made.batch, &report);
        FUZZ_EXPECT(status == CRIBO_OK || status == CRIBO_NOT_FINITE, "a step: %s", cribo_last_error());
        training_batch_free(&made);
    }
    cribo_trainer_free(trainer);
}

void fuzz_one(const uint8_t *data, size_t size)
{
    void (*const create[])(const uint8_t *, size_t, const cribo_runtime *) = {
        create_trainer, create_model, create_clusterer, create_loss, create_bank};
    cribo_runtime runtime = training_runtime(1);
    runtime.allocate = faulty_allocate;
    runtime.release = faulty_release;
    runtime.allocator_user = &fuzz_memory;
    fuzz_memory = (faulty){.largest = LARGEST, .most = MOST, .fail_at = MOST_CALLS, .for_ever = true};
    if (size > 0) create[data[0] % 5](data + 1, size - 1, &runtime);
    fuzz_memory_end(SIZE_MAX);
}
