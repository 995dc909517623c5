/*
 * A C program of a user of the installed library: clusters tokens, stores the objects in a memory bank, finds
 * them again, and computes the losses of some logits.
 */
#include <cribo/cribo.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { B = 2, N = 9, D = 8, K = 3, P = 16 };

static void check(cribo_status status, const char *what)
{
    if (status == CRIBO_OK) return;
    fprintf(stderr, "%s: %s: %s\n", what, cribo_status_name(status), cribo_last_error());
    exit(1);
}

#define CHECK(call) check(call, #call)

static void expect(int truth, const char *what)
{
    if (truth) return;
    fprintf(stderr, "not so: %s\n", what);
    exit(1);
}

#define EXPECT(truth) expect(truth, #truth)

static void fill(float *values, size_t count, uint64_t stream)
{
    double uniform[2 * B * N * D];
    CHECK(cribo_random_uniform(7, stream, 0, count, uniform));
    for (size_t i = 0; i < count; i++) values[i] = (float)(uniform[i] - 0.5);
}

static float objects[B][2][K][D];
static uint8_t valid[B][K];

static void cluster(void)
{
    static float tokens[B][2][N][D], positions[B][2][N][2];
    cribo_clusterer_config config;
    cribo_clusterer *clusterer;
    fill(&tokens[0][0][0][0], B * 2 * N * D, 1);
    for (int b = 0; b < B; b++)
        for (int i = 0; i < 2 * N; i++) {
            positions[b][i / N][i % N][0] = (float)(16 * (i % N % 3));
            positions[b][i / N][i % N][1] = (float)(16 * (i % N / 3));
        }
    CHECK(cribo_clusterer_config_init(&config, sizeof config));
    CHECK(cribo_clusterer_config_set(&config, "clusters", "3"));
    CHECK(cribo_clusterer_create(&clusterer, &config, NULL, B, N, D));
    cribo_cluster_input input = {sizeof input, B, &tokens[0][0][0][0], &positions[0][0][0][0], NULL, 0};
    cribo_cluster_output output = {sizeof output, NULL, NULL, &valid[0][0], &objects[0][0][0][0]};
    CHECK(cribo_clusterer_run(clusterer, &input, &output));
    cribo_clusterer_free(clusterer);
}

/* Pushes the objects, and finds each of them again as its own nearest neighbour. */
static void remember(void)
{
    static float view1[B * K][D], view2[B * K][D];
    int64_t counts[B] = {0}, index1[B * K];
    uint8_t match1[B * K];
    int64_t rows = 0, held;
    for (int b = 0; b < B; b++)
        for (int k = 0; k < K; k++) {
            if (!valid[b][k]) continue;
            memcpy(view1[rows], objects[b][0][k], sizeof view1[0]);
            memcpy(view2[rows], objects[b][0][k], sizeof view2[0]);
            counts[b]++;
            rows++;
        }
    EXPECT(rows > 0);
    cribo_memory_bank_config config;
    cribo_memory_bank *bank;
    CHECK(cribo_memory_bank_config_init(&config, sizeof config));
    config.bank_images = 4;
    config.objects_per_image = K;
    config.width = D;
    CHECK(cribo_memory_bank_create(&bank, &config, NULL));
    cribo_object_batch batch = {sizeof batch, B, counts, &view1[0][0], &view2[0][0], NULL};
    cribo_match match = {sizeof match, index1, NULL, match1, NULL, NULL, NULL};
    CHECK(cribo_memory_bank_push(bank, &batch));
    CHECK(cribo_memory_bank_count(bank, NULL, &held));
    EXPECT(held == rows);
    CHECK(cribo_memory_bank_query(bank, &batch, &match));
    for (int64_t i = 0; i < rows; i++) EXPECT(index1[i] == i && match1[i] == 1);
    cribo_memory_bank_free(bank);
}

/* Equal logits everywhere: each direction's cross-entropy is ln P. */
static void lose(void)
{
    static float student[2][B][P], teacher[2][B][P];
    cribo_loss_config config;
    cribo_loss *loss;
    CHECK(cribo_loss_config_init(&config, sizeof config));
    config.prototypes = P;
    config.object_prototypes = P;
    config.authors_normalisation = 1;
    CHECK(cribo_loss_create(&loss, &config, NULL));
    cribo_loss_input input = {0};
    input.struct_size = sizeof input;
    input.images = B;
    input.student_cls = &student[0][0][0];
    input.teacher_cls = &teacher[0][0][0];
    input.teacher_temperature = 0.04;
    input.object_teacher_temperature = 0.07;
    cribo_loss_output output = {sizeof output, 0, 0, 0, NULL, NULL};
    CHECK(cribo_loss_compute(loss, &input, &output));
    EXPECT(fabs(output.global - log(P)) < 1e-6);
    cribo_loss_free(loss);
}

int main(void)
{
    char version[32];
    snprintf(
        version, sizeof version, "%d.%d.%d", CRIBO_VERSION_MAJOR, CRIBO_VERSION_MINOR, CRIBO_VERSION_PATCH);
    EXPECT(strcmp(cribo_version(), version) == 0);
    EXPECT(strstr(cribo_build_info(), version) != NULL);
    cluster();
    remember();
    lose();
    EXPECT(cribo_random_uniform(0, 0, 0, 1, NULL) == CRIBO_INVALID_ARGUMENT && cribo_last_error()[0] != 0);
    puts("ok");
    return 0;
}
