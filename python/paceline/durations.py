"""What items took in earlier runs, so that the longest of the next run begin first: a `cost` that learns.

Owns the file, and which item of today is which of then. What is made of the numbers is `paceline.maps`'s affair.
"""

from __future__ import annotations

import json
import os
from math import inf
from pathlib import Path

from paceline.history import Ending

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from os import PathLike
    from typing import Any

    from paceline.history import History

__all__ = ["Durations"]

_VERSION = 1


class Durations:
    """The seconds that items took in earlier runs, by function and item, kept in a file; to be given as a map's `cost`.

    >>> import tempfile, time
    >>> from pathlib import Path
    >>> from paceline import Durations, Pool
    >>> path = Path(tempfile.mkdtemp(), "durations.json")
    >>> with Pool(2) as pool:
    ...     for run in range(2):
    ...         pool.map(time.sleep, [0.01, 0.05], cost=Durations(path))
    [None, None]
    [None, None]
    >>> [round(seconds, 2) for seconds in Durations(path).of(time.sleep, [0.01, 0.05, 7])]
    [0.01, 0.05, inf]

    `key` gives the text by which an item is known again, by default `str`. Items that are not known begin first, since
    they may be the longest. The file, JSON of this library's own, is made when the first map ends, and replaced as a
    whole after each; without a `path`, what was learnt is lost with this object. Of each item the last time counts.

    Raises `ValueError` if the file is none of these, and `TypeError` if a key is no text.
    """

    def __init__(self, path: str | PathLike[str] | None = None, *, key: Callable[[Any], str] = str) -> None:
        self._path = None if path is None else Path(path)
        self._key = key
        self._known = self._read()

    def of(self, function: Callable[..., Any], items: Iterable[Any]) -> list[float]:
        """The seconds that each item took, infinite for those that are not known."""
        known = self._known.get(_name(function), {})
        return [known.get(self._key_of(item), inf) for item in items]

    def learn(self, function: Callable[..., Any], items: Sequence[Any], history: History) -> None:
        """Takes in what a map over the items took, and writes it down. An item that did not end well tells nothing."""
        learnt = {
            self._key_of(items[one.first_item]): one.busy
            for one in history.stretches
            if one.items == 1 and one.ending is Ending.DONE
        }
        # Another program may have written meanwhile.
        self._known = self._read()
        self._known.setdefault(_name(function), {}).update(learnt)
        self._write()

    def _key_of(self, item: Any) -> str:
        key = self._key(item)
        if not isinstance(key, str):
            raise TypeError(f"the key of an item must be a string, not {key!r}")
        return key

    def _read(self) -> dict[str, dict[str, float]]:
        if self._path is None or not self._path.exists():
            return getattr(self, "_known", {})
        try:
            saved = json.loads(self._path.read_text())
            if saved["paceline_durations"] != _VERSION:
                raise ValueError(f"{self._path} was written by another version of Paceline")
            functions = saved["functions"].items()
            return {name: {key: float(took) for key, took in known.items()} for name, known in functions}
        except (KeyError, TypeError, AttributeError, UnicodeDecodeError, RecursionError, json.JSONDecodeError):
            raise ValueError(f"{self._path} is no file of durations that Paceline has written") from None

    def _write(self) -> None:
        if self._path is None:
            return
        # Whoever reads sees the old file or the new one.
        fresh = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        fresh.write_text(json.dumps({"paceline_durations": _VERSION, "functions": self._known}))
        fresh.replace(self._path)


def _name(function: Any) -> str:
    from paceline.errors import function_name

    return f"{getattr(function, '__module__', None)}.{function_name(function)}"
