/*
 * Writes the files with which fuzzing begins: seeds FOLDER REFERENCE, a folder FOLDER/NAME for each target.
 * The large ones of the golden data are left out.
 */
#define _POSIX_C_SOURCE 200809L
#include "fuzz/fuzz.h"
#include "fuzz/small_trainer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <zlib.h>

#define MOST_BYTES 100000

static const char *folder;

static const char *place(const char *target, const char *name)
{
    static char path[2048];
    snprintf(path, sizeof path, "%s/%s", folder, target);
    mkdir(path, 0777);
    snprintf(path, sizeof path, "%s/%s/%s", folder, target, name);
    return path;
}

static void put(const char *target, const char *name, const void *bytes, size_t count)
{
    FILE *file = fopen(place(target, name), "wb");
    FUZZ_EXPECT(
        file && fwrite(bytes, 1, count, file) == count && fclose(file) == 0, "%s cannot be written", name);
}

/* A file's content, inflated if it is compressed. */
static size_t content_of(const char *path, uint8_t *bytes, size_t most)
{
    gzFile file = gzopen(path, "rb");
    int got = file ? gzread(file, bytes, (unsigned)most) : -1;
    FUZZ_EXPECT(got >= 0, "%s cannot be read", path);
    gzclose(file);
    return (size_t)got;
}

/* The same for several targets. */
static void put_safetensors(const char *name, const void *bytes, size_t count)
{
    put("safetensors", name, bytes, count);
    put("model", name, bytes, count);
}

static void seed_checkpoints(void)
{
    const cribo_save_parts parts = {.struct_size = sizeof parts, .backbone = 1, .plain_names = 1};
    cribo_trainer_config c = small_trainer_config();
    static uint8_t bytes[1 << 20];
    char name[64];
    for (int steps = 0; steps < 4; steps += 3)
        for (int64_t level = 0; level < 2; level++) {
            cribo_save_options options = {.struct_size = sizeof options, .level = level};
            cribo_trainer *trainer = training_begin(&c, 1);
            training_steps(trainer, &c, steps);
            snprintf(name, sizeof name, "level-%d-steps-%d", (int)level, steps);
            OK(cribo_trainer_save(trainer, place("checkpoint", name), &options));
            size_t count = content_of(place("checkpoint", name), bytes, sizeof bytes);
            OK(cribo_trainer_save(trainer, place("gzip", name), &options));
            snprintf(name, sizeof name, "plain-steps-%d", steps);
            put("checkpoint", name, bytes, count);
            put_safetensors(name, bytes, count);
            put("bank", name, bytes, count);
            OK(cribo_trainer_save_weights(trainer, place("safetensors", "weights")));
            OK(cribo_trainer_save_weights(trainer, place("model", "weights")));
            OK(cribo_model_save_partial(
                cribo_trainer_teacher(trainer), place("model", "plain names"), "student.", &parts));
            OK(cribo_memory_bank_save(cribo_trainer_memory_bank(trainer), place("bank", "alone"), NULL));
            cribo_trainer_free(trainer);
        }
}

static void seed_reference(const char *reference)
{
    static const char *const names[] = {"bank_large_batch", "bank_overflow", "clustering_same_crop"};
    static uint8_t bytes[MOST_BYTES];
    char path[2048];
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        snprintf(path, sizeof path, "%s/%s.safetensors", reference, names[i]);
        put("safetensors", names[i], bytes, content_of(path, bytes, sizeof bytes));
    }
}

static void seed_gzip(void)
{
    static uint8_t bytes[200000];
    gzFile file = gzopen(place("gzip", "members"), "wb9");
    FUZZ_EXPECT(file, "no file");
    gzwrite(file, bytes, sizeof bytes); /* zeros: the most that compression can do */
    gzclose(file);
    for (int i = 0; i < 3; i++) {
        file = gzopen(place("gzip", "members"), i == 2 ? "ab0" : "ab6");
        gzprintf(file, "member %d", i);
        gzclose(file);
    }
}

static void seed_texts(void)
{
    static const char *const json[] = {
        "{\"a\":[1,2,{\"b\":\"c\"}],\"\\u00e9\\ud83d\\ude00\":18446744073709551615}",
        "[[[[[]]]],{},\"\\\"\\\\\\/\\b\\f\\n\\r\\t\",0]", " { \"\xc3\xa9\" : \"\xf0\x9f\x98\x80\" } "};
    static const char *const settings[] = {"learning_rate=0.1", "epochs=1e3", "seed=9007199254740993",
        "clusters=32", "drop_path=0x1p-3", "position_weight=-0", "bank_images=25000",
        "student_temperature=1e-3", "micro_batch=4.0", "overrides=learning_rate, epochs"};
    char name[16];
    for (size_t i = 0; i < sizeof json / sizeof json[0]; i++) {
        snprintf(name, sizeof name, "%zu", i);
        put("json", name, json[i], strlen(json[i]));
    }
    for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++) {
        snprintf(name, sizeof name, "%zu", i);
        put("settings", name, settings[i], strlen(settings[i]));
    }
}

/* The handle's number, then indexes of settings and their values; see fuzz_create.c. */
static void seed_creations(void)
{
    static const uint8_t trainer[] = {0, 0, 24, 1, 8, 12, 5, 31, 2}, clusterer[] = {2, 0, 4},
                         bank[] = {4, 0, 7, 1, 5, 2, 16, 3, 25}, loss[] = {3, 0, 24, 1, 30},
                         model[] = {1, 0, 24, 1, 8, 2, 16, 3, 2, 4, 2, 5, 2, 7, 20, 8, 8, 9, 24, 10, 30};
    put("create", "trainer", trainer, sizeof trainer);
    put("create", "clusterer", clusterer, sizeof clusterer);
    put("create", "memory_bank", bank, sizeof bank);
    put("create", "loss", loss, sizeof loss);
    put("create", "model", model, sizeof model);
}

int main(int count, char **arguments)
{
    if (count != 3) return 2;
    folder = arguments[1];
    mkdir(folder, 0777);
    seed_checkpoints();
    seed_reference(arguments[2]);
    seed_gzip();
    seed_texts();
    seed_creations();
    return 0;
}
