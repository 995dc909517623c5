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

void complaints_init(struct complaints *complaints)
{
    *complaints = (struct complaints){0};
    pthread_mutex_init(&complaints->lock, NULL);
}

void complaints_add(struct complaints *complaints, const char *name, const char *reason, const char *then)
{
    pthread_mutex_lock(&complaints->lock);
    bool said = complaints->said < COMPLAINTS_SAID;
    complaints->said += said;
    bool last = said && complaints->said == COMPLAINTS_SAID;
    if (said)
        say_warning("%s: %s; %s%s", name, reason, then, last ? ". Further ones are counted" : "");
    else
        count(complaints, name, reason);
    pthread_mutex_unlock(&complaints->lock);
}

void complaints_say_rest(struct complaints *complaints)
{
    char text[4096];
    pthread_mutex_lock(&complaints->lock);
    left_out_print(&complaints->rest, text, sizeof text);
    pthread_mutex_unlock(&complaints->lock);
    if (text[0]) say_warning("further pictures that could not be read: %s", text);
}
