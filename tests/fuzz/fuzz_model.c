/* Weights: a load takes finite ones of the right shape, or leaves the model as it was. */
#include "fuzz/fuzz.h"
#include "support/mend.h"
#include "fuzz/small_trainer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

size_t fuzz_mend(uint8_t *data, size_t size, size_t room)
{
    (void)room;
    mend_checksums(data, size);
    return size;
}

static cribo_model *begin(void)
{
    cribo_trainer_config c = small_trainer_config();
    cribo_model_config m;
    cribo_runtime runtime = training_runtime(1);
    cribo_model *model;
    OK(cribo_model_config_init(&m, sizeof m));
    m.image_size = 24; /* the seeds have 16: positions are resampled */
    m.patch_size = c.patch_size, m.width = c.width, m.depth = c.depth, m.heads = c.heads;
    m.mlp_ratio = c.mlp_ratio, m.head_hidden = c.head_hidden, m.head_bottleneck = c.head_bottleneck;
    m.prototypes = c.prototypes, m.object_prototypes = c.object_prototypes;
    runtime.allocate = faulty_allocate;
    runtime.release = faulty_release;
    runtime.allocator_user = &fuzz_memory;
    OK(cribo_model_create(&model, &m, &runtime));
    return model;
}

/* All parameters, one after the other; the caller frees them. */
static float *values_of(cribo_model *model, size_t *count)
{
    int64_t parameters;
    float *values = NULL;
    *count = 0;
    OK(cribo_model_parameter_count(model, &parameters));
    for (int64_t i = 0; i < parameters; i++) {
        cribo_parameter p = {.struct_size = sizeof p};
        OK(cribo_model_parameter(model, i, &p));
        values = realloc(values, (*count + (size_t)p.count) * sizeof *values);
        OK(cribo_model_read_parameter(model, p.name, values + *count, p.count));
        *count += (size_t)p.count;
    }
    return values;
}

static void load(cribo_model *model, const char *path, const char *prefix, const cribo_load_parts *parts)
{
    size_t count, held = fuzz_memory.held;
    float *before = values_of(model, &count);
    cribo_status status = cribo_model_load_partial(model, path, prefix, parts);
    fuzz_outcome(status, path);
    FUZZ_EXPECT(fuzz_memory.held == held, "%zu blocks are lost", fuzz_memory.held - held);
    float *after = values_of(model, &count);
    for (size_t i = 0; i < count; i++)
        FUZZ_EXPECT(isfinite(after[i]), "number %zu is %g", i, (double)after[i]);
    FUZZ_EXPECT(status == CRIBO_OK || memcmp(before, after, count * sizeof *before) == 0,
        "a failed load changed something");
    free(before);
    free(after);
}

void fuzz_one(const uint8_t *data, size_t size)
{
    static cribo_model *model;
    const size_t struct_size = sizeof(cribo_load_parts);
    const cribo_load_parts parts[] = {
        {.struct_size = struct_size, .backbone = 1, .heads = 1, .resample_positions = 1},
        {.struct_size = struct_size, .heads = 1}, {.struct_size = struct_size, .backbone = 1},
        {.struct_size = struct_size, .backbone = 1, .resample_positions = 1, .plain_names = 1}};
    if (!model) model = begin();
    const char *path = fuzz_file(data, size);
    load(model, path, "teacher.", &parts[0]);
    load(model, path, "student.", &parts[size % 4]);
}
