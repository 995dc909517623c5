#!/usr/bin/env python3
"""Writes tests/golden/rounded_sums.safetensors: the sum of eight leaves of gradients by a binary tree whose terms are
rounded to bfloat16, computed with NumPy on the bits of float32, for tests/golden/test_rounded_sums.c.

    python3 tests/golden/make_rounded_sums.py
"""

import json
import struct
from pathlib import Path

import numpy as np

LEAVES, NUMBERS, SEED = 8, 1500, 7


def rounded(x):
    """x to the nearest bfloat16, ties to even, as float32."""
    bits = x.view(np.uint32).astype(np.uint64)
    up = (bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000
    return np.where(np.isnan(x), np.float32(np.nan), up.astype(np.uint32).view(np.float32))


def tree_sum(leaves):
    """((leaf 0 + leaf 1) + (leaf 2 + leaf 3)) + ...; the terms of every sum are rounded, the last sum is not."""
    if len(leaves) == 1:
        return leaves[0]
    half = len(leaves) // 2
    return rounded(tree_sum(leaves[:half])) + rounded(tree_sum(leaves[half:]))


def numbers():
    random = np.random.default_rng(SEED)
    x = random.standard_normal((LEAVES, NUMBERS)) * 10.0 ** random.uniform(-12, 12, NUMBERS)
    x = x.astype(np.float32)
    ties = np.array([0x3F808000, 0x3F818000, 0xBF808000, 0x3F807FFF, 0x3F808001], np.uint32).view(np.float32)
    x[:, : len(ties)] = ties  # halfway between two bfloat16, and just beside
    x[:, 10] = 3e38  # sums overflow
    x[3, 11] = 3.4e38  # rounds to infinity
    x[5, 12] = np.nan
    x[:, 13] = np.linspace(1e-40, 9e-39, LEAVES)  # subnormal
    x[:, 14] = -0.0
    x[:4, 15], x[4:, 15] = 1.0, -1.0
    return x


def write(path, tensors):
    header, data = {}, b""
    for name, array in tensors.items():
        end = len(data) + array.nbytes
        header[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": [len(data), end]}
        data += array.tobytes()
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


if __name__ == "__main__":
    with np.errstate(all="ignore"):
        leaves = numbers()
        write(Path(__file__).with_name("rounded_sums.safetensors"), {"leaves": leaves, "sum": tree_sum(leaves)})
