/* Batches: the same for any number of workers, with any broken files. */
#include "files.h"
#include "pictures/complaints.h"
#include "pictures/loader.h"
#include "suite.h"

#include <stdio.h>
#include <string.h>

enum { S = 16, FILES = 11, BATCH = 4 };

static _Atomic int warnings; /* two loaders may be alive */

static void count_broken(void *user, const char *path, const char *reason)
{
    (void)user;
    ck_assert_ptr_nonnull(path);
    ck_assert_int_ne(reason[0], 0);
    warnings++;
}

/* Pictures of different sizes and formats; those with a number in `broken` are cut short. */
static char *make_pictures(int files, unsigned broken)
{
    char *root = files_make_folder(), name[32];
    for (int i = 0; i < files; i++) {
        struct image image = files_gradient(30 + 7 * i, 60 - 3 * i);
        size_t size;
        uint8_t *bytes =
            i % 2 ? files_jpeg(&image, 90, i % 8 + 1, 0, 0, &size) : files_png(&image, 2, 8, 0, 0, &size);
        snprintf(name, sizeof name, "%02d.%s", i, i % 2 ? "jpg" : "png");
        files_write(files_path(root, name), bytes, broken >> i & 1 ? size / 2 : size);
        free(bytes);
        image_free(&image);
    }
    return root;
}

static void list_pictures(struct pictures *pictures, char *root)
{
    struct problem problem;
    ck_assert_msg(
        pictures_open(pictures, files_path(root, "index"), &root, 1, NULL, &problem), "%s", problem.text);
}

static struct loader_options options_of(
    const struct pictures *pictures, int workers, size_t batch, uint64_t seed)
{
    return (struct loader_options){.pictures = pictures,
        .recipe = recipe_published(),
        .image_size = S,
        .batch = batch,
        .workers = workers,
        .seed = seed,
        .say_broken = count_broken};
}

static struct loader *start_loader(const struct loader_options *options)
{
    struct loader *loader;
    struct problem problem;
    warnings = 0;
    ck_assert(loader_create(&loader, options, &problem));
    return loader;
}

static struct loader *make_loader(const struct pictures *pictures, int workers, size_t batch, uint64_t seed)
{
    struct loader_options options = options_of(pictures, workers, batch, seed);
    return start_loader(&options);
}

/* A digest (FNV-1a) of everything in the next `batches` batches. */
static uint64_t digest_next(struct loader *loader, int batches)
{
    uint64_t hash = UINT64_C(14695981039346656037);
    for (int t = 0; t < batches; t++) {
        struct loader_batch batch;
        struct problem problem;
        ck_assert_msg(loader_next(loader, &batch, &problem), "%s", problem.text);
        size_t count = (size_t)batch.images;
        const void *parts[] = {batch.view1, batch.view2, batch.crops1, batch.crops2, batch.ids};
        const size_t sizes[] = {
            3 * S * S, 3 * S * S, sizeof(cribo_crop), sizeof(cribo_crop), sizeof(int64_t)};
        for (int p = 0; p < 5; p++)
            for (size_t i = 0; i < count * sizes[p]; i++)
                hash = (hash ^ ((const uint8_t *)parts[p])[i]) * UINT64_C(1099511628211);
        hash = (hash ^ count) * UINT64_C(1099511628211);
    }
    return hash;
}

static uint64_t digest(const struct pictures *pictures, int workers, uint64_t seed, int batches)
{
    struct loader *loader = make_loader(pictures, workers, BATCH, seed);
    uint64_t hash = digest_next(loader, batches);
    loader_free(loader);
    return hash;
}

START_TEST(test_loader_any_number_of_workers_gives_the_same_batches)
{
    char *root = make_pictures(FILES, 1 << 3 | 1 << 4);
    struct pictures pictures;
    list_pictures(&pictures, root);
    uint64_t one = digest(&pictures, 1, 5, 9);
    ck_assert_uint_eq(digest(&pictures, 2, 5, 9), one);
    ck_assert_uint_eq(digest(&pictures, 7, 5, 9), one);
    ck_assert_uint_ne(digest(&pictures, 2, 6, 9), one);
    pictures_close(&pictures);
    files_remove(root);
}
END_TEST

START_TEST(test_loader_epoch_has_each_file_at_most_once_in_a_new_order)
{
    char *root = make_pictures(FILES, 0);
    struct pictures pictures;
    struct problem problem;
    struct loader_batch batch;
    int64_t orders[6][2 * BATCH];
    list_pictures(&pictures, root);
    struct loader *loader = make_loader(&pictures, 2, BATCH, 1);
    ck_assert_uint_eq(loader_epoch_batches(loader), 2);
    for (int epoch = 0; epoch < 6; epoch++) {
        int seen[FILES] = {0};
        for (int t = 0; t < 2; t++) {
            ck_assert(loader_next(loader, &batch, &problem));
            ck_assert_int_eq(batch.images, BATCH);
            memcpy(orders[epoch] + t * BATCH, batch.ids, sizeof orders[0] / 2);
            for (int i = 0; i < BATCH; i++) ck_assert_int_eq(seen[batch.ids[i]]++, 0);
        }
        ck_assert(epoch == 0 || memcmp(orders[epoch], orders[epoch - 1], sizeof orders[0]));
    }
    loader_free(loader);
    pictures_close(&pictures);
    files_remove(root);
}
END_TEST

START_TEST(test_loader_broken_pictures_are_replaced_and_reported_once)
{
    char *root = make_pictures(FILES, 1 << 0 | 1 << 5);
    struct pictures pictures;
    struct problem problem;
    struct loader_batch batch;
    list_pictures(&pictures, root);
    struct loader *loader = make_loader(&pictures, 3, FILES, 1);
    int seen[FILES] = {0};
    for (int t = 0; t < 50; t++) {
        ck_assert(loader_next(loader, &batch, &problem));
        ck_assert_int_eq(batch.images, FILES);
        for (int i = 0; i < FILES; i++) seen[batch.ids[i]]++;
    }
    for (int i = 0; i < FILES; i++) /* 50 by itself and 100 replacements among nine */
        ck_assert(i == 0 || i == 5 ? seen[i] == 0 : seen[i] > 52 && seen[i] < 75);
    ck_assert_int_eq(warnings, 2);
    ck_assert_uint_eq(loader_broken(loader), 2);
    loader_free(loader);
    pictures_close(&pictures);
    files_remove(root);
}
END_TEST

/* A picture and itself as a replacement in one epoch: not the same views twice. */
START_TEST(test_loader_replacement_has_views_of_its_own)
{
    char *root = make_pictures(2, 1 << 1);
    struct pictures pictures;
    struct problem problem;
    struct loader_batch batch;
    list_pictures(&pictures, root);
    struct loader *loader = make_loader(&pictures, 2, 2, 1);
    ck_assert(loader_next(loader, &batch, &problem));
    ck_assert_int_eq(batch.images, 2);
    ck_assert(batch.ids[0] == 0 && batch.ids[1] == 0);
    ck_assert(memcmp(&batch.crops1[0], &batch.crops1[1], sizeof batch.crops1[0]));
    loader_free(loader);
    pictures_close(&pictures);
    files_remove(root);
}
END_TEST

START_TEST(test_loader_that_goes_on_makes_the_batches_of_one_that_did_not_stop)
{
    char *root = make_pictures(FILES, 1 << 3 | 1 << 4);
    struct pictures pictures;
    list_pictures(&pictures, root);
    for (int taken = 0; taken < 6; taken++) {
        uint32_t broken[FILES];
        struct loader *whole = make_loader(&pictures, 2, BATCH, 5);
        digest_next(whole, taken);
        ck_assert_uint_eq(loader_taken(whole), taken);
        struct loader_options options = options_of(&pictures, 3, BATCH, 5);
        options.first = (uint64_t)taken;
        options.broken = broken;
        options.broken_count = loader_broken_before(whole, options.first, broken);
        ck_assert_uint_eq(loader_broken_before(whole, options.first, NULL), options.broken_count);
        ck_assert(taken > 0 || options.broken_count == 0);
        struct loader *rest = start_loader(&options);
        ck_assert_uint_eq(digest_next(rest, 7), digest_next(whole, 7));
        ck_assert_uint_eq(loader_taken(rest), taken + 7);
        ck_assert_uint_eq(loader_broken(rest), 2);
        loader_free(rest);
        loader_free(whole);
    }
    pictures_close(&pictures);
    files_remove(root);
}
END_TEST

/* Repaired while the run was stopped: it would have been skipped without the stop. */
START_TEST(test_loader_files_known_to_be_broken_are_not_read_again)
{
    char *root = make_pictures(FILES, 0);
    struct pictures pictures;
    struct problem problem;
    struct loader_batch batch;
    const uint32_t broken[] = {7};
    list_pictures(&pictures, root);
    struct loader_options options = options_of(&pictures, 2, FILES, 1);
    options.first = 3;
    options.broken = broken;
    options.broken_count = 1;
    struct loader *loader = start_loader(&options);
    ck_assert(loader_next(loader, &batch, &problem));
    ck_assert_int_eq(batch.images, FILES);
    for (int i = 0; i < FILES; i++) ck_assert_int_ne(batch.ids[i], 7);
    ck_assert_int_eq(warnings, 0);
    loader_free(loader);
    pictures_close(&pictures);
    files_remove(root);
}
END_TEST

START_TEST(test_loader_with_nothing_but_broken_files_fails)
{
    char *root = make_pictures(3, 7);
    struct pictures pictures;
    struct problem problem;
    struct loader_batch batch;
    list_pictures(&pictures, root);
    struct loader *loader = make_loader(&pictures, 2, 1, 1);
    int calls = 0;
    while (calls < 10 && loader_next(loader, &batch, &problem)) calls++;
    ck_assert_int_eq(calls, 2);
    ck_assert_str_eq(problem.text, "none of the 3 pictures could be read");
    loader_free(loader);
    pictures_close(&pictures);
    files_remove(root);
}
END_TEST

START_TEST(test_loader_fewer_files_than_a_batch_make_a_smaller_one)
{
    char *root = make_pictures(3, 0);
    struct pictures pictures;
    struct problem problem;
    struct loader_batch batch;
    list_pictures(&pictures, root);
    struct loader *loader = make_loader(&pictures, 2, 64, 1);
    ck_assert_uint_eq(loader_epoch_batches(loader), 1);
    ck_assert(loader_next(loader, &batch, &problem));
    ck_assert_int_eq(batch.images, 3);
    loader_free(loader);
    pictures_close(&pictures);
    files_remove(root);
}
END_TEST

/* A source that is gone ends the run, though another one is fine. */
START_TEST(test_loader_source_most_of_which_is_unreadable_ends_the_run)
{
    char *good = make_pictures(FILES, 0), *bad = files_make_folder(), name[32];
    struct pictures pictures;
    struct problem problem;
    struct loader_batch batch;
    char *sources[] = {good, bad};
    for (int i = 0; i < 3 * LOADER_UNREADABLE; i++) {
        snprintf(name, sizeof name, "%d.jpg", i);
        files_write(files_path(bad, name), "words", 5);
    }
    ck_assert(pictures_open(&pictures, files_path(good, "index"), sources, 2, NULL, &problem));
    ck_assert_uint_eq(pictures.sources, 2);
    ck_assert_uint_eq(pictures_source(&pictures, 0), 0);
    ck_assert_uint_eq(pictures_source(&pictures, FILES), 1);
    struct loader *loader = make_loader(&pictures, 2, BATCH, 1);
    int calls = 0;
    problem.text[0] = '\0';
    while (calls < 1000 && loader_next(loader, &batch, &problem)) calls++;
    ck_assert_msg(
        strstr(problem.text, bad) && strstr(problem.text, "32 could not be read"), "%s", problem.text);
    loader_free(loader);
    pictures_close(&pictures);
    files_remove(good);
    files_remove(bad);
}
END_TEST

/* Compares images of a part with those of the whole batch from `first` on. */
static void expect_images(const struct loader_batch *part, const struct loader_batch *whole, size_t first)
{
    size_t count = (size_t)part->images, view = 3 * S * S;
    ck_assert(memcmp(part->view1, whole->view1 + first * view, count * view) == 0);
    ck_assert(memcmp(part->view2, whole->view2 + first * view, count * view) == 0);
    ck_assert(memcmp(part->crops1, whole->crops1 + first, count * sizeof *part->crops1) == 0);
    ck_assert(memcmp(part->crops2, whole->crops2 + first, count * sizeof *part->crops2) == 0);
    ck_assert(memcmp(part->ids, whole->ids + first, count * sizeof *part->ids) == 0);
}

/* Other ones in each epoch, the same for any number of workers; ids, views and boxes are as without them. */
START_TEST(test_loader_local_crops_are_of_their_pictures_and_leave_the_views)
{
    enum { CROPS = 3, SIDE = 16, BYTES = CROPS * 3 * SIDE * SIDE };
    char *root = make_pictures(FILES, 1 << 3);
    struct pictures pictures;
    struct problem problem;
    uint8_t *seen[FILES] = {0};
    list_pictures(&pictures, root);
    struct loader_options options = options_of(&pictures, 1, BATCH, 5);
    struct loader *plain = start_loader(&options);
    options.local_crops = CROPS;
    options.local_size = SIDE;
    struct loader *one = start_loader(&options);
    options.workers = 3;
    struct loader *three = start_loader(&options);
    for (int t = 0; t < 6; t++) {
        struct loader_batch a, b, c;
        ck_assert(loader_next(plain, &a, &problem) && loader_next(one, &b, &problem));
        ck_assert(loader_next(three, &c, &problem));
        size_t count = (size_t)a.images;
        ck_assert_ptr_null(a.local);
        ck_assert_mem_eq(a.ids, b.ids, count * sizeof *a.ids);
        ck_assert_mem_eq(a.crops1, b.crops1, count * sizeof *a.crops1);
        ck_assert_mem_eq(a.view2, b.view2, count * 3 * S * S);
        ck_assert_mem_eq(b.local, c.local, count * BYTES);
        for (size_t i = 0; i < count; i++) {
            const uint8_t *crops = b.local + i * BYTES;
            uint8_t **before = &seen[a.ids[i]];
            ck_assert(memcmp(crops, crops + BYTES / CROPS, BYTES / CROPS) != 0);
            if (*before)
                ck_assert(memcmp(*before, crops, BYTES) != 0);
            else
                *before = malloc(BYTES);
            memcpy(*before, crops, BYTES);
        }
    }
    for (int i = 0; i < FILES; i++) free(seen[i]);
    loader_free(plain);
    loader_free(one);
    loader_free(three);
    pictures_close(&pictures);
    files_remove(root);
}
END_TEST

START_TEST(test_loader_parts_join_to_the_whole_batch)
{
    enum { PARTS = 3, BROKEN = 2 };
    char *root = make_pictures(FILES, 1 << 3 | 1 << 4);
    struct pictures pictures;
    struct problem problem;
    struct loader *parts[PARTS];
    list_pictures(&pictures, root);
    struct loader *loader = make_loader(&pictures, 2, BATCH, 5);
    for (size_t p = 0; p < PARTS; p++) {
        struct loader_options options = options_of(&pictures, 2, BATCH, 5);
        options.part = p;
        options.parts = PARTS;
        parts[p] = start_loader(&options);
    }
    for (int t = 0; t < 9; t++) {
        struct loader_batch whole, part;
        size_t at = 0;
        ck_assert(loader_next(loader, &whole, &problem));
        for (size_t p = 0; p < PARTS; p++) {
            ck_assert(loader_next(parts[p], &part, &problem));
            expect_images(&part, &whole, at);
            at += (size_t)part.images;
            struct loader_broken broken;
            while (loader_take_broken(parts[p], &broken))
                for (size_t other = 0; other < PARTS; other++)
                    ck_assert(loader_add_broken(parts[other], &broken, &problem));
        }
        ck_assert_int_eq(at, whole.images);
        /* Any images of the batch can be made by any part. */
        ck_assert(loader_remake(parts[PARTS - 1], &part, 2, whole.ids + 1, whole.replaced + 1, &problem));
        expect_images(&part, &whole, 1);
    }
    uint32_t expected[FILES], found[FILES];
    size_t count = loader_broken_before(loader, 9, expected);
    ck_assert_uint_eq(count, BROKEN);
    for (size_t p = 0; p < PARTS; p++) {
        ck_assert_uint_eq(loader_broken_before(parts[p], 9, found), count);
        ck_assert(memcmp(found, expected, count * sizeof *found) == 0);
        loader_free(parts[p]);
    }
    loader_free(loader);
    pictures_close(&pictures);
    files_remove(root);
}
END_TEST

START_TEST(test_complaints_are_said_first_and_counted_then)
{
    struct complaints complaints;
    char text[300];
    complaints_init(&complaints);
    for (int i = 0; i < COMPLAINTS_SAID + 6; i++) {
        snprintf(text, sizeof text, i % 2 ? "broken JPEG: %d bytes too many" : "broken PNG: no end", i);
        complaints_add(&complaints, i % 2 ? "a.jpg" : "b.png", text, "left out");
    }
    ck_assert_uint_eq(complaints.said, COMPLAINTS_SAID);
    left_out_print(&complaints.rest, text, sizeof text);
    ck_assert_str_eq(text, "3 .jpg (broken JPEG), 3 .png (broken PNG: no end)");
    complaints_say_rest(&complaints);
}
END_TEST

RUN_TESTS("loader", test_loader_source_most_of_which_is_unreadable_ends_the_run,
    test_complaints_are_said_first_and_counted_then, test_loader_parts_join_to_the_whole_batch,
    test_loader_local_crops_are_of_their_pictures_and_leave_the_views,
    test_loader_any_number_of_workers_gives_the_same_batches,
    test_loader_epoch_has_each_file_at_most_once_in_a_new_order,
    test_loader_broken_pictures_are_replaced_and_reported_once, test_loader_replacement_has_views_of_its_own,
    test_loader_that_goes_on_makes_the_batches_of_one_that_did_not_stop,
    test_loader_files_known_to_be_broken_are_not_read_again, test_loader_with_nothing_but_broken_files_fails,
    test_loader_fewer_files_than_a_batch_make_a_smaller_one)
