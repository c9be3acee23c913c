"""Experiments: a grid of calls whose every finished cell is safe on disk, rerun and extended at will.

This file is a map. `experiment.py` has what a program writes, `axes.py` the grid, `cells.py` a cell's key and random
numbers, `plan.py` decides what is run and in which order, `running.py` runs it, `attempts.py` is what a worker does,
`store.py` keeps it on disk, `results.py` and `columns.py` show it. `docs/experiments.md` tells how it is used.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from paceline.experiments.axes import Loader as Loader
    from paceline.experiments.axes import When as When
    from paceline.experiments.axes import loader as loader
    from paceline.experiments.axes import when as when
    from paceline.experiments.experiment import Experiment as Experiment
    from paceline.experiments.plan import StaleCells as StaleCells
    from paceline.experiments.results import OpenStore as OpenStore
    from paceline.experiments.results import Results as Results
    from paceline.experiments.results import open_store as open_store

__all__ = ["Experiment", "Loader", "OpenStore", "Results", "StaleCells", "When", "loader", "open_store", "when"]

_HOME_OF = {
    "Experiment": "experiment",
    "Loader": "axes",
    "OpenStore": "results",
    "Results": "results",
    "StaleCells": "plan",
    "When": "axes",
    "loader": "axes",
    "open_store": "results",
    "when": "axes",
}


def __getattr__(name: str) -> object:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(__import__(f"{__name__}.{home}", fromlist=(name,)), name)
    globals()[name] = value
    return value
