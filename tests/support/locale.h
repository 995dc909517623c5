/*
 * A locale with a decimal comma, as made by the build (tests/meson.build) where localedef and its sources are
 * there, or the system's.
 */
#ifndef TESTS_LOCALE_H
#define TESTS_LOCALE_H

#include <locale.h>
#include <stdbool.h>

/* Sets it; false where there is none. setlocale(LC_ALL, "C") ends it. */
bool begin_comma_locale(void);

#endif
