"""Pickles that are read only to be shown, so that nothing in them comes to life.

Owns what stands for objects whose making would run code of somebody's: what a lost task was called with may be what
ended its worker, and must not do the same to whoever tells of it.
"""

from __future__ import annotations

from _pickle import Unpickler
from io import BytesIO
from reprlib import recursive_repr

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Self

__all__ = ["loads"]

# A longer pickle is not read at all.
_MOST_BYTES = 16 << 10
# What is harmless to make, and says more than a stand-in.
_HARMLESS = {
    "builtins": {"complex", "frozenset", "range", "set", "slice"},
    "collections": {"Counter", "OrderedDict", "deque"},
    "datetime": {"date", "datetime", "time", "timedelta", "timezone"},
    "decimal": {"Decimal"},
    "fractions": {"Fraction"},
    "pathlib": {"PosixPath", "PurePosixPath"},
    "uuid": {"UUID"},
    "numpy": {"dtype", "ndarray"},
    "numpy.core.multiarray": {"_reconstruct", "scalar"},
    "numpy._core.multiarray": {"_reconstruct", "scalar"},
    "numpy._core.numeric": {"_frombuffer"},
    "numpy.core.numeric": {"_frombuffer"},
}


class _Named(type):
    """The type of what stands for classes and functions: it shows as its name."""

    def __repr__(cls) -> str:
        return cls.__name__


class _StandIn(metaclass=_Named):
    """Stands for an object that was not made: it knows only its class's name, and what it was to be made from."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        self = object.__new__(cls)
        self.__dict__["parts"] = [repr(one) for one in args] + [f"{name}={one!r}" for name, one in kwargs.items()]
        return self

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        self.__dict__["state"] = state

    def append(self, item: Any) -> None:
        """A subclass of `list` is given its items like this, and one of `set` or `dict` by the two below."""

    def add(self, item: Any) -> None: ...

    def __setitem__(self, key: Any, item: Any) -> None: ...

    @recursive_repr()
    def __repr__(self) -> str:
        state = self.__dict__.get("state")
        named = [f"{name}={one!r}" for name, one in state.items()] if type(state) is dict else []
        return f"{type(self).__name__}({', '.join([*self.__dict__['parts'], *named])})"


class _Long:
    def __init__(self, length: int) -> None:
        self.length = length

    def __repr__(self) -> str:
        from paceline.errors import shown_bytes

        return f"<{shown_bytes(self.length)}>"


class _Elsewhere:
    """Stands for an array whose elements lie elsewhere."""

    def __init__(self, buffer: object, dtype: Any, shape: Any, order: object) -> None:  # noqa: ARG002 - as numpy calls it.
        self.text = f"<array of {dtype}, shape {shape}>"

    def __repr__(self) -> str:
        return self.text


class _Reader(Unpickler):
    has_buffers = False

    def find_class(self, module: str, name: str) -> Any:
        if name == "_frombuffer" and self.has_buffers:
            return _Elsewhere
        if name in _HARMLESS.get(module, ()):
            return super().find_class(module, name)
        if (module, name) == ("paceline.pickling", "_raise_not_picklable"):
            return _NotSent
        if module == "paceline.classes":
            return _class_that_comes_by_value
        return _class_named(name.rpartition(".")[2])


class _NotSent:
    """Stands for what could not be pickled, and was not sent."""

    def __init__(self, message: str) -> None:
        """As what is sent in its place is made."""

    def __iter__(self) -> Any:
        yield self

    def __repr__(self) -> str:
        return "<what cannot be pickled>"


def _class_named(name: str) -> type:
    return _Named(name, (_StandIn,), {})


def _class_that_comes_by_value(*parts: Any) -> type:
    """For what `paceline.classes` puts in the place of a class of the program's."""
    if len(parts) == 1 and type(parts[0]) is int:
        from paceline.classes import name_of_definition

        return _class_named(name_of_definition(parts[0]))
    # What makes the class is told its name behind its metaclass.
    made_from = parts[-1] if parts and type(parts[-1]) is tuple else ()
    name = made_from[1] if len(made_from) > 1 else None
    return _class_named(name if isinstance(name, str) else "object")


def loads(data: bytes | memoryview, *, buffers: list[int] | None = None) -> Any:
    """What a pickle holds, where that is harmless, and stand-ins for everything else.

    >>> import pickle
    >>> from argparse import Namespace
    >>> loads(pickle.dumps((1, Namespace(x=2))))
    (1, Namespace(x=2))

    Of buffers that lie elsewhere, `buffers` has the lengths in bytes. Raises what unpickling raises.
    """
    if len(data) > _MOST_BYTES:
        return _Long(len(data))
    lengths = buffers or []
    reader = _Reader(BytesIO(data), buffers=[_Long(length) for length in lengths])
    reader.has_buffers = bool(lengths)
    return reader.load()
