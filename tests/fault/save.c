/*
 * Saves or checks a small file, for faults to be injected from outside.
 *
 * save KIND PATH VALUE   KIND weights: a tensor full of VALUE; checkpoint: a trainer whose centres are VALUE.
 *                        The message of a failure goes to standard error, its status is the exit status
 * save KIND PATH         prints the VALUE of a whole file; exit status 1 when it is not one
 */
#include "cribo/cribo.h"
#include "io/safetensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { COUNT = 5000 };
static const cb_allocator plain = {0};
static float values[COUNT];

static void fill(float value)
{
    for (int i = 0; i < COUNT; i++) values[i] = value;
}

static int all_equal(void)
{
    for (int i = 1; i < COUNT; i++)
        if (values[i] != values[0]) return 0;
    return 1;
}

/* --- weights --- */

static cribo_status save_weights(const char *path)
{
    cb_tensor_entry entry = {NULL, "x", 1, {COUNT}, .values = values};
    return cb_safetensors_write(&plain, cb_at(path), &entry, 1, NULL, 0);
}

static cribo_status load_weights(const char *path)
{
    cb_safetensors *file;
    CB_TRY(cb_safetensors_open(&plain, &file, cb_at(path)));
    const cb_tensor_info *tensor = cb_safetensors_find(file, NULL, "x");
    cribo_status status = tensor ? cb_safetensors_read(file, tensor, values, COUNT) : CRIBO_CORRUPT;
    cb_safetensors_close(file);
    return status;
}

/* --- checkpoints --- */

static cribo_status begin(cribo_trainer **trainer)
{
    cribo_trainer_config c;
    cribo_runtime runtime;
    CB_TRY(cribo_trainer_config_init(&c, sizeof c));
    CB_TRY(cribo_runtime_init(&runtime, sizeof runtime));
    c.image_size = c.patch_size = 8;
    c.width = c.heads = c.depth = c.mlp_ratio = 1;
    c.head_hidden = c.head_bottleneck = 1;
    c.prototypes = COUNT;
    c.object_prototypes = c.clusters = c.bank_images = c.batch_size = c.steps_per_epoch = 1;
    runtime.threads = 1;
    return cribo_trainer_create(trainer, &c, &runtime);
}

static cribo_status use_checkpoint(const char *path, bool saves)
{
    cribo_trainer *trainer;
    CB_TRY(begin(&trainer));
    cribo_status status =
        saves ? cribo_trainer_set_centres(trainer, values, NULL) : cribo_trainer_load(trainer, path, NULL);
    if (status == CRIBO_OK)
        status = saves ? cribo_trainer_save(trainer, path, NULL)
                       : cribo_trainer_get_centres(trainer, values, NULL);
    cribo_trainer_free(trainer);
    return status;
}

static int outcome(cribo_status status)
{
    if (status != CRIBO_OK) fprintf(stderr, "%s\n", cribo_last_error());
    return (int)status;
}

int main(int count, char **arguments)
{
    if (count != 3 && count != 4) return 2;
    bool checkpoint = strcmp(arguments[1], "checkpoint") == 0;
    const char *path = arguments[2];
    if (count == 4) {
        fill((float)atof(arguments[3]));
        return outcome(checkpoint ? use_checkpoint(path, true) : save_weights(path));
    }
    if (outcome(checkpoint ? use_checkpoint(path, false) : load_weights(path)) != 0) return 1;
    printf("%g\n", (double)values[0]);
    return !all_equal();
}
