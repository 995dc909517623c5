/* cribo embed: the features of a folder's pictures, in a file. */
#include "commands/model_command.h"
#include "base/json_text.h"
#include "base/output.h"
#include "base/say.h"
#include "models/tensor_file.h"
#include "pictures/complaints.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { KEY_DENSE = 256 };

static const struct argp_option table[] = {
    {"dense", KEY_DENSE, NULL, 0,
        "Write the tokens of all patches, [pictures, N, D], instead of the global vectors, [pictures, D]", 0},
    {0},
};

struct embedding {
    struct model_command command;
    bool dense;
    float *pixels, *features;
    struct tensor_file file;
    char *names_path;
    struct output names; /* FILE.names, a line for each row */
    size_t left_out;
    struct complaints complaints;
};

static error_t parse(int key, char *value, struct argp_state *state)
{
    struct embedding *embedding = state->input;
    (void)value;
    switch (key) {
    case KEY_DENSE: embedding->dense = true; return 0;
    case ARGP_KEY_INIT: state->child_inputs[0] = &embedding->command; return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

/* A row for one picture; one that cannot be read has none. */
static bool add_picture(struct embedding *embedding, const struct frozen *frozen,
    const struct pictures *pictures, size_t index, struct problem *problem)
{
    char name[8192];
    struct image image;
    if (!pictures_load(pictures, index, &image, 3, 2.0 * frozen->size, problem)) {
        pictures_name(pictures, index, name, sizeof name);
        complaints_add(&embedding->complaints, name, problem->text, "left out");
        embedding->left_out++;
        return true;
    }
    bool made = frozen_pixels(frozen, &image, embedding->pixels, problem);
    image_free(&image);
    if (!made) return false;
    float *dense = embedding->dense ? embedding->features : NULL,
          *cls = embedding->dense ? NULL : embedding->features;
    if (cribo_model_features(
            frozen->model, 1, frozen->size, frozen->size, embedding->pixels, dense, cls, NULL) != CRIBO_OK)
        return problem_library(problem);
    pictures_name(pictures, index, name, sizeof name);
    if (!json_text_write(embedding->names.file, name) || fputc('\n', embedding->names.file) < 0)
        return problem_set(problem, "cannot write names: %s", strerror(errno));
    return tensor_file_add(&embedding->file, embedding->features, problem);
}

/* FILE.names, beside the array. */
static bool open_names(struct embedding *embedding, struct problem *problem)
{
    if (asprintf(&embedding->names_path, "%s.names", embedding->command.out) < 0) {
        embedding->names_path = NULL;
        return problem_no_memory(problem);
    }
    return output_open(&embedding->names, embedding->names_path, problem);
}

static bool write_all(struct embedding *embedding, const struct frozen *frozen,
    const struct pictures *pictures, struct problem *problem)
{
    for (size_t i = 0; i < pictures->count; i++) {
        if (!add_picture(embedding, frozen, pictures, i, problem)) return false;
        if (say_progress_due()) say_progress("%zu of %zu pictures", i + 1, pictures->count);
    }
    say_progress_end();
    if (embedding->file.rows == 0)
        return problem_set(problem, "%s: none of its pictures could be read", embedding->command.pictures);
    return tensor_file_close(&embedding->file, problem) && output_close(&embedding->names, problem);
}

static bool run(struct model_command *command, const struct frozen *frozen, const struct pictures *pictures,
    struct problem *problem)
{
    struct embedding *embedding = (struct embedding *)command; /* its first member */
    size_t shape[] = {frozen_tokens(frozen), (size_t)frozen->width},
           *row = embedding->dense ? shape : shape + 1;
    complaints_init(&embedding->complaints);
    embedding->pixels = malloc(3 * (size_t)frozen->size * (size_t)frozen->size * sizeof(float));
    embedding->features = malloc(shape[0] * shape[1] * sizeof(float));
    bool done = embedding->pixels && embedding->features;
    if (!done) problem_no_memory(problem);
    done = done &&
           tensor_file_open(&embedding->file, command->out, embedding->dense ? "dense" : "cls", row,
               embedding->dense ? 2 : 1, problem) &&
           open_names(embedding, problem) && write_all(embedding, frozen, pictures, problem);
    complaints_say_rest(&embedding->complaints);
    size_t rows = pictures->count - embedding->left_out;
    output_drop(&embedding->names);
    free(embedding->names_path);
    tensor_file_drop(&embedding->file);
    free(embedding->pixels);
    free(embedding->features);
    if (done)
        say_note("features of %zu pictures in %s, their paths in %s.names", rows, command->out, command->out);
    return done;
}

int command_embed(int count, char **arguments)
{
    static const struct argp_child children[] = {{&model_command_argp, 0, NULL, 0}, {0}};
    static const struct argp argp = {.options = table,
        .parser = parse,
        .children = children,
        .args_doc = "MODEL DIR -o FILE",
        .doc = "Writes the features of all pictures in DIR to FILE, whose name ends in .npy or .safetensors: "
               "float32, one row per picture. FILE.names has the path of each picture in the same order, one "
               "JSON string per line."};
    struct embedding embedding = {0};
    return model_command_run("cribo embed", &argp, count, arguments, &embedding.command, run);
}
