/* Tar archives: of real programs, and invalid ones. */
#include "archives.h"
#include "files.h"
#include "suite.h"
#include "pictures/tar.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* The members from tar_list, one line each: "name offset size". */
static char listed[1 << 18];

static bool note_member(void *user, const struct tar_member *member)
{
    size_t length = strlen(listed);
    (void)user;
    if (member->kind == TAR_FILE)
        snprintf(listed + length, sizeof listed - length, "%s %llu %llu\n", member->name,
            (unsigned long long)member->offset, (unsigned long long)member->size);
    else
        snprintf(listed + length, sizeof listed - length, "%s %s %s\n", member->name,
            member->kind == TAR_HARD_LINK ? "is" : "->", member->target);
    return true;
}

static bool list_bytes(const void *bytes, size_t size, struct problem *problem)
{
    int file = memfd_create("archive", MFD_CLOEXEC);
    ck_assert_int_ge(file, 0);
    ck_assert_int_eq(write(file, bytes, size), (ssize_t)size);
    listed[0] = problem->text[0] = '\0';
    bool fine = tar_list(file, size, note_member, NULL, problem);
    close(file);
    return fine;
}

static void expect(struct archive_maker *archive, const char *members)
{
    struct problem problem;
    archive_finish(archive);
    ck_assert_msg(list_bytes(archive->bytes, archive->size, &problem), "%s", problem.text);
    ck_assert_str_eq(listed, members);
    free(archive->bytes);
}

static void expect_refusal(struct archive_maker *archive, const char *reason)
{
    struct problem problem;
    archive_finish(archive);
    ck_assert(!list_bytes(archive->bytes, archive->size, &problem));
    ck_assert_msg(strstr(problem.text, reason), "'%s' is not in '%s'", reason, problem.text);
    free(archive->bytes);
}

START_TEST(test_tar_members_are_found_where_they_lie)
{
    struct archive_maker archive = {0};
    archive_add(&archive, "folder/", '5', NULL, 0);
    archive_add(&archive, "a.png", '0', "x", 1);
    archive_add(&archive, "fifo", '6', NULL, 0);
    archive_add(&archive, "old.png", '\0', "", 0);
    archive_add(&archive, "b.png", '7', listed, 1025);
    expect(&archive, "a.png 1024 1\nold.png 2560 0\nb.png 3072 1025\n");
}
END_TEST

START_TEST(test_tar_long_names_of_ustar_pax_and_gnu_are_read)
{
    struct archive_maker archive = {0};
    char name[301], wanted[1000];
    memset(name, 'n', 300);
    name[300] = '\0';
    archive_add(&archive, "short.png", '0', NULL, 0);
    memcpy(archive.bytes + 345, "pre/fix", 7);
    archive_sum(&archive, 0);
    archive_add_pax(&archive, "path", name);
    archive_add(&archive, "nn", '0', NULL, 0);
    archive_add(&archive, "././@LongLink", 'L', name, 301);
    archive_add(&archive, "nn", '0', NULL, 0);
    archive_add(&archive, "plain.png", '0', NULL, 0); /* an extended header applies to one member */
    snprintf(wanted, sizeof wanted, "pre/fix/short.png 512 0\n%s 2048 0\n%s 3584 0\nplain.png 4096 0\n", name,
        name);
    expect(&archive, wanted);
}
END_TEST

START_TEST(test_tar_sizes_of_pax_and_gnu_are_read)
{
    struct archive_maker archive = {0};
    static const uint8_t binary[12] = {0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 1};
    archive_add_pax(&archive, "size", "3");
    archive_add(&archive, "pax", '0', "abc", 3);
    memcpy(archive.bytes + 1024 + 124, "00000000000", 11);
    archive_sum(&archive, 1024);
    size_t at = archive.size;
    archive_add(&archive, "gnu", '0', listed, 513);
    memcpy(archive.bytes + at + 124, binary, 12);
    archive_sum(&archive, at);
    expect(&archive, "pax 1536 3\ngnu 2560 513\n");
}
END_TEST

/* The archives of the tar on this machine. */
START_TEST(test_tar_archives_of_the_system_s_tar_are_read)
{
    static const char *const formats[] = {"gnu", "pax", "ustar", "v7"};
    char *folder = files_make_folder(), command[1024], *bytes = malloc(1 << 20);
    files_write(files_path(folder, "p.png"), "0123456789", 10);
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        struct problem problem;
        snprintf(command, sizeof command, "tar -C %s --format=%s -cf %s p.png 2>/dev/null", folder,
            formats[i], files_path(folder, "t.tar"));
        if (system(command)) continue; /* no GNU tar */
        FILE *file = fopen(files_path(folder, "t.tar"), "r");
        ck_assert_ptr_nonnull(file);
        size_t size = fread(bytes, 1, 1 << 20, file);
        fclose(file);
        ck_assert_msg(list_bytes(bytes, size, &problem), "%s: %s", formats[i], problem.text);
        ck_assert(!strncmp(listed, "p.png ", 6));
        ck_assert(!memcmp(bytes + strtoul(listed + 6, NULL, 10), "0123456789", 10));
    }
    free(bytes);
    files_remove(folder);
}
END_TEST

/* Cut at any byte it is refused, but where the last member is whole and no header behind it has begun. */
START_TEST(test_tar_cut_short_is_refused_but_after_a_whole_member)
{
    struct archive_maker archive = {0};
    size_t ends[2];
    archive_add_pax(&archive, "path", "long.png");
    archive_add(&archive, "a", '0', "content", 7);
    ends[0] = archive.size;
    archive_add(&archive, "b", '0', "content", 7);
    ends[1] = archive.size;
    archive_finish(&archive);
    for (size_t size = 0; size < archive.size; size++) {
        struct problem problem;
        uint8_t *cut = malloc(size ? size : 1);
        memcpy(cut, archive.bytes, size);
        bool fine = list_bytes(cut, size, &problem), whole = size >= ends[1] - 505;
        whole |= size >= ends[0] - 505 && size <= ends[0];
        ck_assert_msg(fine == whole, "%zu bytes of %zu", size, archive.size);
        ck_assert(fine || problem.text[0]);
        free(cut);
    }
    free(archive.bytes);
}
END_TEST

/* As GNU tar writes the label of a volume: no size, no mode. */
START_TEST(test_tar_empty_numeric_fields_are_zero)
{
    struct archive_maker archive = {0};
    archive_add(&archive, "LABEL", 'V', NULL, 0);
    memset(archive.bytes + 124, 0, 12);
    archive_sum(&archive, 0);
    archive_add(&archive, "empty.png", '0', NULL, 0);
    memset(archive.bytes + 512 + 124, ' ', 12);
    archive_sum(&archive, 512);
    archive_add(&archive, "a.png", '0', "abc", 3);
    expect(&archive, "empty.png 1024 0\na.png 1536 3\n");
}
END_TEST

START_TEST(test_tar_links_say_what_they_lead_to)
{
    struct archive_maker archive = {0};
    archive_add(&archive, "a.png", '0', "abc", 3);
    archive_add(&archive, "b.png", '1', NULL, 0);
    memcpy(archive.bytes + 1024 + 157, "a.png", 5);
    archive_sum(&archive, 1024);
    archive_add_pax(&archive, "linkpath", "some/where/else.png");
    archive_add(&archive, "c.png", '2', NULL, 0);
    archive_add(&archive, "././@LongLink", 'K', "far/away.png", 13);
    archive_add(&archive, "d.png", '1', NULL, 0);
    expect(&archive, "a.png 512 3\nb.png is a.png\nc.png -> some/where/else.png\nd.png is far/away.png\n");
}
END_TEST

/* cat a.tar b.tar: members behind the zeros of the first. Other bytes behind the zeros are nobody's. */
START_TEST(test_tar_joined_archives_are_read_to_the_end)
{
    struct archive_maker archive = {0};
    char rest[5000], wanted[100];
    archive_add(&archive, "a.png", '0', "abc", 3);
    archive_finish(&archive);
    archive_add(&archive, "b.png", '0', "abc", 3);
    archive_finish(&archive);
    archive_finish(&archive);
    for (int i = 0; i < 100; i++) archive_finish(&archive);
    size_t third = archive.size;
    archive_add(&archive, "c.png", '0', "abc", 3);
    archive_finish(&archive);
    size_t size = archive.size;
    archive.bytes = realloc(archive.bytes, size + sizeof rest);
    memset(archive.bytes + size, 'x', sizeof rest);
    archive.size += sizeof rest;
    snprintf(wanted, sizeof wanted, "a.png 512 3\nb.png 2560 3\nc.png %zu 3\n", third + 512);
    struct problem problem;
    ck_assert_msg(list_bytes(archive.bytes, archive.size, &problem), "%s", problem.text);
    ck_assert_str_eq(listed, wanted);
    free(archive.bytes);
}
END_TEST

/*
 * A changed header is refused by its sum; the sum's own field and what pads it may hold other digits of the
 * same number.
 */
START_TEST(test_tar_changed_headers_are_refused)
{
    struct archive_maker archive = {0};
    struct problem problem;
    archive_add(&archive, "a.png", '0', "content", 7);
    archive_finish(&archive);
    for (size_t bit = 0; bit < 8 * 512; bit++) {
        if (bit / 8 >= 148 && bit / 8 < 156) continue;
        archive.bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        ck_assert_msg(!list_bytes(archive.bytes, archive.size, &problem), "bit %zu", bit);
        archive.bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    ck_assert(list_bytes(archive.bytes, archive.size, &problem));
    free(archive.bytes);
}
END_TEST

START_TEST(test_tar_hostile_headers_are_refused_by_name)
{
    static char long_name[70000];
    static const uint8_t huge[12] = {0x80, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    struct archive_maker archive = {0};
    archive_add(&archive, "a.png", '0', NULL, 1 << 20);
    expect_refusal(&archive, "a file beyond the archive's end at byte 0");
    archive = (struct archive_maker){0};
    archive_add(&archive, "a.png", '0', NULL, 0);
    memcpy(archive.bytes + 124, huge, 12);
    archive_sum(&archive, 0);
    expect_refusal(&archive, "a size that is no number");
    archive = (struct archive_maker){0};
    archive_add_pax(&archive, "size", "99999999999999999999999");
    expect_refusal(&archive, "a pax size that is no number");
    archive = (struct archive_maker){0};
    archive_add_pax(&archive, "size", "18446744073709551615");
    archive_add(&archive, "a.png", '0', NULL, 0);
    expect_refusal(&archive, "a pax size that is no number");
    archive = (struct archive_maker){0};
    archive_add_pax(&archive, "size", "9223372036854775807");
    archive_add(&archive, "a.png", '0', NULL, 0);
    expect_refusal(&archive, "a file beyond the archive's end");
    archive = (struct archive_maker){0};
    archive_add_pax(&archive, "size", "");
    expect_refusal(&archive, "a pax size that is no number");
    archive = (struct archive_maker){0};
    memset(long_name, 'x', sizeof long_name - 100);
    archive_add_pax(&archive, "path", long_name);
    expect_refusal(&archive, "a name of more than 65536 bytes");
    archive = (struct archive_maker){0};
    archive_add_pax(&archive, "GNU.sparse.major", "1");
    expect_refusal(&archive, "a sparse file");
    archive = (struct archive_maker){0};
    archive_add(&archive, "a.png", 'S', NULL, 0);
    expect_refusal(&archive, "a sparse file");
    archive = (struct archive_maker){0};
    archive_add(&archive, "x", 'x', "99 path=a\n", 10);
    expect_refusal(&archive, "a malformed pax record");
    archive = (struct archive_maker){0};
    archive_add(&archive, "x", 'x', "10 path a\n", 10);
    expect_refusal(&archive, "a pax record without =");
    archive = (struct archive_maker){0};
    archive_add(&archive, "x", 'L', NULL, 2 << 20);
    expect_refusal(&archive, "a file beyond the archive's end");
    archive = (struct archive_maker){0};
    archive_add_pax(&archive, "path", "a.png");
    expect_refusal(&archive, "a header without its file");
}
END_TEST

START_TEST(test_tar_other_files_are_refused_for_what_they_are)
{
    struct problem problem;
    char text[1024] = "This is no archive.";
    ck_assert(!list_bytes("", 0, &problem));
    ck_assert_ptr_nonnull(strstr(problem.text, "cut short"));
    ck_assert(!list_bytes(text, sizeof text, &problem));
    ck_assert_ptr_nonnull(strstr(problem.text, "no tar header"));
    memcpy(text, "\x1f\x8b", 2);
    ck_assert(!list_bytes(text, sizeof text, &problem));
    ck_assert_ptr_nonnull(strstr(problem.text, "compressed"));
}
END_TEST

RUN_TESTS("tar", test_tar_members_are_found_where_they_lie, test_tar_long_names_of_ustar_pax_and_gnu_are_read,
    test_tar_sizes_of_pax_and_gnu_are_read, test_tar_archives_of_the_system_s_tar_are_read,
    test_tar_cut_short_is_refused_but_after_a_whole_member, test_tar_empty_numeric_fields_are_zero,
    test_tar_links_say_what_they_lead_to, test_tar_joined_archives_are_read_to_the_end,
    test_tar_changed_headers_are_refused, test_tar_hostile_headers_are_refused_by_name,
    test_tar_other_files_are_refused_for_what_they_are)
