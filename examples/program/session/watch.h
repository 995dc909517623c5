/*
 * Watches a run for spikes of the loss, for signs of collapse of the objects, and for a loader that is too
 * slow. Its state is a function of the steps and is stored as text in checkpoints, so that a resumed run
 * gives the same results as an uninterrupted one.
 */
#ifndef WATCH_H
#define WATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cribo/trainer.h>

enum { WATCH_WINDOW = 64, WATCH_MIN = 32, WATCH_MAX_SKIPS = 5, WATCH_TEXT = 2048 };

/*
 * The default of the score, in standard deviations above the mean of the window, from which a loss is a
 * spike.
 */
#define WATCH_SPIKE 6.0

/* The number of steps that a sign of collapse must last. */
enum { WATCH_PATIENCE = 50 };

struct watch {
    double skip_from;            /* score from which updates are skipped; 0: none are */
    double losses[WATCH_WINDOW]; /* of the newest steps; number t at t % WATCH_WINDOW */
    uint64_t count;              /* of losses since the window began */
    int parts;                   /* which losses they are sums of; other ones begin a new window */
    int skips;                   /* in a row */
    int64_t unused;              /* the number of steps with few object prototypes in use */
};

/*
 * The distance of the loss from the window's mean, in standard deviations of the window (at least a hundredth
 * of the mean); NaN while the window has fewer than WATCH_MIN losses or has other parts.
 */
double watch_score(const struct watch *watch, double loss, int parts);

/* Whether a loss with this score gives a warning. */
bool watch_warns(const struct watch *watch, double score);

/* Whether an update with this score is skipped. Not after WATCH_MAX_SKIPS skips in a row. */
bool watch_skips(const struct watch *watch, double score);

/* Records a loss; a skipped one is not added to the window. */
void watch_note(struct watch *watch, double loss, int parts, bool skipped);

/*
 * The collapse of the objects: less than a twentieth of the object prototypes in use that could be (the
 * library watches the collapse of [CLS]). True once each time that this has lasted for WATCH_PATIENCE steps.
 */
bool watch_objects_collapse(struct watch *watch, const cribo_report *report);

/* The watch as text, exactly, with its terminating zero; and back. False when the text is none of a watch. */
void watch_print(const struct watch *watch, char text[WATCH_TEXT]);
bool watch_parse(struct watch *watch, const char *text);

/* Time spent waiting for batches, over the last minute or so. */
struct stall {
    double waited, spent; /* seconds */
    bool said;
};

enum { STALL_SECONDS = 60 };
#define STALL_SHARE 0.25

/*
 * Adds a step that took `spent` seconds, `waited` of them for its batch. True, with *share set, once each
 * time that the share of waiting in the last STALL_SECONDS rises to STALL_SHARE or more.
 */
bool stall_note(struct stall *stall, double waited, double spent, double *share);

#endif
