/*
 * Philox against the known answers of its authors (Random123, kat_vectors), and what the sequences promise.
 */
#include "base/random.h"
#include "support/suite.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

START_TEST(test_philox_known_vectors_match)
{
    static const struct {
        uint32_t counter[4], key[2], expected[4];
    } vectors[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff},
            {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}, /* digits of pi */
            {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++) {
        uint32_t out[4];
        cb_philox(vectors[i].counter, vectors[i].key, out);
        ck_assert_mem_eq(out, vectors[i].expected, sizeof out);
    }
}
END_TEST

START_TEST(test_random_same_place_same_numbers)
{
    cb_random a = cb_random_begin(5, CB_PURPOSE_PARAMETERS, 7, 9),
              b = cb_random_begin(5, CB_PURPOSE_PARAMETERS, 7, 9);
    for (int i = 0; i < 1000; i++) ck_assert_uint_eq(cb_random_next(&a), cb_random_next(&b));
}
END_TEST

/*
 * Every part of a place counts, the high halves of its words too: the first words of all these sequences
 * differ.
 */
START_TEST(test_random_other_places_other_numbers)
{
    const uint64_t values[] = {0, 1, UINT64_C(1) << 31, UINT64_C(1) << 32, UINT64_C(1) << 63};
    uint64_t firsts[4 * 125];
    size_t count = 0;
    for (int purpose = CB_PURPOSE_CALLER; purpose <= CB_PURPOSE_DROP_PATH; purpose++)
        for (size_t i = 0; i < 125; i++) {
            cb_random random =
                cb_random_begin(values[i % 5], (cb_purpose)purpose, values[i / 5 % 5], values[i / 25]);
            uint64_t high = cb_random_next(&random);
            firsts[count] = high << 32 | cb_random_next(&random);
            for (size_t j = 0; j < count; j++) ck_assert(firsts[j] != firsts[count]);
            count++;
        }
}
END_TEST

START_TEST(test_uniform_in_range_even)
{
    enum { DRAWS = 200000, BINS = 20 };
    cb_random random = cb_random_begin(1, CB_PURPOSE_CALLER, 0, 0);
    int bins[BINS] = {0};
    double sum = 0;
    for (int i = 0; i < DRAWS; i++) {
        double u = cb_random_uniform(&random);
        ck_assert(u >= 0 && u < 1);
        bins[(int)(u * BINS)]++;
        sum += u;
    }
    ck_assert_double_le(fabs(sum / DRAWS - 0.5), 4 * 0.2887 / sqrt(DRAWS));
    double chi_squared = 0;
    for (int i = 0; i < BINS; i++) chi_squared += pow(bins[i] - DRAWS / BINS, 2) / (DRAWS / BINS);
    ck_assert_double_le(chi_squared, 43.8); /* 99.9 % of even draws with 19 degrees of freedom */
}
END_TEST

/* A bound just above 2^31 would double the odds of half the results if words were taken modulo. */
START_TEST(test_below_any_bound_even)
{
    enum { DRAWS = 60000 };
    cb_random random = cb_random_begin(2, CB_PURPOSE_CALLER, 0, 0);
    ck_assert_uint_eq(cb_random_below(&random, 1), 0);
    int seen[3] = {0}, low = 0;
    for (int i = 0; i < DRAWS; i++) {
        uint32_t three = cb_random_below(&random, 3);
        ck_assert_uint_lt(three, 3);
        seen[three]++;
        uint32_t large = cb_random_below(&random, 0xC0000000u);
        ck_assert_uint_lt(large, 0xC0000000u);
        low += large < 0x40000000u;
    }
    for (int i = 0; i < 3; i++) ck_assert_double_le(abs(seen[i] - DRAWS / 3), 4.5 * sqrt(DRAWS * 2 / 9.0));
    ck_assert_double_le(abs(low - DRAWS / 3), 4.5 * sqrt(DRAWS * 2 / 9.0));
}
END_TEST

START_TEST(test_normal_moments_standard)
{
    enum { DRAWS = 200000 };
    cb_random random = cb_random_begin(3, CB_PURPOSE_CALLER, 0, 0);
    double sum = 0, squares = 0, fourths = 0;
    for (int i = 0; i < DRAWS; i++) {
        double z = cb_random_normal(&random);
        ck_assert(isfinite(z));
        sum += z;
        squares += z * z;
        fourths += z * z * z * z;
    }
    ck_assert_double_le(fabs(sum / DRAWS), 4 / sqrt(DRAWS));
    ck_assert_double_le(fabs(squares / DRAWS - 1), 4 * sqrt(2.0 / DRAWS));
    ck_assert_double_le(fabs(fourths / DRAWS - 3), 4 * sqrt(96.0 / DRAWS));
}
END_TEST

START_TEST(test_random_uniform_public_pure)
{
    double first[10], again[10], longer[20];
    ck_assert_int_eq(cribo_random_uniform(1, 2, 3, 10, first), CRIBO_OK);
    ck_assert_int_eq(cribo_random_uniform(1, 2, 4, 10, again), CRIBO_OK);
    ck_assert(memcmp(first, again, sizeof first) != 0);
    ck_assert_int_eq(cribo_random_uniform(1, 2, 3, 20, longer), CRIBO_OK);
    ck_assert_mem_eq(first, longer, sizeof first);
    ck_assert_int_eq(cribo_random_uniform(1, 2, 3, 1, NULL), CRIBO_INVALID_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(cribo_last_error(), "values"));
    ck_assert_int_eq(cribo_random_uniform(1, 2, 3, 0, NULL), CRIBO_OK);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("random");
    TCase *cases = tcase_create("random");
    tcase_add_test(cases, test_philox_known_vectors_match);
    tcase_add_test(cases, test_random_same_place_same_numbers);
    tcase_add_test(cases, test_random_other_places_other_numbers);
    tcase_add_test(cases, test_uniform_in_range_even);
    tcase_add_test(cases, test_below_any_bound_even);
    tcase_add_test(cases, test_normal_moments_standard);
    tcase_add_test(cases, test_random_uniform_public_pure);
    suite_add_tcase(suite, cases);
    return run_suite(suite);
}
