/*
 * A training run from its command line to its end, in parts: the beginning (session_prepare.c),
 * batches (session_batch.c), steps (session_step.c), its length as a time (session_time.c), saving
 * (session_save.c), messages (session_say.c). pretrain.c joins them.
 * Of several ranks each makes all of these calls; rank 0 alone writes to the run's folder.
 */
#ifndef SESSION_H
#define SESSION_H

#include "pictures/complaints.h"
#include "pictures/loader.h"
#include "session/pretrain.h"
#include "session/ranks.h"
#include "session/run.h"
#include "session/saving.h"
#include "session/time_budget.h"
#include "drawing/showcase.h"
#include "session/view_retrieval.h"
#include "session/watch.h"

/* The number of steps in the mean losses of messages. */
enum { SESSION_WINDOW = 20 };

/* The state of a run. */
struct session {
    const struct pretrain_options *options;
    struct ranks ranks;
    struct problem problem;
    cribo_trainer_config config;
    struct recipe recipe; /* of the views */
    struct pictures pictures;
    enum run_mode mode;
    struct folder checkpoints; /* existing ones, the newest first; none in a new run */
    struct run run;
    cribo_trainer *trainer;
    int64_t trainer_bytes, available_bytes; /* of memory: of the trainer, and before it was made */
    struct loader *loader;
    struct showcase showcase;
    struct history history;   /* of the whole run */
    const char *checkpoint;   /* resumed from; NULL: a new run */
    struct position position; /* after the last step */
    struct saving saving;
    struct watch watch;
    struct look look;
    struct view_retrieval view_retrieval;
    struct time_plan time;        /* of a run whose length was given as a time */
    struct complaints complaints; /* of pictures that cannot be read */
    struct stall stall;
    int64_t first_step, step; /* first and current step of this session */
    int64_t total_steps;      /* of the run */
    int64_t last_step;        /* of this session */
    int signal;               /* that ends this session; 0: none */
    int64_t images;           /* of the current batch, on all ranks */
    double started, began;    /* seconds: the program, its first step */
    double last_line, last_save;
    double seconds_per_step, images_per_step; /* running means */
    double waited;                            /* seconds for the batch of this step */
    char warning[512];                        /* the newest of this step; "": none */
};

/* Seconds of a monotonic clock. Safe in a signal handler. */
double session_now(void);

/* A warning about the run, for its user and for the line of the step in the log. */
void session_warn(struct session *session, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The problem as a warning, unless the ranks are no longer connected, which ends the run. */
void session_warn_and_go_on(struct session *session);

/* Everything up to the first step of this session. On failure the session is still to be freed. */
bool session_prepare(struct session *session);

/* The trainer's settings and the views of a new run. */
bool session_apply(struct session *session, const struct settings *settings);

/* Whether every rank has at least one image of a batch, and whole shards. */
bool session_check_ranks(struct session *session);

/*
 * Of a run whose length is a time: times steps, on all ranks, and sets session->time and settings->time_steps
 * by the clock of rank 0.
 */
bool session_plan_time(struct session *session, struct settings *settings);

/* Whether this process is the one that writes. */
bool session_writes(const struct session *session);

/* The loader of this rank's part of each batch. */
void session_loader_options(struct session *session, struct loader_options *options);

/*
 * The next batch: this rank's part, and session->images of all ranks. `signal` is what this process has
 * heard; if a rank has heard one, session->signal is set on all, and the batch is not to be used.
 */
bool session_next_batch(struct session *session, struct loader_batch *batch, int signal);

/*
 * Draws the objects that the teacher finds in the pictures to show, to `path` and, with `event`, to
 * TensorBoard.
 */
bool session_show_clusters(struct session *session, const char *path, bool event);

/*
 * Measures view retrieval after the present step and adds it to the history of rank 0; NaN on the others
 * and after a failure, which is a warning.
 */
double session_retrieve(struct session *session);

/* A batch of the loader for the trainer; the arrays are borrowed. */
cribo_batch session_batch(const struct loader_batch *loaded, const struct recipe *recipe);

/* Looks at the run after the present step. A failure is a warning. */
void session_look(struct session *session);

/* Ends the session at the present step if the scores of looks have not risen for too long. */
void session_end_without_gain(struct session *session);

/* One batch: a step, or one that is skipped; logged, watched, and saved when it is due. */
bool session_step(struct session *session, const struct loader_batch *loaded, double began);

/* Saves checkpoint and weights, now or in the background. */
bool session_save(struct session *session, bool in_background);

/* The same when it is due, with a picture of the objects. A failure is a warning: the next may work. */
void session_save_when_due(struct session *session);

/* Saves the weights as those of the best evaluation, with its score. */
bool session_save_best(struct session *session);

/* The progress line of a step, when one is due. */
void session_say_step(struct session *session, const cribo_report *report);
void session_say_plan(const struct session *session);
void session_say_summary(struct session *session);

void session_free(struct session *session);

#endif
