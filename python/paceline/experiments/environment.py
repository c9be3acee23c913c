"""What a run was made with: Python, packages, Paceline, the machine, the git commit, and the function's source.

Owns what is noted of them for the store. It never judges: whether a difference matters is for `plan.py` and the user.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["environment", "source_hash"]

_GIT_PATIENCE_S = 5.0


def environment(function: Callable[..., Any]) -> dict[str, Any]:
    """What is to be known of this run later: `host`, `python`, `paceline`, `packages`, `git`."""
    import platform

    import paceline

    return {
        "host": platform.node(),
        "python": platform.python_version(),
        "paceline": paceline.__version__,
        "packages": _packages(),
        "git": _git_commit(_folder_of(function)),
    }


def _packages() -> dict[str, str]:
    """The versions of all that is installed, by the names of their folders: to read each takes much longer."""
    found: dict[str, str] = {}
    for folder in sys.path:
        try:
            entries = os.listdir(folder or ".")
        except OSError:
            continue
        for entry in entries:
            stem, dot, kind = entry.rpartition(".")
            name, dash, version = stem.partition("-")
            if dot and dash and kind in {"dist-info", "egg-info"}:
                found.setdefault(name, version.partition("-")[0])
    return dict(sorted(found.items(), key=lambda item: item[0].lower()))


def _folder_of(function: Callable[..., Any]) -> str:
    file = getattr(getattr(_innermost(function), "__code__", None), "co_filename", "")
    folder = os.path.dirname(os.path.abspath(file)) if os.path.exists(file) else ""
    return folder or os.getcwd()


def _git_commit(folder: str) -> str | None:
    """The commit that this folder is at, with `-dirty` where files differ from it; None outside of a repository."""
    from subprocess import DEVNULL, SubprocessError, run

    # Without the lock that `--dirty` would take to note what it has seen: who is killed would leave it behind.
    command = ["git", "--no-optional-locks", "-C", folder]
    command += ["describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        told = run(command, capture_output=True, text=True, check=False, stdin=DEVNULL, timeout=_GIT_PATIENCE_S)  # noqa: S603
    except (OSError, SubprocessError):
        return None
    return told.stdout.strip() or None if told.returncode == 0 else None


def source_hash(function: Callable[..., Any]) -> str:
    """A text that changes when the function's own code does, and not with its comments, layout or docstring.

    Functions that it calls are not looked into; for those there is `version=`.
    """
    from hashlib import blake2b

    return blake2b(_source_text(_innermost(function)).encode(), digest_size=16).hexdigest()


def _innermost(function: Any) -> Any:
    """The function in partials and decorated ones; of an object that is called, its class."""
    for _ in range(32):
        inner = getattr(function, "__wrapped__", None) or getattr(function, "func", None)
        if not callable(inner):
            break
        function = inner
    if hasattr(function, "__code__") or isinstance(function, type):
        return function
    return getattr(function, "__func__", None) or type(function)


def _source_text(function: Any) -> str:
    import ast
    from inspect import getsource
    from textwrap import dedent

    try:
        source = dedent(getsource(function))
    except (OSError, TypeError):
        return _code_text(getattr(function, "__code__", None), getattr(function, "__qualname__", ""))
    try:
        tree = ast.parse(source)
    except SyntaxError:  # A lambda in the middle of a line: its code says as much, but differs between Pythons.
        return _code_text(getattr(function, "__code__", None), source)
    for node in ast.walk(tree):
        if (
            isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
            and ast.get_docstring(node) is not None
        ):
            node.body = node.body[1:] or [ast.Pass()]
    # As text again, for dumps of the tree differ between versions of Python.
    return ast.unparse(tree)


def _code_text(code: Any, otherwise: str) -> str:
    """What a code object does, where there is no source to be had."""
    if code is None:
        return otherwise
    constants = [
        _code_text(constant, "") if hasattr(constant, "co_code") else repr(constant) for constant in code.co_consts
    ]
    return repr((sys.version_info[:2], code.co_code.hex(), code.co_names, code.co_varnames, constants))
