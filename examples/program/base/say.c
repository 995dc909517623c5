/* See say.h. */
#include "base/say.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <sys/ioctl.h>
#include <unistd.h>

static struct {
    pthread_mutex_t lock;
    const char *name;
    bool quiet, silent;
    bool line_open; /* the terminal shows a progress line without its newline */
    char from[64];  /* the beginning of paths that messages replace by `to` */
    const char *to;
    double last_progress; /* seconds, of the monotonic clock */
} state = {.lock = PTHREAD_MUTEX_INITIALIZER, .name = "cribo"};

void say_name(const char *name)
{
    state.name = name;
}

void say_quiet(bool quiet)
{
    state.quiet = quiet;
}

void say_silent(bool silent)
{
    state.silent = silent;
}

bool say_on_terminal(void)
{
    return isatty(STDERR_FILENO);
}

static void clear_line(void)
{
    if (state.line_open) fputs("\r\033[K", stderr);
    state.line_open = false;
}

/* Names of files may contain control sequences of terminals. */
static void tame(char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < ' ' ? *text != '\n' : *text == 127) *text = '?';
}

void say_alias(const char *from, const char *to)
{
    snprintf(state.from, sizeof state.from, "%s/", from);
    state.to = to;
}

static void append(char *line, size_t size, const char *text, size_t length)
{
    size_t at = strlen(line);
    snprintf(line + at, size - at, "%.*s", (int)length, text);
}

/* Appends the text, with `to` in place of `from` at the beginning of paths. */
static void append_text(char *line, size_t size, const char *text)
{
    const char *found;
    for (size_t length = strlen(state.from); length && (found = strstr(text, state.from));
        text = found + length) {
        append(line, size, text, (size_t)(found - text));
        append(line, size, state.to, strlen(state.to));
        append(line, size, "/", 1);
    }
    append(line, size, text, strlen(text));
}

static void say_line(bool named, const char *kind, const char *format, va_list arguments)
{
    char text[2048], line[4096] = "";
    if (state.silent) return;
    vsnprintf(text, sizeof text, format, arguments);
    tame(text);
    pthread_mutex_lock(&state.lock);
    clear_line();
    if (named) snprintf(line, sizeof line, "%s: %s", state.name, kind);
    append_text(line, sizeof line - 1, text);
    strcat(line, "\n");
    fputs(line, stderr); /* in one write, since several processes may have one standard error */
    pthread_mutex_unlock(&state.lock);
}

void say_error(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    say_line(true, "", format, arguments);
    va_end(arguments);
}

void say_warning(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    say_line(true, "warning: ", format, arguments);
    va_end(arguments);
}

void say_note(const char *format, ...)
{
    if (state.quiet) return;
    va_list arguments;
    va_start(arguments, format);
    say_line(false, "", format, arguments);
    va_end(arguments);
}

size_t say_width(void)
{
    struct winsize window;
    if (!say_on_terminal()) return SIZE_MAX;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &window) || window.ws_col < 2) return 79;
    return (size_t)window.ws_col - 1; /* a line that wraps could not be rewritten in place */
}

/* Cuts a text after `width` characters; bytes 10xxxxxx are the later ones of a character of UTF-8. */
static void cut(char *text, size_t width)
{
    for (; *text; text++) {
        if (((unsigned char)*text & 0xC0) == 0x80) continue;
        if (width-- > 0) continue;
        *text = '\0';
        return;
    }
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

bool say_progress_due(void)
{
    double time = now(), least = say_on_terminal() ? 0.1 : SAY_SECONDS;
    if (state.last_progress <= 0) state.last_progress = time;
    return !state.quiet && time - state.last_progress >= least;
}

void say_progress(const char *format, ...)
{
    if (state.quiet || state.silent) return;
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    bool terminal = say_on_terminal();
    tame(text);
    cut(text, say_width());
    pthread_mutex_lock(&state.lock);
    clear_line();
    fprintf(stderr, terminal ? "%s" : "%s\n", text);
    fflush(stderr);
    state.line_open = terminal;
    state.last_progress = now();
    pthread_mutex_unlock(&state.lock);
}

void say_progress_end(void)
{
    pthread_mutex_lock(&state.lock);
    if (state.line_open) fputc('\n', stderr);
    state.line_open = false;
    pthread_mutex_unlock(&state.lock);
}
