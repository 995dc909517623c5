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

/* Suppresses progress lines and notes, but not warnings and errors. */
void say_quiet(bool quiet);

/* Suppresses everything: of several processes one speaks. */
void say_silent(bool silent);

/* One line each, after the name. */
void say_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
void say_warning(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* A line without the name. */
void say_note(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* In messages, `to` replaces the folder `from` at the beginning of paths; `to` is borrowed. */
void say_alias(const char *from, const char *to);

/* True when progress lines are rewritten in place, so that each step may have one. */
bool say_on_terminal(void);

/* The progress line; in place of the one before on a terminal. */
void say_progress(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The largest width of a progress line; SIZE_MAX if it is not rewritten in place. */
size_t say_width(void);

/*
 * Whether the next progress line is due: on a terminal at most ten times a second, elsewhere every
 * SAY_SECONDS seconds, so that files and pipes get few lines.
 */
enum { SAY_SECONDS = 10 };
bool say_progress_due(void);

/* Ends the progress line, so that it stays. */
void say_progress_end(void);

#endif
