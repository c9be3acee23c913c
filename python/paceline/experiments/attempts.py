"""One attempt at a cell, in its worker: the arguments made ready, the function called, what it took, what it gave.

Owns what is measured and which results can be stored. It is the only file of experiments that workers import, and never
touches the store.
"""

from __future__ import annotations

import os
import time
from json import JSONEncoder
from resource import RUSAGE_SELF, getrusage
from threading import Lock, get_native_id
from typing import TYPE_CHECKING

from paceline.errors import TaskInterrupted
from paceline.experiments.axes import Loader
from paceline.experiments.cells import seed_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeAlias

    # Whether the cells run beside the caller, the function wants `rng` and `seed`, and objects are kept.
    Terms: TypeAlias = tuple[bool, bool, bool, bool]
    Told: TypeAlias = tuple[str | None, tuple[str, ...], str | None]
    # Status, result, objects, error, its classes, traceback, seconds, CPU seconds, peak memory, worker, begin, end.
    Measured: TypeAlias = tuple[float, float, int | None, int, float, float]
    Outcome: TypeAlias = tuple[str, str | None, bytes | None, *Told, *Measured]

__all__ = ["ONLY_VALUE", "Local", "Outcome", "Terms", "bound", "forget_loaded", "names_of_kinds", "ready"]

# What a result that is a number is called.
ONLY_VALUE = "value"
# A cell that takes less cannot be told from the last by its memory.
_SHORT_S = 0.001


class Local:
    """A value for cells that run beside the caller: a copy for each, unless it is large."""

    __slots__ = ("is_large", "value")

    def __init__(self, value: Any, *, is_large: bool) -> None:
        self.value = value
        self.is_large = is_large

    def get(self) -> Any:
        from copy import deepcopy

        return self.value if self.is_large else deepcopy(self.value)


def bound(function: Callable[..., Any], terms: Terms) -> Callable[[dict[str, Any], int], Outcome]:
    """What is submitted for each cell: it knows the function, so that only the arguments need be sent."""

    def attempt(arguments: dict[str, Any], entropy: int) -> Outcome:
        return _measured(function, terms, arguments, entropy)

    return attempt


def _measured(function: Callable[..., Any], terms: Terms, arguments: dict[str, Any], entropy: int) -> Outcome:
    is_local, wants_rng, wants_seed, keeps_objects = terms
    worker = get_native_id() if is_local else os.getpid()
    result: str | None = None
    objects: bytes | None = None
    error: BaseException | None = None
    if not is_local:
        _reset_peak()
    began, start, cpu = time.time(), time.perf_counter(), _cpu_seconds(is_local=is_local)
    try:
        given = ready(arguments, (wants_rng, wants_seed), entropy)
        # What is loaded once, and numpy's import, are not charged to the cell that comes first.
        began, start, cpu = time.time(), time.perf_counter(), _cpu_seconds(is_local=is_local)
        returned = function(**given)
        seconds = time.perf_counter() - start
        result, objects = _storable(function, returned, keeps_objects=keeps_objects)
    except (TaskInterrupted, KeyboardInterrupt):
        raise
    except BaseException as raised:
        seconds = time.perf_counter() - start
        error = raised
    cpu = _cpu_seconds(is_local=is_local) - cpu
    peak = None if is_local else _peak_bytes(seconds)
    if error is None:
        return "ok", result, objects, None, (), None, seconds, cpu, peak, worker, began, began + seconds
    from paceline.tracebacks import traceback_text

    told = (_one_line(error), names_of_kinds(type(error)), traceback_text(error))
    return "error", None, None, *told, seconds, cpu, peak, worker, began, began + seconds


def ready(arguments: dict[str, Any], wants: tuple[bool, bool], entropy: int) -> dict[str, Any]:
    """What the function is called with: the values themselves, and `rng` and `seed` if it wants them."""
    given = {axis: _value_of(value) for axis, value in arguments.items()}
    wants_rng, wants_seed = wants
    if wants_rng:
        given["rng"] = _generator(entropy)
    if wants_seed:
        given["seed"] = seed_of(entropy)
    return given


def names_of_kinds(kind: type[BaseException]) -> tuple[str, ...]:
    """A class of exceptions and all that it is one of, by which they are known where it cannot be unpickled."""
    return tuple(f"{one.__module__}.{one.__qualname__}" for one in kind.__mro__)


def _one_line(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception:  # It is code of somebody's.
        text = "(its text cannot be had)"
    kind = type(error).__qualname__
    return f"{kind}: {text}" if text else kind


# -- arguments ---------------------------------------------------------------------------------------------------------

_loaded: dict[str, Any] = {}
_loading = Lock()


def _value_of(value: Any) -> Any:
    if isinstance(value, Local):
        value = value.get()
    return _load(value) if isinstance(value, Loader) else value


def _load(value: Loader) -> Any:
    """What a loader loads; once in this process, whichever thread comes first."""
    with _loading:
        if value.token not in _loaded:
            _loaded[value.token] = value.function()
        return _loaded[value.token]


def forget_loaded(tokens: list[str]) -> None:
    """Of a run beside the caller: nobody needs these any more."""
    with _loading:
        for token in tokens:
            _loaded.pop(token, None)


def _generator(entropy: int) -> Any:
    try:
        from numpy.random import SeedSequence, default_rng
    except ImportError:
        from random import Random

        return Random(entropy)  # noqa: S311 - not for secrets.
    return default_rng(SeedSequence(entropy))


# -- what it took ------------------------------------------------------------------------------------------------------

# Whether the kernel's mark of the highest memory may be of an earlier cell.
_is_peak_old = True


def _cpu_seconds(*, is_local: bool) -> float:
    return time.thread_time() if is_local else time.process_time()


def _reset_peak() -> None:
    """Has the kernel's mark of the highest memory begin anew."""
    global _is_peak_old
    if _is_peak_old:
        _is_peak_old = False
        try:
            file = os.open("/proc/self/clear_refs", os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.write(file, b"5")
            finally:
                os.close(file)
        except OSError:  # Some containers forbid it; then it is the peak of all cells so far.
            pass


def _peak_bytes(seconds: float) -> int:
    global _is_peak_old
    _is_peak_old = _is_peak_old or seconds >= _SHORT_S
    return 1024 * getrusage(RUSAGE_SELF).ru_maxrss


# -- what it gave ------------------------------------------------------------------------------------------------------


def _storable(function: Callable[..., Any], returned: Any, *, keeps_objects: bool) -> tuple[str, bytes | None]:
    """The result as JSON, and what is none as a pickle. Raises `TypeError` for what can be neither."""
    named = returned if isinstance(returned, dict) else {ONLY_VALUE: returned}
    if not isinstance(returned, dict) and not keeps_objects and not _is_number(returned):
        raise _refused(function, returned, None)
    for name in named:
        if type(name) is not str:
            raise TypeError(f"a result must be a number, or a dict by names; {_short(name)} is no name")
    try:
        return _as_json(named), None
    except (TypeError, ValueError, RecursionError):
        pass
    texts, objects = {}, {}
    for name, value in named.items():
        try:
            texts[name] = _as_json(value)
        except (TypeError, ValueError, RecursionError):
            if not keeps_objects:
                raise _refused(function, value, name) from None
            objects[name] = value
    parts = ",".join(f"{_as_json(name)}:{text}" for name, text in texts.items())
    return f"{{{parts}}}", _pickled(objects)


def _is_number(value: Any) -> bool:
    if isinstance(value, (int, float)):
        return True
    return hasattr(value, "item") and getattr(value, "ndim", None) == 0


def _plain(value: Any) -> Any:
    """A number of numpy as one of Python, for JSON."""
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        plain = value.item()
        if isinstance(plain, (str, int, float, bool)):
            return plain
    raise TypeError


_as_json = JSONEncoder(default=_plain, separators=(",", ":"), ensure_ascii=False).encode


def _pickled(objects: dict[str, Any]) -> bytes:
    from pickle import PicklingError, dumps

    try:
        return dumps(objects, 5)
    except (PicklingError, AttributeError, TypeError):
        from cloudpickle import dumps as dump_by_value  # type: ignore[import-untyped]

        data: bytes = dump_by_value(objects)
        return data


def _refused(function: Callable[..., Any], value: Any, name: str | None) -> TypeError:
    from paceline.errors import function_name

    where = "" if name is None else f" as {name!r}"
    return TypeError(
        f"`{function_name(function)}` returned {_short(value)}{where}; what is stored is a number, or a dict of "
        "numbers, texts and other JSON values\n"
        "hint: convert it (arrays have `tolist`), or pickle it by Experiment(..., keep_objects=True)"
    )


def _short(value: object) -> str:
    try:
        text = " ".join(repr(value).split())
    except Exception:  # It is code of somebody's.
        text = f"an object of {type(value).__qualname__}"
    return text if len(text) <= 80 else f"{text[:77]}..."
