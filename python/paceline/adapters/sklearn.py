"""scikit-learn takes a second to import, and as long in each worker: the fork server does it while this process does.

Owns when that is worth its while, and what is imported. It neither imports scikit-learn itself nor uses anything of it.
"""

from __future__ import annotations

import os
import sys

from paceline.imports import when_imported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["follow"]

# The parts that are not imported with the package itself, and that calls of `joblib` come from.
_PARTS = (
    "calibration",
    "compose",
    "covariance",
    "decomposition",
    "ensemble",
    "feature_extraction",
    "feature_selection",
    "gaussian_process",
    "inspection",
    "linear_model",
    "manifold",
    "model_selection",
    "multiclass",
    "multioutput",
    "naive_bayes",
    "neighbors",
    "neural_network",
    "pipeline",
    "preprocessing",
    "svm",
    "tree",
)


def follow() -> None:
    """Called when scikit-learn begins to be imported here."""
    if not _is_worth_it():
        return
    _preload("sklearn")
    for part in _PARTS:
        when_imported(f"sklearn.{part}", _follow_part)


def _follow_part(module: ModuleType) -> None:
    _preload(module.__name__)


def _preload(name: str) -> None:
    from paceline.preloading import preload

    preload(name)


def _is_worth_it() -> bool:
    if os.environ.get("PACELINE_PRELOAD") == "0" or "paceline.worker" in sys.modules:
        return False  # The user does not want it, or this is a worker, or the fork server itself.
    multiprocessing = sys.modules.get("multiprocessing.process")
    if multiprocessing is not None and multiprocessing.parent_process() is not None:
        return False
    from paceline.engine import default_workers
    from paceline.worker import THREAD_VARIABLES

    # Libraries that are loaded there have one thread, and who chose another number wants another.
    chosen = {os.environ[name] for name in THREAD_VARIABLES if name in os.environ}
    return chosen <= {"1"} and default_workers() > 1
