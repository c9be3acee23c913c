"""Arrays of numpy whose memory is shared: what is pickled of them is where they are, and not what is in them.

Owns how such an array and its views are told apart from what is computed of them, which is an array like any other.
"""

from __future__ import annotations

import numpy as np

from paceline.elsewhere import collector
from paceline.engine import is_answering

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeAlias

    from paceline.engine import OpenMemory, SharedMemory

    Memory: TypeAlias = SharedMemory | OpenMemory

__all__ = ["SharedArray"]


class SharedArray(np.ndarray):
    """An array over shared memory, or a view of one; see `paceline.empty`."""

    _memory: Memory | None = None

    @classmethod
    def over(
        cls,
        memory: Memory,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        offset: int = 0,
        strides: tuple[int, ...] | None = None,
    ) -> SharedArray:
        """The array that lies in `memory`, `offset` bytes from its beginning."""
        # An array without items needs no memory, and the system gives none.
        buffer = memoryview(memory) if memory.nbytes else None
        array = cls.__new__(cls, shape, dtype, buffer, offset, strides)
        array._memory = memory  # noqa: SLF001 - it is of this class.
        return array

    def __array_finalize__(self, source: Any) -> None:
        # What owns its data is a copy.
        self._memory = None if self.flags.owndata else getattr(source, "_memory", None)

    def __array_wrap__(self, array: Any, context: Any = None, return_scalar: bool = False) -> Any:
        # What is computed of it is no part of it, unless it was told to be written there.
        if array is self:
            return array
        return array[()] if array.ndim == 0 else array.view(np.ndarray)

    def __reduce_ex__(self, protocol: Any) -> Any:
        memory = self._memory
        # Nobody keeps the memory until a result is read, so results are of their own.
        if memory is not None and self.size and not is_answering():
            offset = self.__array_interface__["data"][0] - memory.address
            steps = [(length - 1) * stride for length, stride in zip(self.shape, self.strides, strict=True)]
            first = offset + sum(min(step, 0) for step in steps)
            last = offset + sum(max(step, 0) for step in steps)
            if first >= 0 and last + self.itemsize <= memory.nbytes:
                if collector() is not None:
                    raise TypeError(
                        "an array of `paceline.empty` is memory of this host, and nobody on another can write to it; "
                        "return what is to be written, or hand over a copy of the array"
                    )
                return SharedArray.over, (memory, self.shape, self.dtype, offset, self.strides)
        return self.view(np.ndarray).__reduce_ex__(protocol)
