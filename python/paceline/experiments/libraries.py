"""The libraries of the extra `experiment`, imported when first needed.

Owns the words for the case that one is missing. It never imports anything at the start.
"""

from __future__ import annotations

__all__ = ["require"]


def require(*modules: str) -> None:
    """Imports these modules; raises `ModuleNotFoundError` with the way out if a library is not installed.

    >>> require("numpy", "scipy.stats")
    """
    from importlib import import_module

    for module in modules:
        library = module.partition(".")[0]
        try:
            import_module(module)
        except ModuleNotFoundError as error:
            if error.name is not None and error.name.partition(".")[0] != library:
                raise
            raise ModuleNotFoundError(
                f"the statistics of experiments need {library}, which is not installed\n"
                "hint: `pip install 'paceline[experiment]'` brings all that they need",
                name=library,
            ) from error
