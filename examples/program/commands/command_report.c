/* cribo report: see report.h. */
#include "commands/command.h"
#include "pictures/folder.h"
#include "drawing/report.h"
#include "base/say.h"

#include <stdlib.h>
#include <string.h>

struct parsing {
    const char *run, *out;
};

static const struct argp_option table[] = {
    {"output", 'o', "FILE", 0, "File to write the page to; default RUN/report.html", 0},
    {"quiet", 'q', NULL, 0, "Print warnings and errors only", 0},
    {0},
};

static error_t parse(int key, char *value, struct argp_state *state)
{
    struct parsing *parsing = state->input;
    switch (key) {
    case 'o': parsing->out = value; return 0;
    case 'q': say_quiet(true); return 0;
    case ARGP_KEY_ARG:
        if (parsing->run) argp_error(state, "unexpected argument '%s': one run at a time", value);
        parsing->run = value;
        return 0;
    case ARGP_KEY_END:
        if (!parsing->run) argp_error(state, "no run; name its folder");
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

int command_report(int count, char **arguments)
{
    static const struct argp argp = {.options = table,
        .parser = parse,
        .args_doc = "RUN",
        .doc = "Writes one page of HTML that describes the run in the folder RUN, finished or not: losses, "
               "retrieval results, the objects found over time, signs of collapse, schedules, time. The page "
               "needs no other file and no network.\vThe page shows retrieval results and pictures over time "
               "if the run was started with --evaluate or --evaluate-epochs."};
    struct parsing parsing = {0};
    struct problem problem;
    say_name("cribo report");
    if (argp_parse(&argp, count, arguments, 0, NULL, &parsing)) return 1;
    char *named = parsing.out ? NULL : path_join(parsing.run, "report.html");
    const char *out = parsing.out ? parsing.out : named;
    bool written = out ? report_write(parsing.run, out, &problem) : problem_no_memory(&problem);
    if (written && strcmp(out, "-")) say_note("%s", out);
    if (!written) say_error("%s", problem.text);
    free(named);
    return written ? 0 : 1;
}
