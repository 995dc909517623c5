"""Arrays in and out: checks of dtype and shape, and addresses for the library."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Array = Any  # a NumPy array, or anything with __array_interface__ or __dlpack__, or a list of numbers
Wanted = Any  # an output: True, False, or an array to write into
Found = Any  # an array, or None where it was not wanted

FLAGS = (np.uint8, np.bool_)


def natural(name: str, value: Any) -> int:
    """A whole number of 64 bits, not negative."""
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be a whole number, not {type(value).__name__}") from None
    if not 0 <= number < 2**64:
        raise ValueError(f"{name} = {number} must be in 0 ... 2^64 - 1")
    return number


# ---- Any object as an array ----------------------------------------------------------------------


def resolved(value: Any, writable: bool) -> Any:
    """A PyTorch tensor without pending negation and conjugation, which DLPack does not show."""
    for pending, resolve in (("is_neg", "resolve_neg"), ("is_conj", "resolve_conj")):
        if hasattr(value, pending) and hasattr(value, resolve) and getattr(value, pending)():
            if writable:
                raise TypeError(
                    f"its {pending}() is True, so its memory holds other values; use a new tensor"
                )
            value = getattr(value, resolve)()
    return value


def exchange(value: Any, writable: bool) -> np.ndarray:
    """An array over the memory of an object with __dlpack__. Where an older NumPy does not know its dtype or
    makes the array read-only, the array that its __array__ gives."""
    value = resolved(value, writable)
    try:
        array = np.from_dlpack(value)
    except Exception:
        if not hasattr(value, "__array__"):
            raise
    else:
        if array.flags.writeable or not writable or not hasattr(value, "__array__"):
            return array
    shared = np.asarray(value)
    if writable and not np.shares_memory(shared, np.asarray(value)):
        raise TypeError("its memory is not shared, only copied")
    return shared


def view(name: str, value: Any, writable: bool = False) -> np.ndarray:
    """`value` as an array; only lists are copied."""
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{name} is a masked array, whose mask would be lost: use its filled()")
    if isinstance(value, np.ndarray):
        return value
    try:
        if hasattr(value, "__dlpack__") and not hasattr(value, "__array_interface__"):
            return exchange(value, writable)
        return np.asarray(value)
    except Exception as error:
        raise TypeError(f"{name}: {type(value).__name__} cannot be used as an array: {error}") from error


# ---- Checks --------------------------------------------------------------------------------------


def spoken(shape: Sequence[Any]) -> str:
    """A shape for a message."""
    return "[" + ", ".join(str(axis) for axis in shape) + "]"


def expect(name: str, array: np.ndarray, dtypes: Sequence[Any], shape: Sequence[Any]) -> None:
    """Checks dtype and shape; an axis is its length, or a letter where any length will do."""
    if array.dtype not in dtypes:
        names = " or ".join(np.dtype(dtype).name for dtype in dtypes)
        raise TypeError(f"{name} has dtype {array.dtype}, but {names} is expected")
    fits = array.ndim == len(shape) and all(isinstance(n, str) or m == n for m, n in zip(array.shape, shape))
    if not fits:
        raise ValueError(f"{name} has shape {spoken(array.shape)}, but {spoken(shape)} is expected")


def whole_numbers(name: str, array: np.ndarray, dtype: Any) -> np.ndarray:
    """Whole numbers of any integer dtype in the expected one, where all of them fit."""
    limits = np.iinfo(dtype)
    if array.size and not limits.min <= int(array.min()) <= int(array.max()) <= limits.max:
        raise ValueError(f"{name} has {array.min()} ... {array.max()}, but {limits.dtype} is expected")
    return array.astype(dtype)


def converted(name: str, value: Array, array: np.ndarray, dtype: Any) -> np.ndarray:
    """Lists of numbers, and whole numbers of another integer dtype, in the expected dtype."""
    kind = np.dtype(dtype).kind
    if kind == "i" and array.dtype.kind in "iu" and array.dtype != dtype:
        return whole_numbers(name, array, dtype)
    listed = isinstance(value, (list, tuple))
    return (
        array.astype(dtype)
        if listed and (not array.size or np.can_cast(array.dtype, dtype, "same_kind"))
        else array
    )


def is_aligned(array: np.ndarray) -> bool:
    """Whether the library may read and write the array's elements in place."""
    alignment = 8 if array.dtype.names else array.dtype.alignment
    return bool(array.ctypes.data % alignment == 0)


# ---- Inputs and outputs --------------------------------------------------------------------------


def input_array(name: str, value: Array, dtype: Any, shape: Sequence[Any]) -> np.ndarray:
    """An array to read: the caller's own memory where it is contiguous and aligned, else a copy."""
    dtypes = dtype if isinstance(dtype, tuple) else (dtype,)
    array = converted(name, value, view(name, value), dtypes[0])
    expect(name, array, dtypes, shape)
    array = np.ascontiguousarray(array)
    return array if is_aligned(array) else array.copy()


def optional_array(name: str, value: Array | None, dtype: Any, shape: Sequence[Any]) -> np.ndarray | None:
    """An array to read, or None."""
    return None if value is None else input_array(name, value, dtype, shape)


def output_array(name: str, wanted: Wanted, dtype: Any, shape: Sequence[int]) -> np.ndarray | None:
    """An array to write into: a new one, the caller's, or none."""
    if wanted is False or wanted is None:
        return None
    if wanted is True:
        return np.empty(shape, np.bool_ if dtype is FLAGS else dtype)
    array = view(name, wanted, writable=True)
    expect(name, array, dtype if isinstance(dtype, tuple) else (dtype,), shape)
    for holds, adjective in (
        (array.flags.c_contiguous, "contiguous"),
        (array.flags.writeable, "writable"),
        (is_aligned(array), "aligned"),
    ):
        if not holds:
            raise ValueError(f"{name} must be {adjective} to be written into")
    return array


def apart(inputs: Mapping[str, np.ndarray | None], outputs: Mapping[str, np.ndarray | None]) -> None:
    """Checks that no output shares memory with an input or with another output. All are contiguous, so their
    bounds decide."""
    written = [(name, array) for name, array in outputs.items() if array is not None and array.size]
    read = [(name, array) for name, array in inputs.items() if array is not None and array.size]
    for i, (name, array) in enumerate(written):
        for other, memory in read + written[:i]:
            if np.may_share_memory(array, memory):
                raise ValueError(f"{name} must not overlap {other}")


def address(array: np.ndarray | None) -> int | None:
    """The address range of an array's elements."""
    return None if array is None else array.ctypes.data
