/*
 * Settings tables: one table per config struct (name, place, type, range, default, help) drives its
 * initialisation, its check, assignment by name, the program's command line and a checkpoint's metadata.
 *
 * A config struct begins with `size_t struct_size`; all further fields are int64_t or double, so there is no
 * padding, and structs only grow at the end.
 */
#ifndef CB_BASE_CONFIG_H
#define CB_BASE_CONFIG_H

#include "base/status.h"

typedef struct cb_field {
    cribo_setting setting;
    size_t offset;
    const char *const *choices; /* names of the values 0, 1, ...; NULL: the setting is a number */
} cb_field;

#define CB_INTEGER(type, field, minimum, maximum, initial, help) \
    {{#field, help, 1, minimum, maximum, initial}, offsetof(type, field), NULL}
#define CB_REAL(type, field, minimum, maximum, initial, help) \
    {{#field, help, 0, minimum, maximum, initial}, offsetof(type, field), NULL}

/* One of several, numbered from 0 by the constants of the public header. */
#define CB_CHOICE(type, field, names, initial, help) \
    {{#field, help, 1, 0, sizeof(names) / sizeof(names)[0] - 1, initial}, offsetof(type, field), names}

typedef struct cb_config_table {
    const char *type;  /* the struct's name, for messages */
    size_t size;       /* of the struct as this library knows it */
    size_t first_size; /* of the struct in the first release: no caller has a smaller one */
    const cb_field *fields;
    size_t count;
} cb_config_table;

#define CB_CONFIG_TABLE(type, fields) \
    {#type, sizeof(type), sizeof(type), fields, sizeof(fields) / sizeof(fields)[0]}

/*
 * CB_CONFIG_TABLE of a struct that has grown: `first_added` is the first field that the first release lacked.
 */
#define CB_CONFIG_TABLE_GROWN(type, fields, first_added) \
    {#type, sizeof(type), offsetof(type, first_added), fields, sizeof(fields) / sizeof(fields)[0]}

/* Sets the defaults in the first `struct_size` bytes. */
cribo_status cb_config_init(const cb_config_table *table, void *config, size_t struct_size);

/* Copies a caller's config, older or newer, into a full one of this library, and checks every range. */
cribo_status cb_config_import(const cb_config_table *table, void *full, const void *config);

/* Assigns by name from text; a choice by its own name or its number. */
cribo_status cb_config_set(const cb_config_table *table, void *config, const char *name, const char *value);

/* All settings of a full config into a caller's, older or newer; one setting by its name. */
cribo_status cb_config_export(const cb_config_table *table, const void *full, void *config);
cribo_status cb_config_read(const cb_config_table *table, const void *full, const char *name, double *value);

/*
 * Which settings of a handle can change while it lives: a list of groups that ends with one without names,
 * for all other settings.
 */
typedef struct cb_setting_group {
    const char *names; /* separated by commas; NULL: all others */
    const char *fixed; /* why they cannot change; NULL: they can */
} cb_setting_group;

/* Changes one setting of a full config; it is unchanged where the value or the change is refused. */
cribo_status cb_config_change(
    const cb_config_table *table, const cb_setting_group *groups, void *full, const char *name, double value);

/* Setting number `index` into *out; CRIBO_INVALID_ARGUMENT past the last. */
cribo_status cb_config_setting(const cb_config_table *table, size_t index, cribo_setting *out);

/* Copies each setting of `part` from the setting with the same name in `whole`, if there is one. */
void cb_config_project(
    const cb_config_table *part_table, void *part, const cb_config_table *whole_table, const void *whole);

/* The field with this name, or NULL. */
const cb_field *cb_config_find(const cb_config_table *table, const char *name);

/* A field's value, integers converted. */
double cb_config_get(const cb_field *field, const void *config);
void cb_config_put(const cb_field *field, void *config, double value);

/* A field's value as text that cb_config_set reads back exactly, with a decimal point in every locale. */
#define CB_NUMBER_BYTES 32
void cb_config_text(const cb_field *field, const void *config, char text[CB_NUMBER_BYTES]);

/*
 * Defines the public functions of a config struct, cribo_NOUN_config_init, _set and _setting, in its api
 * file.
 */
#define CB_CONFIG_FUNCTIONS(noun, table) \
    cribo_status cribo_##noun##_config_init(cribo_##noun##_config *config, size_t struct_size) \
    { \
        return cb_config_init(table, config, struct_size); \
    } \
    cribo_status cribo_##noun##_config_set( \
        cribo_##noun##_config *config, const char *name, const char *value) \
    { \
        return cb_config_set(table, config, name, value); \
    } \
    cribo_status cribo_##noun##_config_setting(size_t index, cribo_setting *setting) \
    { \
        return cb_config_setting(table, index, setting); \
    }

#endif
