/* See say.h. */
#include "base/say.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

static struct {
    pthread_mutex_t lock;
    const char *name;
    bool quiet;
    bool line_open; /* a progress line stands on the terminal without its newline */
} state = {.lock = PTHREAD_MUTEX_INITIALIZER, .name = "cribo"};

void say_name(const char *name)
{
    state.name = name;
}

void say_quiet(bool quiet)
{
    state.quiet = quiet;
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

/* Names of files may hold what a terminal would obey. */
static void tame(char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < ' ' ? *text != '\n' : *text == 127) *text = '?';
}

static void say_line(bool named, const char *kind, const char *format, va_list arguments)
{
    char text[2048];
    vsnprintf(text, sizeof text, format, arguments);
    tame(text);
    pthread_mutex_lock(&state.lock);
    clear_line();
    if (named) fprintf(stderr, "%s: %s", state.name, kind);
    fprintf(stderr, "%s\n", text);
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

/* A line that wraps could not be rewritten in place. */
static void fit_terminal(char *text, size_t size)
{
    struct winsize window;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &window) == 0 && window.ws_col > 1 && window.ws_col <= size)
        text[window.ws_col - 1] = '\0';
}

void say_progress(const char *format, ...)
{
    if (state.quiet) return;
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    bool terminal = say_on_terminal();
    if (terminal) fit_terminal(text, sizeof text);
    pthread_mutex_lock(&state.lock);
    clear_line();
    fprintf(stderr, terminal ? "%s" : "%s\n", text);
    fflush(stderr);
    state.line_open = terminal;
    pthread_mutex_unlock(&state.lock);
}

void say_progress_end(void)
{
    pthread_mutex_lock(&state.lock);
    if (state.line_open) fputc('\n', stderr);
    state.line_open = false;
    pthread_mutex_unlock(&state.lock);
}
