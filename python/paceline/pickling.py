"""How objects become bytes and back, and how failures do.

The native module calls this file when plain `pickle` is not enough. What a function is made of stands in
`paceline.functions`; here are the picklers. The *light* one knows functions by value and imports nothing; only when it
meets what it cannot handle (above all classes by value) does the *full* one take over, which is cloudpickle's with our
functions. So a script of plain functions never waits for cloudpickle to be imported, neither here nor in its workers.

Bytes go *down*, from the user's process to a worker, or *up*, back again, and by-value things mean different things
then. Going down, the definition at home counts, and replaces what the worker knew. Going up, home knows best: a class
that once came from there is sent as a mere reminder which one it was, so that instances return as instances of the
very class, and no returning function or class changes a name or an attribute at home.

This file never decides whether something is run, sent or tried again.
"""

from __future__ import annotations

import _pickle
import sys

from paceline.culprits import name as name_of
from paceline.culprits import one_line, search, type_name
from paceline.functions import (
    FUNCTION,
    LRU_CACHE,
    MODULE,
    by_reference,
    gives_coroutine,
    importable,
    reduce_function,
)
from paceline.functions import strangers as _strangers
from paceline.guard import guard_holds, guard_of
from paceline.reducers import reduce_other

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Literal

    from paceline.failures import Details
    from paceline.guard import Guard

__all__ = [
    "argument_not_rebuilt",
    "dump_argument_fallback",
    "dump_by_value",
    "dump_function",
    "gives_coroutine",
    "guard_holds",
    "pack_exception",
    "pack_unpicklable_result",
    "result_not_rebuilt",
    "strangers",
    "unpack_exception",
]

_PROTOCOL = 5
_MAIN = b"__main__"

# -- functions ---------------------------------------------------------------------------------------------------------


def dump_function(fn: Callable[..., Any]) -> tuple[bytes, Guard | Literal[False] | None]:
    """The bytes of a function, and the guard that tells how long they are good for.

    None: as long as `fn` lives. False: for this one use. Otherwise: while `guard_holds(fn, guard)`.
    """
    stand_in = _STAND_INS.get(type(fn).__module__)
    if stand_in is not None:
        return stand_in(fn)
    if by_reference(fn):
        return _pickle.dumps(fn, _PROTOCOL), None
    if type(fn) is not FUNCTION:
        data = _plain(fn)
        if data is not None:
            return data, None if len(data) < 200 and _pickle.loads(data) is fn else guard_of(fn)
    # The guard comes first: a binding that changes in between makes it fail, not hold.
    guard = guard_of(fn)
    numbers: dict[int, None] = {}
    try:
        data = _dump(fn, downwards=True, numbers=numbers)
    except Exception as error:
        raise _not_picklable(f"the function {name_of(fn)}", fn, error) from error
    if numbers:
        from paceline.classes import with_definitions

        data = with_definitions(data, numbers)
    return data, guard


def _dump_bringing(fn: Any) -> tuple[bytes, Guard | Literal[False] | None]:
    """Of a function that brings definitions of classes along."""
    from paceline.classes import with_definitions

    data, guard = dump_function(fn.function)
    return with_definitions(data, fn.numbers), guard


def _dump_with_context(fn: Any) -> tuple[bytes, Guard | Literal[False] | None]:
    """Of a function that is to be called with context variables set."""
    from paceline.context import with_settings

    data, guard = dump_function(fn.function)
    numbers: dict[int, None] = {}
    try:
        settings = _dump(fn.settings, downwards=True, numbers=numbers)
    except Exception as error:
        raise _not_picklable("the value of a context variable", fn.settings, error) from error
    if guard_of(fn.settings) is not None:
        guard = False
    data = with_settings(data, settings)
    if numbers:
        from paceline.classes import with_definitions

        data = with_definitions(data, numbers)
    return data, guard


def _dump_retried(fn: Any) -> tuple[bytes, Guard | Literal[False] | None]:
    """Of a function that may be run again after some exceptions."""
    from paceline.retrying import with_kinds

    data, guard = dump_function(fn.function)
    numbers: dict[int, None] = {}
    try:
        kinds = _dump(fn.kinds, downwards=True, numbers=numbers)
    except Exception as error:
        raise _not_picklable("the exceptions of retry_on", fn.kinds, error) from error
    data = with_kinds(data, kinds)
    if numbers:
        from paceline.classes import with_definitions

        data = with_definitions(data, numbers)
    return data, guard


def _dump_carried(fn: Any) -> tuple[bytes, None]:
    """Of a function that came from another host, and is not looked into here."""
    return _pickle.dumps(fn, _PROTOCOL), None


# What stands for a function when it is sent, by the module of its class.
_STAND_INS = {
    "paceline.clusters.carried": _dump_carried,
    "paceline.classes": _dump_bringing,
    "paceline.context": _dump_with_context,
    "paceline.retrying": _dump_retried,
}


def _plain(thing: object) -> bytes | None:
    """What plain pickle makes of it, if a worker can understand that."""
    module_name = getattr(thing, "__module__", None) or type(thing).__module__
    module = sys.modules.get(module_name) if type(module_name) is str else None
    if module is None or not importable(module_name, module):
        return None
    try:
        data = _pickle.dumps(thing, _PROTOCOL)
    except Exception:
        return None
    return None if _MAIN in data else data


# -- arguments and results ---------------------------------------------------------------------------------------------


def dump_by_value(obj: object, taker: Any = None) -> bytes:
    """In a worker: the bytes of a result that plain pickle cannot handle, or that names `__main__`.

    All but the buffers that `taker` has taken out of them.
    """
    return _dump(obj, downwards=False, taker=taker)


def dump_argument(obj: object, taker: Any = None) -> tuple[bytes, tuple[int, ...]]:
    """At home: the same for the arguments of a call.

    Also the numbers of the definitions that its function has to bring along; see `bringing`.
    """
    numbers: dict[int, None] = {}
    try:
        data = _dump(obj, downwards=True, numbers=numbers, taker=taker)
    except Exception as error:
        raise _not_picklable("an argument", obj, error) from error
    return data, tuple(numbers)


def dump_to_share(obj: object, taker: Any = None) -> bytes:
    """At home: the same for an object that any function may be given, and so brings all definitions itself."""
    try:
        return _dump(obj, downwards=True, taker=taker)
    except Exception as error:
        raise _not_picklable("a shared object", obj, error) from error


def bringing(fn: Callable[..., Any], numbers: tuple[int, ...]) -> object:
    """At home: what is to be sent in the place of a function so that it brings these definitions."""
    from paceline.classes import bringing

    return bringing(fn, numbers)


def dump_argument_fallback(obj: object) -> bytes:
    """At home: the bytes of arguments that plain pickle cannot handle, or that name `__main__`.

    Raises `ArgumentNotPicklable`, which says where in them the trouble is.
    """
    try:
        return _dump(obj, downwards=True)
    except Exception as error:
        raise _not_picklable("an argument", obj, error) from error


class NeverSent:
    """Is sent for an argument that cannot be pickled, where its task is to fail, and not the call."""

    def __init__(self, error: BaseException) -> None:
        self._message = str(error)

    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return _raise_not_picklable, (self._message,)


def _raise_not_picklable(message: str) -> object:
    from paceline.errors import ArgumentNotPicklable

    raise ArgumentNotPicklable(message)


def strangers() -> list[bytes]:
    """At home: names that no bytes may refer to; whatever does is to be taken apart."""
    return [name.encode() for name in _strangers()]


class _NeedsCloudpickle(Exception):
    """The light pickler has met something that is beyond it."""


def _dump(
    obj: object,
    *,
    downwards: bool,
    stamping: bool = True,
    numbers: dict[int, None] | None = None,
    taker: Any = None,
) -> bytes:
    from io import BytesIO

    buffer = BytesIO()
    try:
        _LightPickler(buffer, downwards, stamping, numbers, taker).dump(obj)
    except Exception:
        buffer = BytesIO()
        if taker is not None:
            taker.clear()
        _full_pickler()(buffer, downwards, stamping, numbers, taker).dump(obj)
    return buffer.getvalue()


def _dump_definition(cls: type) -> bytes:
    return _dump(cls, downwards=True)


def _stamp(value: object, stamping: bool) -> object:
    kind = type(value)
    if kind in {int, float, str, bytes, bool, type(None)}:
        return kind.__name__, value
    if not stamping or kind in {FUNCTION, MODULE, LRU_CACHE} or issubclass(kind, type):
        return None
    return hash(_dump(value, downwards=True, stamping=False))


class _Settings:
    """What both picklers are told, and `functions` asks of either.

    `numbers` collects those of the definitions of classes that the bytes only refer to; without it they do not refer.
    `taker` is asked for each buffer whether it is to be among the bytes.
    """

    # Whether locks are left out, and become new ones.
    renewing = False

    def __init__(
        self,
        buffer: Any,
        downwards: bool,
        stamping: bool,
        numbers: dict[int, None] | None,
        taker: Any = None,
    ) -> None:
        super().__init__(buffer, _PROTOCOL, buffer_callback=taker)  # type: ignore[call-arg]
        self.downwards = downwards
        self.stamping = stamping
        self.numbers = numbers
        self.bases: dict[int, dict[str, Any]] = {}

    def renewed(self, value: object) -> bytes:
        """The bytes of a value with new locks in the place of those it has. Raises what pickling raises."""
        from io import BytesIO

        buffer = BytesIO()
        pickler = _full_pickler()(buffer, self.downwards, self.stamping, None)
        pickler.renewing = True
        pickler.dump(value)
        return buffer.getvalue()

    def refer_to_class(self, cls: type) -> Any:
        """What stands for a class that the other side has, or is given apart from these bytes; None for others."""
        if self.numbers is not None:
            from paceline.classes import refer

            return refer(cls, self.numbers, _dump_definition)
        classes = None if self.downwards else sys.modules.get("paceline.classes")
        return None if classes is None else classes.reduce_received_class(cls)

    def stamp(self, value: object) -> object:
        return _stamp(value, self.stamping)


class _LightPickler(_Settings, _pickle.Pickler):
    def reducer_override(self, obj: Any) -> Any:
        kind = type(obj)
        if kind is FUNCTION or issubclass(kind, type):
            if by_reference(obj) or obj in _SINGLETON_TYPES:
                return NotImplemented
            if kind is FUNCTION:
                return reduce_function(obj, self)
            reduced = self.refer_to_class(obj)
            if reduced is None:
                raise _NeedsCloudpickle
            return reduced
        return reduce_other(obj, kind, self)


_SINGLETON_TYPES = frozenset({type(None), type(...), type(NotImplemented)})


_full_pickler_class: Any = None


def _full_pickler() -> Any:
    global _full_pickler_class
    if _full_pickler_class is not None:
        return _full_pickler_class
    import cloudpickle  # type: ignore[import-untyped]

    from paceline.classes import reduce_class

    class FullPickler(_Settings, cloudpickle.Pickler):  # type: ignore[misc,unused-ignore]
        def reducer_override(self, obj: Any) -> Any:
            kind = type(obj)
            if kind is FUNCTION:
                return NotImplemented if by_reference(obj) else reduce_function(obj, self)
            if issubclass(kind, type):
                if by_reference(obj):
                    return NotImplemented
                reduced = self.refer_to_class(obj)
                if reduced is not None:
                    return reduced
                return reduce_class(obj, super().reducer_override(obj), self)
            reduced = reduce_other(obj, kind, self)
            return super().reducer_override(obj) if reduced is NotImplemented else reduced

    _full_pickler_class = FullPickler
    return FullPickler


# -- what cannot be pickled --------------------------------------------------------------------------------------------


def _not_picklable(what: str, obj: object, error: Exception) -> Exception:
    from paceline.errors import ArgumentNotPicklable

    path, culprit = search(obj, _can_be_pickled)
    where = f" at {', '.join(path)}" if path else ""
    return ArgumentNotPicklable(
        f"cannot pickle {what}{where}, a `{type_name(culprit)}`: {one_line(error)}\n"
        "hint: hand over what it is made from (a path for an open file, settings for a connection), and make it in the "
        "function or in the pool's `initializer`"
    )


def _can_be_pickled(obj: object) -> bool:
    try:
        _dump(obj, downwards=True)
    except Exception:
        return False
    return True


# -- failures ----------------------------------------------------------------------------------------------------------


def pack_exception(exc: BaseException, details: Details | None = None) -> bytes:
    """In a worker: the bytes of an exception, its traceback as text, and what is told of its task. Never raises."""
    try:
        from paceline.tracebacks import traceback_text

        text = traceback_text(exc)
        # The text says it all. A library that has taught tracebacks to be pickled (tblib) would send each frame as
        # well, and would fail on those of a recursion.
        traceback = exc.__traceback__
        # Past `__setattr__`, which frozen dataclasses close.
        BaseException.with_traceback(exc, None)
        try:
            body, shell, reason = _exception_bytes(exc)
        finally:
            BaseException.with_traceback(exc, traceback)
        notes = [str(note) for note in getattr(exc, "__notes__", ())]
        described = (type_name(exc), _text(exc), text)
        return _pickle.dumps((body, shell, reason, *described, notes, details), _PROTOCOL)
    except Exception as error:
        reason = f"describing it failed with {type_name(error)}"
        return _pickle.dumps((None, None, reason, type(exc).__name__, "", "", [], details), _PROTOCOL)


def pack_unpicklable_result(result: object, error: BaseException, details: Details | None = None) -> bytes:
    """In a worker: the bytes of the `ResultNotPicklable` that stands for a result. Never raises."""
    from paceline.errors import ResultNotPicklable

    if not isinstance(error, Exception):
        # Somebody wants to leave, from within a `__reduce__`.
        return pack_exception(error, details)
    try:
        path, culprit = search(result, _can_be_pickled)
        where = f" at {', '.join(path)}" if path else ""
        failure = ResultNotPicklable(
            f"cannot pickle the result{where}, a `{type_name(culprit)}`: {one_line(error)}\n"
            "hint: the function ran to its end; return what the result is made of, or write it to a file"
        )
        failure.__cause__ = error
    except Exception:
        failure = ResultNotPicklable("cannot pickle the result")
    return pack_exception(failure, details)


def argument_not_rebuilt(error: BaseException) -> BaseException:
    """In a worker: what is raised for arguments that cannot be unpickled."""
    from paceline.errors import ArgumentNotPicklable, ArgumentNotRebuilt

    if isinstance(error, (KeyboardInterrupt, MemoryError, ArgumentNotPicklable)):
        return error
    failure = ArgumentNotRebuilt(
        f"cannot rebuild the arguments in the worker: {type_name(error)}: {one_line(error)}\n"
        "hint: what they are rebuilt from (modules, files, connections) must be there in a worker as it is here"
    )
    failure.__cause__ = error
    return failure


def result_not_rebuilt(error: BaseException) -> BaseException:
    """At home: what is raised for a result that cannot be unpickled."""
    if isinstance(error, (KeyboardInterrupt, MemoryError)):
        return error
    from paceline.errors import ResultNotRebuilt

    failure = ResultNotRebuilt(
        f"cannot rebuild the result: {type_name(error)}: {one_line(error)}\n"
        "hint: the function ran to its end; return what the result is made of, or write it to a file"
    )
    failure.__cause__ = error
    return failure


def unpack_exception(data: bytes, task: dict[str, Any] | None = None) -> BaseException:
    """At home: the exception, its cause being the worker's traceback; or a `RemoteError` that describes it.

    `task` is what is known here of the task that raised it, if it was one. Never raises.
    """
    from paceline.errors import InternalError, RemoteError, RemoteTraceback
    from paceline.failures import told

    try:
        body, shell, reason, class_name, message, text, notes, details = _pickle.loads(data)
    except Exception as error:
        return InternalError(f"the description of a failure cannot be read: {type_name(error)}: {one_line(error)}")
    exc: BaseException | None = None
    try:
        if body is not None:
            exc = _rebuilt(body)
    except Exception as error:
        reason = f"rebuilding it raised {type_name(error)}: {one_line(error)}"
        try:
            exc = None if shell is None else _rebuilt_without_init(shell)
        except Exception:
            exc = None
    if exc is None:
        exc = RemoteError(class_name, message, text, reason)
    try:
        for note in notes if not hasattr(exc, "__notes__") else ():
            exc.add_note(note)
    except Exception:  # A class that cannot take a note does without; the text below has them.
        pass
    if text:
        # Past `__setattr__`, which frozen dataclasses close.
        BaseException.__setattr__(exc, "__cause__", RemoteTraceback(text, "" if task is None else told(task, details)))
    return exc


def _exception_bytes(exc: BaseException) -> tuple[bytes | None, bytes | None, str]:
    """The exception as it pickles itself; the same as bare parts, in case its class cannot be called; or why not."""
    if isinstance(exc, BaseExceptionGroup):
        return _group_bytes(exc), None, ""
    try:
        body = _plain_or_by_value(exc)
    except Exception as error:
        return None, None, f"{type_name(error)}: {one_line(error)}"
    kind = type(exc)
    if kind.__init__ is BaseException.__init__ or kind.__reduce__ is not BaseException.__reduce__:
        return body, None, ""
    return body, _plain_or_by_value((kind, exc.args, exc.__dict__)), ""


def _group_bytes(group: BaseExceptionGroup[BaseException]) -> bytes:
    """The group as it pickles itself; if one of its members cannot cross, with a description in the place of that."""
    try:
        body = _plain_or_by_value(group)
        _rebuilt(body)
    except Exception:
        return _plain_or_by_value(_with_described_members(group))
    return body


def _with_described_members(group: BaseExceptionGroup[BaseException]) -> BaseExceptionGroup[BaseException]:
    from paceline.errors import RemoteError

    members: list[BaseException] = []
    for member in group.exceptions:
        if isinstance(member, BaseExceptionGroup):
            members.append(_with_described_members(member))
            continue
        try:
            _rebuilt(_plain_or_by_value(member))
            members.append(member)
        except Exception as error:
            reason = f"{type_name(error)}: {one_line(error)}"
            members.append(RemoteError(type_name(member), _text(member), reason=reason))
    copy = group.derive(members)
    for note in getattr(group, "__notes__", ()):
        copy.add_note(str(note))
    return copy


def _plain_or_by_value(obj: object) -> bytes:
    try:
        data = _pickle.dumps(obj, _PROTOCOL)
    except Exception:
        data = _MAIN
    return dump_by_value(obj) if _MAIN in data else data


def _rebuilt(body: bytes) -> BaseException:
    exc = _pickle.loads(body)
    if not isinstance(exc, BaseException):
        raise TypeError(f"it came out as a `{type_name(exc)}`")
    return exc


def _rebuilt_without_init(shell: bytes) -> BaseException:
    kind, arguments, attributes = _pickle.loads(shell)
    exc: BaseException = BaseException.__new__(kind, *arguments)
    exc.__dict__.update(attributes)
    return exc


def _text(exc: BaseException) -> str:
    try:
        return str(exc)
    except Exception:
        return "(its text cannot be had: `__str__` raises)"
