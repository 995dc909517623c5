/*
 * Settings tables: each agrees with its struct in the public header; and the functions that use them.
 */
#include "base/config.h"
#include "clustering/clusterer.h"
#include "cribo/cribo.h"
#include "distillation/loss.h"
#include "distillation/memory_bank.h"
#include "evaluation/probe.h"
#include "model/model.h"
#include "objective/settings.h"
#include "training/settings.h"
#include "support/locale.h"
#include "support/suite.h"

#include <check.h>
#include <ctype.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

typedef cribo_status setting_function(size_t index, cribo_setting *setting);

/* Every public config struct. */
static const struct described {
    const char *header;
    const cb_config_table *table;
    setting_function *setting;
} described[] = {
    {"clusterer.h", &cb_clusterer_settings, cribo_clusterer_config_setting},
    {"evaluation.h", &cb_probe_settings, cribo_probe_config_setting},
    {"loss.h", &cb_loss_settings, cribo_loss_config_setting},
    {"memory_bank.h", &cb_memory_bank_settings, cribo_memory_bank_config_setting},
    {"model.h", &cb_model_settings, cribo_model_config_setting},
    {"objective.h", &cb_objective_settings, cribo_objective_config_setting},
    {"trainer.h", &cb_trainer_settings, cribo_trainer_config_setting},
};
#define STRUCTS (sizeof described / sizeof described[0])

static char *header_text(const char *name)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/include/cribo/%s", CRIBO_SOURCE, name);
    FILE *file = fopen(path, "rb");
    ck_assert_msg(file != NULL, "cannot open %s", path);
    char *text = calloc(1, 1 << 20);
    ck_assert_uint_gt(fread(text, 1, (1 << 20) - 1, file), 0);
    fclose(file);
    return text;
}

/*
 * The next field declared in a struct's text: its name and whether it is whole. False at the closing brace.
 */
static bool next_field(char **text, char name[64], bool *integer)
{
    for (;; (*text)++) {
        char *line = *text = *text + strspn(*text, " \n");
        if (*line == '}') return false;
        *text = strchr(line, '\n');
        if (strncmp(line, "/*", 2) == 0) *text = strstr(line, "*/") + 2;
        if (sscanf(line, "int64_t %63[a-z0-9_];", name) == 1) return *integer = true;
        if (sscanf(line, "double %63[a-z0-9_];", name) == 1) return *integer = false, true;
    }
}

START_TEST(test_config_table_equals_the_struct_in_its_header)
{
    const cb_config_table *table = described[_i].table;
    char opening[128], name[64], *text = header_text(described[_i].header);
    snprintf(opening, sizeof opening, "typedef struct %s {\n    size_t struct_size;", table->type);
    char *place = strstr(text, opening);
    ck_assert_msg(place != NULL, "%s is not in %s", table->type, described[_i].header);
    place += strlen(opening);

    bool integer;
    size_t fields = 0, offset = sizeof(size_t);
    for (; next_field(&place, name, &integer); fields++, offset += 8) {
        size_t found = 0;
        for (size_t i = 0; i < table->count; i++) {
            const cb_field *field = &table->fields[i];
            if (strcmp(field->setting.name, name) != 0) continue;
            found++;
            ck_assert_msg(field->offset == offset, "%s: %s is at %zu", table->type, name, field->offset);
            ck_assert_msg(field->setting.integer == integer, "%s: the type of %s", table->type, name);
        }
        ck_assert_msg(found == 1, "%s: %s is %zu times in the table", table->type, name, found);
    }
    ck_assert_uint_gt(fields, 0);
    ck_assert_uint_eq(fields, table->count);
    ck_assert_uint_eq(table->size, offset); /* no padding and no missing field */
    ck_assert_uint_le(table->first_size, table->size);
    free(text);
}
END_TEST

START_TEST(test_config_settings_are_complete_and_defaults_in_range)
{
    const cb_config_table *table = described[_i].table;
    cribo_setting setting;
    size_t index = 0;
    while (described[_i].setting(index, &setting) == CRIBO_OK) {
        ck_assert_str_eq(setting.name, table->fields[index].setting.name);
        ck_assert_msg(
            setting.help && strlen(setting.help) > 3, "%s: %s has no help", table->type, setting.name);
        ck_assert_msg(setting.minimum <= setting.initial && setting.initial <= setting.maximum,
            "%s: default of %s", table->type, setting.name);
        index++;
    }
    ck_assert_uint_eq(index, table->count);
    ck_assert_int_eq(described[_i].setting(index, &setting), CRIBO_INVALID_ARGUMENT);
    ck_assert_int_eq(described[_i].setting(SIZE_MAX, &setting), CRIBO_INVALID_ARGUMENT);
    ck_assert_int_eq(described[_i].setting(0, NULL), CRIBO_INVALID_ARGUMENT);
}
END_TEST

/*
 * Lists of settings are sorted by name, so a description must not continue the one before.
 */
static bool stands_alone(const char *help)
{
    static const char *const openings[] = {"and", "nor", "the same", "those", "at", "the", "of"};
    for (size_t i = 0; i < sizeof openings / sizeof openings[0]; i++) {
        size_t length = strlen(openings[i]);
        if (strncasecmp(help, openings[i], length) == 0 && !isalnum((unsigned char)help[length]))
            return false;
    }
    return true;
}

START_TEST(test_config_descriptions_stand_alone)
{
    const cb_config_table *table = described[_i].table;
    ck_assert(!stands_alone("and in the last epoch") && !stands_alone("The same in steps"));
    ck_assert(!stands_alone("of every random choice") && stands_alone("attention heads"));
    for (size_t i = 0; i < table->count; i++) {
        const cribo_setting *setting = &table->fields[i].setting;
        ck_assert_msg(stands_alone(setting->help), "%s: %s: \"%s\" does not stand alone", table->type,
            setting->name, setting->help);
    }
}
END_TEST

START_TEST(test_config_choices_have_the_names_that_set_accepts)
{
    const cb_config_table *table = described[_i].table;
    for (size_t i = 0; i < table->count; i++) {
        const cb_field *field = &table->fields[i];
        const char *name = field->setting.name;
        int64_t count = field->choices ? (int64_t)field->setting.maximum + 1 : 0;
        for (int64_t value = 0; value < count; value++)
            ck_assert_str_eq(cribo_setting_choice(name, value), field->choices[value]);
        ck_assert_ptr_null(cribo_setting_choice(name, count));
        ck_assert_ptr_null(cribo_setting_choice(name, -1));
    }
    ck_assert_str_eq(cribo_setting_choice("precision", CRIBO_BF16), "bf16");
    ck_assert_ptr_null(cribo_setting_choice("precisions", 0));
    ck_assert_ptr_null(cribo_setting_choice(NULL, 0));
}
END_TEST

START_TEST(test_config_defaults_are_accepted)
{
    const cb_config_table *table = described[_i].table;
    double config[512], full[512];
    ck_assert_int_eq(cb_config_init(table, config, table->size), CRIBO_OK);
    ck_assert_int_eq(cb_config_import(table, full, config), CRIBO_OK);
    ck_assert(memcmp(full, config, table->size) == 0);
}
END_TEST

/* A struct that has grown: its first release ended with `width`. */
typedef struct grown {
    size_t struct_size;
    int64_t width;
    double rate;
    int64_t depth;
} grown;

static const cb_field grown_fields[] = {
    CB_INTEGER(grown, width, 1, 100, 7, "a width"),
    CB_REAL(grown, rate, 0, 10, 0.5, "a rate"),
    CB_INTEGER(grown, depth, -5, 5, 2, "a depth"),
};
static const cb_config_table grown_table = {"grown", sizeof(grown), offsetof(grown, rate), grown_fields, 3};

/* A caller with a newer header: a field that this library does not have. */
typedef struct future {
    grown known;
    int64_t later;
} future;

static void assert_refused(cribo_status status, const char *part)
{
    ck_assert_int_eq(status, CRIBO_INVALID_ARGUMENT);
    ck_assert_msg(
        strstr(cribo_last_error(), part) != NULL, "\"%s\" does not tell of \"%s\"", cribo_last_error(), part);
}

START_TEST(test_config_init_sets_what_the_caller_has_and_no_more)
{
    future config;
    memset(&config, 0x55, sizeof config);
    ck_assert_int_eq(cb_config_init(&grown_table, &config, offsetof(grown, rate)), CRIBO_OK);
    ck_assert_uint_eq(config.known.struct_size, offsetof(grown, rate));
    ck_assert_int_eq(config.known.width, 7);
    ck_assert_int_eq(config.known.depth, 0x5555555555555555);

    ck_assert_int_eq(cb_config_init(&grown_table, &config, sizeof config), CRIBO_OK);
    ck_assert_uint_eq(config.known.struct_size, sizeof config);
    ck_assert(config.known.rate == 0.5 && config.known.depth == 2 && config.later == 0);

    assert_refused(cb_config_init(&grown_table, NULL, sizeof config), "config is NULL");
    assert_refused(cb_config_init(&grown_table, &config, 0), "struct_size = 0");
    assert_refused(cb_config_init(&grown_table, &config, 8), "struct_size = 8");
    assert_refused(cb_config_init(&grown_table, &config, sizeof config - 1), "struct_size");
    assert_refused(cb_config_init(&grown_table, &config, SIZE_MAX), "struct_size");
}
END_TEST

START_TEST(test_config_import_older_caller_gets_defaults)
{
    grown config, full;
    memset(&config, 0x55, sizeof config);
    ck_assert_int_eq(cb_config_init(&grown_table, &config, offsetof(grown, rate)), CRIBO_OK);
    config.width = 9;
    ck_assert_int_eq(cb_config_import(&grown_table, &full, &config), CRIBO_OK);
    ck_assert(full.struct_size == sizeof full && full.width == 9 && full.rate == 0.5 && full.depth == 2);
}
END_TEST

START_TEST(test_config_import_newer_caller_must_leave_the_unknown_zero)
{
    future config;
    grown full;
    ck_assert_int_eq(cb_config_init(&grown_table, &config, sizeof config), CRIBO_OK);
    config.known.depth = -3;
    ck_assert_int_eq(cb_config_import(&grown_table, &full, &config), CRIBO_OK);
    ck_assert(full.struct_size == sizeof full && full.depth == -3);
    config.later = 1;
    assert_refused(cb_config_import(&grown_table, &full, &config), "byte 32");
}
END_TEST

START_TEST(test_config_import_out_of_range_is_refused)
{
    grown config, full;
    ck_assert_int_eq(cb_config_init(&grown_table, &config, sizeof config), CRIBO_OK);
    config.width = 101;
    assert_refused(cb_config_import(&grown_table, &full, &config), "width = 101 must be in 1 ... 100");
    config.width = INT64_MIN;
    assert_refused(cb_config_import(&grown_table, &full, &config), "width");
    config.width = 100;
    config.rate = NAN;
    assert_refused(cb_config_import(&grown_table, &full, &config), "rate = nan");
    config.rate = -0.001;
    assert_refused(cb_config_import(&grown_table, &full, &config), "rate = -0.001");
    config.rate = 10;
    ck_assert_int_eq(cb_config_import(&grown_table, &full, &config), CRIBO_OK);
    assert_refused(cb_config_import(&grown_table, &full, NULL), "config is NULL");
    config.struct_size = 0; /* never initialised */
    assert_refused(cb_config_import(&grown_table, &full, &config), "struct_size = 0");
}
END_TEST

START_TEST(test_config_set_assigns_by_name)
{
    grown config;
    ck_assert_int_eq(cb_config_init(&grown_table, &config, sizeof config), CRIBO_OK);
    ck_assert_int_eq(cb_config_set(&grown_table, &config, "width", "42"), CRIBO_OK);
    ck_assert_int_eq(cb_config_set(&grown_table, &config, "rate", "2.5e-1"), CRIBO_OK);
    ck_assert_int_eq(cb_config_set(&grown_table, &config, "depth", "-5"), CRIBO_OK);
    ck_assert(config.width == 42 && config.rate == 0.25 && config.depth == -5);
    ck_assert_int_eq(cb_config_set(&grown_table, &config, "width", "1e2"), CRIBO_OK);
    ck_assert_int_eq(config.width, 100);
}
END_TEST

START_TEST(test_config_set_bad_text_is_refused_and_changes_nothing)
{
    static const struct {
        const char *name, *value, *part;
    } bad[] = {{"height", "1", "no setting named \"height\""}, {"", "1", "no setting"},
        {"width", "", "not a number"}, {"width", "three", "not a number"}, {"width", "3x", "not a number"},
        {"width", "3 4", "not a number"}, {"width", "3.5", "whole number"},
        {"width", "0", "must be in 1 ... 100"}, {"width", "1e99", "must be in"},
        {"rate", "0,5", "not a number"}, {"rate", "nan", "must be in"}, {"rate", "inf", "must be in"},
        {"width", "nan", "width"}};
    grown config, before;
    ck_assert_int_eq(cb_config_init(&grown_table, &config, sizeof config), CRIBO_OK);
    before = config;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_refused(cb_config_set(&grown_table, &config, bad[i].name, bad[i].value), bad[i].part);
    assert_refused(cb_config_set(&grown_table, &config, NULL, "1"), "name is NULL");
    assert_refused(cb_config_set(&grown_table, &config, "width", NULL), "value is NULL");
    assert_refused(cb_config_set(&grown_table, NULL, "width", "1"), "config is NULL");
    ck_assert(memcmp(&config, &before, sizeof config) == 0);

    ck_assert_int_eq(cb_config_init(&grown_table, &config, offsetof(grown, rate)), CRIBO_OK);
    assert_refused(cb_config_set(&grown_table, &config, "depth", "1"),
        "no setting named \"depth\""); /* beyond its end */
}
END_TEST

START_TEST(test_config_set_ignores_the_locale)
{
    grown config;
    bool comma = begin_comma_locale();
    ck_assert_int_eq(cb_config_init(&grown_table, &config, sizeof config), CRIBO_OK);
    ck_assert_int_eq(cb_config_set(&grown_table, &config, "rate", "1.25"), CRIBO_OK);
    ck_assert(config.rate == 1.25);
    assert_refused(cb_config_set(&grown_table, &config, "rate", "1,25"), "not a number");
    if (comma) ck_assert_int_eq(localeconv()->decimal_point[0], ','); /* and it stayed */
    setlocale(LC_ALL, "C");
}
END_TEST

START_TEST(test_config_project_copies_settings_of_the_same_name)
{
    typedef struct part {
        size_t struct_size;
        double rate;
        int64_t other;
    } part;
    static const cb_field fields[] = {
        CB_REAL(part, rate, 0, 1, 0.1, "a rate"), CB_INTEGER(part, other, 0, 9, 3, "not in the whole")};
    static const cb_config_table table = CB_CONFIG_TABLE(part, fields);
    grown whole;
    part to;
    ck_assert_int_eq(cb_config_init(&grown_table, &whole, sizeof whole), CRIBO_OK);
    ck_assert_int_eq(cb_config_init(&table, &to, sizeof to), CRIBO_OK);
    whole.rate = 0.75;
    cb_config_project(&table, &to, &grown_table, &whole);
    ck_assert(to.rate == 0.75 && to.other == 3 && to.struct_size == sizeof to);
}
END_TEST

START_TEST(test_config_get_and_put_convert)
{
    grown config = {sizeof config, 5, 1.5, -4};
    ck_assert(cb_config_get(cb_config_find(&grown_table, "depth"), &config) == -4);
    ck_assert(cb_config_get(cb_config_find(&grown_table, "rate"), &config) == 1.5);
    cb_config_put(cb_config_find(&grown_table, "width"), &config, 12);
    cb_config_put(cb_config_find(&grown_table, "rate"), &config, 0.125);
    ck_assert(config.width == 12 && config.rate == 0.125 && config.depth == -4);
    ck_assert_ptr_null(cb_config_find(&grown_table, "wid"));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("config");
    TCase *group = tcase_create("config");
    tcase_add_loop_test(group, test_config_table_equals_the_struct_in_its_header, 0, STRUCTS);
    tcase_add_loop_test(group, test_config_settings_are_complete_and_defaults_in_range, 0, STRUCTS);
    tcase_add_loop_test(group, test_config_descriptions_stand_alone, 0, STRUCTS);
    tcase_add_loop_test(group, test_config_choices_have_the_names_that_set_accepts, 0, STRUCTS);
    tcase_add_loop_test(group, test_config_defaults_are_accepted, 0, STRUCTS);
    tcase_add_test(group, test_config_init_sets_what_the_caller_has_and_no_more);
    tcase_add_test(group, test_config_import_older_caller_gets_defaults);
    tcase_add_test(group, test_config_import_newer_caller_must_leave_the_unknown_zero);
    tcase_add_test(group, test_config_import_out_of_range_is_refused);
    tcase_add_test(group, test_config_set_assigns_by_name);
    tcase_add_test(group, test_config_set_bad_text_is_refused_and_changes_nothing);
    tcase_add_test(group, test_config_set_ignores_the_locale);
    tcase_add_test(group, test_config_project_copies_settings_of_the_same_name);
    tcase_add_test(group, test_config_get_and_put_convert);
    suite_add_tcase(suite, group);
    return run_suite(suite);
}
