"""The library and the process: version, threads, random numbers."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from .arrays import natural
from .library import check, native


def version() -> str:
    """The version of the library that is loaded."""
    text: str = native.cribo_version().decode()
    return text


def build_info() -> dict[str, Any]:
    """The library's build options and its choices for this machine."""
    info: dict[str, Any] = json.loads(native.cribo_build_info())
    return info


def default_threads() -> int:
    """The number of worker threads of a handle that is made without `threads`."""
    number: int = native.cribo_default_threads()
    return number


def set_default_threads(threads: int) -> None:
    """Sets the default number of threads for the whole process; 0: the number of CPUs that it may use."""
    check(native.cribo_set_default_threads(natural("threads", threads)))


def memory_available() -> int:
    """The bytes of memory that the system and the process's control groups have available; 0: not known."""
    number: int = native.cribo_memory_available()
    return number


def random_uniform(seed: int, stream: int, index: int, count: int) -> np.ndarray:
    """`count` numbers in [0, 1), a pure function of (seed, stream, index): float64 [count]."""
    values = np.empty(natural("count", count), np.float64)
    key = [natural(name, value) for name, value in (("seed", seed), ("stream", stream), ("index", index))]
    check(native.cribo_random_uniform(*key, len(values), values.ctypes.data))
    return values
