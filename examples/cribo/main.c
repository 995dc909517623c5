/* The cribo program: its subcommands and what they share. */
#include "command.h"

#include <cribo/base.h>

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "Usage: cribo COMMAND [OPTION...]\n"
    "Pretrains vision transformers on folders of unlabelled images with CrIBo.\n"
    "\n"
    "Commands:\n"
    "  pretrain   train on a folder of JPEG and PNG files\n"
    "  scenes     compose training pictures with several objects, and their labels\n"
    "\n"
    "  --help     this help; cribo COMMAND --help for a command's\n"
    "  --version  the versions of the program's library and what it found on this machine\n"
    "\n"
    "Exit status: 0 done, 1 failed, 2 used wrongly; 130 and 143 after Ctrl-C and SIGTERM.\n";

static const struct {
    const char *name, *full_name;
    int (*run)(int count, char **arguments);
} commands[] = {
    {"pretrain", "cribo pretrain", command_pretrain},
    {"scenes", "cribo scenes", command_scenes},
};
enum { COMMANDS = sizeof commands / sizeof *commands };

int64_t command_integer(
    struct argp_state *state, const char *option, const char *text, int64_t least, int64_t most)
{
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (end == text || *end || errno || value < least || value > most)
        argp_error(state, "--%s=%s: expected a whole number from %lld to %lld", option, text,
            (long long)least, (long long)most);
    return value;
}

int command_cpus(void)
{
    cpu_set_t cpus;
    if (sched_getaffinity(0, sizeof cpus, &cpus)) return 1;
    return CPU_COUNT(&cpus) > 0 ? CPU_COUNT(&cpus) : 1;
}

/* Output that could not be written must not look like success. */
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
