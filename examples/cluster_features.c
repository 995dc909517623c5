/*
 * Clusters the dense features of another network, jointly in both views of an image.
 *
 * The features are made up here: a picture of four quarters, each with its own direction in feature space,
 * seen through two crops; the second is 32 pixels further right and down. The results are a label for every
 * token and, for every object that both views show, a pair of feature vectors.
 */
#include "check.h"

#include <math.h>
#include <string.h>

enum { B = 2, SIDE = 8, N = SIDE * SIDE, D = 16, K = 12, PATCH = 16, SHIFT = 32 };

static float tokens[B][2][N][D];    /* the network's token of each patch */
static float positions[B][2][N][2]; /* the patch's centre in the original image, in pixels */
static int64_t labels[B][2][N];
static uint8_t valid[B][K];
static float objects[B][2][K][D];

/* The quarter of the picture with the patch: 0 ... 3. */
static int quarter(const float centre[2])
{
    float middle = (SIDE * PATCH + SHIFT) / 2.0F;
    return (centre[0] > middle) + 2 * (centre[1] > middle);
}

/* One view: patch by patch the quarter's direction with a little noise. */
static void make_view(int b, int v)
{
    double noise[N * D];
    MUST(cribo_random_uniform(1, (uint64_t)b, (uint64_t)v, N * D, noise));
    for (int n = 0; n < N; n++) {
        positions[b][v][n][0] = (float)(n % SIDE * PATCH + PATCH / 2 + v * SHIFT);
        positions[b][v][n][1] = (float)(n / SIDE * PATCH + PATCH / 2 + v * SHIFT);
        for (int d = 0; d < D; d++)
            tokens[b][v][n][d] =
                (float)(d % 4 == quarter(positions[b][v][n])) + 0.2F * (float)noise[n * D + d];
    }
}

static void show(const int64_t view[N])
{
    for (int n = 0; n < N; n++) printf("%c%s", 'a' + (int)view[n], n % SIDE == SIDE - 1 ? "\n" : " ");
    puts("");
}

static double cosine(const float *x, const float *y)
{
    double xy = 0, xx = 0, yy = 0;
    for (int d = 0; d < D; d++) {
        xy += (double)x[d] * y[d];
        xx += (double)x[d] * x[d];
        yy += (double)y[d] * y[d];
    }
    return xy / sqrt(xx * yy);
}

/* No cluster extends over two quarters, in either view. */
static void expect_pure(int b)
{
    int home[K];
    memset(home, -1, sizeof home);
    for (int v = 0; v < 2; v++)
        for (int n = 0; n < N; n++) {
            int64_t k = labels[b][v][n];
            int q = quarter(positions[b][v][n]);
            EXPECT(home[k] == -1 || home[k] == q);
            home[k] = q;
        }
}

int main(void)
{
    for (int b = 0; b < B; b++)
        for (int v = 0; v < 2; v++) make_view(b, v);

    cribo_clusterer_config config;
    MUST(cribo_clusterer_config_init(&config, sizeof config)); /* the published defaults */
    config.clusters = K;
    config.seed = 5;

    cribo_clusterer *clusterer;
    MUST(cribo_clusterer_create(&clusterer, &config, NULL, B, N, D));

    cribo_cluster_input input = {.struct_size = sizeof input,
        .images = B,
        .tokens = &tokens[0][0][0][0],
        .positions = &positions[0][0][0][0]};
    cribo_cluster_output output = {.struct_size = sizeof output,
        .labels = &labels[0][0][0],
        .valid = &valid[0][0],
        .objects = &objects[0][0][0][0]};
    MUST(cribo_clusterer_run(clusterer, &input, &output));
    cribo_clusterer_free(clusterer);

    show(labels[0][0]);
    show(labels[0][1]);

    int found = 0;
    for (int b = 0; b < B; b++) {
        expect_pure(b);
        for (int k = 0; k < K; k++) {
            if (!valid[b][k]) continue; /* absent from one of the views: its rows are zero */
            found++;
            EXPECT(cosine(objects[b][0][k], objects[b][1][k]) > 0.95);
        }
    }
    printf("%d objects in %d images\n", found, B);
    EXPECT(found >= 2 * B);
    return 0;
}
