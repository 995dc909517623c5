/* Settings tables. See config.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* newlocale, strtod_l */
#endif
#include "base/config.h"

#include "base/structs.h"
#include "base/text.h"

#include <locale.h>
#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static size_t struct_size_of(const void *config)
{
    size_t size;
    memcpy(&size, config, sizeof size);
    return size;
}

double cb_config_get(const cb_field *field, const void *config)
{
    const char *place = (const char *)config + field->offset;
    if (field->setting.integer) {
        int64_t value;
        memcpy(&value, place, sizeof value);
        return (double)value;
    }
    double value;
    memcpy(&value, place, sizeof value);
    return value;
}

void cb_config_put(const cb_field *field, void *config, double value)
{
    char *place = (char *)config + field->offset;
    int64_t integer =
        field->setting.integer ? (int64_t)value : 0; /* a real number may not fit into an integer */
    memcpy(place, field->setting.integer ? (void *)&integer : (void *)&value, 8);
}

static cribo_status check_size(const cb_config_table *table, const void *config, size_t struct_size)
{
    CB_REQUIRE(config, "config is NULL (a %s)", table->type);
    return cb_check_size("config", struct_size, table->first_size, table->size);
}

cribo_status cb_config_init(const cb_config_table *table, void *config, size_t struct_size)
{
    CB_TRY(check_size(table, config, struct_size));
    memset(config, 0, struct_size);
    memcpy(config, &struct_size, sizeof struct_size);
    for (size_t i = 0; i < table->count; i++)
        if (table->fields[i].offset + 8 <= struct_size)
            cb_config_put(&table->fields[i], config, table->fields[i].setting.initial);
    return CRIBO_OK;
}

static cribo_status check_value(const cb_field *field, double value)
{
    const cribo_setting *s = &field->setting;
    CB_REQUIRE(value >= s->minimum && value <= s->maximum, "%s = %.10g must be in %.10g ... %.10g", s->name,
        value, s->minimum, s->maximum); /* NaN fails too */
    return CRIBO_OK;
}

cribo_status cb_config_import(const cb_config_table *table, void *full, const void *config)
{
    CB_REQUIRE(config, "config is NULL (a %s)", table->type);
    CB_TRY(cb_config_init(table, full, table->size));
    CB_TRY(cb_struct_import("config", full, table->first_size, table->size, config));
    for (size_t i = 0; i < table->count; i++)
        CB_TRY(check_value(&table->fields[i], cb_config_get(&table->fields[i], full)));
    return CRIBO_OK;
}

const cb_field *cb_config_find(const cb_config_table *table, const char *name)
{
    for (size_t i = 0; i < table->count; i++)
        if (strcmp(table->fields[i].setting.name, name) == 0) return &table->fields[i];
    return NULL;
}

/* strtod with a decimal point in every locale. */
static double parse_number(const char *text, char **end)
{
    locale_t c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (!c_locale) return strtod(text, end);
    double value = strtod_l(text, end, c_locale);
    freelocale(c_locale);
    return value;
}

void cb_config_text(const cb_field *field, const void *config, char text[CB_NUMBER_BYTES])
{
    double value = cb_config_get(field, config);
    if (field->setting.integer) {
        snprintf(text, CB_NUMBER_BYTES, "%" PRId64, (int64_t)value);
        return;
    }
    locale_t c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    locale_t before = c_locale ? uselocale(c_locale) : (locale_t)0; /* of this thread only */
    snprintf(text, CB_NUMBER_BYTES, "%.17g", value);
    if (!c_locale) return;
    uselocale(before);
    freelocale(c_locale);
}

/* The message lists the choices, as far as they fit. */
static cribo_status refuse_choice(const cb_field *field, const char *text)
{
    char names[256] = "";
    size_t used = 0;
    for (int i = 0; i <= (int)field->setting.maximum && used < sizeof names; i++)
        used += (size_t)snprintf(names + used, sizeof names - used, "%s%s", i ? ", " : "", field->choices[i]);
    return cb_fail(CRIBO_INVALID_ARGUMENT, "%s = \"%s\" must be one of %s", field->setting.name, text, names);
}

/* The number that a text represents. */
static cribo_status parse_value(const cb_field *field, const char *text, double *number)
{
    const cribo_setting *s = &field->setting;
    for (int i = 0; field->choices && i <= (int)s->maximum; i++)
        if (strcmp(text, field->choices[i]) == 0) {
            *number = i;
            return CRIBO_OK;
        }
    char *end;
    *number = parse_number(text, &end);
    bool number_given = end != text && *end == 0;
    if (!number_given && field->choices) return refuse_choice(field, text);
    CB_REQUIRE(number_given, "%s = \"%s\" is not a number", s->name, text);
    CB_REQUIRE(!s->integer || *number == floor(*number), "%s = %s must be a whole number", s->name, text);
    return check_value(field, *number);
}

cribo_status cb_config_set(const cb_config_table *table, void *config, const char *name, const char *value)
{
    CB_REQUIRE_POINTER(name);
    CB_REQUIRE_POINTER(value);
    CB_REQUIRE(config, "config is NULL (a %s)", table->type);
    size_t given = struct_size_of(config);
    CB_TRY(check_size(table, config, given));
    const cb_field *field = cb_config_find(table, name);
    CB_REQUIRE(field && field->offset + 8 <= given, "%s has no setting named \"%s\"", table->type, name);

    double number;
    CB_TRY(parse_value(field, value, &number));
    cb_config_put(field, config, number);
    return CRIBO_OK;
}

/* --- settings of a handle --- */

cribo_status cb_config_export(const cb_config_table *table, const void *full, void *config)
{
    CB_REQUIRE_POINTER(config);
    CB_TRY(check_size(table, config, struct_size_of(config)));
    cb_struct_export(config, full, table->size);
    return CRIBO_OK;
}

static cribo_status find_setting(const cb_config_table *table, const char *name, const cb_field **field)
{
    CB_REQUIRE_POINTER(name);
    *field = cb_config_find(table, name);
    CB_REQUIRE(*field, "%s has no setting named \"%s\"", table->type, name);
    return CRIBO_OK;
}

cribo_status cb_config_read(const cb_config_table *table, const void *full, const char *name, double *value)
{
    const cb_field *field = NULL;
    CB_TRY(find_setting(table, name, &field));
    CB_REQUIRE_POINTER(value);
    *value = cb_config_get(field, full);
    return CRIBO_OK;
}

cribo_status cb_config_change(
    const cb_config_table *table, const cb_setting_group *groups, void *full, const char *name, double value)
{
    const cb_field *field = NULL;
    CB_TRY(find_setting(table, name, &field));
    while (groups->names && !cb_list_has(groups->names, name)) groups++;
    CB_REQUIRE(!groups->fixed, "%s cannot change while the handle lives: %s", name, groups->fixed);
    CB_TRY(check_value(field, value));
    CB_REQUIRE(
        !field->setting.integer || value == floor(value), "%s = %.10g must be a whole number", name, value);
    cb_config_put(field, full, value);
    return CRIBO_OK;
}

cribo_status cb_config_setting(const cb_config_table *table, size_t index, cribo_setting *out)
{
    CB_REQUIRE(out, "setting is NULL");
    CB_REQUIRE(
        index < table->count, "index = %zu, but %s has %zu settings", index, table->type, table->count);
    *out = table->fields[index].setting;
    return CRIBO_OK;
}

void cb_config_project(
    const cb_config_table *part_table, void *part, const cb_config_table *whole_table, const void *whole)
{
    for (size_t i = 0; i < part_table->count; i++) {
        const cb_field *to = &part_table->fields[i], *from = cb_config_find(whole_table, to->setting.name);
        if (from) cb_config_put(to, part, cb_config_get(from, whole));
    }
}
