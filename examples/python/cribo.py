"""libcribo from Python: self-supervised pretraining of vision transformers with CrIBo.

The whole public interface through ctypes; NumPy is all it needs. One class for each handle of the library:
Model, Clusterer, MemoryBank, Loss, Trainer, Probe. They are context managers (or call close()), take their
settings as keyword arguments, and raise exceptions that carry the library's message.

Arrays go in and out without copies. An input may be a NumPy array or anything with __array_interface__ or
__dlpack__ (CPU tensors of PyTorch, JAX, ...) of the dtype that is asked for; only what is not contiguous is
copied, and lists are converted. A wrong dtype is a TypeError, a wrong shape a ValueError, and both name the
argument. Where a method takes wanted outputs, True makes a new array, False leaves the output out, and an
array (contiguous, writable) is written into.

Shape letters as in the headers: B images, N patch tokens of a view, D token width, K clusters of an image, R
objects of a batch, P prototypes. The documentation is docs/python.md, and the headers of include/cribo/ are
the reference.
"""

from __future__ import annotations

import contextlib
import ctypes
import ctypes.util
import dataclasses
import json
import numbers
import operator
import os
import re
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Callable, NamedTuple, TypeVar, Union

import numpy as np

__version__ = "0.1.0"

Array = Any  # a NumPy array, or anything with __array_interface__ or __dlpack__, or a list of numbers
Wanted = Any  # an output: True, False, or an array to write into
Found = Any  # an array, or None where it was not wanted
Path_ = Union[str, "os.PathLike[str]"]
Log = Callable[[int, str], object]  # (level, message)
Progress = Callable[[str, float], object]  # (phase, share done): a true result cancels the call

LOG_WARNING, LOG_INFO = 1, 2
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)
CROP = np.dtype(
    [("x", "f8"), ("y", "f8"), ("width", "f8"), ("height", "f8"), ("flipped", "i8")]
)  # cribo_crop


# ---- Errors --------------------------------------------------------------------------------------


class Error(Exception):
    """A call of the library failed; the text is the library's message."""

    status = 0


class InvalidArgument(Error, ValueError):
    """An argument is out of range, not finite or of the wrong size."""

    status = 1


class OutOfMemory(Error, MemoryError):
    """There is not enough memory."""

    status = 2


class IOError_(Error, OSError):
    """The system refused to open, read, write, flush or rename a file."""

    status = 3


class Corrupt(Error, ValueError):
    """A file's content breaks its format."""

    status = 4


class NotFinite(Error, ArithmeticError):
    """A loss or a gradient became infinite or NaN; no state was changed."""

    status = 5


class Cancelled(Error):
    """The progress callback asked to stop; no state was changed."""

    status = 6


class WrongState(Error, RuntimeError):
    """The call is out of turn, or its handle is closed or at work in another thread."""

    status = 7


class SystemError_(Error, OSError):
    """The system refused something other than memory or a file."""

    status = 8


_ERRORS = {cls.status: cls for cls in Error.__subclasses__()}


# ---- The library ---------------------------------------------------------------------------------

# The headers of include/cribo/ without their comments, from which structures and prototypes are made. A test
# compares the two.
_HEADERS = """
const char *cribo_version(void);
const char *cribo_build_info(void);
const char *cribo_status_name(cribo_status status);
const char *cribo_last_error(void);

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
cribo_status cribo_runtime_init(cribo_runtime *runtime, size_t struct_size);
int64_t cribo_default_threads(void);
cribo_status cribo_set_default_threads(int64_t threads);

typedef struct cribo_setting {
    const char *name; const char *help; int64_t integer; double minimum; double maximum; double initial;
} cribo_setting;

cribo_status cribo_random_uniform(uint64_t seed, uint64_t stream, uint64_t index, size_t count,
    double *values);


typedef struct cribo_clusterer cribo_clusterer;
typedef struct cribo_clusterer_config {
    size_t struct_size;
    int64_t clusters; double position_weight; double sinkhorn_lambda; int64_t sinkhorn_iterations;
    int64_t cluster_iterations; int64_t update_marginal; int64_t hard_assignment; int64_t batch_cost;
    int64_t seed;
} cribo_clusterer_config;
cribo_status cribo_clusterer_config_init(cribo_clusterer_config *config, size_t struct_size);
cribo_status cribo_clusterer_config_set(cribo_clusterer_config *config, const char *name, const char *value);
cribo_status cribo_clusterer_config_setting(size_t index, cribo_setting *setting);
cribo_status cribo_clusterer_create(cribo_clusterer **out, const cribo_clusterer_config *config,
    const cribo_runtime *runtime, int64_t max_images, int64_t tokens_per_view, int64_t width);
void cribo_clusterer_free(cribo_clusterer *clusterer);

typedef struct cribo_cluster_input {
    size_t struct_size;
    int64_t images; const float *tokens; const float *positions; const int64_t *seed_tokens; uint64_t call;
} cribo_cluster_input;
typedef struct cribo_cluster_output {
    size_t struct_size;
    float *assignment; int64_t *labels; uint8_t *valid; float *objects;
} cribo_cluster_output;
cribo_status cribo_clusterer_run(cribo_clusterer *clusterer, const cribo_cluster_input *input,
    const cribo_cluster_output *output);


typedef struct cribo_probe cribo_probe;
typedef struct cribo_probe_config {
    size_t struct_size;
    int64_t width; int64_t classes; int64_t ignore_label; int64_t memory_patches; int64_t seed; int64_t
    neighbours; double temperature; double weight_penalty; int64_t iterations;
} cribo_probe_config;
cribo_status cribo_probe_config_init( cribo_probe_config *config, size_t struct_size);
cribo_status cribo_probe_config_set( cribo_probe_config *config, const char *name, const char *value);
cribo_status cribo_probe_config_setting(size_t index, cribo_setting *setting);
cribo_status cribo_probe_create( cribo_probe **out, const cribo_probe_config *config, const cribo_runtime
    *runtime);
void cribo_probe_free(cribo_probe *probe);
typedef struct cribo_patch_maps {
    size_t struct_size;
    int64_t images; int64_t rows; int64_t columns; const float *features; int64_t height; int64_t width;
} cribo_patch_maps;
cribo_status cribo_probe_add( cribo_probe *probe, const cribo_patch_maps *maps, const int32_t *labels);
cribo_status cribo_probe_count(const cribo_probe *probe, int64_t *entries);
cribo_status cribo_probe_search( cribo_probe *probe, int64_t count, const float *features, int64_t *index,
    float *cosine);
cribo_status cribo_probe_fit(cribo_probe *probe, double *loss);
cribo_status cribo_probe_predict( cribo_probe *probe, int64_t reader, const cribo_patch_maps *maps, float
    *shares, int32_t *labels);
cribo_status cribo_confusion_add(int64_t classes, int64_t ignore_label, int64_t count, const int32_t *truth,
    const int32_t *predicted, int64_t *confusion);
typedef struct cribo_scores {
    size_t struct_size;
    double mean_iou; double accuracy; double mean_accuracy; int64_t classes_seen; int64_t counted;
} cribo_scores;
cribo_status cribo_confusion_scores( int64_t classes, const int64_t *confusion, double *iou, cribo_scores
    *scores);
cribo_status cribo_principal_components(int64_t rows, int64_t width, const float *features, int64_t
    components, float *directions, float *projected, double *variance, const cribo_runtime *runtime);


typedef struct cribo_loss cribo_loss;
typedef struct cribo_loss_config {
    size_t struct_size;
    int64_t prototypes; int64_t object_prototypes; double student_temperature;
    double object_student_temperature; double centre_momentum; int64_t authors_normalisation;
} cribo_loss_config;
cribo_status cribo_loss_config_init(cribo_loss_config *config, size_t struct_size);
cribo_status cribo_loss_config_set(cribo_loss_config *config, const char *name, const char *value);
cribo_status cribo_loss_config_setting(size_t index, cribo_setting *setting);
cribo_status cribo_loss_create(cribo_loss **out, const cribo_loss_config *config,
    const cribo_runtime *runtime);
void cribo_loss_free(cribo_loss *loss);

typedef struct cribo_loss_input {
    size_t struct_size;
    int64_t images; int64_t objects; const float *student_cls; const float *teacher_cls;
    const float *student_objects; const float *teacher_objects; const float *neighbours1;
    const float *neighbours2; const uint8_t *match1; const uint8_t *match2; double teacher_temperature;
    double object_teacher_temperature;
} cribo_loss_input;
typedef struct cribo_loss_output {
    size_t struct_size;
    double global; double cross_view; double cross_image; float *student_cls_gradient;
    float *student_objects_gradient;
} cribo_loss_output;
cribo_status cribo_loss_compute(cribo_loss *loss, const cribo_loss_input *input, cribo_loss_output *output);
cribo_status cribo_loss_update_centres(cribo_loss *loss, const cribo_loss_input *input);
cribo_status cribo_loss_get_centres(const cribo_loss *loss, float *centre, float *object_centre);
cribo_status cribo_loss_set_centres(cribo_loss *loss, const float *centre, const float *object_centre);


typedef struct cribo_memory_bank cribo_memory_bank;
typedef struct cribo_memory_bank_config {
    size_t struct_size;
    int64_t bank_images; int64_t objects_per_image; int64_t width; int64_t max_objects;
} cribo_memory_bank_config;
cribo_status cribo_memory_bank_config_init(cribo_memory_bank_config *config, size_t struct_size);
cribo_status cribo_memory_bank_config_set(cribo_memory_bank_config *config, const char *name,
    const char *value);
cribo_status cribo_memory_bank_config_setting(size_t index, cribo_setting *setting);
cribo_status cribo_memory_bank_create(cribo_memory_bank **out, const cribo_memory_bank_config *config,
    const cribo_runtime *runtime);
void cribo_memory_bank_free(cribo_memory_bank *bank);

typedef struct cribo_object_batch {
    size_t struct_size;
    int64_t images; const int64_t *objects_per_image; const float *view1; const float *view2;
    const int64_t *ids;
} cribo_object_batch;
typedef struct cribo_match {
    size_t struct_size;
    int64_t *index1; int64_t *index2; uint8_t *match1; uint8_t *match2; float *neighbours1;
    float *neighbours2;
} cribo_match;
cribo_status cribo_memory_bank_query(cribo_memory_bank *bank, const cribo_object_batch *objects,
    const cribo_match *match);
cribo_status cribo_memory_bank_push(cribo_memory_bank *bank, const cribo_object_batch *objects);
cribo_status cribo_memory_bank_count(const cribo_memory_bank *bank, int64_t *images, int64_t *objects);
cribo_status cribo_memory_bank_export(const cribo_memory_bank *bank, int64_t *objects_per_image, int64_t *ids,
    float *view1, float *view2);
cribo_status cribo_memory_bank_import(cribo_memory_bank *bank, const cribo_object_batch *objects);
cribo_status cribo_memory_bank_save(const cribo_memory_bank *bank, const char *path, const char *prefix);
cribo_status cribo_memory_bank_load(cribo_memory_bank *bank, const char *path, const char *prefix);


typedef struct cribo_model cribo_model;
typedef struct cribo_model_config {
    size_t struct_size;
    int64_t image_size; int64_t patch_size; int64_t width; int64_t depth; int64_t heads; int64_t mlp_ratio;
    double drop_path; int64_t head_hidden; int64_t head_bottleneck; int64_t prototypes;
    int64_t object_prototypes; int64_t normed_last_layer; int64_t seed; int64_t precision;
    int64_t recompute;
} cribo_model_config;
cribo_status cribo_model_config_init(cribo_model_config *config, size_t struct_size);
cribo_status cribo_model_config_set(cribo_model_config *config, const char *name, const char *value);
cribo_status cribo_model_config_setting(size_t index, cribo_setting *setting);
cribo_status cribo_model_create(cribo_model **out, const cribo_model_config *config,
    const cribo_runtime *runtime);
void cribo_model_free(cribo_model *model);

typedef struct cribo_parameter {
    size_t struct_size;
    const char *name; int64_t axes; int64_t shape[4]; int64_t count;
} cribo_parameter;
cribo_status cribo_model_parameter_count(const cribo_model *model, int64_t *count);
cribo_status cribo_model_parameter(const cribo_model *model, int64_t index, cribo_parameter *parameter);
cribo_status cribo_model_find_parameter(const cribo_model *model, const char *name,
    cribo_parameter *parameter);
cribo_status cribo_model_read_parameter(const cribo_model *model, const char *name, float *values,
    int64_t count);
cribo_status cribo_model_write_parameter(cribo_model *model, const char *name, const float *values,
    int64_t count);
cribo_status cribo_model_features(cribo_model *model, int64_t images, int64_t height, int64_t width,
    const float *pixels, float *dense, float *cls, float *attention);
cribo_status cribo_model_save(const cribo_model *model, const char *path, const char *prefix);
cribo_status cribo_model_load(cribo_model *model, const char *path, const char *prefix);

typedef struct cribo_load_parts {
    size_t struct_size;
    int64_t backbone; int64_t heads; int64_t resample_positions; int64_t plain_names;
} cribo_load_parts;
cribo_status cribo_model_load_partial(cribo_model *model, const char *path, const char *prefix,
    const cribo_load_parts *parts);
typedef struct cribo_save_parts {
    size_t struct_size;
    int64_t backbone; int64_t heads; int64_t plain_names;
} cribo_save_parts;
cribo_status cribo_model_save_partial(const cribo_model *model, const char *path, const char *prefix,
    const cribo_save_parts *parts);


typedef struct cribo_trainer cribo_trainer;
typedef struct cribo_trainer_config {
    size_t struct_size;
    int64_t image_size; int64_t patch_size; int64_t width; int64_t depth; int64_t heads; int64_t mlp_ratio;
    double drop_path; int64_t head_hidden; int64_t head_bottleneck; int64_t prototypes;
    int64_t object_prototypes; int64_t normed_last_layer; int64_t clusters; double position_weight;
    double position_weight_final; double sinkhorn_lambda; int64_t sinkhorn_iterations;
    int64_t cluster_iterations; int64_t update_marginal; int64_t hard_assignment; int64_t batch_cost;
    int64_t bank_images; double cross_image_epochs; int64_t cross_image_steps; int64_t cross_image_objects;
    double student_temperature; double object_student_temperature; double teacher_temperature_start;
    double teacher_temperature; double object_teacher_temperature_start; double object_teacher_temperature;
    double teacher_temperature_epochs; int64_t teacher_temperature_steps; double centre_momentum;
    int64_t authors_normalisation; int64_t batch_size; int64_t micro_batch; double learning_rate;
    double learning_rate_final; double warmup_epochs; int64_t warmup_steps; double weight_decay;
    double weight_decay_final; double ema_momentum; double ema_momentum_final; double clip_norm;
    int64_t clip_per_tensor; double freeze_last_layer_epochs; int64_t freeze_last_layer_steps; double epochs;
    int64_t steps_per_epoch; int64_t total_steps; int64_t seed; double global_weight;
    double cross_view_weight; double cross_image_weight; int64_t precision;
    int64_t recompute;
} cribo_trainer_config;
cribo_status cribo_trainer_config_init(cribo_trainer_config *config, size_t struct_size);
cribo_status cribo_trainer_config_set(cribo_trainer_config *config, const char *name, const char *value);
cribo_status cribo_trainer_config_setting(size_t index, cribo_setting *setting);
cribo_status cribo_trainer_config_preset(cribo_trainer_config *config, const char *name);
cribo_status cribo_trainer_create(cribo_trainer **out, const cribo_trainer_config *config,
    const cribo_runtime *runtime);
void cribo_trainer_free(cribo_trainer *trainer);

typedef struct cribo_crop {
    double x; double y; double width; double height; int64_t flipped;
} cribo_crop;
typedef struct cribo_batch {
    size_t struct_size;
    int64_t images; const float *view1; const float *view2; const uint8_t *view1_bytes;
    const uint8_t *view2_bytes; double mean[3]; double deviation[3]; const cribo_crop *crops1;
    const cribo_crop *crops2; const float *positions; const int64_t *seed_tokens; const int64_t *ids;
} cribo_batch;
typedef struct cribo_report {
    size_t struct_size;
    int64_t step; int64_t epoch; int64_t images; double loss; double global_loss; double cross_view_loss;
    double cross_image_loss; double gradient_norm; double learning_rate; double weight_decay;
    double ema_momentum; double teacher_temperature; double object_teacher_temperature;
    double position_weight; double objects_per_image; double matched_share; double cross_image_on;
    double bank_fill; double uniform_loss; double teacher_entropy; double mean_teacher_entropy;
    double prototypes_used; double feature_deviation; double teach_ms; double cluster_ms; double match_ms;
    double learn_ms; double update_ms;
} cribo_report;
cribo_status cribo_trainer_step(cribo_trainer *trainer, const cribo_batch *batch, cribo_report *report);
cribo_status cribo_trainer_teach(cribo_trainer *trainer, const cribo_batch *batch);
cribo_status cribo_trainer_learn(cribo_trainer *trainer, const cribo_batch *batch);
cribo_status cribo_trainer_update(cribo_trainer *trainer, cribo_report *report);
cribo_status cribo_trainer_losses(const cribo_trainer *trainer, double *loss, double *global,
    double *cross_view, double *cross_image);
cribo_status cribo_trainer_forget(cribo_trainer *trainer);

typedef struct cribo_targets {
    size_t struct_size;
    int64_t *labels; uint8_t *valid; int64_t *objects_per_image; int64_t *index1; int64_t *index2;
    uint8_t *match1; uint8_t *match2;
} cribo_targets;
cribo_status cribo_trainer_targets(const cribo_trainer *trainer, const cribo_targets *targets);
cribo_status cribo_trainer_gradient(const cribo_trainer *trainer, const char *name, float *values,
    int64_t count);
cribo_model *cribo_trainer_student(cribo_trainer *trainer);
cribo_model *cribo_trainer_teacher(cribo_trainer *trainer);
cribo_status cribo_trainer_step_count(const cribo_trainer *trainer, int64_t *steps);
cribo_status cribo_trainer_moments(const cribo_trainer *trainer, const char *name, float *first,
    float *second, int64_t count, int64_t *updates);
cribo_status cribo_trainer_get_centres(const cribo_trainer *trainer, float *centre, float *object_centre);
cribo_status cribo_trainer_set_centres(cribo_trainer *trainer, const float *centre,
    const float *object_centre);
struct cribo_memory_bank;
struct cribo_memory_bank *cribo_trainer_memory_bank(cribo_trainer *trainer);
cribo_status cribo_trainer_save_weights(const cribo_trainer *trainer, const char *path);

typedef struct cribo_save_options {
    size_t struct_size;
    int64_t level; int64_t metadata_count; const char *const *metadata_keys;
    const char *const *metadata_values;
} cribo_save_options;
cribo_status cribo_trainer_save(const cribo_trainer *trainer, const char *path,
    const cribo_save_options *options);
typedef struct cribo_snapshot cribo_snapshot;
cribo_status cribo_snapshot_create(cribo_snapshot **out, const cribo_trainer *trainer,
    const cribo_runtime *runtime);
void cribo_snapshot_free(cribo_snapshot *snapshot);
cribo_status cribo_snapshot_save(const cribo_snapshot *snapshot, const char *path,
    const cribo_save_options *options);
cribo_status cribo_snapshot_save_weights(const cribo_snapshot *snapshot, const char *path);

typedef struct cribo_load_options {
    size_t struct_size;
    const char *overrides;
} cribo_load_options;
cribo_status cribo_trainer_load(cribo_trainer *trainer, const char *path, const cribo_load_options *options);
cribo_status cribo_checkpoint_config(const char *path, cribo_trainer_config *out);
cribo_status cribo_checkpoint_metadata(const char *path, const char *key, char *buffer, size_t size);
"""

_TYPES = {
    "void": None,
    "int": ctypes.c_int,
    "size_t": ctypes.c_size_t,
    "int64_t": ctypes.c_int64,
    "uint64_t": ctypes.c_uint64,
    "double": ctypes.c_double,
    "cribo_status": ctypes.c_int,
}


def _c_type(text: str) -> Any:
    """The ctypes type of a type's C text: `const char *` is a string, every other pointer an address."""
    if "*" in text:
        return ctypes.c_char_p if "char" in text and text.count("*") == 1 else ctypes.c_void_p
    return _TYPES[text.replace("const", "").strip()]


def _c_field(declaration: str) -> tuple[str, Any]:
    """Name and type of a member or a parameter."""
    declaration = " ".join(declaration.split())
    pointer_to_function = re.search(r"\(\*(\w+)\)", declaration)
    if pointer_to_function:
        return pointer_to_function[1], ctypes.c_void_p
    parts = re.fullmatch(r"(.*?)(\w+)(?:\[(\d+)\])?", declaration)
    assert parts, declaration
    kind = _c_type(parts[1])
    return parts[2], kind * int(parts[3]) if parts[3] else kind


def _structures(headers: str) -> dict[str, Any]:
    """A ctypes.Structure for every struct with members, by its C name."""
    found = {}
    for name, members in re.findall(r"typedef struct (\w+) \{(.*?)\} \1;", headers, re.DOTALL):
        fields = [_c_field(member) for member in members.split(";") if member.strip()]
        found[name] = type(name, (ctypes.Structure,), {"_fields_": fields})
    return found


def _functions(headers: str) -> dict[str, tuple[Any, list[Any]]]:
    """Result and parameter types of every function, by its C name."""
    rest = re.sub(r"typedef struct (\w+) \{.*?\} \1;", "", headers, flags=re.DOTALL)
    found = {}
    for result, name, parameters in re.findall(r"^([\w *]+?)\b(cribo_\w+)\(([^)]*)\);", rest, re.MULTILINE):
        types = [] if parameters == "void" else [_c_field(p)[1] for p in parameters.split(",")]
        found[name] = (_c_type(result), types)
    return found


_STRUCTURES = _structures(_HEADERS)
_FUNCTIONS = _functions(_HEADERS)
_FILE_NAMES = ("libcribo.so.0", "libcribo.so", "libcribo.so.*", "libcribo.0.dylib", "libcribo.dylib")


def _candidates() -> Iterator[str]:
    """Where the library may be: CRIBO_LIBRARY alone where it is set; else beside this module, in a build
    folder of the source tree, in the system."""
    chosen = os.environ.get("CRIBO_LIBRARY")
    if chosen:
        yield chosen
        return
    here = Path(__file__).resolve().parent
    folders = [here, here / ".cribo.mesonpy.libs"]
    if len(here.parents) > 1 and (here.parents[1] / "meson.build").exists():
        folders += sorted(here.parents[1].glob("build*/lib"))
    for folder in folders:
        files = [
            str(file) for pattern in _FILE_NAMES for file in sorted(folder.glob(pattern)) if file.is_file()
        ]
        yield files[0] if files else str(folder / _FILE_NAMES[0])
    yield ctypes.util.find_library("cribo") or _FILE_NAMES[0]


def _same_interface(version: str) -> bool:
    """Whether a library of that version has this module's interface: the same major version and, before 1.0,
    the same minor one."""
    ours, theirs = __version__.split("."), version.split(".")
    return ours[0] == theirs[0] and (ours[0] != "0" or ours[1] == theirs[1])


def _opened(file: str) -> Any:
    """A library with the result and parameter types of all its functions."""
    library = ctypes.CDLL(file)
    library.cribo_version.restype = ctypes.c_char_p
    version = library.cribo_version().decode()
    if not _same_interface(version):
        raise OSError(f"version {version}, but this module needs {__version__}")
    for name, (result, parameters) in _FUNCTIONS.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, parameters
    return library


def _load() -> Any:
    tried = []
    for candidate in _candidates():
        try:
            return _opened(candidate)
        except (OSError, AttributeError) as error:
            tried.append(f"  {candidate}: {error}")
    places = "\n".join(tried)
    raise ImportError(f"libcribo was not found; set CRIBO_LIBRARY to its file. Looked at:\n{places}")


_library = _load()


def _check(status: int) -> None:
    """Raises what a status stands for, with the message of this thread's latest failure."""
    if status:
        raise _ERRORS.get(status, Error)(_library.cribo_last_error().decode(errors="replace"))


def _new(name: str, **members: Any) -> Any:
    """A struct of the library with its struct_size set."""
    structure = _STRUCTURES[name]
    return structure(struct_size=ctypes.sizeof(structure), **members)


def _text(name: str, value: str | bytes) -> bytes:
    """A string for the library, which ends one at its first zero."""
    text = value.encode() if isinstance(value, str) else value
    if b"\0" in text:
        raise ValueError(f"{name} = {value!r} has a zero in it")
    return text


def _path(path: Path_) -> bytes:
    return _text("path", os.fsencode(path))


def version() -> str:
    """The version of the library that is loaded."""
    text: str = _library.cribo_version().decode()
    return text


def build_info() -> dict[str, Any]:
    """How the library was built and what it found on this machine."""
    info: dict[str, Any] = json.loads(_library.cribo_build_info())
    return info


def default_threads() -> int:
    """How many worker threads a handle gets that is made without `threads`."""
    number: int = _library.cribo_default_threads()
    return number


def set_default_threads(threads: int) -> None:
    """Chooses that number for the whole process; 0 goes back to the CPUs that it may use."""
    _check(_library.cribo_set_default_threads(_natural("threads", threads)))


def random_uniform(seed: int, stream: int, index: int, count: int) -> np.ndarray:
    """`count` numbers in [0, 1), a pure function of (seed, stream, index): float64 [count]."""
    values = np.empty(_natural("count", count), np.float64)
    key = [_natural(name, value) for name, value in (("seed", seed), ("stream", stream), ("index", index))]
    _check(_library.cribo_random_uniform(*key, len(values), values.ctypes.data))
    return values


# ---- Arrays --------------------------------------------------------------------------------------

_FLAGS = (np.uint8, np.bool_)


def _natural(name: str, value: Any) -> int:
    """A whole number of 64 bits, not negative."""
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be a whole number, not {type(value).__name__}") from None
    if not 0 <= number < 2**64:
        raise ValueError(f"{name} = {number} must be in 0 ... 2^64 - 1")
    return number


def _exchange(value: Any, writable: bool) -> np.ndarray:
    """An array over the memory of something with __dlpack__. Where an older NumPy does not know its dtype or
    makes the array read-only, the memory that its __array__ lends."""
    try:
        array = np.from_dlpack(value)
    except Exception:
        if not hasattr(value, "__array__"):
            raise
    else:
        if array.flags.writeable or not writable or not hasattr(value, "__array__"):
            return array
    lent = np.asarray(value)
    if writable and not np.shares_memory(lent, np.asarray(value)):
        raise TypeError("its memory is not shared, only copied")
    return lent


def _view(name: str, value: Any, writable: bool = False) -> np.ndarray:
    """`value` as an array, by whatever it offers; only lists are copied."""
    if isinstance(value, np.ndarray):
        return value
    try:
        if hasattr(value, "__dlpack__") and not hasattr(value, "__array_interface__"):
            return _exchange(value, writable)
        return np.asarray(value)
    except Exception as error:
        raise TypeError(f"{name}: {type(value).__name__} cannot be used as an array: {error}") from error


def _spoken(shape: Sequence[Any]) -> str:
    return "[" + ", ".join(str(axis) for axis in shape) + "]"


def _expect(name: str, array: np.ndarray, dtypes: Sequence[Any], shape: Sequence[Any]) -> None:
    """Checks dtype and shape; an axis is its length, or a letter where any length will do."""
    if array.dtype not in dtypes:
        names = " or ".join(np.dtype(dtype).name for dtype in dtypes)
        raise TypeError(f"{name} has dtype {array.dtype}, but {names} is expected")
    fits = array.ndim == len(shape) and all(isinstance(n, str) or m == n for m, n in zip(array.shape, shape))
    if not fits:
        raise ValueError(f"{name} has shape {_spoken(array.shape)}, but {_spoken(shape)} is expected")


def _input(name: str, value: Array, dtype: Any, shape: Sequence[Any]) -> np.ndarray:
    """An array to read: the caller's own memory where it is contiguous."""
    dtypes = dtype if isinstance(dtype, tuple) else (dtype,)
    array = _view(name, value)
    if isinstance(value, (list, tuple)) and (
        array.size == 0 or np.can_cast(array.dtype, dtypes[0], "same_kind")
    ):
        array = array.astype(dtypes[0])
    _expect(name, array, dtypes, shape)
    return np.ascontiguousarray(array)


def _optional(name: str, value: Array | None, dtype: Any, shape: Sequence[Any]) -> np.ndarray | None:
    return None if value is None else _input(name, value, dtype, shape)


def _output(name: str, wanted: Wanted, dtype: Any, shape: Sequence[int]) -> np.ndarray | None:
    """An array to write into: a new one, the caller's, or none."""
    if wanted is False or wanted is None:
        return None
    if wanted is True:
        return np.empty(shape, np.bool_ if dtype is _FLAGS else dtype)
    array = _view(name, wanted, writable=True)
    _expect(name, array, dtype if isinstance(dtype, tuple) else (dtype,), shape)
    if not array.flags.c_contiguous:
        raise ValueError(f"{name} must be contiguous to be written into")
    if not array.flags.writeable:
        raise ValueError(f"{name} must be writable")
    return array


def _address(array: np.ndarray | None) -> int | None:
    return None if array is None else array.ctypes.data


# ---- Settings ------------------------------------------------------------------------------------


class Setting(NamedTuple):
    """One setting of a handle, as the library describes it."""

    name: str
    help: str
    integer: bool
    minimum: float
    maximum: float
    initial: float


def settings(kind: str) -> list[Setting]:
    """The settings of "model", "clusterer", "memory_bank", "loss", "probe" or "trainer"."""
    describe = getattr(_library, f"cribo_{kind}_config_setting")
    found: list[Setting] = []
    entry = _STRUCTURES["cribo_setting"]()
    while describe(len(found), ctypes.byref(entry)) == 0:
        found.append(
            Setting(
                entry.name.decode(),
                entry.help.decode(),
                bool(entry.integer),
                entry.minimum,
                entry.maximum,
                entry.initial,
            )
        )
    return found


def _setting_text(name: str, value: Any) -> bytes:
    """A number, or the name of one of several choices."""
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, (numbers.Integral, np.bool_)):
        return str(int(value)).encode()
    if isinstance(value, numbers.Real):
        return repr(float(value)).encode()
    raise TypeError(f"{name} must be a number or a name, not {type(value).__name__}")


def _config(kind: str, presets: Sequence[str], values: Mapping[str, Any]) -> Any:
    """A config struct with the defaults, then presets, then settings by name."""
    structure = _STRUCTURES[f"cribo_{kind}_config"]
    config = structure()
    _check(getattr(_library, f"cribo_{kind}_config_init")(ctypes.byref(config), ctypes.sizeof(structure)))
    for preset in presets:
        _check(_library.cribo_trainer_config_preset(ctypes.byref(config), _text("preset", preset)))
    for name, value in values.items():
        text = _setting_text(name, value)
        _check(getattr(_library, f"cribo_{kind}_config_set")(ctypes.byref(config), _text("name", name), text))
    return config


def _config_values(config: Any) -> dict[str, Any]:
    return {name: getattr(config, name) for name, _ in config._fields_ if name != "struct_size"}


# ---- Callbacks -----------------------------------------------------------------------------------

_LOG_CALLBACK = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p)
_PROGRESS_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_double)


class _Hooks:
    """What a handle borrows from the program. An exception in a callback is kept, cancels the call at the
    next question for progress, and is raised again when the call has returned. Progress is asked for even
    where nobody listens, so that Ctrl-C ends a long call."""

    def __init__(self, threads: int, log: Log | None, progress: Progress | None):
        self._log, self._progress = log, progress
        self._raised: BaseException | None = None
        self._callbacks = (_LOG_CALLBACK(self._on_log), _PROGRESS_CALLBACK(self._on_progress))
        self.runtime = _STRUCTURES["cribo_runtime"]()
        _check(_library.cribo_runtime_init(ctypes.byref(self.runtime), ctypes.sizeof(self.runtime)))
        self.runtime.threads = _natural("threads", threads)
        self.runtime.progress = ctypes.cast(self._callbacks[1], ctypes.c_void_p)
        if log:
            self.runtime.log = ctypes.cast(self._callbacks[0], ctypes.c_void_p)

    def _on_log(self, _user: Any, level: int, message: bytes) -> None:
        try:
            if self._log:
                self._log(level, message.decode(errors="replace"))
        except BaseException as error:
            self._raised = self._raised or error

    def _on_progress(self, _user: Any, phase: bytes, share: float) -> int:
        try:
            if self._raised:
                return 1
            return 1 if self._progress and self._progress(phase.decode(), share) else 0
        except BaseException as error:
            self._raised = self._raised or error
            return 1

    def check(self, status: int) -> None:
        """Raises what a callback raised, or what the status says."""
        raised, self._raised = self._raised, None
        if raised:
            raise raised
        _check(status)


# ---- Handles -------------------------------------------------------------------------------------

_H = TypeVar("_H", bound="_Handle")


class _Handle:
    """A handle of the library, used by one thread at a time. One that is lent lives and ends with the handle
    that lends it."""

    _kind = ""

    def __init__(
        self,
        values: Mapping[str, Any],
        threads: int,
        log: Log | None,
        progress: Progress | None,
        sizes: Sequence[int] = (),
        presets: Sequence[str] = (),
    ):
        self._pointer: int | None = None
        self._owner: _Handle | None = None  # the handle that lends this one
        self._lock = threading.Lock()
        self._hooks = _Hooks(threads, log, progress)
        config = _config(self._kind, presets, values)
        created = ctypes.c_void_p()
        create = getattr(_library, f"cribo_{self._kind}_create")
        status = create(
            ctypes.byref(created), ctypes.byref(config), ctypes.byref(self._hooks.runtime), *sizes
        )
        self._pointer = created.value
        self.settings: dict[str, Any] = _config_values(config)
        self._hooks.check(status)

    @classmethod
    def _lent(cls: type[_H], owner: _Handle, pointer: int) -> _H:
        handle = cls.__new__(cls)
        handle._pointer, handle._owner = pointer, owner
        handle._lock, handle._hooks, handle.settings = owner._lock, owner._hooks, owner.settings
        return handle

    @contextlib.contextmanager
    def _use(self) -> Iterator[Callable[..., None]]:
        """Holds the handle for the calls of one method."""
        if not self._lock.acquire(blocking=False):
            raise WrongState(
                f"the {self._kind} is at work: in another thread, or in the call that made this callback"
            )
        try:
            if not self._pointer or (self._owner and not self._owner._pointer):
                raise WrongState(f"the {self._kind} is closed")
            yield self._call
        finally:
            self._lock.release()

    def _call(self, verb: str, *arguments: Any) -> None:
        self._hooks.check(getattr(_library, f"cribo_{self._kind}_{verb}")(self._pointer, *arguments))

    def close(self) -> None:
        """Frees the handle's memory; a second call does nothing. What it has lent cannot be used any more."""
        if self._owner or not self._pointer:
            return
        with self._use():
            pointer, self._pointer = self._pointer, None
            getattr(_library, f"cribo_{self._kind}_free")(pointer)

    def __enter__(self: _H) -> _H:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_pointer", None):
            self.close()


class Clusters(NamedTuple):
    """The clusters of a batch; what was not wanted is None."""

    assignment: Found  # [B, 2, N, K] Q*
    labels: Found  # [B, 2, N] int64
    valid: Found  # [B, K] bool
    objects: Found  # [B, 2, K, D]


class Clusterer(_Handle):
    """Joint-view clustering of up to `max_images` images with `tokens_per_view` tokens of `width`
    numbers."""

    _kind = "clusterer"

    def __init__(
        self,
        max_images: int,
        tokens_per_view: int,
        width: int,
        *,
        threads: int = 0,
        log: Log | None = None,
        progress: Progress | None = None,
        **settings: float,
    ):
        sizes = {"max_images": max_images, "tokens_per_view": tokens_per_view, "width": width}
        self._tokens, self._width = _natural("tokens_per_view", tokens_per_view), _natural("width", width)
        super().__init__(
            settings, threads, log, progress, [_natural(name, size) for name, size in sizes.items()]
        )

    def run(
        self,
        tokens: Array,
        positions: Array,
        seed_tokens: Array | None = None,
        call: int = 0,
        *,
        assignment: Wanted = True,
        labels: Wanted = True,
        valid: Wanted = True,
        objects: Wanted = True,
    ) -> Clusters:
        """Clusters tokens [B, 2, N, D] at positions [B, 2, N, 2] (pixels of the original image).

        seed_tokens [B, K] start the clusters; without them they are drawn from (seed, call, image).
        """
        n, d, k = self._tokens, self._width, self.settings["clusters"]
        read = _input("tokens", tokens, np.float32, ("B", 2, n, d))
        images = len(read)
        places = _input("positions", positions, np.float32, (images, 2, n, 2))
        seeds = _optional("seed_tokens", seed_tokens, np.int64, (images, k))
        result = Clusters(
            _output("assignment", assignment, np.float32, (images, 2, n, k)),
            _output("labels", labels, np.int64, (images, 2, n)),
            _output("valid", valid, _FLAGS, (images, k)),
            _output("objects", objects, np.float32, (images, 2, k, d)),
        )
        batch = _new(
            "cribo_cluster_input",
            images=images,
            tokens=_address(read),
            positions=_address(places),
            seed_tokens=_address(seeds),
            call=_natural("call", call),
        )
        output = _new("cribo_cluster_output", **{name: _address(a) for name, a in result._asdict().items()})
        with self._use() as invoke:
            invoke("run", ctypes.byref(batch), ctypes.byref(output))
        return result


class Matches(NamedTuple):
    """Nearest neighbours of a batch's objects and the cycle test; what was not wanted is None."""

    index1: Found  # [R] int64, -1: none
    index2: Found
    match1: Found  # [R] bool
    match2: Found
    neighbours1: Found  # [R, D]
    neighbours2: Found


class BankContent(NamedTuple):
    """What a bank holds, newest image first."""

    view1: np.ndarray  # [objects, D]
    view2: np.ndarray
    objects_per_image: np.ndarray  # [images] int64
    ids: np.ndarray  # [images] int64, -1: none


class MemoryBank(_Handle):
    """The two aligned memory banks, first in, first out by images."""

    _kind = "memory_bank"

    def __init__(
        self, *, threads: int = 0, log: Log | None = None, progress: Progress | None = None, **settings: float
    ):
        super().__init__(settings, threads, log, progress)

    def _batch(
        self, view1: Array, view2: Array, objects_per_image: Array, ids: Array | None
    ) -> tuple[Any, list[Any]]:
        """The struct of a batch of objects, and the arrays to which it points."""
        counts = _input("objects_per_image", objects_per_image, np.int64, ("B",))
        rows, images, width = int(counts.sum()), len(counts), self.settings["width"]
        if images and counts.min() < 0:
            raise ValueError(f"objects_per_image has {counts.min()}, but must not be negative")
        vectors = [
            _input(name, view, np.float32, (rows, width))
            for name, view in (("view1", view1), ("view2", view2))
        ]
        own = _optional("ids", ids, np.int64, (images,))
        batch = _new(
            "cribo_object_batch",
            images=images,
            objects_per_image=_address(counts),
            view1=_address(vectors[0]),
            view2=_address(vectors[1]),
            ids=_address(own),
        )
        return batch, [counts, *vectors, own]

    def query(
        self,
        view1: Array,
        view2: Array,
        objects_per_image: Array,
        ids: Array | None = None,
        *,
        index1: Wanted = True,
        index2: Wanted = True,
        match1: Wanted = True,
        match2: Wanted = True,
        neighbours1: Wanted = True,
        neighbours2: Wanted = True,
    ) -> Matches:
        """The nearest neighbours of objects view1, view2 [R, D], image by image; the bank does not change.

        objects_per_image [B] sums to R; ids [B]: an image is never matched with entries of its own id.
        """
        batch, arrays = self._batch(view1, view2, objects_per_image, ids)
        rows, width = arrays[1].shape
        result = Matches(
            _output("index1", index1, np.int64, (rows,)),
            _output("index2", index2, np.int64, (rows,)),
            _output("match1", match1, _FLAGS, (rows,)),
            _output("match2", match2, _FLAGS, (rows,)),
            _output("neighbours1", neighbours1, np.float32, (rows, width)),
            _output("neighbours2", neighbours2, np.float32, (rows, width)),
        )
        output = _new("cribo_match", **{name: _address(a) for name, a in result._asdict().items()})
        with self._use() as invoke:
            invoke("query", ctypes.byref(batch), ctypes.byref(output))
        return result

    def push(self, view1: Array, view2: Array, objects_per_image: Array, ids: Array | None = None) -> None:
        """Remembers a batch of objects; its image 0 becomes the newest."""
        batch, _arrays = self._batch(view1, view2, objects_per_image, ids)
        with self._use() as invoke:
            invoke("push", ctypes.byref(batch))

    def _count(self, invoke: Callable[..., None]) -> tuple[int, int]:
        images, objects = ctypes.c_int64(), ctypes.c_int64()
        invoke("count", ctypes.byref(images), ctypes.byref(objects))
        return images.value, objects.value

    def count(self) -> tuple[int, int]:
        """How many images and objects the bank holds."""
        with self._use() as invoke:
            return self._count(invoke)

    def export(self) -> BankContent:
        """A copy of the bank's content."""
        with self._use() as invoke:
            images, objects = self._count(invoke)
            vectors = np.empty((2, objects, self.settings["width"]), np.float32)
            content = BankContent(
                vectors[0], vectors[1], np.empty(images, np.int64), np.empty(images, np.int64)
            )
            invoke(
                "export",
                _address(content.objects_per_image),
                _address(content.ids),
                _address(content.view1),
                _address(content.view2),
            )
        return content

    def import_(self, view1: Array, view2: Array, objects_per_image: Array, ids: Array | None = None) -> None:
        """Replaces the bank's content, newest image first: `bank.import_(*other.export())`."""
        batch, _arrays = self._batch(view1, view2, objects_per_image, ids)
        with self._use() as invoke:
            invoke("import", ctypes.byref(batch))

    def save(self, path: Path_, prefix: str = "") -> None:
        """Writes the bank's content to a safetensors file: prefix + objects_per_image, ids, view1, view2."""
        with self._use() as invoke:
            invoke("save", _path(path), _text("prefix", prefix))

    def load(self, path: Path_, prefix: str = "") -> None:
        """Replaces the bank's content by what save wrote, or by a checkpoint's, of which the prefix is
        "bank."."""
        with self._use() as invoke:
            invoke("load", _path(path), _text("prefix", prefix))


class Losses(NamedTuple):
    """The three losses and, where wanted, the gradients of their sum."""

    global_loss: float
    cross_view_loss: float
    cross_image_loss: float
    student_cls_gradient: Found  # [2, B, P]
    student_objects_gradient: Found  # [2, R, P]

    @property
    def total(self) -> float:
        """The training objective."""
        return self.global_loss + self.cross_view_loss + self.cross_image_loss


class Loss(_Handle):
    """The self-distillation losses from logits, and the two centres that follow the teacher."""

    _kind = "loss"

    def __init__(
        self, *, threads: int = 0, log: Log | None = None, progress: Progress | None = None, **settings: float
    ):
        super().__init__(settings, threads, log, progress)

    def compute(
        self,
        student_cls: Array,
        teacher_cls: Array,
        student_objects: Array,
        teacher_objects: Array,
        neighbours1: Array | None = None,
        neighbours2: Array | None = None,
        match1: Array | None = None,
        match2: Array | None = None,
        *,
        teacher_temperature: float = 0.07,
        object_teacher_temperature: float = 0.07,
        student_cls_gradient: Wanted = True,
        student_objects_gradient: Wanted = True,
    ) -> Losses:
        """Losses and gradients with the centres as they stand.

        student_cls, teacher_cls [2, B, P] and student_objects, teacher_objects [2, R, P] are logits, view 1
        first. neighbours1, neighbours2 [R, P] are the teacher's logits of the neighbours, of which rows with
        match1, match2 [R] take part; without neighbours there is no cross-image loss."""
        p, p_objects = self.settings["prototypes"], self.settings["object_prototypes"]
        cls = _input("student_cls", student_cls, np.float32, (2, "B", p))
        objects = _input("student_objects", student_objects, np.float32, (2, "R", p_objects))
        images, rows = cls.shape[1], objects.shape[1]
        arrays = {
            "student_cls": cls,
            "student_objects": objects,
            "teacher_cls": _input("teacher_cls", teacher_cls, np.float32, cls.shape),
            "teacher_objects": _input("teacher_objects", teacher_objects, np.float32, objects.shape),
            "neighbours1": _optional("neighbours1", neighbours1, np.float32, (rows, p_objects)),
            "neighbours2": _optional("neighbours2", neighbours2, np.float32, (rows, p_objects)),
            "match1": _optional("match1", match1, _FLAGS, (rows,)),
            "match2": _optional("match2", match2, _FLAGS, (rows,)),
        }
        gradients = {
            "student_cls_gradient": _output(
                "student_cls_gradient", student_cls_gradient, np.float32, cls.shape
            ),
            "student_objects_gradient": _output(
                "student_objects_gradient", student_objects_gradient, np.float32, objects.shape
            ),
        }
        batch = _new(
            "cribo_loss_input",
            images=images,
            objects=rows,
            teacher_temperature=teacher_temperature,
            object_teacher_temperature=object_teacher_temperature,
            **{name: _address(array) for name, array in arrays.items()},
        )
        output = _new("cribo_loss_output", **{name: _address(array) for name, array in gradients.items()})
        with self._use() as invoke:
            invoke("compute", ctypes.byref(batch), ctypes.byref(output))
        return Losses(getattr(output, "global"), output.cross_view, output.cross_image, **gradients)

    def update_centres(self, teacher_cls: Array, teacher_objects: Array) -> None:
        """Moves the centres by this step's teacher logits, [2, B, P] and [2, R, P]."""
        p, p_objects = self.settings["prototypes"], self.settings["object_prototypes"]
        cls = _input("teacher_cls", teacher_cls, np.float32, (2, "B", p))
        objects = _input("teacher_objects", teacher_objects, np.float32, (2, "R", p_objects))
        batch = _new(
            "cribo_loss_input",
            images=cls.shape[1],
            objects=objects.shape[1],
            teacher_cls=_address(cls),
            teacher_objects=_address(objects),
        )
        with self._use() as invoke:
            invoke("update_centres", ctypes.byref(batch))

    def centres(self) -> tuple[np.ndarray, np.ndarray]:
        """Copies of the centres of [CLS] and of objects."""
        return _get_centres(self)

    def set_centres(self, centre: Array | None = None, object_centre: Array | None = None) -> None:
        """Replaces one centre or both."""
        _set_centres(self, centre, object_centre)


def _get_centres(handle: _Handle) -> tuple[np.ndarray, np.ndarray]:
    centre = np.empty(handle.settings["prototypes"], np.float32)
    object_centre = np.empty(handle.settings["object_prototypes"], np.float32)
    with handle._use() as invoke:
        invoke("get_centres", _address(centre), _address(object_centre))
    return centre, object_centre


def _set_centres(handle: _Handle, centre: Array | None, object_centre: Array | None) -> None:
    values = [
        _optional("centre", centre, np.float32, (handle.settings["prototypes"],)),
        _optional("object_centre", object_centre, np.float32, (handle.settings["object_prototypes"],)),
    ]
    with handle._use() as invoke:
        invoke("set_centres", *map(_address, values))


class Features(NamedTuple):
    """Features of images; what was not wanted is None."""

    dense: Found  # [B, N, D]
    cls: Found  # [B, D]
    attention: Found  # [B, heads, N]


class Model(_Handle):
    """A vision transformer with projection heads: its parameters by name, and features from it."""

    _kind = "model"

    def __init__(
        self, *, threads: int = 0, log: Log | None = None, progress: Progress | None = None, **settings: float
    ):
        super().__init__(settings, threads, log, progress)

    def parameters(self) -> dict[str, tuple[int, ...]]:
        """Names and shapes of all parameters, in the library's order."""
        count = ctypes.c_int64()
        entry = _new("cribo_parameter")
        shapes = {}
        with self._use() as invoke:
            invoke("parameter_count", ctypes.byref(count))
            for index in range(count.value):
                invoke("parameter", index, ctypes.byref(entry))
                shapes[entry.name.decode()] = tuple(entry.shape[: entry.axes])
        return shapes

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a parameter."""
        entry = _new("cribo_parameter")
        with self._use() as invoke:
            invoke("find_parameter", _text("name", name), ctypes.byref(entry))
        return tuple(entry.shape[: entry.axes])

    def read(self, name: str, values: Wanted = True) -> np.ndarray:
        """A copy of a parameter's values, in `values` where that is an array."""
        array = _output("values", values, np.float32, self.shape(name))
        if array is None:
            raise TypeError("values must be True or an array to write into")
        with self._use() as invoke:
            invoke("read_parameter", _text("name", name), _address(array), array.size)
        return array

    def write(self, name: str, values: Array) -> None:
        """Sets a parameter's values."""
        array = _input(name, values, np.float32, self.shape(name))
        with self._use() as invoke:
            invoke("write_parameter", _text("name", name), _address(array), array.size)

    def state_dict(self) -> dict[str, np.ndarray]:
        """Copies of all parameters by name."""
        return {name: self.read(name) for name in self.parameters()}

    def load_state_dict(self, values: Mapping[str, Array]) -> None:
        """Sets all parameters; shapes and names are checked first, and names that the model lacks are passed
        over."""
        arrays = {}
        for name, shape in self.parameters().items():
            if name not in values:
                raise ValueError(f"values has no {name}")
            arrays[name] = _input(name, values[name], np.float32, shape)
        for name, array in arrays.items():
            self.write(name, array)

    def features(
        self, pixels: Array, *, dense: Wanted = True, cls: Wanted = True, attention: Wanted = False
    ) -> Features:
        """Features of pixels [B, 3, height, width], normalised as in training; sides are multiples of the
        patch size."""
        read = _input("pixels", pixels, np.float32, ("B", 3, "height", "width"))
        images, _, height, width = read.shape
        patch, d, heads = (self.settings[name] for name in ("patch_size", "width", "heads"))
        if height % patch or width % patch:
            raise ValueError(
                f"pixels are {height} x {width}, but the sides must be multiples of patch_size = {patch}"
            )
        n = (height // patch) * (width // patch)
        result = Features(
            _output("dense", dense, np.float32, (images, n, d)),
            _output("cls", cls, np.float32, (images, d)),
            _output("attention", attention, np.float32, (images, heads, n)),
        )
        with self._use() as invoke:
            invoke("features", images, height, width, _address(read), *map(_address, result))
        return result

    def save(
        self,
        path: Path_,
        prefix: str = "",
        *,
        backbone: bool = True,
        heads: bool = True,
        plain_names: bool = False,
    ) -> None:
        """Writes the parameters, or a part of them, to a safetensors file, each named prefix + name. With
        plain_names (and heads=False) the backbone's names are timm's, without "backbone."."""
        parts = _new("cribo_save_parts", backbone=backbone, heads=heads, plain_names=plain_names)
        with self._use() as invoke:
            invoke("save_partial", _path(path), _text("prefix", prefix), ctypes.byref(parts))

    def load(
        self,
        path: Path_,
        prefix: str = "",
        *,
        backbone: bool = True,
        heads: bool = True,
        resample_positions: bool = False,
        plain_names: bool = False,
    ) -> None:
        """Reads parameters, or a part of them, from a safetensors file or a checkpoint in which they are
        named prefix + name. What is not read stays as it is. With plain_names (and heads=False) the file has
        the backbone under timm's names, without "backbone."."""
        parts = _new(
            "cribo_load_parts",
            backbone=backbone,
            heads=heads,
            resample_positions=resample_positions,
            plain_names=plain_names,
        )
        with self._use() as invoke:
            invoke("load_partial", _path(path), _text("prefix", prefix), ctypes.byref(parts))


@dataclasses.dataclass
class Batch:
    """Two augmented views of each image, for a trainer.

    view1, view2 [B, 3, S, S]: float32 pixels, normalised; or uint8, which the library normalises with mean
    and deviation. crops1, crops2 [B, 5]: x, y, width, height of each crop in pixels of the original image,
    and 1 where it is mirrored (or arrays of dtype CROP, without a copy). positions [B, 2, N, 2]: the patch
    centres themselves, instead of crops. seed_tokens [B, K]: tokens that start the clusters. ids [B]: the
    bank never matches an image with itself."""

    view1: Array
    view2: Array
    crops1: Array | None = None
    crops2: Array | None = None
    positions: Array | None = None
    seed_tokens: Array | None = None
    ids: Array | None = None
    mean: Sequence[float] = IMAGENET_MEAN
    deviation: Sequence[float] = IMAGENET_DEVIATION


def _channels(name: str, values: Sequence[float]) -> tuple[float, ...]:
    if len(values) != 3:
        raise ValueError(f"{name} has {len(values)} numbers, but one for each of 3 channels is expected")
    return tuple(float(value) for value in values)


def _crops(name: str, value: Array | None, images: int) -> np.ndarray | None:
    """Crops as an array of CROP."""
    if value is None:
        return None
    array = _view(name, value)
    if array.dtype == CROP:
        return _input(name, array, CROP, (images,))
    if array.dtype.kind not in "iuf":
        raise TypeError(f"{name} has dtype {array.dtype}, but numbers are expected")
    _expect(name, array, (array.dtype,), (images, 5))
    crops = np.empty(images, CROP)
    for column, field in enumerate(CROP.names or ()):
        crops[field] = array[:, column]
    return crops


@dataclasses.dataclass(frozen=True)
class Report:
    """What a step did, and the signs of collapse; cribo/trainer.h says more of each."""

    step: int
    epoch: int
    images: int
    loss: float
    global_loss: float
    cross_view_loss: float
    cross_image_loss: float
    gradient_norm: float
    learning_rate: float
    weight_decay: float
    ema_momentum: float
    teacher_temperature: float
    object_teacher_temperature: float
    position_weight: float
    objects_per_image: float
    matched_share: float
    cross_image_on: float
    bank_fill: float
    uniform_loss: float
    teacher_entropy: float
    mean_teacher_entropy: float
    prototypes_used: float
    feature_deviation: float
    teach_ms: float
    cluster_ms: float
    match_ms: float
    learn_ms: float
    update_ms: float


def _report(structure: Any) -> Report:
    return Report(**_config_values(structure))


class Targets(NamedTuple):
    """What teach found."""

    labels: np.ndarray  # [B, 2, N] int64
    valid: np.ndarray  # [B, K] bool
    objects_per_image: np.ndarray  # [B] int64
    index1: np.ndarray  # [R] int64
    index2: np.ndarray
    match1: np.ndarray  # [R] bool
    match2: np.ndarray


class Moments(NamedTuple):
    """AdamW's moments of a parameter, and how many updates it has had."""

    first: np.ndarray
    second: np.ndarray
    updates: int


class Trainer(_Handle):
    """The whole method: student, teacher, clusterer, bank and losses with AdamW and the schedules.

    Presets come first, by name, and settings on top of them: `Trainer("vits16-coco", batch_size=64)`.
    """

    _kind = "trainer"

    def __init__(
        self,
        *presets: str,
        threads: int = 0,
        log: Log | None = None,
        progress: Progress | None = None,
        **settings: float,
    ):
        super().__init__(settings, threads, log, progress, presets=presets)
        self._taught: tuple[Any, list[Any]] | None = None  # its pixels stay until learn

    def _lend(self, cls: type[_H], part: str) -> _H:
        with self._use():
            return cls._lent(self, getattr(_library, f"cribo_trainer_{part}")(self._pointer))

    @property
    def student(self) -> Model:
        """The trainer's student, which ends with the trainer."""
        return self._lend(Model, "student")

    @property
    def teacher(self) -> Model:
        """The trainer's teacher, which ends with the trainer."""
        return self._lend(Model, "teacher")

    @property
    def memory_bank(self) -> MemoryBank:
        """The trainer's memory bank, which ends with the trainer."""
        return self._lend(MemoryBank, "memory_bank")

    @property
    def _tokens(self) -> int:
        side: int = self.settings["image_size"] // self.settings["patch_size"]
        return side * side

    def _batch(self, batch: Batch) -> tuple[Any, list[Any]]:
        """The struct of a batch, and the arrays to which it points."""
        side, k = self.settings["image_size"], self.settings["clusters"]
        view1 = _input("view1", batch.view1, (np.float32, np.uint8), ("B", 3, side, side))
        images, suffix = len(view1), "_bytes" if view1.dtype == np.uint8 else ""
        arrays = {
            "view1" + suffix: view1,
            "view2" + suffix: _input("view2", batch.view2, view1.dtype, view1.shape),
            "crops1": _crops("crops1", batch.crops1, images),
            "crops2": _crops("crops2", batch.crops2, images),
            "positions": _optional("positions", batch.positions, np.float32, (images, 2, self._tokens, 2)),
            "seed_tokens": _optional("seed_tokens", batch.seed_tokens, np.int64, (images, k)),
            "ids": _optional("ids", batch.ids, np.int64, (images,)),
        }
        structure = _new(
            "cribo_batch",
            images=images,
            mean=_channels("mean", batch.mean),
            deviation=_channels("deviation", batch.deviation),
            **{name: _address(array) for name, array in arrays.items()},
        )
        return structure, list(arrays.values())

    def step(self, batch: Batch) -> Report:
        """One whole step: teach, learn, update. When it raises, the trainer is as before."""
        structure, _arrays = self._batch(batch)
        report = _new("cribo_report")
        with self._use() as invoke:
            invoke("step", ctypes.byref(structure), ctypes.byref(report))
        return _report(report)

    def teach(self, batch: Batch) -> None:
        """The first phase: teacher, clusters, objects, neighbours."""
        taught = self._batch(batch)
        with self._use() as invoke:
            invoke("teach", ctypes.byref(taught[0]))
            self._taught = taught

    def learn(self, batch: Batch) -> None:
        """The second phase, with the batch that was taught: losses and gradients of the student."""
        structure, _arrays = self._batch(batch)
        with self._use() as invoke:
            invoke("learn", ctypes.byref(structure))
            self._taught = None

    def update(self) -> Report:
        """The third phase: optimiser, teacher, centres, bank, step count."""
        report = _new("cribo_report")
        with self._use() as invoke:
            invoke("update", ctypes.byref(report))
        return _report(report)

    def losses(self) -> tuple[float, float, float, float]:
        """Between learn and update: the sum, and the losses of [CLS], between views and between images."""
        values = [ctypes.c_double() for _ in range(4)]
        with self._use() as invoke:
            invoke("losses", *(ctypes.byref(value) for value in values))
        total, cls, between_views, between_images = (value.value for value in values)
        return total, cls, between_views, between_images

    def forget(self) -> None:
        """Gives the step under way up, in place of its update."""
        with self._use() as invoke:
            invoke("forget")

    def targets(self) -> Targets:
        """What the last teach found."""
        most, k = self.settings["batch_size"], self.settings["clusters"]
        found = Targets(
            np.empty((most, 2, self._tokens), np.int64),
            np.empty((most, k), np.bool_),
            np.full(most, -1, np.int64),
            np.empty(most * k, np.int64),
            np.empty(most * k, np.int64),
            np.empty(most * k, np.bool_),
            np.empty(most * k, np.bool_),
        )
        output = _new("cribo_targets", **{name: _address(array) for name, array in found._asdict().items()})
        with self._use() as invoke:
            invoke("targets", ctypes.byref(output))
        images = int((found.objects_per_image >= 0).sum())
        objects = int(found.objects_per_image[:images].sum())
        return Targets(*(array[:images] for array in found[:3]), *(array[:objects] for array in found[3:]))

    def _parameter(self, name: str) -> np.ndarray:
        return np.empty(self.student.shape(name), np.float32)

    def gradient(self, name: str) -> np.ndarray:
        """The gradient of a student's parameter as learn left it, before clipping."""
        values = self._parameter(name)
        with self._use() as invoke:
            invoke("gradient", _text("name", name), _address(values), values.size)
        return values

    def moments(self, name: str) -> Moments:
        """The moments of AdamW of a student's parameter."""
        first, second, updates = self._parameter(name), self._parameter(name), ctypes.c_int64()
        with self._use() as invoke:
            invoke(
                "moments",
                _text("name", name),
                _address(first),
                _address(second),
                first.size,
                ctypes.byref(updates),
            )
        return Moments(first, second, updates.value)

    def step_count(self) -> int:
        """Steps done so far."""
        steps = ctypes.c_int64()
        with self._use() as invoke:
            invoke("step_count", ctypes.byref(steps))
        return steps.value

    def centres(self) -> tuple[np.ndarray, np.ndarray]:
        """Copies of the centres of [CLS] and of objects."""
        return _get_centres(self)

    def set_centres(self, centre: Array | None = None, object_centre: Array | None = None) -> None:
        """Replaces one centre or both."""
        _set_centres(self, centre, object_centre)

    def save_weights(self, path: Path_) -> None:
        """Writes student and teacher ("student." and "teacher." + name) to one safetensors file."""
        with self._use() as invoke:
            invoke("save_weights", _path(path))

    def save(self, path: Path_, level: int = 1, metadata: Mapping[str, str] | None = None) -> None:
        """Writes a checkpoint: all that the trainer remembers, its settings and the caller's strings."""
        _save(self, path, level, metadata)

    def snapshot(self, threads: int = 1) -> Snapshot:
        """A copy of all that the trainer remembers, for another thread to save while the trainer goes on."""
        return Snapshot(self, threads)

    def load(self, path: Path_, overrides: Iterable[str] = ()) -> None:
        """Goes on from a checkpoint of a trainer with the same settings, but for those named in overrides.
        When it raises, the trainer is as before."""
        options = _new("cribo_load_options", overrides=_text("overrides", ",".join(overrides)))
        with self._use() as invoke:
            invoke("load", _path(path), ctypes.byref(options))
            self._taught = None


class Snapshot(_Handle):
    """What a trainer was at one moment. It needs the trainer no more; `threads` compress when it is saved."""

    _kind = "snapshot"

    def __init__(self, trainer: Trainer, threads: int = 1):
        self._pointer, self._owner = None, None
        self._lock = threading.Lock()
        self._hooks = _Hooks(threads, None, None)
        self.settings = dict(trainer.settings)
        taken = ctypes.c_void_p()
        with trainer._use():
            status = _library.cribo_snapshot_create(
                ctypes.byref(taken), trainer._pointer, ctypes.byref(self._hooks.runtime)
            )
        self._pointer = taken.value
        self._hooks.check(status)

    def save(self, path: Path_, level: int = 1, metadata: Mapping[str, str] | None = None) -> None:
        """Writes the checkpoint that the trainer would have written at that moment."""
        _save(self, path, level, metadata)

    def save_weights(self, path: Path_) -> None:
        """Writes the weights that the trainer would have written at that moment."""
        with self._use() as invoke:
            invoke("save_weights", _path(path))


def _save(handle: Trainer | Snapshot, path: Path_, level: int, metadata: Mapping[str, str] | None) -> None:
    metadata = metadata or {}
    texts = [[_text("metadata", text) for text in column] for column in (metadata.keys(), metadata.values())]
    keys, values = ((ctypes.c_char_p * len(column))(*column) for column in texts)
    options = _new(
        "cribo_save_options",
        level=level,
        metadata_count=len(metadata),
        metadata_keys=ctypes.addressof(keys),
        metadata_values=ctypes.addressof(values),
    )
    with handle._use() as invoke:
        invoke("save", _path(path), ctypes.byref(options))


def checkpoint_settings(path: Path_) -> dict[str, Any]:
    """The settings of the trainer that wrote a checkpoint: `Trainer(**checkpoint_settings(path))`."""
    config = _new("cribo_trainer_config")
    _check(_library.cribo_checkpoint_config(_path(path), ctypes.byref(config)))
    return _config_values(config)


def checkpoint_metadata(path: Path_, key: str, most_bytes: int = 65536) -> str:
    """One of the caller's strings in a checkpoint."""
    buffer = ctypes.create_string_buffer(most_bytes)
    _check(_library.cribo_checkpoint_metadata(_path(path), _text("key", key), buffer, most_bytes))
    return buffer.value.decode()


# ---- Evaluation ----------------------------------------------------------------------------------


class Prediction(NamedTuple):
    """What a probe says of images; None where it was not wanted."""

    labels: Found  # int32 [B, height, width]
    shares: Found  # float32 [B, rows, columns, C]: of each class in each patch


class Probe(_Handle):
    """Reads classes off frozen features: a memory of labelled patches, searched for nearest neighbours (dense
    retrieval, k-NN) or fitted by a linear layer. Features of whole images are maps of one patch."""

    _kind = "probe"

    def __init__(
        self, *, threads: int = 0, log: Log | None = None, progress: Progress | None = None, **settings: float
    ):
        super().__init__(settings, threads, log, progress)

    def _maps(self, features: Array, height: int, width: int) -> tuple[Any, np.ndarray]:
        """The struct of patch maps, and the array to which it points."""
        array = _input("features", features, np.float32, ("B", "rows", "columns", self.settings["width"]))
        images, rows, columns = array.shape[:3]
        maps = _new(
            "cribo_patch_maps",
            images=images,
            rows=rows,
            columns=columns,
            features=_address(array),
            height=height,
            width=width,
        )
        return maps, array

    def add(self, features: Array, labels: Array) -> None:
        """Remembers the patches of features [B, rows, columns, D] with their labels, int32 [B, height, width],
        where height and width are multiples of rows and columns."""
        truth = _input("labels", labels, np.int32, ("B", "height", "width"))
        maps, array = self._maps(features, *truth.shape[1:])
        if len(truth) != len(array):
            raise ValueError(f"labels has {len(truth)} images, but features has {len(array)}")
        with self._use() as invoke:
            invoke("add", ctypes.byref(maps), _address(truth))

    def count(self) -> int:
        """How many patches the memory holds."""
        entries = ctypes.c_int64()
        with self._use() as invoke:
            invoke("count", ctypes.byref(entries))
        return entries.value

    def search(self, features: Array, *, index: Wanted = True, cosine: Wanted = True) -> tuple[Found, Found]:
        """The `neighbours` entries nearest to each of features [R, D], nearest first: their numbers (-1 beyond
        the last) and cosines, [R, neighbours]."""
        array = _input("features", features, np.float32, ("R", self.settings["width"]))
        shape = (len(array), self.settings["neighbours"])
        found = _output("index", index, np.int64, shape), _output("cosine", cosine, np.float32, shape)
        with self._use() as invoke:
            invoke("search", len(array), _address(array), *(_address(a) for a in found))
        return found

    def fit(self) -> float:
        """Fits the linear layer to the memory; its loss there."""
        loss = ctypes.c_double()
        with self._use() as invoke:
            invoke("fit", ctypes.byref(loss))
        return loss.value

    def predict(
        self,
        features: Array,
        height: int,
        width: int,
        *,
        linear: bool = False,
        labels: Wanted = True,
        shares: Wanted = False,
    ) -> Prediction:
        """Label maps of height x width pixels for features [B, rows, columns, D], by nearest neighbours or, with
        `linear`, by the layer that fit made."""
        maps, array = self._maps(features, _natural("height", height), _natural("width", width))
        result = Prediction(
            _output("labels", labels, np.int32, (len(array), height, width)),
            _output("shares", shares, np.float32, (*array.shape[:3], self.settings["classes"])),
        )
        with self._use() as invoke:
            invoke(
                "predict", int(linear), ctypes.byref(maps), _address(result.shares), _address(result.labels)
            )
        return result


class Scores(NamedTuple):
    """How well labels were predicted."""

    mean_iou: float
    accuracy: float
    mean_accuracy: float
    classes_seen: int
    counted: int
    iou: np.ndarray  # [C] of each class, -1 where it occurs in neither


class Confusion:
    """Counts of pixels (or images) by true and predicted class, in `matrix` [C, C]."""

    def __init__(self, classes: int, ignore_label: int = 255):
        self.ignore_label = ignore_label
        self.matrix = np.zeros((classes, classes), np.int64)

    def add(self, truth: Array, predicted: Array) -> None:
        """Counts int32 labels of any shape, the same for both."""
        pair = _view("truth", truth), _view("predicted", predicted)
        flat = [
            _input(n, a.reshape(-1), np.int32, (pair[0].size,)) for n, a in zip(("truth", "predicted"), pair)
        ]
        _check(
            _library.cribo_confusion_add(
                len(self.matrix), self.ignore_label, flat[0].size, *map(_address, flat), _address(self.matrix)
            )
        )

    def scores(self) -> Scores:
        """What the counts say so far."""
        iou, found = np.empty(len(self.matrix)), _new("cribo_scores")
        _check(
            _library.cribo_confusion_scores(
                len(self.matrix), _address(self.matrix), _address(iou), ctypes.byref(found)
            )
        )
        return Scores(**_config_values(found), iou=iou)


class PrincipalComponents(NamedTuple):
    """The directions of greatest variance, and rows along them."""

    projected: np.ndarray  # float32 [R, components]
    directions: np.ndarray  # float32 [components, D]
    variance: np.ndarray  # float64 [components]


def principal_components(features: Array, components: int = 3, *, threads: int = 0) -> PrincipalComponents:
    """Principal components of features [R, D], the greatest variance first, with settled signs."""
    array = _input("features", features, np.float32, ("R", "D"))
    rows, width = array.shape
    count = _natural("components", components)
    found = PrincipalComponents(
        np.empty((rows, count), np.float32), np.empty((count, width), np.float32), np.empty(count)
    )
    hooks = _Hooks(threads, None, None)
    hooks.check(
        _library.cribo_principal_components(
            rows,
            width,
            _address(array),
            count,
            _address(found.directions),
            _address(found.projected),
            _address(found.variance),
            ctypes.byref(hooks.runtime),
        )
    )
    return found
