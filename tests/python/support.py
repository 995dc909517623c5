"""The common parts of the tests: the golden data, small problems, and paths."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np

SOURCE = Path(__file__).resolve().parents[2]
REFERENCE = Path(os.environ.get("CRIBO_REFERENCE") or SOURCE / "tests" / "reference")
sys.path.insert(0, str(SOURCE / "examples" / "python"))

import cribo  # noqa: E402

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
