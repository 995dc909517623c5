/* See watch.h. */
#include "session/watch.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

double watch_score(const struct watch *watch, double loss, int parts)
{
    size_t count = watch->count < WATCH_WINDOW ? (size_t)watch->count : WATCH_WINDOW;
    double sum = 0, squares = 0;
    if (count < WATCH_MIN || parts != watch->parts) return NAN;
    for (size_t i = 0; i < count; i++) sum += watch->losses[i];
    double mean = sum / (double)count;
    for (size_t i = 0; i < count; i++) squares += (watch->losses[i] - mean) * (watch->losses[i] - mean);
    double deviation = fmax(sqrt(squares / (double)(count - 1)), 0.01 * fabs(mean));
    return deviation > 0 ? (loss - mean) / deviation : NAN;
}

bool watch_skips(const struct watch *watch, double score)
{
    return watch->skip_from > 0 && score >= watch->skip_from && watch->skips < WATCH_MAX_SKIPS;
}

bool watch_warns(const struct watch *watch, double score)
{
    return score >= (watch->skip_from > 0 ? watch->skip_from : WATCH_SPIKE);
}

void watch_note(struct watch *watch, double loss, int parts, bool skipped)
{
    watch->skips = skipped ? watch->skips + 1 : 0;
    if (skipped) return;
    if (parts != watch->parts) watch->count = 0;
    watch->parts = parts;
    watch->losses[watch->count++ % WATCH_WINDOW] = loss;
}

bool watch_objects_collapse(struct watch *watch, const cribo_report *report)
{
    watch->unused = report->prototypes_used < 0.05 ? watch->unused + 1 : 0;
    return watch->unused == WATCH_PATIENCE;
}

/* Hexadecimal numbers have all bits. The 0 was another sign's count in earlier versions. */
void watch_print(const struct watch *watch, char text[WATCH_TEXT])
{
    size_t count = watch->count < WATCH_WINDOW ? (size_t)watch->count : WATCH_WINDOW;
    int length = snprintf(text, WATCH_TEXT, "%a 0 %lld %llu %d %d", watch->skip_from,
        (long long)watch->unused, (unsigned long long)watch->count, watch->parts, watch->skips);
    for (size_t i = 0; i < count; i++)
        length += snprintf(text + length, (size_t)(WATCH_TEXT - length), " %a", watch->losses[i]);
}

bool watch_parse(struct watch *watch, const char *text)
{
    unsigned long long count;
    long long earlier, unused;
    int used;
    *watch = (struct watch){0};
    if (sscanf(text, "%la %lld %lld %llu %d %d%n", &watch->skip_from, &earlier, &unused, &count,
            &watch->parts, &watch->skips, &used) != 6)
        return false;
    watch->unused = unused;
    watch->count = count;
    text += used;
    for (size_t i = 0; i < WATCH_WINDOW && i < count; i++) {
        char *end;
        watch->losses[i] = strtod(text, &end);
        if (end == text || !isfinite(watch->losses[i])) return false;
        text = end;
    }
    return *text == '\0';
}

bool stall_note(struct stall *stall, double waited, double spent, double *share)
{
    stall->waited += waited;
    stall->spent += spent;
    if (stall->spent < STALL_SECONDS) return false;
    *share = stall->waited / stall->spent;
    bool stalled = *share >= STALL_SHARE, news = stalled && !stall->said;
    *stall = (struct stall){.said = stalled};
    return news;
}
