/*
 * Evaluates features by their classes: patches of some "images" are remembered with their labels; others are
 * labelled by their nearest neighbours among them, and by a linear layer, and the label maps are scored.
 */
#include "check.h"

#include <math.h>

enum {
    IMAGES = 6,
    ROWS = 4,
    COLUMNS = 4,
    N = ROWS * COLUMNS,
    D = 8,
    CLASSES = 3,
    SIDE = 16,
    PIXELS = SIDE * SIDE
};

/* Image b has class 1 in a corner, class 2 below, class 0 elsewhere, and an unlabelled edge. */
static void make_labels(int b, int32_t labels[PIXELS])
{
    for (int y = 0; y < SIDE; y++)
        for (int x = 0; x < SIDE; x++) {
            int corner = x < 6 + b && y < 8, below = y > 10;
            labels[y * SIDE + x] = x == SIDE - 1 ? 255 : corner ? 1 : below ? 2 : 0;
        }
}

/* A patch's feature points approximately in the direction of the class in its middle. */
static void make_features(int b, const int32_t labels[PIXELS], float features[N * D])
{
    double noise[N * D];
    MUST(cribo_random_uniform(1, (uint64_t)b, 0, N * D, noise));
    for (int n = 0; n < N; n++)
        for (int i = 0; i < D; i++) {
            int middle = labels[(n / COLUMNS * 4 + 2) * SIDE + n % COLUMNS * 4 + 2];
            features[n * D + i] = (float)(noise[n * D + i] - 0.5) + (i == middle ? 2 : 0);
        }
}

int main(void)
{
    static float features[IMAGES][N * D];
    static int32_t labels[IMAGES][PIXELS], found[PIXELS];
    cribo_probe_config config;
    cribo_probe *probe;
    MUST(cribo_probe_config_init(&config, sizeof config)); /* k = 30, temperature 0.02, ignore label 255 */
    config.width = D;
    config.classes = CLASSES;
    MUST(cribo_probe_create(&probe, &config, NULL));

    for (int b = 0; b < IMAGES; b++) {
        make_labels(b, labels[b]);
        make_features(b, labels[b], features[b]);
    }
    cribo_patch_maps maps = {.struct_size = sizeof maps,
        .images = IMAGES - 1,
        .rows = ROWS,
        .columns = COLUMNS,
        .features = features[0],
        .height = SIDE, /* of the label maps: any multiple of the grid */
        .width = SIDE};
    MUST(cribo_probe_add(probe, &maps, labels[0]));
    MUST(cribo_probe_fit(probe, NULL)); /* for the linear reader only */

    maps.images = 1; /* the last one is new */
    maps.features = features[IMAGES - 1];
    for (int reader = CRIBO_PROBE_NEAREST; reader <= CRIBO_PROBE_LINEAR; reader++) {
        int64_t confusion[CLASSES * CLASSES] = {0};
        double iou[CLASSES];
        cribo_scores scores = {.struct_size = sizeof scores};
        MUST(cribo_probe_predict(probe, reader, &maps, NULL, found));
        MUST(cribo_confusion_add(CLASSES, 255, PIXELS, labels[IMAGES - 1], found, confusion));
        MUST(cribo_confusion_scores(CLASSES, confusion, iou, &scores));
        printf("mIoU %.3f, of the classes %.3f %.3f %.3f\n", scores.mean_iou, iou[0], iou[1], iou[2]);
        EXPECT(scores.mean_iou > 0.5 && scores.counted == PIXELS - SIDE);
    }
    cribo_probe_free(probe);
    return 0;
}
