/* The log of a run: written, cut back, read again. */
#include "files.h"
#include "session/run.h"
#include "suite.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void open_run(struct run *run, const char *folder, enum run_mode mode)
{
    struct problem problem;
    bool opened = run_open(run, folder, mode, &problem) && run_open_log(run, mode, 0, &problem);
    ck_assert_msg(opened, "%s", problem.text);
}

static void log_steps(struct run *run, int64_t first, int64_t end)
{
    struct log_line line = {.report.cross_image_on = 1, .images_per_second = 10};
    for (int64_t step = first; step < end; step++) {
        line.batch = 2 * (uint64_t)step; /* each second batch gave no step */
        line.report.step = step;
        line.report.loss = 0.3 * (double)step;
        line.report.global_loss = step == 1 ? NAN : 0.1;
        run_log(run, &line);
    }
}

static size_t read_log(const char *path, char *text, size_t size)
{
    FILE *file = fopen(path, "r");
    ck_assert_ptr_nonnull(file);
    size_t length = fread(text, 1, size - 1, file);
    fclose(file);
    text[length] = 0;
    return length;
}

START_TEST(test_run_rewound_log_is_what_it_was)
{
    static char before[8192], after[8192];
    char *folder = files_make_folder();
    struct run run;
    struct problem problem;
    struct history history = {0};
    open_run(&run, folder, RUN_NEW);
    log_steps(&run, 0, 3);
    read_log(run.log, before, sizeof before);
    log_steps(&run, 3, 5);
    fputs("{\"batch\":10,\"lo", run.log_file);
    run_close(&run);

    open_run(&run, folder, RUN_RESUME);
    ck_assert_msg(run_rewind(&run, 6, 3, &history, &problem), "%s", problem.text);
    read_log(run.log, after, sizeof after);
    ck_assert(!strcmp(after, before));
    ck_assert_uint_eq(history.count, 3);
    ck_assert_double_eq_tol(history.losses[2][0], 0.2, 1e-12);
    ck_assert(isnan(history.losses[1][1]));
    ck_assert_double_eq_tol(history.losses[2][1], 0.1, 1e-12);
    log_steps(&run, 3, 4);
    size_t length = strlen(before);
    ck_assert_uint_gt(read_log(run.log, after, sizeof after), length);
    ck_assert(!memcmp(after, before, length) && !strncmp(after + length, "{\"batch\":6,", 11));
    run_close(&run);
    history_free(&history);
    files_remove(folder);
}
END_TEST

START_TEST(test_run_rewind_keeps_a_shorter_log_and_drops_what_is_torn)
{
    static char text[8192];
    char *folder = files_make_folder();
    struct run run;
    struct problem problem;
    struct history history = {0};
    open_run(&run, folder, RUN_NEW);
    log_steps(&run, 0, 2);
    fputs("\n[]\nnothing\n{\"step\":\"x\"}\n{\"step\":2}", run.log_file);
    fflush(run.log_file);
    ck_assert(run_rewind(&run, 9, 9, &history, &problem));
    ck_assert_uint_eq(history.count, 2);
    size_t length = read_log(run.log, text, sizeof text);
    ck_assert_int_eq(text[length - 2], '}');
    ck_assert_ptr_null(strstr(text, "nothing"));
    run_close(&run);
    history_free(&history);
    files_remove(folder);
}
END_TEST

/* A skipped step has its own line, which is cut or kept by its batch. */
START_TEST(test_run_rewind_keeps_skipped_steps_out_of_the_history)
{
    static char text[8192];
    char *folder = files_make_folder();
    struct run run;
    struct problem problem;
    struct history history = {0};
    struct log_line skipped = {.report.step = 2, .batch = 3, .skipped = true};
    open_run(&run, folder, RUN_NEW);
    log_steps(&run, 0, 2);
    run_log(&run, &skipped);
    log_steps(&run, 2, 3);
    ck_assert(run_rewind(&run, 4, 2, &history, &problem));
    ck_assert_uint_eq(history.count, 2);
    read_log(run.log, text, sizeof text);
    ck_assert_ptr_nonnull(strstr(text, "\"skipped\":true"));
    ck_assert_ptr_null(strstr(text, "\"batch\":4"));
    history_free(&history);
    ck_assert(run_rewind(&run, 3, 2, &history, &problem));
    read_log(run.log, text, sizeof text);
    ck_assert_ptr_null(strstr(text, "skipped"));
    run_close(&run);
    history_free(&history);
    files_remove(folder);
}
END_TEST

START_TEST(test_run_modes_decide_about_a_run_that_is_there)
{
    char *folder = files_make_folder();
    struct run run;
    struct problem problem;
    open_run(&run, folder, RUN_NEW);
    log_steps(&run, 0, 2);
    run_close(&run);
    ck_assert(!run_open(&run, folder, RUN_NEW, &problem));
    ck_assert_ptr_nonnull(strstr(problem.text, "--overwrite"));
    files_write(files_path(folder, "config.json"), "{}", 2); /* a run's settings, without a save */
    open_run(&run, folder, RUN_NEW);
    run_close(&run);
    files_write(files_path(folder, "weights.safetensors"), "x", 1);
    ck_assert(!run_open(&run, folder, RUN_NEW, &problem));
    open_run(&run, folder, RUN_OVERWRITE);
    run_close(&run);
    files_remove(folder);
}
END_TEST

START_TEST(test_run_folder_is_one_process_s_at_a_time)
{
    char *folder = files_make_folder(), owner[64];
    struct run first, second;
    struct problem problem;
    open_run(&first, folder, RUN_NEW);
    ck_assert(!run_open(&second, folder, RUN_OVERWRITE, &problem));
    snprintf(owner, sizeof owner, "%s: process %ld is training in it", folder, (long)getpid());
    ck_assert_str_eq(problem.text, owner);
    run_close(&first);
    open_run(&second, folder, RUN_NEW);
    run_close(&second);
    files_remove(folder);
}
END_TEST

static void log_retrievals(struct run *run, const double values[4])
{
    for (int step = 0; step < 4; step++) {
        struct log_line line = {.batch = (uint64_t)step,
            .report.step = step,
            .view_retrieval = values[step],
            .view_retrieval_start = 7.125};
        run_log(run, &line);
    }
}

/* A continued run knows what was measured before it, and what the network had before training. */
START_TEST(test_run_rewind_restores_view_retrieval)
{
    char *folder = files_make_folder();
    struct run run;
    struct problem problem;
    struct history history = {0};
    const double values[] = {NAN, 12.5, NAN, 30.25};
    open_run(&run, folder, RUN_NEW);
    log_retrievals(&run, values);
    ck_assert(isnan(history_retrieval_start(&history)) && isnan(history_retrieval_newest(&history)));
    ck_assert(run_rewind(&run, 1, 1, &history, &problem) && history.retrieval_count == 1);
    ck_assert_double_eq(history_retrieval_start(&history), 7.125);
    run_close(&run);
    history_free(&history);

    open_run(&run, folder, RUN_OVERWRITE);
    log_retrievals(&run, values);
    ck_assert(run_rewind(&run, 9, 4, &history, &problem));
    ck_assert_uint_eq(history.retrieval_count, 3);
    ck_assert_double_eq(history_retrieval_start(&history), 7.125);
    ck_assert_double_eq(history_retrieval_newest(&history), 30.25);
    ck_assert_double_eq(history.retrievals[1].percent, 12.5);
    ck_assert_double_eq(history.retrievals[1].step, 2);
    run_close(&run);
    history_free(&history);
    files_remove(folder);
}
END_TEST

RUN_TESTS("run", test_run_rewound_log_is_what_it_was,
    test_run_rewind_keeps_a_shorter_log_and_drops_what_is_torn,
    test_run_rewind_keeps_skipped_steps_out_of_the_history, test_run_rewind_restores_view_retrieval,
    test_run_modes_decide_about_a_run_that_is_there, test_run_folder_is_one_process_s_at_a_time)
