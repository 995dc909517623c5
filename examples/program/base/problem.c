/* See problem.h. */
#include "base/problem.h"

#include <cribo/base.h>

#include <stdarg.h>
#include <stdio.h>

bool problem_set(struct problem *problem, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(problem->text, sizeof problem->text, format, arguments);
    va_end(arguments);
    return false;
}

bool problem_library(struct problem *problem)
{
    return problem_set(problem, "%s", cribo_last_error());
}

bool problem_no_memory(struct problem *problem)
{
    return problem_set(problem, "not enough memory");
}
