"""Classes as values: those of a script or a notebook, which no worker could import.

Going down, the definition at home counts, and replaces what the worker knew. Going up, home knows best: a class that
once came from there is sent as a mere reminder which one it was, so that instances return as instances of the very
class, and no returning class changes a name or an attribute at home.

A definition is long, and the arguments of a thousand calls may be instances of one class. So arguments *refer* to
definitions by number, and the function of the call brings those it needs, once to each worker, as it brings itself. A
definition that was superseded is never mistaken for the latest: whatever gives a class its body in a worker, by
whatever way, is noted, and a reference to another definition than the one in force gives the class that body again.
Which bodies are the same at home is told by a guard; where none can be had, because something in the class can change
unseen, the definition travels with every call.

This file loads cloudpickle, so `paceline.pickling` loads it only when a class by value turns up. It never decides
whether one is to travel by value.
"""

from __future__ import annotations

import sys
from itertools import count
from weakref import WeakKeyDictionary, WeakValueDictionary

from cloudpickle import cloudpickle  # type: ignore[import-untyped]

from paceline.functions import StandIn, by_reference, with_new_locks
from paceline.guard import guard_holds, guard_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from paceline.functions import FunctionPickler
    from paceline.guard import Guard

# -- taken apart -------------------------------------------------------------------------------------------------------

# At home: classes that a module-level name keeps alive, as they were sent.
_sent: dict[str, type] = {}


def reduce_class(cls: type, reduced: Any, pickler: FunctionPickler) -> Any:
    """What a pickler returns for a class by value; `reduced` is what cloudpickle makes of it."""
    if reduced is NotImplemented:
        # It would import the class, because the module is loaded here; we know that a worker cannot.
        reduced = cloudpickle._dynamic_class_reduce(cls)  # noqa: SLF001 - there is no public way to ask for it.
    if not isinstance(reduced, tuple) or len(reduced) != 6:
        return reduced
    make, arguments, state, _, _, finish = reduced
    if "__slots__" in cls.__dict__ and len(arguments) == _PARTS_OF_A_PLAIN_CLASS and not hasattr(cls, "_fields"):
        # Cloudpickle would give them to a class that has been made without, where they do nothing. Named tuples have
        # none to give.
        arguments = (*arguments[:3], {**arguments[3], "__slots__": cls.__dict__["__slots__"]}, *arguments[4:])
    attributes = {name: value for name, value in state[0].items() if type(value) is not _SLOT}
    members = _members(cls)
    body = with_new_locks(attributes, pickler), *state[1:]
    tracker: str = cloudpickle._get_or_create_tracker_id(cls)  # noqa: SLF001 - there is no public way to ask.
    if not pickler.downwards:
        state = finish, tracker, body, members
        return make_returned_class, (tracker, make, arguments), state, None, None, _finish_returned
    named = _is_named(cls)
    if named:
        _sent[tracker] = cls
    return make_class, (tracker, named, make, arguments), (finish, body, members), None, None, _finish


# Those from which cloudpickle makes an enumeration are others.
_PARTS_OF_A_PLAIN_CLASS = 6
# What a class has for each of its `__slots__`; made anew with the class.
_SLOT: Any = type(type("", (), {"__slots__": ("slot",)}).__dict__["slot"])


def _members(cls: Any) -> dict[str, Any]:
    """Of an enumeration: what its `__new__` and `__init__` gave each member, and for each alias whose it is."""
    if type(cls).__module__ != "enum":
        return {}
    members: dict[str, Any] = {}
    for name, member in cls.__members__.items():
        own = {key: value for key, value in member.__dict__.items() if key not in _OF_EVERY_MEMBER}
        members[name] = own if name == member._name_ else member._name_
    return members


_OF_EVERY_MEMBER = frozenset({"_value_", "_name_", "__objclass__", "_sort_order_"})


def reduce_received_class(cls: type) -> Any:
    """In a worker: what a pickler returns for a class that came from home; None for others."""
    tracker = _received.get(cls)
    return None if tracker is None else (class_sent_earlier, (tracker,))


def _is_named(cls: type) -> bool:
    found: Any = sys.modules.get(cls.__module__)
    for part in cls.__qualname__.split("."):
        found = getattr(found, part, None)
    return found is cls


# -- rebuilt -----------------------------------------------------------------------------------------------------------

# In a worker: the classes that came down; the names in the body each has; and the definition in force, by number.
_received: WeakKeyDictionary[type, str] = WeakKeyDictionary()
_names: WeakKeyDictionary[type, frozenset[str]] = WeakKeyDictionary()
_in_force: WeakKeyDictionary[type, int] = WeakKeyDictionary()
# At home: classes that were made in a worker, and have no body yet.
_unfinished: set[str] = set()


def make_class(tracker: str, named: bool, make: Callable[..., type], arguments: tuple[Any, ...]) -> type:
    """In a worker: the class that came down, the same one each time; its body follows."""
    cls = _made(make, arguments)
    _in_force.pop(cls, None)
    if named:
        _received[cls] = tracker
    return cls


def _made(make: Callable[..., type], arguments: tuple[Any, ...]) -> type:
    try:
        return make(*arguments)
    except TypeError:
        # A base may want keywords in the line that begins the class, and nobody knows them any more. What it made of
        # them at home is in the body.
        if len(arguments) != _PARTS_OF_A_PLAIN_CLASS:
            raise
        bases = [base for base in arguments[2] if isinstance(base, type)]
        owner = next((cls for base in bases for cls in base.__mro__[:-1] if "__init_subclass__" in cls.__dict__), None)
        if owner is None:
            raise
        hook = owner.__dict__["__init_subclass__"]
        type.__setattr__(owner, "__init_subclass__", classmethod(lambda cls: None))
        try:
            return make(*arguments)
        finally:
            type.__setattr__(owner, "__init_subclass__", hook)


def _fill_members(cls: Any, members: dict[str, Any]) -> None:
    for name, what in members.items():
        if type(what) is str:
            cls._member_map_.setdefault(name, cls._member_map_[what])
        else:
            cls._member_map_[name].__dict__.update(what)


def _finish(cls: type, state: tuple[Callable[..., Any], Any, dict[str, Any]]) -> None:
    finish, body, members = state
    names = frozenset(body[0])
    for name in _names.get(cls, names) - names:
        try:
            delattr(cls, name)
        except AttributeError:
            pass
    finish(cls, body)
    _fill_members(cls, members)
    _names[cls] = names


def class_sent_earlier(tracker: str) -> type:
    """At home: the very class that was sent. In a worker that tries what home will make of it: the one that came."""
    if tracker in _sent:
        return _sent[tracker]
    return next(cls for cls, known in _received.items() if known == tracker)


def make_returned_class(tracker: str, make: Callable[..., type], arguments: tuple[Any, ...]) -> type:
    """At home: the class that came up; its body follows, and counts only if the class is new here."""
    if tracker not in cloudpickle._DYNAMIC_CLASS_TRACKER_BY_ID:  # noqa: SLF001 - there is no public way to ask.
        _unfinished.add(tracker)
    return _made(make, arguments)


def _finish_returned(cls: type, state: tuple[Callable[..., Any], str, Any, dict[str, Any]]) -> None:
    finish, tracker, body, members = state
    if tracker in _unfinished:
        _unfinished.discard(tracker)
        finish(cls, body)
        _fill_members(cls, members)


# -- definitions, at home ----------------------------------------------------------------------------------------------

# A class that changes more often than this (one that counts its instances, say) is not worth a definition each time.
_MOST_DEFINITIONS = 16


class _Definition:
    __slots__ = ("guard", "number", "registered")

    def __init__(self, number: int, guard: Guard | None, registered: tuple[Any, ...]) -> None:
        self.number = number
        self.guard = guard
        self.registered = registered


_numbers = count(1)
_bodies: dict[int, bytes] = {}
_latest: dict[type, _Definition] = {}
_attempts: dict[type, int] = {}


def refer(cls: type, numbers: dict[int, None], dump: Callable[[type], bytes]) -> Any:
    """What a pickler returns for a class by value that is to be referred to; None if it has to be taken apart.

    Adds the number of the definition to `numbers`; `dump` makes the bytes of one.
    """
    known = _latest.get(cls)
    if (
        known is None
        or not guard_holds(cls, known.guard)
        or (known.registered and known.registered != _registered(cls))
    ):
        known = _define(cls, dump)
        if known is None:
            return None
    numbers[known.number] = None
    return defined_class, (known.number,)


def _define(cls: type, dump: Callable[[type], bytes]) -> _Definition | None:
    # What is kept here keeps the class alive, so that only those may be kept which a name keeps alive anyway.
    attempts = _attempts.get(cls, 0)
    if attempts >= _MOST_DEFINITIONS or not _is_named(cls):
        return None
    _attempts[cls] = attempts + 1
    guard = guard_of(cls)
    if guard is False:
        return None
    registered = _registered(cls)
    number = next(_numbers)
    _bodies[number] = dump(cls)
    definition = _latest[cls] = _Definition(number, guard, registered)
    return definition


def _registered(cls: type) -> tuple[Any, ...]:
    """What has been registered with the abstract ones among the class and its bases; no guard sees that."""
    abc = sys.modules["abc"]
    abstract = (base for base in cls.__mro__ if isinstance(base, abc.ABCMeta) and not by_reference(base))
    return tuple((base, frozenset(abc._get_dump(base)[0])) for base in abstract)  # noqa: SLF001 - as cloudpickle does.


class Bringing(StandIn):
    """Stands for a function whose arguments refer to these definitions."""

    def __init__(self, function: Any, numbers: tuple[int, ...]) -> None:
        self.function = function
        self.numbers = numbers


# An engine knows functions by identity, so the same stand-in is used for as long as an engine keeps it.
_stand_ins: WeakValueDictionary[tuple[int, tuple[int, ...]], Bringing] = WeakValueDictionary()


def bringing(function: Any, numbers: tuple[int, ...]) -> Bringing:
    """What the engine is to send instead of the function, so that the worker has these definitions."""
    key = (id(function), numbers)
    known = _stand_ins.get(key)
    if known is None:
        known = _stand_ins[key] = Bringing(function, numbers)
    return known


def with_definitions(function: bytes, numbers: Iterable[int]) -> bytes:
    """The bytes of a function, made to bring these definitions."""
    from _pickle import dumps

    return dumps(_Brought(function, {number: _bodies[number] for number in numbers}), 5)


class _Brought:
    def __init__(self, function: bytes, bodies: dict[int, bytes]) -> None:
        self.parts = (bodies, function)

    def __reduce__(self) -> Any:
        return bring, self.parts


# -- definitions, in a worker ------------------------------------------------------------------------------------------

_brought: dict[int, bytes] = {}
_defined: dict[int, type] = {}


def bring(definitions: dict[int, bytes], function: bytes) -> Any:
    """In a worker: takes note of definitions, and gives the function that needs them."""
    from _pickle import loads

    _brought.update(definitions)
    return loads(function)


def defined_class(number: int) -> type:
    """In a worker: the class, with the body that this definition gives it."""
    cls = _defined.get(number)
    if cls is None or _in_force.get(cls) != number:
        from _pickle import loads

        cls = _defined[number] = loads(_brought[number])
        _in_force[cls] = number
    return cls


def name_of_definition(number: int) -> str:
    """The name of the class that a definition is of, at home or in a worker; `object` if it is not known any more."""
    at_home = (cls for cls, known in _latest.copy().items() if known.number == number)
    cls = _defined.get(number) or next(at_home, object)
    return cls.__name__
