"""Checkpoints of trainers."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Mapping
from typing import Any

from .callbacks import Hooks
from .configs import config_values
from .handles import Handle
from .library import PathLike, check, native, new, path_bytes, text_bytes


class Snapshot(Handle):
    """The state of a trainer at one moment, independent of the trainer. `threads` compress when it is
    saved."""

    _kind = "snapshot"

    def __init__(self, trainer: Handle, threads: int = 1):
        self._hooks = Hooks(threads, None, None)
        self.settings = dict(trainer.settings)
        with trainer._use():
            self._create("cribo_snapshot_create", trainer._pointer)

    def save(self, path: PathLike, level: int = 1, metadata: Mapping[str, str] | None = None) -> None:
        """Writes the checkpoint that the trainer would have written at that moment."""
        save(self, path, level, metadata)

    def save_weights(self, path: PathLike) -> None:
        """Writes the weights that the trainer would have written at that moment."""
        with self._use() as invoke:
            invoke("save_weights", path_bytes(path))


def save(handle: Handle, path: PathLike, level: int, metadata: Mapping[str, str] | None) -> None:
    """Writes the checkpoint of a trainer, a snapshot or an objective."""
    metadata = metadata or {}
    texts = [
        [text_bytes("metadata", text) for text in column] for column in (metadata.keys(), metadata.values())
    ]
    keys, values = ((ctypes.c_char_p * len(column))(*column) for column in texts)
    options = new(
        "cribo_save_options",
        level=level,
        metadata_count=len(metadata),
        metadata_keys=ctypes.addressof(keys),
        metadata_values=ctypes.addressof(values),
    )
    with handle._use() as invoke:
        invoke("save", path_bytes(path), ctypes.byref(options))


def load(handle: Handle, path: PathLike, overrides: Iterable[str]) -> None:
    """Makes a trainer or an objective what the one that wrote the checkpoint was."""
    options = new("cribo_load_options", overrides=text_bytes("overrides", ",".join(overrides)))
    with handle._use() as invoke:
        invoke("load", path_bytes(path), ctypes.byref(options))


def checkpoint_settings(path: PathLike) -> dict[str, Any]:
    """The settings of the trainer that wrote a checkpoint: `Trainer(**checkpoint_settings(path))`."""
    config = new("cribo_trainer_config")
    check(native.cribo_checkpoint_config(path_bytes(path), ctypes.byref(config)))
    return config_values(config)


def checkpoint_metadata(path: PathLike, key: str, most_bytes: int = 65536) -> str:
    """One of the caller's strings in a checkpoint."""
    buffer = ctypes.create_string_buffer(most_bytes)
    check(native.cribo_checkpoint_metadata(path_bytes(path), text_bytes("key", key), buffer, most_bytes))
    return buffer.value.decode()
