"""The form of what travels between your process and a host: what is to be run, and what became of it.

Owns the layout of both, and the check that both sides are of the same versions, which comes before anything is
unpickled. Never looks into functions, inputs or results: those stay bytes from the process that made them to the one
that uses them.
"""

from __future__ import annotations

import sys
from _pickle import dumps, loads
from functools import cache
from typing import NamedTuple

from paceline.errors import ClusterMismatch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = [
    "CALL",
    "ITEM",
    "STAR",
    "Answer",
    "Asked",
    "Outcome",
    "Part",
    "Reply",
    "check_versions",
    "pack",
    "unpack",
    "versions",
]

# How a function takes its input: `fn(*args, **kwargs)`, `fn(item)`, `fn(*item)`; as in the native module.
CALL, ITEM, STAR = range(3)


class Asked(NamedTuple):
    """What is asked for the calls of a part: see `paceline.options.Options`."""

    style: int = CALL
    timeout: float | None = None
    grace: float = 1.0
    retries: int = 0
    backoff: float = 0.0
    retry_alone: bool = False
    priority: int = 0
    # After a worker's death, after a time limit, after too much memory; and, pickled, the exceptions after which.
    again_after: tuple[bool, bool, bool] = (True, False, True)
    kinds: bytes | None = None


class Part(NamedTuple):
    """Calls of one function: a chunk of a map, or a single call.

    `number` is the first one's in the order of submission, `first` its place in its map; `shares` are the tokens of the
    shared objects that function and inputs refer to.
    """

    name: str
    function: bytes
    is_coroutine: bool
    inputs: list[bytes]
    number: int
    first: int | None
    asked: Asked
    shares: tuple[str, ...] = ()


# What became of an input: whether it has a result, and the bytes of that or of the failure.
RESULT, RAISED, LOST = range(3)
Outcome = tuple[int, bytes]
# Host, process, first and how many, attempt, how many raised, were stopped, were lost; began, ended, busy
# (nanoseconds).
Spell = tuple[int, int, int, int, tuple[int, int, int], int, int, int]


class Answer(NamedTuple):
    """What became of a part."""

    outcomes: list[Outcome]
    spells: list[Spell]


class Reply(NamedTuple):
    """What became of a parcel: where it was run, when (by the host's clock) it came and left, and the answers.

    There are none if the workers of the host were ended meanwhile. `broken`, the pickled exception, is what is there
    instead if they cannot be set up.
    """

    host: str
    came_ns: int
    left_ns: int
    answers: list[Answer] | None
    broken: bytes | None = None


@cache
def versions() -> tuple[str, str]:
    """Of Python (without the last number) and of Paceline, here."""
    from importlib.metadata import version

    return f"{sys.version_info.major}.{sys.version_info.minor}", version("paceline")


def check_versions(theirs: tuple[str, str], who: str) -> None:
    """Raises `ClusterMismatch` if these, of `who`, are not those here."""
    here = versions()
    if theirs != here:
        raise ClusterMismatch(
            f"{who} has Python {theirs[0]} and Paceline {theirs[1]}, but this process Python {here[0]} and Paceline "
            f"{here[1]}\nhint: functions travel as bytecode; install the same versions on both sides"
        )


# Of the line of versions before a parcel, of which nothing else is read before it is compared.
_LONGEST_LINE = 200


def pack(content: tuple[Any, ...]) -> bytes:
    """The bytes of a parcel or a reply."""
    return " ".join(versions()).encode() + b"\n" + dumps(content, 5)


def unpack(parcel: Any, who: str) -> Any:
    """What is in it; any buffer will do. Raises `ClusterMismatch` if `who` sent it is of other versions."""
    whole = memoryview(parcel)
    line = bytes(whole[:_LONGEST_LINE]).partition(b"\n")[0]
    python, _, own = line.decode().partition(" ")
    check_versions((python, own), who)
    return loads(whole[len(line) + 1 :])
