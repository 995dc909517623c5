/* cribo/communicator.h: ranks that are threads of one process. */
#include "base/structs.h"
#include "communication/ranks.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#define SLOTS 8 /* requests of a rank under way at once */

typedef enum slot_state { FREE, POSTED, COPYING, ENDED, FAILED } slot_state;

/*
 * One request. Requests from one rank to another have numbers; it matches the other side's request with the
 * same `sequence`.
 */
typedef struct slot {
    slot_state state;
    bool sends;
    size_t peer, bytes;
    uint64_t sequence;
    void *data; /* of a send: only read */
} slot;

typedef struct member {
    cribo_thread_group *group;
    size_t rank;
    slot slots[SLOTS];
    uint64_t *sent, *received; /* [size] requests so far, by peer */
} member;

struct cribo_thread_group {
    pthread_mutex_t lock; /* of all members */
    size_t size;
    member *members;    /* [size] */
    uint64_t *counters; /* [2 size, size] */
};

/* The other side's request that matches this one, or NULL. Under the lock. */
static slot *find_partner(const member *own, const slot *request)
{
    member *peer = &own->group->members[request->peer];
    for (size_t i = 0; i < SLOTS; i++) {
        slot *other = &peer->slots[i];
        if (other->state == POSTED && other->sends != request->sends && other->peer == own->rank &&
            other->sequence == request->sequence)
            return other;
    }
    return NULL;
}

static void copy(slot *request, slot *partner)
{
    const slot *from = request->sends ? request : partner, *to = request->sends ? partner : request;
    memcpy(to->data, from->data, to->bytes);
}

/* Copies the bytes if both sides have posted; the lock is released during the copy. */
static void try_to_move(member *own, slot *request)
{
    slot *partner = request->state == POSTED ? find_partner(own, request) : NULL;
    if (!partner) return;
    bool fits = partner->bytes == request->bytes;
    if (fits) {
        request->state = partner->state = COPYING;
        pthread_mutex_unlock(&own->group->lock);
        copy(request, partner);
        pthread_mutex_lock(&own->group->lock);
    }
    request->state = partner->state = fits ? ENDED : FAILED;
}

static int post(member *own, slot request, uint64_t *counter, int64_t *number)
{
    int failed = 1;
    if (request.peer >= own->group->size) return failed;
    pthread_mutex_lock(&own->group->lock);
    for (size_t i = 0; failed && i < SLOTS; i++) {
        if (own->slots[i].state != FREE) continue;
        request.state = POSTED;
        request.sequence = counter[request.peer]++;
        own->slots[i] = request;
        *number = (int64_t)i;
        failed = 0;
    }
    pthread_mutex_unlock(&own->group->lock);
    return failed;
}

static int start_send(void *context, int64_t peer, const void *data, size_t bytes, int64_t *request)
{
    member *own = context;
    return post(own, (slot){.sends = true, .peer = (size_t)peer, .bytes = bytes, .data = (void *)data},
        own->sent, request);
}

static int start_receive(void *context, int64_t peer, void *data, size_t bytes, int64_t *request)
{
    member *own = context;
    return post(own, (slot){.peer = (size_t)peer, .bytes = bytes, .data = data}, own->received, request);
}

static int test_request(void *context, int64_t number)
{
    member *own = context;
    slot *request = &own->slots[number];
    pthread_mutex_lock(&own->group->lock);
    try_to_move(own, request);
    slot_state state = request->state;
    if (state == ENDED || state == FAILED) request->state = FREE;
    pthread_mutex_unlock(&own->group->lock);
    return state == ENDED ? 1 : state == FAILED ? -1 : 0;
}

static void cancel_request(void *context, int64_t number)
{
    member *own = context;
    slot *request = &own->slots[number];
    pthread_mutex_lock(&own->group->lock);
    while (request->state == COPYING) { /* the other side's memcpy, which soon ends */
        pthread_mutex_unlock(&own->group->lock);
        sched_yield();
        pthread_mutex_lock(&own->group->lock);
    }
    request->state = FREE;
    pthread_mutex_unlock(&own->group->lock);
}

static void begin_members(cribo_thread_group *group)
{
    for (size_t r = 0; r < group->size; r++)
        group->members[r] = (member){.group = group,
            .rank = r,
            .sent = group->counters + 2 * r * group->size,
            .received = group->counters + (2 * r + 1) * group->size};
}

cribo_status cribo_thread_group_create(cribo_thread_group **out, int64_t size)
{
    const cb_allocator standard = {0};
    cribo_thread_group *group;
    CB_REQUIRE_POINTER(out);
    *out = NULL;
    CB_REQUIRE(size >= 1 && size <= CB_MAX_RANKS && (size & (size - 1)) == 0,
        "size = %lld must be a power of two in 1 ... %d", (long long)size, CB_MAX_RANKS);
    CB_TRY(CB_ALLOCATE(&standard, &group, 1, "thread group"));
    if (pthread_mutex_init(&group->lock, NULL) != 0) {
        cb_release(&standard, group);
        return cb_fail(CRIBO_SYSTEM_ERROR, "the system refused a mutex");
    }
    group->size = (size_t)size;
    cribo_status status = CB_ALLOCATE(&standard, &group->members, group->size, "thread group");
    if (status == CRIBO_OK)
        status = CB_ALLOCATE(&standard, &group->counters, 2 * group->size * group->size, "thread group");
    if (status != CRIBO_OK) {
        cribo_thread_group_free(group);
        return status;
    }
    begin_members(group);
    *out = group;
    return CRIBO_OK;
}

void cribo_thread_group_free(cribo_thread_group *group)
{
    const cb_allocator standard = {0};
    if (!group) return;
    pthread_mutex_destroy(&group->lock);
    cb_release(&standard, group->counters);
    cb_release(&standard, group->members);
    cb_release(&standard, group);
}

cribo_status cribo_thread_group_communicator(
    cribo_thread_group *group, int64_t rank, cribo_communicator *communicator)
{
    CB_REQUIRE_POINTER(group);
    CB_REQUIRE_POINTER(communicator);
    CB_TRY(cb_check_size("communicator", communicator->struct_size, CB_SIZE_THROUGH(*communicator, cancel),
        sizeof *communicator));
    CB_REQUIRE(rank >= 0 && (size_t)rank < group->size, "rank = %lld must be in 0 ... %zu", (long long)rank,
        group->size - 1);
    const cribo_communicator full = {
        .struct_size = sizeof full,
        .rank = rank,
        .size = (int64_t)group->size,
        .context = &group->members[rank],
        .send = start_send,
        .receive = start_receive,
        .test = test_request,
        .cancel = cancel_request,
    };
    cb_struct_export(communicator, &full, sizeof full);
    return CRIBO_OK;
}
