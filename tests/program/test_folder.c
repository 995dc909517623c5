/* Listing folders. */
#include "files.h"
#include "pictures/folder.h"
#include "suite.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

START_TEST(test_folder_lists_pictures_recursively_in_order)
{
    char *root = files_make_folder();
    struct folder folder;
    struct problem problem;
    static const char *const names[] = {
        "b.JPG", "a.png", "c.txt", "Z.jpeg", ".hidden.jpg", "d.jpg.bak", "sub/x.Png", "sub/e.jpe"};
    static const char *const expected[] = {"Z.jpeg", "a.png", "b.JPG", "sub/e.jpe", "sub/x.Png"};
    ck_assert_int_eq(mkdir(files_path(root, "sub"), 0700), 0);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        files_write(files_path(root, names[i]), names[i], 1);
    ck_assert(folder_list(&folder, root, &problem));
    ck_assert_uint_eq(folder.count, 5);
    for (size_t i = 0; i < 5; i++) ck_assert_str_eq(folder.paths[i], files_path(root, expected[i]));
    folder_free(&folder);
    files_remove(root);
}
END_TEST

START_TEST(test_folder_with_loops_of_links_counts_each_file_once)
{
    char *root = files_make_folder();
    struct folder folder;
    struct problem problem;
    ck_assert_int_eq(mkdir(files_path(root, "sub"), 0700), 0);
    files_write(files_path(root, "sub/a.jpg"), "a", 1);
    ck_assert_int_eq(symlink("..", files_path(root, "sub/up")), 0);
    ck_assert_int_eq(symlink("sub", files_path(root, "again")), 0);
    ck_assert_int_eq(symlink("sub/a.jpg", files_path(root, "zlink.jpg")), 0);
    ck_assert_int_eq(symlink("nowhere.jpg", files_path(root, "dangling.jpg")), 0);
    ck_assert_int_eq(symlink("self.jpg", files_path(root, "self.jpg")), 0);
    ck_assert(folder_list(&folder, root, &problem));
    ck_assert_uint_eq(folder.count, 1);
    folder_free(&folder);
    files_remove(root);
}
END_TEST

START_TEST(test_folder_many_files_are_all_found)
{
    char *root = files_make_folder(), name[32];
    struct folder folder;
    struct problem problem;
    for (int i = 0; i < 1500; i++) {
        snprintf(name, sizeof name, "%04d.png", i);
        files_write(files_path(root, name), "", 0);
    }
    ck_assert(folder_list(&folder, root, &problem));
    ck_assert_uint_eq(folder.count, 1500);
    folder_free(&folder);
    files_remove(root);
}
END_TEST

START_TEST(test_folder_missing_or_a_file_is_refused_by_name)
{
    char *root = files_make_folder();
    struct folder folder;
    struct problem problem;
    const char *missing = files_path(root, "missing"), *file = files_path(root, "file.jpg");
    files_write(file, "", 0);
    ck_assert(!folder_list(&folder, missing, &problem));
    ck_assert_ptr_nonnull(strstr(problem.text, missing));
    ck_assert_ptr_nonnull(strstr(problem.text, "No such file"));
    ck_assert(!folder_list(&folder, file, &problem));
    ck_assert_ptr_nonnull(strstr(problem.text, "not a folder"));
    ck_assert_uint_eq(folder.count, 0);
    files_remove(root);
}
END_TEST

START_TEST(test_folder_make_makes_all_above_it)
{
    char *root = files_make_folder();
    struct problem problem;
    struct stat status;
    const char *deep = files_path(root, "a/b/c");
    ck_assert(folder_make(deep, &problem));
    ck_assert(folder_make(deep, &problem));
    ck_assert_int_eq(stat(deep, &status), 0);
    ck_assert(S_ISDIR(status.st_mode));
    files_write(files_path(root, "file"), "", 0);
    ck_assert(!folder_make(files_path(root, "file"), &problem));
    ck_assert(!folder_make(files_path(root, "file/x"), &problem));
    ck_assert_ptr_nonnull(strstr(problem.text, "file/x"));
    files_remove(root);
}
END_TEST

static bool count_file(void *user, const char *path, bool linked)
{
    (void)path;
    (void)linked;
    ++*(int *)user;
    return true;
}

START_TEST(test_folder_walk_leaves_out_what_it_is_told_to)
{
    char *root = files_make_folder();
    struct problem problem;
    int files = 0;
    struct folder_visitor visitor = {.wanted = folder_is_picture, .file = count_file, .user = &files};
    ck_assert_int_eq(mkdir(files_path(root, "run"), 0700), 0);
    files_write(files_path(root, "a.png"), "", 0);
    files_write(files_path(root, "run/loss.png"), "", 0);
    ck_assert_int_eq(symlink("run", files_path(root, "link")), 0);
    ck_assert(folder_walk(root, files_path(root, "run/"), &visitor, &problem));
    ck_assert_int_eq(files, 1);
    ck_assert(folder_walk(root, files_path(root, "missing"), &visitor, &problem));
    ck_assert_int_eq(files, 3);
    files_remove(root);
}
END_TEST

static bool is_no_run(void *user, const char *path)
{
    (void)user;
    return !folder_holds_run(path);
}

/* A run has its settings and its log; one of the two may be anybody's. */
START_TEST(test_folder_walk_does_not_enter_what_it_is_told_not_to)
{
    char *root = files_make_folder();
    struct problem problem;
    int files = 0;
    static const char *const names[] = {"run", "half", "photos", "run/sub"};
    for (int i = 0; i < 4; i++) {
        char name[64];
        ck_assert_int_eq(mkdir(files_path(root, names[i]), 0700), 0);
        snprintf(name, sizeof name, "%s/a.png", names[i]);
        files_write(files_path(root, name), "a", 1);
    }
    files_write(files_path(root, "run/config.json"), "{}", 2);
    files_write(files_path(root, "run/log.jsonl"), "", 0);
    files_write(files_path(root, "half/config.json"), "{}", 2);
    ck_assert_int_eq(symlink("run/a.png", files_path(root, "link.png")), 0);
    struct folder_visitor visitor = {
        .wanted = folder_is_picture, .enter = is_no_run, .file = count_file, .user = &files};
    ck_assert(folder_walk(root, NULL, &visitor, &problem));
    ck_assert_int_eq(files, 2);
    files_remove(root);
}
END_TEST

RUN_TESTS("folder", test_folder_walk_does_not_enter_what_it_is_told_not_to,
    test_folder_lists_pictures_recursively_in_order, test_folder_with_loops_of_links_counts_each_file_once,
    test_folder_many_files_are_all_found, test_folder_missing_or_a_file_is_refused_by_name,
    test_folder_make_makes_all_above_it, test_folder_walk_leaves_out_what_it_is_told_to)
