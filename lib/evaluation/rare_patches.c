/* See rare_patches.h. */
#include "evaluation/rare_patches.h"

#include <math.h>
#include <string.h>

/* Classes of the patches of one image: which occur where. */
typedef struct census {
    const cb_label_maps *maps;
    int64_t ignore_label;
    uint8_t *occurs;     /* [N, C] */
    uint32_t *frequency; /* [C] */
    float *score;        /* [N] */
    size_t classes;
} census;

static void take_census(census *s, size_t image)
{
    const cb_label_maps *m = s->maps;
    size_t patches = m->rows * m->columns;
    memset(s->occurs, 0, patches * s->classes);
    memset(s->frequency, 0, s->classes * sizeof *s->frequency);
    const int32_t *label = m->labels + image * m->height * m->width;
    for (size_t y = 0; y < m->height; y++)
        for (size_t x = 0; x < m->width; x++, label++) {
            if (*label == s->ignore_label) continue;
            size_t patch = y / (m->height / m->rows) * m->columns + x / (m->width / m->columns);
            uint8_t *occurs = &s->occurs[patch * s->classes + (size_t)*label];
            if (!*occurs) s->frequency[*label]++;
            *occurs = 1;
        }
}

static void find_scores(census *s, const float *draws)
{
    for (size_t i = 0; i < s->maps->rows * s->maps->columns; i++) {
        uint32_t sum = 0;
        for (size_t c = 0; c < s->classes; c++)
            if (s->occurs[i * s->classes + c]) sum += s->frequency[c];
        s->score[i] = sum ? draws[i] * (float)sum : INFINITY;
    }
}

/* The `count` smallest of n scores, in order; equal ones by index. */
static void keep_smallest(const float *score, size_t n, size_t count, int64_t *index)
{
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        if (kept == count && score[i] >= score[index[kept - 1]]) continue;
        size_t place = kept < count ? kept++ : kept - 1;
        for (; place > 0 && score[i] < score[index[place - 1]]; place--) index[place] = index[place - 1];
        index[place] = (int64_t)i;
    }
}

cribo_status cb_rare_patches(const cb_allocator *allocator, const cb_label_maps *maps, int64_t ignore_label,
    size_t classes, const float *draws, size_t count, int64_t *index)
{
    size_t patches = maps->rows * maps->columns;
    census s = {.maps = maps, .ignore_label = ignore_label, .classes = classes};
    cribo_status status = CB_ALLOCATE(allocator, &s.occurs, patches * classes, "classes of patches");
    if (status == CRIBO_OK) status = CB_ALLOCATE(allocator, &s.frequency, classes, "classes of patches");
    if (status == CRIBO_OK) status = CB_ALLOCATE(allocator, &s.score, patches, "classes of patches");
    for (size_t b = 0; status == CRIBO_OK && b < maps->images; b++) {
        take_census(&s, b);
        find_scores(&s, draws + b * patches);
        keep_smallest(s.score, patches, count, index + b * count);
    }
    cb_release(allocator, s.score);
    cb_release(allocator, s.frequency);
    cb_release(allocator, s.occurs);
    return status;
}
