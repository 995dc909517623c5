/* cribo/base.h: the version and what the library found on this machine. */
#include "cribo/base.h"

#include "base/cpu.h"
#include "base/pool.h"
#include "tensor/gemm.h"

#include <pthread.h>
#include <stdio.h>

#define TEXT_(x) #x
#define TEXT(x) TEXT_(x)
#define VERSION TEXT(CRIBO_VERSION_MAJOR) "." TEXT(CRIBO_VERSION_MINOR) "." TEXT(CRIBO_VERSION_PATCH)

static char build_info[512];
static pthread_once_t build_info_once = PTHREAD_ONCE_INIT;

const char *cribo_version(void)
{
    return VERSION;
}

static void describe(void)
{
    snprintf(build_info, sizeof build_info,
        "{\"version\": \"" VERSION "\", \"blis_version\": \"%s\", \"blis_kernels\": \"%s\", "
        "\"matrix_kernel\": \"%s\", \"cpu_level\": \"%s\", \"default_threads\": %zu}",
        cb_gemm_blis_version(), cb_gemm_blis_kernels(), cb_gemm_kernel(), cb_cpu_level_name(cb_cpu()),
        cb_pool_default_threads());
}

const char *cribo_build_info(void)
{
    pthread_once(&build_info_once, describe);
    return build_info;
}
