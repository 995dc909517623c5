/*
 * The runtime of a handle: allocator, thread count, log and cancel callbacks.
 *
 * An allocator counts blocks, and shows that a training step allocates nothing and that no memory is leaked.
 * A log receives a warning, because all images of this program's batches are equal and so are their features.
 * Another thread then sets a flag, and the progress callback cancels the current step; this step leaves the
 * trainer unchanged.
 */
#define _POSIX_C_SOURCE 200809L
#include "check.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

enum { B = 2, SIZE = 16, PATCH = 8 };

typedef struct memory_count {
    atomic_long allocations;
    atomic_long blocks; /* not yet released */
    atomic_long bytes;  /* of all allocations */
} memory_count;

static void *count_allocate(void *user, size_t bytes)
{
    memory_count *count = user;
    void *memory = malloc(bytes);
    if (!memory) return NULL;
    count->allocations++;
    count->blocks++;
    count->bytes += (long)bytes;
    return memory;
}

static void count_release(void *user, void *memory)
{
    memory_count *count = user;
    if (memory) count->blocks--;
    free(memory);
}

/* Called on the thread of the library call; the text is valid only during this callback. */
static void keep_message(void *user, int level, const char *message)
{
    char *kept = user;
    if (level == CRIBO_LOG_WARNING) snprintf(kept, 256, "%s", message);
}

/* `user` is the flag that any thread may set. */
static int asked_to_stop(void *user, const char *phase, double share)
{
    (void)phase; /* "teach", "learn" or "update", and the finished share of it */
    (void)share;
    return atomic_load((atomic_int *)user);
}

/* In place of a user at the keyboard: sets the flag after 50 ms. */
static void *press_stop(void *user)
{
    nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
    atomic_store((atomic_int *)user, 1);
    return NULL;
}

static cribo_trainer_config settings(void)
{
    cribo_trainer_config config;
    MUST(cribo_trainer_config_init(&config, sizeof config));
    config.image_size = SIZE;
    config.patch_size = PATCH;
    config.width = 16;
    config.depth = 1;
    config.heads = 2;
    config.head_hidden = 16;
    config.head_bottleneck = 8;
    config.prototypes = 32;
    config.object_prototypes = 32;
    config.clusters = 4;
    config.bank_images = 8;
    config.batch_size = B;
    config.steps_per_epoch = 1;
    return config;
}

int main(void)
{
    static float pixels[B][3][SIZE][SIZE]; /* grey, all of them */
    static memory_count memory;
    static char message[256];
    static atomic_int stop;
    const cribo_crop crops[B] = {{0, 0, 32, 32, 0}, {0, 0, 32, 32, 0}};

    cribo_runtime runtime;
    MUST(cribo_runtime_init(&runtime, sizeof runtime));
    runtime.threads = 2; /* results do not depend on it */
    runtime.allocate = count_allocate;
    runtime.release = count_release;
    runtime.allocator_user = &memory;
    runtime.log = keep_message;
    runtime.log_user = message;
    runtime.progress = asked_to_stop;
    runtime.progress_user = &stop;

    cribo_trainer_config config = settings();
    int64_t needed;
    MUST(cribo_trainer_memory(&config, &runtime, &needed));
    printf("%lld bytes are needed, %lld are available\n", (long long)needed,
        (long long)cribo_memory_available());

    cribo_trainer *trainer;
    MUST(cribo_trainer_create(&trainer, &config, &runtime));
    long planned = atomic_load(&memory.allocations);
    printf("%ld blocks for everything that will ever be needed\n", planned);
    EXPECT(atomic_load(&memory.bytes) == needed);

    cribo_batch batch = {.struct_size = sizeof batch,
        .images = B,
        .view1 = &pixels[0][0][0][0],
        .view2 = &pixels[0][0][0][0],
        .crops1 = crops,
        .crops2 = crops};
    for (int step = 0; step < 20; step++) MUST(cribo_trainer_step(trainer, &batch, NULL));
    EXPECT(atomic_load(&memory.allocations) == planned);
    printf("log: %s\n", message);
    EXPECT(strstr(message, "collapse") != NULL);

    pthread_t person;
    cribo_status status = CRIBO_OK;
    EXPECT(pthread_create(&person, NULL, press_stop, &stop) == 0);
    int64_t steps = 20, counted;
    while ((status = cribo_trainer_step(trainer, &batch, NULL)) == CRIBO_OK) steps++;
    pthread_join(person, NULL);
    printf("after %lld steps: %s\n", (long long)steps, cribo_last_error());
    EXPECT(status == CRIBO_CANCELLED);
    MUST(cribo_trainer_step_count(trainer, &counted));
    EXPECT(counted == steps); /* the cancelled step had no effect */

    atomic_store(&stop, 0); /* training can continue */
    MUST(cribo_trainer_step(trainer, &batch, NULL));

    cribo_trainer_free(trainer);
    EXPECT(atomic_load(&memory.blocks) == 0);
    return 0;
}
