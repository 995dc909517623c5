/* Models that share one set of weights, and packed weights. */
#include "support/faulty.h"
#include "support/scratch.h"
#include "support/suite.h"
#include "support/training.h"

#include <check.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define HELPERS 4
#define ROUNDS 3
#define SIDE 32
#define WIDTH 48
#define PATCHES 16
#define IMAGES 2
#define QKV "backbone.blocks.0.attn.qkv.weight"

static cribo_model_config config_of(int64_t precision)
{
    cribo_model_config c;
    OK(cribo_model_config_init(&c, sizeof c));
    c.image_size = SIDE;
    c.patch_size = 8;
    c.width = WIDTH;
    c.depth = 2;
    c.heads = 3;
    c.prototypes = c.object_prototypes = 0;
    c.precision = precision;
    c.seed = 3;
    return c;
}

static cribo_model *model_with(int64_t precision, faulty *memory)
{
    cribo_model *model;
    cribo_model_config config = config_of(precision);
    cribo_runtime runtime = faulty_runtime(1, memory);
    OK(cribo_model_create(&model, &config, &runtime));
    return model;
}

static cribo_model *share_of(const cribo_model *source, int64_t threads, faulty *memory)
{
    cribo_model *model;
    cribo_runtime runtime = faulty_runtime(threads, memory);
    OK(cribo_model_share(&model, source, &runtime));
    return model;
}

typedef struct features {
    float dense[IMAGES * PATCHES * WIDTH], cls[IMAGES * WIDTH], attention[IMAGES * 3 * PATCHES];
} features;

static features features_of(cribo_model *model)
{
    float pixels[IMAGES * 3 * SIDE * SIDE];
    features f;
    for (size_t i = 0; i < sizeof pixels / sizeof *pixels; i++) pixels[i] = (float)(i * 37 % 101) / 50 - 1;
    OK(cribo_model_features(model, IMAGES, SIDE, SIDE, pixels, f.dense, f.cls, f.attention));
    return f;
}

static bool same_features(const features *a, const features *b)
{
    return memcmp(a, b, sizeof *a) == 0;
}

/* Threads at work. */

typedef struct helper {
    cribo_model *model;
    const features *expected;
    int64_t same; /* rounds with the expected bits */
    pthread_t thread;
} helper;

static void *compute(void *context)
{
    helper *h = context;
    for (int round = 0; round < ROUNDS; round++) {
        features f = features_of(h->model);
        h->same += same_features(&f, h->expected);
    }
    return NULL;
}

/* All helpers and the source compute at once; the source's thread frees its model first. */
static void compute_at_once(cribo_model *source, const features *expected)
{
    helper helpers[HELPERS] = {0}, own = {.model = source, .expected = expected};
    for (int i = 0; i < HELPERS; i++) {
        helpers[i].model = share_of(i == 0 ? source : helpers[i - 1].model, 1 + i % 2, NULL);
        helpers[i].expected = expected;
    }
    for (int i = 0; i < HELPERS; i++)
        ck_assert_int_eq(pthread_create(&helpers[i].thread, NULL, compute, &helpers[i]), 0);
    compute(&own);
    cribo_model_free(source);
    for (int i = 0; i < HELPERS; i++) {
        pthread_join(helpers[i].thread, NULL);
        cribo_model_free(helpers[i].model);
        ck_assert_int_eq(helpers[i].same, ROUNDS);
    }
    ck_assert_int_eq(own.same, ROUNDS);
}

START_TEST(test_sharing_many_threads_give_the_bits_of_one)
{
    int64_t precision = _i % 2, packed = _i / 2;
    faulty memory = {0};
    cribo_model *source = model_with(precision, &memory);
    features expected = features_of(source);
    if (packed) OK(cribo_model_pack(source));
    compute_at_once(source, &expected);
    ck_assert_uint_eq(memory.held, 0);
}
END_TEST

/* Memory. */

START_TEST(test_sharing_holds_the_weights_once)
{
    faulty first = {0}, second = {0};
    cribo_model *source = model_with(CRIBO_FLOAT32, &first);
    size_t before = first.bytes;
    cribo_model *shared = share_of(source, 1, &second);
    ck_assert_uint_eq(first.bytes, before);
    ck_assert_uint_lt(second.bytes * 20, before);
    features_of(shared);
    ck_assert_uint_eq(first.bytes, before);
    cribo_model_free(shared);
    ck_assert_uint_eq(second.held, 0);
    cribo_model_free(source);
    ck_assert_uint_eq(first.held, 0);
}
END_TEST

START_TEST(test_sharing_source_freed_first_weights_stay)
{
    faulty first = {0}, second = {0};
    cribo_model *source = model_with(CRIBO_FLOAT32, &first);
    features expected = features_of(source);
    cribo_model *shared = share_of(source, 2, &second);
    cribo_model_free(source);
    ck_assert_uint_gt(first.held, 0);
    features f = features_of(shared);
    ck_assert(same_features(&f, &expected));
    cribo_model_free(shared);
    ck_assert_uint_eq(first.held, 0);
    ck_assert_uint_eq(second.held, 0);
}
END_TEST

START_TEST(test_sharing_without_memory_fails_and_leaves_nothing)
{
    cribo_model *source = model_with(CRIBO_FLOAT32, NULL), *shared = source;
    faulty memory; /* until the last handle is freed */
    for (size_t call = 1;; call++) {
        memory = (faulty){.fail_at = call};
        cribo_runtime runtime = faulty_runtime(2, &memory);
        cribo_status status = cribo_model_share(&shared, source, &runtime);
        if (status == CRIBO_OK) break;
        ck_assert_int_eq(status, CRIBO_OUT_OF_MEMORY);
        ck_assert_ptr_null(shared);
        ck_assert_uint_eq(memory.held, 0);
    }
    cribo_model_free(shared);
    float value[3 * WIDTH] = {0};
    OK(cribo_model_write_parameter(source, "backbone.blocks.0.attn.qkv.bias", value, 3 * WIDTH));
    cribo_model_free(source);
}
END_TEST

/* Changes. */

static void assert_unchangeable(cribo_model *model, const char *file)
{
    static float values[3 * WIDTH * WIDTH];
    const cribo_load_parts parts = {.struct_size = sizeof parts, .backbone = 1};
    const char *part = "2 models share these weights";
    REFUSED(cribo_model_write_parameter(model, QKV, values, 3 * WIDTH * WIDTH), CRIBO_WRONG_STATE, part);
    REFUSED(cribo_model_load(model, file, NULL), CRIBO_WRONG_STATE, part);
    REFUSED(cribo_model_load_partial(model, file, NULL, &parts), CRIBO_WRONG_STATE, part);
    REFUSED(cribo_model_adopt(model, file, NULL), CRIBO_WRONG_STATE, part);
    REFUSED(cribo_model_pack(model), CRIBO_WRONG_STATE, part);
}

START_TEST(test_sharing_changes_are_refused_until_one_model_is_left)
{
    const char *file = scratch_path("model.safetensors");
    cribo_model *source = model_with(CRIBO_FLOAT32, NULL);
    OK(cribo_model_save(source, file, NULL));
    features expected = features_of(source);
    cribo_model *shared = share_of(source, 1, NULL);
    assert_unchangeable(source, file);
    assert_unchangeable(shared, file);
    features f = features_of(source);
    ck_assert(same_features(&f, &expected));
    cribo_model_free(source);
    OK(cribo_model_load(shared, file, NULL));
    OK(cribo_model_adopt(shared, file, NULL));
    OK(cribo_model_pack(shared));
    cribo_model_free(shared);
}
END_TEST

START_TEST(test_sharing_model_of_a_trainer_is_refused)
{
    cribo_trainer_config config = training_config();
    cribo_trainer *trainer = training_begin(&config, 1);
    cribo_model *shared;
    REFUSED(cribo_model_share(&shared, cribo_trainer_teacher(trainer), NULL), CRIBO_INVALID_ARGUMENT,
        "source belongs to a trainer");
    ck_assert_ptr_null(shared);
    REFUSED(cribo_model_pack(cribo_trainer_student(trainer)), CRIBO_INVALID_ARGUMENT,
        "model belongs to a trainer");
    cribo_trainer_free(trainer);
}
END_TEST

/* Packed weights. */

START_TEST(test_packing_keeps_the_bits_and_a_write_discards_it)
{
    faulty memory = {0};
    float values[3 * WIDTH * WIDTH];
    cribo_model *packed = model_with(_i, &memory), *plain = model_with(_i, NULL);
    features before = features_of(packed), f;
    size_t bytes = memory.bytes;
    OK(cribo_model_pack(packed));
    size_t with_panels = memory.bytes;
    OK(cribo_model_pack(packed));
    ck_assert_uint_eq(memory.bytes, with_panels);
    f = features_of(packed);
    ck_assert(same_features(&f, &before));

    for (size_t i = 0; i < 3 * WIDTH * WIDTH; i++) values[i] = (float)(i % 7) / 50;
    OK(cribo_model_write_parameter(packed, QKV, values, 3 * WIDTH * WIDTH));
    OK(cribo_model_write_parameter(plain, QKV, values, 3 * WIDTH * WIDTH));
    ck_assert_uint_eq(memory.bytes, bytes);
    f = features_of(packed);
    features expected = features_of(plain);
    ck_assert(same_features(&f, &expected));
    ck_assert(!same_features(&f, &before));
    OK(cribo_model_pack(packed));
    f = features_of(packed);
    ck_assert(same_features(&f, &expected));
    cribo_model_free(packed);
    cribo_model_free(plain);
    ck_assert_uint_eq(memory.held, 0);
}
END_TEST

START_TEST(test_packing_without_memory_changes_nothing)
{
    faulty memory = {0};
    cribo_model *model = model_with(CRIBO_FLOAT32, &memory);
    features before = features_of(model);
    memory.fail_at = memory.calls + 1;
    ck_assert_int_eq(cribo_model_pack(model), CRIBO_OUT_OF_MEMORY);
    memory.fail_at = 0;
    features f = features_of(model);
    ck_assert(same_features(&f, &before));
    cribo_model_free(model);
    ck_assert_uint_eq(memory.held, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sharing");
    TCase *tests = tcase_create("sharing");
    tcase_set_timeout(tests, 120);
    tcase_add_checked_fixture(tests, scratch_begin, scratch_end);
    tcase_add_loop_test(tests, test_sharing_many_threads_give_the_bits_of_one, 0, 4);
    tcase_add_test(tests, test_sharing_holds_the_weights_once);
    tcase_add_test(tests, test_sharing_source_freed_first_weights_stay);
    tcase_add_test(tests, test_sharing_without_memory_fails_and_leaves_nothing);
    tcase_add_test(tests, test_sharing_changes_are_refused_until_one_model_is_left);
    tcase_add_test(tests, test_sharing_model_of_a_trainer_is_refused);
    tcase_add_loop_test(tests, test_packing_keeps_the_bits_and_a_write_discards_it, 0, 2);
    tcase_add_test(tests, test_packing_without_memory_changes_nothing);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
