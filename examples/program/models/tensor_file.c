/*
 * See tensor_file.h. Both formats begin with a header that may be padded by spaces: room for it is left, and
 * filled at the end.
 */
#include "models/tensor_file.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { HEADER = 256 }; /* bytes, a multiple of 64 as .npy requires */

static bool ends_with(const char *text, const char *ending)
{
    size_t length = strlen(text), end = strlen(ending);
    return length > end && !strcmp(text + length - end, ending);
}

bool tensor_file_open(struct tensor_file *file, const char *path, const char *name, const size_t *shape,
    size_t axes, struct problem *problem)
{
    static const char blank[HEADER];
    *file = (struct tensor_file){.path = path, .name = name, .axes = axes, .numpy = ends_with(path, ".npy")};
    if (!file->numpy && !ends_with(path, ".safetensors"))
        return problem_set(problem, "%s: its name must end in .npy or .safetensors", path);
    memcpy(file->shape, shape, axes * sizeof *shape);
    if (!output_open(&file->output, path, problem)) return false;
    fwrite(blank, 1, HEADER, file->output.file); /* output_close reports what failed */
    return true;
}

static size_t row_numbers(const struct tensor_file *file)
{
    size_t numbers = 1;
    for (size_t i = 0; i < file->axes; i++) numbers *= file->shape[i];
    return numbers;
}

bool tensor_file_add(struct tensor_file *file, const float *row, struct problem *problem)
{
    size_t numbers = row_numbers(file);
    if (fwrite(row, sizeof *row, numbers, file->output.file) != numbers)
        return problem_set(problem, "cannot write %s: %s", file->path, strerror(errno));
    file->rows++;
    return true;
}

/* "3, 144, 192" */
static void print_shape(const struct tensor_file *file, char *text, size_t size)
{
    int length = snprintf(text, size, "%zu", file->rows);
    for (size_t i = 0; i < file->axes; i++)
        length += snprintf(text + length, size - (size_t)length, ", %zu", file->shape[i]);
}

/* Numbers are little-endian in both, as on the machines that the library runs on. */
static void make_header(const struct tensor_file *file, char *header)
{
    char shape[96], text[HEADER];
    memset(header, ' ', HEADER);
    print_shape(file, shape, sizeof shape);
    if (file->numpy) {
        int length =
            snprintf(text, sizeof text, "{'descr': '<f4', 'fortran_order': False, 'shape': (%s), }", shape);
        memcpy(header, "\x93NUMPY\x01\x00", 8);
        header[8] = (char)((HEADER - 10) & 255);
        header[9] = (HEADER - 10) >> 8;
        memcpy(header + 10, text, (size_t)length);
        header[HEADER - 1] = '\n';
    } else {
        uint64_t json = HEADER - 8;
        int length = snprintf(text, sizeof text,
            "{\"%s\":{\"dtype\":\"F32\",\"shape\":[%s],\"data_offsets\":[0,%zu]}}", file->name, shape,
            file->rows * row_numbers(file) * sizeof(float));
        memcpy(header, &json, 8);
        memcpy(header + 8, text, (size_t)length);
    }
}

bool tensor_file_close(struct tensor_file *file, struct problem *problem)
{
    char header[HEADER];
    make_header(file, header);
    if (fseek(file->output.file, 0, SEEK_SET) == 0) fwrite(header, 1, HEADER, file->output.file);
    return output_close(&file->output, problem);
}

void tensor_file_drop(struct tensor_file *file)
{
    output_drop(&file->output);
    *file = (struct tensor_file){0};
}
