"""The memory bank: nearest neighbours of objects, and the cycle test."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any, Callable, NamedTuple

import numpy as np

from .arrays import FLAGS, Array, Found, Wanted, address, apart, input_array, optional_array, output_array
from .callbacks import Log, Progress
from .configs import with_settings
from .handles import Handle, Sizes
from .library import new, text_bytes
from .streams import File, Source, Target

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .setting_types import MemoryBankSettings


class Matches(NamedTuple):
    """Nearest neighbours of a batch's objects and the cycle test. An output that was left out is
    None."""

    index1: Found  # [R] int64, -1: none
    index2: Found
    match1: Found  # [R] bool
    match2: Found
    neighbours1: Found  # [R, D]
    neighbours2: Found


class BankContent(NamedTuple):
    """The content of a bank, newest image first."""

    view1: np.ndarray  # [objects, D]
    view2: np.ndarray
    objects_per_image: np.ndarray  # [images] int64
    ids: np.ndarray  # [images] int64, -1: none


@with_settings("memory_bank")
class MemoryBank(Handle):
    """The two aligned memory banks, first in, first out by images."""

    _kind = "memory_bank"
    settings: MemoryBankSettings

    def __init__(
        self,
        *,
        threads: int = 0,
        log: Log | None = None,
        progress: Progress | None = None,
        **settings: Unpack[MemoryBankSettings],
    ):
        super().__init__(settings, threads, log, progress)

    def sizes(self) -> Sizes:
        """The sizes of the bank and of its content, for arrays."""
        return self._sizes()

    @classmethod
    def memory_bytes(cls, *, threads: int = 0, **settings: Unpack[MemoryBankSettings]) -> int:
        """The bytes that such a bank needs when it is full; nothing is made."""
        return cls._memory(settings, threads)

    def _batch(
        self, view1: Array, view2: Array, objects_per_image: Array, ids: Array | None
    ) -> tuple[Any, list[Any]]:
        """The struct of a batch of objects, and the arrays to which it points."""
        counts = input_array("objects_per_image", objects_per_image, np.int64, ("B",))
        rows, images, width = int(counts.sum()), len(counts), self.settings["width"]
        if images and counts.min() < 0:
            raise ValueError(f"objects_per_image has {counts.min()}, but must not be negative")
        vectors = [
            input_array(name, view, np.float32, (rows, width))
            for name, view in (("view1", view1), ("view2", view2))
        ]
        own = optional_array("ids", ids, np.int64, (images,))
        batch = new(
            "cribo_object_batch",
            images=images,
            objects_per_image=address(counts),
            view1=address(vectors[0]),
            view2=address(vectors[1]),
            ids=address(own),
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

        objects_per_image [B] sums to R; ids [B]: an image is never matched with entries of the same id.
        """
        batch, arrays = self._batch(view1, view2, objects_per_image, ids)
        rows, width = arrays[1].shape
        result = Matches(
            output_array("index1", index1, np.int64, (rows,)),
            output_array("index2", index2, np.int64, (rows,)),
            output_array("match1", match1, FLAGS, (rows,)),
            output_array("match2", match2, FLAGS, (rows,)),
            output_array("neighbours1", neighbours1, np.float32, (rows, width)),
            output_array("neighbours2", neighbours2, np.float32, (rows, width)),
        )
        read = dict(zip(("objects_per_image", "view1", "view2", "ids"), arrays))
        apart(read, result._asdict())
        output = new("cribo_match", **{name: address(a) for name, a in result._asdict().items()})
        with self._use() as invoke:
            invoke("query", ctypes.byref(batch), ctypes.byref(output))
        return result

    def push(self, view1: Array, view2: Array, objects_per_image: Array, ids: Array | None = None) -> None:
        """Adds a batch of objects; its image 0 becomes the newest."""
        batch, _arrays = self._batch(view1, view2, objects_per_image, ids)
        with self._use() as invoke:
            invoke("push", ctypes.byref(batch))

    def _count(self, invoke: Callable[..., None]) -> tuple[int, int]:
        images, objects = ctypes.c_int64(), ctypes.c_int64()
        invoke("count", ctypes.byref(images), ctypes.byref(objects))
        return images.value, objects.value

    def count(self) -> tuple[int, int]:
        """The numbers of images and objects in the bank."""
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
            arrays = new(
                "cribo_bank_arrays",
                image_capacity=images,
                object_capacity=objects,
                **{name: address(array) for name, array in content._asdict().items()},
            )
            invoke("copy", ctypes.byref(arrays))
        return content

    def import_(self, view1: Array, view2: Array, objects_per_image: Array, ids: Array | None = None) -> None:
        """Replaces the bank's content, newest image first: `bank.import_(*other.export())`."""
        batch, _arrays = self._batch(view1, view2, objects_per_image, ids)
        with self._use() as invoke:
            invoke("import", ctypes.byref(batch))

    def save(self, path: File, prefix: str = "") -> None:
        """Writes the bank's content to a safetensors file: prefix + objects_per_image, ids, view1, view2."""
        with self._use() as invoke:
            target = Target(self._hooks, path)
            invoke(target.verb("save"), target.argument, text_bytes("prefix", prefix))

    def load(self, path: File, prefix: str = "") -> None:
        """Replaces the bank's content by that of a file that save wrote, or of a checkpoint, where the prefix
        is "bank."."""
        with self._use() as invoke:
            source = Source(self._hooks, path)
            invoke(source.verb("load"), source.argument, text_bytes("prefix", prefix))
