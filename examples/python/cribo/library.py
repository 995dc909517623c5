"""Finds and opens the shared library, and passes it structs, strings and paths."""

from __future__ import annotations

import ctypes
import ctypes.util
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Union

from .declarations import FUNCTIONS, STRUCTURES, VERSION
from .errors import error_of

PathLike = Union[str, "os.PathLike[str]"]
FILE_NAMES = ("libcribo.so.0", "libcribo.so", "libcribo.so.*", "libcribo.0.dylib", "libcribo.dylib")


def folders() -> Iterator[Path]:
    """The places of the library: beside the package or in it, or in a build folder of the source tree."""
    here = Path(__file__).resolve().parent
    yield from (here.parent, here, here.parent / ".cribo.mesonpy.libs")
    source = here.parents[2]
    if (source / "meson.build").exists():
        yield from sorted(source.glob("build*/lib"))


def candidates() -> Iterator[str]:
    """The files to try: that of CRIBO_LIBRARY alone where it is set; else one of each folder, and the
    system's."""
    chosen = os.environ.get("CRIBO_LIBRARY")
    if chosen:
        yield chosen
        return
    for folder in folders():
        found = [file for pattern in FILE_NAMES for file in sorted(folder.glob(pattern)) if file.is_file()]
        yield str(found[0] if found else folder / FILE_NAMES[0])
    yield ctypes.util.find_library("cribo") or FILE_NAMES[0]


def same_interface(version: str) -> bool:
    """Whether a library of that version has this package's interface: the same major version and, before 1.0,
    the same minor one."""
    ours, theirs = VERSION.split("."), version.split(".")
    return ours[0] == theirs[0] and (ours[0] != "0" or ours[1] == theirs[1])


def opened(file: str) -> Any:
    """A library with the result and parameter types of all its functions."""
    library = ctypes.CDLL(file)
    library.cribo_version.restype = ctypes.c_char_p
    version = library.cribo_version().decode()
    if not same_interface(version):
        raise OSError(f"version {version}, but this package needs {VERSION}")
    for name, (result, parameters) in FUNCTIONS.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, parameters
    return library


def load() -> Any:
    """The first candidate that can be opened."""
    tried = []
    for candidate in candidates():
        try:
            return opened(candidate)
        except (OSError, AttributeError) as error:
            tried.append(f"  {candidate}: {error}")
    places = "\n".join(tried)
    raise ImportError(f"libcribo was not found; set CRIBO_LIBRARY to its file. Looked at:\n{places}")


native = load()


def check(status: int) -> None:
    """Raises the exception of a status, with the message of this thread's latest failure."""
    if status:
        raise error_of(status, native.cribo_last_error().decode(errors="replace"), native.cribo_last_errno())


def new(name: str, **members: Any) -> Any:
    """A struct of the library with its struct_size set."""
    structure = STRUCTURES[name]
    return structure(struct_size=ctypes.sizeof(structure), **members)


def text_bytes(name: str, value: str | bytes) -> bytes:
    """A string for the library, which ends one at its first zero byte."""
    text = value.encode() if isinstance(value, str) else value
    if b"\0" in text:
        raise ValueError(f"{name} = {value!r} has a zero in it")
    return text


def path_bytes(path: PathLike) -> bytes:
    """A path for the library."""
    return text_bytes("path", os.fsencode(path))
