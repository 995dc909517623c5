#!/usr/bin/env python3
"""Writes tests/evaluation/protocol.safetensors: a small case of dense nearest-neighbour retrieval, worked out with
NumPy alone, in float64 and by plain definitions, for the tests of cribo/evaluation.h to be held against.

    python3 tests/evaluation/make_protocol.py
"""

import json
import struct
from pathlib import Path

import numpy as np

WIDTH, CLASSES, IGNORE = 24, 5, 255
NEIGHBOURS, TEMPERATURE = 30, 0.02
ROWS, COLUMNS, PATCH = 6, 8, 4  # the grid of an image; its label map is 24 x 32
TRAIN, TEST = 5, 2
SEED = 35  # of several, one whose cosines and pixels are decided clearly: any CPU's rounding gives the same


def blobs(random, images):
    """Label maps of ellipses on class 0, with a border to be ignored around them."""
    height, width = ROWS * PATCH, COLUMNS * PATCH
    y, x = np.mgrid[:height, :width]
    labels = np.zeros((images, height, width), np.int32)
    for image in labels:
        for _ in range(4):
            cy, cx = random.uniform(0, height), random.uniform(0, width)
            ry, rx = random.uniform(3, 9), random.uniform(3, 12)
            distance = ((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2
            image[distance < 1.25] = IGNORE
            image[distance < 1] = random.integers(1, CLASSES)
    labels[0, :PATCH, :PATCH] = IGNORE  # a patch without any label
    return labels


def patches(labels):
    """[images, N, pixels of a patch]"""
    b, height, width = labels.shape
    cut = labels.reshape(b, ROWS, height // ROWS, COLUMNS, width // COLUMNS)
    return cut.transpose(0, 1, 3, 2, 4).reshape(b, ROWS * COLUMNS, -1)


def histograms(labels):
    """Shares of the classes among the pixels of each patch that count, and how many those are."""
    counts = np.stack([(patches(labels) == c).sum(-1) for c in range(CLASSES)], -1)
    total = counts.sum(-1)
    return counts / np.maximum(total, 1)[..., None], total


def features(random, labels, centres):
    """Features that separate the classes, but not well."""
    shares, _ = histograms(labels)
    mean = shares @ centres
    length = random.uniform(0.5, 3, mean.shape[:2] + (1,))
    return ((mean + random.normal(0, 1.1, mean.shape)) * length).astype(np.float32)


def unit(x):
    x = x.astype(np.float64)
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def retrieve(memory, memory_shares, queries):
    cosine = unit(queries) @ unit(memory).T
    nearest = np.argsort(-cosine, axis=1, kind="stable")[:, :NEIGHBOURS]
    near = np.take_along_axis(cosine, nearest, 1)
    weight = np.exp((near - near[:, :1]) / TEMPERATURE)
    weight /= weight.sum(1, keepdims=True)
    return nearest, near, np.einsum("qk,qkc->qc", weight, memory_shares[nearest])


def enlarge(cells, pixels):
    """The matrix [pixels, cells] of bilinear interpolation along one axis, half-pixel centres, clamped."""
    matrix = np.zeros((pixels, cells))
    for pixel in range(pixels):
        place = min(max((pixel + 0.5) * cells / pixels - 0.5, 0), cells - 1)
        low = int(place)
        high = min(low + 1, cells - 1)
        matrix[pixel, low] += 1 - (place - low)
        matrix[pixel, high] += place - low
    return matrix


def scores(truth, predicted):
    counts = truth != IGNORE
    truth, predicted = truth[counts], predicted[counts]
    iou = []
    for c in range(CLASSES):
        both = np.sum((truth == c) & (predicted == c))
        either = np.sum((truth == c) | (predicted == c))
        iou.append(both / either if either else -1.0)
    return np.array(iou), np.mean([v for v in iou if v >= 0]), np.mean(truth == predicted)


def write_safetensors(path, tensors, metadata):
    kinds = {"float32": "F32", "int64": "I64", "uint8": "U8"}
    header, data = {"__metadata__": metadata}, b""
    for name, x in tensors.items():
        x = np.ascontiguousarray(x)
        header[name] = {
            "dtype": kinds[x.dtype.name],
            "shape": list(x.shape),
            "data_offsets": [len(data), len(data) + x.nbytes],
        }
        data += x.tobytes()
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def main():
    random = np.random.default_rng(SEED)
    centres = random.normal(0, 0.5, (CLASSES, WIDTH))
    train, test = blobs(random, TRAIN), blobs(random, TEST)
    train_x, test_x = features(random, train, centres), features(random, test, centres)

    shares, total = histograms(train)
    kept = total.reshape(-1) > 0
    memory, memory_shares = train_x.reshape(-1, WIDTH)[kept], shares.reshape(-1, CLASSES)[kept]
    nearest, near, mixed = retrieve(memory, memory_shares, test_x.reshape(-1, WIDTH))
    grid = mixed.reshape(TEST, ROWS, COLUMNS, CLASSES)
    height, width = test.shape[1:]
    pixels = np.einsum("yr,xc,brck->byxk", enlarge(ROWS, height), enlarge(COLUMNS, width), grid)
    predicted = pixels.argmax(-1)
    iou, mean_iou, accuracy = scores(test, predicted)

    ordered = np.sort(pixels, axis=-1)
    print(f"mIoU {mean_iou:.6f}, accuracy {accuracy:.6f}, IoU {iou}, entries {len(memory)}")
    print(f"closest decision of a pixel: {np.min(ordered[..., -1] - ordered[..., -2]):.2e}")
    everything = np.sort(unit(test_x.reshape(-1, WIDTH)) @ unit(memory).T, axis=1)[:, ::-1]
    print(f"closest cosines in order: {np.min(-np.diff(everything[:, : NEIGHBOURS + 1])):.2e}")
    tensors = {
        "train.features": train_x,
        "train.labels": train.astype(np.uint8),
        "test.features": test_x,
        "test.labels": test.astype(np.uint8),
        "index": nearest.astype(np.int64),
        "cosine": near.astype(np.float32),
        "shares": mixed.astype(np.float32),
        "predicted": predicted.astype(np.uint8),
        "iou": iou.astype(np.float32),
    }
    metadata = {
        "entries": str(len(memory)),
        "mean_iou": repr(float(mean_iou)),
        "accuracy": repr(float(accuracy)),
    }
    write_safetensors(Path(__file__).with_name("protocol.safetensors"), tensors, metadata)


if __name__ == "__main__":
    main()
