"""Joint-view clustering of patch tokens into objects."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .arrays import (
    FLAGS,
    Array,
    Found,
    Wanted,
    address,
    apart,
    input_array,
    natural,
    optional_array,
    output_array,
)
from .callbacks import Log, Progress
from .configs import with_settings
from .handles import Handle, Sizes
from .library import new

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .setting_types import ClustererSettings


class Clusters(NamedTuple):
    """The clusters of a batch. An output that was left out is None."""

    assignment: Found  # [B, 2, N, K] Q*
    labels: Found  # [B, 2, N] int64
    valid: Found  # [B, K] bool
    objects: Found  # [B, 2, K, D]


@with_settings("clusterer")
class Clusterer(Handle):
    """Joint-view clustering of up to `max_images` images with `tokens_per_view` tokens of `width`
    numbers."""

    _kind = "clusterer"
    settings: ClustererSettings

    def __init__(
        self,
        max_images: int,
        tokens_per_view: int,
        width: int,
        *,
        threads: int = 0,
        log: Log | None = None,
        progress: Progress | None = None,
        **settings: Unpack[ClustererSettings],
    ):
        sizes = {"max_images": max_images, "tokens_per_view": tokens_per_view, "width": width}
        self._tokens, self._width = natural("tokens_per_view", tokens_per_view), natural("width", width)
        super().__init__(
            settings, threads, log, progress, [natural(name, size) for name, size in sizes.items()]
        )

    def sizes(self) -> Sizes:
        """The sizes of the clusterer, for arrays."""
        return self._sizes()

    def set(self, **settings: Unpack[ClustererSettings]) -> None:
        """Changes settings for later calls, all or none of them; clusters, hard_assignment and batch_cost
        cannot change."""
        self._set(settings)

    @classmethod
    def memory_bytes(
        cls,
        max_images: int,
        tokens_per_view: int,
        width: int,
        *,
        threads: int = 0,
        **settings: Unpack[ClustererSettings],
    ) -> int:
        """The bytes that such a clusterer needs; nothing is made."""
        sizes = {"max_images": max_images, "tokens_per_view": tokens_per_view, "width": width}
        return cls._memory(settings, threads, [natural(name, size) for name, size in sizes.items()])

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
        read = input_array("tokens", tokens, np.float32, ("B", 2, n, d))
        images = len(read)
        places = input_array("positions", positions, np.float32, (images, 2, n, 2))
        seeds = optional_array("seed_tokens", seed_tokens, np.int64, (images, k))
        result = Clusters(
            output_array("assignment", assignment, np.float32, (images, 2, n, k)),
            output_array("labels", labels, np.int64, (images, 2, n)),
            output_array("valid", valid, FLAGS, (images, k)),
            output_array("objects", objects, np.float32, (images, 2, k, d)),
        )
        apart({"tokens": read, "positions": places, "seed_tokens": seeds}, result._asdict())
        batch = new(
            "cribo_cluster_input",
            images=images,
            tokens=address(read),
            positions=address(places),
            seed_tokens=address(seeds),
            call=natural("call", call),
        )
        output = new("cribo_cluster_output", **{name: address(a) for name, a in result._asdict().items()})
        with self._use() as invoke:
            invoke("run", ctypes.byref(batch), ctypes.byref(output))
        return result
