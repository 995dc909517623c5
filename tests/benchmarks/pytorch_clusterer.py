"""libcribo's clusterer against the plain PyTorch formulation, which has all [B, 2N, 2N, K] products.

    CRIBO_LIBRARY=BUILD/lib/libcribo.so.0 python tests/benchmarks/pytorch_clusterer.py

Each side is a process of its own with the same tokens, patch centres and seed tokens. They take turns, and the
medians of their times and of the ratios of neighbouring runs are printed, after the share of tokens to which
both gave the same label. docs/performance.md says more.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, Callable

import numpy as np
from pytorch_step import KEPT_MEMORY, environment, machine
from step_problem import make_problem

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "examples" / "python"))

SAME_LABELS = 0.99  # at least: sums of float32 in another order move a token at a border

run: Callable[[], Any]  # of this process: returns labels [B, 2N]


def make_tokens(o: argparse.Namespace, positions: np.ndarray) -> np.ndarray:
    """Tokens [B, 2, N, D] that depend on their position, with noise."""
    random = np.random.default_rng(3)
    waves = random.standard_normal((2, o.width), np.float32) * 0.03
    noise = random.standard_normal((*positions.shape[:3], o.width), np.float32)
    return (np.sin(positions @ waves) + 0.5 * noise).astype(np.float32)


def begin_ours(o: argparse.Namespace) -> None:
    import cribo

    problem = make_problem(o)
    tokens = make_tokens(o, problem.positions)
    count = tokens.shape[2]
    clusterer = cribo.Clusterer(o.batch, count, o.width, threads=o.threads, clusters=o.clusters)

    def cluster() -> np.ndarray:
        found = clusterer.run(tokens, problem.positions, problem.seeds, objects=False)
        return np.asarray(found.labels).reshape(o.batch, -1)

    globals()["run"] = cluster


def begin_pytorch(o: argparse.Namespace) -> None:
    import torch
    from pytorch_side import assign, nearest_as_published, nearest_lean

    torch.set_num_threads(o.threads)
    problem = make_problem(o)
    tokens = torch.from_numpy(make_tokens(o, problem.positions)).flatten(1, 2)
    positions, seeds = torch.from_numpy(problem.positions).flatten(1, 2), torch.from_numpy(problem.seeds)
    nearest = nearest_lean if o.lean else nearest_as_published

    def cluster() -> np.ndarray:
        with torch.no_grad():
            return assign(tokens, positions, seeds, nearest).argmax(-1).numpy()

    globals()["run"] = cluster


def timed(clock: str) -> tuple[float, np.ndarray]:
    """Milliseconds, and the labels."""
    now = time.process_time if clock == "cpu" else time.perf_counter
    start = now()
    labels = run()
    return 1e3 * (now() - start), labels


def options() -> argparse.Namespace:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--lean", action="store_true", help="PyTorch with a reduction over members only")
    p.add_argument("--pairs", type=int, default=10)
    p.add_argument("--clock", choices=("wall", "cpu"), default="wall", help="cpu: of a process, if others run")
    p.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    for name, size in dict(batch=16, image=224, patch=16, width=384, clusters=32).items():
        p.add_argument(f"--{name}", type=int, default=size)
    p.set_defaults(precision="float32", bank=0)
    return p.parse_args()


def main() -> None:
    o = options()
    os.environ["OMP_NUM_THREADS"] = str(o.threads)
    print(machine(o))
    spawn = multiprocessing.get_context("spawn")
    sides = []
    for begin, added in ((begin_ours, {}), (begin_pytorch, KEPT_MEMORY)):
        with environment(added):
            side = ProcessPoolExecutor(1, mp_context=spawn, initializer=begin, initargs=(o,))
            side.submit(timed, o.clock).result()
        sides.append(side)
    (_, ours), (_, theirs) = (side.submit(timed, o.clock).result() for side in sides)
    same = float((ours == theirs).mean())
    print(f"{100 * same:.2f} % of the tokens have the same label")
    if same < SAME_LABELS:
        sys.exit("pytorch_clusterer: the two sides do not compute the same")
    pairs = [[side.submit(timed, o.clock).result()[0] / o.batch for side in sides] for _ in range(o.pairs)]
    medians = [statistics.median(ms) for ms in zip(*pairs)]
    ratio = statistics.median(theirs / ours for ours, theirs in pairs)
    for side in sides:
        side.shutdown()
    print(f"libcribo {medians[0]:.3f} ms per image, PyTorch {medians[1]:.1f}: {ratio:.1f} times as long")


if __name__ == "__main__":
    main()
