/* The beginning of a call of several ranks. See meeting.h. */
#include "communication/meeting.h"

#include "base/digest.h"

#include <stdio.h>
#include <string.h>

#define MOST_SETTINGS 256 /* of a table */

/* A setting's value as a number that can be compared; 0 and -0 are the same value. */
static uint64_t bits_of(const cb_field *field, const void *config)
{
    double value = cb_config_get(field, config) + 0.0;
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* The same as a caller gives it: a choice by its name. */
static void print_value(const cb_field *field, uint64_t bits, char text[CB_NUMBER_BYTES])
{
    double value;
    memcpy(&value, &bits, sizeof value);
    if (field->choices && value >= 0 && value <= field->setting.maximum)
        snprintf(text, CB_NUMBER_BYTES, "%s", field->choices[(size_t)value]);
    else
        snprintf(text, CB_NUMBER_BYTES, "%.10g", value);
}

/* Of names and values. */
static uint64_t digest_of(const cb_meeting *meeting)
{
    uint64_t digest = 0;
    for (size_t i = 0; i < meeting->settings->count; i++) {
        const cb_field *field = &meeting->settings->fields[i];
        uint64_t value = bits_of(field, meeting->config);
        digest = cb_digest(digest, field->setting.name, strlen(field->setting.name));
        digest = cb_digest(digest, &value, sizeof value);
    }
    return digest;
}

/* After the digests have shown a difference. */
static cribo_status find_setting(cb_ranks *ranks, const cb_meeting *meeting)
{
    uint64_t own[MOST_SETTINGS] = {0}, first[MOST_SETTINGS];
    char ours[CB_NUMBER_BYTES], theirs[CB_NUMBER_BYTES];
    size_t count = cb_min(meeting->settings->count, MOST_SETTINGS);
    cb_difference found;
    for (size_t i = 0; i < count; i++) own[i] = bits_of(&meeting->settings->fields[i], meeting->config);
    CB_TRY(cb_ranks_compare(ranks, "settings", own, first, count, &found));
    CB_REQUIRE(
        found.index < count, "the ranks' libraries have different settings: all have the same version");
    const cb_field *field = &meeting->settings->fields[found.index];
    print_value(field, first[found.index], ours);
    print_value(field, found.value, theirs);
    return cb_fail(CRIBO_INVALID_ARGUMENT,
        "%s = %s on rank 0, but %s on rank %zu: all ranks have the same settings", field->setting.name, ours,
        theirs, found.rank);
}

cribo_status cb_ranks_meet(cb_ranks *ranks, const cb_meeting *meeting, cribo_status status)
{
    bool same;
    if (!ranks) return status;
    uint64_t digest = status == CRIBO_OK ? digest_of(meeting) : 0;
    CB_TRY(cb_ranks_begin(ranks, meeting->call, status, digest, &same));
    return same ? CRIBO_OK : find_setting(ranks, meeting);
}
