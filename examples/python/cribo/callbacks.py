"""The program's callbacks: log and progress, signals during a call, and exceptions in either."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found] # the functions of `signal` without its slow enums
import contextlib
import ctypes
import signal
from collections.abc import Iterator
from types import FrameType
from typing import Any, Callable

from .arrays import natural
from .declarations import STRUCTURES
from .library import check, native

Log = Callable[[int, str], object]  # (level, message)
Progress = Callable[[str, float], object]  # (phase, share done): a true result cancels the call
Handler = Callable[[int, Any], object]

LOG_CALLBACK = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p)
PROGRESS_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_double)
SIGNALS = sorted(map(int, signal.valid_signals()))


class Signals:
    """Python's signal handlers during a call of the library.

    Python may run a handler as a callback is entered, before its `try`; ctypes then drops the handler's
    exception (KeyboardInterrupt, say). Therefore each handler is replaced for the time of a call. The
    replacement runs the handler at once where exceptions are caught (`caught` is True). Elsewhere it keeps
    the signal, and the next callback or the end of the call runs the handler. Python runs handlers in the
    main thread only, so a call in another thread replaces none."""

    def __init__(self) -> None:
        self.caught = False
        self._handlers: dict[int, Handler] = {}
        self._kept: dict[int, tuple[Handler, FrameType | None]] = {}

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._kept[number] = self._handlers[number], frame
        if self.caught:
            self.run_kept()

    def run_kept(self) -> None:
        """Runs the handlers of kept signals. Once one raises, the callback that it interrupts has ended."""
        caught, self.caught = self.caught, False
        while self._kept:
            number, (handler, frame) = self._kept.popitem()
            try:
                handler(number, frame)
            finally:
                if self._kept:
                    self.run_kept()
        self.caught = caught

    def replace(self) -> None:
        """Replaces the handlers; restores them if one raises meanwhile."""
        try:
            for number in SIGNALS:
                handler = _signal.getsignal(number)
                if callable(handler):
                    self._handlers[number] = handler
                    _signal.signal(number, self._on_signal)
        except ValueError:
            self._handlers.clear()  # not the main thread
        except BaseException:
            self.restore()
            raise

    def restore(self) -> None:
        """Restores the handlers, but for those that were changed during the call. A handler that is back may
        raise at any point, and the others are restored all the same."""
        try:
            for number, handler in list(self._handlers.items()):
                if _signal.getsignal(number) == self._on_signal:
                    _signal.signal(number, handler)
                del self._handlers[number]
        finally:
            if self._handlers:
                self.restore()


class Hooks:
    """The runtime of a handle. An exception in a callback is kept, cancels the call at the next question for
    progress, and is raised again when the call has returned. The library asks for progress even where the
    program has no callback, so that a signal's handler can end a long call."""

    def __init__(self, threads: int, log: Log | None, progress: Progress | None):
        self.log, self.progress = log, progress
        self.raised: BaseException | None = None
        self._signals = Signals()
        self._callbacks = (LOG_CALLBACK(self.on_log), PROGRESS_CALLBACK(self.on_progress))
        self.runtime = STRUCTURES["cribo_runtime"]()
        check(native.cribo_runtime_init(ctypes.byref(self.runtime), ctypes.sizeof(self.runtime)))
        self.runtime.threads = natural("threads", threads)
        self.runtime.progress = ctypes.cast(self._callbacks[1], ctypes.c_void_p)
        if log:
            self.runtime.log = ctypes.cast(self._callbacks[0], ctypes.c_void_p)

    def guarded(self, callback: Callable[[], object]) -> object:
        """The result of a callback, or True where it or a signal's handler raises."""
        try:
            try:
                self._signals.caught = True
                self._signals.run_kept()
                return callback()
            finally:
                self._signals.caught = False
        except BaseException as error:
            self.raised = self.raised or error
            return True

    def on_log(self, _user: Any, level: int, message: bytes) -> None:
        """Passes a message on."""
        log = self.log
        if log:
            self.guarded(lambda: log(level, message.decode(errors="replace")))

    def on_progress(self, _user: Any, phase: bytes, share: float) -> int:
        """1 ends the call."""
        progress = self.progress
        answer = self.guarded(lambda: progress(phase.decode(), share) if progress else None)
        return 1 if self.raised or answer else 0

    @contextlib.contextmanager
    def signals_kept(self) -> Iterator[None]:
        """Holds signals back from callbacks; their handlers run at the end at the latest."""
        try:
            self._signals.replace()
            yield
        finally:
            try:
                self._signals.restore()
            finally:
                self._signals.run_kept()

    def check(self, status: int) -> None:
        """Raises the exception of a callback, or that of the status."""
        raised, self.raised = self.raised, None
        if raised:
            raise raised
        check(status)

    def call(self, function: Callable[..., int], *arguments: Any) -> None:
        """Calls a function of the library, with signals kept."""
        self.raised = None
        self.check(function(*arguments))
