/*
 * Watches a run for losses that leap, for signs of collapse of the objects, and for
 * a loader that does not keep up. What it remembers is a function
 * of the steps, and goes with the checkpoint as text, so that a resumed run judges as one that never
 * stopped.
 */
#ifndef WATCH_H
#define WATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cribo/trainer.h>

enum { WATCH_WINDOW = 64, WATCH_MIN = 32, WATCH_MAX_SKIPS = 5, WATCH_TEXT = 2048 };

/*
 * How many standard deviations above the mean of the window a loss is a spike, by default.
 */
#define WATCH_SPIKE 6.0

/* For how many steps a sign of collapse must hold. */
enum { WATCH_PATIENCE = 50 };

struct watch {
    double skip_from;            /* score from which updates are left out; 0: none are */
    double losses[WATCH_WINDOW]; /* of the newest steps; number t at t % WATCH_WINDOW */
    uint64_t count;              /* of losses since the window began */
    int parts;                   /* which losses they are sums of; other ones begin a new window */
    int skips;                   /* in a row */
    int64_t unused;              /* for how many steps few object prototypes have been in use */
};

/*
 * How far the loss lies above the window's mean, in standard deviations of it (at least a hundredth of the
 * mean); NaN while the window has fewer than WATCH_MIN losses or is one of other parts.
 */
double watch_score(const struct watch *watch, double loss, int parts);

/* Is a loss with this score to be warned of? */
bool watch_warns(const struct watch *watch, double score);

/* Is an update with this score to be left out? Not when WATCH_MAX_SKIPS were, one after the other. */
bool watch_skips(const struct watch *watch, double score);

/* Notes what became of a loss; one that was skipped does not enter the window. */
void watch_note(struct watch *watch, double loss, int parts, bool skipped);

/*
 * The collapse of the objects: less than a twentieth of the object prototypes in use that could be (the
 * library watches the collapse of [CLS]). True once each time that this has held for WATCH_PATIENCE steps.
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
 * Adds a step that took `spent` seconds, `waited` of them for its batch. True when the last STALL_SECONDS had
 * a share of at least STALL_SHARE of waiting and this has not been said since it last was less; *share is
 * set.
 */
bool stall_note(struct stall *stall, double waited, double spent, double *share);

#endif
