"""The common parts of the tests: the golden data, small problems, and paths."""

from __future__ import annotations

import json
import os
import sys
import zlib
from pathlib import Path

import numpy as np

SOURCE = Path(__file__).resolve().parents[2]
REFERENCE = Path(os.environ.get("CRIBO_REFERENCE") or SOURCE / "tests" / "reference")
sys.path.insert(0, str(SOURCE / "examples" / "python"))

import cribo  # noqa: E402

PROGRAM = Path(os.environ["CRIBO_LIBRARY"]).parents[1] / "examples" / "program" / "cribo"

_DTYPES = {"F32": np.float32, "I64": np.int64, "U8": np.uint8}


class Golden:
    """A file of golden data: tensors by name, and metadata as numbers where they are numbers."""

    def __init__(self, name: str):
        content = (REFERENCE / f"{name}.safetensors").read_bytes()
        length = int.from_bytes(content[:8], "little")
        self._index = json.loads(content[8 : 8 + length])
        self._data = content[8 + length :]
        self.metadata = {key: _parse(text) for key, text in self._index.pop("__metadata__").items()}
        self.names = list(self._index)

    def __getitem__(self, name: str) -> np.ndarray:
        entry = self._index[name]
        begin, end = entry["data_offsets"]
        return np.frombuffer(self._data[begin:end], _DTYPES[entry["dtype"]]).reshape(entry["shape"])

    def __contains__(self, name: str) -> bool:
        return name in self._index


def _parse(text: str):
    try:
        return json.loads(text)
    except ValueError:
        return text


SMALL = {
    "image_size": 32,
    "patch_size": 8,
    "width": 48,
    "depth": 2,
    "heads": 3,
    "head_hidden": 32,
    "head_bottleneck": 16,
    "prototypes": 40,
    "object_prototypes": 36,
}  # a model that is made and run in milliseconds


def small_trainer(**settings) -> cribo.Trainer:
    chosen = {
        **SMALL,
        "clusters": 4,
        "batch_size": 4,
        "bank_images": 8,
        "cross_image_epochs": 0,
        "warmup_epochs": 1,
        "steps_per_epoch": 1,
    }
    chosen.update(settings)
    return cribo.Trainer(**chosen)


def small_batch(seed: int = 0, images: int = 4, **changes) -> cribo.Batch:
    """Random views, of which the second is a darker copy of the first."""
    pixels = np.random.default_rng(seed).standard_normal((images, 3, 32, 32)).astype(np.float32)
    crops = [(0, 0, 32, 32, 0)] * images
    batch = {"view1": pixels, "view2": pixels * 0.9 - 0.1, "crops1": crops, "crops2": crops}
    batch.update(changes)
    return cribo.Batch(**batch)


# ---- Photographs for the experiments ----------------------------------------------------------------


def write_png(path, pixels):
    """Bytes [H, W] or [H, W, 3] as a PNG."""

    def chunk(kind, content):
        return (
            len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")
        )

    height, width = pixels.shape[:2]
    head = (
        width.to_bytes(4, "big")
        + height.to_bytes(4, "big")
        + bytes([8, 0 if pixels.ndim == 2 else 2, 0, 0, 0])
    )
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def make_pairs(folder, names, void=False):
    """Pictures of two classes, a bright one and a dark one, in two halves; with `void`, some pixels count
    nowhere."""
    rng = np.random.default_rng(0)
    for kind in ("images", "labels"):
        (folder / kind).mkdir(parents=True)
    (folder / "classes.txt").write_text("dark\nbright\n")
    for name in names:
        label = np.zeros((64, 64), np.uint8)
        label[:, rng.integers(24, 40) :] = 1
        pixels = (160 * label[..., None] + rng.integers(0, 80, (64, 64, 3))).astype(np.uint8)
        if void:
            label[rng.integers(8, 56) :][:9, :40] = 255
        write_png(folder / "images" / f"{name}.png", pixels)
        write_png(folder / "labels" / f"{name}.png", label)


def make_drives(folder):
    """Two drives of four pictures."""
    make_pairs(folder, [f"{drive}_{number}" for drive in ("east", "west") for number in range(4)])
