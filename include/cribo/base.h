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
 *    run at the same time. A call on a handle that is at work, from another thread or from one of its hooks,
 *    gives CRIBO_WRONG_STATE, and X_free of it does nothing. The handles that a trainer or an objective lends
 *    count as the lender.
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

/* The compiler warns if the result is ignored. */
#if defined(__GNUC__)
#define CRIBO_MUST_CHECK __attribute__((warn_unused_result))
#else
#define CRIBO_MUST_CHECK
#endif

/* The version of these headers. */
#define CRIBO_VERSION_MAJOR 0
#define CRIBO_VERSION_MINOR 1
#define CRIBO_VERSION_PATCH 0

/* The same as one number that grows with the version: 10000 major + 100 minor + patch; 1.2.3 is 10203. */
#define CRIBO_VERSION_NUMBER (CRIBO_VERSION_MAJOR * 10000 + CRIBO_VERSION_MINOR * 100 + CRIBO_VERSION_PATCH)

/* The result of a call. Values never change; new ones are only appended. */
typedef enum cribo_status {
    CRIBO_OK = 0,               /* success */
    CRIBO_INVALID_ARGUMENT = 1, /* an argument is NULL, out of range, not finite or of the wrong size */
    CRIBO_OUT_OF_MEMORY = 2,    /* the allocator returned NULL */
    CRIBO_IO_ERROR = 3,         /* the system refused to open, read, write, flush or rename a file */
    CRIBO_CORRUPT = 4,          /* a file's content breaks its format */
    CRIBO_NOT_FINITE = 5,       /* a loss or a gradient became infinite or NaN; no state was changed */
    CRIBO_CANCELLED = 6,        /* the progress callback asked to stop; no state was changed */
    CRIBO_WRONG_STATE = 7,      /* calls in the wrong order, for example cribo_trainer_learn before _teach */
    CRIBO_SYSTEM_ERROR = 8,     /* the system refused another resource, for example a thread */
    CRIBO_TIMED_OUT = 9         /* another rank did not answer within the communicator's deadline */
} cribo_status;

/*
 * The version of the library that is loaded, "major.minor.patch". Compare with CRIBO_VERSION_* to detect
 * headers of another version.
 * Ownership: a static string.
 */
CRIBO_API const char *cribo_version(void);

/*
 * The same version as a number, to be compared with CRIBO_VERSION_NUMBER: lower if the library is older than
 * the headers.
 */
CRIBO_API int cribo_version_number(void);

/*
 * The library's build and the features of this machine, as one JSON object on one line; later versions may
 * append members.
 *
 * version, blis_version  of the libraries that are loaded
 * blis_kernels     the kernel set of BLIS for this CPU, for example "skx"
 * matrix_kernel    the matrix kernel: one of the library, or "blis"
 * cpu_level        of the other kernels: "generic", "avx2", "avx512" or "avx512bf16"; no higher than
 *                  CRIBO_CPU in the environment, if that is set
 * cpu_features     features of this CPU that the library uses, as an array of strings; not capped
 * compiler         the compiler, for example "gcc 12.2.0"
 * default_threads  an integer: the CPUs that the process may use
 *
 * Ownership: a static string, made at the first call.
 * Cost: detects the CPU and warms up BLIS at the first call.
 */
CRIBO_API const char *cribo_build_info(void);

/*
 * The name of a status, "CRIBO_OK" and so on; "unknown status" for other numbers.
 * Ownership: a static string.
 */
CRIBO_API const char *cribo_status_name(cribo_status status);

/*
 * The message of the latest failure in the calling thread: the argument or file, its value, and the expected
 * value. Empty before the first failure; a success does not change it. At most 511 bytes.
 * Ownership: the thread's own buffer, valid until this thread's next failing call.
 * Threads: each thread has its own.
 */
CRIBO_API const char *cribo_last_error(void);

/*
 * The errno of the latest failure in the calling thread (for example ENOENT for a missing file); 0 if no
 * system call failed, and before the first failure. A success does not change it.
 * Threads: each thread has its own.
 */
CRIBO_API int cribo_last_errno(void);

/* The severity of a log message. */
enum { CRIBO_LOG_WARNING = 1, CRIBO_LOG_INFO = 2 };

/*
 * The allocator, thread count, log and cancel callbacks of a handle. Zero members select the defaults: malloc
 * and free, all CPUs of the process, no log, no cancelling. Initialise with cribo_runtime_init, which sets
 * struct_size. Create functions accept NULL for the defaults.
 *
 * allocate / release  used for every allocation of the handle; `allocate` returns NULL on failure
 *                     and memory aligned as malloc's. A training step allocates nothing.
 * threads             worker threads, the caller included; 0 takes cribo_default_threads. Results do not
 *                     depend on it. At most 256.
 * log                 receives messages without a newline, on the thread of the call. NULL: no messages. The
 *                     text of messages and errors counts steps from 1, as people do; numbers in structs such
 *                     as cribo_report.step are indices from 0.
 * progress            called several times in step, teach, learn and update of trainers and objectives, in
 *                     search, predict and fit of a probe, and in k-means, with the phase's name and the share
 *                     done so far, 0 to 1; a return value other than 0 ends the call with CRIBO_CANCELLED.
 *                     Other calls, such as features, files, clustering and the memory bank, do not call it.
 *                     NULL: no calls
 * allocator_user, log_user, progress_user  passed to these callbacks as `user`
 *
 * All callbacks run on the thread that made the call. No exception and no longjmp may leave a callback. A
 * callback must not call the library on the handle whose call is under way: that gives CRIBO_WRONG_STATE.
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
 * The number of worker threads of a handle whose runtime has threads = 0: the number set by
 * cribo_set_default_threads, or the CPUs in the process's affinity mask, limited by the smallest CPU quota of
 * its control group and the groups above it (versions 1 and 2).
 * Cost: some system calls, unless a number was set.
 */
CRIBO_API int64_t cribo_default_threads(void);

/*
 * Sets the default number of threads for handles created later; existing handles are unchanged. `threads` 0
 * ... 256; 0 restores the number of CPUs.
 * Errors: CRIBO_INVALID_ARGUMENT (out of range).
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_set_default_threads(int64_t threads);

/*
 * The bytes of memory that the process can still use without swapping: those that the system has available,
 * limited by the limits of its control group and the groups above it (versions 1 and 2). 0: not known.
 * Cost: some system calls.
 */
CRIBO_API int64_t cribo_memory_available(void);

/*
 * One setting of a config struct, for command lines and bindings.
 *
 * name     as in the struct and in cribo_..._config_set
 * help     description in one line, which stands alone
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
 * The sizes of a handle, for the arrays that its functions read and write, by cribo_..._sizes. What a handle
 * does not have is 0.
 *
 * images             maximum of B in a batch
 * tokens             N, of a view of image_size
 * width              D
 * attention_heads    H
 * clusters           K
 * prototypes, object_prototypes  P and P'
 * parameters         named arrays of a network (of the heads, for an objective)
 * parameter_numbers  numbers in all of them
 * largest_parameter  numbers in the largest of them
 * bank_capacity      Q
 * bank_images, bank_objects      in the memory bank now
 * target_images, target_objects  B and R of the latest teach, of this rank; 0: there are no targets
 */
typedef struct cribo_sizes {
    size_t struct_size; /* sizeof(cribo_sizes), set by the caller */
    int64_t images;
    int64_t tokens;
    int64_t width;
    int64_t attention_heads;
    int64_t clusters;
    int64_t prototypes;
    int64_t object_prototypes;
    int64_t parameters;
    int64_t parameter_numbers;
    int64_t largest_parameter;
    int64_t bank_capacity;
    int64_t bank_images;
    int64_t bank_objects;
    int64_t target_images;
    int64_t target_objects;
} cribo_sizes;

/*
 * `count` uniform numbers in [0, 1) with 53 random bits each: a pure function of (seed, stream, index), from
 * Philox 4x32-10 (Salmon et al., SC 2011). Augmentations drawn from it depend only on (seed, image), not on
 * the number of loader threads.
 *
 * values [count] float64. Any `stream` and `index` are allowed: the library's own draws use another key
 * space.
 * Errors: CRIBO_INVALID_ARGUMENT when values is NULL and count is not 0.
 * Cost: some ns a number; no allocation.
 */
CRIBO_API CRIBO_MUST_CHECK cribo_status cribo_random_uniform(
    uint64_t seed, uint64_t stream, uint64_t index, size_t count, double *values);

#ifdef __cplusplus
}
#endif

#endif
