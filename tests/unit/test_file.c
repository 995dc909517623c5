/* Atomic replacement of files, and exact reads. */
#define _POSIX_C_SOURCE 200809L
#include "base/file.h"
#include "support/scratch.h"
#include "support/suite.h"

#include <check.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define OK(call) ck_assert_msg((call) == CRIBO_OK, "%s", cribo_last_error())

static cribo_status replace(const char *path, const void *bytes, size_t count)
{
    cb_file_writer writer;
    CB_TRY(cb_file_writer_begin(&writer, cb_at(path)));
    CB_TRY(cb_file_writer_write(&writer, bytes, count));
    return cb_file_writer_commit(&writer);
}

static void assert_message(const char *part)
{
    ck_assert_msg(
        strstr(cribo_last_error(), part) != NULL, "\"%s\" is not in \"%s\"", part, cribo_last_error());
}

START_TEST(test_writer_new_path_writes_what_was_given)
{
    const char *path = scratch_path("new");
    cb_file_writer writer;
    OK(cb_file_writer_begin(&writer, cb_at(path)));
    ck_assert_int_ne(access(path, F_OK), 0); /* nothing is visible before the end */
    OK(cb_file_writer_write(&writer, "one", 3));
    OK(cb_file_writer_write(&writer, "", 0));
    OK(cb_file_writer_write(&writer, "two", 3));
    OK(cb_file_writer_commit(&writer));
    assert_bytes(path, "onetwo", 6);
    ck_assert_uint_eq(scratch_count(), 1);
}
END_TEST

START_TEST(test_writer_empty_content_gives_an_empty_file)
{
    OK(replace(scratch_path("empty"), "", 0));
    assert_bytes(scratch_path("empty"), "", 0);
}
END_TEST

START_TEST(test_writer_old_file_is_replaced_and_keeps_its_permissions)
{
    struct stat status;
    const char *path = scratch_path("old");
    write_bytes(path, "a long old content", 18);
    chmod(path, 0640);
    OK(replace(path, "new", 3));
    assert_bytes(path, "new", 3);
    ck_assert_int_eq(stat(path, &status), 0);
    ck_assert_int_eq(status.st_mode & 0777, 0640);
    ck_assert_uint_eq(scratch_count(), 1);
}
END_TEST

START_TEST(test_writer_new_file_follows_the_umask)
{
    struct stat status;
    umask(027);
    OK(replace(scratch_path("new"), "new", 3));
    ck_assert_int_eq(stat(scratch_path("new"), &status), 0);
    ck_assert_int_eq(status.st_mode & 0777, 0640);
}
END_TEST

START_TEST(test_writer_path_without_folder_is_written_in_the_working_folder)
{
    ck_assert_int_eq(chdir(scratch_folder()), 0);
    OK(replace("plain", "x", 1));
    assert_bytes(scratch_path("plain"), "x", 1);
}
END_TEST

START_TEST(test_writer_abandoned_leaves_the_old_file)
{
    const char *path = scratch_path("old");
    cb_file_writer writer;
    write_bytes(path, "old", 3);
    OK(cb_file_writer_begin(&writer, cb_at(path)));
    OK(cb_file_writer_write(&writer, "new", 3));
    ck_assert_uint_eq(scratch_count(), 2);
    cb_file_writer_abandon(&writer);
    cb_file_writer_abandon(&writer);
    assert_bytes(path, "old", 3);
    ck_assert_uint_eq(scratch_count(), 1);
}
END_TEST

START_TEST(test_writer_two_at_once_use_two_temporaries)
{
    const char *path = scratch_path("both");
    cb_file_writer a, b;
    OK(cb_file_writer_begin(&a, cb_at(path)));
    OK(cb_file_writer_begin(&b, cb_at(path)));
    OK(cb_file_writer_write(&a, "a", 1));
    OK(cb_file_writer_write(&b, "b", 1));
    OK(cb_file_writer_commit(&b));
    OK(cb_file_writer_commit(&a));
    assert_bytes(path, "a", 1);
    ck_assert_uint_eq(scratch_count(), 1);
}
END_TEST

START_TEST(test_writer_no_folder_is_an_io_error)
{
    ck_assert_int_eq(replace(scratch_path("no/such/file"), "x", 1), CRIBO_IO_ERROR);
    assert_message("no/such/file");
    assert_message(strerror(2)); /* ENOENT */
    ck_assert_uint_eq(scratch_count(), 0);
}
END_TEST

START_TEST(test_writer_folder_device_and_file_as_folder_are_refused)
{
    mkdir(scratch_path("folder"), 0777);
    write_bytes(scratch_path("file"), "x", 1);
    ck_assert_int_eq(replace(scratch_path("folder"), "x", 1), CRIBO_IO_ERROR);
    assert_message("not a regular file");
    ck_assert_int_eq(replace(scratch_path("file/in"), "x", 1), CRIBO_IO_ERROR);
    ck_assert_int_eq(replace("", "x", 1), CRIBO_IO_ERROR);
    ck_assert_uint_eq(scratch_count(), 2);

    struct stat status;
    ck_assert_int_eq(replace("/dev/full", "x", 1), CRIBO_IO_ERROR);
    ck_assert_int_eq(stat("/dev/full", &status), 0);
    ck_assert(S_ISCHR(status.st_mode)); /* the device is still there */
}
END_TEST

START_TEST(test_writer_too_long_a_path_is_refused)
{
    char path[2 * CB_PATH_BYTES];
    memset(path, 'x', sizeof path - 1);
    path[sizeof path - 1] = 0;
    ck_assert_int_eq(replace(path, "x", 1), CRIBO_IO_ERROR);
    path[255] = 0; /* the name is allowed, the temporary's name is too long */
    ck_assert_int_eq(replace(scratch_path(path), "x", 1), CRIBO_IO_ERROR);
    ck_assert_uint_eq(scratch_count(), 0);
}
END_TEST

START_TEST(test_writer_unwritable_folder_is_an_io_error)
{
    bool root = geteuid() == 0; /* may write everywhere */
    chmod(scratch_folder(), 0500);
    if (root) ck_assert_int_eq(seteuid(65534), 0);
    cribo_status status = replace(scratch_path("file"), "x", 1);
    if (root) ck_assert_int_eq(seteuid(0), 0);
    chmod(scratch_folder(), 0700);
    ck_assert_int_eq(status, CRIBO_IO_ERROR);
    assert_message(strerror(13)); /* EACCES */
}
END_TEST

START_TEST(test_writer_full_quota_keeps_the_old_file)
{
    const char *path = scratch_path("limited");
    static char bytes[100000];
    write_bytes(path, "old", 3);
    signal(SIGXFSZ, SIG_IGN);
    struct rlimit limit = {50000, 50000};
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    ck_assert_int_eq(
        replace(path, bytes, sizeof bytes), CRIBO_IO_ERROR); /* a short write, then a refused one */
    assert_message("limited");
    assert_message("cannot write");
    assert_bytes(path, "old", 3);
    ck_assert_uint_eq(scratch_count(), 1);
}
END_TEST

START_TEST(test_writer_failed_rename_removes_the_temporary)
{
    const char *path = scratch_path("target");
    cb_file_writer writer;
    OK(cb_file_writer_begin(&writer, cb_at(path)));
    mkdir(path, 0777); /* comes in between */
    ck_assert_int_eq(cb_file_writer_commit(&writer), CRIBO_IO_ERROR);
    assert_message("rename");
    ck_assert_uint_eq(scratch_count(), 1);
}
END_TEST

START_TEST(test_writer_bad_descriptor_reports_every_stage)
{
    const char *path = scratch_path("target");
    cb_file_writer writer;
    write_bytes(path, "old", 3);
    for (int stage = 0; stage < 2; stage++) {
        OK(cb_file_writer_begin(&writer, cb_at(path)));
        int descriptor = writer.descriptor, read_only = open("/dev/null", O_RDONLY);
        if (stage == 0) {
            dup2(read_only, descriptor); /* writes are refused */
            ck_assert_int_eq(cb_file_writer_write(&writer, "x", 1), CRIBO_IO_ERROR);
        } else {
            dup2(read_only, descriptor); /* a device cannot be flushed */
            ck_assert_int_eq(cb_file_writer_commit(&writer), CRIBO_IO_ERROR);
            assert_message("flush");
        }
        close(read_only);
        assert_bytes(path, "old", 3);
        ck_assert_uint_eq(scratch_count(), 1);
        cb_file_writer_abandon(&writer);
    }
}
END_TEST

static timer_t storm;
static volatile sig_atomic_t signals;

/* Stops the signals after a while, for systems whose calls do not end between two signals. */
static void count_signal(int signal)
{
    static const struct itimerspec never;
    (void)signal;
    if (++signals == 100) timer_settime(storm, 0, &never, NULL);
}

START_TEST(test_writer_signals_do_not_disturb)
{
    enum { BYTES = 8 << 20 };
    char *bytes = malloc(BYTES);
    for (size_t i = 0; i < BYTES; i++) bytes[i] = (char)(i * 31 >> 3);
    struct sigaction action = {.sa_handler = count_signal}; /* without SA_RESTART */
    sigaction(SIGALRM, &action, NULL);
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGALRM};
    ck_assert_int_eq(timer_create(CLOCK_MONOTONIC, &event, &storm), 0);
    struct itimerspec often = {{0, 200000}, {0, 200000}};
    timer_settime(storm, 0, &often, NULL);
    cribo_status status = replace(scratch_path("big"), bytes, BYTES);
    timer_delete(storm);
    OK(status);
    ck_assert_int_gt(signals, 0);
    assert_bytes(scratch_path("big"), bytes, BYTES);
    free(bytes);
}
END_TEST

START_TEST(test_writer_leaks_no_descriptor)
{
    int before = open("/dev/null", O_RDONLY);
    close(before);
    OK(replace(scratch_path("a"), "x", 1));
    ck_assert_int_eq(replace(scratch_path("no/a"), "x", 1), CRIBO_IO_ERROR);
    ck_assert_int_eq(replace(scratch_folder(), "x", 1), CRIBO_IO_ERROR);
    int after = open("/dev/null", O_RDONLY);
    close(after);
    ck_assert_int_eq(before, after);
}
END_TEST

START_TEST(test_reader_ranges_give_exact_bytes)
{
    char bytes[8] = {0};
    cb_file_reader reader;
    write_bytes(scratch_path("ten"), "0123456789", 10);
    const char *path = scratch_path("ten");
    OK(cb_file_reader_open(&reader, cb_at(path)));
    ck_assert_uint_eq(reader.size, 10);
    OK(cb_file_reader_read(&reader, 3, bytes, 4));
    ck_assert_mem_eq(bytes, "3456", 5);
    OK(cb_file_reader_read(&reader, 10, bytes, 0));
    ck_assert_int_eq(cb_file_reader_read(&reader, 8, bytes, 3), CRIBO_CORRUPT);
    assert_message("ends at byte 10");
    ck_assert_int_eq(cb_file_reader_read(&reader, UINT64_MAX, bytes, 2), CRIBO_CORRUPT);

    ck_assert_int_eq(truncate(path, 5), 0);
    ck_assert_int_eq(cb_file_reader_read(&reader, 4, bytes, 4), CRIBO_CORRUPT);
    assert_message("ends at byte 5");
    cb_file_reader_close(&reader);
    cb_file_reader_close(&reader);
}
END_TEST

START_TEST(test_reader_what_is_no_regular_file_is_refused)
{
    cb_file_reader reader;
    ck_assert_int_eq(mkfifo(scratch_path("pipe"), 0600), 0);
    ck_assert_int_eq(cb_file_reader_open(&reader, cb_at(scratch_path("pipe"))), CRIBO_IO_ERROR);
    ck_assert_int_eq(reader.descriptor, -1);
    ck_assert_int_eq(cb_file_reader_open(&reader, cb_at(scratch_folder())), CRIBO_IO_ERROR);
    ck_assert_int_eq(cb_file_reader_open(&reader, cb_at("/dev/zero")), CRIBO_IO_ERROR);
    ck_assert_int_eq(cb_file_reader_open(&reader, cb_at(scratch_path("none"))), CRIBO_IO_ERROR);
    assert_message(strerror(2)); /* ENOENT */
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("file");
    TCase *tests = tcase_create("file");
    tcase_add_checked_fixture(tests, scratch_begin, scratch_end);
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, test_writer_new_path_writes_what_was_given);
    tcase_add_test(tests, test_writer_empty_content_gives_an_empty_file);
    tcase_add_test(tests, test_writer_old_file_is_replaced_and_keeps_its_permissions);
    tcase_add_test(tests, test_writer_new_file_follows_the_umask);
    tcase_add_test(tests, test_writer_path_without_folder_is_written_in_the_working_folder);
    tcase_add_test(tests, test_writer_abandoned_leaves_the_old_file);
    tcase_add_test(tests, test_writer_two_at_once_use_two_temporaries);
    tcase_add_test(tests, test_writer_no_folder_is_an_io_error);
    tcase_add_test(tests, test_writer_folder_device_and_file_as_folder_are_refused);
    tcase_add_test(tests, test_writer_too_long_a_path_is_refused);
    tcase_add_test(tests, test_writer_unwritable_folder_is_an_io_error);
    tcase_add_test(tests, test_writer_full_quota_keeps_the_old_file);
    tcase_add_test(tests, test_writer_failed_rename_removes_the_temporary);
    tcase_add_test(tests, test_writer_bad_descriptor_reports_every_stage);
    tcase_add_test(tests, test_writer_signals_do_not_disturb);
    tcase_add_test(tests, test_writer_leaks_no_descriptor);
    tcase_add_test(tests, test_reader_ranges_give_exact_bytes);
    tcase_add_test(tests, test_reader_what_is_no_regular_file_is_refused);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
