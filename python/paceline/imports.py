"""`when_imported`: something to be done as soon as a module has been imported, if it ever is.

Owns the finder that notices such imports. It never imports a module that nobody asked for, and never finds one itself:
it asks the finders behind it, and only wraps the loader that they name. Workers load this file before anything else of
the user's, so it imports nothing that is not there anyway.
"""

from __future__ import annotations

import sys

# What the import statement itself uses to wait until another thread has finished with a module.
from _frozen_importlib import _lock_unlock_module  # type: ignore[attr-defined]
from _thread import allocate_lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

    Action = Callable[[ModuleType], object]


def when_imported(name: str, action: Action) -> None:
    """Calls `action(module)` now, if the module `name` is imported, or else right after it will have been.

    >>> from paceline.imports import when_imported
    >>> when_imported("sys", lambda module: print(module.__name__))
    sys

    Later it is called by the thread that imports the module, before the `import` statement there goes on. It is called
    once; reloading the module, or an import that fails, calls nothing. What an action raises is logged, and spoils
    neither the import nor the other actions.

    Called by the very module that is being imported, or by one that it imports meanwhile, it cannot wait for the end of
    the import, and shows the action the module as it is.
    """
    with _lock:
        _actions.setdefault(name, []).append(action)
        if _finder not in sys.meta_path:
            sys.meta_path.insert(0, _finder)
    module = _as_far_as_it_can_be_waited_for(name)
    if module is not None:
        _act(name, module)


_lock = allocate_lock()
_actions: dict[str, list[Action]] = {}


def _as_far_as_it_can_be_waited_for(name: str) -> ModuleType | None:
    """The module, if it is imported, or being imported by this thread; imports by other threads are waited for."""
    waited_for = None
    while True:
        # Another thread may be importing the module just now, and have passed the place of our finder already.
        _lock_unlock_module(name)
        module = sys.modules.get(name)
        if module is None or module is waited_for:
            return module
        # Or it began only after nobody had been there to wait for.
        if not getattr(getattr(module, "__spec__", None), "_initializing", False):
            return module
        waited_for = module


def _act(name: str, module: ModuleType) -> None:
    with _lock:
        actions = _actions.pop(name, ())
        if not _actions and _finder in sys.meta_path:
            # A new list, because a thread that is walking along the old one would pass over the finder that moved up.
            sys.meta_path = [finder for finder in sys.meta_path if finder is not _finder]
    for action in actions:
        try:
            action(module)
        except Exception:
            from logging import getLogger

            getLogger("paceline").exception("what was to be done after the import of `%s` raised an exception", name)


class _Finder:
    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        # Only a reload has a target.
        if name not in _actions or target is not None:
            return None
        finders = list(sys.meta_path)
        for finder in finders[finders.index(self) + 1 :] if self in finders else ():
            spec = finder.find_spec(name, path, target) if hasattr(finder, "find_spec") else None
            if spec is not None:
                # A folder without `__init__.py` has no loader yet, and no code after which something could be done.
                if hasattr(spec.loader, "exec_module"):
                    spec.loader = _Watched(spec.loader)  # type: ignore[assignment]
                return spec
        return None


_finder: Any = _Finder()


class _Watched:
    """A loader that looks like the one it stands for, and gives its place back to it when the module is loaded."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return type(self._loader)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def exec_module(self, module: Any) -> None:
        spec = module.__spec__
        if type(spec.loader) is _Watched:
            spec.loader = self._loader
        if type(module.__loader__) is _Watched:
            module.__loader__ = self._loader
        self._loader.exec_module(module)
        # A module may put something else into its place.
        _act(spec.name, sys.modules.get(spec.name, module))
