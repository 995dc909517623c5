/*
 * A program with functions and variables of its own that have the names of internal ones of the library,
 * linked with the static library: each uses its own.
 */
#include <cribo/cribo.h>

#include <stdio.h>

int cb_gemm(void);
int cb_pool_run(void);
extern int cb_model_settings;

int cb_gemm(void)
{
    return 1;
}

int cb_pool_run(void)
{
    return 2;
}

int cb_model_settings = 3;

static cribo_status compute(void)
{
    cribo_model_config config;
    cribo_model *model;
    float pixels[3 * 16 * 16] = {0}, cls[8];
    cribo_status status = cribo_model_config_init(&config, sizeof config);
    config.image_size = 16;
    config.patch_size = 8;
    config.width = 8;
    config.heads = 2;
    config.depth = 1;
    config.prototypes = config.object_prototypes = 0;
    if (status == CRIBO_OK) status = cribo_model_create(&model, &config, NULL);
    if (status != CRIBO_OK) return status;
    status = cribo_model_features(model, 1, 16, 16, pixels, NULL, cls, NULL);
    cribo_model_free(model);
    return status;
}

int main(void)
{
    if (compute() != CRIBO_OK) {
        printf("%s\n", cribo_last_error());
        return 1;
    }
    if (cb_gemm() != 1 || cb_pool_run() != 2 || cb_model_settings != 3) return 1;
    printf("ok\n");
    return 0;
}
