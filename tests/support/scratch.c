/* Files for tests. See scratch.h. */
#define _POSIX_C_SOURCE 200809L
#include "support/scratch.h"

#include <check.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char folder[1024];

void scratch_begin(void)
{
    snprintf(folder, sizeof folder, "%s/scratch-XXXXXX", CRIBO_SCRATCH);
    ck_assert_msg(mkdtemp(folder) != NULL, "cannot make %s", folder);
}

/* Visits the files of the folder, and removes them if asked. */
static size_t visit(bool removes)
{
    size_t count = 0;
    DIR *directory = opendir(folder);
    ck_assert_ptr_nonnull(directory);
    for (struct dirent *entry; (entry = readdir(directory));) {
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
        count++;
        if (removes && unlink(scratch_path(entry->d_name)) != 0) rmdir(scratch_path(entry->d_name));
    }
    closedir(directory);
    return count;
}

void scratch_end(void)
{
    visit(true);
    ck_assert_msg(rmdir(folder) == 0, "cannot remove %s", folder);
}

const char *scratch_folder(void)
{
    return folder;
}

const char *scratch_path(const char *name)
{
    static char paths[8][2048];
    static unsigned turn;
    char *path = paths[turn++ % 8];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

size_t scratch_count(void)
{
    return visit(false);
}

void write_bytes(const char *path, const void *bytes, size_t count)
{
    FILE *stream = fopen(path, "wb");
    ck_assert_msg(stream != NULL, "cannot write %s", path);
    ck_assert_uint_eq(fwrite(bytes, 1, count, stream), count);
    ck_assert_int_eq(fclose(stream), 0);
}

void *read_bytes(const char *path, size_t *count)
{
    FILE *stream = fopen(path, "rb");
    ck_assert_msg(stream != NULL, "cannot read %s", path);
    fseek(stream, 0, SEEK_END);
    size_t size = (size_t)ftell(stream);
    rewind(stream);
    char *bytes = malloc(size + 1);
    ck_assert_uint_eq(fread(bytes, 1, size, stream), size);
    bytes[size] = 0;
    fclose(stream);
    if (count) *count = size;
    return bytes;
}

void assert_bytes(const char *path, const void *bytes, size_t count)
{
    size_t size;
    void *found = read_bytes(path, &size);
    ck_assert_uint_eq(size, count);
    ck_assert_mem_eq(found, bytes, count);
    free(found);
}

void assert_same_files(const char *a, const char *b)
{
    size_t count;
    void *bytes = read_bytes(scratch_path(a), &count);
    ck_assert_uint_gt(count, 0);
    assert_bytes(scratch_path(b), bytes, count);
    free(bytes);
}
