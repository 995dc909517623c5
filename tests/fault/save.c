/*
 * Saves or checks a small safetensors file, for faults to be injected from outside.
 *
 * save PATH VALUE   a tensor full of VALUE; the message of a failure goes to standard error, its status is
 * the exit status save PATH         prints the VALUE of a whole file; exit status 1 when it is not one
 */
#include "io/safetensors.h"

#include <stdio.h>
#include <stdlib.h>

enum { COUNT = 5000 };
static const cb_allocator plain = {0};
static float values[COUNT];

static int save(const char *path, float value)
{
    cb_tensor_entry entry = {NULL, "x", 1, {COUNT}, .values = values};
    for (int i = 0; i < COUNT; i++) values[i] = value;
    cribo_status status = cb_safetensors_write(&plain, path, &entry, 1, NULL, 0);
    if (status != CRIBO_OK) fprintf(stderr, "%s\n", cribo_last_error());
    return (int)status;
}

static int check(const char *path)
{
    cb_safetensors *file;
    if (cb_safetensors_open(&plain, &file, path) != CRIBO_OK) return 1;
    const cb_tensor_info *tensor = cb_safetensors_find(file, NULL, "x");
    int wrong = !tensor || cb_safetensors_read(file, tensor, values, COUNT) != CRIBO_OK;
    for (int i = 1; i < COUNT; i++) wrong |= values[i] != values[0];
    cb_safetensors_close(file);
    printf("%g\n", (double)values[0]);
    return wrong;
}

int main(int count, char **arguments)
{
    if (count == 3) return save(arguments[1], (float)atof(arguments[2]));
    return count == 2 ? check(arguments[1]) : 2;
}
