"""The exceptions for the library's statuses."""

from __future__ import annotations

import errno


class Error(Exception):
    """A call of the library failed; the text is the library's message."""

    status = 0


class InvalidArgument(Error, ValueError):
    """An argument is out of range, not finite or of the wrong size."""

    status = 1


class OutOfMemory(Error, MemoryError):
    """There is not enough memory."""

    status = 2


class IOError_(Error, OSError):
    """The system refused to open, read, write, flush or rename a file."""

    status = 3


class Corrupt(Error, ValueError):
    """The content of a file breaks its format."""

    status = 4


class NotFinite(Error, ArithmeticError):
    """A loss or a gradient became infinite or NaN; no state was changed."""

    status = 5


class Cancelled(Error):
    """The progress callback cancelled the call; no state was changed."""

    status = 6


class WrongState(Error, RuntimeError):
    """The call is out of turn, or the handle is closed or in use by another thread."""

    status = 7


class SystemError_(Error, OSError):
    """The system refused a resource other than memory or a file."""

    status = 8


class TimedOut(Error, TimeoutError):
    """Another rank did not answer within the communicator's deadline."""

    status = 9


ERRORS = {cls.status: cls for cls in Error.__subclasses__()}


class FileNotFound(IOError_, FileNotFoundError):
    """A file or a folder does not exist."""


class PermissionDenied(IOError_, PermissionError):
    """The system does not permit the use of a file."""


class NotADirectory(IOError_, NotADirectoryError):
    """A part of a path is not a folder."""


IO_ERRORS: dict[int, type[IOError_]] = {
    errno.ENOENT: FileNotFound,
    errno.EACCES: PermissionDenied,
    errno.EPERM: PermissionDenied,
    errno.ENOTDIR: NotADirectory,
}


def error_of(status: int, message: str, number: int) -> Error:
    """The exception of a status; `number` is the errno of the system's refusal, or 0."""
    kind = ERRORS.get(status, Error)
    error = (IO_ERRORS.get(number, kind) if kind is IOError_ else kind)(message)
    if isinstance(error, OSError) and number:
        error.errno = number
    return error
