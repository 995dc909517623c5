"""What a cache of the frozen blocks' outputs could save in a step of adapting, and what it would need:
processor time of the step and of the frozen blocks alone, bytes of a view, and the time to read them.

    CRIBO_LIBRARY=BUILD/lib/libcribo.so.0 python tests/benchmarks/trunk_cache.py --frozen-blocks 8

Options and sizes are those of pytorch_adapt.py. A view that is used R times would be computed once, so a
cache saves at most the frozen blocks' share of the step times 1 - 1/R. The file is read in random order, a
view at a time, after the system was asked to drop it from its memory.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from pytorch_adapt import Ours, options
from pytorch_step import machine

SEEN = (2, 4, 8)  # uses of a view


def cpu_ms(work: object) -> float:
    start = time.process_time()
    work()  # type: ignore[operator]
    return 1e3 * (time.process_time() - start)


def trunk(o: argparse.Namespace) -> float:
    """Processor time of the frozen blocks for the views of a batch, in ms."""
    import cribo
    from step_problem import make_problem

    problem = make_problem(o)
    views = np.concatenate([problem.view1, problem.view2])
    settings = dict(image_size=o.image, patch_size=o.patch, width=o.width, heads=o.heads, layer_scale=1)
    with cribo.Model(
        **settings, depth=o.frozen_blocks, prototypes=0, object_prototypes=0, threads=o.threads,
        precision=o.precision,
    ) as model:  # fmt: skip
        model.pack()
        model.features(views)
        return statistics.median(cpu_ms(lambda: model.features(views)) for _ in range(o.pairs))


def reading(size: int, total: int) -> float:
    """Bytes a second of random reads of `size` bytes from a file of `total` bytes."""
    count = total // size
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "views"
        with path.open("wb") as file:
            for _ in range(count):
                file.write(os.urandom(size))
            file.flush()
            os.fsync(file.fileno())
        with path.open("rb", buffering=0) as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
            start = time.perf_counter()
            for view in np.random.default_rng(0).permutation(count):
                os.pread(file.fileno(), size, int(view) * size)
            return count * size / (time.perf_counter() - start)


def main() -> None:
    o = options()
    print(f"{machine(o)}, {o.frozen_blocks} of {o.depth} blocks frozen")
    with tempfile.TemporaryDirectory() as folder:
        ours = Ours(o, str(Path(folder) / "weights.npz"))
    ours.step(o.precision)
    whole = statistics.median(ours.step(o.precision).ms["cpu"] for _ in range(o.pairs))
    part = trunk(o)
    print(f"step {whole:.0f} ms of processor time, the frozen blocks {part:.0f} ms of it: {part / whole:.1%}")
    for uses in SEEN:
        print(f"views used {uses} times: {part / whole * (1 - 1 / uses):.1%} saved at most")
    tokens = 1 + (o.image // o.patch) ** 2
    for kind, width in (("bfloat16", 2), ("float32", 4)):
        size = tokens * o.width * width
        speed = reading(size, 2**20 if o.tiny else 2**28)
        ms = 1e3 * 2 * o.batch * size / speed
        print(f"{kind}: {size} bytes a view, {speed / 1e6:.0f} MB/s, {ms:.1f} ms to read a batch")


if __name__ == "__main__":
    sys.exit(main())
