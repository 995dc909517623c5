/* The smallest training loop. Noise stands for the augmented views of images. */
#include <cribo/cribo.h>

#include <stdio.h>
#include <stdlib.h>

/* Two views of `n` images as [n, 3, size, size], and their crops in images of 64 x 64. */
static void make_views(int64_t n, int64_t size, float *view1, float *view2, cribo_crop *crops, int64_t *ids)
{
    for (int64_t i = 0; i < n * 3 * size * size; i++) {
        view1[i] = (float)rand() / (float)RAND_MAX - 0.5f;
        view2[i] = (float)rand() / (float)RAND_MAX - 0.5f;
    }
    for (int64_t i = 0; i < n; i++) {
        crops[i] = (cribo_crop){.x = 8, .y = 8, .width = 48, .height = 48};
        ids[i] = i;
    }
}

int main(void)
{
    enum { n = 4, size = 48, steps = 2 };
    static float view1[n * 3 * size * size], view2[n * 3 * size * size];
    cribo_crop crops[n];
    int64_t ids[n];
    make_views(n, size, view1, view2, crops, ids);

    cribo_trainer_config config;
    cribo_trainer *trainer = NULL;
    cribo_status status = cribo_trainer_config_init(&config, sizeof config); /* the published ViT-S/16 */
    if (status == CRIBO_OK) status = cribo_trainer_config_preset(&config, "mini");
    config.total_steps = steps;
    config.steps_per_epoch = 1; /* batches in an epoch: here, a pass over the four images */
    if (status == CRIBO_OK) status = cribo_trainer_create(&trainer, &config, NULL);
    for (int step = 0; status == CRIBO_OK && step < steps; step++) {
        cribo_batch batch = {.struct_size = sizeof batch,
            .images = n,
            .view1 = view1,
            .view2 = view2,
            .crops1 = crops,
            .crops2 = crops,
            .ids = ids};
        cribo_report report = {.struct_size = sizeof report};
        status = cribo_trainer_step(trainer, &batch, &report);
        if (status == CRIBO_OK) printf("step %d: loss %.3f\n", step + 1, report.loss);
    }
    if (status == CRIBO_OK) status = cribo_trainer_save_weights(trainer, "weights.safetensors");
    if (status != CRIBO_OK) puts(cribo_last_error());
    cribo_trainer_free(trainer);
    return status == CRIBO_OK ? 0 : 1;
}
