/*
 * Gradients that are rounded to bfloat16 before they are added: the sum of eight leaves against NumPy
 * (make_rounded_sums.py), bit for bit, on every number of ranks.
 */
#include "communication/ranks.h"
#include "support/golden.h"
#include "support/suite.h"
#include "training/leaves.h"

#include <check.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { LEAVES = 8 };

typedef struct rank_sum {
    cribo_thread_group *group;
    size_t rank, ranks, count;
    const float *leaves; /* [LEAVES, count] */
    float *sum;          /* [count] */
    cribo_status status;
} rank_sum;

/* The sum of this rank's leaves. */
static cribo_status sum_leaves(rank_sum *s)
{
    const cb_allocator allocator = {0};
    cb_sum_array arrays[CB_LEAF_ARRAYS] = {{s->sum, s->count}};
    cb_leaves leaves = {.rounded = true};
    cb_pool *pool;
    size_t own = LEAVES / s->ranks;
    CB_TRY(cb_pool_create(&allocator, &pool, 2));
    cribo_status status = cb_leaves_create(&allocator, &leaves, own, arrays);
    if (status == CRIBO_OK) cb_leaves_begin(&leaves, pool);
    for (size_t leaf = s->rank * own; status == CRIBO_OK && leaf < (s->rank + 1) * own; leaf++) {
        memcpy(s->sum, s->leaves + leaf * s->count, s->count * sizeof *s->sum);
        cb_leaves_end(&leaves, pool);
    }
    cb_leaves_free(&allocator, &leaves);
    cb_pool_free(pool);
    return status;
}

static cribo_status sum_ranks(rank_sum *s)
{
    cribo_communicator communicator = {.struct_size = sizeof communicator};
    const cb_runtime runtime = {0};
    cb_ranks *ranks;
    size_t offsets[LEAVES + 1];
    for (size_t p = 0; p <= s->ranks; p++) offsets[p] = s->count * p / s->ranks;
    CB_TRY(cribo_thread_group_communicator(s->group, (int64_t)s->rank, &communicator));
    CB_TRY(cb_ranks_create(&runtime, &ranks, &communicator));
    cribo_status status = cb_ranks_sum(ranks, "gradients", s->sum, offsets, true);
    if (status == CRIBO_OK) status = cb_ranks_spread(ranks, "sums", s->sum, sizeof *s->sum, offsets);
    cb_ranks_free(&runtime, ranks);
    return status;
}

static void *run_rank(void *context)
{
    rank_sum *s = context;
    s->status = sum_leaves(s);
    if (s->status == CRIBO_OK) s->status = sum_ranks(s);
    return NULL;
}

static void assert_same_bits(const float *got, const float *expected, size_t count)
{
    for (size_t i = 0; i < count; i++)
        ck_assert_msg(isnan(expected[i]) ? isnan(got[i]) : memcmp(&got[i], &expected[i], sizeof *got) == 0,
            "number %zu is %a, not %a", i, (double)got[i], (double)expected[i]);
}

START_TEST(test_rounded_sums_equal_numpy_on_every_number_of_ranks)
{
    golden file = golden_open_path(CRIBO_SOURCE "/tests/golden/rounded_sums.safetensors");
    rank_sum sums[LEAVES];
    pthread_t threads[LEAVES];
    cribo_thread_group *group;
    size_t ranks = (size_t)1 << _i, count;
    const float *expected = golden_floats(&file, &count, "sum");
    ck_assert_int_eq(cribo_thread_group_create(&group, (int64_t)ranks), CRIBO_OK);
    for (size_t r = 0; r < ranks; r++) {
        sums[r] = (rank_sum){group, r, ranks, count, golden_floats(&file, NULL, "leaves"),
            malloc(count * sizeof(float)), CRIBO_OK};
        ck_assert_ptr_nonnull(sums[r].sum);
        ck_assert_int_eq(pthread_create(&threads[r], NULL, run_rank, &sums[r]), 0);
    }
    for (size_t r = 0; r < ranks; r++) {
        ck_assert_int_eq(pthread_join(threads[r], NULL), 0);
        ck_assert_int_eq(sums[r].status, CRIBO_OK);
        assert_same_bits(sums[r].sum, expected, count);
        free(sums[r].sum);
    }
    cribo_thread_group_free(group);
    golden_close(&file);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("rounded sums");
    TCase *tests = tcase_create("rounded sums");
    tcase_add_loop_test(tests, test_rounded_sums_equal_numpy_on_every_number_of_ranks, 0, 4);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
