/* See arguments.h. */
#include "base/arguments.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>

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

double command_positive(struct argp_state *state, const char *option, const char *text)
{
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end || !(value > 0))
        argp_error(state, "--%s=%s: expected a number above 0", option, text);
    return value;
}
