"""The whole method: student, teacher, clusters, memory bank, losses and optimiser."""

from __future__ import annotations

import ctypes
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .arrays import Array, address, input_array, optional_array
from .callbacks import Log, Progress
from .checkpoints import Snapshot, load, save, save_weights
from .communicator import Communicator
from .configs import with_settings
from .handles import H, Handle, Sizes
from .library import native, new, text_bytes
from .loss import get_centres, set_centres
from .memory_bank import MemoryBank
from .model import Model
from .step import (
    Moments,
    Report,
    Targets,
    crop_array,
    losses_of,
    moments_of,
    report_of,
    steps_of,
    targets_of,
    write_gradient,
)
from .streams import File

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .setting_types import Preset, TrainerSettings

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)


@dataclasses.dataclass
class Batch:
    """Two augmented views of each image, for a trainer.

    view1, view2 [B, 3, S, S]: float32 pixels, normalised; or uint8, which the library normalises with mean
    and deviation. crops1, crops2 [B, 5]: x, y, width, height of each crop in pixels of the original image,
    and 1 where it is mirrored (or arrays of dtype CROP, without a copy). positions [B, 2, N, 2]: the patch
    centres themselves, instead of crops. seed_tokens [B, K]: tokens that start the clusters. ids [B]: the
    bank never matches an image with itself. local_views [B, local_crops, 3, s, s], s = local_size: local
    crops of each image, of the views' dtype."""

    view1: Array
    view2: Array
    crops1: Array | None = None
    crops2: Array | None = None
    positions: Array | None = None
    seed_tokens: Array | None = None
    ids: Array | None = None
    mean: Sequence[float] = IMAGENET_MEAN
    deviation: Sequence[float] = IMAGENET_DEVIATION
    local_views: Array | None = None


def channels(name: str, values: Sequence[float]) -> tuple[float, ...]:
    """One number for each colour."""
    if len(values) != 3:
        raise ValueError(f"{name} has {len(values)} numbers, but one for each of 3 channels is expected")
    return tuple(float(value) for value in values)


@with_settings("trainer")
class Trainer(Handle):
    """The whole method: student, teacher, clusterer, bank and losses with AdamW and the schedules.

    Presets come first, by name, and settings on top of them: `Trainer("vits16-coco", batch_size=64)`.
    With a communicator the trainer is one of several ranks, and each step takes its share of the batch.
    """

    _kind = "trainer"
    settings: TrainerSettings

    def __init__(
        self,
        *presets: Preset,
        threads: int = 0,
        log: Log | None = None,
        progress: Progress | None = None,
        communicator: Communicator | None = None,
        **settings: Unpack[TrainerSettings],
    ):
        super().__init__(settings, threads, log, progress, presets=presets, communicator=communicator)
        self._taught: tuple[Any, list[Any]] | None = None  # its pixels stay until learn

    def sizes(self) -> Sizes:
        """The sizes of the trainer, its bank and its latest targets, for arrays."""
        return self._sizes()

    def set(self, **settings: Unpack[TrainerSettings]) -> None:
        """Changes settings between two steps, all or none of them; the next step uses them. Rates, weights,
        temperatures, momenta and lengths can change: see cribo_trainer_set_setting in trainer.h."""
        self._set(settings)

    @classmethod
    def memory_bytes(cls, *presets: Preset, threads: int = 0, **settings: Unpack[TrainerSettings]) -> int:
        """The most bytes at once that creation and all steps of such a trainer need; nothing is made."""
        return cls._memory(settings, threads, presets=presets)

    def _part(self, cls: type[H], part: str) -> H:
        with self._use():
            return cls._borrowed(self, getattr(native, f"cribo_trainer_{part}")(self._pointer))

    @property
    def student(self) -> Model:
        """The trainer's student, which ends with the trainer."""
        return self._part(Model, "student")

    @property
    def teacher(self) -> Model:
        """The trainer's teacher, which ends with the trainer."""
        return self._part(Model, "teacher")

    @property
    def average(self) -> Model | None:
        """The mean of the student's weights over the last average_steps steps, which ends with the trainer;
        None before the first of them."""
        with self._use():
            pointer = native.cribo_trainer_average(self._pointer)
            return Model._borrowed(self, pointer) if pointer else None

    @property
    def memory_bank(self) -> MemoryBank:
        """The trainer's memory bank, which ends with the trainer."""
        return self._part(MemoryBank, "memory_bank")

    @property
    def _tokens(self) -> int:
        side: int = self.settings["image_size"] // self.settings["patch_size"]
        return side * side

    def _batch(self, batch: Batch) -> tuple[Any, list[Any]]:
        """The struct of a batch, and the arrays to which it points."""
        side, k = self.settings["image_size"], self.settings["clusters"]
        view1 = input_array("view1", batch.view1, (np.float32, np.uint8), ("B", 3, side, side))
        crops, local = self.settings["local_crops"], self.settings["local_size"]
        images, suffix = len(view1), "_bytes" if view1.dtype == np.uint8 else ""
        arrays = {
            "view1" + suffix: view1,
            "view2" + suffix: input_array("view2", batch.view2, view1.dtype, view1.shape),
            "local_views" + suffix: optional_array(
                "local_views", batch.local_views, view1.dtype, (images, crops, 3, local, local)
            ),
            "crops1": crop_array("crops1", batch.crops1, images),
            "crops2": crop_array("crops2", batch.crops2, images),
            "positions": optional_array(
                "positions", batch.positions, np.float32, (images, 2, self._tokens, 2)
            ),
            "seed_tokens": optional_array("seed_tokens", batch.seed_tokens, np.int64, (images, k)),
            "ids": optional_array("ids", batch.ids, np.int64, (images,)),
        }
        structure = new(
            "cribo_batch",
            images=images,
            mean=channels("mean", batch.mean),
            deviation=channels("deviation", batch.deviation),
            **{name: address(array) for name, array in arrays.items()},
        )
        return structure, list(arrays.values())

    def step(self, batch: Batch) -> Report:
        """One whole step: teach, learn, update. When it raises, the trainer is as before."""
        structure, _arrays = self._batch(batch)
        report = new("cribo_report")
        with self._use() as invoke:
            invoke("step", ctypes.byref(structure), ctypes.byref(report))
        return report_of(report)

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
        report = new("cribo_report")
        with self._use() as invoke:
            invoke("update", ctypes.byref(report))
        return report_of(report)

    def losses(self) -> tuple[float, float, float, float]:
        """Between learn and update: the sum, and the losses of [CLS], between views and between images."""
        return losses_of(self)

    def forget(self) -> None:
        """Discards the step under way."""
        with self._use() as invoke:
            invoke("forget")

    def targets(self) -> Targets:
        """The clusters and matches of the last teach."""
        return targets_of(self, self._tokens)

    def _parameter(self, name: str) -> np.ndarray:
        return np.empty(self.student.shape(name), np.float32)

    def gradient(self, name: str) -> np.ndarray:
        """The gradient of a student's parameter as learn left it, before clipping."""
        values = self._parameter(name)
        with self._use() as invoke:
            invoke("gradient", text_bytes("name", name), address(values), values.size)
        return values

    def set_gradient(self, name: str, values: Array) -> None:
        """Replaces the gradient of a student's parameter between learn and update."""
        write_gradient(self, "set_gradient", name, values, self.student.shape(name))

    def add_gradient(self, name: str, values: Array) -> None:
        """Adds to the gradient of a student's parameter between learn and update (of another loss, say)."""
        write_gradient(self, "add_gradient", name, values, self.student.shape(name))

    def moments(self, name: str) -> Moments:
        """The moments of AdamW of a student's parameter."""
        return moments_of(self, name, self.student.shape(name))

    def step_count(self) -> int:
        """Steps done so far."""
        return steps_of(self)

    def centres(self) -> tuple[np.ndarray, np.ndarray]:
        """Copies of the centres of [CLS] and of objects."""
        return get_centres(self)

    def set_centres(self, centre: Array | None = None, object_centre: Array | None = None) -> None:
        """Replaces one centre or both."""
        set_centres(self, centre, object_centre)

    def save_weights(self, path: File) -> None:
        """Writes student and teacher ("student." and "teacher." + name) to one safetensors file."""
        save_weights(self, path)

    def save(self, path: File, level: int = 1, metadata: Mapping[str, str] | None = None) -> None:
        """Writes a checkpoint: all that the trainer remembers, its settings and the caller's strings."""
        save(self, path, level, metadata)

    def snapshot(self, threads: int = 1) -> Snapshot:
        """A copy of the trainer's whole state, which another thread may save while the trainer continues."""
        return Snapshot(self, threads)

    def load(self, path: File, overrides: Iterable[str] = ()) -> None:
        """Goes on from a checkpoint of a trainer with the same settings, but for those named in overrides.
        When it raises, the trainer is as before."""
        load(self, path, overrides)
        self._taught = None
