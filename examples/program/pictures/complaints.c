/* See complaints.h. */
#include "pictures/complaints.h"

#include "base/say.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* The reason up to its first number, so that those that differ by numbers only count together. */
static void count(struct complaints *complaints, const char *name, const char *reason)
{
    char kind[80];
    int length = (int)strcspn(reason, "0123456789");
    while (length > 0 && strchr(" :(", reason[length - 1])) length--;
    if (length == 0) length = (int)strlen(reason);
    snprintf(kind, sizeof kind, "%.*s", length, reason);
    left_out_add(&complaints->rest, name, kind);
}

void complaints_add(struct complaints *complaints, const char *name, const char *reason, const char *then)
{
    if (complaints->said == COMPLAINTS_SAID) {
        count(complaints, name, reason);
        return;
    }
    bool last = ++complaints->said == COMPLAINTS_SAID;
    say_warning("%s: %s; %s%s", name, reason, then, last ? ". Further ones are counted" : "");
}

void complaints_say_rest(const struct complaints *complaints)
{
    char text[4096];
    left_out_print(&complaints->rest, text, sizeof text);
    if (text[0]) say_warning("further pictures that could not be read: %s", text);
}
