/*
 * See session.h: the next batch. Each rank makes its part. When pictures of a batch could not be replaced,
 * the batch gets smaller, and the parts are cut anew from the pictures that are left.
 */
#include "session/session.h"

#include <stdlib.h>
#include <string.h>

/* Each rank's share of what all need to know before a step. */
struct turn {
    int64_t signal;          /* that was heard; 0: none */
    int64_t loaded;          /* 0: loader_next failed */
    int64_t images, missing; /* of the rank's part */
    int64_t broken;          /* pictures that the others do not know to be broken */
};

/* The same for all ranks together. */
static struct turn join(struct session *session, const struct turn *turns)
{
    struct turn all = {.loaded = 1};
    for (int64_t r = 0; r < session->ranks.size; r++) {
        if (!all.signal) all.signal = turns[r].signal;
        all.loaded &= turns[r].loaded;
        all.images += turns[r].images;
        all.missing += turns[r].missing;
        if (turns[r].broken > all.broken) all.broken = turns[r].broken;
    }
    return all;
}

/* All ranks know the same broken pictures, so that each replaces the same ones, and rank 0 saves them. */
static bool share_broken(struct session *session, int64_t rounds)
{
    struct ranks *ranks = &session->ranks;
    const struct loader_broken none = {.picture = UINT64_MAX};
    struct loader_broken *all = malloc((size_t)ranks->size * sizeof *all);
    bool shared = all || problem_no_memory(&session->problem);
    for (; shared && rounds > 0; rounds--) {
        struct loader_broken mine = none;
        if (!loader_take_broken(session->loader, &mine)) mine = none;
        shared = ranks_gather(ranks, &mine, sizeof mine, all, &session->problem);
        for (int64_t r = 0; shared && r < ranks->size; r++)
            if (r != ranks->rank && all[r].picture != UINT64_MAX)
                shared = loader_add_broken(session->loader, &all[r], &session->problem);
    }
    free(all);
    return shared;
}

/* Room for the pictures of every rank's part of a batch. */
struct part {
    size_t most;     /* of a rank */
    int64_t *ids;    /* [ranks][most] */
    bool *replaced;  /* [ranks][most] */
    int64_t *images; /* [ranks] */
};

static bool gather_parts(struct session *session, const struct loader_batch *batch, struct part *part)
{
    struct ranks *ranks = &session->ranks;
    size_t at = (size_t)ranks->rank * part->most, count = (size_t)batch->images;
    memcpy(part->ids + at, batch->ids, count * sizeof *part->ids);
    memcpy(part->replaced + at, batch->replaced, count * sizeof *part->replaced);
    return ranks_gather(ranks, &batch->images, sizeof batch->images, part->images, &session->problem) &&
           ranks_gather(
               ranks, part->ids + at, part->most * sizeof *part->ids, part->ids, &session->problem) &&
           ranks_gather(ranks, part->replaced + at, part->most * sizeof *part->replaced, part->replaced,
               &session->problem);
}

/* The pictures of all parts without gaps, in place. */
static void close_up(const struct session *session, struct part *part)
{
    size_t count = 0;
    for (int64_t r = 0; r < session->ranks.size; r++)
        for (size_t i = 0; i < (size_t)part->images[r]; i++, count++) {
            part->ids[count] = part->ids[(size_t)r * part->most + i];
            part->replaced[count] = part->replaced[(size_t)r * part->most + i];
        }
}

static bool cut_anew(
    struct session *session, struct loader_batch *batch, const struct loader_options *options, size_t images)
{
    size_t size = (size_t)session->ranks.size, first, most = options->batch / size + 1;
    struct part part = {most, calloc(size * most, sizeof *part.ids),
        calloc(size * most, sizeof *part.replaced), calloc(size, sizeof *part.images)};
    bool cut = (part.ids && part.replaced && part.images) || problem_no_memory(&session->problem);
    cut = ranks_agree(&session->ranks, cut, &session->problem) && gather_parts(session, batch, &part);
    if (cut) {
        close_up(session, &part);
        size_t count = loader_part(options, images, &first);
        cut = loader_remake(session->loader, batch, (int64_t)count, part.ids + first, part.replaced + first,
            &session->problem);
        cut = ranks_agree(&session->ranks, cut, &session->problem);
    }
    free(part.ids);
    free(part.replaced);
    free(part.images);
    return cut;
}

static bool join_batch(struct session *session, struct loader_batch *batch, bool loaded, int signal)
{
    struct ranks *ranks = &session->ranks;
    struct loader_options options;
    session_loader_options(session, &options);
    size_t first, whole = loader_part(&options, loader_whole(session->loader), &first);
    struct turn turn = {signal, loaded, batch->images, (int64_t)whole - batch->images,
        loaded ? (int64_t)loader_news(session->loader) : 0};
    struct turn *turns = malloc((size_t)ranks->size * sizeof *turns);
    if (!turns) return problem_no_memory(&session->problem);
    struct problem lost = session->problem;
    bool gathered = ranks_gather(ranks, &turn, sizeof turn, turns, &lost);
    if (gathered) turn = join(session, turns);
    free(turns);
    if (!gathered) session->problem = lost;
    if (!gathered || !turn.loaded) return gathered && ranks_agree(ranks, loaded, &session->problem);
    session->signal = (int)turn.signal;
    session->images = turn.images;
    if (turn.signal || !share_broken(session, turn.broken)) return turn.signal != 0;
    if (!loader_count(session->loader, turn.images, &session->problem)) return false;
    if (turn.images > 0 && turn.images < ranks->size)
        return problem_set(&session->problem,
            "only %lld pictures of a batch could be read, fewer than the %lld ranks", (long long)turn.images,
            (long long)ranks->size);
    return turn.missing == 0 || turn.images == 0 || cut_anew(session, batch, &options, (size_t)turn.images);
}

bool session_next_batch(struct session *session, struct loader_batch *batch, int signal)
{
    session->signal = signal;
    if (session->ranks.size == 1 && signal) return true;
    bool loaded = loader_next(session->loader, batch, &session->problem);
    session->images = batch->images;
    return session->ranks.size == 1 ? loaded : join_batch(session, batch, loaded, signal);
}
