/* A locale with a decimal comma. See locale.h. */
#define _POSIX_C_SOURCE 200809L
#include "support/locale.h"

#include <check.h>
#include <stdlib.h>
#include <unistd.h>

static bool has_comma(const char *name)
{
    return setlocale(LC_ALL, name) != NULL && localeconv()->decimal_point[0] == ',';
}

bool begin_comma_locale(void)
{
    static const char *const names[] = {"de_DE.UTF-8", "fr_FR.UTF-8", "nl_NL.UTF-8", "de_DE", "fr_FR"};
    setenv("LOCPATH", CRIBO_LOCALES, 1);
    bool found = has_comma(names[0]);
    ck_assert(
        found || access(CRIBO_LOCALES "/de_DE.UTF-8/LC_NUMERIC", R_OK) != 0); /* if it was made, it works */
    unsetenv("LOCPATH");
    for (size_t i = 0; !found && i < sizeof names / sizeof names[0]; i++) found = has_comma(names[i]);
    return found;
}
