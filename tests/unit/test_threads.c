/*
 * Trainers among threads, processes and signals: several at once, a fork after training, timers that
 * interrupt every step, one CPU, a locale with a decimal comma. The bits are always those of a run alone.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* sched_setaffinity */
#endif
#include "support/locale.h"
#include "support/scratch.h"
#include "support/training.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined(__SANITIZE_THREAD__)
#define TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define TSAN 1
#endif
#endif
#ifndef TSAN
#define TSAN 0
#endif

#define STEPS 4

static cribo_trainer *trained(int64_t threads)
{
    cribo_trainer_config c = training_config();
    cribo_trainer *trainer = training_begin(&c, threads);
    training_steps(trainer, &c, STEPS);
    return trainer;
}

/* --- threads --- */

typedef struct train_job {
    int64_t threads;
    cribo_trainer *trainer;
} train_job;

static void *train(void *context)
{
    train_job *job = context;
    job->trainer = trained(job->threads);
    return NULL;
}

START_TEST(test_threads_trainers_at_once_give_the_bits_of_one_alone)
{
    cribo_trainer *alone = trained(1);
    train_job jobs[3] = {{.threads = 1}, {.threads = 2}, {.threads = 3}};
    pthread_t threads[3];
    for (int i = 0; i < 3; i++) ck_assert_int_eq(pthread_create(&threads[i], NULL, train, &jobs[i]), 0);
    for (int i = 0; i < 3; i++) ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
    for (int i = 0; i < 3; i++) {
        ck_assert_msg(training_same(alone, jobs[i].trainer), "trainer %d", i);
        cribo_trainer_free(jobs[i].trainer);
    }
    cribo_trainer_free(alone);
}
END_TEST

static void *let_go(void *trainer)
{
    cribo_trainer_free(trainer);
    return NULL;
}

/* Made in one thread, used in a second, freed in a third. */
START_TEST(test_threads_trainer_wanders_between_threads)
{
    train_job job = {.threads = 2};
    pthread_t maker, breaker;
    cribo_trainer_config c = training_config();
    ck_assert_int_eq(pthread_create(&maker, NULL, train, &job), 0);
    ck_assert_int_eq(pthread_join(maker, NULL), 0);
    training_step(job.trainer, &c, 9);
    ck_assert_int_eq(pthread_create(&breaker, NULL, let_go, job.trainer), 0);
    ck_assert_int_eq(pthread_join(breaker, NULL), 0);
}
END_TEST

static void *blunder(void *trainer)
{
    REFUSED(cribo_trainer_step(trainer, NULL, NULL), CRIBO_INVALID_ARGUMENT, "batch is NULL");
    return NULL;
}

START_TEST(test_threads_have_messages_of_their_own)
{
    cribo_trainer_config c = training_config();
    cribo_trainer *trainer = training_begin(&c, 1);
    pthread_t thread;
    REFUSED(cribo_trainer_step(NULL, NULL, NULL), CRIBO_INVALID_ARGUMENT, "trainer is NULL");
    ck_assert_int_eq(pthread_create(&thread, NULL, blunder, trainer), 0);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    ck_assert_str_eq(cribo_last_error(), "trainer is NULL");
    cribo_trainer_free(trainer);
}
END_TEST

/* --- processes --- */

#if !TSAN /* which has no threads after a fork */
static void send_all(int to, const void *bytes, size_t count)
{
    const char *at = bytes;
    while (count > 0) {
        ssize_t sent = write(to, at, count);
        if (sent <= 0) _exit(2);
        at += sent;
        count -= (size_t)sent;
    }
}

/* The state of a forked child after two more steps. */
static _Noreturn void train_on(cribo_trainer *trainer, const cribo_trainer_config *c, int to)
{
    alarm(100); /* a child that hangs ends */
    training_step(trainer, c, STEPS);
    training_step(trainer, c, STEPS + 1);
    training_state state = training_state_of(trainer);
    send_all(to, state.bytes, state.count);
    training_state_free(&state);
    cribo_trainer_free(trainer);
    _exit(0);
}

static training_state receive(int from, size_t count)
{
    training_state state = {.bytes = malloc(count + 1)};
    ssize_t got;
    while ((got = read(from, state.bytes + state.count, count + 1 - state.count)) > 0)
        state.count += (size_t)got;
    return state;
}

START_TEST(test_threads_forked_child_trains_on)
{
    cribo_trainer_config c = training_config();
    cribo_trainer *trainer = trained(_i);
    training_state before = training_state_of(trainer);
    int ends[2], status;
    ck_assert_int_eq(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) train_on(trainer, &c, ends[1]);
    close(ends[1]);
    training_state theirs = receive(ends[0], before.count);
    close(ends[0]);
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the child ended with status %d", status);
    training_step(trainer, &c, STEPS);
    training_step(trainer, &c, STEPS + 1);
    training_state ours = training_state_of(trainer);
    ck_assert(training_state_equal(&ours, &theirs));
    ck_assert(!training_state_equal(&ours, &before));
    training_state_free(&before);
    training_state_free(&ours);
    training_state_free(&theirs);
    cribo_trainer_free(trainer);
}
END_TEST
#endif

/* --- signals --- */

static volatile sig_atomic_t rings;

static void ring(int signal)
{
    (void)signal;
    rings++;
}

/*
 * A timer every 200 microseconds, whose handler makes system calls return early, changes no result of steps,
 * a save, a load, and later steps.
 */
START_TEST(test_threads_signals_change_nothing)
{
    cribo_trainer_config c = training_config();
    cribo_trainer *quiet = trained(2);
    scratch_begin();
    struct sigaction action = {.sa_handler = ring}, before;
    struct itimerval storm = {{0, 200}, {0, 200}}, calm = {{0, 0}, {0, 0}};
    sigemptyset(&action.sa_mask);
    ck_assert_int_eq(sigaction(SIGALRM, &action, &before), 0);
    ck_assert_int_eq(setitimer(ITIMER_REAL, &storm, NULL), 0);
    cribo_trainer *disturbed = trained(2), *loaded = training_begin(&c, 2);
    OK(cribo_trainer_save(disturbed, scratch_path("disturbed"), NULL));
    OK(cribo_trainer_load(loaded, scratch_path("disturbed"), NULL));
    ck_assert_int_eq(setitimer(ITIMER_REAL, &calm, NULL), 0);
    OK(cribo_trainer_save(quiet, scratch_path("quiet"), NULL));
    assert_same_files("quiet", "disturbed");
    ck_assert(training_same(quiet, loaded));
    cribo_trainer_free(loaded);
    scratch_end();
    ck_assert_int_eq(sigaction(SIGALRM, &before, NULL), 0);
    ck_assert_int_gt(rings, 0);
    ck_assert(training_same(quiet, disturbed));
    cribo_trainer_free(quiet);
    cribo_trainer_free(disturbed);
}
END_TEST

/* --- the machine --- */

START_TEST(test_threads_one_cpu_gives_the_same_bits)
{
    cpu_set_t all, one;
    cribo_trainer *wide = trained(2);
    ck_assert_int_eq(sched_getaffinity(0, sizeof all, &all), 0);
    int cpu = 0;
    while (!CPU_ISSET(cpu, &all)) cpu++;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    ck_assert_int_eq(sched_setaffinity(0, sizeof one, &one), 0);
    cribo_trainer *narrow = trained(0), *crowded = trained(4);
    ck_assert_int_eq(sched_setaffinity(0, sizeof all, &all), 0);
    ck_assert(training_same(wide, narrow));
    ck_assert(training_same(wide, crowded));
    cribo_trainer_free(wide);
    cribo_trainer_free(narrow);
    cribo_trainer_free(crowded);
}
END_TEST

/* Settings are read and written with a decimal point in every locale. */
START_TEST(test_threads_decimal_comma_changes_no_file)
{
    cribo_trainer *trainer = trained(1);
    cribo_trainer_config c = training_config(), read;
    scratch_begin();
    OK(cribo_trainer_save_weights(trainer, scratch_path("point")));
    OK(cribo_trainer_save(trainer, scratch_path("checkpoint with point"), NULL));
    bool comma = begin_comma_locale();
    OK(cribo_trainer_save(trainer, scratch_path("checkpoint with comma"), NULL));
    assert_same_files("checkpoint with point", "checkpoint with comma");
    OK(cribo_trainer_config_init(&read, sizeof read));
    OK(cribo_checkpoint_config(scratch_path("checkpoint with point"), &read));
    ck_assert(memcmp(&read, &c, sizeof c) == 0);
    OK(cribo_trainer_load(trainer, scratch_path("checkpoint with point"), NULL));
    OK(cribo_trainer_config_set(&c, "drop_path", "0.25"));
    ck_assert(c.drop_path == 0.25);
    REFUSED(cribo_trainer_config_set(&c, "drop_path", "0,25"), CRIBO_INVALID_ARGUMENT, "drop_path");
    OK(cribo_trainer_save_weights(trainer, scratch_path("comma")));
    ck_assert(!comma || localeconv()->decimal_point[0] == ','); /* the library left it as it was */
    setlocale(LC_ALL, "C");
    assert_same_files("point", "comma");
    scratch_end();
    cribo_trainer_free(trainer);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("threads");
    TCase *tests = tcase_create("threads");
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, test_threads_trainers_at_once_give_the_bits_of_one_alone);
    tcase_add_test(tests, test_threads_trainer_wanders_between_threads);
    tcase_add_test(tests, test_threads_have_messages_of_their_own);
#if !TSAN
    tcase_add_loop_test(tests, test_threads_forked_child_trains_on, 1, 4);
#endif
    tcase_add_test(tests, test_threads_signals_change_nothing);
    tcase_add_test(tests, test_threads_one_cpu_gives_the_same_bits);
    tcase_add_test(tests, test_threads_decimal_comma_changes_no_file);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    if (TSAN) srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
