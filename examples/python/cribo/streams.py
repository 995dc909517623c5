"""Files as arguments: paths, or file objects through callbacks."""

from __future__ import annotations

import ctypes
import errno
import os
from typing import IO, Any, Union

from .callbacks import Hooks
from .library import new, path_bytes

File = Union[str, "os.PathLike[str]", IO[bytes]]  # a path, or an open binary file such as io.BytesIO

WRITE_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
READ_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_void_p, ctypes.c_size_t
)


def memory_at(address: int, count: int) -> memoryview:
    """The library's bytes at an address."""
    return memoryview((ctypes.c_char * count).from_address(address)).cast("B")


def is_path(file: Any, method: str) -> bool:
    """Whether it is a path; other objects than files count as paths, which the system refuses."""
    return isinstance(file, (str, bytes, os.PathLike)) or not hasattr(file, method)


class Target:
    """Where a call of the library writes. It must live until the call has returned."""

    def __init__(self, hooks: Hooks, file: Any):
        self._hooks = hooks
        self._file = file
        self.is_path = is_path(file, "write")
        if self.is_path:
            self.argument: Any = path_bytes(self._file)
            return
        self._callback = WRITE_CALLBACK(self._on_write)
        self._writer = new("cribo_writer", write=ctypes.cast(self._callback, ctypes.c_void_p))
        self.argument = ctypes.byref(self._writer)

    def verb(self, to_path: str, to_writer: str | None = None) -> str:
        """The function for this kind of target: its name, without the handle's."""
        return to_path if self.is_path else to_writer or f"{to_path}_to"

    def _on_write(self, _user: Any, address: int, count: int) -> int:
        self._hooks.guarded(lambda: self._write(memory_at(address, count)))
        return errno.EIO if self._hooks.raised else 0

    def _write(self, rest: memoryview) -> None:
        while rest:
            written = self._file.write(rest)
            rest = rest[len(rest) if written is None else written :]


class Source:
    """Where a call of the library reads: of a file object, from its position on. It must live until the call
    has returned."""

    def __init__(self, hooks: Hooks, file: Any):
        self._hooks = hooks
        self._file = file
        self.is_path = is_path(file, "read")
        if self.is_path:
            self.argument: Any = path_bytes(self._file)
            return
        self._begin = self._file.tell()
        size = max(0, self._file.seek(0, os.SEEK_END) - self._begin)
        self._file.seek(self._begin)
        self._callback = READ_CALLBACK(self._on_read)
        self._reader = new("cribo_reader", read=ctypes.cast(self._callback, ctypes.c_void_p), size=size)
        self.argument = ctypes.byref(self._reader)

    def verb(self, from_path: str, from_reader: str | None = None) -> str:
        """The function for this kind of source: its name, without the handle's."""
        return from_path if self.is_path else from_reader or f"{from_path}_from"

    def rewind(self) -> None:
        """Back to the position at which the file object was given, for a second call."""
        if not self.is_path:
            self._file.seek(self._begin)

    def _on_read(self, _user: Any, offset: int, address: int, count: int) -> int:
        self._hooks.guarded(lambda: self._read(offset, memory_at(address, count)))
        return errno.EIO if self._hooks.raised else 0

    def _read(self, offset: int, rest: memoryview) -> None:
        self._file.seek(self._begin + offset)
        while rest:
            piece = self._file.read(len(rest))
            if not piece:
                raise EOFError("the file has become shorter while it was read")
            rest[: len(piece)] = piece
            rest = rest[len(piece) :]
