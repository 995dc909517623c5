/*
 * A memory bank of vectors from any source: pairs of vectors of one object in two views, stored image by
 * image, and queried with the cycle test, which selects the reliable neighbours.
 *
 * The vectors are made up: every object is of one of SORTS sorts, and its two views are the sort's
 * direction with noise. The bank has seen sorts 0 ... 3; sort 4 is new and resembles sort 3.
 */
#include "check.h"

#include <string.h>

enum { D = 40, K = 4, SORTS = 5, IMAGES = 8, SEEN = 4, ROWS = IMAGES * K };

typedef struct pairs {
    int64_t counts[IMAGES]; /* objects of each image */
    int64_t ids[IMAGES];
    float view1[ROWS][D];
    float view2[ROWS][D];
} pairs;

static void make_object(float *view, int sort, uint64_t row, uint64_t stream)
{
    double noise[D];
    MUST(cribo_random_uniform(3, stream, row, D, noise));
    for (int d = 0; d < D; d++) {
        view[d] = (float)(d % SORTS == sort) + 0.3F * (float)noise[d];
        if (sort == 4) view[d] += 0.8F * (float)(d % SORTS == 3);
    }
}

/* `images` images with one object of each of the sorts first ... first + K - 1. */
static cribo_object_batch make_batch(pairs *p, int images, int first, int64_t id)
{
    for (int i = 0; i < images; i++) {
        p->counts[i] = K;
        p->ids[i] = id + i;
        for (int k = 0; k < K; k++) {
            int row = i * K + k;
            make_object(p->view1[row], first + k, (uint64_t)row, 2 * (uint64_t)id);
            make_object(p->view2[row], first + k, (uint64_t)row, 2 * (uint64_t)id + 1);
        }
    }
    return (cribo_object_batch){.struct_size = sizeof(cribo_object_batch),
        .images = images,
        .objects_per_image = p->counts,
        .view1 = &p->view1[0][0],
        .view2 = &p->view2[0][0],
        .ids = p->ids};
}

static cribo_memory_bank *make_bank(void)
{
    cribo_memory_bank_config config;
    cribo_memory_bank *bank;
    MUST(cribo_memory_bank_config_init(&config, sizeof config));
    config.bank_images = IMAGES; /* the ninth image pushes out the first */
    config.objects_per_image = K;
    config.width = D;
    MUST(cribo_memory_bank_create(&bank, &config, NULL));
    return bank;
}

/*
 * Entry 0 is the first object of the newest image; image 0 of a push becomes the newest. So entry i holds
 * sort i % K.
 */
static void look_up(
    cribo_memory_bank *bank, const cribo_object_batch *query, int first, int64_t index[K], uint8_t found[K])
{
    uint8_t match2[K];
    cribo_match match = {.struct_size = sizeof match, .index1 = index, .match1 = found, .match2 = match2};
    MUST(cribo_memory_bank_query(bank, query, &match));
    for (int k = 0; k < K; k++) {
        printf("sort %d: entry %2lld of sort %lld, %s\n", first + k, (long long)index[k],
            (long long)index[k] % K, found[k] ? "matched" : "not matched");
        if (found[k]) EXPECT(index[k] % K == first + k);
    }
}

static void save_and_restore(const cribo_memory_bank *bank, cribo_memory_bank *copy)
{
    static pairs saved;
    int64_t images, objects;
    MUST(cribo_memory_bank_count(bank, &images, &objects));
    EXPECT(images == SEEN && objects == SEEN * K);
    MUST(cribo_memory_bank_export(bank, saved.counts, saved.ids, &saved.view1[0][0], &saved.view2[0][0]));
    cribo_object_batch content = {.struct_size = sizeof content,
        .images = images,
        .objects_per_image = saved.counts,
        .view1 = &saved.view1[0][0],
        .view2 = &saved.view2[0][0],
        .ids = saved.ids};
    MUST(cribo_memory_bank_import(copy, &content));
}

int main(void)
{
    static pairs remembered, known, partly_new;
    int64_t index[K], again[K];
    uint8_t found[K], found_again[K];
    cribo_memory_bank *bank = make_bank(), *copy = make_bank();

    cribo_object_batch first = make_batch(&remembered, SEEN, 0, 100);
    MUST(cribo_memory_bank_push(bank, &first));

    /* A new image of known sorts: every object finds its sort, and the cycle test agrees. */
    cribo_object_batch query = make_batch(&known, 1, 0, 200);
    look_up(bank, &query, 0, index, found);
    for (int k = 0; k < K; k++) EXPECT(found[k]);

    /*
     * Sorts 1 ... 4: the nearest to sort 4 is some object of sort 3, but what is nearest to that one in the
     * query is the true sort 3. The cycle test fails, so this neighbour is not used.
     */
    cribo_object_batch mixed = make_batch(&partly_new, 1, 1, 300);
    look_up(bank, &mixed, 1, index, found);
    EXPECT(found[0] && found[1] && found[2] && !found[3]);

    /* An image in the bank never finds itself if it has an id. */
    cribo_object_batch old = first;
    old.images = 1;
    look_up(bank, &old, 0, index, found);
    for (int k = 0; k < K; k++) EXPECT(index[k] >= K);
    old.ids = NULL;
    look_up(bank, &old, 0, index, found);
    for (int k = 0; k < K; k++) EXPECT(index[k] == k);

    save_and_restore(bank, copy);
    look_up(bank, &query, 0, index, found);
    look_up(copy, &query, 0, again, found_again);
    EXPECT(memcmp(index, again, sizeof index) == 0 && memcmp(found, found_again, sizeof found) == 0);

    cribo_memory_bank_free(bank);
    cribo_memory_bank_free(copy);
    return 0;
}
