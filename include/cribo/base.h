/*
 * cribo/base.h: what all parts of libcribo share: status codes and messages, the version, the runtime hooks
 * (allocator, thread count, log and cancel callbacks), and counter-based random numbers for reproducible
 * augmentations.
 *
 * Conventions of all headers:
 *  - Arrays are plain C pointers, row-major, float32 unless stated otherwise; shapes are in brackets.
 *  - Letters: B images, V = 2 views, N patch tokens of a view, D token width, K clusters of an image,
 *    R objects kept (of a whole batch), P prototypes, Q images that the memory bank can hold.
 *  - A field's comment gives its meaning, its default and its range ("K; 32. 1 ... 4096").
 *  - Structs that begin with struct_size may grow at the end. Set struct_size to sizeof the struct and clear
 *    the rest before use. Callers compiled with an older or newer header work alike (docs/abi.md).
 *
 * Rules of all functions; a function's comment states only its exceptions:
 *  - Ownership: the caller owns all structs, arrays and strings that it passes. The library reads them during
 *    the call and copies what it keeps. X_free releases the handle of X_create and all its memory; NULL is
 *    allowed.
 *  - Aliasing: outputs must not overlap inputs or each other.
 *  - Errors: a function that can fail returns a cribo_status and leaves a message for cribo_last_error().
 *    After a failure, outputs and handles are unchanged, and *out of a create function is NULL.
 *  - Threads: one call at a time per handle; calls on different handles, and functions without a handle, may
 *    run at the same time. No other call on a handle may run during its X_free.
 *  - Cost: no more than a copy of the arguments, and no allocation.
 *  - Since 0.1.
 */
#ifndef CRIBO_BASE_H
#define CRIBO_BASE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What the library exports. */
#if defined(CRIBO_BUILDING) && defined(__GNUC__)
#define CRIBO_API __attribute__((visibility("default")))
#else
#define CRIBO_API
#endif

/* The compiler warns where the result is not looked at. */
#if defined(__GNUC__)
#define CRIBO_MUST_CHECK __attribute__((warn_unused_result))
#else
#define CRIBO_MUST_CHECK
#endif

/* The version to which these headers belong. */
#define CRIBO_VERSION_MAJOR 0
#define CRIBO_VERSION_MINOR 1
#define CRIBO_VERSION_PATCH 0

/* The outcome of a call. Values never change; new ones are only appended. */
typedef enum cribo_status {
    CRIBO_OK = 0,               /* it worked */
    CRIBO_INVALID_ARGUMENT = 1, /* an argument is NULL, out of range, not finite or of the wrong size */
    CRIBO_OUT_OF_MEMORY = 2,    /* the allocator returned NULL */
    CRIBO_IO_ERROR = 3,         /* the system refused to open, read, write, flush or rename a file */
    CRIBO_CORRUPT = 4,          /* a file's content breaks its format */
    CRIBO_NOT_FINITE = 5,       /* a loss or a gradient became infinite or NaN; no state was changed */
    CRIBO_CANCELLED = 6,        /* the progress callback asked to stop; no state was changed */
    CRIBO_WRONG_STATE = 7,      /* the call is out of turn (cribo_trainer_learn before _teach, say) */
    CRIBO_SYSTEM_ERROR = 8,     /* the system refused something other than memory or a file: a thread, say */
    CRIBO_TIMED_OUT = 9         /* another rank did not answer within the communicator's deadline */
} cribo_status;

/*
 * The version of the library that is loaded, "major.minor.patch". Compare with CRIBO_VERSION_* to detect a
 * header that does not belong to it.
 * Ownership: a static string.
 */
CRIBO_API const char *cribo_version(void);

/*
 * How the library was built and what it found on this machine, as one JSON object on one line; later
 * versions may append members.
 *
 * version, blis_version  of the libraries that are loaded
 * blis_kernels     the kernel set that BLIS chose for this CPU, "skx" say
 * matrix_kernel    what multiplies matrices: a kernel of ours, or "blis"
 * cpu_level        of the other kernels: "generic", "avx2", "avx512" or "avx512bf16"; no higher than
 *                  CRIBO_CPU in the environment, if that is set
 * cpu_features     those of this CPU that the library has kernels for, as an array of strings; not capped
 * compiler         what built the library, "gcc 12.2.0" say
 * default_threads  an integer: the CPUs that the process may use
 *
 * Ownership: a static string, made at the first call.
 * Cost: detects the CPU and warms up BLIS at the first call.
 */
CRIBO_API const char *cribo_build_info(void);

/*
 * The name of a status, "CRIBO_OK" and so on; "unknown status" for a number that is none.
 * Ownership: a static string.
 */
CRIBO_API const char *cribo_status_name(cribo_status status);

/*
 * The message of the latest failure in the calling thread: the argument or file at fault, its value, and what
 * was expected. Empty before the first failure; a success leaves it as it is. At most 511 bytes.
 * Ownership: the thread's own buffer, valid until this thread's next failing call.
 * Threads: each has its own.
 */
CRIBO_API const char *cribo_last_error(void);

/*
 * The errno of the latest failure in the calling thread (ENOENT where a file is missing, say); 0 where no
 * system call failed, and before the first failure. A success leaves it as it is.
 * Threads: each has its own.
 */
CRIBO_API int cribo_last_errno(void);

/* How grave a log message is. */
enum { CRIBO_LOG_WARNING = 1, CRIBO_LOG_INFO = 2 };

/*
 * What a handle borrows from the program. Every member may stay zero: malloc and free, all the CPUs that the
 * process may use, no log, never cancelled. Initialise with cribo_runtime_init, which sets struct_size.
 *
 * allocate / release  every allocation of the handle goes through them; `allocate` returns NULL on failure
 *                     and memory aligned as malloc's. A training step allocates nothing.
 * threads             worker threads, the caller included; 0 takes cribo_default_threads. Results do not
 *                     depend on it. At most 256.
 * log                 receives messages (no newline) that are worth a person's attention. Called on the
 *                     thread that made the call. NULL: silence.
 * progress            called between the stretches of a long call with the phase's name and the share done so
 *                     far, 0 to 1; a return value other than 0 ends the call with CRIBO_CANCELLED. NULL:
 *                     never asked.
 * allocator_user, log_user, progress_user  handed to these hooks as `user`
 */
typedef struct cribo_runtime {
    size_t struct_size;
    int64_t threads;
    void *(*allocate)(void *user, size_t bytes);
    void (*release)(void *user, void *memory);
    void *allocator_user;
    void (*log)(void *user, int level, const char *message);
    void *log_user;
    int (*progress)(void *user, const char *phase, double share);
    void *progress_user;
} cribo_runtime;

/*
 * Zeroes a runtime and sets its struct_size. `struct_size` is sizeof(cribo_runtime) as the caller knows it.
 * Errors: CRIBO_INVALID_ARGUMENT for NULL or a size this library never had.
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_runtime_init(cribo_runtime *runtime, size_t struct_size);

/*
 * How many worker threads a handle gets for whose runtime `threads` is 0: what cribo_set_default_threads
 * chose, or else the CPUs in the process's affinity mask, as far as the cgroup's quota goes.
 * Cost: some system calls, unless a number was chosen.
 */
CRIBO_API int64_t cribo_default_threads(void);

/*
 * Chooses that number for the whole process, for handles that are made from now on; those that are there stay
 * as they are. `threads` 0 ... 256; 0 goes back to the CPUs.
 * Errors: CRIBO_INVALID_ARGUMENT (out of range); nothing is then changed.
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_set_default_threads(int64_t threads);

/*
 * One setting of a config struct, as the settings tables describe it (for command lines and bindings).
 *
 * name     as in the struct and in cribo_..._config_set
 * help     one line for a person
 * integer  1: an int64_t field; 0: a double field
 * minimum, maximum, initial  the allowed range, ends included, and the published default
 */
typedef struct cribo_setting {
    const char *name;
    const char *help;
    int64_t integer;
    double minimum;
    double maximum;
    double initial;
} cribo_setting;

/*
 * The name of value `value` of the setting `name`, if that setting is a choice among names ("bf16" is value 1
 * of "precision"), as cribo_..._config_set accepts it. A setting has the same choices in every config struct.
 * NULL if the setting is a number, does not exist or has no such value.
 * Ownership: a static string.
 */
CRIBO_API const char *cribo_setting_choice(const char *name, int64_t value);

/*
 * `count` uniform numbers in [0, 1) with 53 random bits each: a pure function of (seed, stream, index), from
 * Philox 4x32-10 (Salmon et al., SC 2011). Callers who draw their augmentations from it get batches that
 * depend on nothing but (seed, image), whatever the number of loader threads.
 *
 * values [count] float64. Any `stream` and `index` are fine: the library's own draws use another key space.
 * Errors: CRIBO_INVALID_ARGUMENT when values is NULL and count is not 0.
 * Cost: some ns a number; no allocation.
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_random_uniform(
    uint64_t seed, uint64_t stream, uint64_t index, size_t count, double *values);

#ifdef __cplusplus
}
#endif

#endif
