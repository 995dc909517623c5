/* Variables of the environment that make BLIS end the process: creation fails, and nothing aborts. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "cribo/cribo.h"
#include "support/suite.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

static const char *const forced[] = {"zen3", "0", "12", "99", "-7", ""};

#define REFUSED(call, out) \
    do { \
        ck_assert_int_eq(call, CRIBO_SYSTEM_ERROR); \
        ck_assert_msg(strstr(cribo_last_error(), "BLIS_ARCH_TYPE") != NULL, "%s", cribo_last_error()); \
        ck_assert_ptr_null(out); \
    } while (0)

START_TEST(test_environment_kernels_forced_on_blis_are_refused)
{
    cribo_model_config model_config;
    cribo_clusterer_config clusterer_config;
    cribo_memory_bank_config bank_config;
    cribo_trainer_config trainer_config;
    cribo_probe_config probe_config;
    cribo_model *model;
    cribo_clusterer *clusterer;
    cribo_memory_bank *bank;
    cribo_trainer *trainer;
    cribo_probe *probe;
    ck_assert_int_eq(setenv("BLIS_ARCH_TYPE", forced[_i], 1), 0);
    ck_assert_ptr_nonnull(strstr(cribo_build_info(), "BLIS_ARCH_TYPE"));
    ck_assert_int_eq(cribo_model_config_init(&model_config, sizeof model_config), CRIBO_OK);
    ck_assert_int_eq(cribo_clusterer_config_init(&clusterer_config, sizeof clusterer_config), CRIBO_OK);
    ck_assert_int_eq(cribo_memory_bank_config_init(&bank_config, sizeof bank_config), CRIBO_OK);
    ck_assert_int_eq(cribo_trainer_config_init(&trainer_config, sizeof trainer_config), CRIBO_OK);
    ck_assert_int_eq(cribo_probe_config_init(&probe_config, sizeof probe_config), CRIBO_OK);
    model_config.prototypes = model_config.object_prototypes = 0;
    bank_config.bank_images = trainer_config.bank_images = 2;
    probe_config.width = 8;
    probe_config.classes = 2;
    REFUSED(cribo_model_create(&model, &model_config, NULL), model);
    REFUSED(cribo_clusterer_create(&clusterer, &clusterer_config, NULL, 1, 64, 8), clusterer);
    REFUSED(cribo_memory_bank_create(&bank, &bank_config, NULL), bank);
    REFUSED(cribo_trainer_create(&trainer, &trainer_config, NULL), trainer);
    REFUSED(cribo_probe_create(&probe, &probe_config, NULL), probe);
}
END_TEST

START_TEST(test_environment_that_forces_nothing_is_accepted)
{
    cribo_model_config config;
    cribo_model *model;
    ck_assert_int_eq(setenv("BLIS_ARCH_TYPE", "-1", 1), 0);
    ck_assert_int_eq(cribo_model_config_init(&config, sizeof config), CRIBO_OK);
    config.prototypes = config.object_prototypes = 0;
    config.depth = 1;
    ck_assert_int_eq(cribo_model_create(&model, &config, NULL), CRIBO_OK);
    cribo_model_free(model);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("environment");
    TCase *tests = tcase_create("environment");
    tcase_add_loop_test(
        tests, test_environment_kernels_forced_on_blis_are_refused, 0, sizeof forced / sizeof forced[0]);
    tcase_add_test(tests, test_environment_that_forces_nothing_is_accepted);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
