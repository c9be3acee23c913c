"""Guards: whether bytes made of a function earlier still stand for it.

Pickling a function by value at every call would cost more than the call, so the native module keeps the bytes. Results
must never come from a stale function, though: a global it names may have been bound to something else since. A guard
notes every binding that led to something captured, through functions, classes and closures, and compares them by
identity, at the speed of C. It is only given where everything at the end of those bindings cannot change: constants,
and what travels by name. This file owns that judgement; the bytes themselves are the affair of `paceline.pickling`.
"""

from __future__ import annotations

from _operator import attrgetter, is_

from paceline.functions import (
    ATOMS,
    BUILTIN,
    FUNCTION,
    LRU_CACHE,
    METHOD,
    MISSING,
    MODULE,
    PARTIAL,
    by_reference,
    captured_names,
    contents_of,
    importable,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Literal


class Guard:
    """What must not have changed for the bytes made of a function to be still right: bindings, all compared by `is`.

    Complete only because everything it does not look into cannot change: constants, and what travels by name.
    """

    __slots__ = ("cells", "codes", "contents", "defaults", "functions", "mappings", "quick", "uses")

    def __init__(self) -> None:
        # After some uses, the same checks as one function made for this guard.
        self.uses = 0
        self.quick: Callable[[], bool] | None = None
        self.functions: tuple[Any, ...] = ()
        self.codes: tuple[Any, ...] = ()
        self.defaults: tuple[Any, ...] = ()
        self.cells: tuple[Any, ...] = ()
        self.contents: tuple[Any, ...] = ()
        # Each: the `get` of a mapping, keys, as many MISSING, values, the mapping, and its length or -1 for any.
        self.mappings: tuple[tuple[Any, tuple[str, ...], tuple[Any, ...], tuple[Any, ...], Any, int], ...] = ()


_code = attrgetter("__code__")
_defaults = attrgetter("__defaults__")
_cell_contents = attrgetter("cell_contents")


def guard_holds(fn: object, guard: Guard | Literal[False] | None) -> bool:  # noqa: ARG001 - the guard knows it.
    """Tells whether the bytes that `dump_function` made of `fn`, along with this guard, still stand for it."""
    if guard is None:
        return True
    if guard is False:
        return False
    if guard.quick is not None:
        return guard.quick()
    guard.uses += 1
    if guard.uses == _USES_BEFORE_COMPILING:
        guard.quick = _compiled(guard)
    for get, keys, missing, values, mapping, length in guard.mappings:
        if (length >= 0 and len(mapping) != length) or not all(map(is_, map(get, keys, missing), values)):
            return False
    functions = guard.functions
    if not (
        all(map(is_, map(_code, functions), guard.codes)) and all(map(is_, map(_defaults, functions), guard.defaults))
    ):
        return False
    if not guard.cells:
        return True
    try:
        return all(map(is_, map(_cell_contents, guard.cells), guard.contents))
    except ValueError:
        return False


# Making a function takes as long as some hundred checks without it.
_USES_BEFORE_COMPILING = 100
_MOST_CHECKS_COMPILED = 60


def _compiled(guard: Guard) -> Callable[[], bool] | None:
    """The checks of a small guard as one function: a fifth of the time, where one call is made again and again."""
    things: list[Any] = []

    def named(thing: Any) -> str:
        things.append(thing)
        return f"_{len(things) - 1}"

    checks = []
    for function, code, defaults in zip(guard.functions, guard.codes, guard.defaults, strict=True):
        name = named(function)
        checks += [f"{name}.__code__ is {named(code)}", f"{name}.__defaults__ is {named(defaults)}"]
    for _, keys, _, values, mapping, length in guard.mappings:
        name = named(mapping)
        if length >= 0:
            checks.append(f"len({name}) == {length}" if length else f"not {name}")
        for key, value in zip(keys, values, strict=True):
            checks.append(f"{key!r} not in {name}" if value is MISSING else f"{name}[{key!r}] is {named(value)}")
    checks += [
        f"{named(cell)}.cell_contents is {named(value)}"
        for cell, value in zip(guard.cells, guard.contents, strict=True)
    ]
    if len(checks) > _MOST_CHECKS_COMPILED:
        return None
    # As defaults the things are local variables, which are the quickest to look up.
    parameters = ", ".join(f"_{index}=_{index}" for index in range(len(things)))
    source = (
        f"def quick({parameters}):\n"
        f"    try:\n"
        f"        return {' and '.join(checks)}\n"
        f"    except (KeyError, ValueError):\n"
        f"        return False\n"
    )
    namespace: dict[str, Any] = {f"_{index}": thing for index, thing in enumerate(things)}
    exec(source, namespace)  # noqa: S102 - made of names of attributes and the `repr` of keys, nothing else.
    quick: Callable[[], bool] = namespace.pop("quick")
    return quick


def guard_of(fn: Any) -> Guard | Literal[False] | None:
    """The guard for a function that travels by value: None if nothing can change, False if something could unseen."""
    try:
        return _Survey().of(fn)
    except _CanChangeUnseen:
        return False


class _CanChangeUnseen(Exception):
    """Something captured can change without any binding changing."""


# Of classes; made once with the class, and not changed in place by anyone.
_SETTLED_IN_CLASSES = frozenset(
    {
        "__annotate_func__",
        "__annotations__",
        "__annotations_cache__",
        "__dataclass_fields__",
        "__dataclass_params__",
        "__dict__",
        "__orig_bases__",
        "__parameters__",
        "__slotnames__",
        "__static_attributes__",
        "__weakref__",
        "_abc_impl",
        "_boundary_",
        "_field_defaults",
        "_hashable_values_",
        "_member_map_",
        "_member_names_",
        "_unhashable_values_",
        "_unhashable_values_map_",
        "_value2member_map_",
    }
)
# They have no methods that change them, travel by a name of their own, or are new ones in a worker in any case.
_IMMUTABLE = frozenset(
    {
        ("_contextvars", "ContextVar"),
        ("_thread", "RLock"),
        ("_thread", "_local"),
        ("_thread", "lock"),
        ("dataclasses", "_HAS_DEFAULT_FACTORY_CLASS"),
        ("dataclasses", "_MISSING_TYPE"),
        ("datetime", "date"),
        ("datetime", "timedelta"),
        ("datetime", "timezone"),
        ("decimal", "Decimal"),
        ("fractions", "Fraction"),
        ("logging", "Logger"),
        ("logging", "RootLogger"),
        ("pathlib", "PosixPath"),
        ("pathlib", "PurePosixPath"),
        ("pathlib._local", "PosixPath"),
        ("pathlib._local", "PurePosixPath"),
        ("re", "Pattern"),
        ("typing", "NewType"),
        ("typing", "ParamSpec"),
        ("typing", "TypeVar"),
        ("typing", "TypeVarTuple"),
        ("uuid", "UUID"),
    }
)
_DESCRIPTORS = frozenset(
    {
        "_tuplegetter",
        "classmethod_descriptor",
        "getset_descriptor",
        "member_descriptor",
        "method_descriptor",
        "wrapper_descriptor",
    }
)


class _Survey:
    """Walks over what a function captures and notes every binding on the way."""

    def __init__(self) -> None:
        self.functions: list[Any] = []
        self.cells: list[Any] = []
        self.namespaces: dict[int, tuple[dict[str, Any], dict[str, None]]] = {}
        self.exact: list[tuple[Any, Any]] = []
        self.seen: dict[int, Any] = {}
        self.waiting: list[Any] = []

    def of(self, fn: Any) -> Guard | None:
        self.waiting.append(fn)
        while self.waiting:
            value = self.waiting.pop()
            if type(value) not in ATOMS and id(value) not in self.seen:
                self.seen[id(value)] = value
                self.visit(value)
        return self.sum_up()

    def visit(self, value: Any) -> None:
        kind = type(value)
        if kind is FUNCTION:
            if not by_reference(value):
                self.visit_function(value)
        elif kind is tuple or kind is frozenset:
            self.waiting.extend(value)
        elif issubclass(kind, type):
            if not by_reference(value):
                self.visit_class(value)
        elif kind is PARTIAL:
            self.visit_partial(value)
        elif kind is METHOD:
            self.waiting.append(value.__self__)
            if not (isinstance(value.__self__, type) and by_reference(value.__self__)):
                self.waiting.append(value.__func__)
        else:
            self.visit_other(value, kind)

    def visit_other(self, value: Any, kind: Any) -> None:
        if kind is BUILTIN:
            if type(value.__self__) is not MODULE:
                self.waiting.append(value.__self__)
        elif kind is LRU_CACHE:
            self.waiting.append(value.__wrapped__)
        elif kind is classmethod or kind is staticmethod:
            self.waiting.append(value.__func__)
        elif kind is property:
            self.waiting.extend((value.fget, value.fset, value.fdel))
        elif (kind.__module__, kind.__qualname__) == ("functools", "cached_property"):
            self.waiting.append(value.func)
        elif type(kind).__module__ == "enum":
            self.visit_enum_member(value, kind)
        elif not (
            kind.__name__ in _DESCRIPTORS
            or (kind.__module__, kind.__qualname__) in _IMMUTABLE
            or (kind is MODULE and importable(value.__name__, value))
        ):
            raise _CanChangeUnseen

    def visit_enum_member(self, value: Any, kind: Any) -> None:
        if not by_reference(kind):
            self.waiting.append(kind)
            self.note(value.__dict__)

    def visit_partial(self, value: Any) -> None:
        if value.__dict__:
            raise _CanChangeUnseen
        self.waiting.extend((value.func, *value.args))
        self.note(value.keywords)

    def visit_function(self, function: Any) -> None:
        self.functions.append(function)
        self.waiting.extend(function.__defaults__ or ())
        if function.__kwdefaults__:
            self.note(function.__kwdefaults__)
        self.note(function.__dict__)
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            self.cells.append(cell)
            contents = contents_of(cell)
            if contents is MISSING:
                raise _CanChangeUnseen
            if name != "repr_running":  # The guard against recursion in every dataclass's `__repr__`: an empty set.
                self.waiting.append(contents)
        namespace = function.__globals__
        names = self.namespaces.setdefault(id(namespace), (namespace, {}))[1]
        for name in captured_names(function.__code__):
            names[name] = None
            if name in namespace:
                self.waiting.append(namespace[name])

    def visit_class(self, cls: type) -> None:
        self.waiting.extend(cls.__bases__)
        self.waiting.append(type(cls))
        self.exact.append((cls.__dict__, dict(cls.__dict__)))
        self.waiting.extend(value for name, value in cls.__dict__.items() if name not in _SETTLED_IN_CLASSES)

    def note(self, mapping: dict[str, Any]) -> None:
        self.exact.append((mapping, dict(mapping)))
        self.waiting.extend(mapping.values())

    def sum_up(self) -> Guard | None:
        mappings = []
        for namespace, names in self.namespaces.values():
            values = tuple(namespace.get(name, MISSING) for name in names)
            mappings.append((namespace.get, tuple(names), (MISSING,) * len(names), values, namespace, -1))
        for mapping, copy in self.exact:
            missing = (MISSING,) * len(copy)
            mappings.append((mapping.get, tuple(copy), missing, tuple(copy.values()), mapping, len(copy)))
        if not (mappings or self.functions or self.cells):
            return None
        guard = Guard()
        guard.mappings = tuple(mappings)
        guard.functions = tuple(self.functions)
        guard.codes = tuple(map(_code, self.functions))
        guard.defaults = tuple(map(_defaults, self.functions))
        guard.cells = tuple(self.cells)
        guard.contents = tuple(map(contents_of, self.cells))
        return guard
