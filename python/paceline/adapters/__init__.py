"""A map: which of these files is loaded when which foreign module has been imported.

Importing this package imports none of them. Each file is the only one that knows the system it is named for.
"""

from __future__ import annotations

from paceline.imports import when_imported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType


def _attach_joblib(_: ModuleType) -> None:
    import paceline.adapters.joblib  # noqa: F401 - it registers itself.


def _attach_sklearn(_: ModuleType) -> None:
    from paceline.adapters.sklearn import follow

    follow()


when_imported("joblib.parallel", _attach_joblib)
# The first of its own modules that scikit-learn imports; if that changes, only time is lost.
when_imported("sklearn._config", _attach_sklearn)
