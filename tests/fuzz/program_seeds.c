/* Writes the files with which fuzzing of the program's readers begins: program_seeds FOLDER. */
#define _POSIX_C_SOURCE 200809L
#include "archives.h"
#include "files.h"
#include "fuzz/fuzz.h"
#include "pictures/picture_index.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#ifdef CRIBO_WEBP
#include <webp/encode.h>
#endif

static const char *folder;

static const char *place(const char *target, const char *name)
{
    static char path[2048];
    snprintf(path, sizeof path, "%s/%s", folder, target);
    mkdir(path, 0777);
    snprintf(path, sizeof path, "%s/%s/%s", folder, target, name);
    return path;
}

static void put(const char *target, const char *name, uint8_t *bytes, size_t count)
{
    FILE *file = fopen(place(target, name), "wb");
    FUZZ_EXPECT(
        file && fwrite(bytes, 1, count, file) == count && fclose(file) == 0, "%s cannot be written", name);
    free(bytes);
}

/* Small ones of every kind. */
static void seed_images(void)
{
    static const int types[][2] = {
        {0, 1}, {0, 8}, {0, 16}, {2, 8}, {2, 16}, {3, 2}, {3, 8}, {4, 8}, {6, 8}, {6, 16}};
    struct image image = files_gradient(20, 12);
    char name[64];
    size_t size;
    for (int kind = 0; kind < 8; kind++) {
        uint8_t *bytes = files_jpeg(&image, 80, kind % 4 * 2, kind & 1, kind >> 2 & 1, &size);
        snprintf(name, sizeof name, "%d.jpg", kind);
        put("image", name, bytes, size);
    }
    for (size_t i = 0; i < 2 * sizeof types / sizeof types[0]; i++) {
        uint8_t *bytes = files_png(&image, types[i / 2][0], types[i / 2][1], (int)(i & 1), 128, &size);
        snprintf(name, sizeof name, "%zu.png", i);
        put("image", name, bytes, size);
    }
#ifdef CRIBO_WEBP
    uint8_t *webp, *copy;
    for (int lossless = 0; lossless < 2; lossless++) {
        size = lossless ? WebPEncodeLosslessRGB(image.pixels, 20, 12, 60, &webp)
                        : WebPEncodeRGB(image.pixels, 20, 12, 60, 80, &webp);
        copy = malloc(size);
        FUZZ_EXPECT(size > 0 && copy, "no memory");
        memcpy(copy, webp, size);
        WebPFree(webp);
        put("image", lossless ? "lossless.webp" : "lossy.webp", copy, size);
    }
#endif
    image_free(&image);
}

static void seed_archives(void)
{
    struct archive_maker archive = {0};
    char name[301];
    memset(name, 'n', 300);
    name[300] = '\0';
    archive_add(&archive, "folder/", '5', NULL, 0);
    archive_add(&archive, "a.png", '0', "x", 1);
    archive_add_pax(&archive, "path", name);
    archive_add(&archive, "nn", '0', NULL, 0);
    archive_add_pax(&archive, "size", "600");
    archive_add(&archive, "b.png", '0', name, 300);
    archive_finish(&archive);
    put("tar", "pax", archive.bytes, archive.size);
    archive = (struct archive_maker){0};
    archive_add(&archive, "././@LongLink", 'L', name, 301);
    archive_add(&archive, "nn", '7', name, 200);
    archive_add(&archive, "link", '2', NULL, 0);
    archive_add(&archive, "././@LongLink", 'K', name, 301);
    archive_add(&archive, "hard", '1', NULL, 0);
    archive_finish(&archive);
    archive_add(&archive, "joined", '0', NULL, 0);
    archive_finish(&archive);
    put("tar", "gnu", archive.bytes, archive.size);
}

static void seed_indexes(void)
{
    struct index_writer writer;
    struct problem problem;
    uint64_t container;
    for (int pictures = 0; pictures < 9; pictures += 4) {
        char name[16];
        snprintf(name, sizeof name, "%d", pictures);
        bool good = index_begin(&writer, place("index", name), &problem) &&
                    index_add_source(&writer, "here", "/here");
        for (int i = 0; good && i < pictures; i++) {
            snprintf(name, sizeof name, "%d.png", i);
            if (i % 3 == 0)
                good =
                    index_add_container(&writer, (enum container_kind)(i / 3), "of them", NULL, &container);
            good = good && index_add_entry(&writer, container, name, 512 * (uint64_t)i, 100, name);
        }
        FUZZ_EXPECT(index_end(&writer, good) && good, "%s", problem.text);
    }
}

int main(int count, char **arguments)
{
    if (count != 2) return 2;
    folder = arguments[1];
    mkdir(folder, 0777);
    seed_images();
    seed_archives();
    seed_indexes();
    return 0;
}
