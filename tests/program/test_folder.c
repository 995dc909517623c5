/* Listing folders. */
#include "files.h"
#include "folder.h"
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

START_TEST(test_folder_digest_is_of_names_within_the_folder)
{
    char *one = files_make_folder(), *other = files_make_folder();
    struct folder folder;
    struct problem problem;
    files_write(files_path(one, "a.png"), "x", 1);
    files_write(files_path(one, "b.png"), "x", 1);
    files_write(files_path(other, "a.png"), "y", 1);
    ck_assert(folder_list(&folder, one, &problem));
    uint64_t both = folder_digest(&folder, one);
    folder_free(&folder);
    ck_assert(folder_list(&folder, other, &problem));
    ck_assert_uint_ne(folder_digest(&folder, other), both);
    folder_free(&folder);
    files_write(files_path(other, "b.png"), "y", 1);
    const char *slash = files_path(other, "");
    ck_assert(folder_list(&folder, slash, &problem));
    ck_assert_uint_eq(folder_digest(&folder, slash), both);
    folder_free(&folder);
    files_remove(one);
    files_remove(other);
}
END_TEST

RUN_TESTS("folder", test_folder_lists_pictures_recursively_in_order,
    test_folder_with_loops_of_links_counts_each_file_once, test_folder_many_files_are_all_found,
    test_folder_missing_or_a_file_is_refused_by_name, test_folder_make_makes_all_above_it,
    test_folder_digest_is_of_names_within_the_folder)
