"""The method around a network of the program's own: tokens in, losses and gradients of the tokens out."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .arrays import Array, Found, Wanted, address, apart, input_array, natural, optional_array, output_array
from .callbacks import Log, Progress
from .checkpoints import load, save
from .communicator import Communicator
from .configs import config_values, with_settings
from .declarations import CONSTANTS
from .handles import Handle, Sizes
from .library import native, new, text_bytes
from .loss import get_centres, set_centres
from .memory_bank import MemoryBank
from .step import (
    Moments,
    Report,
    Targets,
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

    from .setting_types import ObjectiveSettings, Preset

NETWORKS = {"student": CONSTANTS["CRIBO_STUDENT"], "teacher": CONSTANTS["CRIBO_TEACHER"]}


class StepValues(NamedTuple):
    """The values of the schedules in a step; `values._replace(...)` for values of one's own."""

    learning_rate: float
    weight_decay: float
    ema_momentum: float
    teacher_temperature: float
    object_teacher_temperature: float
    position_weight: float
    last_layer_frozen: int
    cross_image: int
    epoch: int


class Learned(NamedTuple):
    """Losses of the step so far, and the gradients of their sum with respect to a chunk's tokens."""

    loss: float
    global_loss: float
    cross_view_loss: float
    cross_image_loss: float
    dense_gradient: Found  # [images, 2, N, D]
    global_gradient: Found  # [images, 2, D]


def number_of(network: str) -> int:
    """The library's number of "student" or "teacher"."""
    if network not in NETWORKS:
        raise ValueError(f'network = {network!r} must be "student" or "teacher"')
    return NETWORKS[network]


@with_settings("objective")
class Objective(Handle):
    """Clusterer, memory bank, cycle test, projection heads with their optimiser, centres and losses for the
    tokens of any network: `tokens` of a view, of `width` numbers.

    A step is teach (the teacher's tokens), learn (the student's, in one or several chunks) and update.
    Presets come first, by name, and settings on top of them.
    With a communicator the objective is one of several ranks: batch_size is that of the whole batch, and
    teach and learn take this rank's share. The losses are those of the whole batch, so the gradients of the
    network's parameters are to be summed over the ranks, not averaged."""

    _kind = "objective"
    settings: ObjectiveSettings

    def __init__(
        self,
        *presets: Preset,
        threads: int = 0,
        log: Log | None = None,
        progress: Progress | None = None,
        communicator: Communicator | None = None,
        **settings: Unpack[ObjectiveSettings],
    ):
        super().__init__(settings, threads, log, progress, presets=presets, communicator=communicator)

    def sizes(self) -> Sizes:
        """The sizes of the objective, its bank and its latest targets, for arrays."""
        return self._sizes()

    def set(self, **settings: Unpack[ObjectiveSettings]) -> None:
        """Changes settings between two steps, all or none of them; the next step uses them. Those that can
        change in a trainer can change here."""
        self._set(settings)

    @classmethod
    def memory_bytes(cls, *presets: Preset, threads: int = 0, **settings: Unpack[ObjectiveSettings]) -> int:
        """The most bytes at once that creation and all steps of such an objective need; nothing is made."""
        return cls._memory(settings, threads, presets=presets)

    def _token_shapes(self, images: Any) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        n, d = self.settings["tokens"], self.settings["width"]
        return (images, 2, n, d), (images, 2, d)

    def schedule(self, step: int | None = None) -> StepValues:
        """The values of the schedules in a step, by default in the one that is next or under way."""
        values = new("cribo_step_values")
        with self._use() as invoke:
            invoke("schedule", -1 if step is None else natural("step", step), ctypes.byref(values))
        return StepValues(**config_values(values))

    def teach(
        self,
        dense: Array,
        global_vectors: Array,
        positions: Array,
        seed_tokens: Array | None = None,
        ids: Array | None = None,
        values: StepValues | None = None,
    ) -> None:
        """The first phase, of a whole batch: clusters, objects, neighbours, and the targets of the student.

        dense [B, 2, N, D] and global_vectors [B, 2, D] are the teacher's; positions [B, 2, N, 2] of the
        tokens are in pixels of the original image (crop_positions). seed_tokens [B, K] start the clusters.
        ids [B]: the bank never matches an image with itself. values replace the schedules' in this step."""
        shapes = self._token_shapes("B")
        tokens = input_array("dense", dense, np.float32, shapes[0])
        images = len(tokens)
        vectors = input_array("global_vectors", global_vectors, np.float32, (images, *shapes[1][1:]))
        places = input_array("positions", positions, np.float32, (*tokens.shape[:3], 2))
        seeds = optional_array("seed_tokens", seed_tokens, np.int64, (images, self.settings["clusters"]))
        own = optional_array("ids", ids, np.int64, (images,))
        chosen = new("cribo_step_values", **values._asdict()) if values else None
        batch = new(
            "cribo_objective_batch",
            images=images,
            dense=address(tokens),
            positions=address(places),
            seed_tokens=address(seeds),
            ids=address(own),
            values=ctypes.addressof(chosen) if chosen else None,
            **{"global": address(vectors)},
        )
        with self._use() as invoke:
            invoke("teach", ctypes.byref(batch))

    def learn(
        self,
        dense: Array,
        global_vectors: Array,
        first: int = 0,
        *,
        dense_gradient: Wanted = True,
        global_gradient: Wanted = True,
    ) -> Learned:
        """The second phase, of images first, first + 1, ... of the batch: losses, and gradients of the tokens
        and of the heads.

        dense [images, 2, N, D] and global_vectors [images, 2, D] are the student's. The first chunk begins at
        image 0, each further one where the last one ended; a chunk is a whole number of micro-batches."""
        shapes = self._token_shapes("images")
        tokens = input_array("dense", dense, np.float32, shapes[0])
        images = len(tokens)
        vectors = input_array("global_vectors", global_vectors, np.float32, (images, *shapes[1][1:]))
        gradients = {
            "dense_gradient": output_array("dense_gradient", dense_gradient, np.float32, tokens.shape),
            "global_gradient": output_array("global_gradient", global_gradient, np.float32, vectors.shape),
        }
        apart({"dense": tokens, "global_vectors": vectors}, gradients)
        chunk = new(
            "cribo_objective_chunk",
            first=natural("first", first),
            images=images,
            dense=address(tokens),
            **{"global": address(vectors)},
            **{name: address(array) for name, array in gradients.items()},
        )
        with self._use() as invoke:
            invoke("learn", ctypes.byref(chunk))
        return Learned(*losses_of(self), gradients["dense_gradient"], gradients["global_gradient"])

    def update(self) -> Report:
        """The third phase: the optimiser's step of the heads, the teacher's heads, centres, bank, step count.
        The report's gradient_norm is that of the heads."""
        report = new("cribo_report")
        with self._use() as invoke:
            invoke("update", ctypes.byref(report))
        return report_of(report)

    def losses(self) -> tuple[float, float, float, float]:
        """Between learn and update: the sum, and the global, cross-view and cross-image losses."""
        return losses_of(self)

    def forget(self) -> None:
        """Discards the step under way."""
        with self._use() as invoke:
            invoke("forget")

    def targets(self) -> Targets:
        """The clusters and matches of the last teach."""
        return targets_of(self, self.settings["tokens"])

    # Heads.

    def parameters(self) -> dict[str, tuple[int, ...]]:
        """Names and shapes of the heads' parameters, in the library's order."""
        count = ctypes.c_int64()
        entry = new("cribo_parameter")
        shapes = {}
        with self._use() as invoke:
            invoke("parameter_count", ctypes.byref(count))
            for index in range(count.value):
                invoke("parameter", index, ctypes.byref(entry))
                shapes[entry.name.decode()] = tuple(entry.shape[: entry.axes])
        return shapes

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a parameter."""
        entry = new("cribo_parameter")
        with self._use() as invoke:
            invoke("find_parameter", text_bytes("name", name), ctypes.byref(entry))
        return tuple(entry.shape[: entry.axes])

    def read(self, name: str, network: str = "student") -> np.ndarray:
        """A copy of a parameter of the student's or the teacher's heads."""
        values = np.empty(self.shape(name), np.float32)
        with self._use() as invoke:
            invoke(
                "read_parameter", number_of(network), text_bytes("name", name), address(values), values.size
            )
        return values

    def write(self, name: str, values: Array, network: str = "student") -> None:
        """Sets a parameter of the student's or the teacher's heads."""
        array = input_array(name, values, np.float32, self.shape(name))
        with self._use() as invoke:
            invoke(
                "write_parameter", number_of(network), text_bytes("name", name), address(array), array.size
            )

    def state_dict(self, network: str = "student") -> dict[str, np.ndarray]:
        """Copies of all parameters of the student's or the teacher's heads."""
        return {name: self.read(name, network) for name in self.parameters()}

    def load_state_dict(self, values: Mapping[str, Array], network: str = "student") -> None:
        """Sets all parameters of the student's or the teacher's heads; names that they lack are ignored."""
        for name in self.parameters():
            if name not in values:
                raise ValueError(f"values has no {name}")
            self.write(name, values[name], network)

    def gradient(self, name: str) -> np.ndarray:
        """The gradient of a parameter of the student's heads as learn left it."""
        values = np.empty(self.shape(name), np.float32)
        with self._use() as invoke:
            invoke("gradient", text_bytes("name", name), address(values), values.size)
        return values

    def set_gradient(self, name: str, values: Array) -> None:
        """Replaces the gradient of a parameter between the last learn and update."""
        write_gradient(self, "set_gradient", name, values, self.shape(name))

    def add_gradient(self, name: str, values: Array) -> None:
        """Adds to the gradient of a parameter between the last learn and update."""
        write_gradient(self, "add_gradient", name, values, self.shape(name))

    def moments(self, name: str) -> Moments:
        """The moments of AdamW of a parameter of the student's heads."""
        return moments_of(self, name, self.shape(name))

    # State.

    def centres(self) -> tuple[np.ndarray, np.ndarray]:
        """Copies of the centres of global vectors and of objects."""
        return get_centres(self)

    def set_centres(self, centre: Array | None = None, object_centre: Array | None = None) -> None:
        """Replaces one centre or both."""
        set_centres(self, centre, object_centre)

    @property
    def memory_bank(self) -> MemoryBank:
        """The objective's memory bank, which ends with the objective."""
        with self._use():
            return MemoryBank._borrowed(self, native.cribo_objective_memory_bank(self._pointer))

    def step_count(self) -> int:
        """Steps done so far."""
        return steps_of(self)

    def save(self, path: File, level: int = 1, metadata: Mapping[str, str] | None = None) -> None:
        """Writes a checkpoint: heads, moments, centres, bank, steps, settings and the caller's strings."""
        save(self, path, level, metadata)

    def load(self, path: File, overrides: Iterable[str] = ()) -> None:
        """Continues from a checkpoint of an objective with the same settings, but for those in overrides.
        When it raises, the objective is as before."""
        load(self, path, overrides)
