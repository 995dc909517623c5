/*
 * Fashion-MNIST as cut-outs: outlines, colours, halves, and files that are not what they should be.
 */
#include "scenes/fashion.h"
#include "files.h"
#include "scenes/pools.h"
#include "scenes/scenes.h"
#include "suite.h"

#include <stdio.h>
#include <string.h>
#include <zlib.h>

enum { SIDE = FASHION_SIDE, PIXELS = SIDE * SIDE, ITEMS = 30 };

static void write_idx(
    const char *path, const uint8_t *header, unsigned length, const uint8_t *bytes, unsigned size)
{
    gzFile file = gzopen(path, "wb");
    ck_assert_ptr_nonnull(file);
    ck_assert_int_eq(gzwrite(file, header, length), (int)length);
    ck_assert_int_eq(gzwrite(file, bytes, size), (int)size);
    ck_assert_int_eq(gzclose(file), Z_OK);
}

/*
 * Items of class i mod 10: a ring of grey `grey` + class with a hole of 0 in it, in faint noise. `half` is
 * the files' first word.
 */
static void write_half(const char *root, const char *half, int grey)
{
    static const uint8_t images[16] = {0, 0, 8, 3, 0, 0, 0, ITEMS, 0, 0, 0, SIDE, 0, 0, 0, SIDE};
    static const uint8_t labels[8] = {0, 0, 8, 1, 0, 0, 0, ITEMS};
    uint8_t pixels[ITEMS * PIXELS], classes[ITEMS];
    char name[64];
    for (int i = 0; i < ITEMS * PIXELS; i++) {
        int x = i % SIDE, y = i / SIDE % SIDE, item = i / PIXELS;
        bool inside = x >= 4 && x < 24 && y >= 4 && y < 24, hole = x >= 10 && x < 18 && y >= 10 && y < 18;
        pixels[i] = (uint8_t)(hole ? 0 : inside ? grey + item % 10 : (x + y) % 5);
    }
    for (int i = 0; i < ITEMS; i++) classes[i] = (uint8_t)(i % 10);
    snprintf(name, sizeof name, "%s-images-idx3-ubyte.gz", half);
    write_idx(files_path(root, name), images, sizeof images, pixels, sizeof pixels);
    snprintf(name, sizeof name, "%s-labels-idx1-ubyte.gz", half);
    write_idx(files_path(root, name), labels, sizeof labels, classes, sizeof classes);
}

static char *make_data_set(void)
{
    char *root = files_make_folder();
    write_half(root, "train", 100);
    write_half(root, "t10k", 200);
    return root;
}

static void load(struct fashion *fashion, const char *root, bool validation)
{
    struct problem problem;
    ck_assert_msg(fashion_load(fashion, root, validation, &problem), "%s", problem.text);
}

START_TEST(test_fashion_halves_are_the_two_files)
{
    char *root = make_data_set();
    ck_assert(fashion_is_in(root) && !fashion_is_in(files_path(root, "nowhere")));
    for (int half = 0; half < 2; half++) {
        struct fashion fashion;
        load(&fashion, root, half);
        ck_assert_uint_eq(fashion.count, ITEMS);
        for (size_t k = 0; k < FASHION_CLASSES; k++) {
            ck_assert_uint_eq(fashion.first[k + 1] - fashion.first[k], 3);
            for (size_t i = fashion.first[k]; i < fashion.first[k + 1]; i++)
                ck_assert_uint_eq(
                    fashion.pixels[PIXELS * fashion.order[i] + 5 * SIDE + 5], (half ? 200 : 100) + k);
        }
        fashion_free(&fashion);
    }
    files_remove(root);
}
END_TEST

/*
 * Colours: faint pixels outside transparent, the hole opaque at one end of the ramp, the ring between the
 * ends.
 */
START_TEST(test_fashion_item_is_what_its_outline_encloses)
{
    static const double draws[FASHION_DRAWS] = {0, 0.5, 0.9, 0, 1, 0.4};
    char *root = make_data_set();
    struct fashion fashion;
    struct image item;
    struct problem problem;
    load(&fashion, root, true);
    ck_assert(fashion_item(&item, &fashion, 3, 1, draws, &problem));
    for (int i = 0; i < PIXELS; i++) {
        int x = i % SIDE, y = i / SIDE;
        bool inside = x >= 4 && x < 24 && y >= 4 && y < 24;
        ck_assert_int_eq(item.pixels[4 * i + 3], inside ? 255 : 0);
    }
    const uint8_t *hole = item.pixels + 4 * (14 * SIDE + 14), *ring = item.pixels + 4 * (5 * SIDE + 5);
    const double low[3] = {0, 0.125, 0.225}, high[3] = {0.4, 1, 0.64};
    for (int c = 0; c < 3; c++) {
        ck_assert_double_eq_tol(hole[c], 255 * low[c], 0.51);
        ck_assert_double_eq_tol(ring[c], 255 * low[c] + (high[c] - low[c]) * 203, 0.51);
    }
    image_free(&item);
    fashion_free(&fashion);
    files_remove(root);
}
END_TEST

static void assert_refused(const char *root, const char *part)
{
    struct fashion fashion;
    struct problem problem;
    ck_assert(!fashion_load(&fashion, root, false, &problem));
    ck_assert_msg(strstr(problem.text, part) != NULL, "\"%s\" lacks \"%s\"", problem.text, part);
    ck_assert_uint_eq(fashion.count, 0);
}

START_TEST(test_fashion_bad_files_are_named)
{
    static const uint8_t huge[16] = {0, 0, 8, 3, 255, 255, 255, 255, 0, 0, 0, SIDE, 0, 0, 0, SIDE};
    static const uint8_t small[16] = {0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 32, 0, 0, 0, SIDE};
    static const uint8_t few[8] = {0, 0, 8, 1, 0, 0, 0, 3}, wrong[8] = {0, 0, 8, 1, 0, 0, 0, ITEMS};
    static const uint8_t zeros[2 * PIXELS];
    uint8_t tens[ITEMS];
    char *root = make_data_set();
    const char *images = files_path(root, "train-images-idx3-ubyte.gz");
    const char *labels = files_path(root, "train-labels-idx1-ubyte.gz");
    memset(tens, 10, sizeof tens);
    write_idx(labels, few, sizeof few, zeros, 3);
    assert_refused(root, "train-labels-idx1-ubyte.gz: expected a label from 0 to 9 for each of 30 pictures");
    write_idx(labels, wrong, sizeof wrong, tens, ITEMS);
    assert_refused(root, "train-labels-idx1-ubyte.gz: expected a label");
    write_idx(labels, wrong, sizeof wrong, tens, ITEMS - 1);
    assert_refused(root, "train-labels-idx1-ubyte.gz: cannot be read");
    write_idx(images, huge, sizeof huge, zeros, sizeof zeros);
    assert_refused(root, "train-images-idx3-ubyte.gz: cannot be read as an IDX file of 28 x 28");
    write_idx(images, small, sizeof small, zeros, sizeof zeros);
    assert_refused(root, "train-images-idx3-ubyte.gz: cannot be read");
    files_write(images, "x", 1);
    assert_refused(root, "train-images-idx3-ubyte.gz: cannot be read");
    files_remove(root);
}
END_TEST

START_TEST(test_fashion_scenes_have_ten_classes)
{
    char *root = make_data_set(), *backgrounds = files_make_folder();
    struct image black;
    struct pools pools;
    struct problem problem;
    ck_assert(image_make(&black, 64, 64, 3, &problem));
    memset(black.pixels, 0, (size_t)3 * 64 * 64);
    ck_assert(image_write_png(&black, files_path(backgrounds, "black.png"), &problem));
    image_free(&black);
    ck_assert_msg(pools_gather(&pools, root, backgrounds, SPLIT_VALIDATION, &problem), "%s", problem.text);
    ck_assert_uint_eq(pools.class_count, 10);
    ck_assert_str_eq(pools.classes[9].name, "boot");
    long seen[256] = {0};
    for (uint64_t number = 0; number < 40; number++) {
        struct scene scene;
        ck_assert_msg(scene_compose(&scene, &pools, 64, 1, number, &problem), "%s", problem.text);
        for (int i = 0; i < 64 * 64; i++) {
            const uint8_t *pixel = scene.picture.pixels + 3 * i;
            seen[scene.labels.pixels[i]]++;
            if (scene.labels.pixels[i] == 0) ck_assert_int_lt(pixel[0] + pixel[1] + pixel[2], 3 * 32 + 3);
        }
        scene_free(&scene);
    }
    for (int k = 0; k <= 10; k++) ck_assert_msg(seen[k] > 500, "class %d: %ld pixels", k, seen[k]);
    pools_free(&pools);
    files_remove(backgrounds);
    files_remove(root);
}
END_TEST

RUN_TESTS("fashion", test_fashion_halves_are_the_two_files, test_fashion_item_is_what_its_outline_encloses,
    test_fashion_bad_files_are_named, test_fashion_scenes_have_ten_classes)
