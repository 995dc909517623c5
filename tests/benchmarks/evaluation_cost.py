#!/usr/bin/env python3
"""The cost of an evaluation of Pascal VOC's size, measured on a sample and extrapolated: 10 581 pictures remembered and
1449 scored at 504 x 504 with a ViT-S/14 of random weights. Prints CPU seconds, for the machine may be shared.

    CRIBO_LIBRARY=build/lib/libcribo.so.0.1.0 PYTHONPATH=examples/python python3 tests/benchmarks/evaluation_cost.py
"""

import resource

import cribo
import faiss
import numpy as np

SIZE, PATCH, WIDTH, THREADS = 504, 14, 384, 2
PICTURES, SCORED, TOKENS = 10581, 1449, (SIZE // PATCH) ** 2
ENTRIES, QUERIES, RANK = 131072, 2 * TOKENS, 60  # of the sample; directions that its vectors share


def cpu_seconds(work):
    before = resource.getrusage(resource.RUSAGE_SELF)
    result = work()
    after = resource.getrusage(resource.RUSAGE_SELF)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, result


def feature_seconds(random):
    model = cribo.Model(
        image_size=SIZE, patch_size=PATCH, width=WIDTH, depth=12, heads=6, prototypes=0, object_prototypes=0
    )
    pixels = random.standard_normal((1, 3, SIZE, SIZE)).astype(np.float32)
    model.features(pixels, cls=False)
    return cpu_seconds(lambda: [model.features(pixels, cls=False) for _ in range(6)])[0] / 6


def vectors(random, count, shared):
    x = 0.5 * random.standard_normal((count, WIDTH)) + random.standard_normal((count, RANK)) @ shared
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def main():
    random = np.random.default_rng(0)
    cribo.set_default_threads(THREADS)
    faiss.omp_set_num_threads(THREADS)
    of_picture = feature_seconds(random)
    shared = random.standard_normal((RANK, WIDTH))
    memory, queries = vectors(random, ENTRIES, shared), vectors(random, QUERIES, shared)

    probe = cribo.Probe(width=WIDTH, classes=21)
    probe.add(memory.reshape(ENTRIES, 1, 1, WIDTH), np.zeros((ENTRIES, 1, 1), np.int32))
    index = faiss.IndexFlatIP(WIDTH)
    index.add(memory)
    probe.search(queries[:64]), index.search(queries[:64], 30)
    ours, (found, _) = cpu_seconds(lambda: probe.search(queries))
    theirs, (_, reference) = cpu_seconds(lambda: index.search(queries, 30))
    print(f"features: {of_picture:.2f} CPU s for a picture")
    print(f"search of {QUERIES} among {ENTRIES}: {ours:.2f} CPU s, faiss {theirs:.2f}")
    print(f"the same neighbour in {np.mean(found == reference):.4%} of the places")
    for entries in (PICTURES * TOKENS, 1024000):
        scale = entries / ENTRIES * SCORED * TOKENS / QUERIES / THREADS / 3600
        print(
            f"{entries} patches: features {(PICTURES + SCORED) * of_picture / THREADS / 3600:.1f} h, search "
            f"{ours * scale:.1f} h, faiss {theirs * scale:.1f} h, {entries * (4 * WIDTH + 46) / 2**30:.1f} GiB"
        )


if __name__ == "__main__":
    main()
