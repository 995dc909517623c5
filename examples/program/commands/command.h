/*
 * The subcommands, each with its own arguments (its name first) and its exit status: 0 success, 1 failure, 2
 * usage error.
 */
#ifndef COMMAND_H
#define COMMAND_H

#include "base/arguments.h"

int command_attention(int count, char **arguments);
int command_clusters(int count, char **arguments);
int command_embed(int count, char **arguments);
int command_evaluate(int count, char **arguments);
int command_info(int count, char **arguments);
int command_neighbours(int count, char **arguments);
int command_pretrain(int count, char **arguments);
int command_report(int count, char **arguments);
int command_scenes(int count, char **arguments);

#endif
