/*
 * JPEG files with damage in the middle. libjpeg reads nearly everything and only warns. A picture of which
 * libjpeg has warned, and which differs visibly from the undamaged one, must be refused.
 */
#include "files.h"
#include "suite.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>
#include <jerror.h>

enum { SIDE = 192, KINDS = 6, SEEDS = 200 };

static uint64_t state;

/* xorshift64*: the corpus is the same everywhere. */
static unsigned draw(unsigned count)
{
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return (unsigned)((state * UINT64_C(2685821657736338717) >> 33) % count);
}

/* Edges, gradients and noise, so that a block has as many codes as one of a photograph. */
static struct image make_scene(void)
{
    struct image image = files_gradient(SIDE, SIDE);
    state = 88172645463325252u;
    for (int i = 0; i < 3 * SIDE * SIDE; i++) {
        int x = i / 3 % SIDE, y = i / 3 / SIDE;
        int value = image.pixels[i] + ((x / 24 + y / 24) % 2 ? 50 : 0) + (int)draw(24);
        image.pixels[i] = (uint8_t)(value > 255 ? 255 : value);
    }
    return image;
}

static const char *const kind_names[KINDS] = {
    "baseline", "progressive", "restarts", "arithmetic", "progressive with restarts", "grey"};

/* False where this libjpeg cannot write the kind. */
static bool encode(const struct image *image, int kind, uint8_t **bytes, size_t *size)
{
    struct files_jpeg_options options = {.quality = 85,
        .progressive = kind == 1 || kind == 4,
        .restart_rows = kind == 2 || kind == 4,
        .arithmetic = kind == 3,
        .subsampled = kind != 5};
    *bytes = files_jpeg_with(image, &options, size);
    return *bytes != NULL;
}

struct judge {
    struct jpeg_error_mgr errors;
    jmp_buf escape;
    bool warned;
};

static void stop(j_common_ptr jpeg)
{
    longjmp(((struct judge *)jpeg->err)->escape, 1);
}

static void note(j_common_ptr jpeg, int level)
{
    int code = jpeg->err->msg_code;
    bool harmless = code == JWRN_JFIF_MAJOR || code == JWRN_ADOBE_XFORM || code == JWRN_NOT_SEQUENTIAL;
    if (level < 0 && !harmless) ((struct judge *)jpeg->err)->warned = true;
}

/*
 * Decodes the file by a plain use of libjpeg: pixels [SIDE][SIDE][3], and whether libjpeg has warned. False
 * after an error, or for another size.
 */
static bool judge_file(const uint8_t *bytes, size_t size, uint8_t *pixels, bool *warned)
{
    struct jpeg_decompress_struct jpeg;
    struct judge judge = {.warned = false};
    volatile bool decoded = false;
    jpeg.err = jpeg_std_error(&judge.errors);
    judge.errors.error_exit = stop;
    judge.errors.emit_message = note;
    if (!setjmp(judge.escape)) {
        jpeg_create_decompress(&jpeg);
        jpeg_mem_src(&jpeg, bytes, size);
        jpeg_read_header(&jpeg, TRUE);
        jpeg.out_color_space = JCS_RGB;
        decoded = jpeg.image_width == SIDE && jpeg.image_height == SIDE;
        if (decoded) jpeg_start_decompress(&jpeg);
        while (decoded && jpeg.output_scanline < SIDE) {
            JSAMPROW row = pixels + 3 * SIDE * (size_t)jpeg.output_scanline;
            jpeg_read_scanlines(&jpeg, &row, 1);
        }
        if (decoded) jpeg_finish_decompress(&jpeg);
    } else {
        decoded = false;
    }
    jpeg_destroy_decompress(&jpeg);
    *warned = judge.warned;
    return decoded;
}

/* One bit flipped, a sector of zeros, or random bytes, within the file's second to last byte. */
static void damage(uint8_t *bytes, size_t size, int how)
{
    size_t length = how == 0 ? 1 : how == 1 ? 128 : 64, at = 2 + draw((unsigned)(size - length - 4));
    for (size_t i = at; i < at + length; i++) {
        if (how == 0) bytes[i] ^= (uint8_t)(1u << draw(8));
        if (how == 1) bytes[i] = 0;
        if (how == 2) bytes[i] = (uint8_t)draw(256);
    }
}

/* Does a block of 8 x 8 differ by more than 8 levels on average? */
static bool differs(const uint8_t *a, const uint8_t *b)
{
    for (int y = 0; y < SIDE; y += 8) {
        for (int x = 0; x < SIDE; x += 8) {
            int sum = 0;
            for (int i = 0; i < 64 * 3; i++) {
                int at = 3 * ((y + i / 24) * SIDE + x) + i % 24;
                sum += abs(a[at] - b[at]);
            }
            if (sum > 8 * 64 * 3) return true;
        }
    }
    return false;
}

/* Returns how many damaged files a plain use of libjpeg decodes with a warning and with visible damage. */
static int test_kind(const uint8_t *bytes, size_t size, int how)
{
    static uint8_t whole[3 * SIDE * SIDE], pixels[3 * SIDE * SIDE];
    uint8_t *copy = malloc(size);
    bool warned;
    int damaged = 0;
    ck_assert(judge_file(bytes, size, whole, &warned) && !warned);
    for (int seed = 0; seed < SEEDS; seed++) {
        struct image image;
        struct problem problem = {""};
        memcpy(copy, bytes, size);
        damage(copy, size, how);
        bool decoded = judge_file(copy, size, pixels, &warned);
        bool accepted = image_decode(&image, copy, size, 3, 0, &problem);
        if (accepted) image_free(&image);
        bool bad = warned && differs(whole, pixels);
        ck_assert_msg(!accepted || decoded, "taken, though libjpeg has an error");
        ck_assert_msg(!accepted || !bad, "damage %d, file %d: taken, though libjpeg has warned", how, seed);
        ck_assert(accepted || problem.text[0]);
        damaged += decoded && bad;
    }
    free(copy);
    return damaged;
}

START_TEST(test_damage_that_libjpeg_warns_of_is_refused)
{
    struct image scene = make_scene();
    int total = 0;
    for (int kind = 0; kind < KINDS; kind++) {
        uint8_t *bytes;
        size_t size;
        if (!encode(&scene, kind, &bytes, &size)) continue;
        for (int how = 0; how < 3; how++) {
            int damaged = test_kind(bytes, size, how);
            /* An arithmetic decoder hardly ever notices: it takes any bits for a picture. */
            ck_assert_msg(
                damaged > 0 || kind == 3, "%s, damage %d: a corpus without damage", kind_names[kind], how);
            total += damaged;
        }
        free(bytes);
    }
    ck_assert_int_gt(total, 500);
    image_free(&scene);
}
END_TEST

/* The place of the last marker of a kind. */
static size_t last_marker(const uint8_t *bytes, size_t size, int marker)
{
    size_t at = size - 2;
    while (bytes[at] != 0xff || bytes[at + 1] != marker) ck_assert_uint_gt(at--, 0);
    return at;
}

static bool decodes(const uint8_t *bytes, size_t size, struct problem *problem)
{
    struct image image;
    problem->text[0] = '\0';
    bool decoded = image_decode(&image, bytes, size, 3, 0, problem);
    if (decoded) image_free(&image);
    return decoded;
}

/* The file with `count` bytes of `value` put in before `at`. */
static bool decodes_with(
    const uint8_t *bytes, size_t size, size_t at, int value, size_t count, struct problem *problem)
{
    uint8_t *longer = malloc(size + count);
    memcpy(longer, bytes, at);
    memset(longer + at, value, count);
    memcpy(longer + at + count, bytes + at, size - at);
    bool decoded = decodes(longer, size + count, problem);
    free(longer);
    return decoded;
}

/* libjpeg does not count up to eight bytes behind a scan, which are in its buffer of bits by then. */
START_TEST(test_damage_that_costs_no_pixel_is_no_damage)
{
    struct image scene = make_scene();
    struct problem problem;
    for (int kind = 0; kind < KINDS; kind++) {
        uint8_t *bytes;
        size_t size;
        if (!encode(&scene, kind, &bytes, &size)) continue;
        const char *name = kind_names[kind];
        ck_assert_msg(decodes_with(bytes, size, size, 0x5a, 3000, &problem), "%s, bytes behind: %s", name,
            problem.text);
        ck_assert_msg(
            decodes_with(bytes, size, size - 2, 0, 16, &problem), "%s, padding: %s", name, problem.text);
        ck_assert_msg(decodes_with(bytes, size, 20, 0, 16, &problem), "%s, padding: %s", name, problem.text);
        ck_assert_msg(!decodes_with(bytes, size, size - 2, 0, 25, &problem), "%s", name);
        ck_assert_msg(!decodes_with(bytes, size, size - 2, 0x5a, 9, &problem), "%s", name);
        ck_assert_ptr_nonnull(strstr(problem.text, "extraneous bytes"));
        bytes[11] = 7; /* the revision of JFIF */
        ck_assert_msg(decodes(bytes, size, &problem), "%s: %s", name, problem.text);
        free(bytes);
    }
    image_free(&scene);
}
END_TEST

/* The marker alone may be missing; where a scan or a byte of one is, the picture is not whole. */
START_TEST(test_damage_end_marker_alone_may_be_missing)
{
    struct image scene = make_scene();
    struct problem problem;
    for (int kind = 0; kind < KINDS; kind++) {
        uint8_t *bytes;
        size_t size;
        if (!encode(&scene, kind, &bytes, &size)) continue;
        bool knows = kind != 3; /* arithmetic codes have no recognisable end */
        ck_assert_msg(decodes(bytes, size - 2, &problem) == knows, "%s: %s", kind_names[kind], problem.text);
        ck_assert_int_eq(decodes(bytes, size - 1, &problem), knows);
        ck_assert(!decodes(bytes, size - 3, &problem));
        ck_assert_ptr_nonnull(strstr(problem.text, "remature end"));
        ck_assert(!decodes(bytes, last_marker(bytes, size, 0xda), &problem));
        free(bytes);
    }
    image_free(&scene);
}
END_TEST

START_TEST(test_damage_lost_and_swapped_restarts_are_refused)
{
    struct image scene = make_scene();
    struct problem problem;
    uint8_t *bytes;
    size_t size;
    ck_assert(encode(&scene, 2, &bytes, &size));
    size_t restart = last_marker(bytes, size, 0xd3);
    bytes[restart + 1] = 0xd5;
    ck_assert(!decodes(bytes, size, &problem));
    ck_assert_ptr_nonnull(strstr(problem.text, "found marker 0xd5 instead of RST3"));
    bytes[restart + 1] = 0;
    ck_assert(!decodes(bytes, size, &problem));
    free(bytes);
    image_free(&scene);
}
END_TEST

RUN_TESTS("damage", test_damage_that_libjpeg_warns_of_is_refused,
    test_damage_that_costs_no_pixel_is_no_damage, test_damage_end_marker_alone_may_be_missing,
    test_damage_lost_and_swapped_restarts_are_refused)
