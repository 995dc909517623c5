/*
 * Tar archives: members are inside of the archive, one after the other, and have names; the same holds for
 * the pictures in an index.
 */
#include "fuzz/fuzz.h"
#include "pictures/members.h"
#include "pictures/tar.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Corrects the checksum of every block that looks like a header. */
size_t fuzz_mend(uint8_t *data, size_t size, size_t room)
{
    (void)room;
    for (uint8_t *block = data; size >= 512 && block <= data + size - 512; block += 512) {
        unsigned sum = 8 * ' ';
        char digits[16];
        if (memcmp(block + 257, "ustar", 5) != 0) continue;
        for (int i = 0; i < 512; i++) sum += i < 148 || i >= 156 ? block[i] : 0;
        snprintf(digits, sizeof digits, "%06o", sum);
        memcpy(block + 148, digits, 7);
        block[155] = ' ';
    }
    return size;
}

struct listing {
    uint64_t bytes, end;
};

static bool visit(void *user, const struct tar_member *member)
{
    struct listing *listing = user;
    FUZZ_EXPECT(member->name[0] != '\0', "a member without a name");
    FUZZ_EXPECT(member->target != NULL, "%s has no target, not even an empty one", member->name);
    FUZZ_EXPECT(member->offset <= listing->bytes && member->size <= listing->bytes - member->offset,
        "%s lies outside", member->name);
    FUZZ_EXPECT(member->offset >= listing->end + 512, "%s overlaps", member->name);
    listing->end = member->offset + member->size;
    return true;
}

/* The entries of an index of the archive's pictures. */
static void index_pictures(int file, size_t size)
{
    static const char path[] = "/tmp/cribo-fuzz-index";
    char name[64];
    struct index_writer writer;
    struct problem problem = {""};
    struct left_out left_out = {0};
    struct pictures pictures;
    snprintf(name, sizeof name, "%s-%ld", path, (long)getpid());
    FUZZ_EXPECT(index_begin(&writer, name, &problem), "%s", problem.text);
    struct index_mark mark = index_mark(&writer);
    struct members members = {.writer = &writer, .left_out = &left_out, .identity = "archive"};
    bool begun = index_add_container(&writer, CONTAINER_ARCHIVE, "archive", NULL, &members.container);
    enum members_outcome outcome = begun ? members_list(&members, file, size, &problem) : MEMBERS_FAILED;
    FUZZ_EXPECT(outcome != MEMBERS_FAILED, "%s", problem.text);
    if (outcome == MEMBERS_DAMAGED) FUZZ_EXPECT(index_rewind(&writer, &mark), "%s", problem.text);
    FUZZ_EXPECT(index_end(&writer, true) && index_read(&pictures, name), "%s", problem.text);
    FUZZ_EXPECT(outcome == MEMBERS_LISTED || pictures.count == 0, "%zu pictures are left", pictures.count);
    for (size_t i = 0; i < pictures.count; i++) {
        const struct picture_entry *entry = &pictures.entries[i];
        FUZZ_EXPECT(entry->offset <= size && entry->size <= size - entry->offset, "%zu lies outside", i);
    }
    pictures_close(&pictures);
    unlink(name);
}

void fuzz_one(const uint8_t *data, size_t size)
{
    struct listing listing = {.bytes = size};
    struct problem problem = {""};
    int file = open(fuzz_file(data, size), O_RDONLY);
    FUZZ_EXPECT(file >= 0, "the archive cannot be opened");
    fuzz_answer(tar_list(file, size, visit, &listing, &problem), problem.text);
    index_pictures(file, size);
    close(file);
}
