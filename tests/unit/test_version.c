/* The version, and build and machine information. */
#include "cribo/cribo.h"

#include "base/cpu.h"
#include "base/runtime.h"
#include "tensor/gemm.h"
#include "support/suite.h"

#include <check.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

START_TEST(test_version_loaded_is_that_of_the_headers)
{
    int major = -1, minor = -1, patch = -1, end = 0;
    ck_assert_int_eq(sscanf(cribo_version(), "%d.%d.%d%n", &major, &minor, &patch, &end), 3);
    ck_assert_int_eq(cribo_version()[end], 0);
    ck_assert_int_eq(major, CRIBO_VERSION_MAJOR);
    ck_assert_int_eq(minor, CRIBO_VERSION_MINOR);
    ck_assert_int_eq(patch, CRIBO_VERSION_PATCH);
}
END_TEST

START_TEST(test_version_number_orders_as_the_versions)
{
    int major = -1, minor = -1, patch = -1;
    ck_assert_int_eq(sscanf(cribo_version(), "%d.%d.%d", &major, &minor, &patch), 3);
    ck_assert_int_eq(cribo_version_number(), 10000 * major + 100 * minor + patch);
    ck_assert_int_eq(cribo_version_number(), CRIBO_VERSION_NUMBER);
    ck_assert(minor < 100 && patch < 100);
#if CRIBO_VERSION_NUMBER < 100
    ck_abort_msg("the preprocessor cannot compare CRIBO_VERSION_NUMBER");
#endif
}
END_TEST

START_TEST(test_build_info_is_one_line_of_json_with_every_member)
{
    const char *text = cribo_build_info();
    ck_assert_ptr_null(strchr(text, '\n'));
    json_error_t error;
    json_t *info = json_loads(text, JSON_REJECT_DUPLICATES, &error);
    ck_assert_msg(info != NULL, "%s: %s", text, error.text);
    ck_assert_uint_eq(json_object_size(info), 8);
    ck_assert_ptr_nonnull(json_string_value(json_object_get(info, "compiler")));
    ck_assert_str_ne(json_string_value(json_object_get(info, "compiler")), "unknown");
    ck_assert_str_eq(json_string_value(json_object_get(info, "version")), cribo_version());
    ck_assert_str_eq(json_string_value(json_object_get(info, "blis_version")), cb_gemm_blis_version());
    ck_assert_str_eq(json_string_value(json_object_get(info, "blis_kernels")), cb_gemm_blis_kernels());
    ck_assert_str_eq(json_string_value(json_object_get(info, "matrix_kernel")), cb_gemm_kernel());
    ck_assert_str_eq(json_string_value(json_object_get(info, "cpu_level")), cb_cpu_level_name(cb_cpu()));
    ck_assert_int_eq(
        json_integer_value(json_object_get(info, "default_threads")), (json_int_t)cb_pool_default_threads());
    ck_assert_int_ge(json_integer_value(json_object_get(info, "default_threads")), 1);
    json_decref(info);
}
END_TEST

/* The level that is not capped has its features. */
START_TEST(test_build_info_features_are_those_of_the_level)
{
    json_t *info = json_loads(cribo_build_info(), 0, NULL), *features = json_object_get(info, "cpu_features");
    const char *const needed[] = {"", "avx2", "avx512f", "avx512bf16", "amx-bf16"};
    bool found = cb_cpu() == CB_CPU_GENERIC;
    size_t index;
    json_t *feature;
    ck_assert(json_is_array(features));
    json_array_foreach(
        features, index, feature) if (strcmp(json_string_value(feature), needed[cb_cpu()]) == 0) found = true;
    ck_assert(found);
    json_decref(info);
}
END_TEST

START_TEST(test_default_threads_are_chosen_for_the_process)
{
    const int64_t cpus = cribo_default_threads();
    ck_assert_int_ge(cpus, 1);
    ck_assert_int_eq(cribo_set_default_threads(3), CRIBO_OK);
    ck_assert_int_eq(cribo_default_threads(), 3);
    ck_assert_int_eq(cribo_set_default_threads(-1), CRIBO_INVALID_ARGUMENT);
    ck_assert_int_eq(cribo_set_default_threads(257), CRIBO_INVALID_ARGUMENT);
    ck_assert_int_eq(cribo_default_threads(), 3);

    cb_runtime runtime;
    ck_assert_int_eq(cb_runtime_begin(&runtime, NULL), CRIBO_OK);
    ck_assert_uint_eq(cb_pool_threads(runtime.pool), 3);
    ck_assert_int_eq(cribo_set_default_threads(0), CRIBO_OK);
    ck_assert_int_eq(cribo_default_threads(), cpus);
    ck_assert_uint_eq(cb_pool_threads(runtime.pool), 3); /* existing pools are unchanged */
    cb_runtime_end(&runtime);

    cribo_runtime own = {.struct_size = sizeof own, .threads = 2};
    ck_assert_int_eq(cribo_set_default_threads(3), CRIBO_OK);
    ck_assert_int_eq(cb_runtime_begin(&runtime, &own), CRIBO_OK);
    ck_assert_uint_eq(cb_pool_threads(runtime.pool), 2); /* a handle's own number comes first */
    cb_runtime_end(&runtime);
    ck_assert_int_eq(cribo_set_default_threads(0), CRIBO_OK);
}
END_TEST

START_TEST(test_build_info_asked_again_is_the_same_string)
{
    ck_assert_ptr_eq(cribo_build_info(), cribo_build_info());
    ck_assert_ptr_eq(cribo_version(), cribo_version());
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("version");
    TCase *tests = tcase_create("version");
    tcase_add_test(tests, test_version_loaded_is_that_of_the_headers);
    tcase_add_test(tests, test_version_number_orders_as_the_versions);
    tcase_add_test(tests, test_build_info_is_one_line_of_json_with_every_member);
    tcase_add_test(tests, test_build_info_features_are_those_of_the_level);
    tcase_add_test(tests, test_default_threads_are_chosen_for_the_process);
    tcase_add_test(tests, test_build_info_asked_again_is_the_same_string);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
