"""The text of a worker's traceback, and the source lines of code that stands in no file.

The text is what Python itself would print, of all that hangs together (causes, contexts, the members of groups), less
the frames that are Paceline's own. Its source lines have to be there when it is made, which is in the worker: code of
a notebook's cell or of a doctest has its lines in the memory of the process at home only. So a function from there
brings them along, and the worker puts them where Python looks for such lines: `inspect`, `logging` and debuggers find
them as well. This file never decides what travels how; `paceline.functions` asks it.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from traceback import TracebackException
    from types import CodeType
    from typing import Any

_OWN_FOLDER = __file__.rpartition("/")[0] + "/"
# Its functions are run as tasks, as any user's are.
_USERS_OWN = _OWN_FOLDER + "demo.py"


def traceback_text(exc: BaseException) -> str:
    """The traceback as Python prints it, without our frames."""
    from traceback import TracebackException

    told = TracebackException.from_exception(exc, compact=True)
    waiting: list[TracebackException | None] = [told]
    while waiting:
        one = waiting.pop()
        if one is not None:
            one.stack[:] = [frame for frame in one.stack if not is_own(frame.filename)]
            waiting += [one.__cause__, one.__context__, *(getattr(one, "exceptions", None) or ())]
    return "".join(told.format())


def is_own(file: str) -> bool:
    return file.startswith(_OWN_FOLDER) and file != _USERS_OWN


# -- source lines ------------------------------------------------------------------------------------------------------

# The name of what should be a file, the number of the first line, and the lines.
Source = tuple[str, int, list[str]]


def source_of(code: CodeType) -> Source | None:
    """The lines of this code if only this process has them."""
    # Whoever has put any there has loaded it.
    linecache: Any = sys.modules.get("linecache")
    if linecache is None:
        return None
    file = code.co_filename
    entry = linecache.cache.get(file, ())
    # An entry without a time does not come from a file; doctest has none, but answers when asked.
    if not (len(entry) == 4 and entry[1] is None) and not file.startswith("<doctest "):
        return None
    first = code.co_firstlineno
    lines = linecache.getlines(file)[first - 1 : _last_line(code)]
    return (file, first, lines) if lines else None


def _last_line(code: CodeType) -> int:
    last = max((position[1] or 0 for position in code.co_positions()), default=0)
    return max([last, *(_last_line(inner) for inner in code.co_consts if type(inner) is type(code))])


def learn_source(source: Source) -> None:
    """In a worker: has Python find these lines; others of the same name stay as they are."""
    import linecache

    file, first, lines = source
    entry = linecache.cache.get(file, ())
    known = list(entry[2]) if len(entry) == 4 else []
    end = first - 1 + len(lines)
    known += ["\n"] * (end - len(known))
    known[first - 1 : end] = lines
    linecache.cache[file] = (sum(map(len, known)), None, known, file)
