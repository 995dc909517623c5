/* cribo/base.h: the version, and build and machine information. */
#include "cribo/base.h"

#include "base/cpu.h"
#include "base/pool.h"
#include "tensor/gemm.h"

#include <pthread.h>
#include <stdio.h>

#define TEXT_(x) #x
#define TEXT(x) TEXT_(x)
#define VERSION TEXT(CRIBO_VERSION_MAJOR) "." TEXT(CRIBO_VERSION_MINOR) "." TEXT(CRIBO_VERSION_PATCH)

static char build_info[1024];
static pthread_once_t build_info_once = PTHREAD_ONCE_INIT;

const char *cribo_version(void)
{
    return VERSION;
}

int cribo_version_number(void)
{
    return CRIBO_VERSION_NUMBER;
}

/* What compiled the library. */
#if defined(__clang__)
#define COMPILER "clang " __clang_version__
#elif defined(__GNUC__)
#define COMPILER "gcc " __VERSION__
#else
#define COMPILER "unknown"
#endif

static void describe(void)
{
    char features[256];
    cb_cpu_features(features, sizeof features);
    snprintf(build_info, sizeof build_info,
        "{\"version\": \"" VERSION "\", \"compiler\": \"" COMPILER
        "\", \"blis_version\": \"%s\", \"blis_kernels\": \"%s\", "
        "\"matrix_kernel\": \"%s\", \"cpu_level\": \"%s\", \"cpu_features\": [%s], "
        "\"default_threads\": %zu}",
        cb_gemm_blis_version(), cb_gemm_blis_kernels(), cb_gemm_kernel(), cb_cpu_level_name(cb_cpu()),
        features, cb_pool_cpus());
}

const char *cribo_build_info(void)
{
    pthread_once(&build_info_once, describe);
    return build_info;
}
