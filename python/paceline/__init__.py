"""Paceline runs ordinary Python functions on all the cores of a machine.

>>> import paceline
>>> paceline.map(abs, [-1, 2, -3])
[1, 2, 3]

This file is a map: each name is loaded from its module when it is first used, so that importing the package costs
next to nothing.
"""

from paceline import adapters  # noqa: F401 - loaded for its effect: what is, or will be, imported learns of us.

TYPE_CHECKING = False
if TYPE_CHECKING:
    from paceline.completion import as_completed as as_completed
    from paceline.dumping import dump as dump
    from paceline.dumping import dump_on_signal as dump_on_signal
    from paceline.durations import Durations as Durations
    from paceline.errors import ArgumentNotPicklable as ArgumentNotPicklable
    from paceline.errors import ArgumentNotRebuilt as ArgumentNotRebuilt
    from paceline.errors import CallError as CallError
    from paceline.errors import ClusterError as ClusterError
    from paceline.errors import ClusterLost as ClusterLost
    from paceline.errors import ClusterMismatch as ClusterMismatch
    from paceline.errors import FunctionError as FunctionError
    from paceline.errors import InternalError as InternalError
    from paceline.errors import MemoryLimitExceeded as MemoryLimitExceeded
    from paceline.errors import PacelineError as PacelineError
    from paceline.errors import PoolClosed as PoolClosed
    from paceline.errors import RemoteError as RemoteError
    from paceline.errors import RemoteTraceback as RemoteTraceback
    from paceline.errors import ResultNotPicklable as ResultNotPicklable
    from paceline.errors import ResultNotRebuilt as ResultNotRebuilt
    from paceline.errors import StoreError as StoreError
    from paceline.errors import StoreInUse as StoreInUse
    from paceline.errors import TaskInterrupted as TaskInterrupted
    from paceline.errors import TaskTimeout as TaskTimeout
    from paceline.errors import TooManyFailures as TooManyFailures
    from paceline.errors import WorkerDied as WorkerDied
    from paceline.errors import WorkerError as WorkerError
    from paceline.errors import WorkerStartError as WorkerStartError
    from paceline.events import Event as Event
    from paceline.events import Subscription as Subscription
    from paceline.executor import ProcessPoolExecutor as ProcessPoolExecutor
    from paceline.executor import ThreadPoolExecutor as ThreadPoolExecutor
    from paceline.experiments.experiment import Experiment as Experiment
    from paceline.experiments.results import open_store as open_store
    from paceline.future import Future as Future
    from paceline.pool import Pool as Pool
    from paceline.pool import map as map  # noqa: A004 - `paceline.map` is the parallel `map`.
    from paceline.pool import map_reduce as map_reduce
    from paceline.pool import starmap as starmap
    from paceline.preloading import preload as preload
    from paceline.progress import Progress as Progress
    from paceline.report import Report as Report
    from paceline.report import WorkerReport as WorkerReport
    from paceline.seeds import task_random as task_random
    from paceline.seeds import task_rng as task_rng
    from paceline.sharing import Shared as Shared
    from paceline.sharing import empty as empty
    from paceline.sharing import share as share
    from paceline.statistics import Statistics as Statistics
    from paceline.tasks import CurrentTask as CurrentTask
    from paceline.tasks import current_task as current_task
    from paceline.watching import watchable as watchable

    __version__: str

__all__ = [
    "ArgumentNotPicklable",
    "ArgumentNotRebuilt",
    "CallError",
    "ClusterError",
    "ClusterLost",
    "ClusterMismatch",
    "CurrentTask",
    "Durations",
    "Event",
    "Experiment",
    "FunctionError",
    "Future",
    "InternalError",
    "MemoryLimitExceeded",
    "PacelineError",
    "Pool",
    "PoolClosed",
    "ProcessPoolExecutor",
    "Progress",
    "RemoteError",
    "RemoteTraceback",
    "Report",
    "ResultNotPicklable",
    "ResultNotRebuilt",
    "Shared",
    "Statistics",
    "StoreError",
    "StoreInUse",
    "Subscription",
    "TaskInterrupted",
    "TaskTimeout",
    "ThreadPoolExecutor",
    "TooManyFailures",
    "WorkerDied",
    "WorkerError",
    "WorkerReport",
    "WorkerStartError",
    "as_completed",
    "current_task",
    "dump",
    "dump_on_signal",
    "empty",
    "map",
    "map_reduce",
    "open_store",
    "preload",
    "share",
    "starmap",
    "task_random",
    "task_rng",
    "watchable",
]

_HOME_OF = {
    "CurrentTask": "tasks",
    "Durations": "durations",
    "Event": "events",
    "Experiment": "experiments.experiment",
    "Future": "future",
    "Pool": "pool",
    "Progress": "progress",
    "ProcessPoolExecutor": "executor",
    "ThreadPoolExecutor": "executor",
    "Report": "report",
    "Shared": "sharing",
    "Statistics": "statistics",
    "Subscription": "events",
    "WorkerReport": "report",
    "as_completed": "completion",
    "current_task": "tasks",
    "dump": "dumping",
    "dump_on_signal": "dumping",
    "empty": "sharing",
    "map": "pool",
    "map_reduce": "pool",
    "open_store": "experiments.results",
    "preload": "preloading",
    "share": "sharing",
    "starmap": "pool",
    "task_random": "seeds",
    "task_rng": "seeds",
    "watchable": "watching",
}


def __getattr__(name: str) -> object:
    if name in __all__:
        home = _HOME_OF.get(name, "errors")
        value: object = getattr(__import__(f"paceline.{home}", fromlist=(name,)), name)
    elif name == "__version__":
        from importlib.metadata import version

        value = version("paceline")
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})
