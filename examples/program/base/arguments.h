/* Values of options on a command line, and the machine's processors. */
#ifndef ARGUMENTS_H
#define ARGUMENTS_H

#include <stdint.h>

#include <argp.h>

/*
 * The value of an option as an integer in a range; anything else ends the program with status 2 and a message
 * that names the option.
 */
int64_t command_integer(
    struct argp_state *state, const char *option, const char *text, int64_t least, int64_t most);

/* The same for a number above 0. */
double command_positive(struct argp_state *state, const char *option, const char *text);

/* The CPUs that this process may use. */
int command_cpus(void);

#endif
