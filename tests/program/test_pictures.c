/* Lists of pictures from folders, archives and lists, and the index that keeps them. */
#include "archives.h"
#include "files.h"
#include "pictures/left_out.h"
#include "pictures/pictures.h"
#include "suite.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static uint8_t *make_png(int width, size_t *size)
{
    struct image image = files_gradient(width, 20);
    uint8_t *bytes = files_png(&image, 2, 8, 0, 0, size);
    image_free(&image);
    return bytes;
}

static void add_png(const char *path, int width)
{
    size_t size;
    uint8_t *bytes = make_png(width, &size);
    files_write(path, bytes, size);
    free(bytes);
}

/* An archive as WebDataset has them: a picture and its label under one key. */
static void add_archive(const char *path, int first_width)
{
    struct archive_maker archive = {0};
    for (int i = 0; i < 2; i++) {
        char name[32];
        size_t size;
        uint8_t *bytes = make_png(first_width + i, &size);
        snprintf(name, sizeof name, "%06d.png", i);
        archive_add(&archive, name, '0', bytes, size);
        free(bytes);
        snprintf(name, sizeof name, "%06d.cls", i);
        archive_add(&archive, name, '0', "7", 1);
    }
    archive_finish(&archive);
    files_write(path, archive.bytes, archive.size);
    free(archive.bytes);
}

/* Files that have just changed are not relied on: makes them look old. */
static void age(const char *path)
{
    const struct timespec times[2] = {{.tv_sec = 1000000000}, {.tv_sec = 1000000000}};
    ck_assert_int_eq(utimensat(AT_FDCWD, path, times, 0), 0);
}

static struct pictures open_pictures(const char *index, int count, ...)
{
    va_list arguments;
    char *sources[8];
    struct pictures pictures;
    struct problem problem;
    va_start(arguments, count);
    for (int i = 0; i < count; i++) sources[i] = va_arg(arguments, char *);
    va_end(arguments);
    bool opened = pictures_open(&pictures, index, sources, (size_t)count, NULL, &problem);
    ck_assert_msg(opened, "%s", problem.text);
    return pictures;
}

static int width_of(const struct pictures *pictures, size_t i)
{
    struct image image;
    struct problem problem;
    bool loaded = pictures_load(pictures, i, &image, 3, 0, &problem);
    ck_assert_msg(loaded, "%s", problem.text);
    int width = image.width;
    image_free(&image);
    return width;
}

static void expect_refusal(const char *index, const char *source, const char *reason)
{
    struct pictures pictures;
    struct problem problem;
    char *sources[] = {(char *)source};
    ck_assert(!pictures_open(&pictures, index, sources, 1, NULL, &problem));
    ck_assert_ptr_null(pictures.content);
    ck_assert_msg(strstr(problem.text, source), "no '%s' in '%s'", source, problem.text);
    ck_assert_msg(strstr(problem.text, reason), "no '%s' in '%s'", reason, problem.text);
}

START_TEST(test_pictures_come_from_sources_of_all_kinds)
{
    char *root = files_make_folder(), text[512], name[512];
    const char *index = files_path(root, "index"), *folder = files_path(root, "folder"),
               *shard = files_path(root, "shard.tar"), *list = files_path(root, "list.txt"),
               *single = files_path(root, "single.png");
    ck_assert_int_eq(mkdir(folder, 0700), 0);
    ck_assert_int_eq(mkdir(files_path(folder, "sub"), 0700), 0);
    add_png(files_path(folder, "b.png"), 10);
    add_png(files_path(folder, "sub/a.png"), 11);
    add_archive(files_path(folder, "c.tar"), 12);
    add_archive(shard, 14);
    add_png(single, 16);
    snprintf(text, sizeof text, "single.png\r\n\n%s/sub/a.png\nsingle.png\nfolder/c.tar", folder);
    files_write(list, text, strlen(text));
    struct pictures pictures = open_pictures(index, 4, folder, shard, single, list);
    static const int widths[] = {10, 12, 13, 11, 14, 15, 16, 16, 11, 16, 12, 13};
    ck_assert_uint_eq(pictures.count, sizeof widths / sizeof *widths);
    for (size_t i = 0; i < pictures.count; i++) ck_assert_int_eq(width_of(&pictures, i), widths[i]);
    pictures_name(&pictures, 3, name, sizeof name);
    ck_assert_str_eq(name, files_path(folder, "sub/a.png"));
    pictures_name(&pictures, 5, name, sizeof name);
    snprintf(text, sizeof text, "%s: 000001.png", shard);
    ck_assert_str_eq(name, text);
    pictures_close(&pictures);
    files_remove(root);
}
END_TEST

START_TEST(test_pictures_index_is_kept_while_nothing_changes)
{
    char *root = files_make_folder();
    const char *index = files_path(root, "index"), *folder = files_path(root, "folder");
    ck_assert_int_eq(mkdir(folder, 0700), 0);
    add_png(files_path(folder, "a.png"), 10);
    struct pictures pictures = open_pictures(index, 1, folder);
    pictures_close(&pictures);
    pictures = open_pictures(index, 1, folder); /* it has just changed: not to be relied on */
    ck_assert(!pictures.kept);
    pictures_close(&pictures);
    age(folder);
    pictures = open_pictures(index, 1, folder);
    ck_assert(!pictures.kept);
    uint64_t digest = pictures.digest;
    pictures_close(&pictures);
    pictures = open_pictures(index, 1, folder);
    ck_assert(pictures.kept);
    ck_assert_uint_eq(pictures.count, 1);
    ck_assert_uint_eq(pictures.digest, digest);
    ck_assert_int_eq(width_of(&pictures, 0), 10);
    pictures_close(&pictures);
    pictures = open_pictures(index, 2, folder, folder); /* other sources */
    ck_assert(!pictures.kept);
    ck_assert_uint_eq(pictures.count, 2);
    pictures_close(&pictures);
    add_png(files_path(folder, "b.png"), 11);
    pictures = open_pictures(index, 2, folder, folder);
    ck_assert(!pictures.kept);
    ck_assert_uint_eq(pictures.count, 4);
    pictures_close(&pictures);
    files_remove(root);
}
END_TEST

/* After a flipped bit anywhere, or any cut, the list is only made again. */
START_TEST(test_pictures_damaged_index_is_made_anew)
{
    char *root = files_make_folder();
    const char *index = files_path(root, "index"), *folder = files_path(root, "folder");
    ck_assert_int_eq(mkdir(folder, 0700), 0);
    add_png(files_path(folder, "a.png"), 10);
    age(folder);
    struct pictures pictures = open_pictures(index, 1, folder);
    size_t size = pictures.bytes;
    uint64_t digest = pictures.digest;
    uint8_t *whole = malloc(size), *damaged = malloc(size);
    memcpy(whole, pictures.content, size);
    pictures_close(&pictures);
    for (size_t byte = 0; byte < size; byte++) {
        memcpy(damaged, whole, size);
        damaged[byte] ^= (uint8_t)(1u << byte % 8);
        unlink(index);
        files_write(index, damaged, byte % 2 ? byte : size);
        pictures = open_pictures(index, 1, folder);
        ck_assert_uint_eq(pictures.count, 1);
        /* The header's digest is not summed up: a checkpoint that remembers another one will not fit. */
        ck_assert(pictures.digest == digest || pictures.kept);
        ck_assert_int_eq(width_of(&pictures, 0), 10);
        pictures_close(&pictures);
    }
    free(whole);
    free(damaged);
    files_remove(root);
}
END_TEST

START_TEST(test_pictures_digest_is_of_names_within_the_sources)
{
    char *root = files_make_folder();
    const char *index = files_path(root, "index"), *one = files_path(root, "one"),
               *two = files_path(root, "two");
    ck_assert_int_eq(mkdir(one, 0700) | mkdir(two, 0700), 0);
    add_png(files_path(one, "a.png"), 10);
    add_png(files_path(two, "a.png"), 10);
    add_archive(files_path(one, "s.tar"), 10);
    struct pictures pictures = open_pictures(index, 1, one);
    uint64_t digest = pictures.digest;
    pictures_close(&pictures);
    pictures = open_pictures(index, 1, two);
    ck_assert_uint_ne(pictures.digest, digest);
    pictures_close(&pictures);
    add_archive(files_path(two, "s.tar"), 10);
    pictures = open_pictures(index, 1, files_path(two, ""));
    ck_assert_uint_eq(pictures.digest, digest);
    pictures_close(&pictures);
    add_archive(files_path(two, "s.tar"), 60); /* the same names, other sizes */
    pictures = open_pictures(index, 1, two);
    ck_assert_uint_ne(pictures.digest, digest);
    pictures_close(&pictures);
    files_remove(root);
}
END_TEST

START_TEST(test_pictures_sources_at_fault_are_named)
{
    char *root = files_make_folder();
    const char *index = files_path(root, "index"), *list = files_path(root, "list"),
               *shard = files_path(root, "s.tar");
    struct pictures pictures;
    struct problem problem;
    char long_line[600];
    expect_refusal(index, files_path(root, "missing"), "No such file");
    files_write(list, "a.png\nb.gif\n", 12);
    expect_refusal(index, list, "line 2 names neither a picture nor a tar archive: b.gif");
    memset(long_line, 'x', sizeof long_line);
    memcpy(long_line + 590, ".png\n\0.png", 10);
    files_write(list, long_line, sizeof long_line);
    expect_refusal(index, list, "line 2 has a zero byte");
    files_write(list, "a.png\nc\0d.png\n", 14);
    expect_refusal(index, list, "a file of unknown content, neither a JPEG");
    files_write(list,
        "\xff\xfe"
        "a",
        3);
    expect_refusal(index, list, "a text in UTF-16");
    files_write(list, "\x1f\x8b\10", 3);
    expect_refusal(index, list, "a compressed archive or file (gzip); unpack it");
    files_write(list, "gone.tar\n", 9);
    ck_assert(!pictures_open(&pictures, index, &(char *){(char *)list}, 1, NULL, &problem));
    ck_assert_ptr_nonnull(strstr(problem.text, "gone.tar: No such file"));
    files_write(shard, "nonsense", 8);
    expect_refusal(index, shard, "cut short at byte 0");
    expect_refusal(index, "/dev/null", "not a regular file");
    ck_assert_int_ne(access(index, F_OK), 0);
    ck_assert_int_ne(access(files_path(root, "index.tmp"), F_OK), 0);
    ck_assert(!pictures_open(&pictures, files_path(root, "no/index"), &root, 1, NULL, &problem));
    ck_assert_ptr_nonnull(strstr(problem.text, "no/index: No such file"));
    files_remove(root);
}
END_TEST

/* A list may name missing files: they are found when they are read. */
START_TEST(test_pictures_that_are_gone_are_problems_of_their_own)
{
    char *root = files_make_folder();
    const char *list = files_path(root, "list.txt");
    struct image image;
    struct problem problem;
    files_write(list, "gone.png\n", 9);
    struct pictures pictures = open_pictures(files_path(root, "index"), 1, list);
    ck_assert_uint_eq(pictures.count, 1);
    ck_assert(!pictures_load(&pictures, 0, &image, 3, 0, &problem));
    ck_assert_str_eq(problem.text, "No such file or directory");
    pictures_close(&pictures);
    files_remove(root);
}
END_TEST

static size_t count_pictures(const char *index, const char *keys, const char *source)
{
    struct pictures pictures;
    struct problem problem;
    struct pictures_options options = {.keys = keys};
    char *sources[] = {(char *)source};
    bool opened = pictures_open(&pictures, index, sources, 1, &options, &problem);
    ck_assert_msg(opened, "%s", problem.text);
    size_t count = pictures.count;
    pictures_close(&pictures);
    return count;
}

/* A mapped index that is truncated would end the process. */
START_TEST(test_pictures_index_cut_while_it_is_in_use_does_no_harm)
{
    char *root = files_make_folder(), name[512];
    for (int i = 0; i < 200; i++) {
        snprintf(name, sizeof name, "a-rather-long-name-so-that-the-index-has-some-pages-%d.png", i);
        add_png(files_path(root, name), 10 + i);
    }
    struct pictures pictures = open_pictures(files_path(root, "index"), 1, root);
    ck_assert_uint_gt(pictures.bytes, 2 * 4096);
    ck_assert_int_eq(truncate(files_path(root, "index"), 0), 0);
    for (size_t i = 0; i < 200; i++) {
        pictures_name(&pictures, i, name, sizeof name);
        ck_assert_ptr_nonnull(strstr(name, "a-rather-long-name"));
        ck_assert_int_ge(width_of(&pictures, i), 10);
    }
    pictures_close(&pictures);
    files_remove(root);
}
END_TEST

/* Every ending of the formats counts, and without one the content. */
START_TEST(test_pictures_are_found_by_ending_or_content)
{
    static const char *const names[] = {
        "a.jfif", "b.JIF", "c.jfi", "d.pjpeg", "e.apng", "f", "g.jpe", "h.webp"};
    char *root = files_make_folder();
    const char *index = files_path(root, "index"), *folder = files_path(root, "folder");
    ck_assert_int_eq(mkdir(folder, 0700), 0);
    for (int i = 0; i < 8; i++) add_png(files_path(folder, names[i]), 10 + i);
    files_write(files_path(folder, "README"), "words", 5);
    files_write(files_path(folder, "x.gif"), "GIF89a", 6);
    struct pictures pictures = open_pictures(index, 1, folder);
#ifdef CRIBO_WEBP
    ck_assert_uint_eq(pictures.count, 8);
#else
    ck_assert_uint_eq(pictures.count, 7);
#endif
    for (size_t i = 0; i < pictures.count; i++) ck_assert_int_eq(width_of(&pictures, i), 10 + (int)i);
    pictures_close(&pictures);
    ck_assert_uint_eq(count_pictures(index, NULL, files_path(folder, "f")), 1);
    add_archive(files_path(folder, "shard"), 30);
    ck_assert_uint_eq(count_pictures(index, NULL, files_path(folder, "shard")), 2);
    files_write(files_path(folder, "list"), "f\nshard\n", 8);
    ck_assert_uint_eq(count_pictures(index, NULL, files_path(folder, "list")), 3);
    files_write(files_path(folder, "marked"),
        "\xef\xbb\xbf"
        "f\r\na.jfif\r\n",
        14);
    ck_assert_uint_eq(count_pictures(index, NULL, files_path(folder, "marked")), 2);
    files_remove(root);
}
END_TEST

START_TEST(test_left_out_counts_by_ending_and_reason)
{
    char *root = files_make_folder(), text[400], name[64];
    struct left_out left_out = {0};
    for (int i = 0; i < 20; i++) {
        snprintf(name, sizeof name, "%d.gif", i);
        files_write(files_path(root, name), "GIF89a", 6);
        left_out_file(&left_out, files_path(root, name));
    }
    files_write(files_path(root, "s.tar.gz"), "\x1f\x8b\10", 3);
    left_out_file(&left_out, files_path(root, "s.tar.gz"));
    files_write(files_path(root, "README"), "words", 5);
    left_out_file(&left_out, files_path(root, "README"));
    left_out_add(&left_out, "x/y.png", "why not");
    left_out_print(&left_out, text, sizeof text);
    ck_assert_str_eq(text, "20 .gif (a GIF picture), 1 .tar.gz (a compressed archive or file (gzip)), "
                           "1 without an ending (a text), 1 .png (why not)");
    for (int i = 0; i < 2 * LEFT_OUT_KINDS; i++) {
        snprintf(name, sizeof name, "x.%d", i);
        left_out_add(&left_out, name, "many");
    }
    ck_assert_uint_eq(left_out.others, 2 * LEFT_OUT_KINDS + 4 - LEFT_OUT_KINDS);
    for (size_t size = 1; size < sizeof text; size++) {
        char *exact = malloc(size);
        left_out_print(&left_out, exact, size);
        ck_assert_uint_lt(strlen(exact), size);
        free(exact);
    }
    files_remove(root);
}
END_TEST

static void add_member(struct archive_maker *archive, const char *name, int width)
{
    size_t size;
    uint8_t *bytes = make_png(width, &size);
    archive_add(archive, name, '0', bytes, size);
    free(bytes);
}

static void write_archive(struct archive_maker *archive, const char *path)
{
    archive_finish(archive);
    files_write(path, archive->bytes, archive->size);
    free(archive->bytes);
}

START_TEST(test_pictures_of_a_sample_are_its_photographs)
{
    char *root = files_make_folder();
    const char *index = files_path(root, "index"), *shard = files_path(root, "s.tar");
    struct archive_maker archive = {0};
    add_member(&archive, "./a/000.depth.png", 10);
    add_member(&archive, "./a/000.jpg", 11);
    add_member(&archive, "./a/000.seg.png", 12);
    add_member(&archive, "./a/001.SEG.png", 13); /* no photograph beside it */
    add_member(&archive, "./a/002.jpg", 14);
    add_member(&archive, "./b/002.seg.png", 15); /* another folder is another sample */
    add_member(&archive, "./b/003.json", 16);
    add_member(&archive, "./.hidden/004.jpg", 17);
    add_member(&archive, "./c/._005.jpg", 18);
    write_archive(&archive, shard);
    struct pictures pictures = open_pictures(index, 1, shard);
    static const int widths[] = {11, 13, 14, 15};
    ck_assert_uint_eq(pictures.count, 4);
    for (size_t i = 0; i < 4; i++) ck_assert_int_eq(width_of(&pictures, i), widths[i]);
    pictures_close(&pictures);
    ck_assert_uint_eq(count_pictures(index, "jpg", shard), 2);
    ck_assert_uint_eq(count_pictures(index, "jpg,.seg.PNG", shard), 5);
    ck_assert_uint_eq(count_pictures(index, "depth.png", shard), 1);
    ck_assert_uint_eq(count_pictures(index, "png", shard), 0);
    files_remove(root);
}
END_TEST

/* The keys belong to the list: with other keys it is created again. */
START_TEST(test_pictures_index_is_kept_for_the_same_keys_only)
{
    char *root = files_make_folder();
    const char *index = files_path(root, "index"), *shard = files_path(root, "s.tar");
    static const char *const keys[] = {NULL, NULL, "png", "png", "jpg", NULL};
    static const bool kept[] = {false, true, false, true, false, false};
    add_archive(shard, 10);
    age(shard);
    for (int i = 0; i < 6; i++) {
        struct pictures pictures;
        struct problem problem;
        struct pictures_options options = {.keys = keys[i]};
        ck_assert(pictures_open(&pictures, index, &(char *){(char *)shard}, 1, &options, &problem));
        ck_assert_msg(pictures.kept == kept[i], "%d", i);
        pictures_close(&pictures);
    }
    files_remove(root);
}
END_TEST

START_TEST(test_pictures_behind_hard_links_count)
{
    char *root = files_make_folder();
    const char *index = files_path(root, "index"), *shard = files_path(root, "s.tar");
    struct archive_maker archive = {0};
    for (int i = 0; i < 600; i++) { /* more than the first table of places holds */
        char name[32];
        snprintf(name, sizeof name, "%d.png", i);
        add_member(&archive, name, 10 + i);
    }
    size_t at = archive.size;
    archive_add(&archive, "z.png", '1', NULL, 0);
    memcpy(archive.bytes + at + 157, "./357.png", 9);
    archive_sum(&archive, at);
    archive_add(&archive, "nowhere.png", '1', NULL, 0);
    archive_add(&archive, "symbolic.png", '2', NULL, 0);
    write_archive(&archive, shard);
    struct pictures pictures = open_pictures(index, 1, shard);
    ck_assert_uint_eq(pictures.count, 601);
    ck_assert_int_eq(width_of(&pictures, 600), 10 + 357);
    pictures_close(&pictures);
    files_remove(root);
}
END_TEST

/* A damaged archive is left out whole, unless most are damaged; repaired, it is found again. */
START_TEST(test_pictures_of_whole_archives_are_taken_beside_damaged_ones)
{
    char *root = files_make_folder();
    const char *index = files_path(root, "index"), *folder = files_path(root, "folder");
    struct archive_maker archive = {0};
    struct pictures pictures;
    struct problem problem;
    ck_assert_int_eq(mkdir(folder, 0700), 0);
    add_archive(files_path(folder, "a.tar"), 10);
    add_archive(files_path(folder, "c.tar"), 20);
    add_png(files_path(folder, "d.png"), 30);
    add_member(&archive, "x.png", 40);
    add_member(&archive, "y.png", 41);
    archive.size -= 700;
    files_write(files_path(folder, "b.tar"), archive.bytes, archive.size);
    for (int repaired = 0; repaired < 2; repaired++) {
        static const int widths[2][8] = {{10, 11, 20, 21, 30}, {10, 11, 40, 20, 21, 30}};
        age(folder);
        for (int i = 0; i < 3; i++) age(files_path(folder, i == 0 ? "a.tar" : i == 1 ? "b.tar" : "c.tar"));
        pictures = open_pictures(index, 1, folder);
        ck_assert(!pictures.kept);
        ck_assert_uint_eq(pictures.count, 5 + (size_t)repaired);
        for (size_t i = 0; i < pictures.count; i++)
            ck_assert_int_eq(width_of(&pictures, i), widths[repaired][i]);
        pictures_close(&pictures);
        archive.size = 0; /* one whole member */
        add_member(&archive, "x.png", 40);
        files_write(files_path(folder, "b.tar"), archive.bytes, archive.size);
    }
    files_write(files_path(folder, "a.tar"), "nonsense", 8);
    files_write(files_path(folder, "b.tar"), "nonsense", 8);
    ck_assert(!pictures_open(&pictures, index, &(char *){(char *)folder}, 1, NULL, &problem));
    ck_assert_ptr_nonnull(strstr(problem.text, "2 of 3 tar archives cannot be read; the first: "));
    ck_assert_ptr_nonnull(strstr(problem.text, "a.tar: damaged tar archive"));
    free(archive.bytes);
    files_remove(root);
}
END_TEST

/*
 * A run's drawings are left out, both those of a run in the source and those of a source that is a run's
 * folder.
 */
START_TEST(test_pictures_of_runs_are_left_out)
{
    char *root = files_make_folder();
    const char *index = files_path(root, "index"), *run = files_path(root, "folder/run");
    const char *folder = files_path(root, "folder");
    ck_assert_int_eq(mkdir(folder, 0700) | mkdir(run, 0700), 0);
    add_png(files_path(folder, "a.png"), 10);
    add_png(files_path(run, "clusters-start.png"), 11);
    add_png(files_path(run, "loss.png"), 12);
    add_png(files_path(run, "photo.png"), 13);
    files_write(files_path(run, "config.json"), "{}", 2);
    files_write(files_path(run, "log.jsonl"), "", 0);
    ck_assert_uint_eq(count_pictures(index, NULL, folder), 1);
    ck_assert_uint_eq(count_pictures(index, NULL, run), 1);
    files_remove(root);
}
END_TEST

RUN_TESTS("pictures", test_pictures_index_cut_while_it_is_in_use_does_no_harm,
    test_pictures_are_found_by_ending_or_content, test_left_out_counts_by_ending_and_reason,
    test_pictures_of_a_sample_are_its_photographs, test_pictures_index_is_kept_for_the_same_keys_only,
    test_pictures_behind_hard_links_count, test_pictures_of_whole_archives_are_taken_beside_damaged_ones,
    test_pictures_of_runs_are_left_out, test_pictures_come_from_sources_of_all_kinds,
    test_pictures_index_is_kept_while_nothing_changes, test_pictures_damaged_index_is_made_anew,
    test_pictures_digest_is_of_names_within_the_sources, test_pictures_sources_at_fault_are_named,
    test_pictures_that_are_gone_are_problems_of_their_own)
