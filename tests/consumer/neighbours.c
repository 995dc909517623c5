/*
 * libcribo and other libraries in one process: a program with OpenMP regions, and with another BLAS if there
 * is one: neighbours [BLAS-LIBRARY]. Exit status 77: there is no such BLAS.
 *
 * Neither side changes the other: their products and the program's sums are the same before and after,
 * teams keep their size, and handles used from within a parallel region, one per thread, give what they
 * give alone.
 */
#include <cribo/cribo.h>

#include <dlfcn.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SIZE = 48, D = 64, TEAM = 3, M = 70 };

#define EXPECT(truth) \
    do { \
        if (!(truth)) { \
            fprintf(stderr, "not so: %s (%s)\n", #truth, cribo_last_error()); \
            exit(1); \
        } \
    } while (0)

/* The features that a small model gives for one image of noise. */
static void compute(float cls[D])
{
    double uniform[3 * SIZE * SIZE];
    float pixels[3 * SIZE * SIZE];
    cribo_model_config config;
    cribo_model *model;
    EXPECT(cribo_random_uniform(1, 2, 3, 3 * SIZE * SIZE, uniform) == CRIBO_OK);
    for (int i = 0; i < 3 * SIZE * SIZE; i++) pixels[i] = (float)uniform[i] - 0.5F;
    EXPECT(cribo_model_config_init(&config, sizeof config) == CRIBO_OK);
    config.image_size = SIZE;
    config.patch_size = 8;
    config.width = D;
    config.depth = 2;
    config.heads = 2;
    config.prototypes = config.object_prototypes = 0;
    EXPECT(cribo_model_create(&model, &config, NULL) == CRIBO_OK);
    EXPECT(cribo_model_features(model, 1, SIZE, SIZE, pixels, NULL, cls, NULL) == CRIBO_OK);
    cribo_model_free(model);
}

/* A sum by the program's own OpenMP team: exact in any order. */
static double sum(int *team)
{
    double total = 0;
#pragma omp parallel for num_threads(TEAM) reduction(+ : total)
    for (int i = 0; i < 100000; i++) {
        total += i;
        if (i == 0) *team = omp_get_num_threads();
    }
    return total;
}

/* Fortran's dgemm, as every BLAS has it. */
typedef void dgemm_function(const char *, const char *, const int *, const int *, const int *, const double *,
    const double *, const int *, const double *, const int *, const double *, double *, const int *);

static void multiply(dgemm_function *dgemm, double c[M * M])
{
    static double a[M * M], b[M * M];
    const int m = M;
    const double one = 1, zero = 0;
    for (int i = 0; i < M * M; i++) {
        a[i] = i % 7 - 3;
        b[i] = i % 11 - 5;
    }
    dgemm("N", "N", &m, &m, &m, &one, a, &m, b, &m, &zero, c, &m);
    for (int i = 0; i < M; i++)
        for (int j = 0; j < M; j++) {
            double exact = 0;
            for (int k = 0; k < M; k++) exact += a[i + k * M] * b[k + j * M];
            EXPECT(c[i + j * M] == exact); /* small integers */
        }
}

static dgemm_function *other_blas(const char *path)
{
    dgemm_function *dgemm;
    void *library = dlopen(path, RTLD_NOW | RTLD_GLOBAL),
         *address = library ? dlsym(library, "dgemm_") : NULL;
    if (!address) exit(77);
    memcpy(&dgemm, &address, sizeof dgemm);
    return dgemm;
}

static void from_a_team(const float expected[D])
{
    int same = 0;
#pragma omp parallel num_threads(TEAM) reduction(+ : same)
    {
        float cls[D];
        compute(cls);
        same += memcmp(cls, expected, sizeof cls) == 0;
    }
    EXPECT(same == TEAM);
}

int main(int argc, char **argv)
{
    static double before[M * M], after[M * M];
    float first[D], again[D];
    int team = 0, team_after = 0, most = omp_get_max_threads();
    dgemm_function *dgemm = argc > 1 ? other_blas(argv[1]) : NULL;
    double total = sum(&team);
    if (dgemm) multiply(dgemm, before);

    compute(first);
    if (dgemm) multiply(dgemm, after);
    EXPECT(memcmp(before, after, sizeof before) == 0);
    EXPECT(omp_get_max_threads() == most);
    EXPECT(sum(&team_after) == total && team_after == team);
    compute(again);
    EXPECT(memcmp(first, again, sizeof first) == 0);
    from_a_team(first);
    puts("ok");
    return 0;
}
