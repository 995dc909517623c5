#!/usr/bin/env python3
"""The exact search of dense retrieval beside faiss's (IndexFlatIP) in one run: the same unit vectors, the same
threads, in turn. Prints seconds of each round, their ratio, whether both find the same, and the memory held.

    python3 -m venv venv && venv/bin/pip install faiss-cpu numpy
    CRIBO_LIBRARY=build/lib/libcribo.so.0 venv/bin/python tests/benchmarks/retrieval_search.py
"""

import argparse
import resource
import statistics
import sys
import time
from pathlib import Path

import faiss
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "examples" / "python"))
import cribo  # noqa: E402


def resident() -> float:
    """GiB of this process in memory now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**30


def timed(search, queries):
    began, cpu = time.perf_counter(), time.process_time()
    found = search(queries)
    return time.perf_counter() - began, time.process_time() - cpu, found


def clustered(random, rows, centres, width):
    """Vectors around centres, as features of patches are: nearest neighbours are nearer than chance."""
    x = centres[random.integers(0, len(centres), rows)] + random.standard_normal((rows, width), np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument(
        "--images", type=int, default=20, help="of 784 queries each (448 x 448, patches of 16)"
    )
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--threads", type=int, default=2)
    chosen = parser.parse_args()
    faiss.omp_set_num_threads(chosen.threads)
    random = np.random.default_rng(0)
    centres = random.standard_normal((500, chosen.width), np.float32)

    probe = cribo.Probe(width=chosen.width, classes=21, threads=chosen.threads)
    index = faiss.IndexFlatIP(chosen.width)
    held = [0.0, 0.0]
    block = 50_000
    for first in range(0, chosen.entries, block):
        x = clustered(random, min(block, chosen.entries - first), centres, chosen.width)
        labels = random.integers(0, 21, (len(x), 1, 1), np.int32)
        before = resident()
        probe.add(x.reshape(-1, 1, 1, chosen.width), labels)
        held[0] += resident() - before
        before = resident()
        index.add(x)
        held[1] += resident() - before

    rows = chosen.images * 784 // chosen.rounds
    flop = 2 * rows * chosen.entries * chosen.width
    print(
        f"{chosen.entries} entries of {chosen.width}, {chosen.rounds} rounds of {rows} queries, k = 30, "
        f"{chosen.threads} threads; memory held: ours {held[0]:.2f} GiB (with histograms), faiss {held[1]:.2f} GiB"
    )
    ratios, seconds, cpu = [], [[], []], [[], []]
    for i in range(chosen.rounds):
        queries = clustered(random, rows, centres, chosen.width)
        sides = [lambda q: probe.search(q), lambda q: index.search(q, 30)[::-1]]
        results = {}
        for side in (0, 1) if i % 2 == 0 else (1, 0):
            results[side] = timed(sides[side], queries)
        ours, theirs = results[0], results[1]
        same = np.mean(ours[2][0] == theirs[2][0])
        apart = np.max(np.abs(ours[2][1] - theirs[2][1]))
        ratios.append(theirs[0] / ours[0])
        for side in (0, 1):
            seconds[side].append(results[side][0])
            cpu[side].append(results[side][1])
        print(
            f"ours {ours[0]:7.2f} s ({flop / ours[0] / 1e9:6.1f} GFLOP/s, CPU {ours[1]:.1f} s)   "
            f"faiss {theirs[0]:7.2f} s ({flop / theirs[0] / 1e9:6.1f} GFLOP/s, CPU {theirs[1]:.1f} s)   "
            f"faiss / ours {ratios[-1]:.2f}   same neighbours {100 * same:.3f} %, cosines within {apart:.1e}",
            flush=True,
        )
    middle = [[statistics.median(x) for x in measure] for measure in (seconds, cpu)]
    print(
        f"medians of faiss / ours: {statistics.median(ratios):.2f} by the clock, {middle[1][1] / middle[1][0]:.2f} by CPU "
        f"time; peak memory of both together {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB"
    )
    full = 1449 * 784 / rows
    print(
        f"extrapolated to 1449 images: ours {middle[1][0] * full:.0f} CPU seconds, faiss {middle[1][1] * full:.0f}"
    )


if __name__ == "__main__":
    main()
