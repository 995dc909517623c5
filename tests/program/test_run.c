/* The log of a run: written, cut back, read again. */
#include "files.h"
#include "run.h"
#include "suite.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static void open_run(struct run *run, const char *folder, enum run_mode mode)
{
    struct problem problem;
    ck_assert_msg(run_open(run, folder, mode, &problem), "%s", problem.text);
}

static void log_steps(struct run *run, int64_t first, int64_t end)
{
    cribo_report report = {.struct_size = sizeof report, .cross_image_on = 1};
    for (report.step = first; report.step < end; report.step++) {
        report.loss = 0.3 * (double)report.step;
        report.global_loss = report.step == 1 ? NAN : 0.1;
        run_log(run, &report, 10);
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
    fputs("{\"step\":5,\"lo", run.log_file);
    run_close(&run);

    open_run(&run, folder, RUN_RESUME);
    ck_assert_msg(run_rewind(&run, 3, &history, &problem), "%s", problem.text);
    read_log(run.log, after, sizeof after);
    ck_assert(!strcmp(after, before));
    ck_assert_uint_eq(history.count, 3);
    ck_assert_double_eq_tol(history.losses[2][0], 0.2, 1e-12);
    ck_assert(isnan(history.losses[1][1]));
    ck_assert_double_eq_tol(history.losses[2][1], 0.1, 1e-12);
    log_steps(&run, 3, 4);
    size_t length = strlen(before);
    ck_assert_uint_gt(read_log(run.log, after, sizeof after), length);
    ck_assert(!memcmp(after, before, length) && !strncmp(after + length, "{\"step\":3,", 10));
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
    ck_assert(run_rewind(&run, 9, &history, &problem));
    ck_assert_uint_eq(history.count, 2);
    size_t length = read_log(run.log, text, sizeof text);
    ck_assert_int_eq(text[length - 2], '}');
    ck_assert_ptr_null(strstr(text, "nothing"));
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
    ck_assert_ptr_null(strstr(problem.text, "--resume"));
    files_write(files_path(folder, "checkpoint-00000002.safetensors.gz"), "x", 1);
    ck_assert(!run_open(&run, folder, RUN_NEW, &problem));
    ck_assert_ptr_nonnull(strstr(problem.text, "--overwrite"));
    ck_assert_ptr_nonnull(strstr(problem.text, "--resume"));
    open_run(&run, folder, RUN_OVERWRITE);
    run_close(&run);
    files_remove(folder);
}
END_TEST

RUN_TESTS("run", test_run_rewound_log_is_what_it_was,
    test_run_rewind_keeps_a_shorter_log_and_drops_what_is_torn,
    test_run_modes_decide_about_a_run_that_is_there)
