"""What cannot be pickled: which part of an object it is, and how it is named in errors.

Owns the search for the culprit, and the words for it; never pickles anything itself.
"""

from __future__ import annotations

from paceline.functions import FUNCTION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

__all__ = ["name", "one_line", "search", "type_name"]


def search(obj: object, can_be_pickled: Callable[[object], bool]) -> tuple[list[str], object]:
    """Descends to the innermost part that cannot be pickled; the steps on the way, and the part."""
    path: list[str] = []
    for _ in range(8):
        for step, part in _parts(obj, can_be_pickled, outermost=not path):
            if not can_be_pickled(part):
                path.append(step)
                obj = part
                break
        else:
            break
    return path, obj


def _parts(obj: Any, can_be_pickled: Callable[[object], bool], *, outermost: bool) -> Iterator[tuple[str, object]]:
    kind = type(obj)
    if kind is tuple and outermost and len(obj) == 2 and type(obj[0]) is tuple and type(obj[1]) in {dict, type(None)}:
        yield from ((f"positional argument {index}", part) for index, part in enumerate(obj[0]))
        yield from ((f"keyword argument `{name}`", part) for name, part in (obj[1] or {}).items())
    elif kind in {tuple, list}:
        first, last = 0, len(obj)
        while last - first > 8:  # Long ones by halves, so that a million items take twenty trials.
            middle = (first + last) // 2
            first, last = (middle, last) if can_be_pickled(obj[first:middle]) else (first, middle)
        yield from ((f"`[{index}]`", obj[index]) for index in range(first, last))
    elif kind is dict:
        yield from ((f"`[{_brief(key)}]`", part) for key, part in obj.items())
    elif kind is FUNCTION:
        from paceline.functions import captured_names

        for name, cell in zip(obj.__code__.co_freevars, obj.__closure__ or (), strict=True):
            yield f"its variable `{name}`", getattr(cell, "cell_contents", None)
        for name in captured_names(obj.__code__):
            yield f"its global `{name}`", obj.__globals__.get(name)
        yield from (("a default value", part) for part in obj.__defaults__ or ())
    elif hasattr(obj, "__self__") and hasattr(obj, "__func__"):
        yield "its `__self__`", obj.__self__
        yield "its function", obj.__func__
    elif not issubclass(kind, type) and isinstance(getattr(obj, "__dict__", None), dict):
        yield from ((f"`.{name}`", part) for name, part in obj.__dict__.items())


def _brief(obj: object, limit: int = 60) -> str:
    try:
        text = repr(obj)
    except Exception:
        return f"<{type_name(obj)}>"
    return text if len(text) <= limit else text[: limit - 3] + "..."


def name(obj: object) -> str:
    return f"`{getattr(obj, '__qualname__', None) or _brief(obj)}`"


def one_line(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception:
        text = "(its text cannot be had: `__str__` raises)"
    return " ".join(text.split()) or type(error).__name__


def type_name(obj: object) -> str:
    kind = type(obj)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
