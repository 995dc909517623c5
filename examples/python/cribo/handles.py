"""The base class of all handles of the library."""

from __future__ import annotations

import contextlib
import ctypes
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Callable, NamedTuple, TypeVar

from .callbacks import Hooks, Log, Progress
from .communicator import Communicator
from .configs import config_of, config_values, setting_number
from .errors import WrongState
from .library import check, native, new, text_bytes

H = TypeVar("H", bound="Handle")


class Sizes(NamedTuple):
    """The sizes of a handle; what it does not have is 0. See cribo_sizes in base.h."""

    images: int  # B, at most
    tokens: int  # N
    width: int  # D
    attention_heads: int
    clusters: int  # K
    prototypes: int
    object_prototypes: int
    parameters: int  # named arrays
    parameter_numbers: int
    largest_parameter: int
    bank_capacity: int
    bank_images: int
    bank_objects: int
    target_images: int  # of the latest teach
    target_objects: int


class Handle:
    """A handle of the library, used by one thread at a time. A borrowed handle is part of another one, and
    ends with it."""

    _kind = ""
    settings: Any  # with which the handle works, by name: a dictionary, typed by the classes

    def __init__(
        self,
        values: Mapping[str, Any],
        threads: int,
        log: Log | None,
        progress: Progress | None,
        sizes: Sequence[int] = (),
        presets: Sequence[str] = (),
        communicator: Communicator | None = None,
    ):
        config = config_of(self._kind, presets, values)
        self._hooks = Hooks(threads, log, progress)
        self._communicator = communicator  # lives as long as the handle
        function, more = f"cribo_{self._kind}_create", list[Any](sizes)
        if communicator:
            function, more = f"{function}_distributed", [*more, ctypes.byref(communicator.struct())]
        self._create(function, ctypes.byref(config), *more)
        self._read_settings()

    @classmethod
    def _memory(
        cls, values: Mapping[str, Any], threads: int, sizes: Sequence[int] = (), presets: Sequence[str] = ()
    ) -> int:
        """The most bytes at once that a handle with these settings takes from the allocator."""
        config, count = config_of(cls._kind, presets, values), ctypes.c_int64()
        runtime = ctypes.byref(Hooks(threads, None, None).runtime)
        measure = getattr(native, f"cribo_{cls._kind}_memory")
        check(measure(ctypes.byref(config), runtime, *sizes, ctypes.byref(count)))
        return count.value

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
        handle._lock, handle._hooks = owner._lock, owner._hooks
        handle._read_settings()
        return handle

    def _read_settings(self) -> None:
        config = new(f"cribo_{self._kind}_config")
        check(getattr(native, f"cribo_{self._kind}_get_config")(self._pointer, ctypes.byref(config)))
        self.settings = config_values(config)

    def _sizes(self) -> Sizes:
        with self._use() as invoke:
            sizes = new("cribo_sizes")
            invoke("sizes", ctypes.byref(sizes))
        return Sizes._make(getattr(sizes, name) for name in Sizes._fields)

    def _set(self, values: Mapping[str, Any]) -> None:
        """Changes settings, all or none of them."""
        wanted = {name: setting_number(name, value) for name, value in values.items()}
        done: list[str] = []
        with self._use() as invoke:
            try:
                for name, value in wanted.items():
                    invoke("set_setting", text_bytes("name", name), value)
                    done.append(name)
            except Exception:
                for name in reversed(done):
                    invoke("set_setting", text_bytes("name", name), self.settings[name])
                raise
            self._read_settings()

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
