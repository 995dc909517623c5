"""The parts of a step that trainers and objectives share: crops, reports, targets and moments."""

from __future__ import annotations

import ctypes
import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .arrays import Array, address, expect, input_array, natural, view
from .configs import config_values
from .handles import Handle
from .library import check, native, new, text_bytes

CROP = np.dtype(
    [("x", "f8"), ("y", "f8"), ("width", "f8"), ("height", "f8"), ("flipped", "i8")]
)  # cribo_crop


def crop_array(name: str, value: Array | None, images: int) -> np.ndarray | None:
    """Crops as an array of CROP."""
    if value is None:
        return None
    array = view(name, value)
    if array.dtype == CROP:
        return input_array(name, array, CROP, (images,))
    if array.dtype.kind not in "iuf":
        raise TypeError(f"{name} has dtype {array.dtype}, but numbers are expected")
    expect(name, array, (array.dtype,), (images, 5))
    crops = np.empty(images, CROP)
    for column, field in enumerate(CROP.names or ()):
        crops[field] = array[:, column]
    return crops


@dataclasses.dataclass(frozen=True)
class Report:
    """Losses, schedules and signs of collapse of a step; cribo/objective.h describes each."""

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
    koleo_loss: float
    gram_loss: float
    masked_loss: float
    masked_share: float
    local_loss: float


def report_of(structure: Any) -> Report:
    """The struct of a report as a Report."""
    return Report(**config_values(structure))


class Targets(NamedTuple):
    """Clusters and matches of a batch."""

    labels: np.ndarray  # [B, 2, N] int64
    valid: np.ndarray  # [B, K] bool
    objects_per_image: np.ndarray  # [B] int64
    index1: np.ndarray  # [R] int64
    index2: np.ndarray
    match1: np.ndarray  # [R] bool
    match2: np.ndarray
    mask: np.ndarray  # [B, 2, N] bool: the student does not see the patch


class Moments(NamedTuple):
    """AdamW's moments of a parameter, and how many updates it has had."""

    first: np.ndarray
    second: np.ndarray
    updates: int


def targets_of(handle: Handle, tokens: int) -> Targets:
    """The targets of the last teach, with `tokens` of a view."""
    most, k = handle.settings["batch_size"], handle.settings["clusters"]
    found = Targets(
        np.empty((most, 2, tokens), np.int64),
        np.empty((most, k), np.bool_),
        np.full(most, -1, np.int64),
        np.empty(most * k, np.int64),
        np.empty(most * k, np.int64),
        np.empty(most * k, np.bool_),
        np.empty(most * k, np.bool_),
        np.empty((most, 2, tokens), np.bool_),
    )
    output = new(
        "cribo_targets",
        image_capacity=most,
        object_capacity=most * k,
        **{name: address(array) for name, array in found._asdict().items()},
    )
    with handle._use() as invoke:
        invoke("targets", ctypes.byref(output))
    images = int((found.objects_per_image >= 0).sum())
    objects = int(found.objects_per_image[:images].sum())
    of_images, of_objects = (array[:images] for array in found[:3]), (array[:objects] for array in found[3:7])
    return Targets._make((*of_images, *of_objects, found.mask[:images]))


def moments_of(handle: Handle, name: str, shape: Sequence[int]) -> Moments:
    """The moments of AdamW of a parameter."""
    first, second = np.empty(shape, np.float32), np.empty(shape, np.float32)
    updates = ctypes.c_int64()
    with handle._use() as invoke:
        arrays = address(first), address(second), first.size
        invoke("moments", text_bytes("name", name), *arrays, ctypes.byref(updates))
    return Moments(first, second, updates.value)


def losses_of(handle: Handle) -> tuple[float, float, float, float]:
    """The sum of the losses of this step so far, and the three."""
    values = [ctypes.c_double() for _ in range(4)]
    with handle._use() as invoke:
        invoke("losses", *(ctypes.byref(value) for value in values))
    total, cls, between_views, between_images = (value.value for value in values)
    return total, cls, between_views, between_images


def steps_of(handle: Handle) -> int:
    """Steps done so far."""
    steps = ctypes.c_int64()
    with handle._use() as invoke:
        invoke("step_count", ctypes.byref(steps))
    return steps.value


def crop_positions(crop: Sequence[float], rows: int, columns: int) -> np.ndarray:
    """The centres of the cells of a dense map over a view, float32 [rows columns, 2] (x, y), in pixels of the
    original image. crop: x, y, width, height, mirrored."""
    place = crop_array("crop", [tuple(crop)], 1)
    positions = np.empty((natural("rows", rows) * natural("columns", columns), 2), np.float32)
    check(native.cribo_crop_positions(address(place), rows, columns, address(positions)))
    return positions


def write_gradient(handle: Handle, verb: str, name: str, values: Array, shape: tuple[int, ...]) -> None:
    """Replaces the gradient of a parameter, or adds to it."""
    array = input_array(name, values, np.float32, shape)
    with handle._use() as invoke:
        invoke(verb, text_bytes("name", name), address(array), array.size)
