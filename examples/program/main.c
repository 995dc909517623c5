/* The cribo program: its subcommands and their common parts. */
#include "commands/command.h"

#include <cribo/base.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "Usage: cribo COMMAND [OPTION...]\n"
    "Pretrains vision transformers on folders of unlabelled images with CrIBo.\n"
    "\n"
    "Commands:\n"
    "  pretrain    train on a folder of JPEG, PNG and WebP files\n"
    "  scenes      compose training pictures with several objects, and their labels\n"
    "  evaluate    segment labelled pictures by nearest neighbours and score the result\n"
    "  report      write an HTML page about a run\n"
    "  clusters    draw the objects that a model finds in pictures\n"
    "  neighbours  draw objects and the most similar objects of other pictures\n"
    "  attention   draw a model's attention maps and its tokens in colours\n"
    "  embed       write a model's features of pictures to a file\n"
    "  info        describe a file of weights: layout, model and training settings\n"
    "\n"
    "  --help     print this help; cribo COMMAND --help prints the help of a command\n"
    "  --version  print the library's version, build and choices for this machine\n"
    "\n"
    "Exit status: 0 success, 1 failure, 2 usage error; 129, 130 and 143 after\n"
    "SIGHUP, Ctrl-C and SIGTERM.\n";

static const struct {
    const char *name, *full_name;
    int (*run)(int count, char **arguments);
} commands[] = {
    {"attention", "cribo attention", command_attention},
    {"clusters", "cribo clusters", command_clusters},
    {"embed", "cribo embed", command_embed},
    {"evaluate", "cribo evaluate", command_evaluate},
    {"info", "cribo info", command_info},
    {"neighbours", "cribo neighbours", command_neighbours},
    {"pretrain", "cribo pretrain", command_pretrain},
    {"report", "cribo report", command_report},
    {"scenes", "cribo scenes", command_scenes},
};
enum { COMMANDS = sizeof commands / sizeof *commands };

/* A failure to write the output gives a failure status. */
static int finish(int status)
{
    if (fflush(stdout) || ferror(stdout)) {
        fprintf(stderr, "cribo: cannot write to standard output: %s\n", strerror(errno));
        return status ? status : 1;
    }
    return status;
}

int main(int count, char **arguments)
{
    const char *name = count > 1 ? arguments[1] : "";
    argp_err_exit_status = 2;
    if (!strcmp(name, "--help") || !strcmp(name, "-h") || !strcmp(name, "help")) {
        fputs(usage, stdout);
        return finish(0);
    }
    if (!strcmp(name, "--version")) {
        printf("cribo %s\n%s\n", cribo_version(), cribo_build_info());
        return finish(0);
    }
    for (int i = 0; i < COMMANDS; i++) {
        if (strcmp(name, commands[i].name)) continue;
        char *full_name = strdup(commands[i].full_name);
        if (!full_name) return 1;
        arguments[1] = full_name; /* how messages call the program */
        int status = finish(commands[i].run(count - 1, arguments + 1));
        free(full_name);
        return status;
    }
    if (count < 2)
        fputs(usage, stderr);
    else
        fprintf(stderr, "cribo: unknown command '%s'\nTry `cribo --help' for the commands.\n", name);
    return 2;
}
