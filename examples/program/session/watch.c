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
    if (count < WATCH_LEAST || parts != watch->parts) return NAN;
    for (size_t i = 0; i < count; i++) sum += watch->losses[i];
    double mean = sum / (double)count;
    for (size_t i = 0; i < count; i++) squares += (watch->losses[i] - mean) * (watch->losses[i] - mean);
    double deviation = fmax(sqrt(squares / (double)(count - 1)), 0.01 * fabs(mean));
    return deviation > 0 ? (loss - mean) / deviation : NAN;
}

bool watch_skips(const struct watch *watch, double score)
{
    return watch->skip_from > 0 && score >= watch->skip_from && watch->skips < WATCH_MOST_SKIPS;
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

const char *watch_collapse(struct watch *watch, const cribo_report *report, double uniform)
{
    static const char *const what[WATCH_SIGNS] = {
        "the [CLS] loss is that of uniform predictions (ln P)",
        "few of the object prototypes are in use",
    };
    const bool seen[WATCH_SIGNS] = {
        fabs(report->global_loss - uniform) < 0.005 * uniform,
        report->prototypes_used < 0.05,
    };
    const char *said = NULL;
    for (int sign = 0; sign < WATCH_SIGNS; sign++) {
        watch->signs[sign] = seen[sign] ? watch->signs[sign] + 1 : 0;
        if (watch->signs[sign] == WATCH_PATIENCE) said = what[sign];
    }
    return said;
}

/* Hexadecimal numbers have all bits. */
void watch_print(const struct watch *watch, char text[WATCH_TEXT])
{
    size_t count = watch->count < WATCH_WINDOW ? (size_t)watch->count : WATCH_WINDOW;
    int length =
        snprintf(text, WATCH_TEXT, "%a %lld %lld %llu %d %d", watch->skip_from, (long long)watch->signs[0],
            (long long)watch->signs[1], (unsigned long long)watch->count, watch->parts, watch->skips);
    for (size_t i = 0; i < count; i++)
        length += snprintf(text + length, (size_t)(WATCH_TEXT - length), " %a", watch->losses[i]);
}

bool watch_parse(struct watch *watch, const char *text)
{
    unsigned long long count;
    long long signs[WATCH_SIGNS];
    int used;
    *watch = (struct watch){0};
    if (sscanf(text, "%la %lld %lld %llu %d %d%n", &watch->skip_from, &signs[0], &signs[1], &count,
            &watch->parts, &watch->skips, &used) != 6)
        return false;
    for (int sign = 0; sign < WATCH_SIGNS; sign++) watch->signs[sign] = signs[sign];
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
