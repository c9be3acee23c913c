"""Functions as values: what one captures, and how a worker rebuilds it.

A function that a fresh interpreter can import travels as its name. Any other (of a script, a REPL, a notebook cell; a
lambda, a closure) travels as its code and what it captures: closure cells, defaults, and the globals it names. This
file tells the two kinds apart, takes the second apart and rebuilds it. It never pickles anything itself;
`paceline.pickling` does.

Namespaces. Functions of one module must share their globals in the worker as they do at home: an initializer that sets
a global for the tasks is the commonest use of an initializer. So the globals of `__main__` become those of the
worker's own `__main__`, which is an empty module of ours (the user's script is never run again); those of another
module become the real module's if the worker has imported it, else a namespace kept for it. Each function brings
the globals it names with it. One that was brought before, and has not changed at home since, is not set again:
otherwise the function that reads a global would wipe out what the initializer has just put there. Whether it has
changed is told by a *stamp*: the value itself for a plain constant, a hash of its bytes for anything else; functions,
classes and modules have none and are always set.
"""

from __future__ import annotations

import sys
from _functools import _lru_cache_wrapper, partial  # type: ignore[attr-defined,import-not-found,unused-ignore]

from paceline.tracebacks import learn_source, source_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import CodeType, ModuleType
    from typing import Any, Protocol

    class FunctionPickler(Protocol):
        """What `reduce_function` needs to know of the pickler that asks."""

        downwards: bool
        bases: dict[int, dict[str, Any]]

        def stamp(self, value: object) -> object:
            """Something that differs if the value, pickled, differs; None if there is none.

            Raises what pickling the value raises.
            """

        def renewed(self, value: object) -> bytes:
            """The bytes of a value with new locks in the place of those it has. Raises what pickling raises."""


# The types without importing `types`, which a worker would have to load for them.
FUNCTION: Any = type(lambda: None)
MODULE: Any = type(sys)
METHOD: Any = type(type("", (), {"method": lambda self: None})().method)
BUILTIN: Any = type(len)
LRU_CACHE: Any = _lru_cache_wrapper
PARTIAL: Any = partial


def _cell() -> Any:
    value = None
    return (lambda: value).__closure__[0]  # type: ignore[index]


CELL: Any = type(_cell())

ATOMS = frozenset({int, float, complex, str, bytes, bool, type(None), type(...), type(NotImplemented), range})
MISSING: Any = type("Missing", (), {"__slots__": (), "__repr__": lambda self: "MISSING"})()
MAIN = "__main__"

# -- can a fresh interpreter import it? --------------------------------------------------------------------------------

_importable: dict[str, tuple[ModuleType, bool]] = {}


class StandIn:
    """Is submitted in the place of a function."""

    function: Any


def gives_coroutine(fn: Any) -> bool:
    """Tells whether calling this gives a coroutine, without making one or importing `inspect`."""
    while True:
        if isinstance(fn, StandIn):
            fn = fn.function
        elif isinstance(fn, PARTIAL):
            fn = fn.func
        elif type(fn) is METHOD:
            fn = fn.__func__
        elif type(fn) is FUNCTION:
            return bool(fn.__code__.co_flags & _MAKES_COROUTINE) or hasattr(fn, "_is_coroutine_mark")
        else:
            fn = getattr(type(fn), "__call__", None)  # noqa: B004 - which one it is, not whether it can be called.
            if type(fn) is not FUNCTION:
                return False


# Of `inspect`: CO_COROUTINE and CO_ITERABLE_COROUTINE.
_MAKES_COROUTINE = 0x80 | 0x100


def by_reference(thing: Any) -> bool:
    """Tells whether a worker can get this function or class by importing its module and looking up its name."""
    name = getattr(thing, "__module__", None)
    qualname = getattr(thing, "__qualname__", None)
    if type(name) is not str or type(qualname) is not str or name == MAIN:
        return False
    module = sys.modules.get(name)
    if module is None or not importable(name, module):
        return False
    found: Any = module
    try:
        for part in qualname.split("."):
            found = getattr(found, part)
    except AttributeError:
        return False
    return found is thing


def importable(name: str, module: ModuleType) -> bool:
    """Tells whether `import name` in a fresh interpreter would find this module."""
    if getattr(getattr(module, "__spec__", None), "_initializing", False):
        return False  # It is opening a pool while it is being imported; a worker that imports it would do the same.
    known = _importable.get(name)
    if known is None or known[0] is not module:
        known = _importable[name] = (module, _can_be_found(name, module))
    return known[1]


def _can_be_found(name: str, module: ModuleType) -> bool:
    if name == MAIN:
        return False
    path = None
    parent = name.rpartition(".")[0]
    if parent:
        package = sys.modules.get(parent)
        if package is None or not importable(parent, package):
            return False
        path = getattr(package, "__path__", None)
    spec = getattr(module, "__spec__", None)
    if spec is None:
        # Made by hand. Inside a package it is probably the package that makes it, whenever it is imported.
        return bool(parent)
    if spec.origin in {"built-in", "frozen"}:
        return True
    try:
        for finder in sys.meta_path:
            found = finder.find_spec(name, path)
            if found is not None:
                return found.origin == spec.origin or found.origin is None or spec.origin is None
    except Exception:  # A user's finder may raise what it likes; then the worker shall find out.
        return True
    return False


_seen: set[str] = {MAIN}
_strangers: list[str] = []


def strangers() -> list[str]:
    """The modules that only this process has, such as files loaded by hand: no fresh interpreter would find them."""
    folders = set(sys.path)
    for name in sys.modules.keys() - _seen:
        module: Any = sys.modules.get(name)
        # One without builtins is not of Python code, or not yet filled.
        if type(module) is MODULE and "__builtins__" not in module.__dict__:
            continue
        _seen.add(name)
        # What is inside a package is found if the package is.
        if type(module) is not MODULE or "." in name or _looks_importable(name, module, folders):
            continue
        if not importable(name, module):
            _strangers.append(name)
    return _strangers


def _looks_importable(name: str, module: ModuleType, folders: set[str]) -> bool:
    """Whether a module lies under its name in one of these folders; a quick yes for almost all there are."""
    spec = getattr(module, "__spec__", None)
    if spec is None:
        return False
    origin = spec.origin
    if type(origin) is not str or origin in {"built-in", "frozen"}:
        return True
    if spec.submodule_search_locations is not None:
        origin = origin.rpartition("/")[0]
    folder, _, file = origin.rpartition("/")
    return folder in folders and file.partition(".")[0] == name


# -- what does it capture? ---------------------------------------------------------------------------------------------

_names_of_code: dict[CodeType, tuple[str, ...]] = {}
_global_operations: frozenset[int] = frozenset()
_shifted_operations: frozenset[int] = frozenset()
_EXTENDED_ARG = 0


def captured_names(code: CodeType) -> tuple[str, ...]:
    """The global names that this code, and the code of functions and classes inside it, reads or writes."""
    names = _names_of_code.get(code)
    if names is None:
        found: dict[str, None] = {}
        _collect_names(code, found)
        if len(_names_of_code) >= 1000:
            _names_of_code.clear()
        names = _names_of_code[code] = tuple(found)
    return names


def _collect_names(code: CodeType, found: dict[str, None]) -> None:
    if not _global_operations:
        _learn_operations()
    operations = code.co_code
    extended = 0
    for position in range(0, len(operations), 2):
        operation = operations[position]
        argument = operations[position + 1] | extended
        extended = 0
        if operation == _EXTENDED_ARG:
            extended = argument << 8
        elif operation in _global_operations:
            # The lowest bit of LOAD_GLOBAL's argument says something else.
            found[code.co_names[argument >> 1 if operation in _shifted_operations else argument]] = None
    for constant in code.co_consts:
        if type(constant) is type(code):
            _collect_names(constant, found)


def _learn_operations() -> None:
    global _global_operations, _shifted_operations, _EXTENDED_ARG
    from opcode import opmap

    # Bodies of classes inside functions read globals by LOAD_NAME, annotation scopes by the last one.
    wanted = ("LOAD_GLOBAL", "STORE_GLOBAL", "DELETE_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS")
    _global_operations = frozenset(opmap[name] for name in wanted if name in opmap)
    _shifted_operations = frozenset({opmap["LOAD_GLOBAL"]})
    _EXTENDED_ARG = opmap["EXTENDED_ARG"]


def _submodules_used(code: CodeType, values: Iterable[Any]) -> list[ModuleType]:
    """Loaded submodules that the code reaches through a package, as `concurrent.futures` through `concurrent`."""
    used = []
    mentioned: set[str] | None = None
    for package in values:
        if type(package) is not MODULE or not hasattr(package, "__path__"):
            continue
        if mentioned is None:
            mentioned = _attribute_names(code)
        prefix = package.__name__ + "."
        for name, module in list(sys.modules.items()):
            if (
                name.startswith(prefix)
                and type(module) is MODULE
                and mentioned.issuperset(name[len(prefix) :].split("."))
            ):
                used.append(module)
    return used


def _attribute_names(code: CodeType) -> set[str]:
    names = set(code.co_names)
    for constant in code.co_consts:
        if type(constant) is type(code):
            names |= _attribute_names(constant)
    return names


# -- how is it taken apart, and rebuilt? -------------------------------------------------------------------------------


def reduce_function(function: Any, pickler: FunctionPickler) -> tuple[Any, ...]:
    """What a pickler's `reducer_override` returns for a function that has to travel by value."""
    code = function.__code__
    namespace = function.__globals__
    captured = {name: namespace[name] for name in captured_names(code) if name in namespace}
    cells = function.__closure__ or ()
    contents = {index: value for index, value in enumerate(map(contents_of, cells)) if value is not MISSING}
    module_name = namespace.get("__name__")
    home = sys.modules.get(module_name) if type(module_name) is str else None
    surroundings = {key: namespace[key] for key in _SURROUNDINGS if key in namespace}
    stamps: dict[str, object] | None = None
    if home is None or getattr(home, "__dict__", None) is not namespace:
        home = None
        # Functions that share such globals still share them after one journey together.
        surroundings = pickler.bases.setdefault(id(namespace), surroundings)
        captured = with_new_locks(captured, pickler)
    elif pickler.downwards:
        captured, stamps = _stamped(captured, module_name, home, pickler)
    attributes = {
        "__qualname__": function.__qualname__,
        "__module__": function.__module__,
        "__doc__": function.__doc__,
        "__defaults__": function.__defaults__,
        "__kwdefaults__": function.__kwdefaults__,
        "__annotations__": _annotations(function),
    }
    submodules = _submodules_used(code, (*captured.values(), *contents.values()))
    source = source_of(code) if pickler.downwards else None
    state = (attributes, function.__dict__, captured, stamps, contents, submodules, source)
    fill = fill_function if pickler.downwards else fill_returned_function
    arguments = (_dump_code(code), None if home is None else module_name, surroundings, function.__name__, cells)
    return make_function, arguments, state, None, None, fill


_SURROUNDINGS = ("__name__", "__package__", "__path__", "__file__")


def _stamped(
    captured: dict[str, Any], module_name: str, home: ModuleType, pickler: FunctionPickler
) -> tuple[dict[str, Any], dict[str, object]]:
    stamps = {}
    sent = {}
    for name, value in captured.items():
        try:
            stamps[name] = pickler.stamp(value)
            sent[name] = value
        except Exception:
            # Such as a lock. A worker that imports the module has its own; else it gets one, and keeps that.
            if importable(module_name, home):
                stamps[name] = None
                sent[name] = FromModule(module_name, name)
            else:
                renewed = sent[name] = Renewed(value, pickler)
                stamps[name] = id(value), hash(renewed.data)
    return sent, stamps


class FromModule:
    """Stands for a global that cannot be pickled, and becomes what the worker finds under that name."""

    def __init__(self, module: str, name: str) -> None:
        self.place = (module, name)

    def __reduce__(self) -> tuple[Any, ...]:
        return import_global, self.place


class Renewed:
    """Stands for a global that holds locks, and becomes one with locks of its own."""

    def __init__(self, value: object, pickler: FunctionPickler) -> None:
        try:
            self.data = pickler.renewed(value)
        except Exception:
            self.data = b""
        self.value = value

    def __reduce__(self) -> tuple[Any, ...]:
        # If there is no way, the pickler is to raise what is wrong with the value itself.
        return (_loads, (self.data,)) if self.data else (_itself, (self.value,))


_MODULES_OF_LOCKS = frozenset({"_thread", "threading", "queue"})


def with_new_locks(values: dict[str, Any], pickler: FunctionPickler) -> dict[str, Any]:
    """The same with a stand-in for each lock, or anything made of locks, if the values go down."""
    if not pickler.downwards:
        return values
    return {
        name: Renewed(value, pickler) if type(value).__module__ in _MODULES_OF_LOCKS else value
        for name, value in values.items()
    }


def _loads(data: bytes) -> Any:
    from _pickle import loads

    return loads(data)


def _itself(value: Any) -> Any:
    return value


def import_global(module: str, name: str) -> Any:
    """What `from module import name` would bind."""
    return getattr(import_module(module), name)


def make_function(
    code: bytes, home: str | None, surroundings: dict[str, Any], name: str, cells: tuple[Any, ...]
) -> Any:
    """Rebuilds the bare function; what it captures may lead back to it, and follows in `fill_function`."""
    from marshal import loads

    namespace = surroundings
    if home is not None:
        module = sys.modules.get(home)
        namespace = _kept_namespaces.setdefault(home, surroundings) if module is None else module.__dict__
    namespace.setdefault("__builtins__", __builtins__)
    return FUNCTION(loads(code), namespace, name, None, cells or None)


# In a worker: globals of modules that it has not imported; the stamps of globals that came down; and the globals of the
# initializer's module before the initializer changed them.
_kept_namespaces: dict[str, dict[str, Any]] = {}
_stamps_seen: dict[str, dict[str, object]] = {}
_untouched: dict[str, dict[str, Any]] = {}


def before_initializer(function: Any) -> None:
    """Remembers the globals that an imported initializer is about to change, so that they are not taken for old."""
    namespace = getattr(function, "__globals__", None)
    if type(namespace) is dict and isinstance(namespace.get("__name__"), str):
        _untouched[namespace["__name__"]] = namespace.copy()


def fill_function(function: Any, state: tuple[Any, ...]) -> None:
    """Gives a function that came down to a worker what it captures."""
    captured, stamps = _fill(function, state)
    namespace = function.__globals__
    if stamps is None:
        namespace.update(captured)
        return
    home = namespace["__name__"]
    known = _stamps_seen.setdefault(home, {})
    untouched = _untouched.get(home, namespace)
    for name, value in captured.items():
        stamp = stamps[name]
        if stamp is None or name not in namespace:
            pass
        elif name in known:
            if known[name] == stamp:
                continue
        elif untouched.get(name, MISSING) is not namespace[name]:
            known[name] = stamp
            continue
        namespace[name] = value
        known[name] = stamp


def fill_returned_function(function: Any, state: tuple[Any, ...]) -> None:
    """Gives a function that came back from a worker what it captures; the names at home keep their values."""
    captured, _ = _fill(function, state)
    namespace = function.__globals__
    for name, value in captured.items():
        namespace.setdefault(name, value)


def _fill(function: Any, state: tuple[Any, ...]) -> tuple[dict[str, Any], dict[str, object] | None]:
    attributes, own, captured, stamps, contents, _submodules, source = state
    if source is not None:
        learn_source(source)
    for name, value in attributes.items():
        setattr(function, name, value)
    function.__dict__.update(own)
    for index, value in contents.items():
        function.__closure__[index].cell_contents = value
    return captured, stamps


def make_cell() -> Any:
    """An empty closure cell; the function it belongs to brings the contents."""
    cell = _cell()
    del cell.cell_contents
    return cell


def import_module(name: str) -> ModuleType:
    """Imports a module, and gives that very one even if it is inside a package."""
    __import__(name)
    return sys.modules[name]


def contents_of(cell: Any) -> Any:
    """What a closure cell holds, or MISSING."""
    try:
        return cell.cell_contents
    except ValueError:
        return MISSING


def _annotations(function: Any) -> dict[str, Any]:
    try:
        return dict(function.__annotations__)
    except Exception:  # From Python 3.14 on they are evaluated here, and may name what exists for type checkers only.
        return {}


def _dump_code(code: CodeType) -> bytes:
    from marshal import dumps

    try:
        return dumps(code, 2)  # Without references: the same code always gives the same bytes.
    except ValueError:
        return dumps(code)
