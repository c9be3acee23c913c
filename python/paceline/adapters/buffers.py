"""Large arrays in the arguments of many calls: they are laid out once in memory that all workers map.

Owns the lending of buffers: which lie where, how a worker opens one, and when the memory is given back; and how an
array that is a file already is opened again. What is pickled, and who uses it, is the affair of the adapter that lends.
The memory has no name: a worker opens it through its parent's entry in `/proc`, and it is gone with the last process
that holds it.
"""

from __future__ import annotations

import os
import weakref
from mmap import ACCESS_COPY, ACCESS_READ, ACCESS_WRITE, mmap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pickle import PickleBuffer
    from typing import Any

_ACCESS = {"r": ACCESS_READ, "c": ACCESS_COPY, "r+": ACCESS_WRITE, "w+": ACCESS_WRITE}


class Buffer:
    """A copy of some bytes, open for the workers as long as this object lives."""

    def __init__(self, content: memoryview, mode: str) -> None:
        self._file = os.memfd_create("paceline-array")
        self._length = content.nbytes
        self._mode = mode
        os.truncate(self._file, self._length)
        with mmap(self._file, self._length) as memory:
            memory[:] = content.cast("B")

    def __reduce__(self) -> tuple[Any, ...]:
        return open_buffer, (os.getpid(), self._file, self._length, self._mode)

    def __del__(self) -> None:
        try:
            os.close(self._file)
        except (AttributeError, OSError):  # Nothing was opened.
            pass


def open_buffer(pid: int, number: int, length: int, mode: str) -> mmap:
    """In a worker: the bytes that lie in file `number` of process `pid`."""
    file = os.open(f"/proc/{pid}/fd/{number}", os.O_RDWR if mode in {"r+", "w+"} else os.O_RDONLY)
    try:
        return mmap(file, length, access=_ACCESS[mode])
    finally:
        os.close(file)


class Lending:
    """The buffers of one run of calls. What belongs to an object that is gone is given back when no call needs it."""

    def __init__(self, min_bytes: int, mode: str) -> None:
        self._min_bytes = min_bytes
        self._mode = mode
        self._buffers: dict[tuple[int, int], Buffer] = {}

    def lend(self, buffer: PickleBuffer) -> Buffer | None:
        """The shared copy of what a pickler has come upon; None if it should be part of the pickle."""
        try:
            content = buffer.raw()
        except BufferError:  # It does not lie in one piece.
            return None
        if content.nbytes < max(self._min_bytes, 1):
            return None
        address = _address(content)
        owner = _owner(content.obj)
        if address is None or owner is None:
            return None
        place = (address, content.nbytes)
        lent = self._buffers.get(place)
        if lent is None:
            lent = self._buffers[place] = Buffer(content, self._mode)
            weakref.finalize(owner, self._buffers.pop, place, None).atexit = False
        return lent

    def clear(self) -> None:
        """Nothing that is sent from now on shall find what was lent before."""
        self._buffers.clear()


def _owner(exporter: Any) -> Any:
    """Whose end is the end of the memory; None if that cannot be noticed."""
    base = getattr(exporter, "base", None)
    while base is not None and type(base) is type(exporter):
        exporter, base = base, base.base
    try:
        weakref.ref(exporter)
    except TypeError:
        return None
    return exporter


def _address(content: memoryview) -> int | None:
    interface = getattr(content.obj, "__array_interface__", None)
    return None if interface is None else interface["data"][0]


# -- arrays that are files ---------------------------------------------------------------------------------------------


class MappedFile:
    """Stands for a `numpy.memmap` while it is pickled: the worker maps the same file, instead of getting a copy."""

    def __init__(self, array: Any) -> None:
        self._array = array

    def __reduce__(self) -> tuple[Any, ...]:
        return reduce_mapped_file(self._array)


def reduce_mapped_file(array: Any) -> tuple[Any, ...]:
    """How a `numpy.memmap`, or a view of one, is pickled."""
    whole = array
    while type(whole.base) is type(array):
        whole = whole.base
    if whole.filename is None or whole.base is None or array.dtype.hasobject:
        return array.__reduce__()  # type: ignore[no-any-return]
    # Strides may be negative, so the first element need not be the lowest.
    steps = [(count - 1) * stride for count, stride in zip(array.shape, array.strides, strict=True)]
    below = -sum(step for step in steps if step < 0)
    length = below + sum(step for step in steps if step > 0) + array.itemsize
    first = array.__array_interface__["data"][0] - below
    offset = whole.offset + first - whole.__array_interface__["data"][0]
    # What made the file must not make it anew.
    mode = "r+" if whole.mode == "w+" else whole.mode
    return open_file, (str(whole.filename), mode, offset, length, array.dtype, array.shape, array.strides, below)


def open_file(
    filename: str, mode: Any, offset: int, length: int, dtype: Any, shape: Any, strides: Any, first: int
) -> Any:
    """In a worker: an array that lies in a file."""
    from numpy import memmap, ndarray, uint8

    content = memmap(filename, uint8, mode, offset, (length,))
    return ndarray(shape, dtype, content, first, strides)
