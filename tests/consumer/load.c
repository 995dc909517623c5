/*
 * The library as a plug-in: libcribo is loaded, used and unloaded repeatedly, by several threads at once, in
 * a process with older threads: load LIBRARY
 *
 * Threads that exist before dlopen get the library's thread-local message from dlopen's reserve or from the
 * heap: both must work in all of them, and no message may be accessed after the library is unloaded.
 */
#define _POSIX_C_SOURCE 200809L
#include <cribo/cribo.h>

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OLD = 24, LOADERS = 3, ROUNDS = 8, SIZE = 48, D = 64 };

#define EXPECT(truth) \
    do { \
        if (!(truth)) { \
            fprintf(stderr, "not so: %s (%s)\n", #truth, problem()); \
            exit(1); \
        } \
    } while (0)

static const char *problem(void)
{
    const char *text = dlerror();
    return text ? text : "no message from dlopen";
}

/* The functions that this program needs, found by name. */
typedef struct library {
    void *handle;
    __typeof__(&cribo_last_error) last_error;
    __typeof__(&cribo_random_uniform) random_uniform;
    __typeof__(&cribo_model_config_init) config_init;
    __typeof__(&cribo_model_create) create;
    __typeof__(&cribo_model_features) features;
    __typeof__(&cribo_model_free) free;
} library;

static void find(void *handle, const char *name, void *function)
{
    void *address = dlsym(handle, name);
    EXPECT(address != NULL);
    memcpy(function, &address, sizeof address);
}

static library load(const char *path, int flags)
{
    library l = {.handle = dlopen(path, RTLD_NOW | flags)};
    EXPECT(l.handle != NULL);
    find(l.handle, "cribo_last_error", &l.last_error);
    find(l.handle, "cribo_random_uniform", &l.random_uniform);
    find(l.handle, "cribo_model_config_init", &l.config_init);
    find(l.handle, "cribo_model_create", &l.create);
    find(l.handle, "cribo_model_features", &l.features);
    find(l.handle, "cribo_model_free", &l.free);
    return l;
}

/* Features of noise, by two workers; they must be those of every other round. */
static void compute(const library *l, float cls[D])
{
    double uniform[3 * SIZE * SIZE];
    float pixels[3 * SIZE * SIZE];
    cribo_model_config config;
    cribo_model *model;
    cribo_runtime runtime = {.struct_size = sizeof runtime, .threads = 2};
    EXPECT(l->random_uniform(1, 2, 3, 3 * SIZE * SIZE, uniform) == CRIBO_OK);
    for (int i = 0; i < 3 * SIZE * SIZE; i++) pixels[i] = (float)uniform[i] - 0.5F;
    EXPECT(l->config_init(&config, sizeof config) == CRIBO_OK);
    config.image_size = SIZE;
    config.patch_size = 8;
    config.width = D;
    config.depth = 2;
    config.heads = 2;
    config.prototypes = config.object_prototypes = 0;
    EXPECT(l->create(&model, &config, &runtime) == CRIBO_OK);
    EXPECT(l->features(model, 1, SIZE, SIZE, pixels, NULL, cls, NULL) == CRIBO_OK);
    l->free(model);
}

/* --- threads that are older than the library --- */

static library shared;
static pthread_barrier_t loaded, used;

static void *grow_old(void *nothing)
{
    (void)nothing;
    pthread_barrier_wait(&loaded);
    EXPECT(shared.last_error()[0] == 0);
    EXPECT(shared.random_uniform(0, 0, 0, 1, NULL) == CRIBO_INVALID_ARGUMENT);
    EXPECT(strstr(shared.last_error(), "values") != NULL);
    pthread_barrier_wait(&used);
    pthread_barrier_wait(&loaded); /* the library has gone */
    return NULL;
}

static void use_from_old_threads(const char *path)
{
    pthread_t old[OLD];
    pthread_barrier_init(&loaded, NULL, OLD + 1);
    pthread_barrier_init(&used, NULL, OLD + 1);
    for (int i = 0; i < OLD; i++) EXPECT(pthread_create(&old[i], NULL, grow_old, NULL) == 0);
    shared = load(path, RTLD_LOCAL);
    pthread_barrier_wait(&loaded);
    pthread_barrier_wait(&used);
    EXPECT(dlclose(shared.handle) == 0);
    pthread_barrier_wait(&loaded);
    for (int i = 0; i < OLD; i++) pthread_join(old[i], NULL);
}

/* --- loading and unloading at once --- */

typedef struct loader {
    const char *path;
    int flags;
    float cls[D];
} loader;

static void *load_again_and_again(void *context)
{
    loader *me = context;
    for (int round = 0; round < ROUNDS; round++) {
        float cls[D];
        library l = load(me->path, me->flags);
        compute(&l, cls);
        EXPECT(dlclose(l.handle) == 0);
        EXPECT(round == 0 || memcmp(cls, me->cls, sizeof cls) == 0);
        memcpy(me->cls, cls, sizeof cls);
    }
    return NULL;
}

static void load_at_once(const char *path, int flags)
{
    pthread_t threads[LOADERS];
    loader loaders[LOADERS];
    for (int i = 0; i < LOADERS; i++) {
        loaders[i] = (loader){.path = path, .flags = flags};
        EXPECT(pthread_create(&threads[i], NULL, load_again_and_again, &loaders[i]) == 0);
    }
    for (int i = 0; i < LOADERS; i++) pthread_join(threads[i], NULL);
    for (int i = 1; i < LOADERS; i++)
        EXPECT(memcmp(loaders[i].cls, loaders[0].cls, sizeof loaders[0].cls) == 0);
}

int main(int argc, char **argv)
{
    EXPECT(argc == 2);
    use_from_old_threads(argv[1]);
    EXPECT(dlopen(argv[1], RTLD_NOW | RTLD_NOLOAD) == NULL); /* it was really unloaded */
    load_at_once(argv[1], RTLD_LOCAL);
    load_at_once(argv[1], RTLD_GLOBAL);
    load_again_and_again(&(loader){.path = argv[1], .flags = RTLD_LOCAL}); /* unloaded each time */
    EXPECT(dlopen(argv[1], RTLD_NOW | RTLD_NOLOAD) == NULL);
    puts("ok");
    return 0;
}
