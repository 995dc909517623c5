/*
 * Messages for the user while the program works, on standard error: warnings, and a progress line that is
 * rewritten in place on a terminal and written plainly elsewhere. Safe from any thread.
 */
#ifndef SAY_H
#define SAY_H

#include <stdbool.h>
#include <stddef.h>

/* The program's name before each message, "cribo pretrain"; borrowed. */
void say_name(const char *name);

/* Silences progress lines and notes; warnings and errors are still said. */
void say_quiet(bool quiet);

/* One line each, after the name. */
void say_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
void say_warning(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* A line without the name. */
void say_note(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Paths that begin with `from`, a folder, are given as `to` in messages; `to` is borrowed. */
void say_alias(const char *from, const char *to);

/* True when progress lines are rewritten in place, so that each step may have one. */
bool say_on_terminal(void);

/* The progress line; in place of the one before on a terminal. */
void say_progress(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The characters that a progress line has room for; SIZE_MAX where it is not rewritten in place. */
size_t say_width(void);

/*
 * Is it time for the next progress line? On a terminal ten times a second at most, elsewhere every
 * SAY_SECONDS seconds, so that no file or pipe fills with lines.
 */
enum { SAY_SECONDS = 10 };
bool say_progress_due(void);

/* Ends the progress line, so that it stays. */
void say_progress_end(void);

#endif
