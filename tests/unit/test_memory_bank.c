/* The memory bank against a naive model that holds a plain list of images and searches it exhaustively. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* mincore, madvise */
#endif
#include "base/random.h"
#include "cribo/memory_bank.h"
#include "search/object_queue.h"
#include "support/faulty.h"
#include "support/suite.h"

#include <check.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#ifdef __linux__
#include <sys/mman.h>
#include <unistd.h>
#endif

/* A batch of random objects that owns its arrays. */
typedef struct own_batch {
    cribo_object_batch batch;
    int64_t *per_image, *ids;
    float *view[2];
    size_t rows;
} own_batch;

/* Whole numbers from -2 to 2, so that cosines tie now and then, and sums are exact. */
static void fill_coarse(float *x, size_t n, cb_random *random)
{
    for (size_t i = 0; i < n; i++) x[i] = (float)cb_random_below(random, 5) - 2;
}

static own_batch random_objects(
    uint64_t seed, size_t images, size_t most, size_t width, uint32_t different_ids)
{
    own_batch o = {0};
    cb_random random = cb_random_begin(seed, CB_PURPOSE_CALLER, 0, 0);
    o.per_image = calloc(images + 1, sizeof *o.per_image);
    o.ids = calloc(images + 1, sizeof *o.ids);
    for (size_t b = 0; b < images; b++) {
        o.per_image[b] = cb_random_below(&random, (uint32_t)most + 1);
        o.ids[b] = (int64_t)cb_random_below(&random, different_ids + 1) - 1;
        o.rows += (size_t)o.per_image[b];
    }
    for (int view = 0; view < 2; view++) {
        o.view[view] = malloc((o.rows * width + 1) * sizeof(float));
        fill_coarse(o.view[view], o.rows * width, &random);
    }
    o.batch = (cribo_object_batch){
        sizeof o.batch, (int64_t)images, o.per_image, o.view[0], o.view[1], different_ids ? o.ids : NULL};
    return o;
}

static void free_objects(own_batch *o)
{
    free(o->per_image);
    free(o->ids);
    free(o->view[0]);
    free(o->view[1]);
}

static cribo_memory_bank *new_bank(int64_t images, int64_t most, size_t width, int64_t threads)
{
    cribo_memory_bank_config config;
    cribo_runtime runtime;
    cribo_memory_bank *bank;
    ck_assert_int_eq(cribo_memory_bank_config_init(&config, sizeof config), CRIBO_OK);
    ck_assert_int_eq(cribo_runtime_init(&runtime, sizeof runtime), CRIBO_OK);
    config.bank_images = images;
    config.objects_per_image = most;
    config.width = (int64_t)width;
    config.max_objects = 4096;
    runtime.threads = threads;
    ck_assert_int_eq(cribo_memory_bank_create(&bank, &config, &runtime), CRIBO_OK);
    return bank;
}

/* The content of a bank, or the result of a query, in one block of memory each. */
typedef struct content {
    int64_t images, objects;
    int64_t *per_image, *ids;
    float *view[2];
} content;

static content empty_content(int64_t max_images, int64_t max_objects, size_t width)
{
    content c = {0};
    c.per_image = calloc((size_t)max_images + 1, sizeof *c.per_image);
    c.ids = calloc((size_t)max_images + 1, sizeof *c.ids);
    for (int view = 0; view < 2; view++)
        c.view[view] = calloc((size_t)max_objects * width + 1, sizeof(float));
    return c;
}

static content content_of(const cribo_memory_bank *bank, size_t width)
{
    int64_t images, rows;
    ck_assert_int_eq(cribo_memory_bank_count(bank, &images, &rows), CRIBO_OK);
    content c = empty_content(images, rows, width);
    c.images = images;
    c.objects = rows;
    ck_assert_int_eq(cribo_memory_bank_export(bank, c.per_image, c.ids, c.view[0], c.view[1]), CRIBO_OK);
    return c;
}

static void free_content(content *c)
{
    free(c->per_image);
    free(c->ids);
    free(c->view[0]);
    free(c->view[1]);
}

static void assert_same_content(const content *a, const content *b, size_t width)
{
    ck_assert_int_eq(a->images, b->images);
    ck_assert_int_eq(a->objects, b->objects);
    ck_assert(memcmp(a->per_image, b->per_image, (size_t)a->images * sizeof *a->per_image) == 0);
    ck_assert(memcmp(a->ids, b->ids, (size_t)a->images * sizeof *a->ids) == 0);
    for (int view = 0; view < 2; view++)
        ck_assert(memcmp(a->view[view], b->view[view], (size_t)a->objects * width * sizeof(float)) == 0);
}

/* The naive push: new images, then the old ones that fit. */
static content pushed(
    const content *old, const own_batch *new, int64_t max_images, int64_t max_objects, size_t width)
{
    content c = empty_content(max_images, max_objects, width);
    const int64_t *counts[2] = {new->per_image, old->per_image};
    const int64_t *ids[2] = {new->batch.ids, old->ids};
    int64_t images[2] = {new->batch.images, old->images};
    for (int source = 0; source < 2; source++) {
        const float *from[2] = {source ? old->view[0] : new->view[0], source ? old->view[1] : new->view[1]};
        size_t row = 0;
        for (int64_t b = 0; b < images[source] && c.images < max_images; b++, c.images++) {
            size_t rows = (size_t)counts[source][b];
            c.per_image[c.images] = counts[source][b];
            c.ids[c.images] = ids[source] ? ids[source][b] : -1;
            for (int view = 0; view < 2; view++)
                memcpy(c.view[view] + (size_t)c.objects * width, from[view] + row * width,
                    rows * width * sizeof(float));
            c.objects += (int64_t)rows;
            row += rows;
        }
    }
    return c;
}

typedef struct findings {
    int64_t *index[2];
    uint8_t *match[2];
    float *neighbours[2];
} findings;

static findings query(cribo_memory_bank *bank, const own_batch *o, size_t width)
{
    findings f;
    for (int view = 0; view < 2; view++) {
        f.index[view] = malloc((o->rows + 1) * sizeof(int64_t));
        f.match[view] = malloc(o->rows + 1);
        f.neighbours[view] = malloc((o->rows * width + 1) * sizeof(float));
    }
    cribo_match match = {
        sizeof match, f.index[0], f.index[1], f.match[0], f.match[1], f.neighbours[0], f.neighbours[1]};
    ck_assert_int_eq(cribo_memory_bank_query(bank, &o->batch, &match), CRIBO_OK);
    return f;
}

static void free_findings(findings *f)
{
    for (int view = 0; view < 2; view++) {
        free(f->index[view]);
        free(f->match[view]);
        free(f->neighbours[view]);
    }
}

static double cosine(const float *a, const float *b, size_t width)
{
    double dot = 0, aa = 0, bb = 0;
    for (size_t i = 0; i < width; i++) {
        dot += (double)a[i] * b[i];
        aa += (double)a[i] * a[i];
        bb += (double)b[i] * b[i];
    }
    return dot / (fmax(sqrt(aa), 1e-12) * fmax(sqrt(bb), 1e-12));
}

/* The image to which row `row` of a list of images belongs. */
static int64_t image_of(const int64_t *per_image, int64_t row)
{
    int64_t image = 0;
    while (row >= per_image[image]) row -= per_image[image++];
    return image;
}

/* The best cosine with any entry that view `view` of object `k` may match; -2 when there is none. */
static double best_cosine(
    const content *c, const own_batch *o, int view, size_t k, size_t width, int64_t *entry_id)
{
    double best = -2;
    int64_t id = o->batch.ids ? o->ids[image_of(o->per_image, (int64_t)k)] : -1;
    for (int64_t j = 0; j < c->objects; j++) {
        if (id != -1 && entry_id[j] == id) continue;
        best = fmax(best, cosine(o->view[view] + k * width, c->view[view] + (size_t)j * width, width));
    }
    return best;
}

/* Cosines that differ by rounding alone count as equal: any of them may be found. */
#define ROUNDING 1e-6

static void check_neighbour(const content *c, const own_batch *o, const findings *f, int view, size_t k,
    size_t width, int64_t *entry_id)
{
    int64_t index = f->index[view][k];
    const float *neighbour = f->neighbours[view] + k * width;
    double best = best_cosine(c, o, view, k, width, entry_id);
    if (best == -2) {
        ck_assert_int_eq(index, -1);
        ck_assert_int_eq(f->match[view][k], 0);
        for (size_t i = 0; i < width; i++) ck_assert(neighbour[i] == 0);
        return;
    }
    ck_assert_int_ge(index, 0);
    ck_assert_int_lt(index, c->objects);
    if (o->batch.ids && o->ids[image_of(o->per_image, (int64_t)k)] != -1)
        ck_assert_int_ne(entry_id[index], o->ids[image_of(o->per_image, (int64_t)k)]);
    const float *entry = c->view[view] + (size_t)index * width,
                *other = c->view[1 - view] + (size_t)index * width;
    ck_assert(memcmp(neighbour, entry, width * sizeof(float)) == 0);
    ck_assert(cosine(o->view[view] + k * width, entry, width) >= best - ROUNDING);

    double back = -2, own = cosine(other, o->view[1 - view] + k * width, width), earlier = -2;
    for (size_t r = 0; r < o->rows; r++) {
        double back_r = cosine(other, o->view[1 - view] + r * width, width);
        back = fmax(back, back_r);
        if (r < k) earlier = fmax(earlier, back_r);
    }
    if (own < back - ROUNDING) ck_assert_int_eq(f->match[view][k], 0);
    if (own > back - ROUNDING && earlier < own - ROUNDING) {
        bool alone = true;
        for (size_t r = k + 1; r < o->rows; r++)
            alone = alone && cosine(other, o->view[1 - view] + r * width, width) < own - ROUNDING;
        if (alone) ck_assert_int_eq(f->match[view][k], 1);
    }
}

static void check_query(cribo_memory_bank *bank, const own_batch *o, size_t width)
{
    content c = content_of(bank, width);
    findings f = query(bank, o, width);
    int64_t *entry_id = malloc(((size_t)c.objects + 1) * sizeof *entry_id), entry = 0;
    for (int64_t b = 0; b < c.images; b++)
        for (int64_t k = 0; k < c.per_image[b]; k++) entry_id[entry++] = c.ids[b];
    for (int view = 0; view < 2; view++)
        for (size_t k = 0; k < o->rows; k++) check_neighbour(&c, o, &f, view, k, width, entry_id);
    free(entry_id);
    free_findings(&f);
    free_content(&c);
}

START_TEST(test_memory_bank_random_pushes_equal_plain_list)
{
    static const struct {
        int64_t images, most;
        size_t width, batch;
    } shapes[] = {{1, 1, 1, 1}, {5, 3, 4, 2}, {7, 4, 3, 9}, {40, 5, 6, 7}, {300, 8, 5, 64}, {64, 40, 2, 33},
        {3, 600, 9, 2}};
    int64_t max_images = shapes[_i].images, max_objects = max_images * shapes[_i].most;
    size_t width = shapes[_i].width;
    cribo_memory_bank *bank = new_bank(max_images, shapes[_i].most, width, 2);
    content expected = empty_content(0, 0, width);
    for (uint64_t step = 0; step < 40; step++) {
        own_batch o = random_objects(step, (size_t)(step * 7) % (shapes[_i].batch + 1),
            (size_t)shapes[_i].most, width, step % 3 ? 9 : 0);
        ck_assert_int_eq(cribo_memory_bank_push(bank, &o.batch), CRIBO_OK);
        content next = pushed(&expected, &o, max_images, max_objects, width), got = content_of(bank, width);
        assert_same_content(&got, &next, width);
        free_content(&expected);
        free_content(&got);
        expected = next;
        free_objects(&o);
    }
    free_content(&expected);
    cribo_memory_bank_free(bank);
}
END_TEST

/*
 * Among them: several blocks of entries, several stripes of queries, vectors so wide that blocks are shorter.
 */
START_TEST(test_memory_bank_query_equals_exhaustive_search)
{
    static const struct {
        size_t images, most, width;
        uint32_t ids;
        size_t batch;
    } shapes[] = {{1, 1, 1, 0, 1}, {6, 3, 8, 0, 3}, {300, 8, 24, 0, 80}, {300, 8, 24, 20, 80},
        {40, 5, 6, 2, 14}, {150, 24, 6, 30, 60}, {30, 100, 700, 7, 2}};
    size_t images = shapes[_i].images, most = shapes[_i].most, width = shapes[_i].width;
    cribo_memory_bank *bank = new_bank((int64_t)images, (int64_t)most, width, 2);
    own_batch first = random_objects(99, images * 3 / 4, most, width, shapes[_i].ids);
    ck_assert_int_eq(cribo_memory_bank_push(bank, &first.batch), CRIBO_OK);
    free_objects(&first);
    for (uint64_t step = 0; step < (width > 100 ? 1 : 4); step++) {
        own_batch o = random_objects(100 + step, shapes[_i].batch, most, width, shapes[_i].ids);
        check_query(bank, &o, width);
        ck_assert_int_eq(cribo_memory_bank_push(bank, &o.batch), CRIBO_OK);
        free_objects(&o);
    }
    cribo_memory_bank_free(bank);
}
END_TEST

/* 1500 copies of three vectors in more than one block: exact ties everywhere. */
START_TEST(test_memory_bank_query_tie_finds_newest_entry)
{
    enum { IMAGES = 500, WIDTH = 3 };
    static const float axes[3 * WIDTH] = {0, 1, 0, 1, 0, 0, 0, 0, 1};
    static const float scaled[WIDTH * 3] = {0, 0, 4, 8, 0, 0, 0, 0.5f, 0};
    static const int64_t three = 3;
    cribo_object_batch entry = {sizeof entry, 1, &three, axes, axes, NULL};
    cribo_object_batch objects = {sizeof objects, 1, &three, scaled, scaled, NULL};
    int64_t index[6];
    uint8_t matches[6];
    cribo_match match = {.struct_size = sizeof match,
        .index1 = index,
        .index2 = index + 3,
        .match1 = matches,
        .match2 = matches + 3};
    for (int64_t threads = 1; threads < 5; threads++) {
        cribo_memory_bank *bank = new_bank(IMAGES, 3, WIDTH, threads);
        for (int i = 0; i < 2 * IMAGES + 17; i++)
            ck_assert_int_eq(cribo_memory_bank_push(bank, &entry), CRIBO_OK);
        ck_assert_int_eq(cribo_memory_bank_query(bank, &objects, &match), CRIBO_OK);
        for (int view = 0; view < 2; view++) {
            ck_assert_int_eq(index[3 * view], 2);
            ck_assert_int_eq(index[3 * view + 1], 1);
            ck_assert_int_eq(index[3 * view + 2], 0);
        }
        for (int k = 0; k < 6; k++) ck_assert_int_eq(matches[k], 1);
        cribo_memory_bank_free(bank);
    }
}
END_TEST

START_TEST(test_memory_bank_query_own_image_is_never_matched)
{
    static const float x[] = {1, 0, 0, 1};
    static const int64_t one_each[] = {1, 1}, ids[] = {7, 8}, none[] = {-1, -1}, same[] = {7, 7};
    cribo_object_batch entries = {sizeof entries, 2, one_each, x, x, ids};
    cribo_memory_bank *bank = new_bank(4, 2, 2, 1);
    int64_t index[2];
    uint8_t matches[2];
    cribo_match match = {.struct_size = sizeof match, .index1 = index, .match2 = matches};
    ck_assert_int_eq(cribo_memory_bank_push(bank, &entries), CRIBO_OK);

    ck_assert_int_eq(cribo_memory_bank_query(bank, &entries, &match), CRIBO_OK);
    ck_assert_int_eq(index[0], 1);
    ck_assert_int_eq(index[1], 0);
    ck_assert_int_eq(matches[0] + matches[1], 0);

    cribo_object_batch strangers = {sizeof strangers, 2, one_each, x, x, none};
    ck_assert_int_eq(cribo_memory_bank_query(bank, &strangers, &match), CRIBO_OK);
    ck_assert_int_eq(index[0], 0);
    ck_assert_int_eq(index[1], 1);
    ck_assert_int_eq(matches[0] + matches[1], 2);

    /* A bank with only the image itself. */
    cribo_object_batch twins = {sizeof twins, 2, one_each, x, x, same};
    ck_assert_int_eq(cribo_memory_bank_import(bank, &twins), CRIBO_OK);
    ck_assert_int_eq(cribo_memory_bank_query(bank, &twins, &match), CRIBO_OK);
    ck_assert_int_eq(index[0], -1);
    ck_assert_int_eq(index[1], -1);
    ck_assert_int_eq(matches[0] + matches[1], 0);
    cribo_memory_bank_free(bank);
}
END_TEST

START_TEST(test_memory_bank_zero_and_extreme_vectors_are_defined)
{
    static const float x[] = {0, 0, 3e38f, 3e38f, 1e-38f, 0, -3e38f, 3e38f};
    static const int64_t four = 4;
    cribo_object_batch batch = {sizeof batch, 1, &four, x, x, NULL};
    cribo_memory_bank *bank = new_bank(4, 4, 2, 2);
    int64_t index[8];
    cribo_match match = {.struct_size = sizeof match, .index1 = index, .index2 = index + 4};
    ck_assert_int_eq(cribo_memory_bank_push(bank, &batch), CRIBO_OK);
    ck_assert_int_eq(cribo_memory_bank_query(bank, &batch, &match), CRIBO_OK);
    for (int view = 0; view < 2; view++) {
        ck_assert_int_eq(index[4 * view], 0); /* a zero vector: all cosines are 0 */
        ck_assert_int_eq(index[4 * view + 1], 1);
        ck_assert_int_eq(index[4 * view + 3], 3);
    }
    cribo_memory_bank_free(bank);
}
END_TEST

START_TEST(test_memory_bank_without_objects_is_defined)
{
    static const float x[] = {1, 2};
    static const int64_t counts[] = {0, 1, 0}, zeros[] = {0, 0, 0};
    cribo_object_batch one = {sizeof one, 3, counts, x, x, NULL}, none = {.struct_size = sizeof none};
    cribo_object_batch hollow = {sizeof hollow, 3, zeros, NULL, NULL, NULL};
    int64_t index[2] = {5, 5}, images, rows;
    uint8_t matches[2] = {5, 5};
    float neighbour[2] = {5, 5};
    cribo_match match = {sizeof match, index, index + 1, matches, matches + 1, neighbour, NULL};
    cribo_memory_bank *bank = new_bank(5, 2, 2, 2);

    ck_assert_int_eq(cribo_memory_bank_query(bank, &none, &match), CRIBO_OK);
    ck_assert_int_eq(cribo_memory_bank_query(bank, &hollow, &match), CRIBO_OK);
    ck_assert_int_eq(index[0], 5);
    ck_assert_int_eq(cribo_memory_bank_query(bank, &one, &match), CRIBO_OK); /* the bank is empty */
    ck_assert(index[0] == -1 && index[1] == -1 && matches[0] == 0 && matches[1] == 0);
    ck_assert(neighbour[0] == 0 && neighbour[1] == 0);

    ck_assert_int_eq(cribo_memory_bank_push(bank, &none), CRIBO_OK);
    ck_assert_int_eq(cribo_memory_bank_push(bank, &hollow), CRIBO_OK);
    ck_assert_int_eq(cribo_memory_bank_query(bank, &one, &match), CRIBO_OK); /* images without objects */
    ck_assert_int_eq(index[0], -1);
    ck_assert_int_eq(cribo_memory_bank_push(bank, &one), CRIBO_OK);
    ck_assert_int_eq(cribo_memory_bank_count(bank, &images, &rows), CRIBO_OK);
    ck_assert(images == 5 && rows == 1);
    ck_assert_int_eq(cribo_memory_bank_query(bank, &one, &match), CRIBO_OK);
    ck_assert(index[0] == 0 && matches[0] == 1 && matches[1] == 1 && neighbour[1] == 2);
    ck_assert_int_eq(cribo_memory_bank_import(bank, &none), CRIBO_OK);
    ck_assert_int_eq(cribo_memory_bank_count(bank, &images, NULL), CRIBO_OK);
    ck_assert_int_eq(images, 0);
    cribo_memory_bank_free(bank);
    cribo_memory_bank_free(NULL);
}
END_TEST

START_TEST(test_memory_bank_results_do_not_depend_on_threads)
{
    enum { WIDTH = 40, MOST = 16, IMAGES = 200 };
    findings first = {{0}, {0}, {0}};
    for (int64_t threads = 1; threads < 8; threads += 3) {
        cribo_memory_bank *bank = new_bank(IMAGES, MOST, WIDTH, threads);
        for (uint64_t step = 0; step < 6; step++) {
            own_batch o = random_objects(step, IMAGES / 3, MOST, WIDTH, 50);
            ck_assert_int_eq(cribo_memory_bank_push(bank, &o.batch), CRIBO_OK);
            free_objects(&o);
        }
        own_batch o = random_objects(77, IMAGES, MOST, WIDTH, 50);
        findings f = query(bank, &o, WIDTH);
        for (int view = 0; threads > 1 && view < 2; view++) {
            ck_assert(memcmp(f.index[view], first.index[view], o.rows * sizeof(int64_t)) == 0);
            ck_assert(memcmp(f.match[view], first.match[view], o.rows) == 0);
        }
        if (threads == 1)
            first = f;
        else
            free_findings(&f);
        free_objects(&o);
        cribo_memory_bank_free(bank);
    }
    free_findings(&first);
}
END_TEST

START_TEST(test_memory_bank_export_then_import_is_the_same_bank)
{
    enum { WIDTH = 6, MOST = 30, IMAGES = 100 };
    cribo_memory_bank *bank = new_bank(IMAGES, MOST, WIDTH, 1), *copy = new_bank(IMAGES, MOST, WIDTH, 1);
    for (uint64_t step = 0; step < 8; step++) {
        own_batch o = random_objects(step, 31, MOST, WIDTH, 12);
        content held = content_of(bank, WIDTH);
        cribo_object_batch batch = {
            sizeof batch, held.images, held.per_image, held.view[0], held.view[1], held.ids};
        ck_assert_int_eq(cribo_memory_bank_import(copy, &batch), CRIBO_OK);
        content copied = content_of(copy, WIDTH);
        assert_same_content(&copied, &held, WIDTH);

        findings a = query(bank, &o, WIDTH), b = query(copy, &o, WIDTH);
        for (int view = 0; view < 2; view++)
            ck_assert(memcmp(a.index[view], b.index[view], o.rows * sizeof(int64_t)) == 0);
        ck_assert_int_eq(cribo_memory_bank_push(bank, &o.batch), CRIBO_OK);
        free_findings(&a);
        free_findings(&b);
        free_content(&held);
        free_content(&copied);
        free_objects(&o);
    }
    cribo_memory_bank_free(bank);
    cribo_memory_bank_free(copy);
}
END_TEST

/* `part` of the message names the wrong argument. */
static void assert_refused(cribo_status status, const char *part)
{
    ck_assert_int_eq(status, CRIBO_INVALID_ARGUMENT);
    ck_assert_msg(
        strstr(cribo_last_error(), part) != NULL, "\"%s\" does not tell of \"%s\"", cribo_last_error(), part);
}

START_TEST(test_memory_bank_create_bad_settings_are_refused)
{
    static const struct {
        const char *name;
        int64_t value;
    } bad[] = {{"bank_images", 0}, {"bank_images", ((int64_t)1 << 31) + 1}, {"objects_per_image", 0},
        {"objects_per_image", 4097}, {"width", 0}, {"width", 65537}, {"max_objects", -1},
        {"max_objects", INT64_MAX}};
    cribo_memory_bank_config config;
    cribo_memory_bank *bank = (cribo_memory_bank *)&config;
    ck_assert_int_eq(cribo_memory_bank_config_init(&config, sizeof config), CRIBO_OK);
    assert_refused(cribo_memory_bank_create(NULL, &config, NULL), "out is NULL");
    assert_refused(cribo_memory_bank_create(&bank, NULL, NULL), "config is NULL");
    ck_assert_ptr_null(bank);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        ck_assert_int_eq(cribo_memory_bank_config_init(&config, sizeof config), CRIBO_OK);
        int64_t *field = strcmp(bad[i].name, "bank_images") == 0         ? &config.bank_images
                         : strcmp(bad[i].name, "objects_per_image") == 0 ? &config.objects_per_image
                         : strcmp(bad[i].name, "width") == 0             ? &config.width
                                                                         : &config.max_objects;
        *field = bad[i].value;
        bank = (cribo_memory_bank *)&config;
        assert_refused(cribo_memory_bank_create(&bank, &config, NULL), bad[i].name);
        ck_assert_ptr_null(bank);
    }
    config.struct_size = 7;
    assert_refused(cribo_memory_bank_create(&bank, &config, NULL), "struct_size");
}
END_TEST

START_TEST(test_memory_bank_bad_batches_are_refused_and_change_nothing)
{
    static const float x[] = {1, 2, 3, 4}, nan[] = {1, 2, NAN, 4}, infinite[] = {1, INFINITY, 3, 4};
    static const int64_t two = 2, three = 3, minus = -1, many[] = {2, 2, 2, 2};
    static const struct {
        cribo_object_batch batch;
        const char *part;
    } bad[] = {
        {{0, 1, &two, x, x, NULL}, "struct_size"},
        {{sizeof(cribo_object_batch), -1, &two, x, x, NULL}, "images = -1"},
        {{sizeof(cribo_object_batch), 1, NULL, x, x, NULL}, "objects_per_image is NULL"},
        {{sizeof(cribo_object_batch), 1, &three, x, x, NULL}, "objects_per_image[0] = 3"},
        {{sizeof(cribo_object_batch), 1, &minus, x, x, NULL}, "objects_per_image[0] = -1"},
        {{sizeof(cribo_object_batch), 1, &two, NULL, x, NULL}, "view1 is NULL"},
        {{sizeof(cribo_object_batch), 1, &two, x, NULL, NULL}, "view2 is NULL"},
        {{sizeof(cribo_object_batch), 1, &two, nan, x, NULL}, "view1[1, 0] = nan"},
        {{sizeof(cribo_object_batch), 1, &two, x, infinite, NULL}, "view2[0, 1] = inf"},
        {{sizeof(cribo_object_batch), 4, many, x, x, NULL}, "more than"},
    };
    cribo_memory_bank_config config;
    cribo_memory_bank *bank;
    ck_assert_int_eq(cribo_memory_bank_config_init(&config, sizeof config), CRIBO_OK);
    config.bank_images = 3;
    config.objects_per_image = 2;
    config.width = 2;
    config.max_objects = 7;
    ck_assert_int_eq(cribo_memory_bank_create(&bank, &config, NULL), CRIBO_OK);
    cribo_object_batch good = {sizeof good, 1, &two, x, x, NULL};
    ck_assert_int_eq(cribo_memory_bank_push(bank, &good), CRIBO_OK);
    content before = content_of(bank, 2);
    cribo_match match = {.struct_size = sizeof match};

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_refused(cribo_memory_bank_push(bank, &bad[i].batch), bad[i].part);
        assert_refused(cribo_memory_bank_query(bank, &bad[i].batch, &match), bad[i].part);
        assert_refused(cribo_memory_bank_import(bank, &bad[i].batch), i == 9 ? "images = 4" : bad[i].part);
    }
    assert_refused(cribo_memory_bank_push(bank, NULL), "objects is NULL");
    assert_refused(cribo_memory_bank_query(bank, &good, NULL), "match is NULL");
    match.struct_size = 1;
    assert_refused(cribo_memory_bank_query(bank, &good, &match), "match.struct_size");
    assert_refused(cribo_memory_bank_push(NULL, &good), "bank is NULL");
    assert_refused(cribo_memory_bank_query(NULL, &good, &match), "bank is NULL");
    assert_refused(cribo_memory_bank_import(NULL, &good), "bank is NULL");
    assert_refused(cribo_memory_bank_count(NULL, NULL, NULL), "bank is NULL");
    assert_refused(cribo_memory_bank_export(NULL, NULL, NULL, NULL, NULL), "bank is NULL");

    content after = content_of(bank, 2);
    assert_same_content(&after, &before, 2);
    free_content(&after);
    free_content(&before);
    cribo_memory_bank_free(bank);
}
END_TEST

static cribo_status create_counted(cribo_memory_bank **bank, faulty *allocator)
{
    cribo_memory_bank_config config;
    cribo_runtime runtime;
    ck_assert_int_eq(cribo_runtime_init(&runtime, sizeof runtime), CRIBO_OK);
    runtime.threads = 2;
    runtime.allocate = faulty_allocate;
    runtime.release = faulty_release;
    runtime.allocator_user = allocator;
    ck_assert_int_eq(cribo_memory_bank_config_init(&config, sizeof config), CRIBO_OK);
    config.bank_images = 20;
    config.objects_per_image = 4;
    config.width = 8;
    config.max_objects = 100;
    return cribo_memory_bank_create(bank, &config, &runtime);
}

START_TEST(test_memory_bank_create_out_of_memory_leaks_nothing)
{
    for (int for_ever = 0; for_ever < 2; for_ever++) {
        cribo_status status = CRIBO_OUT_OF_MEMORY;
        for (size_t n = 1; status != CRIBO_OK; n++) {
            faulty allocator = {.fail_at = n, .for_ever = for_ever};
            cribo_memory_bank *bank = (cribo_memory_bank *)&allocator;
            status = create_counted(&bank, &allocator);
            if (status == CRIBO_OK) {
                ck_assert_uint_gt(n, 10);
                cribo_memory_bank_free(bank);
            } else {
                ck_assert_int_eq(status, CRIBO_OUT_OF_MEMORY);
                ck_assert_ptr_null(bank);
            }
            ck_assert_uint_eq(allocator.held, 0);
        }
    }
}
END_TEST

START_TEST(test_memory_bank_calls_allocate_nothing)
{
    faulty allocator = {0};
    cribo_memory_bank *bank;
    ck_assert_int_eq(create_counted(&bank, &allocator), CRIBO_OK);
    size_t created = allocator.calls;
    for (uint64_t step = 0; step < 20; step++) {
        own_batch o = random_objects(step, 11, 4, 8, 3);
        findings f = query(bank, &o, 8);
        ck_assert_int_eq(cribo_memory_bank_push(bank, &o.batch), CRIBO_OK);
        ck_assert_int_eq(cribo_memory_bank_import(bank, &o.batch), CRIBO_OK);
        free_findings(&f);
        free_objects(&o);
    }
    ck_assert_uint_eq(allocator.calls, created);
    cribo_memory_bank_free(bank);
    ck_assert_uint_eq(allocator.held, 0);
}
END_TEST

#ifdef __linux__
/* Hooks that take whole pages from the system, which counts those that were touched. */
typedef struct paged {
    struct {
        void *memory;
        size_t bytes;
    } block[64];
} paged;

static void *paged_allocate(void *user, size_t bytes)
{
    paged *p = user;
    for (size_t i = 0; i < sizeof p->block / sizeof p->block[0]; i++) {
        if (p->block[i].memory) continue;
        void *memory =
            mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (memory == MAP_FAILED) return NULL;
        madvise(memory, bytes, MADV_NOHUGEPAGE); /* a touch counts for one small page */
        p->block[i].memory = memory;
        p->block[i].bytes = bytes;
        return memory;
    }
    return NULL;
}

static void paged_release(void *user, void *memory)
{
    paged *p = user;
    for (size_t i = 0; i < sizeof p->block / sizeof p->block[0]; i++) {
        if (p->block[i].memory != memory) continue;
        munmap(memory, p->block[i].bytes);
        p->block[i].memory = NULL;
    }
}

static size_t touched_bytes(const paged *p)
{
    size_t touched = 0, page = (size_t)sysconf(_SC_PAGESIZE);
    for (size_t i = 0; i < sizeof p->block / sizeof p->block[0]; i++) {
        if (!p->block[i].memory) continue;
        size_t pages = (p->block[i].bytes + page - 1) / page;
        unsigned char *resident = malloc(pages);
        ck_assert_int_eq(mincore(p->block[i].memory, p->block[i].bytes, resident), 0);
        for (size_t k = 0; k < pages; k++) touched += resident[k] & 1 ? page : 0;
        free(resident);
    }
    return touched;
}

/* 400 MB of vectors: creation touches none of them, and entries touch only their own rows. */
START_TEST(test_memory_bank_hooked_memory_is_touched_by_entries_alone)
{
    enum { IMAGES = 16384, MOST = 8, WIDTH = 384, BATCH = 64 };
    static paged pages;
    cribo_memory_bank_config config;
    cribo_runtime runtime = {.struct_size = sizeof runtime,
        .threads = 1,
        .allocate = paged_allocate,
        .release = paged_release,
        .allocator_user = &pages};
    cribo_memory_bank *bank;
    const size_t vectors = (size_t)2 * IMAGES * MOST * WIDTH * sizeof(float);
    ck_assert_int_eq(cribo_memory_bank_config_init(&config, sizeof config), CRIBO_OK);
    config.bank_images = IMAGES;
    config.objects_per_image = MOST;
    config.width = WIDTH;
    config.max_objects = BATCH * MOST;
    ck_assert_int_eq(cribo_memory_bank_create(&bank, &config, &runtime), CRIBO_OK);
    size_t created = touched_bytes(&pages);
    ck_assert_msg(created < vectors / 16, "%zu of %zu bytes touched", created, vectors);

    own_batch o = random_objects(5, BATCH, MOST, WIDTH, 9);
    ck_assert_int_eq(cribo_memory_bank_push(bank, &o.batch), CRIBO_OK);
    check_query(bank, &o, WIDTH);
    size_t pushed_bytes = touched_bytes(&pages) - created;
    ck_assert_uint_ge(pushed_bytes, o.rows * WIDTH * sizeof(float));
    ck_assert_msg(pushed_bytes < vectors / 16, "%zu of %zu bytes touched", pushed_bytes, vectors);
    free_objects(&o);
    cribo_memory_bank_free(bank);
    for (size_t i = 0; i < sizeof pages.block / sizeof pages.block[0]; i++)
        ck_assert_ptr_null(pages.block[i].memory);
}
END_TEST
#endif

START_TEST(test_memory_bank_result_does_not_depend_on_the_content_of_new_memory)
{
    enum { IMAGES = 30, MOST = 6, WIDTH = 20 };
    faulty ones = {0};
    cribo_memory_bank *banks[2];
    for (int hooked = 0; hooked < 2; hooked++) {
        cribo_runtime runtime = {.struct_size = sizeof runtime, .threads = 2};
        cribo_memory_bank_config config;
        ck_assert_int_eq(cribo_memory_bank_config_init(&config, sizeof config), CRIBO_OK);
        config.bank_images = IMAGES, config.objects_per_image = MOST, config.width = WIDTH;
        if (hooked)
            runtime.allocate = faulty_allocate, runtime.release = faulty_release,
            runtime.allocator_user = &ones;
        ck_assert_int_eq(cribo_memory_bank_create(&banks[hooked], &config, &runtime), CRIBO_OK);
    }
    for (uint64_t step = 0; step < 9; step++) {
        own_batch o = random_objects(step, 8, MOST, WIDTH, 20);
        findings found[2] = {query(banks[0], &o, WIDTH), query(banks[1], &o, WIDTH)};
        for (int view = 0; view < 2; view++) {
            ck_assert(memcmp(found[0].index[view], found[1].index[view],
                          o.rows * sizeof *found[0].index[view]) == 0);
            ck_assert(memcmp(found[0].match[view], found[1].match[view], o.rows) == 0);
            ck_assert(memcmp(found[0].neighbours[view], found[1].neighbours[view],
                          o.rows * WIDTH * sizeof(float)) == 0);
        }
        for (int hooked = 0; hooked < 2; hooked++) {
            free_findings(&found[hooked]);
            ck_assert_int_eq(cribo_memory_bank_push(banks[hooked], &o.batch), CRIBO_OK);
        }
        free_objects(&o);
    }
    content a = content_of(banks[0], WIDTH), b = content_of(banks[1], WIDTH);
    assert_same_content(&a, &b, WIDTH);
    free_content(&a);
    free_content(&b);
    for (int hooked = 0; hooked < 2; hooked++) cribo_memory_bank_free(banks[hooked]);
    ck_assert_uint_eq(ones.held, 0);
}
END_TEST

/* A quarter of the room is enough for images that have a quarter of the objects they may have. */
START_TEST(test_object_queue_emptied_blocks_are_used_again)
{
    enum { IMAGES = 2000, MOST = 32, WIDTH = 1, EACH = 8 };
    cb_allocator allocator = {0};
    cb_object_queue queue;
    static const cb_real x[EACH * WIDTH];
    static const int64_t count = EACH;
    cb_objects objects = {1, &count, {x, x}, NULL};
    size_t last = 0;
    ck_assert_int_eq(
        cb_object_queue_create(&allocator, &queue, IMAGES, MOST, WIDTH, (cb_division){0, 1}), CRIBO_OK);
    for (size_t step = 0; step < 10 * IMAGES; step++) {
        cb_object_queue_push(&queue, &objects);
        size_t row = cb_object_queue_row(&queue, 0);
        if (row > last) last = row;
    }
    ck_assert_uint_eq(queue.entries, (size_t)IMAGES * EACH);
    ck_assert_uint_lt(last, (size_t)IMAGES * EACH + 2 * queue.block_rows);
    cb_object_queue_destroy(&allocator, &queue);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("memory bank");
    TCase *group = tcase_create("memory bank");
    tcase_set_timeout(group, 120);
    tcase_add_loop_test(group, test_memory_bank_random_pushes_equal_plain_list, 0, 7);
    tcase_add_loop_test(group, test_memory_bank_query_equals_exhaustive_search, 0, 7);
    tcase_add_test(group, test_memory_bank_query_tie_finds_newest_entry);
    tcase_add_test(group, test_memory_bank_query_own_image_is_never_matched);
    tcase_add_test(group, test_memory_bank_zero_and_extreme_vectors_are_defined);
    tcase_add_test(group, test_memory_bank_without_objects_is_defined);
    tcase_add_test(group, test_memory_bank_results_do_not_depend_on_threads);
    tcase_add_test(group, test_memory_bank_export_then_import_is_the_same_bank);
    tcase_add_test(group, test_memory_bank_create_bad_settings_are_refused);
    tcase_add_test(group, test_memory_bank_bad_batches_are_refused_and_change_nothing);
    tcase_add_test(group, test_memory_bank_create_out_of_memory_leaks_nothing);
    tcase_add_test(group, test_memory_bank_calls_allocate_nothing);
#ifdef __linux__
    tcase_add_test(group, test_memory_bank_hooked_memory_is_touched_by_entries_alone);
#endif
    tcase_add_test(group, test_memory_bank_result_does_not_depend_on_the_content_of_new_memory);
    tcase_add_test(group, test_object_queue_emptied_blocks_are_used_again);
    suite_add_tcase(suite, group);
    return run_suite(suite);
}
