/* The prototypes and their streamed loss against direct computation, and their edges. */
#include "support/prototype_problem.h"
#include "support/suite.h"

#define ALL_KEPT 0 /* the default workspace is large enough for the whole test problems */

static void assert_equals_direct(prototype_problem *p, size_t logit_count, double tolerance)
{
    prototype_problem_run(NULL, p, logit_count, true, true);
    direct_result direct = direct_loss(p);
    for (int j = 0; j < CB_TERMS; j++)
        ck_assert_msg(fabs(p->job.loss[j] - direct.loss[j]) <= tolerance * fabs(direct.loss[j]),
            "loss[%d] = %.12g, expected %.12g", j, p->job.loss[j], direct.loss[j]);
    assert_reals_near("dx", p->dx, direct.dx, p->rows * p->width, 10 * tolerance);
    assert_reals_near("du", p->du, direct.du, p->prototypes * p->width, 10 * tolerance);
    assert_reals_near("mean", p->mean, direct.mean, p->prototypes, 10 * tolerance);
    ck_assert_double_eq_tol(p->signs.entropy, direct.entropy, tolerance * (1 + direct.entropy));
    ck_assert_uint_eq(p->signs.rows, direct.rows);
    ck_assert_mem_eq(p->used, direct.used, p->prototypes);
    direct_free(&direct);
}

START_TEST(test_prototype_loss_all_kept_equals_direct)
{
    prototype_problem p = prototype_problem_create(3001, 24, 9, 7, 0.4);
    assert_equals_direct(&p, ALL_KEPT, 3e-6);
    prototype_problem_free(&p);
}
END_TEST

START_TEST(test_prototype_loss_several_chunks_equals_direct)
{
    /*
     * Room for one prototype, for less than a cache line, for one chunk, for several chunks, and for all but
     * one prototype.
     */
    const size_t rooms[] = {1, 7, 100, 2100, 3000};
    prototype_problem p = prototype_problem_create(3001, 24, 9, 7, 0.4);
    for (size_t i = 0; i < sizeof rooms / sizeof rooms[0]; i++)
        assert_equals_direct(&p, (p.rows + p.teacher_rows) * rooms[i], 3e-6);
    prototype_problem_free(&p);
}
END_TEST

/* Four of twelve chunks, and five of twelve, are kept for the second pass. */
START_TEST(test_prototype_loss_some_chunks_kept_equals_direct)
{
    const size_t rooms[] = {4200, 5400};
    prototype_problem p = prototype_problem_create(12001, 16, 6, 5, 0.4);
    for (size_t i = 0; i < sizeof rooms / sizeof rooms[0]; i++)
        assert_equals_direct(&p, (p.rows + p.teacher_rows) * rooms[i], 3e-6);
    prototype_problem_free(&p);
}
END_TEST

START_TEST(test_prototype_loss_large_logits_equals_direct)
{
    /*
     * Logits over temperature in the thousands: exponentials would overflow, and float rounding of the logits
     * shows.
     */
    prototype_problem p = prototype_problem_create(500, 8, 9, 7, 300);
    assert_equals_direct(&p, 16 * 64, 2e-4);
    ck_assert(p.job.loss[0] > 1000);
    prototype_problem_free(&p);
}
END_TEST

START_TEST(test_prototype_loss_one_prototype_is_zero)
{
    prototype_problem p = prototype_problem_create(1, 5, 6, 3, 1);
    prototype_problem_run(NULL, &p, ALL_KEPT, true, true);
    ck_assert_double_eq(p.job.loss[0], 0);
    ck_assert_double_eq(p.job.loss[1], 0);
    ck_assert_double_eq(p.signs.entropy, 0);
    for (size_t i = 0; i < p.rows * p.width; i++) ck_assert_double_eq_tol((double)p.dx[i], 0, 1e-6);
    prototype_problem_free(&p);
}
END_TEST

START_TEST(test_prototype_loss_any_thread_count_gives_same_bits)
{
    const cb_allocator allocator = {0};
    prototype_problem expected = prototype_problem_create(2500, 64, 70, 50, 0.5);
    size_t logit_count = 120 * 700;
    prototype_problem_run(NULL, &expected, logit_count, true, true);
    for (size_t threads = 1; threads <= 3; threads++) {
        cb_pool *pool;
        ck_assert_int_eq(cb_pool_create(&allocator, &pool, threads), CRIBO_OK);
        prototype_problem got = prototype_problem_create(2500, 64, 70, 50, 0.5);
        prototype_problem_run(pool, &got, logit_count, true, true);
        ck_assert_mem_eq(got.job.loss, expected.job.loss, sizeof got.job.loss);
        ck_assert_mem_eq(got.dx, expected.dx, got.rows * got.width * sizeof(cb_real));
        ck_assert_mem_eq(got.du, expected.du, got.prototypes * got.width * sizeof(cb_real));
        ck_assert_mem_eq(got.mean, expected.mean, got.prototypes * sizeof(cb_real));
        ck_assert_mem_eq(&got.signs.entropy, &expected.signs.entropy, sizeof(double));
        prototype_problem_free(&got);
        cb_pool_free(pool);
    }
    prototype_problem_free(&expected);
}
END_TEST

START_TEST(test_prototype_loss_frozen_layer_has_same_dx)
{
    prototype_problem learning = prototype_problem_create(300, 16, 9, 7, 0.5);
    prototype_problem frozen = prototype_problem_create(300, 16, 9, 7, 0.5);
    prototype_problem_run(NULL, &learning, 16 * 64, true, false);
    prototype_problem_run(NULL, &frozen, 16 * 64, false, false);
    ck_assert_mem_eq(frozen.dx, learning.dx, frozen.rows * frozen.width * sizeof(cb_real));
    ck_assert_mem_eq(frozen.job.loss, learning.job.loss, sizeof frozen.job.loss);
    for (size_t i = 0; i < frozen.prototypes * frozen.width; i++) ck_assert(frozen.du[i] == 0);
    prototype_problem_free(&learning);
    prototype_problem_free(&frozen);
}
END_TEST

START_TEST(test_prototype_loss_row_without_targets_has_zero_gradient)
{
    prototype_problem p = prototype_problem_create(200, 8, 8, 3, 0.5);
    for (size_t r = 0; r < p.rows * p.width; r++) p.dx[r] = 7;
    prototype_problem_run(NULL, &p, 11 * 64, true, false);
    for (size_t r = 0; r < p.rows; r++) {
        bool zero = true;
        for (size_t e = 0; e < p.width; e++) zero = zero && p.dx[r * p.width + e] == 0;
        ck_assert_int_eq(zero, r % 4 == 3);
    }
    prototype_problem_free(&p);
}
END_TEST

START_TEST(test_prototype_loss_no_rows_is_zero)
{
    prototype_problem p = prototype_problem_create(200, 8, 0, 3, 0.5);
    prototype_problem_run(NULL, &p, ALL_KEPT, true, true);
    ck_assert_double_eq(p.job.loss[0] + p.job.loss[1], 0);
    ck_assert_uint_eq(p.signs.rows, 0);
    prototype_problem_free(&p);
}
END_TEST

START_TEST(test_prototype_loss_no_teacher_rows_is_zero)
{
    prototype_problem p = prototype_problem_create(200, 8, 5, 0, 0.5);
    for (size_t r = 0; r < p.rows * p.width; r++) p.dx[r] = 7;
    prototype_problem_run(NULL, &p, ALL_KEPT, true, true);
    ck_assert_double_eq(p.job.loss[0] + p.job.loss[1], 0);
    for (size_t r = 0; r < p.rows * p.width; r++) ck_assert(p.dx[r] == 0);
    prototype_problem_free(&p);
}
END_TEST

START_TEST(test_prototype_loss_smaller_job_fits_the_workspace)
{
    /* A workspace planned for many rows serves fewer with wider chunks. */
    const cb_allocator allocator = {0};
    prototype_problem p = prototype_problem_create(900, 16, 9, 7, 0.5);
    prototype_problem_run(NULL, &p, ALL_KEPT, true, false);
    direct_result direct = direct_loss(&p);
    cb_arena measured = cb_arena_measure(), arena;
    (void)cb_prototype_workspace_take(&measured, 40, 30, p.prototypes, 70 * 64);
    ck_assert_int_eq(cb_arena_create(&allocator, &arena, measured.peak, "workspace"), CRIBO_OK);
    cb_prototype_workspace work = cb_prototype_workspace_take(&arena, 40, 30, p.prototypes, 70 * 64);
    cb_prototype_loss(NULL, &p.job, &work);
    assert_reals_near("dx", p.dx, direct.dx, p.rows * p.width, 3e-5);
    direct_free(&direct);
    cb_arena_destroy(&allocator, &arena);
    prototype_problem_free(&p);
}
END_TEST

START_TEST(test_prototype_loss_not_a_number_shows_in_loss)
{
    for (int side = 0; side < 2; side++) {
        prototype_problem p = prototype_problem_create(200, 8, 8, 3, 0.5);
        (side ? p.teacher_x : p.x)[0] = (cb_real)NAN;
        prototype_problem_run(NULL, &p, 11 * 64, true, true);
        ck_assert(isnan(p.job.loss[0]));
        prototype_problem_free(&p);
    }
}
END_TEST

START_TEST(test_prototype_workspace_default_stays_small)
{
    cb_arena few = cb_arena_measure(), many = cb_arena_measure();
    (void)cb_prototype_workspace_take(&few, 366, 366, 65536, 0);
    (void)cb_prototype_workspace_take(&many, 20000, 20000, 65536, 0);
    ck_assert_uint_le(few.peak, (size_t)66 << 20);
    ck_assert_uint_le(many.peak, (size_t)180 << 20);
}
END_TEST

START_TEST(test_prototypes_move_centre_follows_mean_of_logits)
{
    prototype_problem p = prototype_problem_create(77, 9, 0, 5, 1);
    cb_real *logits = calloc(5 * 77, sizeof *logits), mean_x[9] = {0};
    double expected[77];
    const cb_real momentum = (cb_real)0.8;
    cb_prototypes_refresh(NULL, &p.teacher);
    cb_prototypes_project(NULL, &p.teacher, 0, 77, p.teacher_x, 5, logits);
    for (size_t i = 0; i < 45; i++) mean_x[i % 9] += p.teacher_x[i] / 5;
    for (size_t k = 0; k < 77; k++) {
        expected[k] = 0.8 * (double)p.centre[k];
        for (size_t t = 0; t < 5; t++) expected[k] += 0.2 * (double)logits[t * 77 + k] / 5;
    }
    cb_prototypes_move_centre(NULL, &p.teacher, mean_x, momentum, p.centre);
    assert_reals_near("centre", p.centre, expected, 77, 1e-6);
    free(logits);
    prototype_problem_free(&p);
}
END_TEST

START_TEST(test_prototypes_ranges_join_to_the_whole)
{
    prototype_problem p = prototype_problem_create(50, 9, 4, 0, 1);
    cb_real whole[4 * 50], part[4 * 20], du[50 * 9] = {0}, dx[4 * 9] = {0};
    double du_whole[50 * 9] = {0}, dx_whole[4 * 9] = {0};
    cb_prototypes_refresh(NULL, &p.student);
    cb_prototypes_project(NULL, &p.student, 0, 50, p.x, 4, whole);
    for (size_t first = 0; first < 50; first += 20) {
        size_t count = first + 20 < 50 ? 20 : 50 - first;
        cb_prototypes_project(NULL, &p.student, first, count, p.x, 4, part);
        for (size_t r = 0; r < 4; r++)
            for (size_t k = 0; k < count; k++) {
                cb_real dlogit = part[r * count + k];
                ck_assert_double_eq_tol((double)dlogit, (double)whole[r * 50 + first + k], 1e-6);
                for (size_t e = 0; e < 9; e++) {
                    size_t v = (first + k) * 9 + e;
                    du_whole[v] += (double)(dlogit * p.x[r * 9 + e]);
                    dx_whole[r * 9 + e] += (double)(dlogit * p.scale[0][first + k] * p.direction[0][v]);
                }
            }
        cb_prototypes_backproject(NULL, &p.student, first, count, part, p.x, 4, dx, du);
    }
    assert_reals_near("du", du, du_whole, 50 * 9, 1e-6);
    assert_reals_near("dx", dx, dx_whole, 4 * 9, 2e-6);
    prototype_problem_free(&p);
}
END_TEST

/* The plan for the most rows is sufficient for every job with fewer. */
START_TEST(test_prototype_workspace_of_fewer_rows_is_no_larger)
{
    size_t before = 0;
    for (size_t rows = 1; rows < 5000; rows++) {
        cb_arena measured = cb_arena_measure();
        (void)cb_prototype_workspace_take(&measured, 300, rows, 65536, 0);
        ck_assert_msg(measured.peak >= before, "%zu rows want %zu bytes, one row fewer %zu", rows,
            measured.peak, before);
        before = measured.peak;
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("prototypes");
    TCase *cases = tcase_create("prototypes");
    tcase_set_timeout(cases, 120);
    tcase_add_test(cases, test_prototype_loss_all_kept_equals_direct);
    tcase_add_test(cases, test_prototype_loss_several_chunks_equals_direct);
    tcase_add_test(cases, test_prototype_loss_some_chunks_kept_equals_direct);
    tcase_add_test(cases, test_prototype_loss_large_logits_equals_direct);
    tcase_add_test(cases, test_prototype_loss_one_prototype_is_zero);
    tcase_add_test(cases, test_prototype_loss_any_thread_count_gives_same_bits);
    tcase_add_test(cases, test_prototype_loss_frozen_layer_has_same_dx);
    tcase_add_test(cases, test_prototype_loss_row_without_targets_has_zero_gradient);
    tcase_add_test(cases, test_prototype_loss_no_rows_is_zero);
    tcase_add_test(cases, test_prototype_loss_no_teacher_rows_is_zero);
    tcase_add_test(cases, test_prototype_loss_smaller_job_fits_the_workspace);
    tcase_add_test(cases, test_prototype_loss_not_a_number_shows_in_loss);
    tcase_add_test(cases, test_prototype_workspace_default_stays_small);
    tcase_add_test(cases, test_prototype_workspace_of_fewer_rows_is_no_larger);
    tcase_add_test(cases, test_prototypes_move_centre_follows_mean_of_logits);
    tcase_add_test(cases, test_prototypes_ranges_join_to_the_whole);
    suite_add_tcase(suite, cases);
    return run_suite(suite);
}
