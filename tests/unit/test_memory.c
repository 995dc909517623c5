/* Allocation through a caller's hooks, and arenas. */
#include "base/memory.h"
#include "support/faulty.h"
#include "support/suite.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

START_TEST(test_multiply_overflow_refused)
{
    size_t product = 0;
    ck_assert(cb_multiply(3, 7, &product) && product == 21);
    ck_assert(cb_multiply(SIZE_MAX, 1, &product) && product == SIZE_MAX);
    ck_assert(cb_multiply(0, SIZE_MAX, &product) && product == 0);
    ck_assert(!cb_multiply(SIZE_MAX / 2 + 1, 2, &product));
}
END_TEST

START_TEST(test_allocate_default_zeroed_aligned)
{
    const cb_allocator allocator = {0};
    for (size_t size = 0; size < 300; size += 37) {
        void *memory;
        ck_assert_int_eq(cb_allocate(&allocator, &memory, size, 3, "rows"), CRIBO_OK);
        ck_assert_ptr_nonnull(memory);
        ck_assert_uint_eq((uintptr_t)memory % CB_ALIGNMENT, 0);
        for (size_t i = 0; i < 3 * size; i++) ck_assert_int_eq(((char *)memory)[i], 0);
        cb_release(&allocator, memory);
    }
    cb_release(&allocator, NULL);
}
END_TEST

START_TEST(test_allocate_hooks_used_zeroed)
{
    faulty book = {0};
    const cb_allocator allocator = {faulty_allocate, faulty_release, &book};
    void *memory;
    ck_assert_int_eq(cb_allocate(&allocator, &memory, 1000, 1, "rows"), CRIBO_OK);
    ck_assert_uint_eq(book.calls, 1);
    ck_assert_uint_ge(book.bytes, 1000);
    ck_assert_uint_eq((uintptr_t)memory % CB_ALIGNMENT, 0);
    for (size_t i = 0; i < 1000; i++) ck_assert_int_eq(((char *)memory)[i], 0);
    cb_release(&allocator, memory);
    ck_assert_uint_eq(book.held, 0);
}
END_TEST

START_TEST(test_allocate_uncleared_is_as_the_hooks_gave_it)
{
    faulty book = {0};
    const cb_allocator allocator = {faulty_allocate, faulty_release, &book};
    unsigned char *memory;
    int16_t *pairs;
    ck_assert_int_eq(CB_ALLOCATE_UNCLEARED(&allocator, &memory, 1000, "rows"), CRIBO_OK);
    ck_assert_uint_eq((uintptr_t)memory % CB_ALIGNMENT, 0);
    for (size_t i = 0; i < 1000; i++) ck_assert_uint_eq(memory[i], 0xff);
    cb_release(&allocator, memory);
    ck_assert_int_eq(CB_ALLOCATE_UNCLEARED(&allocator, &pairs, SIZE_MAX / 2, "pairs"), CRIBO_OUT_OF_MEMORY);
    ck_assert_ptr_null(pairs);
    ck_assert_uint_eq(book.calls, 1);
    ck_assert_uint_eq(book.held, 0);
}
END_TEST

START_TEST(test_allocate_refused_named)
{
    faulty book = {.fail_at = 1};
    const cb_allocator allocator = {faulty_allocate, faulty_release, &book};
    void *memory = &book;
    ck_assert_int_eq(cb_allocate(&allocator, &memory, 10, 4, "memory bank"), CRIBO_OUT_OF_MEMORY);
    ck_assert_ptr_null(memory);
    ck_assert_ptr_nonnull(strstr(cribo_last_error(), "memory bank"));
    ck_assert_ptr_nonnull(strstr(cribo_last_error(), "40"));
}
END_TEST

START_TEST(test_allocate_overflow_refused_unasked)
{
    faulty book = {0};
    const cb_allocator allocator = {faulty_allocate, faulty_release, &book};
    const size_t counts[] = {SIZE_MAX / 2, SIZE_MAX, SIZE_MAX - 100}, sizes[] = {4, 2, 1};
    for (int i = 0; i < 3; i++) {
        void *memory = &book;
        ck_assert_int_eq(
            cb_allocate(&allocator, &memory, counts[i], sizes[i], "tokens"), CRIBO_OUT_OF_MEMORY);
        ck_assert_ptr_null(memory);
        ck_assert_ptr_nonnull(strstr(cribo_last_error(), "tokens"));
    }
    ck_assert_uint_eq(book.calls, 0);
}
END_TEST

/* The memory of a pass with a part that is released half-way. */
static void pass(cb_arena *arena, unsigned char **blocks)
{
    blocks[0] = cb_arena_take(arena, 10, 4);
    size_t mark = cb_arena_mark(arena);
    blocks[1] = cb_arena_take(arena, 1000, 8);
    blocks[2] = cb_arena_take(arena, 1, 1);
    cb_arena_return(arena, mark);
    blocks[3] = cb_arena_take(arena, 0, 8);
    blocks[4] = cb_arena_take(arena, 77, 3);
}

START_TEST(test_arena_measured_fits_exactly)
{
    const cb_allocator allocator = {0};
    unsigned char *blocks[5];
    cb_arena measured = cb_arena_measure(), arena;
    pass(&measured, blocks);
    for (int i = 0; i < 5; i++) ck_assert_ptr_null(blocks[i]);

    ck_assert_int_eq(cb_arena_create(&allocator, &arena, measured.peak, "pass"), CRIBO_OK);
    for (int repeat = 0; repeat < 3; repeat++) {
        pass(&arena, blocks);
        ck_assert_uint_eq(arena.peak, measured.peak);
        ck_assert_uint_eq(arena.used, measured.used);
        ck_assert_ptr_eq(blocks[1], blocks[3]); /* what was given back is used again */
        for (int i = 0; i < 5; i++) ck_assert_uint_eq((uintptr_t)blocks[i] % CB_ALIGNMENT, 0);
        memset(blocks[0], 1, 40);
        memset(blocks[4], 2, 231);
        for (int i = 0; i < 40; i++) ck_assert_int_eq(blocks[0][i], 1);
        cb_arena_return(&arena, 0);
    }
    cb_arena_destroy(&allocator, &arena);
    ck_assert_ptr_null(arena.base);
    cb_arena_destroy(&allocator, &arena);
}
END_TEST

START_TEST(test_arena_absurd_measure_refused)
{
    const cb_allocator allocator = {0};
    cb_arena measured = cb_arena_measure(), arena;
    ck_assert_ptr_null(cb_arena_take(&measured, SIZE_MAX, 8));
    ck_assert_ptr_null(cb_arena_take(&measured, 10, 8));
    ck_assert_int_eq(cb_arena_create(&allocator, &arena, measured.peak, "pass"), CRIBO_OUT_OF_MEMORY);
    ck_assert_ptr_null(arena.base);
}
END_TEST

START_TEST(test_arena_refused_named)
{
    faulty book = {.fail_at = 1};
    const cb_allocator allocator = {faulty_allocate, faulty_release, &book};
    cb_arena arena;
    ck_assert_int_eq(cb_arena_create(&allocator, &arena, 100, "scratch"), CRIBO_OUT_OF_MEMORY);
    ck_assert_ptr_null(arena.base);
    ck_assert_ptr_nonnull(strstr(cribo_last_error(), "scratch"));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("memory");
    TCase *cases = tcase_create("memory");
    tcase_add_test(cases, test_multiply_overflow_refused);
    tcase_add_test(cases, test_allocate_default_zeroed_aligned);
    tcase_add_test(cases, test_allocate_hooks_used_zeroed);
    tcase_add_test(cases, test_allocate_uncleared_is_as_the_hooks_gave_it);
    tcase_add_test(cases, test_allocate_refused_named);
    tcase_add_test(cases, test_allocate_overflow_refused_unasked);
    tcase_add_test(cases, test_arena_measured_fits_exactly);
    tcase_add_test(cases, test_arena_absurd_measure_refused);
    tcase_add_test(cases, test_arena_refused_named);
    suite_add_tcase(suite, cases);
    return run_suite(suite);
}
