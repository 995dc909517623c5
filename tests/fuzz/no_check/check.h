/*
 * libcheck's assertions outside of its test runner, for the support that fuzz targets share with the tests:
 * they abort.
 */
#ifndef TESTS_FUZZ_NO_CHECK_H
#define TESTS_FUZZ_NO_CHECK_H

#include "fuzz/fuzz.h"

#define ck_assert(condition) FUZZ_EXPECT(condition, "%s:%d: %s", __FILE__, __LINE__, #condition)
#define ck_assert_msg(condition, ...) FUZZ_EXPECT(condition, __VA_ARGS__)
#define ck_assert_ptr_nonnull(pointer) ck_assert((pointer) != NULL)
#define ck_assert_int_eq(a, b) ck_assert((a) == (b))
#define ck_assert_uint_eq(a, b) ck_assert((a) == (b))
#define ck_assert_str_eq(a, b) ck_assert(strcmp(a, b) == 0)

#endif
