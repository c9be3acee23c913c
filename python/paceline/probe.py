"""Questions that are answered in an interpreter of their own: what they start, load or break stays there.

Owns that interpreter: how it is asked, and that it and what it has started end in time. Never knows what is asked.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ProbeFailed", "ask"]


class ProbeFailed(Exception):
    """There is no answer, for the reason given."""


def ask(function: Callable[..., Any], *arguments: Any, deadline_s: float) -> Any:
    """What a function of a module gives, called in a fresh interpreter; all that goes there and back is plain JSON.

    Raises `ProbeFailed` when the function raises, or has not returned after `deadline_s` seconds.
    """
    call = json.dumps([function.__module__, function.__qualname__, arguments])
    program = f"import sys; sys.path[:] = {sys.path!r}; from paceline.probe import answer; answer({call!r})"
    # In a group of its own, so that Ctrl-C reaches this process alone, which then ends the group.
    with subprocess.Popen(  # noqa: S603 - it is this interpreter, with our own program.
        [sys.executable, "-c", program],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    ) as process:
        try:
            out, errors = process.communicate(timeout=deadline_s)
        except subprocess.TimeoutExpired:
            _end(process)
            raise ProbeFailed(f"no answer within {deadline_s:.2g} seconds") from None
        except BaseException:
            _end(process)
            raise
    return _read(out, errors, process.returncode)


def _end(process: subprocess.Popen[str]) -> None:
    # Until it is waited for, the number is its own.
    if process.returncode is None:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


def _read(out: str, errors: str, exit_code: int) -> Any:
    # What else was printed, by a `sitecustomize` perhaps, stands before.
    *_, last = out.splitlines() or [""]
    try:
        said = json.loads(last)
        if "error" in said:
            raise ProbeFailed(said["error"])
        return said["answer"]
    except (ValueError, TypeError, KeyError):
        *_, last = errors.splitlines() or ["it printed nothing"]
        raise ProbeFailed(f"the process ended with exit code {exit_code}: {last}") from None


def answer(call: str) -> None:
    """The other side of `ask`."""
    from importlib import import_module

    module, name, arguments = json.loads(call)
    try:
        said = {"answer": getattr(import_module(module), name)(*arguments)}
    except Exception as error:
        said = {"error": f"{type(error).__name__}: {error}"}
    print(f"\n{json.dumps(said)}", flush=True)
