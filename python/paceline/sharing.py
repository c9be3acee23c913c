"""`share` and `empty`: objects that are sent once for many calls, and arrays that all workers write to.

Owns what users hold of them. Where the memory is, and how a worker finds it, is the native module's affair.
"""

from __future__ import annotations

import sys
from math import prod
from operator import index
from typing import Generic, TypeVar

from paceline.elsewhere import collector
from paceline.engine import SharedMemory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any

    import numpy as np

T = TypeVar("T")

__all__ = ["Shared", "empty", "share"]


def share(obj: T) -> Shared[T]:
    """Puts an object into shared memory once, for any number of calls; the handle stands for it in their arguments.

    >>> import paceline
    >>> words = paceline.share({"one": 1, "two": 2})
    >>> with paceline.Pool(2) as pool:
    ...     print(pool.starmap(dict.get, [(words, "one"), (words, "two")]))
    [1, 2]

    A function is given the object itself wherever the handle is among its arguments, also inside of others: in a
    worker, mapped and not copied; on threads (in tuples, lists and dicts), the object that was shared. Handles cost no
    more to send than a number, whatever the object's size, and calls with them may go to any pool of this process. On a
    cluster, the first call puts the object into the cluster's own store, and each host that needs it lays it out once.

    Each worker maps the object once. Arrays in it that lie in one piece may be written to: what a task writes there is
    its own, and is taken back when it ends, so that every task finds the array as it was. (A coroutine function, of
    whose calls several are under way, should not.) Other large objects, of more than 16 KiB without their arrays, are
    unpickled once in each worker, and a task should not change them. The object in this process is left as it is, and
    may be changed: that does not change what is shared.

    The memory is given back when nobody holds the handle any more, `release` was called, or a `with` block of it was
    left, and no call that was submitted needs it. Raises `ArgumentNotPicklable` for what cannot be pickled, and
    `MemoryError` where there is not enough memory.
    """
    return Shared(obj)


class Shared(Generic[T]):
    """Stands for an object in shared memory; see `share`.

    >>> from paceline import share
    >>> with share([1, 2, 3]) as numbers:
    ...     print(numbers, numbers.get())
    <paceline.Shared list, 22 bytes> [1, 2, 3]
    """

    __slots__ = ("__weakref__", "_memory", "_object")

    def __init__(self, obj: T) -> None:
        self._memory = SharedMemory.holding(obj)
        self._object: tuple[T] | None = (obj,)

    def get(self) -> T:
        """The object, in this process. Raises `ValueError` after `release`."""
        if self._object is None:
            raise ValueError("the shared object has been released")
        return self._object[0]

    def _as_shared(self) -> Any:
        """The object as it was when it was shared, over that memory. Raises `ValueError` after `release`."""
        return self._memory.open()

    @property
    def nbytes(self) -> int:
        """How many bytes it has in shared memory."""
        return self._memory.nbytes

    def release(self) -> None:
        """Gives the memory back as soon as no call that was submitted needs it; no other can be given it."""
        self._object = None
        self._memory.release()
        if (shares := sys.modules.get("paceline.clusters.shares")) is not None:
            shares.released(self)

    def __enter__(self) -> Shared[T]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def __reduce__(self) -> Any:
        if self._object is not None and (collect := collector()) is not None:
            # Other hosts find it in the store of their cluster.
            return collect(self)
        # The object itself, for whoever unpickles it.
        return self._memory.__reduce__()

    def __copy__(self) -> Shared[T]:
        return self

    def __deepcopy__(self, memo: object) -> Shared[T]:
        return self

    def __repr__(self) -> str:
        what = "released" if self._object is None else type(self._object[0]).__name__
        return f"<paceline.Shared {what}, {self.nbytes:,} bytes>"


def empty(shape: int | tuple[int, ...], dtype: Any = float) -> np.ndarray[Any, Any]:
    """A numpy array of zeros in shared memory, which this process and all workers that are given it write to directly.

    >>> import paceline
    >>> def fill(row, value):
    ...     row[:] = value
    >>> table = paceline.empty((2, 3), int)
    >>> with paceline.Pool(2) as pool:
    ...     nothing = pool.starmap(fill, [(table[0], 1), (table[1], 2)])
    >>> print(table)
    [[1 1 1]
     [2 2 2]]

    `shape` and `dtype` are those of `numpy.empty`; objects (`dtype=object`) have no place there. Given to a call, the
    array is not copied, and neither are its parts and views: `array[3]`, `array[:, 10:20]`, `array.T`. Nobody orders
    what several calls write to the same place. The memory is given back when nobody has the array or a view of it any
    more. Raises `ValueError` and `TypeError` as numpy does, and `MemoryError` where there is not enough memory.
    """
    import numpy as np

    from paceline.arrays import SharedArray

    kind = np.dtype(dtype)
    if kind.hasobject:
        raise ValueError(f"an array of {kind} cannot be in shared memory: its items are objects of one process")
    lengths = (index(shape),) if not isinstance(shape, (tuple, list)) else tuple(index(length) for length in shape)
    if any(length < 0 for length in lengths):
        raise ValueError(f"negative dimensions are not allowed: {shape}")
    memory = SharedMemory.zeroed(prod(lengths) * kind.itemsize)
    return SharedArray.over(memory, lengths, kind)
