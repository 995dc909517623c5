/* Lists of pictures from folders, archives and lists, and the index that keeps them. */
#include "archives.h"
#include "files.h"
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
    ck_assert_ptr_null(pictures.map);
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

/* A flipped bit anywhere costs no more than another listing; so does any cut. */
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
    memcpy(whole, pictures.map, size);
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
    expect_refusal(index, files_path(root, "missing"), "No such file");
    files_write(list, "a.png\nb.gif\n", 12);
    expect_refusal(index, list, "line 2 names neither a picture nor a tar archive: b.gif");
    files_write(list, "a.png\nc\0d.png\n", 14);
    expect_refusal(index, list, "line 2 has a zero byte");
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

/* A list may name what is not there: that is found when it is read. */
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

RUN_TESTS("pictures", test_pictures_come_from_sources_of_all_kinds,
    test_pictures_index_is_kept_while_nothing_changes, test_pictures_damaged_index_is_made_anew,
    test_pictures_digest_is_of_names_within_the_sources, test_pictures_sources_at_fault_are_named,
    test_pictures_that_are_gone_are_problems_of_their_own)
