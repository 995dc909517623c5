"""The settings of handles, as the library's tables describe them."""

from __future__ import annotations

import ctypes
import numbers
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, Callable, NamedTuple, TypeVar

import numpy as np

from .declarations import STRUCTURES
from .library import check, native, text_bytes

C = TypeVar("C", bound=type)


class Setting(NamedTuple):
    """One setting of a handle, as the library describes it."""

    name: str
    help: str
    integer: bool
    minimum: float
    maximum: float
    initial: float


def settings(kind: str) -> list[Setting]:
    """The settings of "model", "clusterer", "memory_bank", "loss", "probe", "objective" or "trainer"."""
    describe = getattr(native, f"cribo_{kind}_config_setting")
    found: list[Setting] = []
    entry = STRUCTURES["cribo_setting"]()
    while describe(len(found), ctypes.byref(entry)) == 0:
        limits = entry.minimum, entry.maximum, entry.initial
        found.append(Setting(entry.name.decode(), entry.help.decode(), bool(entry.integer), *limits))
    return found


def with_settings(kind: str) -> Callable[[C], C]:
    """Appends the settings of `kind` to the documentation of a class, for help()."""

    def documented(cls: C) -> C:
        lines = [f"{s.name} ({s.initial:.10g}): {s.help}" for s in settings(kind)]
        wrapped = (
            textwrap.fill(line, 100, initial_indent="    ", subsequent_indent="        ") for line in lines
        )
        cls.__doc__ = f"{cls.__doc__}\n\n    Settings and their defaults:\n\n" + "\n".join(wrapped) + "\n"
        return cls

    return documented


def setting_text(name: str, value: Any) -> bytes:
    """A number, or the name of one of several choices."""
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, (numbers.Integral, np.bool_)):
        return str(int(value)).encode()
    if isinstance(value, numbers.Real):
        return repr(float(value)).encode()
    raise TypeError(f"{name} must be a number or a name, not {type(value).__name__}")


def setting_number(name: str, value: Any) -> float:
    """A number, or the number of one of several choices."""
    if isinstance(value, (numbers.Real, np.bool_)):
        return float(value)
    choice, number = text_bytes("name", name), 0
    while isinstance(value, str) and (text := native.cribo_setting_choice(choice, number)) is not None:
        if text == value.encode():
            return float(number)
        number += 1
    raise TypeError(f"{name} must be a number or the name of a choice, not {value!r}")


def config_of(kind: str, presets: Sequence[str], values: Mapping[str, Any]) -> Any:
    """A config struct with the defaults, then presets, then settings by name."""
    structure = STRUCTURES[f"cribo_{kind}_config"]
    config = structure()
    check(getattr(native, f"cribo_{kind}_config_init")(ctypes.byref(config), ctypes.sizeof(structure)))
    for preset in presets:
        apply = getattr(native, f"cribo_{kind}_config_preset")
        check(apply(ctypes.byref(config), text_bytes("preset", preset)))
    assign = getattr(native, f"cribo_{kind}_config_set")
    for name, value in values.items():
        check(assign(ctypes.byref(config), text_bytes("name", name), setting_text(name, value)))
    return config


def config_values(config: Any) -> dict[str, Any]:
    """The members of a config struct by name."""
    return {name: getattr(config, name) for name, _ in config._fields_ if name != "struct_size"}
