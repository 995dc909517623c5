/*
 * The subcommands, each with its own arguments (its name first) and its exit status: 0 done, 1 failed, 2 used
 * wrongly.
 */
#ifndef COMMAND_H
#define COMMAND_H

#include <stdbool.h>
#include <stdint.h>

#include <argp.h>

int command_attention(int count, char **arguments);
int command_clusters(int count, char **arguments);
int command_embed(int count, char **arguments);
int command_evaluate(int count, char **arguments);
int command_neighbours(int count, char **arguments);
int command_pretrain(int count, char **arguments);
int command_report(int count, char **arguments);
int command_scenes(int count, char **arguments);

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
