"""One run of an experiment, from opening a pool to closing it: what the loop in `running.py` is given to work with.

Owns how the values of a grid get to the workers, and that nothing is left running or open. Which cells are run, it is
told.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from paceline.engine import LocalEngine
from paceline.experiments.attempts import Local, bound, forget_loaded
from paceline.experiments.axes import Loader
from paceline.experiments.cells import seed_of
from paceline.experiments.plan import estimates
from paceline.experiments.running import Job, Runner
from paceline.pool import Pool
from paceline.progress import meter_of
from paceline.sharing import Shared, share

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from paceline.experiments.axes import Axes
    from paceline.experiments.cells import Cell
    from paceline.experiments.store import Known, Writer
    from paceline.options import Options
    from paceline.progress import Meter, ProgressTo

__all__ = ["Call", "Execution", "Grid"]

# Larger values are the same for all cells; of smaller ones, each has its own.
_SMALL_BYTES = 16 * 1024


class Grid(NamedTuple):
    """The cells in order: their numbers in the store, their random numbers, what is known of them, what names mean."""

    cells: Sequence[Cell]
    numbers: Sequence[int]
    entropies: Sequence[int]
    known: Sequence[Known | None]
    named: dict[str, dict[Any, Any]]


class Call(NamedTuple):
    """What is called, and what it wants beside the axes."""

    function: Callable[..., Any]
    name: str
    wants_rng: bool
    wants_seed: bool
    keeps_objects: bool


class Execution:
    """Runs some cells of a grid."""

    def __init__(self, store: Writer, grid: Grid, call: Call) -> None:
        self._store = store
        self._grid = grid
        self._call = call
        # How many attempts have been stored.
        self.recorded = 0

    def run(
        self,
        places: Sequence[int],
        facts: dict[str, Any],
        *,
        pool: Pool | None,
        opening: dict[str, Any],
        options: Options,
        progress: ProgressTo,
    ) -> None:
        """Runs the cells at these places of the grid; on `pool`, or on one that is opened for it."""
        meter = meter_of(progress, len(places))
        owned = None
        try:
            if pool is None:
                pool = owned = Pool(**opening, name=f"experiment {self._call.name}")
            self._run_on(pool, facts, places, options, meter)
        except BaseException:
            if owned is not None:
                owned.terminate()
                owned.join()
            raise
        finally:
            if meter is not None:
                meter.end()
        if owned is not None:
            owned.close()
            owned.join()

    def _run_on(
        self, pool: Pool, facts: dict[str, Any], places: Sequence[int], options: Options, meter: Meter | None
    ) -> None:
        grid, call = self._grid, self._call
        engine = pool._engine  # noqa: SLF001 - an experiment is one more way to call on a pool.
        is_local = isinstance(engine, LocalEngine) and engine.carrier is None
        attempt = bound(call.function, (is_local, call.wants_rng, call.wants_seed, call.keeps_objects))
        # Each attempt is a call of its own, so that each has a row of its own. A pool may have a time limit already.
        limits = {} if options.timeout is None else {"timeout": options.timeout, "grace": options.grace}
        view = pool.options(**limits, retries=0, name=call.name)
        values = _Values(grid.named, is_local=is_local)
        run = self._store.begin_run(facts)
        runner = Runner(
            self._store,
            run,
            lambda arguments, entropy: view.submit(attempt, arguments, entropy),
            workers=engine.workers,
            retries=options.retries,
            retry_on=options.retry_on or (),
            grace=options.grace,
            attempts={number: one.attempts for number, one in zip(grid.numbers, grid.known, strict=True) if one},
            estimate=self._estimates,
            meter=meter,
        )
        try:
            values.send(grid.cells[place].axes for place in places)
            runner.run(self._job(place, values) for place in places)
            self._store.end_run(run)
        finally:
            self.recorded = runner.recorded
            values.release()

    def _job(self, place: int, values: _Values) -> Job:
        entropy = self._grid.entropies[place]
        arguments = values.arguments(self._grid.cells[place].axes)
        return Job(place, self._grid.numbers[place], arguments, entropy, seed_of(entropy))

    def _estimates(self, places: list[int], took: dict[int, float]) -> list[float]:
        """How long these cells will take, by what the store knows and what this run has seen so far."""
        cells = self._grid.cells
        seen = [
            (cell.axes, one.seconds)
            for cell, one in zip(cells, self._grid.known, strict=True)
            if one is not None and one.seconds is not None
        ]
        seen += [(cells[place].axes, seconds) for place, seconds in took.items()]
        return estimates([cells[place].axes for place in places], seen)


class _Values:
    """What the names of a grid stand for, as it is given to the workers."""

    def __init__(self, named: dict[str, dict[Any, Any]], *, is_local: bool) -> None:
        self._named = named
        self._is_local = is_local
        self._sent: dict[tuple[str, Any], Any] = {}
        self._tokens: list[str] = []

    def send(self, cells: Iterable[Axes]) -> None:
        """Puts into shared memory what these cells need. Raises `ArgumentNotPicklable`."""
        axes = list(self._named)
        for axis, name in {(axis, cell[axis]) for cell in cells for axis in axes if axis in cell} if axes else ():
            if name not in self._named[axis]:
                continue  # A function of other axes gave it, and no name.
            value = self._named[axis][name]
            if isinstance(value, Loader):
                self._tokens.append(value.token)
            self._sent[axis, name] = _local(value) if self._is_local else _shared(value)

    def arguments(self, axes: Axes) -> dict[str, Any]:
        if not self._named:
            return axes
        sent = self._sent
        return {axis: sent.get((axis, value), value) if axis in self._named else value for axis, value in axes.items()}

    def release(self) -> None:
        """Lets go of what the workers need no more."""
        self._sent.clear()
        if self._is_local:
            forget_loaded(self._tokens)


def _shared(value: Any) -> Any:
    return value if isinstance(value, Shared) or _is_plain(value) else share(value)


def _local(value: Any) -> Any:
    if isinstance(value, Shared):
        return Local(value.get(), is_large=True)
    if _is_plain(value):
        return value
    try:
        with share(value) as shared:
            is_large = shared.nbytes > _SMALL_BYTES
    except Exception:  # Here it need not be picklable; it is given as it is.
        is_large = True
    return Local(value, is_large=is_large)


def _is_plain(value: Any) -> bool:
    return type(value) in {str, int, float, bool, type(None)}
