/*
 * The pictures that were found broken, each with the batch where it was found first. The size of the table
 * does not depend on the number of all pictures.
 */
#ifndef BROKEN_H
#define BROKEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct broken_slot {
    uint64_t picture, since; /* 1 + the first batch in which it was found; 0: the slot is free */
};

struct broken {
    struct broken_slot *slots;
    size_t capacity, count;
};

bool broken_has(const struct broken *broken, uint64_t picture);

/* 1 + the first batch in which it was found; 0: it was not found. */
uint64_t broken_since(const struct broken *broken, uint64_t picture);

/*
 * Records that a picture was broken in a batch; the earliest batch is kept. *first: whether it is new. False
 * without memory.
 */
bool broken_add(struct broken *broken, uint64_t picture, uint64_t batch, bool *first);

/* Those found before batch `end`, in ascending order: pictures [their count], or NULL to count only. */
size_t broken_before(const struct broken *broken, uint64_t end, uint32_t *pictures);

void broken_free(struct broken *broken);

#endif
