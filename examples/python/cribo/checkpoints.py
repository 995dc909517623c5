"""Checkpoints of trainers."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Mapping
from typing import Any

from .callbacks import Hooks
from .configs import config_values
from .handles import Handle
from .library import native, new, text_bytes
from .streams import File, Source, Target


class Snapshot(Handle):
    """The state of a trainer at one moment, independent of the trainer. `threads` compress when it is
    saved."""

    _kind = "snapshot"

    def __init__(self, trainer: Handle, threads: int = 1):
        self._hooks = Hooks(threads, None, None)
        self.settings = dict(trainer.settings)
        with trainer._use():
            self._create("cribo_snapshot_create", trainer._pointer)

    def save(self, path: File, level: int = 1, metadata: Mapping[str, str] | None = None) -> None:
        """Writes the checkpoint that the trainer would have written at that moment."""
        save(self, path, level, metadata)

    def save_weights(self, path: File) -> None:
        """Writes the weights that the trainer would have written at that moment."""
        save_weights(self, path)


def save(handle: Handle, path: File, level: int, metadata: Mapping[str, str] | None) -> None:
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
        target = Target(handle._hooks, path)
        invoke(target.verb("save"), target.argument, ctypes.byref(options))


def save_weights(handle: Handle, path: File) -> None:
    """Writes the weights of a trainer or a snapshot."""
    with handle._use() as invoke:
        target = Target(handle._hooks, path)
        invoke(target.verb("save_weights"), target.argument)


def load(handle: Handle, path: File, overrides: Iterable[str]) -> None:
    """Makes a trainer or an objective what the one that wrote the checkpoint was."""
    options = new("cribo_load_options", overrides=text_bytes("overrides", ",".join(overrides)))
    with handle._use() as invoke:
        source = Source(handle._hooks, path)
        invoke(source.verb("load"), source.argument, ctypes.byref(options))


def look(function: str, path: File, *more: Any) -> None:
    """Calls a function, without a handle, that looks into a checkpoint."""
    hooks = Hooks(1, None, None)
    with hooks.signals_kept():
        source = Source(hooks, path)
        hooks.call(getattr(native, source.verb(function)), source.argument, *more)


def checkpoint_settings(path: File) -> dict[str, Any]:
    """The settings of the trainer that wrote a checkpoint: `Trainer(**checkpoint_settings(path))`."""
    config = new("cribo_trainer_config")
    look("cribo_checkpoint_config", path, ctypes.byref(config))
    return config_values(config)


def checkpoint_metadata(path: File, key: str, most_bytes: int = 65536) -> str:
    """One of the caller's strings in a checkpoint."""
    buffer = ctypes.create_string_buffer(most_bytes)
    look("cribo_checkpoint_metadata", path, text_bytes("key", key), buffer, most_bytes)
    return buffer.value.decode()
