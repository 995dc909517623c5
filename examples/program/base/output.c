/* See output.h. */
#include "base/output.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The temporary files that a signal must remove. */
enum { MAX_OPEN = 8 };
static char *volatile open_names[MAX_OPEN];

void output_drop_all(void)
{
    for (int i = 0; i < MAX_OPEN; i++)
        if (open_names[i]) unlink(open_names[i]);
}

/* Ends the program by the same signal, once the files are gone. */
static void drop_and_end(int number)
{
    output_drop_all();
    signal(number, SIG_DFL);
    raise(number);
}

/* Signals that the program handles or ignores are not changed. */
static void listen_to(int number)
{
    struct sigaction action;
    if (sigaction(number, NULL, &action) || action.sa_handler != SIG_DFL) return;
    action = (struct sigaction){.sa_handler = drop_and_end};
    sigemptyset(&action.sa_mask);
    sigaction(number, &action, NULL);
}

static void remember(char *name)
{
    listen_to(SIGHUP);
    listen_to(SIGINT);
    listen_to(SIGTERM);
    for (int i = 0; i < MAX_OPEN; i++) {
        if (open_names[i]) continue;
        open_names[i] = name;
        return;
    }
}

static void forget(const char *name)
{
    for (int i = 0; i < MAX_OPEN; i++)
        if (open_names[i] == name) open_names[i] = NULL;
}

static bool cannot_write(const char *path, struct problem *problem)
{
    return problem_set(problem, "cannot write %s: %s", path, strerror(errno));
}

/*
 * Creates a new file beside the target, with the permissions of the file that it will replace. An existing
 * file of this name is from a dead process with the same number, and is removed.
 */
static FILE *open_temporary(const char *name, const struct stat *old)
{
    unlink(name);
    int descriptor = open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, old ? 0600 : 0666);
    FILE *file = descriptor < 0 ? NULL : fdopen(descriptor, "w");
    if (descriptor >= 0 && !file) close(descriptor);
    if (file && old && fchmod(descriptor, old->st_mode & 0777)) errno = 0; /* a failure is ignored */
    return file;
}

bool output_open(struct output *output, const char *path, struct problem *problem)
{
    struct stat old;
    *output = (struct output){.path = path};
    if (!strcmp(path, "-")) return (output->file = stdout);
    bool replaces = stat(path, &old) == 0;
    if (!replaces && errno != ENOENT) return cannot_write(path, problem);
    if (replaces && !S_ISREG(old.st_mode))
        return problem_set(problem, "cannot write %s: it is there and is not a regular file", path);
    if (asprintf(&output->temporary, "%s.%ld.tmp", path, (long)getpid()) < 0) {
        *output = (struct output){0};
        return problem_no_memory(problem);
    }
    output->file = open_temporary(output->temporary, replaces ? &old : NULL);
    if (output->file) {
        remember(output->temporary);
        return true;
    }
    cannot_write(path, problem);
    free(output->temporary);
    *output = (struct output){0};
    return false;
}

bool output_close(struct output *output, struct problem *problem)
{
    FILE *file = output->file;
    bool named = output->temporary != NULL, written = fflush(file) == 0 && !ferror(file);
    if (named && written) written = fsync(fileno(file)) == 0 || errno == EINVAL;
    output->file = NULL;
    if (named && fclose(file)) written = false;
    if (named && written) written = rename(output->temporary, output->path) == 0;
    if (!written) cannot_write(named ? output->path : "to standard output", problem);
    if (written) forget(output->temporary);
    if (written) free(output->temporary);
    if (written) output->temporary = NULL;
    output_drop(output);
    return written;
}

void output_drop(struct output *output)
{
    if (output->temporary) {
        if (output->file) fclose(output->file);
        unlink(output->temporary);
        forget(output->temporary);
        free(output->temporary);
    }
    *output = (struct output){0};
}

bool output_write(const char *path, const void *bytes, size_t size, struct problem *problem)
{
    struct output output;
    if (!output_open(&output, path, problem)) return false;
    fwrite(bytes, 1, size, output.file); /* output_close reports what failed */
    return output_close(&output, problem);
}

FILE *output_append(const char *path, bool anew, struct problem *problem)
{
    struct stat status;
    if (anew && lstat(path, &status) == 0 && S_ISLNK(status.st_mode)) unlink(path);
    int descriptor = open(path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0666);
    if (descriptor >= 0 && (fstat(descriptor, &status) || !S_ISREG(status.st_mode))) {
        problem_set(problem, "cannot write %s: it is there and is not a regular file", path);
        close(descriptor);
        return NULL;
    }
    FILE *file = descriptor < 0 || (anew && ftruncate(descriptor, 0)) ? NULL : fdopen(descriptor, "a+");
    if (file) return file;
    if (errno == ELOOP)
        problem_set(problem, "cannot write %s: it is a symbolic link", path);
    else
        cannot_write(path, problem);
    if (descriptor >= 0) close(descriptor);
    return NULL;
}
