"""The base class of all handles of the library."""

from __future__ import annotations

import contextlib
import ctypes
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Callable, TypeVar

from .callbacks import Hooks, Log, Progress
from .configs import config_of, config_values
from .errors import WrongState
from .library import native

H = TypeVar("H", bound="Handle")


class Handle:
    """A handle of the library, used by one thread at a time. A borrowed handle is part of another one, and
    ends with it."""

    _kind = ""

    def __init__(
        self,
        values: Mapping[str, Any],
        threads: int,
        log: Log | None,
        progress: Progress | None,
        sizes: Sequence[int] = (),
        presets: Sequence[str] = (),
    ):
        config = config_of(self._kind, presets, values)
        self.settings: dict[str, Any] = config_values(config)
        self._hooks = Hooks(threads, log, progress)
        self._create(f"cribo_{self._kind}_create", ctypes.byref(config), *sizes)

    def _create(self, function: str, source: Any, *more: Any) -> None:
        """Makes the handle from its config, or from another handle. An exception after that frees it."""
        self._pointer: int | None = None
        self._owner: Handle | None = None  # the handle of which this one is a part
        self._lock = threading.Lock()
        created, runtime = ctypes.c_void_p(), ctypes.byref(self._hooks.runtime)
        with self._hooks.signals_kept():
            try:
                self._hooks.call(getattr(native, function), ctypes.byref(created), source, runtime, *more)
            finally:
                self._pointer = created.value

    @classmethod
    def _borrowed(cls: type[H], owner: Handle, pointer: int) -> H:
        handle = cls.__new__(cls)
        handle._pointer, handle._owner = pointer, owner
        handle._lock, handle._hooks, handle.settings = owner._lock, owner._hooks, owner.settings
        return handle

    @contextlib.contextmanager
    def _use(self) -> Iterator[Callable[..., None]]:
        """Holds the handle for the calls of one method."""
        if self._lock.locked():
            raise self._in_use()
        with self._hooks.signals_kept():
            if not self._lock.acquire(blocking=False):
                raise self._in_use()
            try:
                if not self._pointer or (self._owner and not self._owner._pointer):
                    raise WrongState(f"the {self._kind} is closed")
                yield self._call
            finally:
                self._lock.release()

    def _in_use(self) -> WrongState:
        return WrongState(
            f"the {self._kind} is in use: by another thread, or by the call that made this callback"
        )

    def _call(self, verb: str, *arguments: Any) -> None:
        self._hooks.call(getattr(native, f"cribo_{self._kind}_{verb}"), self._pointer, *arguments)

    def close(self) -> None:
        """Frees the memory of the handle; a second call does nothing. Its parts cannot be used afterwards."""
        if self._owner or not self._pointer:
            return
        with self._use():
            pointer, self._pointer = self._pointer, None
            getattr(native, f"cribo_{self._kind}_free")(pointer)

    def __enter__(self: H) -> H:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_pointer", None):
            self.close()

    def __reduce_ex__(self, _protocol: Any) -> Any:
        """Copies and pickles are refused: they would be a second owner of the library's handle."""
        raise TypeError(f"a {type(self).__name__} can be neither copied nor pickled")
